//! A client that does nothing but writes, as fast as the API server lets it: what there is to reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures::future::join_all;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Client, Resource, ResourceExt};
use millrace::api::{TaskLaunch, TaskLaunchStatus};
use serde_json::{Value, json};

use crate::cluster::bytes;

/// Requests at a time, as many as the operator has workers.
pub const AT_ONCE: usize = 16;

/// Runs `work` on 0, 1, …, n - 1, so many at a time; gives the seconds that it took.
pub async fn each<F>(n: usize, work: impl Fn(usize) -> F + Send + Sync + 'static) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    let (begun, next, work) = (Instant::now(), Arc::new(AtomicUsize::new(0)), Arc::new(work));
    let workers = (0..AT_ONCE).map(|_| {
        let (next, work) = (next.clone(), work.clone());
        tokio::spawn(async move {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= n {
                    return;
                }
                work(i).await;
            }
        })
    });
    for worker in join_all(workers).await {
        worker.unwrap();
    }
    begun.elapsed().as_secs_f64()
}

/// A Job as the operator makes them, under a label that the operator does not watch.
pub fn like(job: &Job) -> Value {
    let mut job = json!(Job { metadata: stripped(job), spec: job.spec.clone(), status: None });
    // What the API server has added: it shall add it again.
    for added in ["selector", "manualSelector", "suspend", "completionMode"] {
        job["spec"].as_object_mut().unwrap().remove(added);
    }
    let labels = &mut job["spec"]["template"]["metadata"]["labels"];
    for added in
        ["controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"]
    {
        labels.as_object_mut().unwrap().remove(added);
    }
    serde_json::from_str(&job.to_string().replace("millrace.dev/launch", "millrace.dev/llaunch")).unwrap()
}

fn stripped(job: &Job) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        labels: job.metadata.labels.clone(),
        annotations: job.metadata.annotations.clone(),
        owner_references: job.metadata.owner_references.clone(),
        ..Default::default()
    }
}

/// Seconds to create so many Jobs like this one.
pub async fn create_jobs(client: &Client, namespace: &str, like: &Value, n: usize) -> f64 {
    let (client, namespace, like) = (client.clone(), namespace.to_owned(), like.clone());
    each(n, move |i| {
        let (client, namespace, like) = (client.clone(), namespace.clone(), like.clone());
        async move { create_job(&client, &namespace, like, &format!("bare-{i}")).await }
    })
    .await
}

async fn create_job(client: &Client, namespace: &str, mut job: Value, name: &str) {
    job["metadata"]["name"] = json!(name);
    let request = Request::new(Job::url_path(&(), Some(namespace)));
    let request = request.create(&PostParams::default(), bytes(&job)).unwrap();
    // What comes back is not read: a faster client makes a stricter comparison.
    client.request_text(request).await.unwrap();
}

/// Seconds to create a Job and write a status for each of these launches.
pub async fn create_and_end(
    client: &Client,
    namespace: &str,
    like: &Value,
    launches: &[TaskLaunch],
    status: &TaskLaunchStatus,
) -> f64 {
    let names: Arc<Vec<String>> = Arc::new(launches.iter().map(ResourceExt::name_any).collect());
    let (client, namespace, like) = (client.clone(), namespace.to_owned(), like.clone());
    let patch = json!({ "status": status });
    each(names.len(), move |i| {
        let (client, namespace, like, names) =
            (client.clone(), namespace.clone(), like.clone(), names.clone());
        let patch = patch.clone();
        async move {
            create_job(&client, &namespace, like, &format!("pair-{i}")).await;
            let request = Request::new(TaskLaunch::url_path(&(), Some(&namespace)));
            let request = request
                .patch_subresource("status", &names[i], &PatchParams::default(), &Patch::Merge(&patch))
                .unwrap();
            client.request_text(request).await.unwrap();
        }
    })
    .await
}
