//! Mistakes in a TaskMonitoring: each is told in a sentence, the rest of the stack works on, and what is put right heals
//! without a hand on it.

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use millrace::api::TaskMonitoring;
use millrace::names::{condition, reason};
use serde_json::{Value, json};

use crate::monitoring::says;
use crate::support::cluster::until;
use crate::support::command::{command, kubectl};
use crate::support::manifest::plain;
use crate::support::stack::{INFLUXDB, PROMETHEUS, Stack, off, volume};
use crate::support::{Space, alone, beside, operator};

const NOWHERE: &str = "localhost/nowhere:1";

/// One of each kind; only the proxy is as it should be.
fn mistakes() -> Value {
    json!({
        "prometheus": {"image": NOWHERE, "storage": volume(), "scrapeIntervalSeconds": 2},
        "proxy": {"storage": volume()},
        // Grafana's own image cannot be had here; any that is there shows whether its container starts.
        "grafana": {"image": PROMETHEUS, "adminSecret": {"name": "admin"}},
        "influxdb": {
            "mode": "Managed",
            "image": INFLUXDB,
            "storage": {"size": "1Gi", "storageClassName": "nowhere", "onDelete": "Delete"},
        },
    })
}

async fn secret(t: &Space, name: &str, data: &Value) {
    t.create::<Secret>(&json!({"metadata": {"name": name}, "stringData": data})).await;
}

#[tokio::test]
async fn mistakes_are_told_harm_nothing_else_and_heal() {
    beside("mistakes", async |t: &Space| {
        let stack = Stack::of(t, "monitoring", &mistakes()).await;
        let no = async |type_, reason, words| stack.says(type_, "False", reason, words).await;
        no("PrometheusReady", reason::IMAGE_PULL_FAILED, "image localhost/nowhere:1 cannot be pulled").await;
        no("GrafanaReady", reason::SECRET_MISSING, "secret \"admin\" not found; create what is missing")
            .await;
        no(
            "InfluxDBReady",
            reason::STORAGE_UNAVAILABLE,
            "its volume cannot be had: pod has unbound immediate PersistentVolumeClaims; set",
        )
        .await;
        no(condition::READY, reason::IMAGE_PULL_FAILED, "PrometheusReady: image").await;
        stack.says("ProxyReady", "True", reason::READY, "").await;
        t.define("task", plain(&["--push=items_total 7", "--push-within=60s"])).await;
        let end = t.run("task").await;
        says(end.succeeded(), "True", reason::RECEIVED, "push");
        let smaller = stack.patch(&json!({"prometheus": {"storage": {"size": "1Mi"}}})).await.bad();
        assert!(smaller.contains("a volume cannot shrink"), "{smaller}");

        let right =
            json!({"prometheus": {"image": PROMETHEUS}, "influxdb": {"storage": {"ephemeral": true}}});
        stack.patch(&right).await.good();
        secret(t, "admin", &json!({"admin-username": "admin", "admin-password": "password"})).await;
        stack.says("PrometheusReady", "True", reason::READY, "").await;
        stack.says("InfluxDBReady", "True", reason::READY, "").await;
        // It has started; what is in the image is no Grafana.
        no("GrafanaReady", reason::CRASHING, "logs deployment/grafana --previous").await;
        let sent = format!("items_total{{task_execution_id=\"{}\"}}", end.id());
        stack.until("what was sent meanwhile", 30, &sent, |all| all.len() == 1).await;

        keys_of_an_influxdb(t, &stack).await;
        stack
            .patch(
                &json!({"grafana": {"mode": "Disabled"}, "influxdb": {"mode": "Disabled", "external": null}}),
            )
            .await
            .good();
        stack.ready().await;
    })
    .await;
}

