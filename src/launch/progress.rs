//! A launch whose Job exists: running, waiting, being ended, ended.

use jiff::Timestamp;

use super::status::{self, Ending, Standing};
use super::{ASK_AGAIN, JobRef, JobStop, LaunchPlan, LaunchSnapshot, NO_POD, SHORT, Want, elapsed};
use crate::api::seen::{ContainerStatus, JobCondition, SeenJob, SeenPod, Terminated, annotation_of};
use crate::api::{Phase, TaskLaunchSpec};
use crate::names::{annotation, reason, stop};

/// What the kubelet says when an image cannot be had.
const IMAGE_REASONS: [&str; 7] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
];
/// What the kubelet says when a container cannot be made from its specification.
const CONFIG_REASONS: [&str; 3] = ["CreateContainerConfigError", "CreateContainerError", "RunContainerError"];

pub(super) fn decide(s: &LaunchSnapshot, spec: &TaskLaunchSpec, job: &SeenJob) -> LaunchPlan {
    if let Some(end) = job.end() {
        return ended(s, job, end);
    }
    if job.metadata.deletion_timestamp.is_some() {
        // Somebody deletes it: the next event, or its absence, tells how it ended.
        return LaunchPlan::wait(SHORT);
    }
    let task = Task::of(s, job);
    match why_stop(s, spec, job, &task) {
        Some(why) => stopping(s, job, &task, why),
        None => going(s, job, &task),
    }
}

/// What the pods say about the task's container.
struct Task<'a> {
    pod: Option<&'a SeenPod>,
    container: Option<&'a ContainerStatus>,
}

impl<'a> Task<'a> {
    fn of(s: &'a LaunchSnapshot, job: &SeenJob) -> Self {
        let name = annotation_of(&job.metadata, annotation::TASK_CONTAINER);
        let pod = s.pods.last().map(AsRef::as_ref);
        Self { pod, container: pod.and_then(|pod| pod.task_container(name)) }
    }

    fn terminated(&self) -> Option<&'a Terminated> {
        self.container?.state.terminated.as_ref()
    }

    fn started(&self) -> Option<Timestamp> {
        let state = &self.container?.state;
        let running = state.running.as_ref().and_then(|r| r.started_at.as_ref());
        let terminated = state.terminated.as_ref().and_then(|t| t.started_at.as_ref());
        // The kubelet gives the epoch for a container that could not be started.
        running.or(terminated).map(|t| t.0).filter(|t| t.as_second() > 0)
    }

    fn pod_name(&self) -> Option<String> {
        self.pod?.metadata.name.clone()
    }
}

fn attempts(job: &SeenJob) -> Option<i32> {
    let status = &job.status;
    (job.spec.backoff_limit > 0).then(|| status.active + status.failed + status.succeeded).filter(|n| *n > 0)
}

fn has_started(s: &LaunchSnapshot, task: &Task<'_>) -> bool {
    task.started().is_some() || s.launch.status.as_result().is_ok_and(|status| status.start_time.is_some())
}

fn why_stop(
    s: &LaunchSnapshot,
    spec: &TaskLaunchSpec,
    job: &SeenJob,
    task: &Task<'_>,
) -> Option<&'static str> {
    match annotation_of(&job.metadata, annotation::STOP) {
        Some(stop::START_DEADLINE) => return Some(stop::START_DEADLINE),
        Some(_) => return Some(stop::SHUTDOWN),
        None => {}
    }
    if spec.shutdown.is_some() {
        return Some(stop::SHUTDOWN);
    }
    (s.start_deadline_passed() && !has_started(s, task)).then_some(stop::START_DEADLINE)
}

/// Ends a Job: its deadline becomes 1 s, so that the Job controller ends the pods (SIGTERM, grace period,
/// SIGKILL) and keeps the Job as evidence. A Job that a queue holds back has no pods and no deadline: there the
/// launch ends at once, and its Job is deleted afterwards.
fn stopping(s: &LaunchSnapshot, job: &SeenJob, task: &Task<'_>, why: &'static str) -> LaunchPlan {
    if job.spec.suspend && job.status.active == 0 {
        let ending = match why {
            stop::SHUTDOWN => Ending::stopped("stopped while its Job was suspended"),
            _ => not_started(s, job, task),
        };
        return status::end(s, &ending);
    }
    let (reason, message, warn) = match why {
        stop::SHUTDOWN => (reason::STOPPING, "the launch asks for its end".to_owned(), false),
        _ => {
            let ending = not_started(s, job, task);
            (ending.reason, ending.message.unwrap_or_default(), true)
        }
    };
    let told = s.launch.status.as_result().is_ok_and(|status| status.phase == Some(Phase::Stopping));
    let standing = Standing {
        phase: Phase::Stopping,
        reason,
        message: &message,
        warn,
        started: task.started(),
        pod_name: task.pod_name(),
        attempts: attempts(job),
    };
    let plan = if told { LaunchPlan::default() } else { status::standing(s, &standing) };
    let asked = annotation_of(&job.metadata, annotation::STOP).is_some();
    LaunchPlan { stop_job: (!asked).then(|| JobStop { job: JobRef::of(job), why }), ..plan }
}

