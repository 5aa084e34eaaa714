//! Launches whose Job exists and is not over: short, waiting, running, being ended.

use serde_json::json;

use super::*;

const RUNNING: &str = "Running [+Accepted/Accepted +Started/ContainerStarted -Finished/Running]";

fn pending(reason: &str, sentence: &str) -> String {
    format!("Pending {reason} ({sentence}) [+Accepted/Accepted -Started/{reason} -Finished/Running]")
}

fn pulling(reason: &str) -> APod {
    APod::new().waiting(reason, "not found")
}

/// Second 1 to 6 of a launch's life costs nothing.
#[test]
fn a_short_launch_is_not_written_about_before_its_end() {
    let job = || Case::at_second(5).job(AJob::new());
    check([
        ("without pod", job(), "next in 1s"),
        ("with a pod", job().pod(APod::new()), "next in 1s"),
        ("running", job().pod(APod::new().running(2)), "next in 1s"),
        ("pulling", job().pod(pulling("ErrImagePull")), "next in 1s"),
        ("ended, while its Job does not know yet", job().pod(APod::new().exited(3, 2, 3)), "next in 1s"),
        ("with a clock a little behind", job().with(|s| s.now = at(-1)), "next in 5s"),
    ]);
}

#[test]
fn running_is_written_once_after_five_seconds() {
    let running = Case::at_second(6).job(AJob::new()).pod(APod::new().running(2));
    let hour_behind = running.clone().with(|s| s.now = at(-3600));
    check([
        ("at five seconds", running.clone(), RUNNING),
        ("then", running.clone().and_then(7), "nothing"),
        ("and after its start deadline", running.clone().and_then(9000), "nothing"),
        ("by a clock that is an hour behind", hour_behind, RUNNING),
        ("by a clock that is an hour ahead", running.clone().with(|s| s.now = at(3606)), RUNNING),
        ("without its definition", running.clone().no_definition(), RUNNING),
        (
            "after its definition was missing",
            Case::at_second(3).no_definition().and_then(9).job(AJob::new()).pod(APod::new().running(2)),
            RUNNING,
        ),
        (
            "when its pod has gone and no other has come",
            running
                .clone()
                .and_then(20)
                .with(|s| s.pods.clear())
                .with(|s| s.memory.refusal = Some((at(19), None))),
            "next in 60s",
        ),
    ]);
    let status = running.decide().status.unwrap();
    assert_eq!(status.job_name, Some(the_jobs_name()));
    assert_eq!(status.job_uid.as_deref(), Some("job"));
    assert_eq!(status.execution_id, Some(42));
    assert_eq!(status.pod_name, Some(format!("{}-abcde", the_jobs_name())));
    assert_eq!(status.start_time.map(|t| t.0), Some(at(2)));
    assert_eq!((status.completion_time, status.duration, status.exit_code), (None, None, None));
}

