//! Launches whose Job is over.

use serde_json::json;

use super::*;

const WELL: &str = "[+Accepted/Accepted +Started/ContainerStarted +Finished/Completed +Succeeded/Completed]";

fn over(job: AJob) -> Case {
    Case::at_second(9).job(job)
}

fn failed(reason: &str, exit: &str, sentence: &str) -> String {
    format!(
        "Failed {reason} {exit}({sentence}) [+Accepted/Accepted +Started/ContainerStarted +Finished/{reason} -Succeeded/{reason}]; warn {reason}"
    )
}

fn never_started(reason: &str, exit: &str, sentence: &str) -> String {
    format!(
        "Failed {reason} {exit}({sentence}) [+Accepted/Accepted -Started/NeverStarted +Finished/{reason} -Succeeded/{reason}]; warn {reason}"
    )
}

fn ended(code: i32, reason: &str, message: &str) -> APod {
    APod::new().ended(&json!({
        "exitCode": code, "reason": reason, "message": message, "startedAt": time(2), "finishedAt": time(7),
    }))
}

#[test]
fn success() {
    let well = format!("Succeeded exit 0 after 5s {WELL}");
    let said = format!("Succeeded exit 0 after 5s (42 rows) {WELL}");
    check([
        ("without a word", over(AJob::new().complete(8)).pod(ended(0, "Completed", "")), well.as_str()),
        (
            "with a message",
            over(AJob::new().complete(8)).pod(ended(0, "Completed", "42 rows\n")),
            said.as_str(),
        ),
        (
            "an hour late",
            over(AJob::new().complete(8)).pod(ended(0, "Completed", "")).with(|s| s.now = at(3700)),
            well.as_str(),
        ),
        (
            "by a clock that is an hour behind",
            over(AJob::new().complete(8)).pod(ended(0, "Completed", "")).with(|s| s.now = at(-3600)),
            well.as_str(),
        ),
        (
            "without its definition",
            over(AJob::new().complete(8)).pod(ended(0, "Completed", "")).no_definition(),
            well.as_str(),
        ),
        (
            "after it was said to run",
            Case::at_second(6)
                .job(AJob::new())
                .pod(APod::new().running(2))
                .and_then(9)
                .job(AJob::new().complete(8))
                .with(|s| s.pods = vec![ended(0, "Completed", "").seen()]),
            well.as_str(),
        ),
        (
            "though a task may stop itself when its start deadline passes",
            over(AJob::new().annotated(annotation::STOP, stop::START_DEADLINE).complete(8)).pod(ended(
                0,
                "Completed",
                "",
            )),
            well.as_str(),
        ),
    ]);
    let status = over(AJob::new().annotated(annotation::PARENT_EXECUTION_ID, "7").complete(8))
        .pod(ended(0, "Completed", ""))
        .decide()
        .status
        .unwrap();
    insta::assert_yaml_snapshot!(status);
}

