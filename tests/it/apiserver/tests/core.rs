//! The synchronous core, without a client: what kube's typed calls cannot say.

use serde_json::{Value, json};

use super::super::{JobController, Request, Response, Store};

const DEFINITIONS: &str = "/apis/millrace.dev/v1alpha1/namespaces/default/taskdefinitions";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn call(store: &mut Store, method: &str, uri: &str, content_type: &str, body: &Value) -> Response {
    let request = Request::call("tests", method, uri, content_type, body);
    request.map_or_else(Response::from, |request| store.handle(&request))
}

fn send(store: &mut Store, method: &str, uri: &str, body: &Value) -> Response {
    let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    call(store, method, uri, content_type, body)
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "1"}})
}

#[test]
fn updates_of_custom_objects_need_a_version() {
    let mut store = Store::default();
    let mut created = send(&mut store, "POST", DEFINITIONS, &named("a")).body;
    let uri = format!("{DEFINITIONS}/a");
    let refused = send(&mut store, "PUT", &uri, &named("a"));
    assert_eq!(
        (refused.code, &refused.body["details"]["causes"][0]["field"]),
        (422, &json!("metadata.resourceVersion"))
    );
    created["status"] = json!({"ready": true});
    created["metadata"]["labels"] = json!({"l": "1"});
    let status = send(&mut store, "PUT", &format!("{uri}/status"), &created).body;
    assert_eq!((&status["status"]["ready"], &status["metadata"]["labels"]), (&json!(true), &Value::Null));
    assert_eq!(send(&mut store, "PUT", &uri, &created).code, 409);
}

#[test]
fn the_template_of_a_job_is_immutable() {
    let mut store = Store::default();
    let template = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    let mut body = template("a");
    body["metadata"] = json!({"name": "a"});
    send(&mut store, "POST", JOBS, &body);
    let refused = send(&mut store, "PATCH", &format!("{JOBS}/a"), &template("b"));
    assert!(refused.code == 422 && refused.body["message"].as_str().unwrap().ends_with("field is immutable"));
    let long = json!({"metadata": {"name": "a".repeat(64)}});
    assert_eq!(send(&mut store, "POST", JOBS, &long).code, 422);
}

#[test]
fn json_patches_apply_whole_or_not() {
    let mut store = Store::default();
    send(&mut store, "POST", MAPS, &named("a"));
    let uri = format!("{MAPS}/a");
    let mut patch =
        |operations: Value| call(&mut store, "PATCH", &uri, "application/json-patch+json", &operations);
    let patched = patch(json!([
        {"op": "test", "path": "/data/a", "value": "1"},
        {"op": "add", "path": "/metadata/labels", "value": {"x~y": "1"}},
        {"op": "replace", "path": "/metadata/labels/x~0y", "value": "2"},
        {"op": "remove", "path": "/data/a"},
    ]));
    assert_eq!(
        (&patched.body["metadata"]["labels"]["x~y"], &patched.body["data"]),
        (&json!("2"), &json!({}))
    );
    let refused = patch(
        json!([{"op": "add", "path": "/data/b", "value": "1"}, {"op": "test", "path": "/data/b", "value": "2"}]),
    );
    assert_eq!(
        (refused.code, store.get("configmaps", "default", "a").unwrap()["data"].clone()),
        (422, json!({}))
    );
}

#[test]
fn a_rehearsal_leaves_nothing() {
    let mut store = Store::default();
    let before = store.revision();
    assert_eq!(send(&mut store, "POST", &format!("{MAPS}?dryRun=All"), &named("a")).code, 201);
    assert_eq!((store.revision(), store.all("configmaps").len()), (before, 0));
    send(&mut store, "POST", MAPS, &named("a"));
    assert_eq!(send(&mut store, "DELETE", &format!("{MAPS}/a"), &json!({"dryRun": ["All"]})).code, 200);
    assert_eq!(store.all("configmaps").len(), 1);
}

