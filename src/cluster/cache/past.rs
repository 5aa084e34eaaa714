//! What is no longer kept: most launches that are there are over, and their Jobs and pods would be most of the memory.

use std::ops::Bound;

use super::{Name, Seen, job_of, launch_of};
use crate::api::seen::{SeenJob, SeenLaunch, SeenPod};

impl Seen {
    /// A launch that is over runs no more: its Job, once that is over too, and its pods concern nobody.
    pub(super) fn forget_run(&mut self, name: &Name, launch: &SeenLaunch) {
        let job_name = job_of(name, launch);
        if self.job(&job_name).is_some_and(|job| is_past(launch, &job)) {
            self.jobs.by_name.remove(&job_name);
        }
        let prefix = job_name.name + "-";
        let from = name.sibling(&prefix);
        let pods = self.pods.by_name.range((Bound::Included(&from), Bound::Unbounded));
        let pods =
            pods.take_while(|(pod, _)| pod.namespace == name.namespace && pod.name.starts_with(&prefix));
        let pods: Vec<Name> = pods.map(|(pod, _)| pod.clone()).collect();
        for pod in pods {
            self.pods.by_name.remove(&pod);
        }
    }

    /// The name of a Job that is over, as its launch is.
    pub(super) fn of_the_past(&self, job: &SeenJob) -> Option<Name> {
        let name = Name::of(job);
        let launch = self.launches.by_name.get(&launch_of(&name, &job.metadata)?)?;
        is_past(launch, job).then_some(name)
    }

    /// The name of a pod whose launch is over.
    pub(super) fn of_a_past_job(&self, pod: &SeenPod) -> Option<Name> {
        let name = Name::of(pod);
        let launch_name = launch_of(&name, &pod.metadata)?;
        let launch = self.launches.by_name.get(&launch_name).filter(|l| l.final_phase().is_some())?;
        let job = job_of(&launch_name, launch).name;
        let owned = pod.metadata.owner_references.iter().flatten().any(|owner| owner.name == job);
        owned.then_some(name)
    }
}

/// Whether launch and Job are over, and the Job tells nothing that the launch does not.
fn is_past(launch: &SeenLaunch, job: &SeenJob) -> bool {
    let Some(status) = launch.status.as_result().ok().filter(|_| launch.final_phase().is_some()) else {
        return false;
    };
    job.end().is_some()
        && job.is_owned_by(launch.metadata.uid.as_deref().unwrap_or_default())
        && job.execution_id().is_none_or(|id| status.execution_id == Some(id))
}
