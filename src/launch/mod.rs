//! One launch, decided: snapshot in, plan out. No client, no clock, no environment.

pub mod arrival;
pub mod definition;
pub mod job;
mod monitored;
pub mod overrides;
pub mod progress;
pub mod resolve;
pub mod retention;
mod status;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;

pub use crate::api::conditions::Warning;
use crate::api::seen::{SeenDefinition, SeenJob, SeenLaunch, SeenPod, annotation_of};
use crate::api::task_definition::RunPolicy;
use crate::api::{TaskLaunchSpec, TaskLaunchStatus};
use crate::inject::exporters::Offer;
use crate::names::{annotation, reason, stop};
use arrival::Arrival;
use job::Owner;
use resolve::{Rejection, ResolvedLaunch};
use status::Ending;

/// A launch that ends within this time of its Job's creation costs no status write before its end. It is also
/// how long the caches may lag before something that is missing is looked for at the API server.
pub const SHORT: Duration = Duration::from_secs(5);
/// A Job without any pod after this time is asked for the reason.
pub const NO_POD: Duration = Duration::from_secs(10);
/// How often a refusal is asked for, and a refused Job tried, again.
pub const ASK_AGAIN: Duration = Duration::from_mins(1);
/// A definition or parent applied together with its launch may become visible after it.
const TOGETHER: Duration = Duration::from_secs(2);

/// All that a decision depends on.
#[derive(Clone, Debug)]
pub struct LaunchSnapshot {
    /// The time of the decision.
    pub now: Timestamp,
    /// The launch.
    pub launch: Arc<SeenLaunch>,
    /// Its definition, if there is one.
    pub definition: Option<Arc<SeenDefinition>>,
    /// Its parent.
    pub parent: Parent,
    /// What the stack that watches the launch's namespace offers, if there is one.
    pub offer: Option<Offer>,
    /// The Job of the launch's Job name, whoever owns it.
    pub job: Option<Arc<SeenJob>>,
    /// Its pods, oldest first.
    pub pods: Vec<Arc<SeenPod>>,
    /// What this process knows beyond what it watches.
    pub memory: Memory,
    /// What was asked for this decision.
    pub evidence: Evidence,
}

/// What is known of the parent that a launch names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Parent {
    /// It names none.
    #[default]
    None,
    /// There is no launch of that name.
    Missing,
    /// It has no execution id yet.
    NotStarted,
    /// It ended without ever having one.
    NeverStarted,
    /// Its execution id.
    Id(i64),
}

/// What this process knows about a launch beyond what it watches. Lost with the process, without harm: it only
/// bridges the time until the caches and the status know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The launch's Job, if this process made or adopted it.
    pub job_made: Option<MadeJob>,
    /// What the API server answered when the Job was to be made.
    pub answer: Option<Answer>,
    /// Why the Job gets no pod, and when that was asked.
    pub refusal: Option<(Timestamp, Option<String>)>,
}

/// A Job that this process made or adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeJob {
    /// When.
    pub at: Timestamp,
    /// Its name.
    pub name: String,
    /// Its UID, if it was told.
    pub uid: Option<String>,
    /// The execution id on it.
    pub execution_id: Option<i64>,
}

/// Why the API server did not make a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Another object has the name.
    NameTaken(String),
    /// The Job is invalid and will stay so.
    Invalid(String),
    /// Quota, admission or missing rights, which may change.
    Refused(Timestamp, String),
    /// The namespace is on its way out.
    NamespaceGoes(Timestamp),
}

/// What was asked for this decision because a plan wanted it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// An execution id that no other launch has.
    pub execution_id: Option<i64>,
    /// Whether the API server itself has the launch; then `launch` is what it has. `None`: not asked.
    pub launch_is_there: Option<bool>,
    /// The API server itself has no Job of that name.
    pub job_is_gone: bool,
    /// `pods` is what the API server itself has.
    pub pods_were_read: bool,
    /// Whether the run's metrics arrived. `None`: not asked.
    pub arrival: Option<Arrival>,
}

