//! Definitions.

use millrace::names::reason::{INVALID_DEFINITION, INVALID_POD};
use serde_json::{Value, json};

use super::Expect::{Fails, Fine, NotAccepted, Refused};
use super::{Case, definition, launch};
use crate::support::PLAIN;

pub(super) fn all() -> Vec<Case> {
    [shapes(), pods(), numbers()].into_iter().flatten().collect()
}

fn containers(all: Value) -> Value {
    json!({"spec": {"containers": all}})
}

/// Fields, types and names.
fn shapes() -> Vec<Case> {
    let image = |more: Value| {
        let mut spec = more;
        spec["image"] = json!(PLAIN);
        spec
    };
    vec![
        definition(
            "an unknown field",
            image(json!({"imagePolicy": "x"})),
            Refused("unknown field \"spec.imagePolicy\""),
        ),
        definition(
            "an unknown field deeper",
            image(json!({"runPolicy": {"retries": 1}})),
            Refused("unknown field \"spec.runPolicy.retries\""),
        ),
        definition(
            "an unknown field in the pod template",
            json!({"podTemplate": containers(json!([{"name": "a", "image": PLAIN, "imagePolicy": "x"}]))}),
            Refused("unknown field \"spec.podTemplate.spec.containers[0].imagePolicy\""),
        ),
        definition(
            "an ephemeral container",
            json!({"podTemplate": {"spec": {"containers": [{"name": "a", "image": PLAIN}], "ephemeralContainers": []}}}),
            Refused("unknown field \"spec.podTemplate.spec.ephemeralContainers\""),
        ),
        definition(
            "arguments as one text",
            image(json!({"args": "--a --b"})),
            Refused("spec.args in body must be of type array"),
        ),
        definition(
            "a number as variable",
            image(json!({"env": [{"name": "A", "value": 1}]})),
            Refused("spec.env[0].value in body must be of type string"),
        ),
        definition(
            "a text as number",
            image(json!({"history": {"succeeded": "many"}})),
            Refused("spec.history.succeeded in body must be of type integer"),
        ),
        definition(
            "a number as Boot version",
            image(json!({"spring": {"bootVersion": 3}})),
            Refused("must be of type string"),
        ),
        definition(
            "an unknown Boot version",
            image(json!({"spring": {"bootVersion": "5"}})),
            Refused("supported values: \"2\", \"3\", \"4\""),
        ),
        definition(
            "an unknown word",
            image(json!({"overrides": {"args": "All"}})),
            Refused("supported values: \"Deny\", \"Plain\", \"Any\""),
        ),
        definition(
            "an unknown mode",
            image(json!({"metrics": {"mode": "On"}})),
            Refused("supported values: \"Inherit\", \"Enabled\", \"Disabled\""),
        ),
        definition("a name of 64", image(json!({})), Refused("at most 63 characters")).named(&"d".repeat(64)),
        definition("a name of 63", image(json!({})), Fine).named(&"d".repeat(63)),
        definition(
            "a task name with a blank",
            image(json!({"taskName": "my task"})),
            Refused("spec.taskName"),
        ),
        definition("a task name of 64", image(json!({"taskName": "T".repeat(64)})), Refused("spec.taskName")),
        definition(
            "a tag in camel case",
            image(json!({"metrics": {"tags": {"costCenter": "x"}}})),
            Refused("lower-case words joined by dots"),
        ),
        definition(
            "a label that is none",
            image(json!({"labels": {"team": "a b"}})),
            Refused("spec.labels.team"),
        ),
        definition(
            "an empty tag",
            image(json!({"metrics": {"tags": {"team": ""}}})),
            Refused("spec.metrics.tags.team"),
        ),
        definition("a tag in unicode", image(json!({"metrics": {"tags": {"team": "größe 日本"}}})), Fine),
    ]
}