fn going(s: &LaunchSnapshot, job: &SeenJob, task: &Task<'_>) -> LaunchPlan {
    let created = job.metadata.creation_timestamp.as_ref().map_or(s.now, |t| t.0);
    let age = elapsed(created, s.now);
    let podless = task.pod.is_none() && !job.spec.suspend;
    if podless
        && age >= NO_POD
        && s.memory.refusal.as_ref().is_none_or(|(at, _)| elapsed(*at, s.now) >= ASK_AGAIN)
    {
        return LaunchPlan::want(Want::Refusal);
    }
    let started = has_started(s, task);
    let mut next: Vec<_> = (!started).then(|| s.until_start_deadline()).into_iter().flatten().collect();
    if podless {
        next.push(if age < NO_POD { NO_POD.saturating_sub(age) } else { ASK_AGAIN });
    }
    if age < SHORT {
        next.push(SHORT.saturating_sub(age));
        return LaunchPlan { next: next.into_iter().min(), ..LaunchPlan::default() };
    }
    let (reason, message) = if started { (reason::RUNNING, String::new()) } else { obstacle(s, job, task) };
    let standing = Standing {
        phase: if started { Phase::Running } else { Phase::Pending },
        reason,
        message: &message,
        warn: !matches!(reason, reason::RUNNING | reason::STARTING | reason::SUSPENDED),
        started: task.started(),
        pod_name: task.pod_name(),
        attempts: attempts(job),
    };
    LaunchPlan { next: next.into_iter().min(), ..status::standing(s, &standing) }
}

/// What keeps the task from starting.
fn obstacle(s: &LaunchSnapshot, job: &SeenJob, task: &Task<'_>) -> (&'static str, String) {
    if job.spec.suspend {
        return (reason::SUSPENDED, "its Job is suspended, by a queue for example".to_owned());
    }
    let Some(pod) = task.pod else {
        return match &s.memory.refusal {
            Some((_, Some(why))) => (reason::POD_REFUSED, why.clone()),
            _ => (reason::STARTING, "its Job has no pod yet".to_owned()),
        };
    };
    let containers = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    for container in containers {
        let Some(waiting) = &container.state.waiting else {
            continue;
        };
        let why = waiting.reason.as_deref().unwrap_or_default();
        let sentence = || {
            let message = waiting.message.as_deref().unwrap_or("no further message");
            format!("container {}: {why}: {message}", container.name)
        };
        if IMAGE_REASONS.contains(&why) {
            return (reason::IMAGE_PULL_FAILED, sentence());
        }
        if CONFIG_REASONS.contains(&why) {
            return (reason::INVALID_POD, sentence());
        }
    }
    match pod.condition("PodScheduled").filter(|c| c.status == "False") {
        Some(c) => (reason::UNSCHEDULABLE, c.message.clone().unwrap_or_default()),
        None => (reason::STARTING, "its pod is starting".to_owned()),
    }
}

/// How a launch ends that did not start in time: what it waited for, if that is known.
fn not_started(s: &LaunchSnapshot, job: &SeenJob, task: &Task<'_>) -> Ending {
    let recorded = s.status();
    let (reason, message) = match recorded.reason.as_deref() {
        Some(reason::IMAGE_PULL_FAILED) => (reason::IMAGE_PULL_FAILED, recorded.message.unwrap_or_default()),
        Some(reason::UNSCHEDULABLE) => (reason::UNSCHEDULABLE, recorded.message.unwrap_or_default()),
        Some(reason::POD_REFUSED) => (reason::POD_REFUSED, recorded.message.unwrap_or_default()),
        Some(reason::INVALID_POD) => (reason::INVALID_POD, recorded.message.unwrap_or_default()),
        _ => obstacle(s, job, task),
    };
    let reason = match reason {
        reason::STARTING | reason::SUSPENDED => reason::START_DEADLINE_EXCEEDED,
        known => known,
    };
    let prefix = format!("not started within {} s: ", s.start_deadline_seconds());
    let message = if message.starts_with("not started within") { message } else { prefix + &message };
    Ending { pod_name: task.pod_name(), ..Ending::failed(reason, message) }
}

/// The Job is over. Its pod's last state may arrive a moment later.
fn ended(s: &LaunchSnapshot, job: &SeenJob, end: &JobCondition) -> LaunchPlan {
    let task = Task::of(s, job);
    let told = task.terminated().is_some() || task.pod.is_some_and(SeenPod::is_over);
    let counted = job.status.active + job.status.failed + job.status.succeeded > 0;
    let never_ran = annotation_of(&job.metadata, annotation::STOP) == Some(stop::START_DEADLINE)
        || task.container.is_some_and(|c| c.state.waiting.is_some() && end.type_ == "Failed");
    let pod_expected = !never_ran && (counted || task.pod.is_some());
    if !told && pod_expected && !s.evidence.pods_were_read {
        let over = end.last_transition_time.as_ref().map_or(s.now, |t| t.0);
        let rest = SHORT.saturating_sub(elapsed(over, s.now));
        return if rest.is_zero() { LaunchPlan::want(Want::Pods) } else { LaunchPlan::wait(rest) };
    }
    let mut ending = outcome(s, job, end, &task);
    if !told && pod_expected && ending.phase != Phase::Succeeded {
        let rest = ending.message.map(|m| format!("; {m}")).unwrap_or_default();
        ending.message = Some(format!("PodGone: the pod was gone before its exit code was seen{rest}"));
    }
    status::end(s, &ending)
}