#[test]
fn failure_has_the_nearest_witness() {
    let by_limit = || over(AJob::new().over_its_limit(8));
    let exit_3 = failed("NonZeroExit", "exit 3 after 5s ", "exit code 3");
    let exception = failed("NonZeroExit", "exit 1 after 5s ", "exit code 1: IllegalStateException: no rows");
    let cannot_run =
        never_started("NonZeroExit", "exit 128 ", "exit code 128: StartError: exec: \"x\": not found");
    let oom = failed(
        "OOMKilled",
        "exit 137 after 5s ",
        "OOMKilled: the task was killed at its memory limit: raise resources.limits.memory",
    );
    let oom_said = failed(
        "OOMKilled",
        "exit 137 after 5s ",
        "OOMKilled: the task was killed at its memory limit: raise resources.limits.memory: at row 7",
    );
    let evicted = failed("Evicted", "exit 137 after 5s ", "Evicted: The node was low on resource: memory.");
    let drained = failed("Evicted", "exit 143 after 5s ", "EvictionByEvictionAPI: Eviction API: evicting");
    let lost = never_started("Evicted", "", "DeletionByPodGC: PodGC: node no longer exists");
    let no_cpu = never_started("PodRefused", "", "OutOfcpu: Node didn't have enough resource: cpu");
    let init = never_started("NonZeroExit", "", "init container fetch ended with exit code 2: no network");
    let deadline = failed("DeadlineExceeded", "exit 143 after 5s ", "ran longer than activeDeadlineSeconds");
    let early = never_started(
        "DeadlineExceeded",
        "",
        "not started within activeDeadlineSeconds: its pod is starting",
    );
    let epoch = json!({"exitCode": 128, "reason": "StartError", "message": "exec: \"x\": not found", "startedAt": "1970-01-01T00:00:00Z", "finishedAt": time(3)});
    let fetch = json!([{"name": "ok", "state": {"terminated": {"exitCode": 0}}}, {"name": "fetch", "state": {"terminated": {"exitCode": 2, "reason": "Error", "message": "no network"}}}]);
    let fetch = APod::new()
        .waiting("PodInitializing", "")
        .phase("Failed")
        .with(json!({"status": {"initContainerStatuses": fetch}}));
    let gone_node = APod::new().phase("Failed").condition(
        "DisruptionTarget",
        "True",
        "DeletionByPodGC",
        "PodGC: node no longer exists",
    );
    let no_room = APod::new()
        .phase("Failed")
        .with(json!({"status": {"reason": "OutOfcpu", "message": "Node didn't have enough resource: cpu"}}));
    let pressure = ended(137, "Error", "")
        .with(json!({"status": {"reason": "Evicted", "message": "The node was low on resource: memory."}}));
    let drain = ended(143, "Error", "").condition(
        "DisruptionTarget",
        "True",
        "EvictionByEvictionAPI",
        "Eviction API: evicting",
    );
    let pods_own = ended(143, "Error", "").with(json!({"status": {"reason": "DeadlineExceeded", "message": "Pod was active on the node longer than the specified deadline"}}));
    let not_disrupted = ended(3, "Error", "").condition("DisruptionTarget", "False", "X", "y");
    check([
        ("exit code", by_limit().pod(ended(3, "Error", "")), exit_3.as_str()),
        (
            "exception",
            by_limit().pod(ended(1, "Error", " IllegalStateException: no rows\n")),
            exception.as_str(),
        ),
        ("a program that is not there", by_limit().pod(APod::new().ended(&epoch)), cannot_run.as_str()),
        ("memory", by_limit().pod(ended(137, "OOMKilled", "")), oom.as_str()),
        ("memory, with a message", by_limit().pod(ended(137, "OOMKilled", "at row 7")), oom_said.as_str()),
        ("eviction", by_limit().pod(pressure), evicted.as_str()),
        ("a drained node", by_limit().pod(drain), drained.as_str()),
        ("a node that is gone", by_limit().pod(gone_node), lost.as_str()),
        ("no disruption", by_limit().pod(not_disrupted), exit_3.as_str()),
        ("a kubelet that refuses", by_limit().pod(no_room), no_cpu.as_str()),
        ("an init container", by_limit().pod(fetch), init.as_str()),
        ("deadline", over(AJob::new().past_its_deadline(8)).pod(ended(143, "Error", "")), deadline.as_str()),
        (
            "deadline before it started",
            over(AJob::new().past_its_deadline(8)).pod(APod::new().phase("Failed")),
            early.as_str(),
        ),
        ("the pod template's own deadline", by_limit().pod(pods_own), deadline.as_str()),
    ]);
}

#[test]
fn a_launch_that_started_too_late_says_so_with_its_exit_code() {
    let job = AJob::new().annotated(annotation::STOP, stop::START_DEADLINE).past_its_deadline(8);
    check([(
        "started while it was being ended",
        over(job).pod(ended(143, "Error", "")),
        failed("StartDeadlineExceeded", "exit 143 after 5s ", "started later than within 3600 s").as_str(),
    )]);
}

