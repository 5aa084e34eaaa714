//! Objects through kube's typed calls.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Namespace, Pod},
};
use kube::{
    Api, Error, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    core::PartialObjectMeta,
};
use serde_json::{Value, json};

use super::super::{ApiServer, Request, Status, Store, Verb};
use super::{config_map, decode, job, jobs, maps, owned_pod, refusal};

#[tokio::test]
async fn creates_once_with_identity() {
    let server = ApiServer::new();
    let created = jobs(&server).create(&PostParams::default(), &job("a")).await.unwrap();
    assert_eq!(created.metadata.generation, Some(1));
    assert_eq!(created.creation_timestamp().unwrap().0.to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(created.uid().unwrap().len(), 36);
    assert!(created.resource_version().unwrap().parse::<u64>().unwrap() > 0);
    let refused = refusal(jobs(&server).create(&PostParams::default(), &job("a")).await);
    assert_eq!((refused.code, refused.reason.as_str()), (409, "AlreadyExists"));
    assert_eq!(refused.message, "jobs.batch \"a\" already exists");
    let details = refused.details.unwrap();
    assert_eq!(
        (details.name.as_str(), details.group.as_str(), details.kind.as_str()),
        ("a", "batch", "jobs")
    );
}

#[tokio::test]
async fn generates_names_and_refuses_bad_ones() {
    let server = ApiServer::new();
    let mut map = config_map("");
    map.metadata.name = None;
    let refused = refusal(maps(&server).create(&PostParams::default(), &map).await);
    assert_eq!(refused.code, 422);
    map.metadata.generate_name = Some("x-".into());
    let (one, two) = (
        maps(&server).create(&PostParams::default(), &map).await.unwrap(),
        maps(&server).create(&PostParams::default(), &map).await.unwrap(),
    );
    assert!(one.name_any() != two.name_any() && one.name_any().len() == 7);
    assert_eq!(refusal(maps(&server).create(&PostParams::default(), &config_map("A_b")).await).code, 422);
}

#[tokio::test]
async fn unknown_kinds_names_and_namespaces_are_not_found() {
    let server = ApiServer::new();
    let refused = refusal(maps(&server).get("nothing").await);
    assert_eq!((refused.code, refused.message.as_str()), (404, "configmaps \"nothing\" not found"));
    server.with(|store| store.unregister("configmaps"));
    let refused = refusal(maps(&server).list(&ListParams::default()).await);
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (404, "the server could not find the requested resource")
    );
    let elsewhere: Api<Job> = Api::namespaced(server.client(), "nowhere");
    let refused = refusal(elsewhere.create(&PostParams::default(), &job("a")).await);
    assert_eq!((refused.code, refused.message.as_str()), (404, "namespaces \"nowhere\" not found"));
}

#[tokio::test]
async fn pages_show_one_revision() {
    let server = ApiServer::new();
    for n in 0..5 {
        server.put(&config_map(&format!("m{n}")));
    }
    let first = maps(&server).list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    // Created and deleted after the first page: neither shows in the second.
    server.put(&config_map("m9"));
    server.with(|store| store.remove("configmaps", "default", "m4"));
    let token = first.metadata.continue_.clone().unwrap();
    let rest = maps(&server).list(&ListParams::default().continue_token(&token)).await.unwrap();
    assert_eq!(rest.metadata.resource_version, first.metadata.resource_version);
    assert_eq!(rest.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["m2", "m3", "m4"]);
    server.compact();
    assert_eq!(refusal(maps(&server).list(&ListParams::default().continue_token(&token)).await).code, 410);
}

#[tokio::test]
async fn selects_by_labels_and_fields() {
    let server = ApiServer::new();
    for (name, tier) in [("a", Some("x")), ("b", Some("y")), ("c", None)] {
        let mut map = config_map(name);
        map.metadata.labels = tier.map(|t| [("tier".to_owned(), t.to_owned())].into());
        server.put(&map);
    }
    for (labels, fields, names) in [
        ("tier=x", "", vec!["a"]),
        ("tier in (x, y)", "", vec!["a", "b"]),
        ("tier", "metadata.name=b", vec!["b"]),
        ("!tier", "", vec!["c"]),
        ("tier!=x", "metadata.namespace=default", vec!["b", "c"]),
        ("tier notin (x),tier", "", vec!["b"]),
    ] {
        let list = maps(&server).list(&ListParams::default().labels(labels).fields(fields)).await.unwrap();
        assert_eq!(
            list.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
            names,
            "{labels} {fields}"
        );
    }
}

#[tokio::test]
async fn writes_with_an_old_version_conflict() {
    let server = ApiServer::new();
    let old = maps(&server).create(&PostParams::default(), &config_map("a")).await.unwrap();
    let patch = |version: Option<String>, value: &str| json!({"metadata": {"resourceVersion": version}, "data": {"a": value}});
    let merge = |body: Value| {
        let api = maps(&server);
        async move { api.patch("a", &PatchParams::default(), &Patch::Merge(body)).await }
    };
    let new = merge(patch(old.resource_version(), "2")).await.unwrap();
    assert_ne!(new.resource_version(), old.resource_version());
    let message = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your \
                   changes to the latest version and try again";
    assert_eq!(refusal(merge(patch(old.resource_version(), "3")).await).message, message);
    assert_eq!(refusal(maps(&server).replace("a", &PostParams::default(), &old).await).reason, "Conflict");
    let wrong_uid = refusal(merge(json!({"metadata": {"uid": "other"}})).await);
    assert!(wrong_uid.code == 409 && wrong_uid.message.contains("Precondition failed: UID"), "{wrong_uid:?}");
    maps(&server).replace("a", &PostParams::default(), &new).await.unwrap();
}