/// Grafana logs in there with what a Secret says.
async fn keys_of_an_influxdb(t: &Space, stack: &Stack<'_>) {
    let external = json!({
        "url": "http://influxdb.elsewhere.svc:8086", "version": "V2", "org": "o", "bucket": "b",
        "token": {"name": "influx", "key": "token"},
    });
    stack.patch(&json!({"influxdb": {"mode": "External", "external": external}})).await.good();
    let missing = "secret \"influx\" not found";
    stack.says("GrafanaReady", "False", reason::SECRET_MISSING, missing).await;
    secret(t, "influx", &json!({"tokn": "x"})).await;
    let missing = "couldn't find key token in Secret";
    stack.says("GrafanaReady", "False", reason::SECRET_MISSING, missing).await;
    let right = json!({"stringData": {"token": "x"}}).to_string();
    t.kubectl(&["patch", "secret", "influx", "--type=merge", "-p", &right]).await.good();
    stack.says("GrafanaReady", "False", reason::CRASHING, "").await;
}

fn nothing(scope: &str) -> Value {
    json!({"scope": scope, "prometheus": off(), "proxy": off(), "grafana": off()})
}

#[tokio::test]
async fn who_counts_is_told() {
    beside("scopes", async |t: &Space| {
        let first = Stack::of(t, "first", &nothing("Cluster")).await;
        for type_ in [condition::ACCEPTED, condition::READY] {
            let what = "add the namespace to monitoring.clusterScopeNamespaces";
            first.says(type_, "False", reason::SCOPE_NOT_ALLOWED, what).await;
        }
        first.patch(&json!({"scope": "Namespace"})).await.good();
        first.ready().await;
        let second = Stack::of(t, "second", &nothing("Namespace")).await;
        let older = format!("TaskMonitoring first in namespace {} is older", t.name);
        second.says(condition::ACCEPTED, "False", reason::CONFLICT, &older).await;
        t.kubectl(&["delete", "taskmonitoring", "first"]).await.good();
        second.ready().await;
    })
    .await;
}

/// Label of kinds that other operators bring.
const OTHERS: &str = "millrace.dev/e2e=others";

/// Kinds that other operators bring, as far as the API server must know them.
fn kinds_of_others() -> String {
    let kinds = [
        ("monitoring.coreos.com", "v1", "ServiceMonitor"),
        ("monitoring.coreos.com", "v1", "PrometheusRule"),
        ("grafana.integreatly.org", "v1beta1", "GrafanaDashboard"),
    ];
    let crds = kinds.map(|(group, version, kind)| {
        let (singular, plural) = (kind.to_lowercase(), format!("{}s", kind.to_lowercase()));
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}"), "labels": {"millrace.dev/e2e": "others"}},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": singular},
                "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
            },
        })
    });
    json!({"apiVersion": "v1", "kind": "List", "items": crds}).to_string()
}

async fn without_kinds_of_others() {
    kubectl(&["delete", "crd", "-l", OTHERS, "--ignore-not-found"]).await.good();
}

const ELSEWHERE: &str = "e2e-others-elsewhere";

async fn upgrade(t: &Space) {
    let scopes = format!("monitoring.clusterScopeNamespaces={{{},{ELSEWHERE}}}", t.name);
    let set = ["--reuse-values", "--set", "monitoring.integrations=true", "--set", &scopes];
    let args =
        ["upgrade", operator::NAME, operator::CHART, "-n", operator::NAMESPACE, "--wait", "--timeout", "90s"];
    operator::helm(&[&args[..], &set[..]].concat()).await;
}

/// An object that the stack owns, once it is there.
async fn owned(t: &Space, resource: &str, name: &str, uid: &str) -> Value {
    let object = format!("{resource}/{name}");
    t.kubectl(&["wait", "--for=create", &object, "--timeout=90s"]).await.good();
    let json = t.kubectl(&["get", &object, "-o", "json"]).await.good();
    let found: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(found["metadata"]["ownerReferences"][0]["uid"], uid, "{found:#}");
    found
}

