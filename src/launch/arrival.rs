//! Whether the metrics of a run arrived: what is asked, and what may be answered.

use std::net::IpAddr;

use jiff::Timestamp;

use super::{LaunchSnapshot, monitored, progress};
use crate::api::seen::SeenJob;

/// Whether the metrics of a run arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A proxy has them, on disk.
    Received {
        /// The door they came through, in a word.
        door: String,
        /// How many series.
        series: usize,
        /// Whether the application sent them at its end; else the last pulled snapshot was kept.
        pushed: bool,
    },
    /// No proxy has any.
    NoBody {
        /// Whether the pod connected to a proxy and never sent anything.
        connected: bool,
    },
    /// A proxy that may have them did not answer: which, and why.
    Unreachable(String),
    /// Nobody here can see what arrives there.
    NotObservable,
}

/// Which run it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// namespace/name of the stack.
    pub stack: String,
    /// `task_execution_id`.
    pub execution_id: i64,
    /// `task_external_execution_id`, if a pod was ever seen.
    pub pod: Option<String>,
    /// The pod's address, by which a client is known that connected and sent nothing.
    pub address: Option<IpAddr>,
    /// When the task's container started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

/// The run that a plan which wants [`super::Want::Arrival`] asks for.
pub fn asked(s: &LaunchSnapshot) -> Option<Asked> {
    let status = s.status();
    let job = s.owned_job();
    let (pod, started, ended) = job.map(|job| progress::witness(s, job)).unwrap_or_default();
    let by_job = job.and_then(SeenJob::execution_id);
    let made = s.memory.job_made.as_ref().and_then(|made| made.execution_id);
    Some(Asked {
        stack: monitored::stack(s)?.0.to_owned(),
        execution_id: by_job.or(made).or(status.execution_id)?,
        pod: pod.and_then(|pod| pod.metadata.name.clone()).or(status.pod_name),
        address: pod.and_then(|pod| pod.status.pod_ip),
        started: started.or(status.start_time.map(|t| t.0)),
        ended,
    })
}