#[test]
fn what_keeps_a_task_from_starting() {
    let job = || Case::at_second(20).job(AJob::new());
    let image = pending("ImagePullFailed", "container task: ErrImagePull: not found")
        + "; warn ImagePullFailed; next in 3580s";
    let back_off = pending("ImagePullFailed", "container task: ImagePullBackOff: not found")
        + "; warn ImagePullFailed; next in 3580s";
    let config = pending("InvalidPod", "container task: CreateContainerConfigError: not found")
        + "; warn InvalidPod; next in 3580s";
    let full = pending("Unschedulable", "0/1 nodes are available: 1 Insufficient cpu.")
        + "; warn Unschedulable; next in 3580s";
    let starting = pending("Starting", "its pod is starting") + "; next in 3580s";
    let suspended = pending("Suspended", "its Job is suspended, by a queue for example") + "; next in 3580s";
    let podless = pending("Starting", "its Job has no pod yet") + "; next in 60s";
    let refused = pending("PodRefused", "exceeded quota: pods") + "; warn PodRefused; next in 60s";
    let init = json!([{"name": "fetch", "state": {"waiting": {"reason": "ErrImagePull"}}}]);
    let init =
        APod::new().waiting("PodInitializing", "").with(json!({"status": {"initContainerStatuses": init}}));
    let init_line = pending("ImagePullFailed", "container fetch: ErrImagePull: no further message")
        + "; warn ImagePullFailed; next in 3580s";
    let no_job_pods = AJob::new().with(json!({"status": {"active": 0}}));
    let no_pods = || Case::at_second(20).job(no_job_pods.clone());
    check([
        ("an image", job().pod(pulling("ErrImagePull")), image.as_str()),
        ("an image, later", job().pod(pulling("ImagePullBackOff")), back_off.as_str()),
        ("an init container's image", job().pod(init), init_line.as_str()),
        ("a missing ConfigMap", job().pod(pulling("CreateContainerConfigError")), config.as_str()),
        ("no room", job().pod(APod::new().unschedulable()), full.as_str()),
        ("nothing that is known", job().pods_were_read().pod(APod::new()), starting.as_str()),
        ("making the container", job().pod(APod::new().waiting("ContainerCreating", "")), starting.as_str()),
        ("a queue", Case::at_second(20).job(AJob::new().suspended()), suspended.as_str()),
        (
            "no pod yet",
            no_pods().with(|s| s.now = at(8)),
            (pending("Starting", "its Job has no pod yet") + "; next in 3s").as_str(),
        ),
        ("no pod after ten seconds", no_pods(), "want Refusal"),
        (
            "no pod after ten seconds, by a clock that is an hour behind",
            no_pods().with(|s| s.now = at(-3600)),
            "want Refusal",
        ),
        (
            "no pod, and no reason known",
            no_pods().with(|s| s.memory.refusal = Some((at(20), None))),
            podless.as_str(),
        ),
        (
            "no pod, because of a quota",
            no_pods().with(|s| s.memory.refusal = Some((at(20), Some("exceeded quota: pods".into())))),
            refused.as_str(),
        ),
        (
            "no pod, asked a minute ago",
            no_pods().with(|s| s.now = at(80)).with(|s| s.memory.refusal = Some((at(20), None))),
            "want Refusal",
        ),
        (
            "no pod, asked in a future that a clock took back",
            no_pods().with(|s| s.memory.refusal = Some((at(3620), None))),
            "want Refusal",
        ),
    ]);
}

#[test]
fn a_queue_may_take_back_a_job_that_ran() {
    let ran = || Case::at_second(6).job(AJob::new()).pod(APod::new().running(2)).and_then(20);
    check([
        (
            "it waits again",
            ran().with(|s| s.pods.clear()).job(AJob::new().suspended()),
            "Pending Suspended (its Job is suspended, by a queue for example) [+Accepted/Accepted +Started/ContainerStarted -Finished/Running]",
        ),
        (
            "its start deadline was met, and counts no more",
            ran().with(|s| s.pods.clear()).job(AJob::new().suspended()).with(|s| s.now = at(9999)),
            "Pending Suspended (its Job is suspended, by a queue for example) [+Accepted/Accepted +Started/ContainerStarted -Finished/Running]",
        ),
        (
            "its pods are still on their way out",
            ran().job(AJob::new().with(json!({"spec": {"suspend": true}}))),
            "nothing",
        ),
    ]);
}

#[test]
fn a_reason_that_alternates_is_written_and_told_once() {
    let image = pending("ImagePullFailed", "container task: ErrImagePull: not found")
        + "; warn ImagePullFailed; next in 3594s";
    let mut case = Case::at_second(6).job(AJob::new()).pod(pulling("ErrImagePull"));
    assert_eq!(line(&case.clone().decide()), image);
    for (second, reason) in [(10, "ImagePullBackOff"), (25, "ErrImagePull"), (40, "ImagePullBackOff")] {
        case = case.and_then(second).with(|s| s.pods = vec![pulling(reason).seen()]);
        assert_eq!(line(&case.clone().decide()), format!("next in {}s", 3600 - second), "{reason}");
    }
    let case = case.and_then(50).with(|s| s.pods = vec![APod::new().running(49).seen()]);
    assert_eq!(line(&case.decide()), RUNNING);
}

