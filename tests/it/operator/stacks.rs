//! Stacks on the API server in this process: made once, kept in shape, taken down; nothing written for nothing.

use std::collections::BTreeSet;

use millrace::api::{TaskMonitoring, TaskMonitoringSpec};
use millrace::facts::reach::AGAIN;
use millrace::monitoring::{ASK_AGAIN, UNWATCHED};
use millrace::names::{label, reason};
use serde_json::{Value, json};

use super::harness::{HOME, NS, World};
use crate::apiserver::{Kind, Store, Verb};

/// Everything that can be of a stack.
const KINDS: [&str; 10] = [
    "serviceaccounts",
    "roles",
    "rolebindings",
    "configmaps",
    "persistentvolumeclaims",
    "networkpolicies",
    "services",
    "poddisruptionbudgets",
    "statefulsets",
    "deployments",
];

pub(super) fn apply(world: &World, namespace: &str, name: &str, spec: &Value) {
    let spec: TaskMonitoringSpec = serde_json::from_value(spec.clone()).unwrap();
    let mut stack = TaskMonitoring::new(name, spec);
    stack.metadata.namespace = Some(namespace.to_owned());
    let exists = world.server.with(|store| store.get("taskmonitorings", namespace, name).is_some());
    if exists {
        let spec = json!(stack.spec);
        world.server.with(|store| store.edit("taskmonitorings", namespace, name, |o| o["spec"] = spec));
    } else {
        world.server.put(&stack);
    }
}

/// All objects of stacks, as `plural name`, and without volumes.
fn objects(store: &Store) -> BTreeSet<String> {
    let of_kind = |plural: &&str| {
        let all = store.all(plural).into_iter();
        let ours = all.filter(|o| !o["metadata"]["labels"][label::MONITORING].is_null());
        ours.map(|o| format!("{plural} {}", o["metadata"]["name"].as_str().unwrap())).collect::<Vec<_>>()
    };
    KINDS.iter().flat_map(of_kind).collect()
}

