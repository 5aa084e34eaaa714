//! Real Spring Cloud Task applications of four generations: they end by themselves, and every meter says whose it is.

use std::collections::BTreeMap;

use millrace::api::Phase;
use millrace::names::reason;
use serde_json::{Value, json};

use crate::support::cluster::JVMS;
use crate::support::scrape::{Series, last_scrape};
use crate::support::{End, Space, beside};

/// The fewest series that any of them prints.
const SERIES: usize = 90;
const PARENT: i64 = 4711;
/// Who speaks in the log where no proxy can be reached.
const CLIENT: &str = "PrometheusRSocketClient";

fn definition(generation: &str, properties: &Value) -> Value {
    json!({
        "taskName": "Month-End.Report",
        "image": format!("localhost/millrace-task-{generation}:1"),
        "properties": properties,
        "metrics": {"tags": {"team": "finance", "cost.center": "x1"}},
        // Without a request a JVM starves beside other work.
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        "podSecurity": "Restricted",
    })
}

async fn run(t: &Space, name: &str, spec: Value) -> (End, String) {
    let _permit = JVMS.acquire().await.unwrap();
    t.define(name, spec).await;
    let launch =
        t.launch_with(name, json!({"args": ["2026-07"], "parentRef": {"executionId": PARENT}})).await;
    let end = t.ended(&launch).await;
    let log = t.log(end.pod()).await;
    (end, log)
}

/// The labels that every series must have.
fn identity(t: &Space, end: &End) -> BTreeMap<&'static str, String> {
    [
        ("task_name", "Month-End.Report".to_owned()),
        ("task_execution_id", end.id().to_string()),
        ("task_external_execution_id", end.pod().to_owned()),
        ("task_parent_execution_id", PARENT.to_string()),
        ("task_namespace", t.name.clone()),
        ("application", format!("Month-End.Report-{}", end.id())),
        ("service", "task-application".to_owned()),
        ("team", "finance".to_owned()),
        ("cost_center", "x1".to_owned()),
    ]
    .into()
}

/// Checks a scrape; `but` says which labels of a series may differ.
fn check(scrape: &[Series], expected: &BTreeMap<&'static str, String>, but: impl Fn(&Series, &str) -> bool) {
    assert!(scrape.len() >= SERIES, "only {} series", scrape.len());
    for series in scrape {
        for (label, value) in expected {
            let found = series.labels.get(*label);
            assert!(found == Some(value) || but(series, label), "{label} should be {value:?} in {series:?}");
        }
    }
    let runs: Vec<_> = scrape.iter().filter(|s| s.name == "app_runs_total").map(|s| s.value).collect();
    assert_eq!(runs, [1.0]);
}

/// The meters of Spring Cloud Task itself.
fn is_of_cloud_task(series: &Series) -> bool {
    series.name.starts_with("spring_cloud_task_")
}

/// On these, Spring Cloud Task 2 says what its own database does (contract §4: the proxy mends that).
fn is_boot_2s_own(series: &Series, label: &str) -> bool {
    let own = match label {
        "task_execution_id" => "1",
        "task_parent_execution_id" => "null",
        _ => return false,
    };
    is_of_cloud_task(series) && series.labels[label] == own
}

async fn succeeds(generation: &str, boot: Option<&str>, but: fn(&Series, &str) -> bool) {
    let hint = boot.map_or("", |_| "-hint");
    beside(&format!("{generation}{hint}"), async |t: &Space| {
        let mut spec =
            definition(generation, &json!({"app.termination-message": "done", "app.run-for": "1s"}));
        if let Some(boot) = boot {
            spec["spring"] = json!({"bootVersion": boot});
        }
        let (end, log) = run(t, "report", spec).await;
        assert_eq!(end.succeeded().message(), "done");
        assert!(log.lines().any(|l| l == "arg 2026-07"), "{log}");
        assert!(!log.contains(CLIENT), "a connection was tried: {log}");
        let scrape = last_scrape(&log);
        check(&scrape, &identity(t, &end), but);
        // The end, too, is told under the run's identity.
        assert!(scrape.iter().any(is_of_cloud_task));
    })
    .await;
}

