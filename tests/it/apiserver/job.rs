//! The Job controller, step by step, as version 1.37 behaves where a watcher can see it.
//!
//! Not there: indexed Jobs, pod failure and success policies, the back-off between retries, TTL.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    object::{self, Key},
    pod::{self, has_condition, has_ended, set_condition},
    store::Store,
    write::Manager,
};

const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// The Job controller and the kubelet's part in deletion. All its state is in the store.
pub struct JobController;

impl JobController {
    /// Syncs every Job once: at most one write to its status. Whether anything was written.
    pub fn step(store: &mut Store) -> bool {
        let before = store.revision();
        pod::reap(store);
        release_orphans(store);
        let jobs: Vec<Arc<Key>> =
            store.objects.keys().filter(|key| key.resource == "jobs.batch").cloned().collect();
        for key in jobs {
            sync(store, &key);
        }
        store.revision() != before
    }

    /// Steps until there is nothing to do before a pod moves or time passes.
    pub fn settle(store: &mut Store) {
        while Self::step(store) {}
    }
}

/// The pods of a Job, counted as its controller counts them.
#[derive(Default)]
struct Census {
    /// Neither ended nor being deleted.
    active: Vec<Arc<Key>>,
    ready: usize,
    /// Being deleted, not ended.
    terminating: usize,
    /// Ended and not yet in the status: they still have the tracking finalizer.
    new_succeeded: Vec<Arc<Key>>,
    new_failed: Vec<Arc<Key>>,
}

impl Census {
    fn take(store: &Store, job: &Value) -> Self {
        let mut census = Self::default();
        let deleted_is_failed = job["spec"]["podReplacementPolicy"] != "Failed";
        for key in store.dependents(object::uid(job)).into_iter().filter(|key| key.resource == "pods") {
            let Some(pod) = store.objects.get(&key) else {
                continue;
            };
            let tracked = object::has_finalizer(pod, TRACKING);
            match pod["status"]["phase"].as_str() {
                Some("Succeeded") if tracked => census.new_succeeded.push(key),
                Some("Failed") if tracked => census.new_failed.push(key),
                Some("Succeeded" | "Failed") => {}
                _ if object::is_deleting(pod) => {
                    census.terminating += 1;
                    if tracked && deleted_is_failed {
                        census.new_failed.push(key);
                    }
                }
                _ => {
                    census.ready += usize::from(has_condition(pod, "Ready"));
                    census.active.push(key);
                }
            }
        }
        census
    }
}

/// One sync: pods are made or deleted, the status is written, and pods that the status lists as
/// uncounted lose their finalizer. The next sync counts them.
fn sync(store: &mut Store, key: &Key) {
    let Some(job) = store.objects.get(key).cloned() else {
        return;
    };
    if object::is_deleting(&job) || has_condition(&job, "Complete") || has_condition(&job, "Failed") {
        return;
    }
    let mut census = Census::take(store, &job);
    let mut next = Value::clone(&job);
    count_listed(&mut next);
    let act = verdict(&mut next, &census, store);
    let ended = carry_out(store, &next, act, &mut census);
    write_numbers(&mut next, &census, store);
    if next != *job {
        store.edit_key(key, |stored| stored.clone_from(&next));
    }
    for pod in census.new_succeeded.iter().chain(&census.new_failed).chain(&ended) {
        store.release(pod, TRACKING);
    }
}

#[derive(Clone, Copy)]
enum Act {
    Nothing,
    /// The Job has ended: pods are deleted, and are failures if it failed.
    StopPods {
        as_failed: bool,
    },
    /// The Job is suspended: pods are deleted and do not count.
    DropPods,
    MakePods(usize),
}