/// Status and reason of a condition.
fn condition(store: &Store, namespace: &str, name: &str, type_: &str) -> Option<(String, String, String)> {
    let stack = store.get("taskmonitorings", namespace, name)?;
    let found = stack["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == type_)?;
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason"), text("message")))
}

async fn says(world: &World, name: &str, type_: &str, why: &str) -> String {
    let there = |s: &Store| condition(s, NS, name, type_).is_some_and(|(_, reason, _)| reason == why);
    world.server.until(&format!("{type_} of {name} is {why}"), there).await;
    world.server.with(|store| condition(store, NS, name, type_)).unwrap().2
}

/// What the workload controllers would say.
fn workloads_are_ready(world: &World) {
    for (plural, name) in
        [("statefulsets", "prometheus"), ("statefulsets", "metrics-proxy"), ("deployments", "grafana")]
    {
        world.server.with(|store| {
            if store.get(plural, NS, name).is_none() {
                return;
            }
            store.edit(plural, NS, name, |o| {
                let replicas = o["spec"]["replicas"].clone();
                o["status"] = json!({"observedGeneration": o["metadata"]["generation"], "replicas": replicas,
                    "readyReplicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas,
                    "currentRevision": "1", "updateRevision": "1"});
            });
        });
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_spec_brings_up_what_it_says_and_then_nothing_is_written() {
    let world = World::new();
    let _operator = world.operator();
    apply(&world, NS, "monitoring", &json!({}));
    says(&world, "monitoring", "Ready", reason::PROGRESSING).await;
    workloads_are_ready(&world);
    says(&world, "monitoring", "Ready", reason::READY).await;
    let there = world.server.with(|store| objects(store));
    for wanted in [
        "statefulsets prometheus",
        "statefulsets metrics-proxy",
        "deployments grafana",
        "services prometheus",
        "services metrics-proxy",
        "services grafana",
        "roles prometheus",
        "rolebindings prometheus",
        "serviceaccounts prometheus",
        "persistentvolumeclaims data-metrics-proxy-0",
    ] {
        assert!(there.contains(wanted), "no {wanted} among {there:?}");
    }
    assert!(!there.iter().any(|o| o.contains("influxdb") || o.contains("disruption")), "{there:?}");
    world.quiet().await;
    let mark = world.server.mark();
    // Events about what is there already: a label that is nobody's business, a status.
    world.server.with(|store| {
        store.edit("services", NS, "grafana", |o| o["metadata"]["labels"]["theirs"] = json!("x"));
    });
    workloads_are_ready(&world);
    world.quiet().await;
    let wrote = world.server.record().by("operator").since(mark).writes();
    assert!(wrote.is_empty(), "{wrote}");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_operator_writes_nothing() {
    let world = World::new();
    let operator = world.operator();
    apply(&world, NS, "monitoring", &json!({"influxdb": {"mode": "Managed"}, "proxy": {"replicas": 2}}));
    says(&world, "monitoring", "Ready", reason::PROGRESSING).await;
    world.quiet().await;
    operator.stop().await;
    let mark = world.server.mark();
    let _successor = world.operator_as("successor", &[]);
    world.quiet().await;
    let wrote = world.server.record().by("successor").since(mark).writes();
    assert!(wrote.is_empty(), "{wrote}");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_changes_is_put_back_and_what_is_deleted_comes_back() {
    let world = World::new();
    let _operator = world.operator();
    apply(&world, NS, "monitoring", &json!({}));
    says(&world, "monitoring", "Ready", reason::PROGRESSING).await;
    world.server.with(|store| {
        store.edit("statefulsets", NS, "metrics-proxy", |o| o["spec"]["replicas"] = json!(0));
        store.edit("configmaps", NS, "prometheus", |o| o["data"] = json!({"prometheus.yml": "x"}));
        store.remove("services", NS, "prometheus");
    });
    let whole = |store: &Store| {
        let proxy = store.get("statefulsets", NS, "metrics-proxy").unwrap();
        let config = store.get("configmaps", NS, "prometheus").unwrap();
        proxy["spec"]["replicas"] == 1
            && config["data"]["prometheus.yml"].as_str().unwrap().contains("scrape_configs")
            && store.get("services", NS, "prometheus").is_some()
    };
    world.server.until("all is as it was", whole).await;
}

#[tokio::test(start_paused = true)]
async fn parts_that_are_switched_off_go_and_their_volumes_stay() {
    let world = World::new();
    let _operator = world.operator();
    apply(&world, NS, "monitoring", &json!({}));
    says(&world, "monitoring", "Ready", reason::PROGRESSING).await;
    apply(
        &world,
        NS,
        "monitoring",
        &json!({"prometheus": {"mode": "Disabled"}, "grafana": {"mode": "Disabled"}, "proxy": {"mode": "Disabled"}}),
    );
    let gone = |store: &Store| objects(store).iter().all(|o| o.starts_with("persistentvolumeclaims "));
    world.server.until("only volumes are left", gone).await;
    let left = world.server.with(|store| objects(store));
    assert_eq!(left.len(), 2, "{left:?}");
    // Nothing deletes a Secret that may be the user's.
    assert!(world.server.with(|store| store.get("secrets", NS, "grafana").is_some()));
    // And back.
    apply(&world, NS, "monitoring", &json!({}));
    world.server.until("it is back", |store| objects(store).contains("statefulsets prometheus")).await;
}

#[tokio::test(start_paused = true)]
async fn a_foreign_service_is_told_and_left_alone_and_the_rest_works() {
    let world = World::new();
    let _operator = world.operator();
    let theirs = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "grafana", "namespace": NS},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]}});
    world.server.with(|store| store.put(&theirs));
    apply(&world, NS, "monitoring", &json!({}));
    let sentence = says(&world, "monitoring", "GrafanaReady", reason::NAME_TAKEN).await;
    assert!(sentence.contains("Service grafana"), "{sentence}");
    workloads_are_ready(&world);
    says(&world, "monitoring", "PrometheusReady", reason::READY).await;
    let service = world.server.with(|store| store.get("services", NS, "grafana").cloned()).unwrap();
    assert_eq!(service["spec"]["selector"], json!({"app": "theirs"}));
    assert!(service["metadata"]["ownerReferences"].is_null());
    // Taking it away heals it, without a hand on the TaskMonitoring.
    world.server.with(|store| store.remove("services", NS, "grafana"));
    tokio::time::sleep(ASK_AGAIN).await;
    let ours = |s: &Store| s.get("services", NS, "grafana").is_some();
    world.server.until("the Service is ours", ours).await;
    workloads_are_ready(&world);
    says(&world, "monitoring", "GrafanaReady", reason::READY).await;
}

