//! Gathers all that a decision may depend on, the time included.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};

use super::cache::{Name, job_of, sort_by_age};
use super::error::Error;
use super::{Clock, Cluster};
use crate::api::seen::{SeenJob, SeenLaunch, SeenPod};
use crate::facts::{self, Facts};
use crate::launch::arrival::{self, Arrival, Asked};
use crate::launch::{Evidence, LaunchSnapshot, MadeJob, Parent, Want};
use crate::names::label;

/// The machine's clock: the only place that reads it.
#[expect(clippy::disallowed_methods, reason = "the clock enters here")]
pub fn system_clock() -> Clock {
    Arc::new(Timestamp::now)
}

impl Cluster {
    /// All that is known about a launch; `None` if there is none of that name.
    pub fn observe_launch(&self, name: &Name) -> Option<LaunchSnapshot> {
        let offer = self.monitoring.offer(&name.namespace);
        let seen = self.cache.lock();
        let launch = seen.launch(name);
        if launch.as_ref().is_none_or(|launch| launch.final_phase().is_some()) {
            self.memories.forget(name);
        }
        let launch = launch?;
        let spec = launch.spec.as_result().ok();
        let definition = spec.and_then(|spec| {
            seen.definition(&Name::new(name.namespace.as_str(), spec.definition_ref.name.as_str()))
        });
        let parent = spec.and_then(|spec| spec.parent_ref.as_ref()).map_or(Parent::None, |parent| {
            match (&parent.name, parent.execution_id) {
                (_, Some(id)) => Parent::Id(id),
                (Some(other), None) => {
                    observe_parent(&seen, &Name::new(name.namespace.as_str(), other.as_str()))
                }
                (None, None) => Parent::None,
            }
        });
        let job = seen.job(&job_of(name, &launch));
        let pods = job.as_ref().map(|job| seen.pods_of(job, name)).unwrap_or_default();
        drop(seen);
        let now = (self.clock)();
        let uid = launch.metadata.uid.as_deref().unwrap_or_default();
        let mut memory = self.memories.of(name, uid);
        let owned = job.as_ref().filter(|job| job.is_owned_by(uid) && launch.final_phase().is_none());
        if let Some(job) = owned.filter(|_| memory.job_made.is_none()) {
            // A predecessor's Job that vanishes before any status names it must not be made again.
            memory.job_made = Some(MadeJob {
                at: now,
                name: job.name_any(),
                uid: job.uid(),
                execution_id: job.execution_id(),
            });
            self.memories.change(name, uid, |known| known.job_made.clone_from(&memory.job_made));
        }
        Some(LaunchSnapshot {
            now,
            launch,
            definition,
            parent,
            offer,
            job,
            pods,
            memory,
            evidence: Evidence::default(),
        })
    }

    /// Looks up what a plan wants and puts it into the snapshot.
    pub async fn look_up(&self, want: Want, name: &Name, snapshot: &mut LaunchSnapshot) -> Result<(), Error> {
        let job = job_of(name, &snapshot.launch);
        match want {
            Want::ExecutionId => {
                snapshot.evidence.execution_id = Some(self.ids.next(|| (self.highest_id)()).await?);
            }
            Want::Launch => {
                let read = self.read_launch(name).await?;
                let same = read.filter(|read| read.metadata.uid == snapshot.launch.metadata.uid);
                snapshot.evidence.launch_is_there = Some(same.is_some());
                if let Some(launch) = same {
                    snapshot.launch = Arc::new(launch);
                }
            }
            Want::Job => {
                snapshot.job = self.read_job(&job).await?.map(Arc::new);
                snapshot.evidence.job_is_gone = snapshot.job.is_none();
                if let Some(found) = &snapshot.job {
                    snapshot.pods = self.cache.lock().pods_of(found, name);
                }
            }
            Want::Pods => {
                let mut read = self.read_pods(&job).await?;
                // A deleted pod's last state, seen earlier, still counts.
                read.retain(|pod| {
                    !snapshot
                        .pods
                        .iter()
                        .any(|known| known.metadata.uid == pod.metadata.uid && known.is_over())
                });
                snapshot.pods.retain(|known| !read.iter().any(|pod| pod.metadata.uid == known.metadata.uid));
                snapshot.pods.extend(read);
                sort_by_age(&mut snapshot.pods);
                snapshot.evidence.pods_were_read = true;
            }
            Want::Refusal => {
                let refusal = self.read_refusal(&job, snapshot.job.as_deref()).await?;
                let uid = snapshot.launch.metadata.uid.clone().unwrap_or_default();
                self.memories.change(name, &uid, |memory| memory.refusal = Some((snapshot.now, refusal)));
                snapshot.memory = self.memories.of(name, &uid);
            }
            Want::Arrival => {
                let asked = arrival::asked(snapshot);
                snapshot.evidence.arrival = Some(observe_arrival(&self.facts, asked.as_ref()).await);
            }
        }
        Ok(())
    }

