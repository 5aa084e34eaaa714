//! Decoding what is watched: thin, and never harmed by one bad object.

use serde_json::{Value, json};

use crate::api::Phase;
use crate::api::seen::{SeenDefinition, SeenJob, SeenLaunch, SeenPod};
use crate::names::{annotation, label};

fn meta() -> Value {
    json!({"name": "x", "namespace": "n", "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"})
}

#[test]
fn an_object_that_cannot_be_read_still_has_its_name() {
    for (spec, status) in [
        (json!(null), json!(null)),
        (json!(7), json!("x")),
        (json!([]), json!(8)),
        (json!({"definitionRef": {}}), json!({"phase": "Paused"})),
        (json!({"definitionRef": {"name": "d"}, "shutdown": "Later"}), json!({"conditions": [{"type": 1}]})),
        (json!({"definitionRef": {"name": "d"}, "args": {"a": 1}}), json!({"executionId": 1.5})),
        (
            json!({"definitionRef": {"name": "d"}, "parentRef": {"executionId": "7"}}),
            json!({"startTime": "yesterday"}),
        ),
    ] {
        let object = json!({"metadata": meta(), "spec": spec, "status": status});
        let launch: SeenLaunch = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(launch.metadata.name.as_deref(), Some("x"));
        assert!(launch.spec.as_result().is_err(), "{object}");
        assert!(!launch.spec.as_result().unwrap_err().is_empty());
        assert!(launch.status.as_result().is_err(), "{object}");
        assert_eq!(launch.final_phase(), None);
        let definition: SeenDefinition =
            serde_json::from_value(json!({"metadata": meta(), "spec": spec})).unwrap();
        assert!(definition.status.as_result().is_ok(), "none yet");
    }
}

#[test]
fn fields_of_a_later_version_are_overlooked() {
    let launch: SeenLaunch = serde_json::from_value(json!({
        "metadata": meta(), "spec": {"definitionRef": {"name": "d", "new": 1}, "new": 1},
        "status": {"phase": "Succeeded", "new": 1}, "new": 1,
    }))
    .unwrap();
    assert_eq!(launch.spec.as_result().unwrap().definition_ref.name, "d");
    assert_eq!(launch.final_phase(), Some(Phase::Succeeded));
}

#[test]
fn of_metadata_only_what_decisions_need_is_kept() {
    let mut metadata = meta();
    metadata["managedFields"] = json!([{"manager": "m", "operation": "Apply", "fieldsV1": {"f:x": {}}}]);
    metadata["labels"] = json!({label::LAUNCH: "l", label::JOB_NAME: "j", "app": "x"});
    metadata["annotations"] =
        json!({annotation::KEEP: "true", "kubectl.kubernetes.io/last-applied-configuration": "{}"});
    let launch: SeenLaunch =
        serde_json::from_value(json!({"metadata": metadata, "spec": {"definitionRef": {"name": "d"}}}))
            .unwrap();
    let kept = json!(launch.metadata);
    assert_eq!(kept["labels"], json!({label::LAUNCH: "l", label::JOB_NAME: "j"}));
    assert_eq!(kept["annotations"], json!({annotation::KEEP: "true"}));
    assert_eq!(kept["managedFields"], Value::Null);
    assert!(launch.is_kept());
}

#[test]
fn only_the_word_true_keeps_a_launch() {
    for (value, kept) in [("true", true), ("True", false), ("yes", false), ("", false), ("false", false)] {
        let mut metadata = meta();
        metadata["annotations"] = json!({annotation::KEEP: value});
        let launch: SeenLaunch = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        assert_eq!(launch.is_kept(), kept, "{value}");
    }
}

#[test]
fn jobs_and_pods_may_have_next_to_nothing() {
    let job: SeenJob = serde_json::from_value(json!({"metadata": {"name": "j"}})).unwrap();
    assert!(job.end().is_none() && job.execution_id().is_none() && !job.is_owned_by("u"));
    let pod: SeenPod = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
    assert!(
        !pod.is_over() && pod.task_container(Some("task")).is_none() && pod.task_container(None).is_none()
    );
}

#[test]
fn a_job_is_over_only_when_it_says_complete_or_failed() {
    for (type_, status, over) in [
        ("Complete", "True", true),
        ("Failed", "True", true),
        ("Failed", "False", false),
        ("FailureTarget", "True", false),
        ("SuccessCriteriaMet", "True", false),
        ("Suspended", "True", false),
    ] {
        let conditions = json!([{"type": type_, "status": status}]);
        let job: SeenJob =
            serde_json::from_value(json!({"metadata": meta(), "status": {"conditions": conditions}}))
                .unwrap();
        assert_eq!(job.end().is_some(), over, "{type_}={status}");
    }
}

#[test]
fn an_execution_id_that_is_no_number_is_none() {
    for (text, id) in
        [("42", Some(42)), ("", None), ("x", None), ("1.5", None), ("99999999999999999999", None)]
    {
        let mut metadata = meta();
        metadata["annotations"] = json!({label::EXECUTION_ID: text});
        let job: SeenJob = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        assert_eq!(job.execution_id(), id, "{text}");
    }
}

#[test]
fn of_a_pods_conditions_only_those_that_tell_why_it_does_not_run_are_kept() {
    let conditions = json!([{"type": "Ready", "status": "False"}, {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]);
    let pod: SeenPod = serde_json::from_value(json!({
        "metadata": meta(),
        "status": {"conditions": conditions, "containerStatuses": [{"name": "a", "state": {}}, {"name": "b", "state": {}}]},
    }))
    .unwrap();
    assert_eq!(pod.status.conditions.len(), 1);
    assert!(pod.condition("PodScheduled").is_some());
    assert_eq!(pod.task_container(Some("b")).map(|c| c.name.as_str()), Some("b"));
    assert!(pod.task_container(None).is_none(), "which of the two?");
}
