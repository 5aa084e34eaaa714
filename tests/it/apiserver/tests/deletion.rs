//! Deletion and what follows it.

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
async fn deletes_under_preconditions() {
    let server = ApiServer::new();
    let map = server.put(&config_map("a"));
    let on = |uid: Option<String>, version: Option<String>| DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version: version }),
        ..DeleteParams::default()
    };
    let refused = refusal(maps(&server).delete("a", &on(Some("other".into()), None)).await);
    assert!(refused.code == 409 && refused.message.contains("UID in precondition: other"), "{refused:?}");
    assert_eq!(refusal(maps(&server).delete("a", &on(map.uid(), Some("1".into()))).await).code, 409);
    maps(&server).delete("a", &on(map.uid(), map.resource_version())).await.unwrap();
    assert_eq!(refusal(maps(&server).delete("a", &DeleteParams::default()).await).code, 404);
}

#[tokio::test]
async fn dependents_follow_their_owner() {
    let server = ApiServer::new();
    for (params, pods_left) in [
        (DeleteParams::background(), 0),
        (DeleteParams::foreground(), 0),
        // A Job deleted through the API leaves its pods unless told otherwise.
        (DeleteParams::default(), 1),
    ] {
        let owner = server.put(&job("a"));
        server.put(&owned_pod("p", &owner));
        jobs(&server).delete("a", &params).await.unwrap();
        assert_eq!((server.all::<Job>().len(), server.all::<Pod>().len()), (0, pods_left), "{params:?}");
    }
    assert!(server.all::<Pod>()[0].owner_references().is_empty());
}

#[tokio::test]
async fn finalizers_hold_a_deleted_object() {
    let server = ApiServer::new();
    let mut map = config_map("a");
    map.metadata.finalizers = Some(vec!["tests/hold".into()]);
    server.put(&map);
    maps(&server).delete("a", &DeleteParams::default()).await.unwrap();
    assert!(maps(&server).get("a").await.unwrap().metadata.deletion_timestamp.is_some());
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps(&server).patch("a", &PatchParams::default(), &release).await.unwrap();
    assert_eq!(server.get::<ConfigMap>("default", "a"), None);
}

#[tokio::test]
async fn a_terminating_namespace_takes_nothing_new() {
    let server = ApiServer::new();
    server.put(&config_map("a"));
    server.with(|store| store.terminate_namespace("default"));
    let refused = refusal(maps(&server).create(&PostParams::default(), &config_map("b")).await);
    assert_eq!((refused.code, refused.reason.as_str()), (403, "Forbidden"));
    assert!(
        refused.message.ends_with("in namespace default because it is being terminated"),
        "{}",
        refused.message
    );
    server.with(Store::gc);
    assert_eq!((server.all::<ConfigMap>(), server.get::<Namespace>("", "default")), (vec![], None));
}
