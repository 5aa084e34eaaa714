//! What is said about definitions.

use serde_json::json;

use super::{at, definition_of};
use crate::api::seen::SeenDefinition;
use crate::launch::definition::decide;

/// Condition, warning, and the definition with what was written.
fn said(definition: &SeenDefinition) -> Option<(String, Option<String>, SeenDefinition)> {
    said_beside(definition, None)
}

/// Likewise, beside an older definition of the same task name and with other patterns.
fn said_beside(
    definition: &SeenDefinition,
    older: Option<(&str, &str)>,
) -> Option<(String, Option<String>, SeenDefinition)> {
    let older = older.map(|(task, older)| (task.to_owned(), older.to_owned()));
    let (status, warnings) = decide(definition, older.as_ref(), at(0))?;
    let warning = warnings.into_iter().next();
    let conditions: Vec<_> = status
        .conditions
        .iter()
        .map(|c| format!("{}={}/{}: {}", c.type_, c.status, c.reason, c.message))
        .collect();
    let mut after = definition.clone();
    after.status = crate::api::seen::Guarded::Read(status);
    Some((conditions.join(" "), warning.map(|w| w.reason), after))
}

#[test]
fn a_good_definition_is_told_so_once() {
    let (text, warning, after) = said(&definition_of(&json!({"image": "i"}))).unwrap();
    assert_eq!((text.as_str(), warning), ("Accepted=True/Accepted: ", None));
    assert!(said(&after).is_none());
}

#[test]
fn a_bad_definition_warns_once_per_reason_and_its_sentence_follows_the_mistake() {
    let (text, warning, after) = said(&definition_of(&json!({"podTemplate": {}}))).unwrap();
    assert!(
        text.starts_with("Accepted=False/InvalidDefinition: spec.podTemplate has no container"),
        "{text}"
    );
    assert_eq!(warning.as_deref(), Some("InvalidDefinition"));
    assert!(said(&after).is_none());
    let mut changed = definition_of(
        &json!({"image": "i", "podTemplate": {"spec": {"restartPolicy": "Always", "containers": []}}}),
    );
    changed.status = after.status;
    let (text, warning, _) = said(&changed).unwrap();
    assert!(text.contains("restartPolicy is Always"), "{text}");
    assert_eq!(warning, None);
}

#[test]
fn a_definition_that_cannot_be_read_is_told_so() {
    let (text, warning, after) = said(&definition_of(&json!({"image": 7}))).unwrap();
    assert!(text.starts_with("Accepted=False/InvalidSpec: invalid type"), "{text}");
    assert_eq!(warning.as_deref(), Some("InvalidSpec"));
    assert!(said(&after).is_none());
}

#[test]
fn a_definition_on_its_way_out_is_left_alone() {
    let mut gone = definition_of(&json!({"image": "i"}));
    gone.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(0)));
    assert!(said(&gone).is_none());
}

#[test]
fn patterns_that_do_not_count_are_told_once_and_no_longer_than_that() {
    let definition = definition_of(&json!({"image": "i", "taskName": "t", "metrics": {"drop": ["jvm_.*"]}}));
    let (text, warning, after) = said_beside(&definition, Some(("t", "first"))).unwrap();
    assert!(text.starts_with("Accepted=True/Accepted: "), "it can be launched: {text}");
    let sentence = "PatternsApplied=False/TaskNameShared: metrics.keep and metrics.drop do not count here: TaskDefinition first, which is older, gives its task the same name t";
    assert!(text.contains(sentence), "{text}");
    assert_eq!(warning.as_deref(), Some("TaskNameShared"));
    assert!(said_beside(&after, Some(("t", "first"))).is_none());
    let (text, warning, _) = said(&after).unwrap();
    assert_eq!((text.as_str(), warning), ("Accepted=True/Accepted: ", None));
}