fn outcome(s: &LaunchSnapshot, job: &SeenJob, end: &JobCondition, task: &Task<'_>) -> Ending {
    let told = task.terminated();
    let finished = told.and_then(|t| t.finished_at.as_ref()).filter(|t| t.0.as_second() > 0);
    let facts = |ending: Ending| Ending {
        exit_code: told.map(|t| t.exit_code),
        started: task.started(),
        ended: finished.or(end.last_transition_time.as_ref()).map(|t| t.0),
        pod_name: task.pod_name(),
        attempts: attempts(job),
        ..ending
    };
    let complete = end.type_ == "Complete";
    match annotation_of(&job.metadata, annotation::STOP) {
        Some(stop::START_DEADLINE) if !complete => {
            return Ending { ended: None, ..not_started(s, job, task) };
        }
        Some(stop::SHUTDOWN) => {
            let how = told.map_or_else(String::new, |t| format!(" with exit code {}", t.exit_code));
            return facts(Ending::stopped(format!("ended{how} after it was asked to stop{}", words(told))));
        }
        _ => {}
    }
    if complete {
        let message = told.and_then(|t| t.message.clone());
        return facts(Ending { message, ..Ending::new(Phase::Succeeded, reason::COMPLETED) });
    }
    let (reason, message) = failure(end, task);
    facts(Ending::failed(reason, message))
}

/// Why a Job failed, from the nearest witness: deadline, pod, container, Job.
fn failure(end: &JobCondition, task: &Task<'_>) -> (&'static str, String) {
    if end.reason.as_deref() == Some("DeadlineExceeded") {
        return (
            reason::DEADLINE_EXCEEDED,
            "ran longer than activeDeadlineSeconds".to_owned() + &words(task.terminated()),
        );
    }
    let told = task.terminated();
    if told.and_then(|t| t.reason.as_deref()) == Some("OOMKilled") {
        let message = "OOMKilled: the task was killed at its memory limit: raise resources.limits.memory";
        return (reason::OOM_KILLED, message.to_owned());
    }
    if let Some(lost) = task.pod.and_then(disruption) {
        return lost;
    }
    if let Some(told) = told {
        return (reason::NON_ZERO_EXIT, format!("exit code {}{}", told.exit_code, words(Some(told))));
    }
    let init = task.pod.and_then(|pod| {
        let mut all = pod.status.init_container_statuses.iter();
        all.find_map(|c| Some((c.name.as_str(), c.state.terminated.as_ref().filter(|t| t.exit_code != 0)?)))
    });
    if let Some((name, told)) = init {
        let sentence =
            format!("init container {name} ended with exit code {}{}", told.exit_code, words(Some(told)));
        return (reason::NON_ZERO_EXIT, sentence);
    }
    let sentence = end.message.clone().unwrap_or_else(|| "its Job failed".to_owned());
    (reason::NON_ZERO_EXIT, sentence)
}

/// Whether Kubernetes, not the task, ended the pod.
fn disruption(pod: &SeenPod) -> Option<(&'static str, String)> {
    let said = pod.status.message.clone().unwrap_or_default();
    let why = pod.status.reason.as_deref().unwrap_or_default();
    let untouched = pod.status.container_statuses.iter().all(|c| c.state.terminated.is_none());
    if why == "Evicted" {
        return Some((reason::EVICTED, format!("Evicted: {said}")));
    }
    if let Some(target) = pod.condition("DisruptionTarget").filter(|c| c.status == "True") {
        let why = target.reason.as_deref().unwrap_or("DisruptionTarget");
        let said = target.message.as_deref().unwrap_or("Kubernetes removed the pod");
        return Some((reason::EVICTED, format!("{why}: {said}")));
    }
    // The kubelet itself refused the pod: OutOfcpu, UnexpectedAdmissionError, NodeAffinity, …
    (untouched && !why.is_empty() && pod.is_over()).then(|| (reason::POD_REFUSED, format!("{why}: {said}")))
}

/// What kubelet and application said about the end, behind a sentence.
fn words(told: Option<&Terminated>) -> String {
    let Some(told) = told else { return String::new() };
    let reason = told.reason.as_deref().filter(|r| !matches!(*r, "Error" | "Completed"));
    let message = told.message.as_deref().map(str::trim).filter(|m| !m.is_empty());
    [reason, message].into_iter().flatten().flat_map(|text| [": ", text]).collect()
}
