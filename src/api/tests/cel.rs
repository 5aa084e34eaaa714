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

fn monitoring(spec: &Value) -> Value {
    json!({"metadata": {"name": "m"}, "spec": spec})
}

#[test]
fn monitorings_that_are_created() {
    let schema = schema_of("TaskMonitoring");
    let together = "mode: External and external go together";
    let of = |part: &str, said: Value| monitoring(&json!({part: said}));
    let server = |part: &str| match part {
        "proxy" => json!({"host": "proxy.example.com"}),
        "wavefront" => json!({"url": "proxy://wavefront:2878"}),
        _ => json!({"url": "http://example.com:9090"}),
    };
    for part in ["prometheus", "proxy", "grafana", "influxdb", "wavefront"] {
        for (said, fragment) in [
            (json!({}), None),
            (json!({"mode": "Disabled"}), None),
            (json!({"mode": "External", "external": server(part)}), None),
            (json!({"mode": "External"}), Some(together)),
            (json!({"external": server(part)}), Some(together)),
            (json!({"mode": "Disabled", "external": server(part)}), Some(together)),
        ] {
            assert_said(part, &said_of(&schema, &of(part, said)), fragment);
        }
    }
    let influx = |external: Value| {
        let mut external = external;
        external["url"] = json!("http://influx:8086");
        of("influxdb", json!({"mode": "External", "external": external}))
    };
    let key = json!({"name": "n", "key": "k"});
    let wavefront = |external: Value| of("wavefront", json!({"mode": "External", "external": external}));
    let service = |said: Value| of("grafana", json!({"service": said}));
    let two = "org, bucket and token belong to version: V2";
    for (what, object, fragment) in [
        ("the smallest", monitoring(&json!({})), None),
        ("V2", influx(json!({"version": "V2", "org": "o", "bucket": "b", "token": key})), None),
        (
            "V2 without token",
            influx(json!({"version": "V2", "org": "o", "bucket": "b"})),
            Some("version: V2 needs org, bucket and token"),
        ),
        ("V1 with org", influx(json!({"org": "o"})), Some(two)),
        ("V1 with token", influx(json!({"version": "V1", "token": key})), Some(two)),
        ("V1 with login", influx(json!({"username": key, "password": key})), None),
        (
            "V1 with half a login",
            influx(json!({"username": key})),
            Some("give username and password together"),
        ),
        ("Wavefront with token", wavefront(json!({"url": "https://w.example.com", "token": key})), None),
        ("Wavefront without", wavefront(json!({"url": "https://w.example.com"})), Some("give token")),
        ("a node's port", service(json!({"type": "NodePort", "nodePort": 30000})), None),
        ("a node's port by default", service(json!({"nodePort": 30000})), None),
        (
            "a node's port of a ClusterIP",
            service(json!({"type": "ClusterIP", "nodePort": 30000})),
            Some("nodePort needs type: NodePort"),
        ),
        ("patterns", monitoring(&json!({"metrics": {"keep": ["jvm_.*", "a|b"], "drop": ["x"]}})), None),
    ] {
        assert_said(what, &said_of(&schema, &object), fragment);
    }
    let mut long = monitoring(&json!({}));
    long["metadata"]["name"] = json!("m".repeat(64));
    assert_said("a name of 64", &said_of(&schema, &long), Some("has at most 63 characters"));
}

#[test]
fn patterns_that_are_no_expressions_are_refused() {
    let schema = schema_of("TaskMonitoring");
    for field in ["keep", "drop"] {
        for wrong in ["(", "[a", "*", "a{2,1}"] {
            let object = monitoring(&json!({"metrics": {field: ["jvm_.*", wrong]}}));
            assert!(!said_of(&schema, &object).is_empty(), "{field}: {wrong}");
        }
    }
}

/// What one definition can say is far less than what all of them have room for.
#[test]
fn patterns_are_few_and_short() {
    for kind in ["TaskMonitoring", "TaskDefinition"] {
        let schema = schema_of(kind);
        for field in ["keep", "drop"] {
            let patterns = &schema["properties"]["spec"]["properties"]["metrics"]["properties"][field];
            let longest =
                patterns["maxItems"].as_u64().unwrap() * patterns["items"]["maxLength"].as_u64().unwrap();
            assert!(longest <= 16 << 10, "{kind} {field}: {longest}");
        }
    }
}

#[test]
fn volumes_that_are_changed() {
    let schema = schema_of("TaskMonitoring");
    let of = |part: &str, storage: Value| monitoring(&json!({part: {"storage": storage}}));
    let class = "storageClassName of a volume cannot be changed";
    for part in ["prometheus", "proxy", "influxdb", "grafana"] {
        for (what, old, new, fragment) in [
            ("larger", json!({"size": "8Gi"}), json!({"size": "20Gi"}), None),
            ("the same", json!({"size": "1024Mi"}), json!({"size": "1Gi"}), None),
            ("smaller", json!({"size": "8Gi"}), json!({"size": "8000Mi"}), Some("a volume cannot shrink")),
            // Where there is no default class, a volume waits for one; the API server refuses it for one that has a class.
            ("a class", json!({"size": "8Gi"}), json!({"size": "8Gi", "storageClassName": "fast"}), None),
            (
                "that taken back",
                json!({"size": "8Gi", "storageClassName": "fast"}),
                json!({"size": "8Gi"}),
                None,
            ),
            (
                "another class",
                json!({"size": "8Gi", "storageClassName": "slow"}),
                json!({"size": "8Gi", "storageClassName": "fast"}),
                Some(class),
            ),
            (
                "the same class",
                json!({"size": "8Gi", "storageClassName": "slow"}),
                json!({"size": "9Gi", "storageClassName": "slow"}),
                None,
            ),
            (
                "what happens to it",
                json!({"size": "8Gi"}),
                json!({"size": "8Gi", "onDelete": "Delete"}),
                None,
            ),
        ] {
            let said = said(&schema, &of(part, new), Some(&of(part, old)));
            assert_said(&format!("{part}: {what}"), &said, fragment);
        }
    }
}

/// What the structural schema refuses by itself.
#[test]
fn wavefront_is_never_managed() {
    let schema = schema_of("TaskMonitoring");
    let modes = |part: &str| {
        let pointer = format!("/properties/spec/properties/{part}/properties/mode/enum");
        schema.pointer(&pointer).unwrap().as_array().unwrap().contains(&json!("Managed"))
    };
    assert!(!modes("wavefront"));
    assert!(["prometheus", "proxy", "grafana", "influxdb"].into_iter().all(modes));
}

fn said_of(schema: &Value, object: &Value) -> Vec<String> {
    said(schema, object, None)
}

/// A rule that does not compile would be an error at every apply.
#[test]
fn every_rule_compiles() {
    for kind in ["TaskDefinition", "TaskLaunch", "TaskMonitoring"] {
        let compiled = kube::core::cel::compile_schema(&schema_of(kind));
        assert!(!compiled.has_errors(), "{kind}: {:?}", compiled.compilation_errors());
    }
}
