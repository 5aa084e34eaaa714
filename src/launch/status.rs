//! The status that goes with a decision, and whether it is worth a write.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::monitored::AROUND_MS;
use super::resolve::Rejection;
use super::{LaunchPlan, LaunchSnapshot, Want, Warning, elapsed, monitored};
use crate::api::conditions::{self, Draft, clip, whole_seconds};
use crate::api::seen::{SeenJob, annotation_of};
use crate::api::{Phase, TaskLaunchStatus};
use crate::names::{annotation, condition, reason};

/// How a launch ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ending {
    pub(super) phase: Phase,
    pub(super) reason: &'static str,
    pub(super) message: Option<String>,
    pub(super) exit_code: Option<i32>,
    pub(super) started: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    pub(super) pod_name: Option<String>,
    pub(super) attempts: Option<i32>,
}

impl Ending {
    pub(super) fn new(phase: Phase, reason: &'static str) -> Self {
        let (message, exit_code, started, ended, pod_name, attempts) = (None, None, None, None, None, None);
        Self { phase, reason, message, exit_code, started, ended, pod_name, attempts }
    }

    pub(super) fn failed(reason: &'static str, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..Self::new(Phase::Failed, reason) }
    }

    pub(super) fn stopped(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..Self::new(Phase::Stopped, reason::STOPPED) }
    }
}

/// The plan that ends a launch: one write of a complete status, once it is known whether its metrics arrived.
pub(super) fn end(s: &LaunchSnapshot, ending: &Ending) -> LaunchPlan {
    let mut next = identified(s);
    let ended = whole_seconds(ending.ended.unwrap_or(s.now));
    next.phase = Some(ending.phase);
    next.reason = (ending.phase != Phase::Succeeded).then(|| ending.reason.to_owned());
    next.message = ending.message.as_deref().map(clip).filter(|m| !m.is_empty());
    next.exit_code = ending.exit_code;
    next.pod_name = ending.pod_name.clone().or(next.pod_name);
    next.attempts = ending.attempts.or(next.attempts);
    next.start_time = ending.started.map(Time).or(next.start_time);
    next.completion_time = Some(Time(ended));
    next.duration = next.start_time.as_ref().map(|start| people(elapsed(start.0, ended)));

    let sentence = next.message.clone().unwrap_or_default();
    // What the cluster alone refused was right in itself.
    let accepted = next.job_name.is_some()
        || matches!(ending.reason, reason::JOB_NAME_TAKEN | reason::INVALID_POD | reason::POD_REFUSED);
    // What succeeded has run, even if nobody saw when.
    let started = next.start_time.is_some() || ending.phase == Phase::Succeeded;
    let Some(metrics) = monitored::received(s, started, killed_early(ending).as_deref()) else {
        return LaunchPlan::want(Want::Arrival);
    };
    let to = ended.as_millisecond().saturating_add(AROUND_MS).to_string();
    next.dashboard_url = monitored::dashboard_url(s, &next, &to);
    let not_started = if started { reason::STARTED } else { reason::NEVER_STARTED };
    let mut drafts =
        Vec::from_iter(accepted.then(|| Draft::new(condition::ACCEPTED, true, reason::ACCEPTED, "")));
    drafts.extend([
        Draft::new(condition::STARTED, started, not_started, ""),
        Draft::new(condition::FINISHED, true, ending.reason, sentence.clone()),
        Draft::new(condition::SUCCEEDED, ending.phase == Phase::Succeeded, ending.reason, sentence.clone()),
        metrics,
    ]);
    let warning = (ending.phase == Phase::Failed).then_some((ending.reason, sentence));
    write(s, next, &drafts, warning)
}

/// A proxy pulls every ten seconds, and an application takes some to start.
const EARLY: Duration = Duration::from_mins(1);

/// How a run was killed that had hardly begun: by whom is told elsewhere, but its silence is no wonder.
fn killed_early(ending: &Ending) -> Option<String> {
    let how = match (ending.reason, ending.exit_code) {
        (reason::OOM_KILLED | reason::EVICTED, _) => ending.reason.to_owned(),
        (_, Some(code @ (137 | 143))) => format!("exit code {code}"),
        _ => return None,
    };
    let ran = ending.started.zip(ending.ended).map(|(started, ended)| elapsed(started, ended));
    ran.is_none_or(|ran| ran < EARLY).then_some(how)
}

/// The plan that says what a launch without a Job waits for.
pub(super) fn waiting(s: &LaunchSnapshot, rejection: &Rejection) -> LaunchPlan {
    let mut next = s.status();
    next.phase = Some(Phase::Pending);
    // What quota says names numbers that change with every try; a mistake's sentence changes with the mistake.
    if rejection.reason != reason::POD_REFUSED {
        next.reason = None;
    }
    say(&mut next, rejection.reason, &rejection.message);
    let sentence = next.message.clone().unwrap_or_default();
    let refusal = |type_| Draft::new(type_, false, rejection.reason, sentence.clone());
    let drafts = match rejection.reason {
        // Refused by the cluster: the launch itself is as it should be.
        reason::POD_REFUSED => {
            vec![Draft::new(condition::ACCEPTED, true, reason::ACCEPTED, ""), refusal(condition::STARTED)]
        }
        _ => vec![refusal(condition::ACCEPTED)],
    };
    write(s, next, &drafts, Some((rejection.reason, sentence)))
}

