//! Launches without a Job: what they wait for, when one is made, how they end without it.

use serde_json::json;

use super::*;

const MISSING: &str =
    "there is no TaskDefinition nightly in this namespace: create it, and the launch starts";

fn child(parent: Parent) -> Case {
    Case::at_second(3).spec(&json!({"parentRef": {"name": "mother"}})).with(|s| s.parent = parent)
}

fn refused(second: i64) -> Answer {
    Answer::Refused(at(second), "exceeded quota: pods".to_owned())
}

#[test]
fn a_job_is_made_as_soon_as_its_id_is_there() {
    check([
        ("new", Case::at_second(0), "want ExecutionId"),
        ("with an id", Case::at_second(0).id(42), "create; next in 5s"),
        ("with a parent", child(Parent::Id(7)).id(42), "create; next in 5s"),
        (
            "deadline 0 is never",
            Case::at_second(9_999_999)
                .definition(&json!({"image": "i", "runPolicy": {"startDeadlineSeconds": 0}})),
            "want Launch",
        ),
        (
            "gone at the server",
            Case::at_second(6).id(42).with(|s| s.evidence.launch_is_there = Some(false)),
            "nothing",
        ),
        ("one second before its deadline", Case::at_second(3599), "want Launch"),
        ("seen before it was created", Case::at_second(-3600).id(42), "create; next in 5s"),
        (
            "an hour late by the clock",
            Case::at_second(3600),
            "Failed StartDeadlineExceeded (not started within 3600 s: the operator saw it too late) [-Started/NeverStarted +Finished/StartDeadlineExceeded -Succeeded/StartDeadlineExceeded]; warn StartDeadlineExceeded",
        ),
    ]);
    let job = child(Parent::Id(7)).id(42).decide().create_job.unwrap();
    let annotations = job.metadata.annotations.unwrap();
    assert_eq!(annotations[annotation::PARENT_EXECUTION_ID], "7");
}

#[test]
fn what_a_launch_waits_for() {
    let waiting = |reason: &str, sentence: &str, next: i64| {
        format!("Pending {reason} ({sentence}) [-Accepted/{reason}]; warn {reason}; next in {next}s")
    };
    let missing = waiting("DefinitionNotFound", MISSING, 3597);
    let no_parent = waiting(
        "ParentNotFound",
        "there is no TaskLaunch mother in this namespace: create it, and the launch starts",
        3597,
    );
    let no_id = waiting("ParentNotStarted", "parent TaskLaunch mother has no execution id yet", 3597);
    let never = waiting(
        "ParentNotStarted",
        "parent TaskLaunch mother ended before it had an execution id: delete this launch, and create one with another parent",
        3597,
    );
    let denied = waiting(
        "OverrideDenied",
        "argument \"-x\" begins with a dash, which the definition does not allow: set its spec.overrides.args to Any",
        3597,
    );
    let identity = waiting(
        "IdentityReserved",
        "property spring.cloud.task.name would change the identity of a run, which the operator sets: remove it (the task's name is spec.taskName of the definition)",
        3597,
    );
    let invalid = waiting(
        "InvalidDefinition",
        "spec.podTemplate has no container task: add it, or give spec.image to make it",
        3597,
    );
    let unreadable = waiting(
        "InvalidDefinition",
        "TaskDefinition nightly cannot be read by this operator: invalid type: integer `7`, expected a string",
        3597,
    );
    check([
        ("a definition applied together with it", Case::at_second(0).no_definition(), "next in 2s"),
        ("a parent applied together with it", child(Parent::Missing).with(|s| s.now = at(1)), "next in 1s"),
        ("a definition", Case::at_second(3).no_definition(), missing.as_str()),
        ("a parent", child(Parent::Missing), no_parent.as_str()),
        ("a parent's id", child(Parent::NotStarted), no_id.as_str()),
        ("a parent that ended without an id", child(Parent::NeverStarted), never.as_str()),
        ("other arguments", Case::at_second(3).spec(&json!({"args": ["-x"]})), denied.as_str()),
        (
            "other properties",
            Case::at_second(3).spec(&json!({"properties": {"spring.cloud.task.name": "x"}})),
            identity.as_str(),
        ),
        ("a better definition", Case::at_second(3).definition(&json!({"podTemplate": {}})), invalid.as_str()),
        (
            "a definition of this version",
            Case::at_second(3).definition(&json!({"image": 7})),
            unreadable.as_str(),
        ),
        (
            "a clock that is an hour behind says it as well",
            Case::at_second(-3600).no_definition(),
            format!("{}; next in 3600s", missing.trim_end_matches("; next in 3597s")).as_str(),
        ),
    ]);
}

