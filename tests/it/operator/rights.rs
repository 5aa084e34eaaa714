//! The roles allow exactly what the operator was seen to call.

use millrace::api::{Phase, TaskLaunch};
use millrace::launch::SHORT;
use millrace::names::reason;
use serde_json::json;
use std::collections::BTreeSet;

use super::harness::{NS, World, refused};
use super::stacks::{FOREIGN, apply, install_foreign, with_foreign};
use crate::apiserver::{Fault, Record, Rule, Store, Verb, WatchFault};
use crate::contract::chart::{chart_rules, integration_rules};

/// Runs launches through everything that makes the operator call the API server.
async fn everything() -> Record {
    let world = World::new();
    world.define("hello", |spec| spec.history.succeeded = 0);
    let operator = world.operator();
    world.launch("succeeds", "hello");
    world.end_pod("succeeds", 0, "").await;
    world.finished("succeeds").await;
    world.cleaned_up().await;
    assert!(world.server.get::<TaskLaunch>(NS, "succeeds").is_none(), "it is deleted");

    world.launch("is-stopped", "hello");
    world.pod("is-stopped").await;
    let stop = |launch: &mut serde_json::Value| launch["spec"]["shutdown"] = json!("Stop");
    world.server.with(|store| store.edit("tasklaunches", NS, "is-stopped", stop));
    world.finished("is-stopped").await;

    world.server.with(|store| {
        store.on_create("pods", |_| Err(refused("exceeded quota")));
    });
    world.launch("is-refused", "hello");
    world
        .server
        .until("the refusal is asked for", |store| {
            store.get("tasklaunches", NS, "is-refused").unwrap()["status"]["reason"] == reason::POD_REFUSED
        })
        .await;
    world.server.with(Store::clear_admission);

    // The same warning about the same launch is counted up in its event.
    world.launch("waits", "hello");
    let job = world.pod("waits").await;
    for (why, told) in [
        ("ErrImagePull", reason::IMAGE_PULL_FAILED),
        ("CreateContainerConfigError", reason::INVALID_POD),
        ("ErrImagePull", reason::IMAGE_PULL_FAILED),
    ] {
        world.server.with(|store| {
            store.pod_of(NS, &job).waiting(why, why);
        });
        world
            .server
            .until(why, |store| store.get("tasklaunches", NS, "waits").unwrap()["status"]["reason"] == told)
            .await;
    }

    world.launch("is-lost", "hello");
    let job = world.pod("is-lost").await;
    world.server.with(|store| store.remove("jobs", NS, &job));
    world.finished("is-lost").await;

    world.launch("is-held-back", "hello");
    let job = world.job("is-held-back").await;
    world.server.with(|store| store.edit("jobs", NS, &job, |job| job["spec"]["suspend"] = json!(true)));
    world.server.until("it is held back", |store| store.pods_of(NS, &job).is_empty()).await;
    world.server.with(|store| store.edit("tasklaunches", NS, "is-held-back", stop));
    world.finished("is-held-back").await;
    world.server.until("its Job is deleted", |store| store.get("jobs", NS, &job).is_none()).await;

    world.server.watches("pods").afflict(WatchFault::Freeze { after: 0 });
    world.launch("is-unseen", "hello");
    world.end_pod("is-unseen", 3, "").await;
    world.finished("is-unseen").await;

    world.inject(Rule::on(Verb::Create, "jobs", Fault::ResetAfter));
    world.launch("is-adopted", "hello");
    world.job("is-adopted").await;
    world.launch("is-early", "late");
    world.in_phase("is-early", Phase::Pending).await;
    tokio::time::sleep(SHORT).await;
    world.define("late", |_| ());
    world.job("is-early").await;

    stacks(&world).await;

    // A successor takes the next block of execution ids.
    operator.stop().await;
    let _successor = world.operator();
    world.launch("is-next", "hello");
    world.job("is-next").await;
    world.server.record().by("operator")
}

/// A stack that has, and then has not, a part of every kind.
async fn stacks(world: &World) {
    let many = json!({"proxy": {"replicas": 2, "storage": {"onDelete": "Delete"}}});
    apply(world, NS, "monitoring", &many);
    let there =
        |plural: &'static str, name: &'static str| move |store: &Store| store.get(plural, NS, name).is_some();
    world.server.until("all is there", there("deployments", "grafana")).await;
    world.quiet().await;
    let off = json!({"prometheus": {"mode": "Disabled"}, "grafana": {"mode": "Disabled"}, "proxy": {"mode": "Disabled"}});
    apply(world, NS, "monitoring", &off);
    let gone =
        |plural: &'static str, name: &'static str| move |store: &Store| store.get(plural, NS, name).is_none();
    world.server.until("its volumes are gone", gone("persistentvolumeclaims", "data-metrics-proxy-0")).await;
    world.quiet().await;
}

/// What a role must allow: API group, resource, verb.
fn permissions(record: &Record) -> BTreeSet<(String, String, String)> {
    let all = record.permissions().into_iter();
    all.map(|(group, resource, verb)| (group, resource, verb.as_str().to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn the_roles_allow_exactly_what_is_called() {
    let called = permissions(&everything().await);
    for namespaced in [false, true] {
        let allowed = chart_rules(namespaced);
        let missing: Vec<_> = called.difference(&allowed).collect();
        let needless: Vec<_> = allowed.difference(&called).collect();
        assert!(
            missing.is_empty() && needless.is_empty(),
            "namespaced {namespaced}: missing {missing:?}, never used {needless:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn so_do_those_for_the_kinds_of_other_operators() {
    let world = World::new();
    install_foreign(&world);
    let _operator = world.operator_with("operator", &[], |installation| installation.integrations = true);
    let all = |store: &Store| FOREIGN.map(|(_, _, plural)| store.all(plural).len());
    apply(&world, NS, "monitoring", &with_foreign());
    world.server.until("all are there", |store| all(store) == [1, 1, 2]).await;
    apply(&world, NS, "monitoring", &json!({}));
    world.server.until("all are gone", |store| all(store) == [0, 0, 0]).await;
    let record = world.server.record().by("operator");
    let called = record.filter(|entry| FOREIGN.iter().any(|(_, _, plural)| entry.request.is_on(plural)));
    assert_eq!(permissions(&called), integration_rules());
}
