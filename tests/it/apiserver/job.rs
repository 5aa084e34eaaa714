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
        let jobs: Vec<Arc<Key>> = store
            .objects
            .keys()
            .filter(|key| key.resource == "jobs.batch")
            .cloned()
            .collect();
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
    /// Ended and not yet part of the counts in the status.
    new_succeeded: Vec<Arc<Key>>,
    new_failed: Vec<Arc<Key>>,
}

impl Census {
    fn take(store: &Store, job: &Value) -> Self {
        let mut census = Self::default();
        for key in store
            .dependents(object::uid(job))
            .into_iter()
            .filter(|key| key.resource == "pods")
        {
            let Some(pod) = store.objects.get(&key) else {
                continue;
            };
            let tracked = object::has_finalizer(pod, TRACKING);
            match pod["status"]["phase"].as_str() {
                Some("Succeeded") if tracked => census.new_succeeded.push(key),
                Some("Failed") if tracked => census.new_failed.push(key),
                Some("Succeeded" | "Failed") => {}
                _ if object::is_deleting(pod) => census.terminating += 1,
                _ => {
                    census.ready += usize::from(has_condition(pod, "Ready"));
                    census.active.push(key);
                }
            }
        }
        census
    }
}

fn sync(store: &mut Store, key: &Key) {
    let Some(job) = store.objects.get(key).cloned() else {
        return;
    };
    if object::is_deleting(&job) {
        return;
    }
    if has_condition(&job, "Complete") || has_condition(&job, "Failed") {
        return account(store, &Census::take(store, &job));
    }
    let census = Census::take(store, &job);
    let mut next = Value::clone(&job);
    let uncounted = uncounted(&census, store);
    count(&mut next, &job, &census, &uncounted);
    let act = verdict(&mut next, &census, store);
    if job["status"]["uncountedTerminatedPods"] == uncounted {
        account(store, &census);
    }
    if next != *job {
        store.edit_key(key, |stored| stored.clone_from(&next));
    }
    match act {
        Act::Nothing => {}
        Act::StopPods => stop(store, &census.active),
        Act::DropPods => {
            for pod in &census.active {
                store.release(pod, TRACKING);
            }
            stop(store, &census.active);
        }
        Act::MakePods(wanted) => {
            for _ in 0..wanted {
                make_pod(store, &next);
            }
        }
    }
}

fn stop(store: &mut Store, pods: &[Arc<Key>]) {
    for pod in pods {
        store.mark_deleted(pod, "Background", None);
    }
}

enum Act {
    Nothing,
    /// Deleted, and counted when they have ended.
    StopPods,
    /// Deleted without being counted: the tracking finalizer goes first.
    DropPods,
    MakePods(usize),
}

/// UIDs of pods that ended and are not counted yet: written first, counted with the next write.
fn uncounted(census: &Census, store: &Store) -> Value {
    let uids = |keys: &[Arc<Key>]| -> Vec<String> {
        keys.iter()
            .filter_map(|key| store.objects.get(key))
            .map(|pod| object::uid(pod).to_owned())
            .collect()
    };
    let mut all = json!({});
    object::set_or_remove(&mut all, "succeeded", json!(uids(&census.new_succeeded)));
    object::set_or_remove(&mut all, "failed", json!(uids(&census.new_failed)));
    if all == json!({}) { Value::Null } else { all }
}

/// The numbers of the status. A pod is listed as uncounted in one write and counted in the next.
fn count(next: &mut Value, job: &Value, census: &Census, uncounted: &Value) {
    let status = &mut next["status"];
    let number = |n: usize| if n == 0 { Value::Null } else { json!(n) };
    object::set_or_remove(status, "active", number(census.active.len()));
    status["ready"] = json!(census.ready);
    status["terminating"] = json!(census.terminating);
    let listed = !uncounted.is_null() && job["status"]["uncountedTerminatedPods"] == *uncounted;
    if listed {
        for (field, new) in [
            ("succeeded", &census.new_succeeded),
            ("failed", &census.new_failed),
        ] {
            let counted = counted(job, field) + new.len();
            object::set_or_remove(status, field, number(counted));
        }
    }
    status["uncountedTerminatedPods"] = if listed || uncounted.is_null() {
        json!({})
    } else {
        uncounted.clone()
    };
}

fn counted(job: &Value, field: &str) -> usize {
    job["status"][field]
        .as_u64()
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or_default()
}