/// Makes and deletes pods, and keeps the census true. Returns pods that are done with.
fn carry_out(store: &mut Store, job: &Value, act: Act, census: &mut Census) -> Vec<Arc<Key>> {
    let as_failed = match act {
        Act::Nothing => return Vec::new(),
        Act::MakePods(wanted) => {
            let made = (0..wanted).filter_map(|_| make_pod(store, job));
            census.active.extend(made);
            return Vec::new();
        }
        Act::StopPods { as_failed } => as_failed,
        Act::DropPods => false,
    };
    let stopped = std::mem::take(&mut census.active);
    for pod in &stopped {
        if matches!(act, Act::DropPods) {
            store.release(pod, TRACKING);
        }
        store.mark_deleted(pod, "Background", None);
    }
    census.terminating += stopped.len();
    census.ready = 0;
    if as_failed {
        census.new_failed.extend(stopped);
        return Vec::new();
    }
    stopped
}

/// What the last write listed as uncounted has no finalizer any more, and counts now.
fn count_listed(job: &mut Value) {
    for field in ["succeeded", "failed"] {
        let listed = job["status"]["uncountedTerminatedPods"][field].as_array().map_or(0, Vec::len);
        let total = number(&job["status"][field]).unwrap_or_default() + listed;
        object::set_or_remove(&mut job["status"], field, if total == 0 { Value::Null } else { json!(total) });
    }
    job["status"]["uncountedTerminatedPods"] = json!({});
}

fn write_numbers(job: &mut Value, census: &Census, store: &Store) {
    let uids = |keys: &[Arc<Key>]| -> Value {
        keys.iter().filter_map(|key| store.objects.get(key)).map(|pod| object::uid(pod).to_owned()).collect()
    };
    let status = &mut job["status"];
    let active = census.active.len();
    object::set_or_remove(status, "active", if active == 0 { Value::Null } else { json!(active) });
    status["ready"] = json!(census.ready);
    status["terminating"] = json!(census.terminating);
    object::set_or_remove(&mut status["uncountedTerminatedPods"], "succeeded", uids(&census.new_succeeded));
    object::set_or_remove(&mut status["uncountedTerminatedPods"], "failed", uids(&census.new_failed));
}

fn number(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok())
}

/// Conditions and times, and what is to be done about the pods.
fn verdict(job: &mut Value, census: &Census, store: &Store) -> Act {
    let time = store.time();
    for (kind, from) in [("Complete", "SuccessCriteriaMet"), ("Failed", "FailureTarget")] {
        if has_condition(job, from) {
            let all_counted = census.new_succeeded.is_empty() && census.new_failed.is_empty();
            if all_counted && census.active.is_empty() && census.terminating == 0 {
                conclude(job, kind, from, &time);
            }
            return Act::StopPods { as_failed: kind == "Failed" };
        }
    }
    let total = |field: &str, new: &[Arc<Key>]| number(&job["status"][field]).unwrap_or_default() + new.len();
    let (succeeded, failed) =
        (total("succeeded", &census.new_succeeded), total("failed", &census.new_failed));
    if failed > number(&job["spec"]["backoffLimit"]).unwrap_or(6) {
        return fail(job, "BackoffLimitExceeded", "Job has reached the specified backoff limit", &time);
    }
    if past_deadline(job, store.now()) {
        return fail(job, "DeadlineExceeded", "Job was active longer than specified deadline", &time);
    }
    let wanted = number(&job["spec"]["completions"]).unwrap_or(1);
    if succeeded >= wanted && census.active.is_empty() {
        let why = ("CompletionsReached", "Reached expected number of succeeded pods");
        set_job_condition(job, "SuccessCriteriaMet", true, why, &time);
        return Act::Nothing;
    }
    if suspend(job, &time) {
        return Act::DropPods;
    }
    let waits = job["spec"]["podReplacementPolicy"] == "Failed";
    let busy = census.active.len() + if waits { census.terminating } else { 0 };
    let parallel = number(&job["spec"]["parallelism"]).unwrap_or(1);
    Act::MakePods(parallel.min(wanted.saturating_sub(succeeded)).saturating_sub(busy))
}

fn fail(job: &mut Value, reason: &str, message: &str, time: &str) -> Act {
    set_job_condition(job, "FailureTarget", true, (reason, message), time);
    Act::StopPods { as_failed: true }
}

