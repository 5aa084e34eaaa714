//! The scheduler and the kubelet, moved by hand: what happens to one pod.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    object::{self, Key},
    store::Store,
};

/// The node that pods run on.
pub const NODE: &str = "node-1";

/// One pod, to be moved on. Panics when it does not exist: that is a mistake in the test.
pub struct PodActor<'a> {
    store: &'a mut Store,
    key: Key,
}

impl Store {
    pub fn pod(&mut self, namespace: &str, name: &str) -> PodActor<'_> {
        let key = self.key("pods", namespace, name);
        assert!(self.objects.contains_key(&key), "no pod {namespace}/{name}");
        PodActor { store: self, key }
    }

    /// The newest pod of a Job.
    pub fn pod_of(&mut self, namespace: &str, job: &str) -> PodActor<'_> {
        let names = self.pods_of(namespace, job);
        let name = names.last().unwrap_or_else(|| panic!("no pod of Job {namespace}/{job}")).clone();
        self.pod(namespace, &name)
    }

    /// Names of a Job's pods, oldest first.
    pub fn pods_of(&self, namespace: &str, job: &str) -> Vec<String> {
        let of_job = |pod: &&Value| {
            object::namespace(pod) == namespace
                && object::label(pod, "batch.kubernetes.io/job-name") == Some(job)
        };
        let mut pods: Vec<&Value> = self.all("pods").into_iter().filter(of_job).collect();
        pods.sort_by_key(|pod| self.births.get(object::uid(pod)));
        pods.into_iter().map(|pod| object::name(pod).to_owned()).collect()
    }
}

impl PodActor<'_> {
    pub fn name(&self) -> &str {
        &self.key.name
    }

    /// On a node, all containers running.
    pub fn start(&mut self) -> &mut Self {
        let now = self.store.time();
        self.edit(|pod| {
            schedule(pod, &now);
            pod["status"]["phase"] = json!("Running");
            pod["status"]["containerStatuses"] = containers(pod, |_| json!({"running": {"startedAt": now}}));
            set_ready(pod, &now, true);
        })
    }

    /// The first container ends with this code and termination message; the others with 0.
    pub fn finish(&mut self, exit_code: i64, message: &str) -> &mut Self {
        let reason = if exit_code == 0 { "Completed" } else { "Error" };
        self.end(exit_code, reason, message, |_| {})
    }

    /// The kernel kills the first container for its memory.
    pub fn oom(&mut self) -> &mut Self {
        self.end(137, "OOMKilled", "", |_| {})
    }

    /// The kubelet evicts the pod.
    pub fn evict(&mut self) -> &mut Self {
        let now = self.store.time();
        self.end(137, "Error", "", move |pod| {
            let message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi.";
            pod["status"]["phase"] = json!("Failed");
            pod["status"]["reason"] = json!("Evicted");
            pod["status"]["message"] = json!(message);
            set_condition(pod, "DisruptionTarget", true, "TerminationByKubelet", message, &now);
        })
    }

    /// On a node, waiting to start: `ImagePullBackOff`, `CreateContainerConfigError`, …
    pub fn waiting(&mut self, reason: &str, message: &str) -> &mut Self {
        let now = self.store.time();
        self.edit(|pod| {
            schedule(pod, &now);
            let state = json!({"waiting": {"reason": reason, "message": message}});
            pod["status"]["containerStatuses"] = containers(pod, |_| state.clone());
            set_ready(pod, &now, false);
        })
    }

    /// No node takes the pod.
    pub fn unschedulable(&mut self, message: &str) -> &mut Self {
        let now = self.store.time();
        self.edit(|pod| set_condition(pod, "PodScheduled", false, "Unschedulable", message, &now))
    }

    /// Any other change.
    pub fn edit(&mut self, change: impl FnOnce(&mut Value)) -> &mut Self {
        self.store.edit_key(&self.key, change);
        self
    }

    fn end(&mut self, code: i64, reason: &str, message: &str, more: impl FnOnce(&mut Value)) -> &mut Self {
        let now = self.store.time();
        self.edit(|pod| {
            end_containers(pod, &now, code, reason, message);
            more(pod);
        })
    }
}