/// Conditions and times, and what is to be done about the pods.
fn verdict(job: &mut Value, census: &Census, store: &Store) -> Act {
    let (now, time) = (store.now(), store.time());
    let ended = |field: &str, new: &[Arc<Key>]| {
        let pending = job["status"]["uncountedTerminatedPods"][field]
            .as_array()
            .map_or(0, Vec::len);
        counted(job, field) + new.len().min(pending)
    };
    let (succeeded, failed) = (
        ended("succeeded", &census.new_succeeded),
        ended("failed", &census.new_failed),
    );
    let settled = job["status"]["uncountedTerminatedPods"] == json!({}) && census.terminating == 0;
    if let Some((kind, from)) = [("Complete", "SuccessCriteriaMet"), ("Failed", "FailureTarget")]
        .into_iter()
        .find(|(_, from)| has_condition(job, from))
    {
        if settled && census.active.is_empty() {
            conclude(job, kind, from, &time);
            return Act::Nothing;
        }
        return Act::StopPods;
    }
    let wanted = usize::try_from(job["spec"]["completions"].as_u64().unwrap_or(1)).unwrap_or(1);
    let limit = usize::try_from(job["spec"]["backoffLimit"].as_u64().unwrap_or(6)).unwrap_or(6);
    if failed > limit {
        return fail(
            job,
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
            &time,
        );
    }
    if past_deadline(job, now) {
        return fail(
            job,
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
            &time,
        );
    }
    if succeeded >= wanted {
        let message = "Reached expected number of succeeded pods";
        set_job_condition(
            job,
            "SuccessCriteriaMet",
            true,
            ("CompletionsReached", message),
            &time,
        );
        return Act::StopPods;
    }
    if suspend(job, &time) {
        return Act::DropPods;
    }
    let waits = job["spec"]["podReplacementPolicy"] == "Failed";
    let busy = census.active.len() + if waits { census.terminating } else { 0 };
    let parallel = usize::try_from(job["spec"]["parallelism"].as_u64().unwrap_or(1)).unwrap_or(1);
    Act::MakePods(parallel.min(wanted - succeeded).saturating_sub(busy))
}

fn fail(job: &mut Value, reason: &str, message: &str, time: &str) -> Act {
    set_job_condition(job, "FailureTarget", true, (reason, message), time);
    Act::StopPods
}

/// The final condition, with the reason and message of the one that announced it.
fn conclude(job: &mut Value, kind: &str, from: &str, time: &str) {
    let all = job["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let announced = all
        .iter()
        .find(|c| c["type"] == from)
        .cloned()
        .unwrap_or_default();
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
    let (Some(limit), Some(start)) = (
        job["spec"]["activeDeadlineSeconds"].as_i64(),
        job["status"]["startTime"].as_str(),
    ) else {
        return false;
    };
    let suspended = job["spec"]["suspend"] == true;
    !suspended
        && start
            .parse::<Timestamp>()
            .is_ok_and(|start| now.duration_since(start).as_secs() >= limit)
}

fn set_job_condition(job: &mut Value, kind: &str, status: bool, why: (&str, &str), time: &str) {
    set_condition(job, kind, status, why.0, why.1, time);
    for condition in job["status"]["conditions"].as_array_mut().into_iter().flatten() {
        if condition["type"] == kind {
            condition["lastProbeTime"] = json!(time);
        }
    }
}

/// Ended pods that the status counts, or that no longer matter, lose the tracking finalizer.
fn account(store: &mut Store, census: &Census) {
    for key in census.new_succeeded.iter().chain(&census.new_failed) {
        store.release(key, TRACKING);
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
        let job = store
            .objects
            .values()
            .find(|owner| object::is_owned_by(&pod, object::uid(owner)));
        if job.is_none_or(|job| object::is_deleting(job)) {
            store.release(&key, TRACKING);
        }
    }
}

fn make_pod(store: &mut Store, job: &Value) {
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
    if let Err(refused) = store.insert(&kind, object::namespace(job), pod, &Manager::nobody()) {
        complain(store, job, &refused.message);
    }
}

/// The event that says why a Job has no pod; one per Job and reason.
fn complain(store: &mut Store, job: &Value, why: &str) {
    let (name, namespace) = (
        format!("{}.failed-create", object::name(job)),
        object::namespace(job).to_owned(),
    );
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