/// Something to be looked up before a decision can be made. Each costs one request, except ids, and arrivals, which
/// are asked of the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// An execution id.
    ExecutionId,
    /// The launch, at the API server.
    Launch,
    /// The Job, at the API server.
    Job,
    /// The Job's pods, at the API server.
    Pods,
    /// Why the Job gets no pod.
    Refusal,
    /// Whether the run's metrics arrived ([`arrival::asked`] says which run).
    Arrival,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaunchPlan {
    /// Look this up, then decide again; nothing else in the plan counts.
    pub want: Option<Want>,
    /// Create this Job.
    pub create_job: Option<Box<Job>>,
    /// End this Job.
    pub stop_job: Option<JobStop>,
    /// Write this status.
    pub status: Option<Box<TaskLaunchStatus>>,
    /// Publish this, once the status is written.
    pub warning: Option<Warning>,
    /// Delete this Job: it never ran and never will.
    pub delete_job: Option<JobRef>,
    /// Look again after this time at the latest.
    pub next: Option<Duration>,
}

/// A Job as it was seen: a write meant for it must not hit another one, or a later state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRef {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Version seen.
    pub resource_version: String,
}

impl JobRef {
    fn of(job: &SeenJob) -> Self {
        let meta = &job.metadata;
        Self {
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
        }
    }
}

/// End a Job before it ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStop {
    /// Which.
    pub job: JobRef,
    /// Why ([`crate::names::stop`]).
    pub why: &'static str,
}

impl LaunchPlan {
    fn want(want: Want) -> Self {
        Self { want: Some(want), ..Self::default() }
    }

    fn wait(time: Duration) -> Self {
        Self { next: Some(time), ..Self::default() }
    }
}

/// What to do about a launch.
pub fn decide(s: &LaunchSnapshot) -> LaunchPlan {
    // A status that this version cannot read may say that the launch is over: hands off.
    let goes = s.launch.metadata.deletion_timestamp.is_some() || s.evidence.launch_is_there == Some(false);
    if goes || s.launch.status.as_result().is_err() {
        return LaunchPlan::default();
    }
    if s.launch.final_phase().is_some() {
        return after_the_end(s);
    }
    // A Job goes its way even if the launch's spec cannot be read (any more).
    let spec = s.launch.spec.as_result();
    let shutdown = spec.is_ok_and(|spec| spec.shutdown.is_some());
    match &s.job {
        Some(job) if job.is_owned_by(s.uid()) => progress::decide(s, shutdown, job),
        Some(job) => status::end(s, &Ending::failed(reason::JOB_NAME_TAKEN, taken(&JobRef::of(job).name))),
        None if s.job_was_made() => missing_job(s, shutdown),
        None => match spec {
            Ok(spec) => start(s, spec),
            Err(why) => wait_for(s, &Rejection { reason: reason::INVALID_SPEC, message: why.to_owned() }),
        },
    }
}

/// A launch that is over runs nothing. One that ended while a queue held its Job back leaves a Job that nobody
/// would ever end; one that ended "before its Job was made" may have one that its cache did not show.
fn after_the_end(s: &LaunchSnapshot) -> LaunchPlan {
    let alive = s.owned_job().filter(|job| job.end().is_none() && job.metadata.deletion_timestamp.is_none());
    match alive {
        Some(job) if progress::held_back(job) => {
            LaunchPlan { delete_job: Some(JobRef::of(job)), ..LaunchPlan::default() }
        }
        Some(job) if annotation_of(&job.metadata, annotation::STOP).is_none() => {
            let stop = JobStop { job: JobRef::of(job), why: stop::SHUTDOWN };
            LaunchPlan { stop_job: Some(stop), ..LaunchPlan::default() }
        }
        _ => LaunchPlan::default(),
    }
}

/// The Job was made and is not in the cache: the cache lags, or somebody deleted the Job.
fn missing_job(s: &LaunchSnapshot, shutdown: bool) -> LaunchPlan {
    if s.evidence.job_is_gone {
        return status::end(
            s,
            &if shutdown {
                Ending::stopped("its Job was deleted while it was being stopped")
            } else {
                Ending::failed(
                    reason::JOB_LOST,
                    "its Job was deleted before it ended; it is never run again by itself: create another TaskLaunch",
                )
            },
        );
    }
    match s.memory.job_made.as_ref().map(|made| rest(SHORT, made.at, s.now)) {
        Some(rest) if !rest.is_zero() => LaunchPlan::wait(rest),
        _ => LaunchPlan::want(Want::Job),
    }
}

