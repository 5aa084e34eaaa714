//! Launches.

use millrace::names::reason::{DEFINITION_NOT_FOUND, OVERRIDE_DENIED, PARENT_NOT_FOUND};
use serde_json::{Value, json};

use super::Expect::{Fine, NotAccepted, Refused};
use super::{Case, launch};
use crate::support::PLAIN;

pub(super) fn all() -> Vec<Case> {
    [launches(), overrides()].into_iter().flatten().collect()
}

/// Launches by themselves.
fn launches() -> Vec<Case> {
    let parent = |parent: Value| json!({"parentRef": parent});
    vec![
        launch("a name of 53", "plain", json!({}), Refused("at most 52 characters")).named(&"l".repeat(53)),
        launch("a name of 52", "plain", json!({}), Fine).named(&"l".repeat(52)),
        launch("a name with dots", "plain", json!({}), Fine).named("a.b-1.c"),
        launch("an image", "plain", json!({"image": PLAIN}), Refused("unknown field \"spec.image\"")),
        launch(
            "environment",
            "plain",
            json!({"env": [{"name": "A", "value": "x"}]}),
            Refused("unknown field \"spec.env\""),
        ),
        launch(
            "a service account",
            "plain",
            json!({"serviceAccountName": "admin"}),
            Refused("unknown field \"spec.serviceAccountName\""),
        ),
        launch(
            "a number as argument",
            "plain",
            json!({"args": [2026]}),
            Refused("spec.args[0] in body must be of type string"),
        ),
        launch(
            "a number as property",
            "plain",
            json!({"properties": {"app.chunk-size": 10}}),
            Refused("must be of type string"),
        ),
        launch("no definition's name", "", json!({}), Refused("spec.definitionRef.name")),
        launch("a definition in upper case", "Plain", json!({}), Refused("spec.definitionRef.name")),
        launch(
            "another end than Stop",
            "plain",
            json!({"shutdown": "Kill"}),
            Refused("supported values: \"Stop\""),
        ),
        launch(
            "its own parent",
            "plain",
            parent(json!({"name": "selfish"})),
            Refused("a launch cannot be its own parent"),
        )
        .named("selfish"),
        launch(
            "two parents",
            "plain",
            parent(json!({"name": "a", "executionId": 1})),
            Refused("give either spec.parentRef.name or spec.parentRef.executionId"),
        ),
        launch(
            "a parent that says nothing",
            "plain",
            parent(json!({})),
            Refused("give either spec.parentRef.name or spec.parentRef.executionId"),
        ),
        launch("parent 0", "plain", parent(json!({"executionId": 0})), Refused("greater than or equal to 1")),
        launch(
            "a parent that is not there",
            "plain",
            parent(json!({"name": "nobody"})),
            NotAccepted(PARENT_NOT_FOUND, "no TaskLaunch nobody"),
        ),
        launch(
            "a definition that is not there",
            "nothing",
            json!({}),
            NotAccepted(DEFINITION_NOT_FOUND, "no TaskDefinition nothing"),
        ),
    ]
}

/// What a definition does not allow, in every spelling.
fn overrides() -> Vec<Case> {
    let args = |arg: &str| json!({"args": [arg]});
    let property = |name: &str| json!({"properties": {name: "x"}});
    let named = "to spec.overrides.properties of the definition";
    vec![
        launch(
            "a word where none is allowed",
            "deny",
            args("x"),
            NotAccepted(OVERRIDE_DENIED, "spec.overrides.args"),
        ),
        launch("a dash", "plain", args("-x"), NotAccepted(OVERRIDE_DENIED, "spec.overrides.args to Any")),
        launch("two dashes", "plain", args("--"), NotAccepted(OVERRIDE_DENIED, "spec.overrides.args to Any")),
        launch(
            "a property as argument",
            "plain",
            args("--app.secret=1"),
            NotAccepted(OVERRIDE_DENIED, named),
        ),
        launch(
            "the same where any argument is allowed",
            "any",
            args("--app.secret=1"),
            NotAccepted(OVERRIDE_DENIED, named),
        ),
        launch("a JVM's property", "any", args("-Dapp.secret=1"), NotAccepted(OVERRIDE_DENIED, named)),
        launch(
            "the environment's spelling",
            "any",
            args("--APP_SECRET=1"),
            NotAccepted(OVERRIDE_DENIED, named),
        ),
        launch("a flag without value", "any", args("--debug"), NotAccepted(OVERRIDE_DENIED, named)),
        launch("another property", "plain", property("app.chunk.size"), NotAccepted(OVERRIDE_DENIED, named)),
        launch(
            "all properties at once",
            "plain",
            property("spring.application.json"),
            NotAccepted(OVERRIDE_DENIED, named),
        ),
        launch(
            "all properties at once, as variable",
            "plain",
            property("SPRING_APPLICATION_JSON"),
            NotAccepted(OVERRIDE_DENIED, named),
        ),
        launch(
            "another configuration",
            "any",
            args("--spring.config.location=/tmp/x"),
            NotAccepted(OVERRIDE_DENIED, named),
        ),
        launch(
            "more configuration",
            "any",
            args("--SPRING_CONFIG_ADDITIONALLOCATION=/tmp/x"),
            NotAccepted(OVERRIDE_DENIED, named),
        ),
        launch(
            "imported configuration",
            "plain",
            property("spring.config.import"),
            NotAccepted(OVERRIDE_DENIED, named),
        ),
        launch("a profile", "plain", property("spring.profiles.active"), NotAccepted(OVERRIDE_DENIED, named)),
        launch(
            "a profile in a list",
            "plain",
            property("spring.profiles.include[0]"),
            NotAccepted(OVERRIDE_DENIED, named),
        ),
        launch("a property in unicode", "plain", property("größe"), NotAccepted(OVERRIDE_DENIED, named)),
        launch("an allowed property", "plain", property("app.chunk-size"), Fine),
        launch("in camel case", "plain", property("app.chunkSize"), Fine),
        launch("as argument in upper case", "plain", args("--APP.CHUNK_SIZE=5"), Fine),
    ]
}
