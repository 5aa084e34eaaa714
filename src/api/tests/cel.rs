//! The rules of the CRDs, tried without a cluster. Each refusal says what to do.

use kube::core::cel::Validator;
use serde_json::{Value, json};

use super::schema_of;

/// What the rules say to creating `new`, or to changing `old` into it.
fn said(schema: &Value, new: &Value, old: Option<&Value>) -> Vec<String> {
    let errors = Validator::new().validate(schema, new, old).err();
    errors.map(|errors| errors.into_vec().into_iter().map(|e| e.message).collect()).unwrap_or_default()
}

fn assert_said(what: &str, said: &[String], fragment: Option<&str>) {
    match fragment {
        None => assert!(said.is_empty(), "{what}: {said:?}"),
        Some(fragment) => {
            assert!(said.len() == 1 && said.iter().all(|s| s.contains(fragment)), "{what}: {said:?}");
        }
    }
}

fn launch(name: &str, spec: &Value) -> Value {
    let mut whole = json!({"definitionRef": {"name": "d"}});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": whole})
}

fn definition(name: &str, spec: &Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

#[test]
fn launches_that_are_created() {
    let schema = schema_of("TaskLaunch");
    let long = "has at most 52 characters";
    let either = "give either spec.parentRef.name or spec.parentRef.executionId";
    for (what, object, fragment) in [
        ("the smallest", launch("l", &json!({})), None),
        ("a name of 52", launch(&"l".repeat(52), &json!({})), None),
        ("a name of 53", launch(&"l".repeat(53), &json!({})), Some(long)),
        ("a parent by name", launch("l", &json!({"parentRef": {"name": "m"}})), None),
        ("a parent by id", launch("l", &json!({"parentRef": {"executionId": 7}})), None),
        (
            "a parent both ways",
            launch("l", &json!({"parentRef": {"name": "m", "executionId": 7}})),
            Some(either),
        ),
        ("a parent no way", launch("l", &json!({"parentRef": {}})), Some(either)),
        ("itself", launch("l", &json!({"parentRef": {"name": "l"}})), Some("cannot be its own parent")),
        ("stopped from the start", launch("l", &json!({"shutdown": "Stop"})), None),
        ("everything", launch("l", &json!({"args": ["ä", "$(X)"], "properties": {"a": "b"}})), None),
    ] {
        assert_said(what, &said(&schema, &object, None), fragment);
    }
}

#[test]
fn launches_that_are_changed() {
    let schema = schema_of("TaskLaunch");
    let whole = json!({
        "definitionRef": {"name": "d"}, "args": ["a"], "properties": {"a": "b"}, "parentRef": {"executionId": 7},
    });
    let changed = |path: &str, value: Value| {
        let mut spec = whole.clone();
        spec[path] = value;
        launch("l", &spec)
    };
    let without = |path: &str| {
        let mut spec = whole.clone();
        spec.as_object_mut().unwrap().remove(path);
        json!({"metadata": {"name": "l"}, "spec": spec})
    };
    let old = launch("l", &whole);
    let again = "cannot be changed: a re-run is a new TaskLaunch";
    for (what, old, new, fragment) in [
        ("nothing", old.clone(), old.clone(), None),
        (
            "the definition",
            old.clone(),
            changed("definitionRef", json!({"name": "e"})),
            Some("spec.definitionRef"),
        ),
        ("arguments", old.clone(), changed("args", json!(["b"])), Some("spec.args")),
        ("more arguments", old.clone(), changed("args", json!(["a", "b"])), Some("spec.args")),
        ("no arguments", old.clone(), without("args"), Some("spec.args")),
        ("new arguments", without("args"), old.clone(), Some("spec.args")),
        ("a property", old.clone(), changed("properties", json!({"a": "c"})), Some("spec.properties")),
        (
            "another property",
            old.clone(),
            changed("properties", json!({"a": "b", "c": "d"})),
            Some("spec.properties"),
        ),
        ("no properties", old.clone(), without("properties"), Some("spec.properties")),
        ("new properties", without("properties"), old.clone(), Some("spec.properties")),
        ("the parent", old.clone(), changed("parentRef", json!({"executionId": 8})), Some("spec.parentRef")),
        (
            "another kind of parent",
            old.clone(),
            changed("parentRef", json!({"name": "m"})),
            Some("spec.parentRef"),
        ),
        ("no parent", old.clone(), without("parentRef"), Some("spec.parentRef")),
        ("a new parent", without("parentRef"), old.clone(), Some("spec.parentRef")),
        ("stopped", old.clone(), changed("shutdown", json!("Stop")), None),
    ] {
        let said = said(&schema, &new, Some(&old));
        assert_said(what, &said, fragment);
        assert!(said.iter().all(|s| s.contains(again)), "{said:?}");
    }
    let stopped = changed("shutdown", json!("Stop"));
    assert_said("stopped already", &said(&schema, &stopped, Some(&stopped)), None);
    assert_said(
        "taken back",
        &said(&schema, &old, Some(&stopped)),
        Some("spec.shutdown cannot be taken back"),
    );
}

#[test]
fn definitions() {
    let schema = schema_of("TaskDefinition");
    let container = |name: &str| json!({"name": name, "image": "i"});
    let template = |containers: Value| json!({"podTemplate": {"spec": {"containers": containers}}});
    let two = template(json!([container("a"), container("b")]));
    let mut named = two.clone();
    named["taskContainer"] = json!("a");
    let sidecar = json!({"podTemplate": {"spec": {
        "containers": [container("a")], "initContainers": [{"name": "b", "image": "j", "restartPolicy": "Always"}],
    }}});
    let long = "has at most 63 characters";
    let empty = "spec.podTemplate has no container: add one, or give spec.image";
    let tags = |key: &str| json!({"image": "i", "metrics": {"tags": {key: "x"}}});
    let bad_tag = "keys of tags are lower-case words joined by dots";
    for (what, object, fragment) in [
        ("an image", definition("d", &json!({"image": "i"})), None),
        ("a name of 63", definition(&"d".repeat(63), &json!({"image": "i"})), None),
        ("a name of 64", definition(&"d".repeat(64), &json!({"image": "i"})), Some(long)),
        (
            "nothing",
            definition("d", &json!({})),
            Some("give spec.image, or a spec.podTemplate with a container"),
        ),
        ("an empty template", definition("d", &json!({"podTemplate": {}})), Some(empty)),
        ("an empty pod", definition("d", &json!({"podTemplate": {"spec": {}}})), Some(empty)),
        ("no containers", definition("d", &template(json!([]))), Some(empty)),
        (
            "a template beside the image",
            definition("d", &json!({"image": "i", "podTemplate": {"spec": {"nodeSelector": {"a": "b"}}}})),
            None,
        ),
        ("a template alone", definition("d", &template(json!([container("a")]))), None),
        (
            "several containers",
            definition("d", &two),
            Some("name the one whose end is the task's end in spec.taskContainer"),
        ),
        ("several containers, one named", definition("d", &named), None),
        ("a native sidecar", definition("d", &sidecar), None),
        ("tags", definition("d", &tags("cost.center2")), None),
        ("a tag with a dash", definition("d", &tags("cost-center")), Some(bad_tag)),
        ("a tag in camel case", definition("d", &tags("costCenter")), Some(bad_tag)),
        ("a tag with a dot at its end", definition("d", &tags("cost.")), Some(bad_tag)),
        ("a tag that begins with a digit", definition("d", &tags("2cost")), Some(bad_tag)),
        ("a tag that is no word", definition("d", &tags("ä")), Some(bad_tag)),
    ] {
        assert_said(what, &said(&schema, &object, None), fragment);
    }
}

/// A rule that does not compile would be an error at every apply.
#[test]
fn every_rule_compiles() {
    for kind in ["TaskDefinition", "TaskLaunch"] {
        let compiled = kube::core::cel::compile_schema(&schema_of(kind));
        assert!(!compiled.has_errors(), "{kind}: {:?}", compiled.compilation_errors());
    }
}
