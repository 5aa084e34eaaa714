//! A launch whose Job exists: running, waiting, being ended, ended.

use std::time::Duration;

use jiff::Timestamp;

use super::status::{self, Ending, Standing};
use super::{ASK_AGAIN, JobRef, JobStop, LaunchPlan, LaunchSnapshot, NO_POD, SHORT, Want, rest};
use crate::api::Phase;
use crate::api::seen::{ContainerStatus, JobCondition, SeenJob, SeenPod, Terminated, annotation_of};
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
/// What the kubelet says of every container at first.
const PASSING_REASONS: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// What the kubelet says when a container cannot be made from its specification.
const CONFIG_REASONS: [&str; 3] = ["CreateContainerConfigError", "CreateContainerError", "RunContainerError"];

pub(super) fn decide(s: &LaunchSnapshot, shutdown: bool, job: &SeenJob) -> LaunchPlan {
    if let Some(end) = job.end() {
        return ended(s, job, end);
    }
    if job.metadata.deletion_timestamp.is_some() {
        // Somebody deletes it: the next event, or its absence, tells how it ended.
        return LaunchPlan::wait(SHORT);
    }
    let task = Task::of(s, job, |_| true);
    match why_stop(s, shutdown, job, &task) {
        // Pods that only the Job controller has seen may run: to end them takes more than a silent watch.
        Some(stop::START_DEADLINE)
            if job.status.active > 0 && !s.evidence.pods_were_read && !is_asked(job) =>
        {
            LaunchPlan::want(Want::Pods)
        }
        Some(why) => stopping(s, job, &task, why),
        None => going(s, job, &task),
    }
}

/// Whether another controller, a queue for example, keeps the Job from running.
pub(super) fn held_back(job: &SeenJob) -> bool {
    job.spec.suspend && job.status.active == 0
}

/// Whether the Job was asked to end.
fn is_asked(job: &SeenJob) -> bool {
    annotation_of(&job.metadata, annotation::STOP).is_some()
}

/// What the pods say about the task's container.
struct Task<'a> {
    /// The last attempt.
    pod: Option<&'a SeenPod>,
    /// The container in it.
    container: Option<&'a ContainerStatus>,
    /// When the container of the last attempt that got so far started.
    started: Option<Timestamp>,
}

impl<'a> Task<'a> {
    /// Among the pods that `may_be` it.
    fn of(s: &'a LaunchSnapshot, job: &'a SeenJob, may_be: impl Fn(&SeenPod) -> bool) -> Self {
        let name = annotation_of(&job.metadata, annotation::TASK_CONTAINER);
        let mut attempts = s.pods.iter().rev().map(AsRef::as_ref);
        let started = attempts.clone().find_map(|pod| started(pod.task_container(name)?));
        let pod = attempts.find(|pod| may_be(pod));
        Self { pod, container: pod.and_then(|pod| pod.task_container(name)), started }
    }

    fn terminated(&self) -> Option<&'a Terminated> {
        self.container?.state.terminated.as_ref()
    }

    /// When the container ended. The kubelet gives the epoch for one that could not be started.
    fn finished(&self) -> Option<Timestamp> {
        self.terminated()?.finished_at.as_ref().map(|t| t.0).filter(|t| t.as_second() > 0)
    }

    fn pod_name(&self) -> Option<String> {
        self.pod?.metadata.name.clone()
    }
}

fn is_complete(end: &JobCondition) -> bool {
    end.type_ == "Complete"
}

fn has_failed(pod: &SeenPod) -> bool {
    pod.status.phase.as_deref() == Some("Failed")
}

/// The pod that an ended run is known by, and when its task's container started and ended.
pub(super) fn witness<'a>(
    s: &'a LaunchSnapshot,
    job: &'a SeenJob,
) -> (Option<&'a SeenPod>, Option<Timestamp>, Option<Timestamp>) {
    let task = Task::of(s, job, |pod| !job.end().is_some_and(is_complete) || !has_failed(pod));
    (task.pod, task.started, task.finished())
}

fn started(container: &ContainerStatus) -> Option<Timestamp> {
    let state = &container.state;
    let running = state.running.as_ref().and_then(|r| r.started_at.as_ref());
    let terminated = state.terminated.as_ref().and_then(|t| t.started_at.as_ref());
    // The kubelet gives the epoch for a container that could not be started.
    running.or(terminated).map(|t| t.0).filter(|t| t.as_second() > 0)
}

fn attempts(job: &SeenJob) -> Option<i32> {
    let status = &job.status;
    (job.spec.backoff_limit > 0).then(|| status.active + status.failed + status.succeeded).filter(|n| *n > 0)
}