#[tokio::test(start_paused = true)]
async fn one_for_each_namespace_and_the_cluster_only_where_it_is_allowed() {
    let world = World::new();
    let _operator = world.operator();
    apply(&world, NS, "first", &json!({}));
    says(&world, "first", "Ready", reason::PROGRESSING).await;
    world.server.advance(jiff::SignedDuration::from_secs(2));
    apply(&world, NS, "second", &json!({}));
    let sentence = says(&world, "second", "Accepted", reason::CONFLICT).await;
    assert!(sentence.contains("first"), "{sentence}");
    world.server.with(|store| store.remove("taskmonitorings", NS, "first"));
    says(&world, "second", "Accepted", reason::ACCEPTED).await;
    apply(&world, NS, "second", &json!({"scope": "Cluster"}));
    let sentence = says(&world, "second", "Accepted", reason::SCOPE_NOT_ALLOWED).await;
    assert!(sentence.contains("clusterScopeNamespaces"), "{sentence}");
    world
        .server
        .until("nothing of it runs", |store| {
            objects(store).iter().all(|o| o.starts_with("persistentvolumeclaims "))
        })
        .await;
    apply(&world, HOME, "home", &json!({"scope": "Cluster"}));
    world
        .server
        .until("the operator's namespace may", |s| {
            condition(s, HOME, "home", "Accepted").is_some_and(|(status, ..)| status == "True")
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_told_and_tried_again() {
    let world = World::new();
    let _operator = world.operator();
    world.server.with(|store| {
        store.on_create("statefulsets", |object| {
            let refuse = object["metadata"]["name"] == "prometheus";
            if refuse { Err(super::harness::refused("exceeded quota: pods")) } else { Ok(()) }
        });
    });
    apply(&world, NS, "monitoring", &json!({}));
    let sentence = says(&world, "monitoring", "PrometheusReady", reason::REFUSED).await;
    assert!(sentence.contains("exceeded quota: pods"), "{sentence}");
    world.quiet().await;
    let tries = world.server.record().count(Verb::Patch, "statefulsets");
    world.server.with(Store::clear_admission);
    tokio::time::sleep(ASK_AGAIN).await;
    world.server.until("it is there", |s| s.get("statefulsets", NS, "prometheus").is_some()).await;
    assert!(tries < 10, "{tries}");
}

/// The kinds of other operators, which only some clusters have.
pub(super) const FOREIGN: [(&str, &str, &str); 3] = [
    ("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors"),
    ("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules"),
    ("grafana.integreatly.org/v1beta1", "GrafanaDashboard", "grafanadashboards"),
];

/// Serves these kinds.
pub(super) fn install_foreign(world: &World) {
    world.server.with(|store| {
        for (version, kind, plural) in FOREIGN {
            store.register(Kind::new(version, kind, plural));
        }
    });
}

/// A stack with an object of each of these kinds.
pub(super) fn with_foreign() -> Value {
    json!({
        "prometheus": {"mode": "External", "external": {"url": "http://p:9090", "discovery": "ServiceMonitor"}},
        "grafana": {"mode": "External", "external": {"url": "http://g:3000", "dashboards": "GrafanaDashboard"}},
    })
}

#[tokio::test(start_paused = true)]
async fn what_no_watch_shows_goes_when_it_is_switched_off_and_is_not_asked_for_again() {
    let world = World::new();
    install_foreign(&world);
    let operator = world.operator_with("operator", &[], |installation| installation.integrations = true);
    apply(&world, NS, "monitoring", &with_foreign());
    let all = |store: &Store| FOREIGN.map(|(_, _, plural)| store.all(plural).len());
    world.server.until("all are there", |store| all(store) == [1, 1, 2]).await;
    // Of the same name, and somebody else's.
    let theirs = json!({"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
        "metadata": {"name": "millrace-monitoring", "namespace": NS}});
    world.server.with(|store| {
        store.remove("prometheusrules", NS, "millrace-monitoring");
        store.put(&theirs);
    });
    apply(&world, NS, "monitoring", &json!({}));
    world.server.until("ours are gone", |store| all(store) == [0, 1, 0]).await;
    world.quiet().await;
    let mark = world.server.mark();
    workloads_are_ready(&world);
    says(&world, "monitoring", "Ready", reason::READY).await;
    let asked = |mark: usize, by: &str| {
        let record = world.server.record().since(mark).by(by);
        FOREIGN.iter().map(|(_, _, plural)| record.on(plural).len()).sum::<usize>()
    };
    assert_eq!(asked(mark, "operator"), 0);
    operator.stop().await;
    // What its predecessor may have left behind is looked for once, also where the kinds are gone meanwhile.
    world.server.with(|store| store.unregister("prometheusrules"));
    let mark = world.server.mark();
    let _successor = world.operator_with("successor", &[], |installation| installation.integrations = true);
    world.quiet().await;
    assert_eq!(asked(mark, "successor"), 5);
    let wrote = world.server.record().by("successor").since(mark).writes();
    assert!(wrote.is_empty(), "{wrote}");
}

#[tokio::test(start_paused = true)]
async fn of_two_definitions_with_one_task_name_the_older_says_what_is_dropped() {
    let world = World::new();
    let _operator = world.operator();
    apply(&world, NS, "monitoring", &json!({}));
    let define = |name: &str, drop: &str| {
        world.define(name, |spec| {
            spec.task_name = Some("t".to_owned());
            spec.metrics.drop = vec![drop.to_owned()];
        });
    };
    define("first", "of_first");
    world.server.advance(jiff::SignedDuration::from_secs(2));
    define("a-second", "of_second");
    let told = |store: &Store| {
        let definition = store.get("taskdefinitions", NS, "a-second")?;
        let conditions = definition["status"]["conditions"].as_array()?;
        let found = conditions.iter().find(|c| c["type"] == "PatternsApplied")?;
        Some(found["message"].as_str()?.to_owned())
    };
    let filters = |store: &Store| {
        let file = store.get("configmaps", NS, "metrics-proxy")?["data"]["filters.json"].as_str()?.to_owned();
        let all: Vec<Value> = serde_json::from_str(&file).ok()?;
        Some(all.iter().map(|filter| filter["drop"][0].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    world.server.until("the younger is told", |store| told(store).is_some()).await;
    let sentence = world.server.with(|store| told(store)).unwrap();
    assert!(sentence.contains("TaskDefinition first, which is older"), "{sentence}");
    world.server.until("the older counts", |store| filters(store) == Some(vec!["of_first".to_owned()])).await;
    world.quiet().await;
    let warned = world.server.with(|store| store.all("events.events.k8s.io").len());
    assert_eq!(warned, 1);
    // Taking it back heals it.
    world
        .server
        .with(|store| store.edit("taskdefinitions", NS, "a-second", |o| o["spec"]["taskName"] = json!("u")));
    world.server.until("nothing is told", |store| told(store).is_none()).await;
    let both = Some(vec!["of_first".to_owned(), "of_second".to_owned()]);
    world.server.until("both count", |store| filters(store) == both).await;
}

#[tokio::test(start_paused = true)]
async fn what_others_run_and_cannot_be_connected_to_is_told_and_the_rest_is_ready() {
    let world = World::new();
    let port = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let operator = world.operator();
    let url = format!("http://127.0.0.1:{port}");
    apply(&world, NS, "monitoring", &json!({"prometheus": {"mode": "External", "external": {"url": url}}}));
    let sentence = says(&world, "monitoring", "PrometheusReady", reason::UNREACHABLE).await;
    assert!(sentence.contains(&format!("127.0.0.1:{port}: connection refused")), "{sentence}");
    workloads_are_ready(&world);
    says(&world, "monitoring", "Ready", reason::READY).await;
    // Neither later tries nor another process have anything new to say.
    world.quiet().await;
    let mark = world.server.mark();
    tokio::time::sleep(3 * AGAIN).await;
    operator.stop().await;
    let _successor = world.operator();
    world.quiet().await;
    let wrote = world.server.record().since(mark).by("operator").writes();
    assert!(wrote.is_empty(), "{wrote}");
    // It comes up, and nobody touches the TaskMonitoring.
    let _listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::time::sleep(AGAIN).await;
    says(&world, "monitoring", "PrometheusReady", reason::EXTERNAL).await;
}

#[tokio::test(start_paused = true)]
async fn what_no_watch_shows_is_looked_at_and_written_only_if_somebody_changed_it() {
    let world = World::new();
    install_foreign(&world);
    let operator = world.operator();
    apply(&world, NS, "monitoring", &with_foreign());
    let limit = |store: &Store| {
        store.get("servicemonitors", NS, "millrace-monitoring").map(|o| o["spec"]["sampleLimit"].clone())
    };
    world.server.until("all are there", |store| store.all("grafanadashboards").len() == 2).await;
    let wanted = world.server.with(|store| limit(store));
    world.quiet().await;
    let mark = world.server.mark();
    tokio::time::sleep(UNWATCHED).await;
    world.quiet().await;
    operator.stop().await;
    let _successor = world.operator();
    world.quiet().await;
    let record = world.server.record().since(mark);
    assert_eq!(record.count(Verb::Get, "servicemonitors"), 2);
    assert!(record.writes().is_empty(), "{}", record.writes());
    world.server.with(|store| {
        store.edit("servicemonitors", NS, "millrace-monitoring", |o| o["spec"]["sampleLimit"] = json!(1));
    });
    tokio::time::sleep(UNWATCHED).await;
    world.server.until("it is put back", |store| limit(store) == wanted).await;
}
