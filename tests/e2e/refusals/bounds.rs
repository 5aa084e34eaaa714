//! What neither definitions nor launches may: be too large, or say who a run is.

use millrace::names::reason::IDENTITY_RESERVED;
use serde_json::{Value, json};

use super::Expect::{Fine, NotAccepted, Refused, RefusedAtCreate};
use super::{Case, definition, launch};
use crate::support::PLAIN;

pub(super) fn all() -> Vec<Case> {
    [sizes(), identity()].into_iter().flatten().collect()
}

/// At the limits and over them.
fn sizes() -> Vec<Case> {
    let properties =
        |n: usize| (0..n).map(|i| (format!("app.p{i}"), json!("x"))).collect::<serde_json::Map<_, _>>();
    vec![
        launch("256 arguments", "plain", json!({"args": vec!["x"; 256]}), Fine),
        launch(
            "257 arguments",
            "plain",
            json!({"args": vec!["x"; 257]}),
            Refused("must have at most 256 items"),
        ),
        launch("8192 characters", "plain", json!({"args": ["x".repeat(8192)]}), Fine),
        launch(
            "8193 characters",
            "plain",
            json!({"args": ["x".repeat(8193)]}),
            Refused("may not be more than 8192"),
        ),
        launch(
            "257 properties",
            "plain",
            json!({"properties": properties(257)}),
            Refused("must have at most 256 items"),
        ),
        launch("2 MB", "plain", json!({"args": vec!["x".repeat(8192); 250]}), RefusedAtCreate("too large")),
        definition(
            "2 MB in the definition",
            json!({"image": PLAIN, "args": vec!["x".repeat(8192); 250]}),
            RefusedAtCreate("too large"),
        ),
        definition(
            "a variable of 8193",
            json!({"image": PLAIN, "properties": {"a.b": "x".repeat(8193)}}),
            Refused("may not be more than 8192"),
        ),
        definition(
            "33 tags",
            json!({"image": PLAIN, "metrics": {"tags": (0..33).map(|i| (format!("t{i}"), json!("x"))).collect::<serde_json::Map<_, _>>()}}),
            Refused("must have at most 32 items"),
        ),
    ]
}

/// Who a run is, the operator says.
fn identity() -> Vec<Case> {
    let property = |name: &str| json!({"properties": {name: "x"}});
    let defined = |more: Value| {
        let mut spec = more;
        spec["image"] = json!(PLAIN);
        spec
    };
    let words = "remove it";
    vec![
        launch(
            "the task's name, even if allowed",
            "any",
            property("spring.cloud.task.name"),
            NotAccepted(IDENTITY_RESERVED, words),
        ),
        launch(
            "a tag of identity",
            "any",
            json!({"args": ["--management.metrics.tags[task.name]=x"]}),
            NotAccepted(IDENTITY_RESERVED, words),
        ),
        launch(
            "the same as a variable",
            "any",
            property("MANAGEMENT_METRICS_TAGS_TASK_EXECUTION_ID"),
            NotAccepted(IDENTITY_RESERVED, words),
        ),
        definition(
            "a variable of ours",
            defined(json!({"env": [{"name": "MILLRACE_EXECUTION_ID", "value": "1"}]})),
            NotAccepted(IDENTITY_RESERVED, words),
        ),
        definition(
            "a property of the task",
            defined(property("spring.cloud.task.externalExecutionId")),
            NotAccepted(IDENTITY_RESERVED, words),
        ),
        definition(
            "an argument",
            defined(json!({"args": ["--spring.cloud.task.executionid=5"]})),
            NotAccepted(IDENTITY_RESERVED, words),
        ),
        definition(
            "identity inside JSON",
            defined(
                json!({"env": [{"name": "SPRING_APPLICATION_JSON", "value": "{\"management\":{\"metrics\":{\"tags\":{\"task.name\":\"x\"}}}}"}]}),
            ),
            NotAccepted(IDENTITY_RESERVED, words),
        ),
        definition(
            "JSON without identity",
            defined(
                json!({"env": [{"name": "SPRING_APPLICATION_JSON", "value": "{\"app\":{\"color\":\"red\"}}"}]}),
            ),
            Fine,
        ),
    ]
}