fn has_started(s: &LaunchSnapshot, task: &Task<'_>) -> bool {
    task.started.is_some() || s.launch.status.as_result().is_ok_and(|status| status.start_time.is_some())
}

fn why_stop(s: &LaunchSnapshot, shutdown: bool, job: &SeenJob, task: &Task<'_>) -> Option<&'static str> {
    match annotation_of(&job.metadata, annotation::STOP) {
        Some(stop::START_DEADLINE) => return Some(stop::START_DEADLINE),
        Some(_) => return Some(stop::SHUTDOWN),
        None => {}
    }
    if shutdown {
        return Some(stop::SHUTDOWN);
    }
    (s.start_deadline_passed() && !has_started(s, task)).then_some(stop::START_DEADLINE)
}

/// Ends a Job: its deadline becomes 1 s, so that the Job controller ends the pods (SIGTERM, grace period,
/// SIGKILL) and keeps the Job as evidence. A Job that a queue holds back has no pods and no deadline: there the
/// launch ends at once, and its Job is deleted afterwards.
fn stopping(s: &LaunchSnapshot, job: &SeenJob, task: &Task<'_>, why: &'static str) -> LaunchPlan {
    if held_back(job) {
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
        started: task.started,
        pod_name: task.pod_name(),
        attempts: attempts(job),
    };
    let plan = if told { LaunchPlan::default() } else { status::standing(s, &standing) };
    LaunchPlan { stop_job: (!is_asked(job)).then(|| JobStop { job: JobRef::of(job), why }), ..plan }
}

fn going(s: &LaunchSnapshot, job: &SeenJob, task: &Task<'_>) -> LaunchPlan {
    let created = job.metadata.creation_timestamp.as_ref().map_or(s.now, |t| t.0);
    let podless = task.pod.is_none() && !job.spec.suspend;
    if podless
        && rest(NO_POD, created, s.now).is_zero()
        && s.memory.refusal.as_ref().is_none_or(|(at, _)| rest(ASK_AGAIN, *at, s.now).is_zero())
    {
        return LaunchPlan::want(Want::Refusal);
    }
    let started = has_started(s, task);
    let mut next: Vec<_> = (!started).then(|| s.until_start_deadline()).into_iter().flatten().collect();
    if podless {
        let unasked = rest(NO_POD, created, s.now);
        next.push(if unasked.is_zero() { ASK_AGAIN } else { unasked });
    }
    let short = rest(SHORT, created, s.now);
    if !short.is_zero() {
        next.push(short);
        return LaunchPlan { next: next.into_iter().min(), ..LaunchPlan::default() };
    }
    // A queue may take back what it let run: then there is no pod, and the task begins anew later.
    let runs = started && !held_back(job);
    let (reason, message) = if runs { (reason::RUNNING, String::new()) } else { obstacle(s, job, task) };
    let standing = Standing {
        phase: if runs { Phase::Running } else { Phase::Pending },
        reason,
        message: &message,
        warn: !matches!(reason, reason::RUNNING | reason::STARTING | reason::SUSPENDED),
        started: task.started,
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
        // A sidecar that crashes, for example.
        if !why.is_empty() && !PASSING_REASONS.contains(&why) {
            return (reason::STARTING, sentence());
        }
    }
    match pod.condition("PodScheduled").filter(|c| c.status == "False") {
        Some(c) => (reason::UNSCHEDULABLE, c.message.clone().unwrap_or_default()),
        None => (reason::STARTING, "its pod is starting".to_owned()),
    }
}

/// How a launch ends that did not start in time: what it waited for, if that is known.
fn not_started(s: &LaunchSnapshot, job: &SeenJob, task: &Task<'_>) -> Ending {
    let (reason, message) = last_obstacle(s, job, task);
    let reason = match reason {
        reason::STARTING | reason::SUSPENDED => reason::START_DEADLINE_EXCEEDED,
        known => known,
    };
    let prefix = format!("not started within {} s: ", s.start_deadline_seconds());
    let message = if message.starts_with("not started within") { message } else { prefix + &message };
    Ending { pod_name: task.pod_name(), ..Ending::failed(reason, message) }
}

/// What kept the task from starting, as it was last told or is seen now.
fn last_obstacle(s: &LaunchSnapshot, job: &SeenJob, task: &Task<'_>) -> (&'static str, String) {
    const TOLD: [&str; 4] =
        [reason::IMAGE_PULL_FAILED, reason::UNSCHEDULABLE, reason::POD_REFUSED, reason::INVALID_POD];
    let recorded = s.status();
    let told = TOLD.into_iter().find(|known| recorded.reason.as_deref() == Some(known));
    told.map_or_else(|| obstacle(s, job, task), |reason| (reason, recorded.message.unwrap_or_default()))
}

/// The Job is over. Its pods' last states may arrive a moment later.
fn ended(s: &LaunchSnapshot, job: &SeenJob, end: &JobCondition) -> LaunchPlan {
    let complete = is_complete(end);
    // A pod that failed is not the one that made its Job complete.
    let task = Task::of(s, job, |pod| !complete || !has_failed(pod));
    let told = task.terminated().is_some() || task.pod.is_some_and(SeenPod::is_over);
    let counted = usize::try_from(job.status.active + job.status.failed + job.status.succeeded);
    let counted = counted.unwrap_or_default();
    let last_is_seen = told && (complete || s.pods.len() >= counted);
    let pod_expected = counted > 0 || task.pod.is_some();
    if !last_is_seen && pod_expected && !s.evidence.pods_were_read {
        let rest = end.last_transition_time.as_ref().map_or(Duration::ZERO, |t| rest(SHORT, t.0, s.now));
        return if rest.is_zero() { LaunchPlan::want(Want::Pods) } else { LaunchPlan::wait(rest) };
    }
    let mut ending = outcome(s, job, end, &task);
    let never_ran = ending.started.is_none()
        && annotation_of(&job.metadata, annotation::STOP) == Some(stop::START_DEADLINE)
        || task.container.is_some_and(|c| c.state.waiting.is_some());
    if !told && pod_expected && !never_ran {
        let rest = ending.message.map(|m| format!("; {m}")).unwrap_or_default();
        ending.message = Some(format!("PodGone: the pod was gone before its exit code was seen{rest}"));
    }
    status::end(s, &ending)
}

fn outcome(s: &LaunchSnapshot, job: &SeenJob, end: &JobCondition, task: &Task<'_>) -> Ending {
    let told = task.terminated();
    let facts = |ending: Ending| Ending {
        exit_code: told.map(|t| t.exit_code),
        started: task.started,
        ended: task.finished().or(end.last_transition_time.as_ref().map(|t| t.0)),
        pod_name: task.pod_name(),
        attempts: attempts(job),
        ..ending
    };
    let complete = is_complete(end);
    match annotation_of(&job.metadata, annotation::STOP) {
        Some(stop::START_DEADLINE) if !complete && task.started.is_none() => {
            return Ending { ended: None, ..not_started(s, job, task) };
        }
        Some(stop::START_DEADLINE) if !complete => {
            let late = format!("started later than within {} s", s.start_deadline_seconds());
            return facts(Ending::failed(reason::START_DEADLINE_EXCEEDED, late + &words(told)));
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
    // The Job's own deadline also runs while its task waits to start.
    let never_began = task.pod.is_some() || job.status.failed + job.status.active == 0;
    if end.reason.as_deref() == Some("DeadlineExceeded") && never_began && !has_started(s, task) {
        let (reason, message) = last_obstacle(s, job, task);
        let reason = match reason {
            reason::STARTING | reason::SUSPENDED => reason::DEADLINE_EXCEEDED,
            known => known,
        };
        return facts(Ending::failed(reason, format!("not started within activeDeadlineSeconds: {message}")));
    }
    let (reason, message) = failure(end, task);
    facts(Ending::failed(reason, message))
}

/// Why a Job failed, from the nearest witness: deadline, pod, container, Job.
fn failure(end: &JobCondition, task: &Task<'_>) -> (&'static str, String) {
    let by_kubelet = || task.pod.and_then(|pod| pod.status.reason.as_deref()) == Some("DeadlineExceeded");
    if end.reason.as_deref() == Some("DeadlineExceeded") || by_kubelet() {
        return (
            reason::DEADLINE_EXCEEDED,
            "ran longer than activeDeadlineSeconds".to_owned() + &words(task.terminated()),
        );
    }
    let told = task.terminated();
    if told.and_then(|t| t.reason.as_deref()) == Some("OOMKilled") {
        let sentence = "OOMKilled: the task was killed at its memory limit: raise resources.limits.memory";
        let said = told.and_then(|t| t.message.as_deref()).map(str::trim).filter(|m| !m.is_empty());
        return (
            reason::OOM_KILLED,
            said.map_or_else(|| sentence.to_owned(), |m| format!("{sentence}: {m}")),
        );
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