#[test]
fn a_launch_that_does_not_start_in_time_is_stopped_with_its_reason() {
    let stopping = |reason: &str, sentence: &str, condition: &str| {
        format!(
            "stop for StartDeadlineExceeded; Stopping {reason} (not started within 3600 s: {sentence}) [+Accepted/Accepted -Started/{condition} -Finished/Stopping]; warn {reason}"
        )
    };
    let job = || Case::at_second(3600).job(AJob::new());
    let image = stopping("ImagePullFailed", "container task: ErrImagePull: not found", "ImagePullFailed");
    let full = stopping("Unschedulable", "0/1 nodes are available: 1 Insufficient cpu.", "Unschedulable");
    let starting = stopping("StartDeadlineExceeded", "its pod is starting", "StartDeadlineExceeded");
    let no_pods = AJob::new().with(json!({"status": {"active": 0}}));
    let quota = Case::at_second(3600)
        .job(no_pods)
        .with(|s| s.memory.refusal = Some((at(3599), Some("exceeded quota: pods".into()))));
    check([
        ("seen to wait, it may run by now", job().pod(pulling("ErrImagePull")), "want Pods"),
        ("an image", job().pods_were_read().pod(pulling("ErrImagePull")), image.as_str()),
        ("no room", job().pods_were_read().pod(APod::new().unschedulable()), full.as_str()),
        ("quota", quota, stopping("PodRefused", "exceeded quota: pods", "PodRefused").as_str()),
        ("nothing that is known", job().pods_were_read().pod(APod::new()), starting.as_str()),
        ("a pod that was not seen may run", job(), "want Pods"),
        ("read, it runs", job().pods_were_read().pod(APod::new().running(2)), RUNNING),
        (
            "read, there is none",
            job().pods_were_read(),
            stopping("StartDeadlineExceeded", "its Job has no pod yet", "StartDeadlineExceeded").as_str(),
        ),
        (
            "an attempt has run",
            job().pod(APod::named("first", 1).exited(1, 2, 3)).pod(APod::new().unschedulable()),
            RUNNING,
        ),
        (
            "a queue: the launch ends at once",
            Case::at_second(3600).job(AJob::new().suspended()),
            "Failed StartDeadlineExceeded (not started within 3600 s: its Job is suspended, by a queue for example) [+Accepted/Accepted -Started/NeverStarted +Finished/StartDeadlineExceeded -Succeeded/StartDeadlineExceeded]; warn StartDeadlineExceeded",
        ),
        (
            "the Job's deadline counts, not a later definition's",
            Case::at_second(90)
                .job(AJob::new().annotated(annotation::START_DEADLINE, "60"))
                .pods_were_read()
                .pod(APod::new()),
            "stop for StartDeadlineExceeded; Stopping StartDeadlineExceeded (not started within 60 s: its pod is starting) [+Accepted/Accepted -Started/StartDeadlineExceeded -Finished/Stopping]; warn StartDeadlineExceeded",
        ),
        (
            "never",
            Case::at_second(999_999)
                .job(AJob::new().annotated(annotation::START_DEADLINE, "0"))
                .pod(APod::new().running(2)),
            RUNNING,
        ),
    ]);
}

