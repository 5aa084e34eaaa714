//! One launch, and what must be true of it when it has ended.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use kube::ResourceExt;
use kube::api::DynamicObject;
use millrace::api::{Phase, TaskLaunch, TaskLaunchStatus};
use millrace::names::{condition, job_name, reason};

use crate::chart::OWN_TASKS;

use super::Space;
use super::cluster::until;
use super::recorder::Seen;

/// Execution ids of all tests with the UID of the launch that has it.
static IDS: Mutex<BTreeMap<(Installation, i64), String>> = Mutex::new(BTreeMap::new());

/// Execution ids are unique in an installation; the operator of some namespaces is one of its own.
type Installation = bool;

/// A launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// A launch that has ended.
#[derive(Clone, Debug)]
pub struct End {
    /// Which.
    pub run: Run,
    /// What became of it.
    pub status: TaskLaunchStatus,
}

impl Run {
    /// That of an object.
    pub fn of(object: &DynamicObject) -> Self {
        Self { name: object.name_any(), uid: object.uid().unwrap() }
    }

    /// Name of its one Job.
    pub fn job_name(&self) -> String {
        job_name(&self.name, &self.uid)
    }
}

impl End {
    /// Phase, reason and exit code, in one word each.
    #[track_caller]
    pub fn is(&self, phase: Phase, reason: Option<&str>, exit_code: Option<i32>) -> &Self {
        let seen = (self.status.phase, self.status.reason.as_deref(), self.status.exit_code);
        assert_eq!(seen, (Some(phase), reason, exit_code), "{}: {:?}", self.run.name, self.status.message);
        self
    }

    /// It succeeded.
    #[track_caller]
    pub fn succeeded(&self) -> &Self {
        self.is(Phase::Succeeded, None, Some(0))
    }

    /// The message contains this.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.message().contains(text), "{:?} does not contain {text:?}", self.message());
        self
    }

    /// The message.
    pub fn message(&self) -> &str {
        self.status.message.as_deref().unwrap_or_default()
    }

    /// The external execution id.
    pub fn pod(&self) -> &str {
        self.status.pod_name.as_deref().unwrap()
    }

    /// The execution id.
    pub fn id(&self) -> i64 {
        self.status.execution_id.unwrap()
    }
}

impl Space {
    /// Waits until a launch's status fits.
    pub async fn status(
        &self,
        run: &Run,
        what: &str,
        seconds: u64,
        fits: impl Fn(&TaskLaunchStatus) -> bool,
    ) -> TaskLaunchStatus {
        let fits = |launch: Option<&TaskLaunch>| launch.and_then(|l| l.status.as_ref()).is_some_and(&fits);
        until(self.launches(), &run.name, what, seconds, fits).await.unwrap().status.unwrap()
    }

    /// Waits until a launch waits or stands for a reason.
    pub async fn reason(&self, run: &Run, reason: &str) -> TaskLaunchStatus {
        self.status(run, reason, 60, |s| s.reason.as_deref() == Some(reason)).await
    }

    /// Waits until a launch has ended, and checks everything that holds of each such launch.
    pub async fn ended(&self, run: &Run) -> End {
        let over = |s: &TaskLaunchStatus| of(s, condition::FINISHED).is_some_and(|c| c.status == "True");
        let status = self.status(run, "it has ended", 180, over).await;
        let seen =
            self.recorder.until("Jobs and pods of the end are known", 10, |seen| fits(seen, run, &status));
        let seen = tokio::time::timeout(std::time::Duration::from_secs(11), seen).await.unwrap();
        let end = End { run: run.clone(), status };
        check(&end, &seen);
        end
    }

    /// Launches, and waits for the end.
    pub async fn run(&self, definition: &str) -> End {
        self.ended(&self.launch(definition).await).await
    }
}

/// A condition of a launch.
pub fn of<'a>(
    status: &'a TaskLaunchStatus,
    type_: &str,
) -> Option<&'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    status.conditions.iter().find(|c| c.type_ == type_)
}