/// Job and pod come by different watches.
#[test]
fn the_end_waits_for_the_pods_last_state() {
    let failed_at_8 = || AJob::new().over_its_limit(8);
    let gone = "PodGone: the pod was gone before its exit code was seen";
    let lost = failed("NonZeroExit", "", &format!("{gone}; Job has reached the specified backoff limit"))
        .replace("+Started/ContainerStarted", "-Started/NeverStarted");
    let succeeded = format!("Succeeded ({gone}) {WELL}");
    let limit = never_started("NonZeroExit", "", "Job has reached the specified backoff limit");
    let no_pods_ever = failed_at_8().with(json!({"status": {"failed": 0}}));
    let late = AJob::new().annotated(annotation::STOP, stop::START_DEADLINE).past_its_deadline(8);
    check([
        ("running as far as is known", over(failed_at_8()).pod(APod::new().running(2)), "next in 4s"),
        (
            "waiting as far as is known: it may have run",
            over(failed_at_8()).pod(APod::new().waiting("ContainerCreating", "")),
            "next in 4s",
        ),
        ("no pod is known", over(failed_at_8()), "next in 4s"),
        ("complete, and no pod is known", over(AJob::new().complete(8)), "next in 4s"),
        ("after 5 s", over(failed_at_8()).pod(APod::new().running(2)).with(|s| s.now = at(13)), "want Pods"),
        ("by a clock that is an hour behind", over(failed_at_8()).with(|s| s.now = at(-3600)), "want Pods"),
        (
            "read",
            over(failed_at_8()).pods_were_read().pod(ended(3, "Error", "")),
            failed("NonZeroExit", "exit 3 after 5s ", "exit code 3").as_str(),
        ),
        ("read, and gone", over(failed_at_8()).pods_were_read(), lost.as_str()),
        (
            "read, and gone, though it is complete",
            over(AJob::new().complete(8)).pods_were_read(),
            succeeded.as_str(),
        ),
        ("read, and never there", over(no_pods_ever), limit.as_str()),
        (
            "read, and it never ran",
            over(late).pods_were_read().pod(APod::new().waiting("ErrImagePull", "not found")),
            never_started(
                "ImagePullFailed",
                "",
                "not started within 3600 s: container task: ErrImagePull: not found",
            )
            .as_str(),
        ),
    ]);
}

#[test]
fn retries_end_with_the_last_attempt() {
    let job =
        |failed: i32| AJob::new().with(json!({"spec": {"backoffLimit": 1}, "status": {"failed": failed}}));
    let complete = || Case::at_second(30).job(job(1).complete(28));
    let limit = || Case::at_second(30).job(job(2).over_its_limit(28).with(json!({"status": {"failed": 2}})));
    let first = || APod::named("first", 1).exited(1, 2, 3);
    let second = || APod::named("second", 13);
    let well = format!("Succeeded exit 0 attempt 2 after 6s {WELL}");
    let badly = failed("NonZeroExit", "exit 3 attempt 2 after 6s ", "exit code 3");
    let unseen = format!(
        "Succeeded attempt 2 after 26s (PodGone: the pod was gone before its exit code was seen) {WELL}"
    );
    check([
        ("the second succeeds", complete().pod(first()).pod(second().exited(0, 14, 20)), well.as_str()),
        ("the second is not seen yet: the first did not succeed", complete().pod(first()), "next in 3s"),
        ("the second is not over yet", complete().pod(first()).pod(second().running(14)), "next in 3s"),
        ("the second is never seen", complete().pods_were_read().pod(first()), unseen.as_str()),
        ("the second fails", limit().pod(first()).pod(second().exited(3, 14, 20)), badly.as_str()),
        ("the second fails unseen", limit().pod(first()), "next in 3s"),
        ("the first is gone", limit().pods_were_read().pod(second().exited(3, 14, 20)), badly.as_str()),
    ]);
    let status = limit().pod(first()).pod(second().exited(3, 14, 20)).decide().status.unwrap();
    assert_eq!(
        (status.pod_name.as_deref(), status.attempts, status.exit_code),
        (Some("second"), Some(2), Some(3))
    );
}

#[test]
fn what_an_application_says_is_cut_and_made_harmless() {
    let long = ended(1, "Error", &"é\u{1b}[31m".repeat(1000));
    let status = over(AJob::new().over_its_limit(8)).pod(long).decide().status.unwrap();
    let message = status.message.unwrap();
    assert!(
        message.len() <= 1024 && message.ends_with('…') && !message.contains(char::is_control),
        "{message}"
    );
    assert!(status.conditions.iter().all(|c| c.message.len() <= 1024));
}

#[test]
fn durations_are_for_people() {
    for (seconds, expected) in
        [(0, "0s"), (59, "59s"), (60, "1m0s"), (3599, "59m59s"), (3600, "1h0m"), (90_061, "1d1h")]
    {
        let case = Case::at_second(seconds + 3)
            .job(AJob::new().complete(seconds + 2))
            .pod(APod::new().exited(0, 2, 2 + seconds));
        assert_eq!(case.decide().status.unwrap().duration.as_deref(), Some(expected));
    }
    // A node's clock may be behind another's.
    let status = over(AJob::new().complete(8)).pod(APod::new().exited(0, 7, 5)).decide().status.unwrap();
    assert_eq!(status.duration.as_deref(), Some("0s"));
}