/// No Job was ever made.
fn start(s: &LaunchSnapshot, spec: &TaskLaunchSpec) -> LaunchPlan {
    if spec.shutdown.is_some() {
        return status::end(s, &Ending::stopped("stopped before its Job was made"));
    }
    match &s.memory.answer {
        Some(Answer::NameTaken(owner)) => {
            return status::end(s, &Ending::failed(reason::JOB_NAME_TAKEN, taken(owner)));
        }
        Some(Answer::Invalid(why)) => {
            return status::end(s, &Ending::failed(reason::INVALID_POD, why.as_str()));
        }
        Some(Answer::NamespaceGoes(at)) if !rest(ASK_AGAIN, *at, s.now).is_zero() => {
            return LaunchPlan::wait(rest(ASK_AGAIN, *at, s.now));
        }
        Some(Answer::Refused(at, why)) if !rest(ASK_AGAIN, *at, s.now).is_zero() => {
            return wait_for(s, &Rejection { reason: reason::POD_REFUSED, message: why.clone() });
        }
        Some(Answer::NamespaceGoes(_) | Answer::Refused(..)) | None => {}
    }
    match accept(s, spec) {
        Err(rejection) => wait_for(s, &rejection),
        Ok(_) if s.start_deadline_passed() => wait_for(s, &overdue(s)),
        Ok(_) if let Some(plan) = monitored::await_proxy(s) => plan,
        // A cache that lags behind another operator may hold a launch that ended and was deleted meanwhile.
        Ok(_) if s.age() >= SHORT && s.evidence.launch_is_there.is_none() => LaunchPlan::want(Want::Launch),
        Ok(resolved) => match s.evidence.execution_id {
            None => LaunchPlan::want(Want::ExecutionId),
            Some(id) => {
                let job = job::build_job(&s.owner(), &resolved, id, monitored::offer(s));
                LaunchPlan { create_job: Some(Box::new(job)), next: Some(SHORT), ..LaunchPlan::default() }
            }
        },
    }
}

/// Why a launch that could start now did not start in time.
fn overdue(s: &LaunchSnapshot) -> Rejection {
    let status = s.status();
    if status.reason.as_deref() == Some(reason::POD_REFUSED) {
        return Rejection { reason: reason::POD_REFUSED, message: status.message.unwrap_or_default() };
    }
    let message = "the operator saw it too late".to_owned();
    Rejection { reason: reason::START_DEADLINE_EXCEEDED, message }
}

/// The launch as it would run, or what it waits for.
fn accept(s: &LaunchSnapshot, spec: &TaskLaunchSpec) -> Result<ResolvedLaunch, Rejection> {
    let name = &spec.definition_ref.name;
    let definition = s.definition.as_ref().ok_or_else(|| Rejection {
        reason: reason::DEFINITION_NOT_FOUND,
        message: format!(
            "there is no TaskDefinition {name} in this namespace: create it, and the launch starts"
        ),
    })?;
    let definition = definition.spec.as_result().map_err(|why| {
        Rejection::definition(format!("TaskDefinition {name} cannot be read by this operator: {why}"))
    })?;
    let parent = spec.parent_ref.as_ref().and_then(|parent| parent.name.as_deref()).unwrap_or_default();
    let parent_execution_id = match s.parent {
        Parent::None => None,
        Parent::Id(id) => Some(id),
        Parent::Missing => {
            return Err(Rejection {
                reason: reason::PARENT_NOT_FOUND,
                message: format!(
                    "there is no TaskLaunch {parent} in this namespace: create it, and the launch starts"
                ),
            });
        }
        Parent::NotStarted => {
            return Err(Rejection {
                reason: reason::PARENT_NOT_STARTED,
                message: format!("parent TaskLaunch {parent} has no execution id yet"),
            });
        }
        Parent::NeverStarted => {
            return Err(Rejection {
                reason: reason::PARENT_NOT_STARTED,
                message: format!(
                    "parent TaskLaunch {parent} ended before it had an execution id: delete this launch, and create one with another parent"
                ),
            });
        }
    };
    resolve::resolve(name, definition, spec, parent_execution_id)
}