#[test]
fn what_is_waited_for_is_said_once_and_follows_the_facts() {
    let missing = Case::at_second(3).no_definition();
    check([
        ("again", missing.clone().and_then(30), "next in 3570s"),
        (
            "the definition appears",
            missing.clone().and_then(30).definition(&json!({"image": "i"})),
            "want Launch",
        ),
        (
            "another obstacle is another event",
            missing.and_then(30).definition(&json!({"podTemplate": {}})),
            "Pending InvalidDefinition (spec.podTemplate has no container task: add it, or give spec.image to make it) [-Accepted/InvalidDefinition]; warn InvalidDefinition; next in 3570s",
        ),
        (
            "another mistake of the same kind is another sentence",
            Case::at_second(3)
                .definition(&json!({"podTemplate": {}}))
                .and_then(30)
                .definition(&json!({"image": "i", "podTemplate": {"spec": {"containers": [], "restartPolicy": "Always"}}})),
            "Pending InvalidDefinition (spec.podTemplate.spec.restartPolicy is Always: leave it out (Never); retries are spec.runPolicy.backoffLimit) [-Accepted/InvalidDefinition]; next in 3570s",
        ),
    ]);
}

#[test]
fn what_was_waited_for_is_said_at_the_start_deadline() {
    let ended = |reason: &str, why: &str, accepted: &str| {
        format!(
            "Failed {reason} (not started within 3600 s: {why}) [{accepted}-Started/NeverStarted +Finished/{reason} -Succeeded/{reason}]"
        )
    };
    let late = "StartDeadlineExceeded";
    let missing = ended(late, MISSING, "-Accepted/DefinitionNotFound ") + "; warn StartDeadlineExceeded";
    let fresh = ended(late, MISSING, "") + "; warn StartDeadlineExceeded";
    let no_parent = "there is no TaskLaunch mother in this namespace: create it, and the launch starts";
    let no_parent = ended(late, no_parent, "") + "; warn StartDeadlineExceeded";
    let quota = ended("PodRefused", "exceeded quota: pods", "+Accepted/Accepted ");
    let by_definition = Case::at_second(60)
        .definition(&json!({"podTemplate": {}, "runPolicy": {"startDeadlineSeconds": 60}}));
    check([
        ("no definition", Case::at_second(3).no_definition().and_then(3600), missing.as_str()),
        ("no definition, never said before", Case::at_second(3600).no_definition(), fresh.as_str()),
        ("no parent", child(Parent::Missing).with(|s| s.now = at(3600)), no_parent.as_str()),
        (
            "refused",
            Case::at_second(3).answered(refused(3)).and_then(3600).answered(refused(3599)),
            quota.as_str(),
        ),
        (
            "refused longer ago than a retry",
            Case::at_second(3).answered(refused(3)).and_then(3600).answered(refused(3500)),
            quota.as_str(),
        ),
        (
            "refused as another process knew",
            Case::at_second(3).answered(refused(3)).and_then(3600).with(|s| s.memory = Memory::default()),
            quota.as_str(),
        ),
        (
            "the definition's own deadline",
            by_definition,
            "Failed StartDeadlineExceeded (not started within 60 s: spec.podTemplate has no container task: add it, or give spec.image to make it) [-Started/NeverStarted +Finished/StartDeadlineExceeded -Succeeded/StartDeadlineExceeded]; warn StartDeadlineExceeded",
        ),
    ]);
}