    async fn read_launch(&self, name: &Name) -> Result<Option<SeenLaunch>, Error> {
        let api: Api<SeenLaunch> = Api::namespaced(self.client.clone(), &name.namespace);
        api.get_opt(&name.name).await.map_err(|e| Error::request("get", format!("TaskLaunch {name}"), e))
    }

    /// The Job as the API server itself has it.
    pub(super) async fn read_job(&self, job: &Name) -> Result<Option<SeenJob>, Error> {
        let api: Api<SeenJob> = Api::namespaced(self.client.clone(), &job.namespace);
        api.get_opt(&job.name).await.map_err(|e| Error::request("get", format!("Job {job}"), e))
    }

    async fn read_pods(&self, job: &Name) -> Result<Vec<Arc<SeenPod>>, Error> {
        let api: Api<SeenPod> = Api::namespaced(self.client.clone(), &job.namespace);
        let selector = ListParams::default().labels(&format!("{}={}", label::JOB_NAME, job.name));
        let list = api.list(&selector).await;
        let list = list.map_err(|e| Error::request("list", format!("pods of Job {job}"), e))?;
        Ok(list.items.into_iter().map(Arc::new).collect())
    }

    /// The sentence with which quota or admission refused the Job's pod: the Job controller tells it only in an
    /// event.
    async fn read_refusal(&self, name: &Name, job: Option<&SeenJob>) -> Result<Option<String>, Error> {
        let Some(uid) = job.and_then(ResourceExt::uid) else {
            return Ok(None);
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &name.namespace);
        let selector = ListParams::default().fields(&format!("involvedObject.uid={uid},reason=FailedCreate"));
        let list = api.list(&selector).await;
        let list = list.map_err(|e| Error::request("list", format!("events of Job {name}"), e))?;
        let newest = list.items.into_iter().max_by_key(|event| {
            let time = event.last_timestamp.as_ref().map(|t| t.0);
            time.or(event.event_time.as_ref().map(|t| t.0)).or(event
                .meta()
                .creation_timestamp
                .as_ref()
                .map(|t| t.0))
        });
        Ok(newest.and_then(|event| event.message))
    }
}

/// How long the proxies are asked whether a run's metrics arrived.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the metrics of a run arrived.
async fn observe_arrival(facts: &Facts, run: Option<&Asked>) -> Arrival {
    let Some(run) = run else { return Arrival::NotObservable };
    let asked = facts::Run {
        stack: &run.stack,
        execution_id: run.execution_id,
        pod: run.pod.as_deref(),
        address: run.address,
        started: run.started,
        ended: run.ended,
    };
    match facts.arrived(&asked, PATIENCE).await {
        facts::Arrival::Received { door, series, pushed } => Arrival::Received { door, series, pushed },
        facts::Arrival::NoBody { connected } => Arrival::NoBody { connected },
        facts::Arrival::Unreachable(why) => Arrival::Unreachable(why),
        // Its proxies are to be followed and have no address: none of them is there.
        facts::Arrival::NotObservable => {
            Arrival::Unreachable(format!("TaskMonitoring {} has no proxy that can be asked", run.stack))
        }
    }
}

/// A parent's id is on its Job long before it is in its status.
fn observe_parent(seen: &super::cache::Seen, name: &Name) -> Parent {
    let Some(parent) = seen.launch(name) else {
        return Parent::Missing;
    };
    let told = parent.status.as_result().ok().and_then(|status| status.execution_id);
    let job = || {
        seen.job(&job_of(name, &parent))
            .filter(|job| job.is_owned_by(parent.metadata.uid.as_deref().unwrap_or_default()))
    };
    match told.or_else(|| job()?.execution_id()) {
        Some(id) => Parent::Id(id),
        None if parent.final_phase().is_some() => Parent::NeverStarted,
        None => Parent::NotStarted,
    }
}