/// Says what a launch without a Job waits for, or ends it when it has waited long enough.
fn wait_for(s: &LaunchSnapshot, rejection: &Rejection) -> LaunchPlan {
    if s.start_deadline_passed() {
        let why = match rejection.reason {
            reason::POD_REFUSED => reason::POD_REFUSED,
            _ => reason::START_DEADLINE_EXCEEDED,
        };
        let seconds = s.start_deadline_seconds();
        let message = format!("not started within {seconds} s: {}", rejection.message);
        return status::end(s, &Ending::failed(why, message));
    }
    let together = matches!(
        rejection.reason,
        reason::DEFINITION_NOT_FOUND | reason::PARENT_NOT_FOUND | reason::PARENT_NOT_STARTED
    );
    let created = s.launch.metadata.creation_timestamp.as_ref();
    let together = created.filter(|_| together).map_or(Duration::ZERO, |t| rest(TOGETHER, t.0, s.now));
    if !together.is_zero() {
        return LaunchPlan::wait(together);
    }
    let again = (rejection.reason == reason::POD_REFUSED).then_some(ASK_AGAIN);
    let next = [s.until_start_deadline(), again].into_iter().flatten().min();
    LaunchPlan { next, ..status::waiting(s, rejection) }
}

fn taken(owner: &str) -> String {
    format!(
        "the name of its Job is taken by {owner}, which is not this launch's: delete that, then create another TaskLaunch"
    )
}

/// Time since `then`; none if the clock says that it is yet to come.
pub(crate) fn elapsed(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// What is left of `limit` since `then`. Where `then` is further ahead than that, the clocks disagree: then
/// there is nothing to wait for, since it might be for hours.
pub(crate) fn rest(limit: Duration, then: Timestamp, now: Timestamp) -> Duration {
    if elapsed(now, then) > limit { Duration::ZERO } else { limit.saturating_sub(elapsed(then, now)) }
}

impl LaunchSnapshot {
    fn uid(&self) -> &str {
        self.launch.metadata.uid.as_deref().unwrap_or_default()
    }

    fn owner(&self) -> Owner<'_> {
        let meta = &self.launch.metadata;
        Owner {
            name: meta.name.as_deref().unwrap_or_default(),
            namespace: meta.namespace.as_deref().unwrap_or_default(),
            uid: self.uid(),
        }
    }

    fn status(&self) -> TaskLaunchStatus {
        self.launch.status.as_result().cloned().unwrap_or_default()
    }

    /// Its Job, if what has the Job's name is the launch's.
    fn owned_job(&self) -> Option<&SeenJob> {
        self.job.as_deref().filter(|job| job.is_owned_by(self.uid()))
    }

    fn job_was_made(&self) -> bool {
        self.memory.job_made.is_some() || self.launch.status.as_result().is_ok_and(|s| s.job_name.is_some())
    }

    fn age(&self) -> Duration {
        self.launch.metadata.creation_timestamp.as_ref().map_or(Duration::ZERO, |t| elapsed(t.0, self.now))
    }

    /// From the Job where there is one: the definition is read once.
    fn start_deadline_seconds(&self) -> i64 {
        let by_job = self
            .job
            .as_ref()
            .and_then(|job| annotation_of(&job.metadata, annotation::START_DEADLINE)?.parse().ok());
        let by_definition =
            || Some(self.definition.as_ref()?.spec.as_result().ok()?.run_policy.start_deadline_seconds);
        by_job.or_else(by_definition).unwrap_or(RunPolicy::default_start_deadline_seconds())
    }

    /// `None` where it is 0, for ever.
    fn until_start_deadline(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.start_deadline_seconds()).ok().filter(|s| *s > 0)?;
        Some(Duration::from_secs(seconds).saturating_sub(self.age()))
    }

    fn start_deadline_passed(&self) -> bool {
        self.until_start_deadline() == Some(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests;