#[test]
fn what_is_not_served_is_refused() {
    let mut store = Store::default();
    for (method, uri, code) in [
        ("GET", "/apis/batch/v2/namespaces/default/jobs", 404),
        ("GET", "/api/v1/configmaps/a", 404),
        ("GET", "/api/v1/namespaces/default/configmaps/a/status", 404),
        ("GET", "/healthz", 404),
        ("DELETE", MAPS, 405),
        ("POST", "/api/v1/namespaces/default/configmaps/a", 405),
        ("GET", "/api/v1/namespaces/default/configmaps?labelSelector=a%20b", 400),
        ("GET", "/apis/millrace.dev/v1alpha1/tasklaunches?fieldSelector=spec.a%3Db", 400),
        ("GET", "/api/v1/configmaps?resourceVersion=999999", 504),
    ] {
        assert_eq!(send(&mut store, method, uri, &Value::Null).code, code, "{method} {uri}");
    }
    let resources = send(&mut store, "GET", "/apis/batch/v1", &Value::Null).body;
    assert_eq!(resources["resources"][0]["name"], "jobs");
    store.unregister("jobs");
    assert_eq!(send(&mut store, "GET", "/apis/batch/v1", &Value::Null).code, 404);
}

#[test]
fn the_collector_can_be_stepped() {
    let mut store = Store::default();
    store.set_gc_automatic(false);
    let owner = send(&mut store, "POST", MAPS, &named("owner")).body;
    let mut dependent = named("dependent");
    dependent["metadata"]["ownerReferences"] = json!([{"uid": owner["metadata"]["uid"], "name": "owner"}]);
    send(&mut store, "POST", MAPS, &dependent);
    let uri = format!("{MAPS}/owner");
    let marked = send(&mut store, "DELETE", &uri, &json!({"propagationPolicy": "Foreground"})).body;
    assert_eq!(marked["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let mut other = store.clone();
    store.gc();
    assert_eq!(store.all("configmaps").len(), 0);
    assert_eq!(other.all("configmaps").len(), 2);
    assert_eq!(send(&mut other, "DELETE", "/api/v1/namespaces/default", &Value::Null).code, 200);
    assert_eq!(send(&mut other, "POST", MAPS, &named("late")).code, 403);
    other.gc();
    assert_eq!((other.all("configmaps").len(), other.get("namespaces", "", "default")), (0, None));
}

#[test]
fn a_watch_is_a_value() {
    let mut store = Store::default();
    let mut cursor =
        send(&mut store, "GET", &format!("{MAPS}?watch=1&resourceVersion=0"), &Value::Null).watch.unwrap();
    send(&mut store, "POST", MAPS, &named("a"));
    let (mut fork, mut behind) = (store.clone(), cursor.clone());
    store.remove("configmaps", "default", "a");
    let kinds = |store: &Store, cursor: &mut _| -> Vec<Value> {
        std::iter::from_fn(|| store.next_event(cursor)).map(|event| event["type"].clone()).collect()
    };
    assert_eq!(kinds(&store, &mut cursor), ["ADDED", "DELETED"]);
    fork.edit("configmaps", "default", "a", |map| map["data"] = json!({}));
    assert_eq!(kinds(&fork, &mut behind), ["ADDED", "MODIFIED"]);
}

#[test]
fn equal_histories_are_equal_byte_for_byte() {
    let run = || {
        let mut store = Store::default();
        let spec = json!({"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}});
        for name in ["a", "b"] {
            send(&mut store, "POST", JOBS, &json!({"metadata": {"name": name}, "spec": spec}));
            JobController::settle(&mut store);
            store.pod_of("default", name).finish(0, "");
        }
        JobController::settle(&mut store);
        let all: Vec<String> =
            ["jobs", "pods"].iter().flat_map(|kind| store.all(kind)).map(Value::to_string).collect();
        (all.join("\n"), store.record.to_string())
    };
    assert_eq!(run(), run());
}