/// What the kubelet does unasked: containers of deleted pods get SIGTERM and end with 143; then
/// the pod may go, as far as finalizers let it.
pub fn reap(store: &mut Store) {
    let deleted: Vec<Arc<Key>> = store
        .objects
        .iter()
        .filter(|(key, pod)| key.resource == "pods" && object::is_deleting(pod))
        .map(|(key, _)| key.clone())
        .collect();
    for key in deleted {
        let now = store.time();
        let Some(pod) = store.objects.get(&key).cloned() else {
            continue;
        };
        if pod["status"]["phase"] == "Running" {
            store.edit_key(&key, |pod| end_containers(pod, &now, 143, "Error", ""));
        } else if object::finalizers(&pod).is_empty() {
            store.commit(&key, None);
        } else {
            store.edit_key(&key, |pod| {
                // A pod that never started ends too: nothing will start it any more.
                if !has_ended(pod) {
                    pod["status"]["phase"] = json!("Failed");
                }
                pod["metadata"]["deletionGracePeriodSeconds"] = json!(0);
            });
        }
    }
}

pub fn has_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

fn schedule(pod: &mut Value, now: &str) {
    pod["spec"]["nodeName"] = json!(NODE);
    set_condition(pod, "PodScheduled", true, "", "", now);
    set_condition(pod, "Initialized", true, "", "", now);
    if pod["status"]["startTime"].is_null() {
        pod["status"]["startTime"] = json!(now);
    }
}

fn end_containers(pod: &mut Value, now: &str, code: i64, reason: &str, message: &str) {
    schedule(pod, now);
    let running = &pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"];
    let started = running.as_str().unwrap_or(now).to_owned();
    let uid = object::uid(pod).to_owned();
    pod["status"]["phase"] = json!(if code == 0 { "Succeeded" } else { "Failed" });
    pod["status"]["containerStatuses"] = containers(pod, |at| {
        let (code, reason) = if at == 0 { (code, reason) } else { (0, "Completed") };
        let mut ended = json!({
            "exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now,
            "containerID": format!("containerd://{uid}-{at}"),
        });
        if at == 0 && !message.is_empty() {
            ended["message"] = json!(message);
        }
        json!({"terminated": ended})
    });
    set_ready(pod, now, false);
}

/// One status per container of the spec, in its order.
fn containers(pod: &Value, state: impl Fn(usize) -> Value) -> Value {
    let all = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let status = |(at, container): (usize, &Value)| {
        let state = state(at);
        let running = state.get("running").is_some();
        json!({
            "name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0,
            "ready": running, "started": running, "lastState": {}, "state": state,
        })
    };
    all.iter().enumerate().map(status).collect()
}

fn set_ready(pod: &mut Value, now: &str, ready: bool) {
    let reason = if ready {
        ""
    } else if has_ended(pod) {
        "PodCompleted"
    } else {
        "ContainersNotReady"
    };
    set_condition(pod, "Ready", ready, reason, "", now);
    set_condition(pod, "ContainersReady", ready, reason, "", now);
}

/// Sets one of `status.conditions`; the time moves only with the status.
pub fn set_condition(object: &mut Value, kind: &str, status: bool, reason: &str, message: &str, now: &str) {
    let status = if status { "True" } else { "False" };
    let mut all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let at = all.iter().position(|c| c["type"] == kind).unwrap_or_else(|| {
        all.push(json!({"type": kind}));
        all.len() - 1
    });
    let condition = &mut all[at];
    if condition["status"] != status {
        condition["status"] = json!(status);
        condition["lastTransitionTime"] = json!(now);
    }
    for (field, text) in [("reason", reason), ("message", message)] {
        object::set_or_remove(condition, field, if text.is_empty() { Value::Null } else { json!(text) });
    }
    object["status"]["conditions"] = Value::Array(all);
}

/// Whether `status.conditions` has this type with status `True`.
pub fn has_condition(object: &Value, kind: &str) -> bool {
    let all = object["status"]["conditions"].as_array();
    all.into_iter().flatten().any(|c| c["type"] == kind && c["status"] == "True")
}