/// The plan that says that an accepted launch waits for the proxy. It is no warning: the launch runs in any case.
pub(super) fn awaits_proxy(s: &LaunchSnapshot, sentence: &str) -> LaunchPlan {
    let mut next = s.status();
    next.phase = Some(Phase::Pending);
    say(&mut next, reason::PROXY_NOT_READY, sentence);
    let drafts = [
        Draft::new(condition::ACCEPTED, true, reason::ACCEPTED, ""),
        Draft::new(condition::STARTED, false, reason::PROXY_NOT_READY, sentence),
    ];
    write(s, next, &drafts, None)
}

/// Where a launch with a Job stands.
pub(super) struct Standing<'a> {
    pub(super) phase: Phase,
    pub(super) reason: &'static str,
    pub(super) message: &'a str,
    /// Whether people should hear of it.
    pub(super) warn: bool,
    pub(super) started: Option<Timestamp>,
    pub(super) pod_name: Option<String>,
    pub(super) attempts: Option<i32>,
}

/// The plan that says where a launch with a Job stands.
pub(super) fn standing(s: &LaunchSnapshot, now: &Standing<'_>) -> LaunchPlan {
    let mut next = identified(s);
    next.phase = Some(now.phase);
    match now.reason {
        reason::RUNNING => (next.reason, next.message) = (None, None),
        why => say(&mut next, why, now.message),
    }
    next.pod_name = now.pod_name.clone().or(next.pod_name);
    next.attempts = now.attempts.or(next.attempts);
    next.start_time = now.started.map(Time).or(next.start_time);
    if now.phase == Phase::Running {
        next.dashboard_url = monitored::dashboard_url(s, &next, "now");
    }
    let sentence = next.message.clone().unwrap_or_default();
    let started = next.start_time.is_some();
    let why = if started { reason::STARTED } else { now.reason };
    let unfinished = if now.phase == Phase::Stopping { reason::STOPPING } else { reason::RUNNING };
    let drafts = [
        Draft::new(condition::ACCEPTED, true, reason::ACCEPTED, ""),
        Draft::new(condition::STARTED, started, why, if started { "" } else { &sentence }),
        Draft::new(condition::FINISHED, false, unfinished, ""),
    ];
    let warning = now.warn.then(|| (now.reason, sentence.clone()));
    write(s, next, &drafts, warning)
}

/// Sentences of the kubelet alternate (pull failed, backing off) while the reason stays; one is enough.
fn say(status: &mut TaskLaunchStatus, reason: &str, message: &str) {
    if status.reason.as_deref() != Some(reason) {
        status.reason = Some(reason.to_owned());
        status.message = Some(clip(message)).filter(|m| !m.is_empty());
    }
}

/// The present status with what the Job says about who the run is.
fn identified(s: &LaunchSnapshot) -> TaskLaunchStatus {
    let mut status = s.status();
    if let Some(made) = &s.memory.job_made {
        status.job_name = Some(made.name.clone());
        status.job_uid = made.uid.clone().or(status.job_uid);
        status.execution_id = made.execution_id.or(status.execution_id);
    }
    if let Some(job) = s.owned_job() {
        status.job_name.clone_from(&job.metadata.name);
        status.job_uid.clone_from(&job.metadata.uid);
        status.execution_id = job.execution_id();
        status.parent_execution_id = parent_of(job);
    }
    status
}

fn parent_of(job: &SeenJob) -> Option<i64> {
    annotation_of(&job.metadata, annotation::PARENT_EXECUTION_ID)?.parse().ok()
}

/// Only a different status is written; an event goes only with a new reason.
fn write(
    s: &LaunchSnapshot,
    mut next: TaskLaunchStatus,
    drafts: &[Draft],
    warning: Option<(&'static str, String)>,
) -> LaunchPlan {
    let generation = s.launch.metadata.generation;
    next.observed_generation = generation;
    for draft in drafts {
        conditions::merge(&mut next.conditions, draft, generation, s.now);
    }
    let before = s.status();
    if next == before {
        return LaunchPlan::default();
    }
    let new_reason = before.reason != next.reason;
    let warning = warning
        .filter(|_| new_reason)
        .map(|(reason, message)| Warning { reason: reason.to_owned(), message });
    LaunchPlan { status: Some(Box::new(next)), warning, ..LaunchPlan::default() }
}

/// A duration for people, in the units that `kubectl` uses: 12s, 3m5s, 2h1m.
pub(super) fn people(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s}s"),
        (0, h, m, _) => format!("{h}h{m}m"),
        (d, h, _, _) => format!("{d}d{h}h"),
    }
}
