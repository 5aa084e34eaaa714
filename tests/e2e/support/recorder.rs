//! Every Job and pod that ever was in a namespace: what the API server shows at the end is not all there was.

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource, ResourceExt};
use millrace::names::label;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cluster::within;

/// A Job that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenJob {
    /// Its name.
    pub name: String,
    /// UID of the launch that owns it.
    pub owner: Option<String>,
    /// Its execution id.
    pub execution_id: Option<i64>,
}

/// A pod that was.
#[derive(Clone, Debug)]
pub struct SeenPod {
    /// Name of its Job.
    pub job: Option<String>,
    /// As it was last.
    pub pod: Pod,
}

/// Everything that was, by UID.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Jobs.
    pub jobs: BTreeMap<String, SeenJob>,
    /// Pods by name: a Job never uses one twice.
    pub pods: BTreeMap<String, SeenPod>,
}

/// Watches from before a test's first object to its end.
pub struct Recorder {
    seen: watch::Receiver<Seen>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Recorder {
    /// Begins.
    pub fn start(client: &Client, namespace: &str) -> Self {
        let (sender, seen) = watch::channel(Seen::default());
        let jobs = record::<Job>(client, namespace, sender.clone(), |seen, job| {
            let owner = job.owner_references().iter().find(|o| o.kind == "TaskLaunch");
            let id = job.annotations().get(label::EXECUTION_ID).and_then(|id| id.parse().ok());
            let known =
                SeenJob { name: job.name_any(), owner: owner.map(|o| o.uid.clone()), execution_id: id };
            seen.jobs.insert(job.uid().unwrap(), known);
        });
        let pods = record::<Pod>(client, namespace, sender, |seen, pod| {
            let job = pod.labels().get(label::JOB_NAME).cloned();
            seen.pods.insert(pod.name_any(), SeenPod { job, pod });
        });
        Self { seen, tasks: vec![jobs, pods] }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until what was seen fits.
    pub async fn until(&self, what: &str, seconds: u64, fits: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        let answer = within(seconds, what, seen.wait_for(fits)).await;
        answer.unwrap_or_else(|_| panic!("the watches of the test ended")).clone()
    }
}

fn record<K>(
    client: &Client,
    namespace: &str,
    sender: watch::Sender<Seen>,
    note: impl Fn(&mut Seen, K) + Send + 'static,
) -> JoinHandle<()>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + Send
        + DeserializeOwned
        + 'static,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    tokio::spawn(async move {
        let events = watcher(api, watcher::Config::default());
        pin_mut!(events);
        while let Some(event) = events.next().await {
            // A watch that breaks is begun again by itself.
            if let Ok(Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) = event {
                sender.send_modify(|seen| note(seen, object));
            }
        }
    })
}