#[tokio::test]
async fn a_write_that_changes_nothing_is_no_event() {
    let server = ApiServer::new();
    let before = maps(&server).create(&PostParams::default(), &config_map("a")).await.unwrap();
    let same = Patch::Merge(json!({"data": {"a": "1", "gone": null}}));
    let after = maps(&server).patch("a", &PatchParams::default(), &same).await.unwrap();
    assert_eq!(after, before);
    let apply = Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"b": "2"}}));
    let params = PatchParams::apply("tests").force();
    let first = maps(&server).patch("a", &params, &apply).await.unwrap();
    assert_eq!(maps(&server).patch("a", &params, &apply).await.unwrap(), first);
    let record = server.record();
    assert_eq!(record.writes().filter(|e| e.changed).len(), 2, "{record}");
}

#[tokio::test]
async fn apply_creates_and_gives_up_what_it_no_longer_sends() {
    let server = ApiServer::new();
    let params = PatchParams::apply("tests").force();
    let apply = |data: Value| Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data}));
    maps(&server).patch("a", &params, &apply(json!({"x": "1", "y": "1"}))).await.unwrap();
    let by_hand = Patch::Merge(json!({"data": {"z": "1"}}));
    maps(&server).patch("a", &PatchParams::default(), &by_hand).await.unwrap();
    let now = maps(&server).patch("a", &params, &apply(json!({"x": "2"}))).await.unwrap();
    let data: Vec<_> = now.data.unwrap().into_iter().collect();
    assert_eq!(data, [("x".to_owned(), "2".to_owned()), ("z".to_owned(), "1".to_owned())]);
}

#[tokio::test]
async fn status_and_the_rest_are_apart() {
    let server = ApiServer::new();
    let mut with_status = job("a");
    with_status.status = Some(decode(json!({"succeeded": 1})));
    let created = jobs(&server).create(&PostParams::default(), &with_status).await.unwrap();
    assert_eq!(created.status, None);
    let both = Patch::Merge(
        json!({"metadata": {"labels": {"l": "1"}}, "spec": {"suspend": true}, "status": {"failed": 1}}),
    );
    let main = jobs(&server).patch("a", &PatchParams::default(), &both).await.unwrap();
    assert_eq!(
        (main.spec.unwrap().suspend, main.status, main.metadata.generation),
        (Some(true), None, Some(2))
    );
    let both = Patch::Merge(
        json!({"metadata": {"labels": {"l": "2"}}, "spec": {"suspend": false}, "status": {"failed": 1}}),
    );
    let status = jobs(&server).patch_status("a", &PatchParams::default(), &both).await.unwrap();
    assert_eq!(status.labels()["l"], "1");
    assert_eq!((status.spec.unwrap().suspend, status.status.unwrap().failed), (Some(true), Some(1)));
    assert_eq!(status.metadata.generation, Some(2));
}

#[tokio::test]
async fn admission_refuses_in_its_own_words() {
    let server = ApiServer::new();
    let kind = server.with(|store| store.kind("pods"));
    server.with(|store| {
        store.on_create("pods", move |_| Err(Status::forbidden(&kind, "p", "exceeded quota: small")));
    });
    let pods: Api<Pod> = Api::namespaced(server.client(), "default");
    let pod = owned_pod("p", &server.put(&job("a")));
    let refused = refusal(pods.create(&PostParams::default(), &pod).await);
    assert_eq!(refused.message, "pods \"p\" is forbidden: exceeded quota: small");
}

#[tokio::test]
async fn metadata_alone_can_be_read() {
    let server = ApiServer::new();
    server.put(&config_map("a"));
    let list = maps(&server).list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(list.items[0].name_any(), "a");
    let one: PartialObjectMeta<ConfigMap> = maps(&server).get_metadata("a").await.unwrap();
    assert_eq!(one.types.unwrap().kind, "PartialObjectMetadata");
}

#[tokio::test]
async fn two_clients_are_told_apart() {
    let server = ApiServer::new();
    let other: Api<ConfigMap> = Api::namespaced(server.client_as("operator-b"), "default");
    maps(&server).create(&PostParams::default(), &config_map("a")).await.unwrap();
    let mark = server.mark();
    other.create(&PostParams::default(), &config_map("a")).await.unwrap_err();
    let record = server.record().since(mark);
    assert_eq!(record.to_string(), "   2 operator-b create configmaps default/ -> 409\n");
    assert_eq!(server.record().by("operator").count(Verb::Create, "configmaps"), 1);
}

#[test]
fn equal_requests_give_equal_clusters() {
    let run = |seed| {
        let mut store = Store::with_seed(seed);
        let (head, ()) =
            http::Request::post("/api/v1/namespaces/default/configmaps?").body(()).unwrap().into_parts();
        let body = json!({"metadata": {"generateName": "m-"}}).to_string();
        let request = Request::from_http("tests", &head, body.as_bytes()).unwrap();
        let first = store.handle(&request).body;
        let fork = store.clone();
        let answers = [store.handle(&request).body, fork.clone().handle(&request).body];
        assert_eq!(answers[0], answers[1]);
        assert_eq!(fork.all("configmaps").len(), 1);
        first
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7)["metadata"]["uid"], run(8)["metadata"]["uid"]);
}