#[tokio::test]
async fn other_operators_get_what_they_need_and_one_stack_is_the_clusters() {
    alone("others", async |t: &Space| {
        without_kinds_of_others().await;
        let theirs = json!({
            "prometheus": {"mode": "External", "external": {
                "url": "http://prometheus.elsewhere.svc:9090", "discovery": "ServiceMonitor",
                "labels": {"release": "theirs"},
            }},
            "proxy": {"storage": {"ephemeral": true}},
            "grafana": {"mode": "External", "external": {
                "url": "https://grafana.example.com", "dashboards": "GrafanaDashboard", "labels": {"theirs": "yes"},
            }},
        });
        let stack = Stack::of(t, "theirs", &theirs).await;
        let uid = t.kubectl(&["get", "taskmonitoring", "theirs", "-o", "jsonpath={.metadata.uid}"]).await.good();
        stack.says("PrometheusReady", "False", reason::REFUSED, "servicemonitors.monitoring.coreos.com").await;
        upgrade(t).await;
        let missing = "install the operator that brings it";
        stack.says("PrometheusReady", "False", reason::KIND_MISSING, missing).await;
        stack.says("GrafanaReady", "False", reason::KIND_MISSING, missing).await;
        stack.says("ProxyReady", "True", reason::READY, "").await;
        command("kubectl", &["apply", "-f", "-"], &kinds_of_others()).await.good();
        kubectl(&["wait", "crd", "-l", OTHERS, "--for=condition=Established", "--timeout=30s"]).await.good();

        let monitor = owned(t, "servicemonitors.monitoring.coreos.com", "millrace-theirs", &uid).await;
        assert_eq!(monitor["metadata"]["labels"]["release"], "theirs", "{monitor:#}");
        assert_eq!(monitor["spec"]["endpoints"][0]["path"], "/metrics/connected", "{monitor:#}");
        let rules = owned(t, "prometheusrules.monitoring.coreos.com", "millrace-theirs", &uid).await;
        assert!(rules["spec"]["groups"][0]["rules"][0]["expr"].is_string(), "{rules:#}");
        for dashboard in ["millrace-theirs-tasks", "millrace-theirs-millrace"] {
            let found = owned(t, "grafanadashboards.grafana.integreatly.org", dashboard, &uid).await;
            assert_eq!(found["spec"]["instanceSelector"]["matchLabels"]["theirs"], "yes", "{dashboard}");
        }
        two_for_the_cluster(t, &stack).await;
        without_kinds_of_others().await;
    })
    .await;
}

/// The first two that may be.
async fn two_for_the_cluster(t: &Space, first: &Stack<'_>) {
    first.patch(&json!({"scope": "Cluster"})).await.good();
    first.says(condition::ACCEPTED, "True", reason::ACCEPTED, "").await;
    kubectl(&["delete", "namespace", ELSEWHERE, "--ignore-not-found"]).await.good();
    kubectl(&["create", "namespace", ELSEWHERE]).await.good();
    let second = json!({
        "apiVersion": "millrace.dev/v1alpha1", "kind": "TaskMonitoring",
        "metadata": {"name": "second", "namespace": ELSEWHERE}, "spec": nothing("Cluster"),
    });
    command("kubectl", &["create", "-f", "-"], &second.to_string()).await.good();
    let older =
        format!("TaskMonitoring theirs in namespace {} is older and does the same: delete one", t.name);
    accepted(t, "False", reason::CONFLICT, &older).await;
    t.kubectl(&["delete", "taskmonitoring", "theirs"]).await.good();
    accepted(t, "True", reason::ACCEPTED, "").await;
    kubectl(&["delete", "namespace", ELSEWHERE, "--wait=false"]).await.good();
}

/// Waits until the second one's `Accepted` says so.
async fn accepted(t: &Space, status: &str, reason: &str, words: &str) {
    let api: Api<TaskMonitoring> = Api::namespaced(t.client.clone(), ELSEWHERE);
    let says = |stack: Option<&TaskMonitoring>| {
        let mut all = stack.and_then(|s| s.status.as_ref()).into_iter().flat_map(|s| &s.conditions);
        all.any(|c| {
            (&*c.type_, &*c.status, &*c.reason) == (condition::ACCEPTED, status, reason)
                && c.message.contains(words)
        })
    };
    until(api, "second", &format!("Accepted is {status}/{reason}"), 30, says).await;
}