/// The watches of a test may be a moment behind.
fn fits(seen: &Seen, run: &Run, status: &TaskLaunchStatus) -> bool {
    let jobs = seen.jobs.values().filter(|j| j.owner.as_ref() == Some(&run.uid)).count();
    let pod = status.pod_name.as_ref().is_none_or(|pod| seen.pods.contains_key(pod));
    jobs == usize::from(status.job_name.is_some()) && pod
}

/// The status is complete and agrees with what the API server had.
fn check(end: &End, seen: &Seen) {
    let (run, status) = (&end.run, &end.status);
    let all = format!("{}: {status:#?}", run.name);
    let phase = status.phase.unwrap();
    assert!(phase.is_final(), "{all}");
    assert_eq!(status.reason.is_none(), phase == Phase::Succeeded, "{all}");
    assert!(status.completion_time.is_some(), "{all}");
    assert_eq!(status.duration.is_some(), status.start_time.is_some(), "{all}");
    assert!(status.start_time.as_ref().is_none_or(|s| Some(s) <= status.completion_time.as_ref()), "{all}");
    assert!(status.observed_generation.is_some(), "{all}");
    assert!(phase == Phase::Succeeded || !end.message().is_empty(), "a failure says why: {all}");
    assert!(end.message().len() <= 1024, "{all}");

    let expected = [
        (condition::STARTED, status.start_time.is_some()),
        (condition::FINISHED, true),
        (condition::SUCCEEDED, phase == Phase::Succeeded),
    ];
    for (type_, holds) in expected {
        let found = of(status, type_).unwrap_or_else(|| panic!("no {type_} in {all}"));
        assert_eq!(found.status, if holds { "True" } else { "False" }, "{type_} in {all}");
        assert!(!found.reason.is_empty() && found.observed_generation.is_some(), "{type_} in {all}");
    }
    if phase == Phase::Succeeded {
        assert_eq!(of(status, condition::SUCCEEDED).unwrap().reason, reason::COMPLETED, "{all}");
    }

    let mut jobs = seen.jobs.iter().filter(|(_, j)| j.owner.as_ref() == Some(&run.uid));
    let Some((uid, job)) = jobs.next() else {
        assert_eq!((&status.job_name, &status.job_uid, status.execution_id), (&None, &None, None), "{all}");
        return;
    };
    assert!(jobs.next().is_none(), "more than one Job: {all}");
    assert_eq!(job.name, run.job_name(), "{all}");
    assert_eq!(status.job_name.as_ref(), Some(&job.name), "{all}");
    assert_eq!(status.job_uid.as_ref(), Some(uid), "{all}");
    assert_eq!(status.execution_id, job.execution_id, "{all}");
    assert!(status.execution_id.is_some_and(|id| id > 0), "{all}");
    assert_eq!(of(status, condition::ACCEPTED).map(|c| c.status.as_str()), Some("True"), "{all}");

    let mut pods: Vec<_> = seen.pods.iter().filter(|(_, p)| p.job.as_ref() == Some(&job.name)).collect();
    pods.sort_by_key(|(_, p)| p.pod.metadata.creation_timestamp.clone());
    // The Job of a lost one may have gone before its pod was known.
    if status.reason.as_deref() != Some(reason::JOB_LOST) {
        assert_eq!(status.pod_name.as_ref(), pods.last().map(|(name, _)| *name), "{all}");
    }
}

/// What holds of all launches of a test, whatever they did: at most one Job each, no execution id twice.
pub fn check_all(space: &Space) {
    let seen = space.recorder.seen();
    let mut owners = BTreeMap::new();
    // A test that failed here has said so itself.
    let mut ids = IDS.lock().unwrap_or_else(PoisonError::into_inner);
    let installation: Installation = space.name.ends_with(OWN_TASKS);
    for (uid, job) in &seen.jobs {
        let Some(owner) = &job.owner else { continue };
        let other = owners.insert(owner, uid);
        assert_eq!(other, None, "a launch had two Jobs: {:#?}", seen.jobs);
        let id = job.execution_id.unwrap_or_else(|| panic!("a Job without execution id: {job:?}"));
        let other = ids.insert((installation, id), owner.clone());
        assert!(other.is_none(), "execution id {id} was given twice: {other:?} and {job:?}");
    }
}