/// The final condition, with the reason and message of the one that announced it.
fn conclude(job: &mut Value, kind: &str, from: &str, time: &str) {
    let all = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let announced = all.iter().find(|c| c["type"] == from).cloned().unwrap_or_default();
    let text = |field: &str| announced[field].as_str().unwrap_or_default().to_owned();
    set_job_condition(job, kind, true, (&text("reason"), &text("message")), time);
    if kind == "Complete" {
        job["status"]["completionTime"] = json!(time);
    }
}

/// Keeps `Suspended` and the start time right. Whether the Job is suspended.
fn suspend(job: &mut Value, time: &str) -> bool {
    let suspended = job["spec"]["suspend"] == true;
    if suspended && !has_condition(job, "Suspended") {
        set_job_condition(job, "Suspended", true, ("JobSuspended", "Job suspended"), time);
        object::set_or_remove(&mut job["status"], "startTime", Value::Null);
    } else if !suspended {
        if has_condition(job, "Suspended") {
            set_job_condition(job, "Suspended", false, ("JobResumed", "Job resumed"), time);
        }
        if job["status"]["startTime"].is_null() {
            job["status"]["startTime"] = json!(time);
        }
    }
    suspended
}

fn past_deadline(job: &Value, now: Timestamp) -> bool {
    let (Some(limit), Some(start)) =
        (job["spec"]["activeDeadlineSeconds"].as_i64(), job["status"]["startTime"].as_str())
    else {
        return false;
    };
    let suspended = job["spec"]["suspend"] == true;
    !suspended && start.parse::<Timestamp>().is_ok_and(|start| now.duration_since(start).as_secs() >= limit)
}

fn set_job_condition(job: &mut Value, kind: &str, status: bool, why: (&str, &str), time: &str) {
    set_condition(job, kind, status, why.0, why.1, time);
    for condition in job["status"]["conditions"].as_array_mut().into_iter().flatten() {
        if condition["type"] == kind {
            condition["lastProbeTime"] = json!(time);
        }
    }
}

/// Pods whose Job is gone, or going, are held by nobody.
fn release_orphans(store: &mut Store) {
    let tracked = |pod: &Arc<Value>| object::has_finalizer(pod, TRACKING);
    let pods: Vec<(Arc<Key>, Arc<Value>)> = store
        .objects
        .iter()
        .filter(|(key, pod)| key.resource == "pods" && tracked(pod))
        .map(|(k, p)| (k.clone(), Arc::clone(p)))
        .collect();
    for (key, pod) in pods {
        let job = store.objects.values().find(|owner| object::is_owned_by(&pod, object::uid(owner)));
        if job.is_none_or(|job| object::is_deleting(job)) {
            store.release(&key, TRACKING);
        }
    }
}

/// `None` when the pod is refused.
fn make_pod(store: &mut Store, job: &Value) -> Option<Arc<Key>> {
    let template = &job["spec"]["template"];
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"],
    });
    pod["metadata"]["generateName"] = json!(format!("{}-", object::name(job)));
    pod["metadata"]["finalizers"] = json!([TRACKING]);
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "batch/v1", "kind": "Job", "name": object::name(job), "uid": object::uid(job),
        "controller": true, "blockOwnerDeletion": true,
    }]);
    let kind = store.kind("pods");
    match store.insert(&kind, object::namespace(job), pod, &Manager::nobody()) {
        Ok(pod) => Some(Arc::new(store.key("pods", object::namespace(&pod), object::name(&pod)))),
        Err(refused) => {
            complain(store, job, &refused.message);
            None
        }
    }
}

/// The event that says why a Job has no pod; one per Job and reason.
fn complain(store: &mut Store, job: &Value, why: &str) {
    let (name, namespace) =
        (format!("{}.failed-create", object::name(job)), object::namespace(job).to_owned());
    if store.get("events", &namespace, &name).is_some() {
        return;
    }
    let time = store.time();
    store.put(&json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": namespace},
        "type": "Warning", "reason": "FailedCreate", "message": format!("Error creating: {why}"), "count": 1,
        "firstTimestamp": time, "lastTimestamp": time, "source": {"component": "job-controller"},
        "involvedObject": {
            "apiVersion": "batch/v1", "kind": "Job", "name": object::name(job), "namespace": namespace,
            "uid": object::uid(job),
        },
    }));
}