#[test]
fn a_reason_told_before_is_not_told_again_at_the_deadline() {
    let told = Case::at_second(6).job(AJob::new()).pod(pulling("ErrImagePull")).and_then(3600);
    check([
        (
            "the deadline passes",
            told.clone().pods_were_read(),
            "stop for StartDeadlineExceeded; Stopping ImagePullFailed (container task: ErrImagePull: not found) [+Accepted/Accepted -Started/ImagePullFailed -Finished/Stopping]",
        ),
        (
            "asked already, by an operator that then died",
            told.clone().job(AJob::new().annotated(annotation::STOP, stop::START_DEADLINE)),
            "Stopping ImagePullFailed (container task: ErrImagePull: not found) [+Accepted/Accepted -Started/ImagePullFailed -Finished/Stopping]",
        ),
        (
            "told, not asked: the request failed",
            told.clone().pods_were_read().and_then(3601).pods_were_read(),
            "stop for StartDeadlineExceeded",
        ),
        (
            "told and asked",
            told.clone()
                .pods_were_read()
                .and_then(3601)
                .job(AJob::new().annotated(annotation::STOP, stop::START_DEADLINE)),
            "nothing",
        ),
        (
            "over",
            told.pods_were_read()
                .and_then(3601)
                .job(AJob::new().annotated(annotation::STOP, stop::START_DEADLINE).past_its_deadline(3601))
                .pod(pulling("ImagePullBackOff").phase("Failed"))
                .with(|s| s.now = at(3602)),
            "Failed ImagePullFailed (not started within 3600 s: container task: ErrImagePull: not found) [+Accepted/Accepted -Started/NeverStarted +Finished/ImagePullFailed -Succeeded/ImagePullFailed]",
        ),
    ]);
}

#[test]
fn stop_asked_for() {
    let stopping = "stop for Shutdown; Stopping Stopping (the launch asks for its end) [+Accepted/Accepted";
    let running = Case::at_second(9).job(AJob::new()).pod(APod::new().running(2)).shut_down();
    let asked = AJob::new().annotated(annotation::STOP, stop::SHUTDOWN);
    check([
        (
            "while running",
            running.clone(),
            format!("{stopping} +Started/ContainerStarted -Finished/Stopping]").as_str(),
        ),
        (
            "in its first seconds",
            running.clone().with(|s| s.now = at(2)),
            format!("{stopping} +Started/ContainerStarted -Finished/Stopping]").as_str(),
        ),
        (
            "while waiting",
            Case::at_second(9).job(AJob::new()).pod(APod::new()).shut_down(),
            format!("{stopping} -Started/Stopping -Finished/Stopping]").as_str(),
        ),
        ("told, and asked for", running.clone().and_then(10).job(asked.clone()), "nothing"),
        (
            "asked for, by an operator that then died",
            running.clone().job(asked.clone()),
            format!(
                "{} +Started/ContainerStarted -Finished/Stopping]",
                stopping.trim_start_matches("stop for Shutdown; ")
            )
            .as_str(),
        ),
        (
            "while a queue holds it back",
            Case::at_second(9).job(AJob::new().suspended()).shut_down(),
            "Stopped Stopped (stopped while its Job was suspended) [+Accepted/Accepted -Started/NeverStarted +Finished/Stopped -Succeeded/Stopped]",
        ),
        (
            "while a queue takes its pod away",
            Case::at_second(9)
                .job(AJob::new().suspended().with(json!({"status": {"active": 1}})))
                .pod(APod::new().running(2))
                .shut_down(),
            format!("{stopping} +Started/ContainerStarted -Finished/Stopping]").as_str(),
        ),
        (
            "its Job is being deleted",
            running.clone().job(AJob::new().with(json!({"metadata": {"deletionTimestamp": time(8)}}))),
            "next in 5s",
        ),
    ]);
    let stop = running.decide().stop_job.unwrap();
    assert_eq!(stop.job, JobRef { name: the_jobs_name(), uid: "job".into(), resource_version: "10".into() });
}