#[test]
fn answers_of_the_api_server() {
    let taken = "the name of its Job is taken by Job x of Deployment y, which is not this launch's: delete that, then create another TaskLaunch";
    let ended = |reason: &str, why: &str| {
        format!(
            "Failed {reason} ({why}) [+Accepted/Accepted -Started/NeverStarted +Finished/{reason} -Succeeded/{reason}]; warn {reason}"
        )
    };
    check([
        (
            "refused",
            Case::at_second(3).answered(refused(3)),
            "Pending PodRefused (exceeded quota: pods) [+Accepted/Accepted -Started/PodRefused]; warn PodRefused; next in 60s",
        ),
        (
            "still refused",
            Case::at_second(3).answered(refused(3)).and_then(33).answered(refused(3)),
            "next in 60s",
        ),
        ("tried again after a minute", Case::at_second(3).answered(refused(3)).and_then(63), "want Launch"),
        (
            "refused again, in other words: no second event",
            Case::at_second(3)
                .answered(refused(3))
                .and_then(63)
                .answered(Answer::Refused(at(63), "other".into())),
            "next in 60s",
        ),
        (
            "the name is taken",
            Case::at_second(3).answered(Answer::NameTaken("Job x of Deployment y".into())),
            ended("JobNameTaken", taken).as_str(),
        ),
        (
            "invalid",
            Case::at_second(3)
                .answered(Answer::Invalid("spec.template.spec.containers[0].image: Required value".into())),
            ended("InvalidPod", "spec.template.spec.containers[0].image: Required value").as_str(),
        ),
        ("the namespace goes", Case::at_second(3).answered(Answer::NamespaceGoes(at(3))), "next in 60s"),
        (
            "perhaps it did not go",
            Case::at_second(3).answered(Answer::NamespaceGoes(at(3))).and_then(63),
            "want Launch",
        ),
    ]);
}

#[test]
fn stopped_before_its_job_was_made() {
    let stopped = "Stopped Stopped (stopped before its Job was made) [-Started/NeverStarted +Finished/Stopped -Succeeded/Stopped]";
    check([
        ("new", Case::at_second(0).shut_down(), stopped),
        ("with an id at hand", Case::at_second(0).shut_down().id(42), stopped),
        ("while refused", Case::at_second(3).shut_down().answered(refused(1)), stopped),
        (
            "while it waited for its definition",
            Case::at_second(3).no_definition().and_then(4).shut_down(),
            "Stopped Stopped (stopped before its Job was made) [-Accepted/DefinitionNotFound -Started/NeverStarted +Finished/Stopped -Succeeded/Stopped]",
        ),
        ("after its deadline", Case::at_second(4000).shut_down(), stopped),
    ]);
}

#[test]
fn a_job_that_vanished_is_looked_for_once_and_never_made_again() {
    let gone = |case: Case| case.id(43).with(|s| s.evidence.job_is_gone = true);
    let lost = "Failed JobLost (its Job was deleted before it ended; it is never run again by itself: create another TaskLaunch) [+Accepted/Accepted -Started/NeverStarted +Finished/JobLost -Succeeded/JobLost]; warn JobLost";
    let known = json!({"phase": "Pending", "jobName": the_jobs_name(), "executionId": 42});
    check([
        ("made a moment ago", Case::at_second(2).made(1), "next in 4s"),
        ("made 5 s ago", Case::at_second(6).made(1), "want Job"),
        ("made an hour from now, by a clock set back", Case::at_second(6).made(3606), "want Job"),
        ("known from the status", Case::at_second(6).told(&known), "want Job"),
        ("without a definition by now", Case::at_second(6).no_definition().told(&known), "want Job"),
        ("after its start deadline", Case::at_second(9000).told(&known), "want Job"),
        ("gone", gone(Case::at_second(6).made(1)), lost),
        ("gone, known from the status", gone(Case::at_second(6).told(&known)), lost),
        (
            "gone after it ran",
            gone(
                Case::at_second(9)
                    .told(&json!({"phase": "Running", "jobName": the_jobs_name(), "startTime": time(3)})),
            ),
            "Failed JobLost after 6s (its Job was deleted before it ended; it is never run again by itself: create another TaskLaunch) [+Accepted/Accepted +Started/ContainerStarted +Finished/JobLost -Succeeded/JobLost]; warn JobLost",
        ),
        (
            "gone while it was being stopped",
            gone(Case::at_second(6).made(1).shut_down()),
            "Stopped Stopped (its Job was deleted while it was being stopped) [+Accepted/Accepted -Started/NeverStarted +Finished/Stopped -Succeeded/Stopped]",
        ),
        (
            "found at the API server",
            Case::at_second(6).made(1).job(AJob::new()).pod(APod::new()),
            "Pending Starting (its pod is starting) [+Accepted/Accepted -Started/Starting -Finished/Running]; next in 3594s",
        ),
    ]);
}