#[tokio::test]
async fn boot_2_7() {
    // Its own task.execution.id, always unknown, wins on all other meters.
    succeeds("boot27", None, |s, label| {
        is_boot_2s_own(s, label) || label == "task_execution_id" && s.labels[label] == "unknown"
    })
    .await;
}

#[tokio::test]
async fn boot_2_7_with_the_hint() {
    succeeds("boot27", Some("2"), is_boot_2s_own).await;
}

#[tokio::test]
async fn boot_3_2() {
    succeeds("boot32", Some("3"), |_, _| false).await;
}

#[tokio::test]
async fn boot_3_5() {
    succeeds("boot35", None, |_, _| false).await;
}

#[tokio::test]
async fn boot_4_0() {
    succeeds("boot40", Some("4"), |_, _| false).await;
}

#[tokio::test]
async fn failures_are_told_with_exit_code_and_message() {
    beside("spring-failures", async |t: &Space| {
        let text = json!({"app.fail-with": "boom", "app.termination-message": "cannot read ledger"});
        let (thrown, coded) = futures::future::join(
            run(t, "thrown", definition("boot35", &text)),
            run(t, "coded", definition("boot40", &json!({"app.exit-code": "3"}))),
        )
        .await;
        thrown.0.is(Phase::Failed, Some(reason::NON_ZERO_EXIT), Some(1)).says("cannot read ledger");
        assert!(thrown.1.contains("IllegalStateException: boom"), "{}", thrown.1);
        check(&last_scrape(&thrown.1), &identity(t, &thrown.0), |_, _| false);
        coded.0.is(Phase::Failed, Some(reason::NON_ZERO_EXIT), Some(3));
        check(&last_scrape(&coded.1), &identity(t, &coded.0), |_, _| false);
    })
    .await;
}

#[tokio::test]
async fn a_jvm_beyond_its_memory_limit_and_a_batch_job() {
    beside("spring-memory", async |t: &Space| {
        let mut greedy = definition("boot40", &json!({"app.eat-memory": "1GB"}));
        greedy["resources"]["limits"]["memory"] = json!("256Mi");
        let mut batch = definition("boot35", &json!({"app.batch": "true"}));
        batch["propertiesAs"] = json!("Environment");
        let (greedy, batch) = futures::future::join(run(t, "greedy", greedy), run(t, "batch", batch)).await;
        greedy.0.is(Phase::Failed, Some(reason::OOM_KILLED), Some(137));
        batch.0.succeeded();
        let scrape = last_scrape(&batch.1);
        check(&scrape, &identity(t, &batch.0), |_, _| false);
        assert!(scrape.iter().any(|s| s.name.starts_with("spring_batch_step")), "no batch meters");
    })
    .await;
}

/// Where nothing is said, the client is off (each test above looks for its words). The definition's own setting wins,
/// and the client then waits 5 s for the proxy that is not there, and says so.
#[tokio::test]
async fn the_rsocket_client_is_off_unless_the_definition_says_otherwise() {
    beside("spring-client", async |t: &Space| {
        let on = |generation: &str| {
            let mut spec = definition(generation, &json!({}));
            spec["env"] =
                json!([{"name": "MANAGEMENT_METRICS_EXPORT_PROMETHEUS_RSOCKET_ENABLED", "value": "true"}]);
            spec
        };
        let (two, three) =
            futures::future::join(run(t, "two", on("boot27")), run(t, "three", on("boot32"))).await;
        for (end, log) in [two, three] {
            end.succeeded();
            assert!(log.contains(CLIENT) && log.contains("receiving the key timed out"), "{log}");
        }
    })
    .await;
}
