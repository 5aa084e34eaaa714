//! A namespace of a test's own.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, PostParams};
use kube::{Client, Resource, ResourceExt};
use millrace::api::{TaskDefinition, TaskLaunch};
use serde_json::{Value, json};

use super::cluster::{Turn, connect, turn_alone, turn_beside, until};
use super::command::{Said, command};
use super::recorder::Recorder;
use super::{Run, evidence, operator, run};

/// Longest a test may take, its turn not counted.
const LIMIT: Duration = Duration::from_mins(8);

/// What a test works with.
pub struct Space {
    /// The namespace.
    pub name: String,
    /// A client of the cluster.
    pub client: Client,
    /// All Jobs and pods that ever were here.
    pub recorder: Recorder,
}

/// Runs a test in a namespace of its own, beside others.
pub async fn beside(name: &str, test: impl AsyncFnOnce(&Space)) {
    within_namespace(name, &turn_beside().await, test).await;
}

/// Runs a test that does something to the operator. Whatever becomes of the test, the operator is there afterwards.
pub async fn alone(name: &str, test: impl AsyncFnOnce(&Space)) {
    let turn = turn_alone().await;
    connect().await;
    let values = operator::values().await;
    let result = AssertUnwindSafe(within_namespace(name, &turn, test)).catch_unwind().await;
    operator::restore(&values).await;
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

async fn within_namespace(name: &str, _turn: &Turn, test: impl AsyncFnOnce(&Space)) {
    let client = connect().await;
    let name = format!("e2e-{name}");
    make_namespace(&client, &name).await;
    let begin = Instant::now();
    let space = Space { recorder: Recorder::start(&client, &name), name, client };
    let whole = async {
        test(&space).await;
        run::check_all(&space);
    };
    let result = AssertUnwindSafe(tokio::time::timeout(LIMIT, whole)).catch_unwind().await;
    if !matches!(result, Ok(Ok(()))) {
        evidence::print(&space.name).await;
    }
    let namespaces: Api<Namespace> = Api::all(space.client.clone());
    let _ = namespaces.delete(&space.name, &DeleteParams::background()).await;
    eprintln!("{}: {} s", space.name, begin.elapsed().as_secs());
    match result {
        Ok(Ok(())) => {}
        Ok(Err(_)) => panic!("the test took longer than {} s", LIMIT.as_secs()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Empty, whatever an earlier run left.
async fn make_namespace(client: &Client, name: &str) {
    let api: Api<Namespace> = Api::all(client.clone());
    if api.delete(name, &DeleteParams::background()).await.is_ok() {
        until(api.clone(), name, "what an earlier run left is gone", 90, |n: Option<&Namespace>| n.is_none())
            .await;
    }
    let namespace = json!({"metadata": {"name": name}});
    api.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
    // Pods are refused until it is there.
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(client.clone(), name);
    until(accounts, "default", "the service account is there", 30, |a: Option<&_>| a.is_some()).await;
}

impl Space {
    /// An API of this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Launches.
    pub fn launches(&self) -> Api<TaskLaunch> {
        self.api()
    }

    /// Creates any object of this namespace.
    pub async fn create<K>(&self, object: &Value) -> DynamicObject
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        let resource = ApiResource::erase::<K>(&());
        let mut object = object.clone();
        object["apiVersion"] = json!(resource.api_version);
        object["kind"] = json!(resource.kind);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.name, &resource);
        let created =
            api.create(&PostParams::default(), &serde_json::from_value(object.clone()).unwrap()).await;
        created.unwrap_or_else(|e| panic!("{e}\n{object:#}"))
    }

    /// Defines a task.
    pub async fn define(&self, name: &str, spec: Value) {
        self.create::<TaskDefinition>(&json!({"metadata": {"name": name}, "spec": spec})).await;
    }

    /// Launches a definition.
    pub async fn launch(&self, definition: &str) -> Run {
        self.launch_with(definition, json!({})).await
    }

    /// Launches a definition with further fields.
    pub async fn launch_with(&self, definition: &str, spec: Value) -> Run {
        let mut spec = spec;
        spec["definitionRef"] = json!({"name": definition});
        let metadata = json!({"generateName": format!("{definition}-")});
        Run::of(&self.create::<TaskLaunch>(&json!({"metadata": metadata, "spec": spec})).await)
    }

    /// The Job of a launch, once it is there.
    pub async fn job(&self, run: &Run) -> Job {
        let job =
            until(self.api(), &run.job_name(), "the Job is there", 30, |j: Option<&Job>| j.is_some()).await;
        job.unwrap()
    }

    /// The pod of a launch, once its task runs.
    pub async fn running_pod(&self, run: &Run) -> Pod {
        let job = run.job_name();
        let is_running = |pod: &Pod| {
            let mut containers = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
            containers.any(|c| c.state.as_ref().is_some_and(|s| s.running.is_some()))
        };
        let what = format!("the task of {} runs", run.name);
        let seen = self.recorder.until(&what, 60, |seen| {
            seen.pods.values().any(|p| p.job.as_ref() == Some(&job) && is_running(&p.pod))
        });
        let mut pods = seen.await.pods.into_values().filter(|p| p.job.as_ref() == Some(&job));
        pods.next().unwrap().pod
    }

    /// What a pod's task has printed.
    pub async fn log(&self, pod: &str) -> String {
        self.api::<Pod>().logs(pod, &kube::api::LogParams::default()).await.unwrap()
    }

    /// `kubectl` in this namespace.
    pub async fn kubectl(&self, args: &[&str]) -> Said {
        self.kubectl_with(args, "").await
    }

    /// `kubectl` in this namespace, with something to read.
    pub async fn kubectl_with(&self, args: &[&str], stdin: &str) -> Said {
        let all: Vec<&str> = ["-n", &self.name].iter().chain(args).copied().collect();
        command("kubectl", &all, stdin).await
    }

    /// UIDs and names of all launches.
    pub async fn all_runs(&self) -> Vec<Run> {
        let list = self.launches().list(&kube::api::ListParams::default()).await.unwrap();
        list.iter().map(|l| Run { name: l.name_any(), uid: l.uid().unwrap() }).collect()
    }
}