#[test]
fn a_foreign_job_ends_the_launch() {
    let foreign = AJob::new().with(json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": NAME, "uid": "other"}]}}));
    let sentence = format!(
        "the name of its Job is taken by {}, which is not this launch's: delete that, then create another TaskLaunch",
        the_jobs_name()
    );
    let ended = format!(
        "Failed JobNameTaken ({sentence}) [+Accepted/Accepted -Started/NeverStarted +Finished/JobNameTaken -Succeeded/JobNameTaken]; warn JobNameTaken"
    );
    check([
        ("with an owner", Case::at_second(1).job(foreign.clone()), ended.as_str()),
        (
            "without one",
            Case::at_second(1).job(foreign.clone().with(json!({"metadata": {"ownerReferences": null}}))),
            ended.as_str(),
        ),
        (
            "that ended well",
            Case::at_second(1).job(foreign.complete(9)).pod(APod::new().exited(0, 2, 3)),
            ended.as_str(),
        ),
    ]);
    let status = Case::at_second(1)
        .job(AJob::new().with(json!({"metadata": {"ownerReferences": null}})))
        .decide()
        .status
        .unwrap();
    assert_eq!(
        (status.job_uid, status.execution_id, status.job_name),
        (None, None, None),
        "nothing of a foreign Job is ours"
    );
}

#[test]
fn a_launch_that_cannot_be_read_harms_only_itself() {
    let unreadable = Case::at_second(3).spec(&json!({"args": 7}));
    check([
        (
            "the spec",
            unreadable.clone(),
            "Pending InvalidSpec (invalid type: integer `7`, expected a sequence) [-Accepted/InvalidSpec]; warn InvalidSpec; next in 3597s",
        ),
        ("the spec, said already", unreadable.clone().and_then(9), "next in 3591s"),
        (
            "a status that may say that it is over",
            Case::at_second(3).told(&json!({"phase": "Paused"})),
            "nothing",
        ),
        (
            "no spec at all",
            Case::at_second(3).launch(json!({"spec": null})),
            "Pending InvalidSpec (invalid type: null, expected struct TaskLaunchSpec) [-Accepted/InvalidSpec]; warn InvalidSpec; next in 3597s",
        ),
        (
            "a spec of a later version whose Job runs",
            unreadable.clone().job(AJob::new()).pod(APod::new().running(2)).with(|s| s.now = at(7200)),
            "Running [+Accepted/Accepted +Started/ContainerStarted -Finished/Running]",
        ),
        (
            "a spec of a later version whose Job is gone",
            unreadable.made(0).with(|s| s.now = at(9)),
            "want Job",
        ),
    ]);
}

#[test]
fn a_launch_on_its_way_out_is_left_alone() {
    let leaving = |case: Case| case.launch(json!({"metadata": {"deletionTimestamp": time(3)}}));
    check([
        ("new", leaving(Case::at_second(3).id(1)), "nothing"),
        ("running", leaving(Case::at_second(3).job(AJob::new()).pod(APod::new().running(2))), "nothing"),
        (
            "over",
            leaving(Case::at_second(9).job(AJob::new().complete(8)).pod(APod::new().exited(0, 2, 3))),
            "nothing",
        ),
    ]);
}