/// Containers.
fn pods() -> Vec<Case> {
    let task = json!({"name": "task", "image": PLAIN});
    let beside = json!({"name": "beside", "image": PLAIN});
    vec![
        definition(
            "nothing to run",
            json!({}),
            Refused("give spec.image, or a spec.podTemplate with a container"),
        ),
        definition("an empty image", json!({"image": ""}), Refused("spec.image")),
        definition(
            "a template without container",
            json!({"podTemplate": {"spec": {}}}),
            Refused("spec.podTemplate has no container"),
        ),
        definition(
            "two containers",
            json!({"podTemplate": containers(json!([task, beside]))}),
            Refused("name the one whose end is the task's end in spec.taskContainer"),
        ),
        definition(
            "a container beside the task",
            json!({"taskContainer": "task", "podTemplate": containers(json!([task, beside]))}),
            NotAccepted(INVALID_DEFINITION, "make it a native sidecar"),
        ),
        definition(
            "a task container that is not there",
            json!({"taskContainer": "tsak", "podTemplate": containers(json!([task]))}),
            NotAccepted(INVALID_DEFINITION, "has no container tsak"),
        ),
        definition(
            "a container without image",
            json!({"podTemplate": containers(json!([{"name": "task"}]))}),
            NotAccepted(INVALID_DEFINITION, "has no image: give spec.image"),
        ),
        definition(
            "a pod that restarts",
            json!({"image": PLAIN, "podTemplate": {"spec": {"restartPolicy": "OnFailure"}}}),
            NotAccepted(INVALID_DEFINITION, "spec.runPolicy.backoffLimit"),
        ),
        definition(
            "a property name with a blank",
            json!({"image": PLAIN, "properties": {"app color": "red"}}),
            NotAccepted(INVALID_DEFINITION, "is no property name"),
        ),
        launch(
            "a label that only the Job shows to be none",
            "bad-label",
            json!({}),
            Fails(INVALID_POD, "a b"),
        ),
        launch("a volume that is not there", "bad-mount", json!({}), Fails(INVALID_POD, "nowhere")),
    ]
}

/// Quantities and durations.
fn numbers() -> Vec<Case> {
    let cpu = |value: Value| json!({"image": PLAIN, "resources": {"requests": {"cpu": value}}});
    let policy = |key: &str, value: i64| json!({"image": PLAIN, "runPolicy": {key: value}});
    vec![
        definition("cpu: 1", cpu(json!(1)), Fine),
        definition("cpu: 250m", cpu(json!("250m")), Fine),
        definition("cpu: 0.5", cpu(json!(0.5)), Refused("spec.resources.requests.cpu")),
        definition("cpu: abc", cpu(json!("abc")), Refused("spec.resources.requests.cpu")),
        definition(
            "memory: 1 GB",
            json!({"image": PLAIN, "resources": {"limits": {"memory": "1 GB"}}}),
            Refused("spec.resources.limits.memory"),
        ),
        definition("negative retries", policy("backoffLimit", -1), Refused("greater than or equal to 0")),
        definition("too many retries", policy("backoffLimit", 101), Refused("less than or equal to 100")),
        definition(
            "no time to run",
            policy("activeDeadlineSeconds", 0),
            Refused("greater than or equal to 1"),
        ),
        definition(
            "too long a time to run",
            policy("activeDeadlineSeconds", 31_536_001),
            Refused("less than or equal to 31536000"),
        ),
        definition(
            "a start before creation",
            policy("startDeadlineSeconds", -1),
            Refused("greater than or equal to 0"),
        ),
        definition("a start at any time", policy("startDeadlineSeconds", 0), Fine),
        definition(
            "too long a grace",
            policy("terminationGracePeriodSeconds", 86_401),
            Refused("less than or equal to 86400"),
        ),
        definition(
            "a negative history",
            json!({"image": PLAIN, "history": {"failed": -1}}),
            Refused("greater than or equal to 0"),
        ),
        definition(
            "a duration in words",
            json!({"image": PLAIN, "runPolicy": {"activeDeadlineSeconds": "1h"}}),
            Refused("must be of type integer"),
        ),
    ]
}