#[test]
fn how_a_launch_ends_that_was_asked_to_stop() {
    let running = Case::at_second(9).job(AJob::new()).pod(APod::new().running(2)).shut_down();
    let asked = AJob::new().annotated(annotation::STOP, stop::SHUTDOWN);
    let ended = "[+Accepted/Accepted +Started/ContainerStarted +Finished/Stopped -Succeeded/Stopped]";
    let with_0 = format!(
        "Stopped Stopped exit 0 after 8s (ended with exit code 0 after it was asked to stop: bye) {ended}"
    );
    let with_143 = format!(
        "Stopped Stopped exit 143 after 8s (ended with exit code 143 after it was asked to stop) {ended}"
    );
    let bye = json!({"exitCode": 0, "reason": "Completed", "message": "bye\n", "startedAt": time(2), "finishedAt": time(10)});
    check([
        (
            "ended well after it was asked",
            running
                .clone()
                .and_then(11)
                .job(asked.clone().complete(10))
                .with(|s| s.pods = vec![APod::new().ended(&bye).seen()]),
            with_0.as_str(),
        ),
        (
            "ended badly after it was asked",
            running
                .and_then(11)
                .job(asked.past_its_deadline(10))
                .with(|s| s.pods = vec![APod::new().exited(143, 2, 10).seen()]),
            with_143.as_str(),
        ),
        (
            "over before it was asked",
            Case::at_second(9).shut_down().job(AJob::new().complete(8)).pod(APod::new().exited(0, 2, 7)),
            "Succeeded exit 0 after 5s [+Accepted/Accepted +Started/ContainerStarted +Finished/Completed +Succeeded/Completed]",
        ),
    ]);
}

#[test]
fn a_launch_that_is_over_stays_so_and_runs_nothing() {
    let over = |phase: &str| Case::at_second(90).told(&json!({"phase": phase, "reason": "Stopped"}));
    for phase in ["Succeeded", "Failed", "Stopped"] {
        check([
            ("without a Job", over(phase).id(9), "nothing"),
            ("with another definition", over(phase).id(9).definition(&json!({})), "nothing"),
            ("asked to stop", over(phase).shut_down(), "nothing"),
            ("with a Job that ended", over(phase).job(AJob::new().over_its_limit(9)), "nothing"),
            (
                "with a Job that ended otherwise",
                over(phase).job(AJob::new().complete(9)).pod(APod::new().exited(0, 1, 2)),
                "nothing",
            ),
            ("with a Job held back", over(phase).job(AJob::new().suspended()), "delete the Job"),
            (
                "with a Job held back that ended",
                over(phase).job(AJob::new().suspended().complete(9)),
                "nothing",
            ),
            (
                "with a Job that nobody knew of",
                over(phase).job(AJob::new()).pod(APod::new().running(2)),
                "stop for Shutdown",
            ),
            (
                "with a Job that is being stopped",
                over(phase).job(AJob::new().annotated(annotation::STOP, stop::SHUTDOWN)),
                "nothing",
            ),
            (
                "with a Job that goes",
                over(phase).job(AJob::new().with(json!({"metadata": {"deletionTimestamp": time(8)}}))),
                "nothing",
            ),
            (
                "with a foreign Job",
                over(phase).job(AJob::new().suspended().with(json!({"metadata": {"ownerReferences": []}}))),
                "nothing",
            ),
            ("with a spec that cannot be read", over(phase).spec(&json!({"args": 7})), "nothing"),
        ]);
    }
}

#[test]
fn retries() {
    let job = AJob::new().with(json!({"spec": {"backoffLimit": 1}, "status": {"active": 1, "failed": 1}}));
    let first = || APod::named("first", 1).exited(1, 2, 3);
    let case = Case::at_second(20).job(job);
    let second = case.clone().pod(first()).pod(APod::named("second", 13).running(14));
    check([
        (
            "between two attempts",
            case.clone().pod(first()),
            "Running attempt 2 [+Accepted/Accepted +Started/ContainerStarted -Finished/Running]",
        ),
        (
            "the second waits",
            case.clone().pod(first()).pod(APod::named("second", 13)),
            "Running attempt 2 [+Accepted/Accepted +Started/ContainerStarted -Finished/Running]",
        ),
        (
            "the second runs",
            second.clone(),
            "Running attempt 2 [+Accepted/Accepted +Started/ContainerStarted -Finished/Running]",
        ),
        ("and is not told twice", second.clone().and_then(30), "nothing"),
    ]);
    assert_eq!(second.decide().status.unwrap().pod_name.as_deref(), Some("second"));
}
