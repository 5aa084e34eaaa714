//! Launches, and what would become of their Jobs if there were nodes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use millrace::api::{Phase, TaskLaunch};
use millrace::names::label;
use serde_json::{Value, json};

use crate::bare::each;
use crate::cluster::{Cluster, from};

pub fn launch(name: &str) -> TaskLaunch {
    from(json!({"metadata": {"name": name}, "spec": {"definitionRef": {"name": "task"}, "args": ["one"]}}))
}

/// Creates launches `from..to`.
pub async fn create(cluster: &Cluster, namespace: &str, from: usize, to: usize) {
    let api: Api<TaskLaunch> = cluster.api(namespace);
    each(to - from, move |i| {
        let api = api.clone();
        async move {
            api.create(&PostParams::default(), &launch(&format!("launch-{}", from + i))).await.unwrap();
        }
    })
    .await;
}

/// Ends every Job of launches in a namespace that runs: its pod has succeeded. Gives how many.
pub async fn end_jobs(cluster: &Cluster, namespace: &str) -> usize {
    let jobs: Vec<Job> = cluster.all(namespace).await;
    let running = |job: &Job| {
        job.labels().contains_key(label::LAUNCH)
            && job.status.as_ref().is_none_or(|status| status.completion_time.is_none())
    };
    let jobs: Vec<Job> = jobs.into_iter().filter(running).collect();
    let (client, number) = (cluster.client.clone(), jobs.len());
    each(number, move |i| {
        let (client, job) = (client.clone(), jobs[i].clone());
        async move { end(&client, &job).await }
    })
    .await;
    number
}

/// What kubelet and Job controller would write of a run of 200 ms.
#[allow(clippy::disallowed_methods, reason = "the bench is what the time comes from here")]
async fn end(client: &Client, job: &Job) {
    let namespace = job.namespace().unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let pod = pods.create(&PostParams::default(), &pod_of(job)).await.unwrap().name_any();
    let now = Timestamp::now();
    let started = now - Duration::from_millis(200);
    let over = json!({"status": {
        "phase": "Succeeded", "startTime": started,
        "containerStatuses": [{
            "name": container(job), "ready": false, "restartCount": 0, "image": "i", "imageID": "i",
            "state": {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": now}},
        }],
    }});
    patch_status(&pods, &pod, &over).await;
    let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "reason": "CompletionsReached"});
    let complete = json!({"status": {
        "startTime": started, "completionTime": now, "succeeded": 1, "ready": 0, "terminating": 0,
        "uncountedTerminatedPods": {},
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
    }});
    patch_status(&jobs, &job.name_any(), &complete).await;
}

async fn patch_status<K>(api: &Api<K>, name: &str, patch: &Value)
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

fn container(job: &Job) -> String {
    job.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0].name.clone()
}

fn pod_of(job: &Job) -> Pod {
    let template = &job.spec.as_ref().unwrap().template;
    let mut spec = template.spec.clone().unwrap();
    spec.automount_service_account_token = Some(false);
    let owner = json!({
        "apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": job.uid().unwrap(), "controller": true,
    });
    let metadata = template.metadata.clone().unwrap_or_default();
    from(json!({
        "metadata": {
            "name": format!("{}-x1y2z", job.name_any()),
            "labels": metadata.labels, "annotations": metadata.annotations, "ownerReferences": [owner],
        },
        "spec": spec,
    }))
}

/// Waits until so many launches of a namespace are over.
pub async fn over(cluster: &Cluster, namespace: &str, number: usize) {
    let is_over = |l: &TaskLaunch| l.status.as_ref().and_then(|s| s.phase).is_some_and(Phase::is_final);
    let over = async {
        loop {
            let all: Vec<TaskLaunch> = cluster.all(namespace).await;
            if all.iter().filter(|launch| is_over(launch)).count() >= number {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(5), over).await.expect("all launches end");
}

/// Waits until so many Jobs are in a namespace.
pub async fn jobs(cluster: &Cluster, namespace: &str, number: usize) {
    let api: Api<Job> = cluster.api(namespace);
    let there = async {
        loop {
            let page = api.list_metadata(&ListParams::default().limit(1)).await.unwrap();
            let more = usize::try_from(page.metadata.remaining_item_count.unwrap_or_default()).unwrap();
            if page.items.len() + more >= number {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(5), there).await.expect("all Jobs are made");
}
