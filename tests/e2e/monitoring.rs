//! A stack in the tasks' namespace: whatever becomes of a run, of the proxy and of Prometheus, its last metrics are in
//! Prometheus under its identity, and the launch says whether they arrived.

use std::collections::BTreeSet;

use futures::future::{BoxFuture, join, join_all, join3};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use millrace::api::Phase;
use millrace::names::{condition, reason};
use serde_json::{Value, json};

use crate::support::cluster::JVMS;
use crate::support::manifest::plain;
use crate::support::run::of;
use crate::support::scrape::Series;
use crate::support::stack::Stack;
use crate::support::{End, Run, Space, beside};

/// What a finished run of Spring Cloud Task always has; the application tells it in its last push only.
const ENDED: &str = "spring_cloud_task_seconds_count";
const IDENTITY: [&str; 5] = [
    "task_name",
    "task_execution_id",
    "task_external_execution_id",
    "task_parent_execution_id",
    "task_namespace",
];
/// So many at once, in the middle of which the proxy goes away.
const CROWD: usize = 30;

/// A definition of a Spring Cloud Task.
pub fn spring(generation: &str, properties: Value) -> Value {
    json!({
        "image": format!("localhost/millrace-task-{generation}:1"),
        "properties": properties,
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        "podSecurity": "Restricted",
    })
}

async fn define(t: &Space) {
    for generation in ["boot27", "boot32", "boot35", "boot40"] {
        t.define(generation, spring(generation, json!({"app.run-for": "200ms"}))).await;
    }
    t.define("living", spring("boot32", json!({"app.run-for": "40s"}))).await;
    t.define("failing", spring("boot35", json!({"app.exit-code": "3"}))).await;
    t.define("batch", spring("boot35", json!({"app.batch": "true"}))).await;
    // The kernel ends it with SIGKILL before any push, but after a snapshot: the proxy pulls every 10 s.
    let mut killed = spring("boot32", json!({"app.run-for": "25s", "app.eat-memory": "1GB"}));
    killed["resources"]["limits"]["memory"] = json!("320Mi");
    t.define("killed", killed).await;
    t.define("crowd", plain(&["--run-for=3s", "--push-within=90s", "--push=items_total 7"])).await;
}

/// Only so many JVMs at a time. (Boxed: many futures in one would be too much for a thread's stack.)
pub fn spring_run<'a>(t: &'a Space, definition: &'a str) -> BoxFuture<'a, End> {
    Box::pin(async move {
        let _permit = JVMS.acquire().await.unwrap();
        t.run(definition).await
    })
}

/// Every pod of the stack is replaced while tasks send.
async fn crowd(t: &Space, stack: &Stack<'_>) -> Vec<End> {
    let runs: Vec<Run> = join_all((0..CROWD).map(|_| t.launch("crowd"))).await;
    t.running_pod(&runs[0]).await;
    stack.replace("metrics-proxy-0").await;
    stack.replace("prometheus-0").await;
    join_all(runs.iter().map(|run| Box::pin(t.ended(run)))).await
}

/// Across all that, one that is connected.
async fn living(t: &Space, stack: &Stack<'_>) -> (End, Vec<End>) {
    let _permit = JVMS.acquire().await.unwrap();
    let run = t.launch("living").await;
    let pulled = r#"app_runs_total{task_name="living"}"#;
    stack.until("a snapshot of a living task is there", 60, pulled, |all| all.len() == 1).await;
    let (end, crowd) = join(Box::pin(t.ended(&run)), Box::pin(crowd(t, stack))).await;
    (end, crowd)
}

async fn family(t: &Space) -> (End, End) {
    let parent = spring_run(t, "boot35").await;
    let _permit = JVMS.acquire().await.unwrap();
    let child = t.launch_with("boot35", json!({"parentRef": {"name": parent.run.name}})).await;
    let child = t.ended(&child).await;
    assert_eq!(child.status.parent_execution_id, Some(parent.id()));
    (parent, child)
}

#[track_caller]
fn arrived(end: &End) -> &Condition {
    of(&end.status, condition::METRICS_RECEIVED).unwrap_or_else(|| panic!("{:#?}", end.status))
}

/// What the launch says of its metrics.
#[track_caller]
pub fn says(end: &End, status: &str, reason: &str, text: &str) {
    let told = arrived(end);
    let seen = (told.status.as_str(), told.reason.as_str(), told.message.contains(text));
    assert_eq!(seen, (status, reason, true), "{}: {told:?}", end.run.name);
}

/// Prometheus has a series for a run, exactly one, and it says whose it is.
async fn has(t: &Space, stack: &Stack<'_>, end: &End, meter: &str, value: f64) -> Series {
    let query = format!(r#"last_over_time({meter}{{task_execution_id="{}"}}[1h])"#, end.id());
    let what = format!("{meter} of {}", end.run.name);
    let mut all = stack.until(&what, 30, &query, |all| !all.is_empty()).await;
    assert_eq!(all.len(), 1, "{what}: {all:#?}");
    let one = all.remove(0);
    assert!((one.value - value).abs() < f64::EPSILON, "{what}: {one:?}");
    is_identified(t, end, &one);
    one
}

fn is_identified(t: &Space, end: &End, series: &Series) {
    let parent = end.status.parent_execution_id.map_or("unknown".to_owned(), |id| id.to_string());
    let task = end.run.name.rsplit_once('-').unwrap().0;
    let wanted = [task, &end.id().to_string(), end.pod(), &parent, &t.name];
    for (label, value) in IDENTITY.iter().zip(wanted) {
        assert_eq!(series.labels.get(*label).map(String::as_str), Some(value), "{label} of {series:?}");
    }
}

/// What was launched, and ended.
struct Ends {
    living: End,
    crowd: Vec<End>,
    /// 200 ms of every generation, a batch job, a parent and its child.
    good: Vec<End>,
    failing: End,
    batch: End,
    killed: End,
}

async fn launch_all(t: &Space, stack: &Stack<'_>) -> Ends {
    let (living, crowd) = Box::pin(living(t, stack)).await;
    let quick = join_all(["boot27", "boot32", "boot35", "boot40"].map(|name| spring_run(t, name)));
    let others = join3(spring_run(t, "failing"), spring_run(t, "batch"), spring_run(t, "killed"));
    let (mut good, (failing, batch, killed), (parent, child)) =
        join3(quick, others, Box::pin(family(t))).await;
    good.extend([living.clone(), batch.clone(), parent, child]);
    Ends { living, crowd, good, failing, batch, killed }
}

#[tokio::test]
async fn no_finished_run_is_missing_its_last_metrics() {
    beside("monitoring", async |t: &Space| {
        let stack = Stack::up(t).await;
        stack.targets_are_up().await;
        define(t).await;
        let ends = Box::pin(launch_all(t, &stack)).await;
        for end in &ends.crowd {
            says(end.succeeded(), "True", reason::RECEIVED, "push");
            has(t, &stack, end, "items_total", 7.0).await;
        }
        for end in &ends.good {
            says(end.succeeded(), "True", reason::RECEIVED, "series");
            has(t, &stack, end, ENDED, 1.0).await;
        }
        // That of a run that saw two proxies belongs to neither.
        let across = has(t, &stack, &ends.living, "app_runs_total", 1.0).await;
        assert_eq!((across.labels.get("instance"), across.labels.get("pod")), (None, None));
        bad_ends(t, &stack, &ends).await;
        steps(t, &stack, &ends.batch).await;
        nothing_is_anonymous(&stack).await;
        exactly_these_ended(&stack, ends.good.len() + 1).await;
        stack.status("what a run costs is told", |s| s.series_per_run.is_some_and(|n| n >= 100)).await;
    })
    .await;
}

async fn bad_ends(t: &Space, stack: &Stack<'_>, ends: &Ends) {
    let failing = ends.failing.is(Phase::Failed, Some(reason::NON_ZERO_EXIT), Some(3));
    says(failing, "True", reason::RECEIVED, "series");
    let ended = has(t, stack, failing, ENDED, 1.0).await;
    assert_eq!(ended.labels["spring_cloud_task_exit_code"], "3");

    let killed = ends.killed.is(Phase::Failed, Some(reason::OOM_KILLED), Some(137));
    says(killed, "True", reason::RECEIVED, "without a last push");
    has(t, stack, killed, "app_runs_total", 1.0).await;
}

async fn steps(t: &Space, stack: &Stack<'_>, batch: &End) {
    let id = batch.id();
    let query = format!(r#"last_over_time(spring_batch_step_seconds_count{{task_execution_id="{id}"}}[1h])"#);
    let steps = stack.until("the steps of the batch job", 30, &query, |all| all.len() == 2).await;
    for step in &steps {
        is_identified(t, batch, step);
    }
}

/// Where nothing can have arrived, that is said too.
#[tokio::test]
async fn a_task_without_metrics_is_told_apart_from_one_that_is_not_monitored() {
    beside("monitoring-silent", async |t: &Space| {
        let _stack = Stack::up(t).await;
        t.define("silent", plain(&[])).await;
        let mut unwatched = plain(&[]);
        unwatched["metrics"] = json!({"mode": "Disabled"});
        t.define("unwatched", unwatched).await;
        let (silent, unwatched) = join(t.run("silent"), t.run("unwatched")).await;
        says(silent.succeeded(), "False", reason::NO_BODY, "class path");
        says(unwatched.succeeded(), "Unknown", reason::NOT_MONITORED, "");
    })
    .await;
}

/// No series of a task without each part of its identity, since the stack was there.
async fn nothing_is_anonymous(stack: &Stack<'_>) {
    for label in IDENTITY {
        let selector = format!(r#"{{job="tasks",{label}="",__name__!~"up|scrape_.*"}}"#);
        let found = stack.stored(&selector).await.unwrap();
        assert!(found.is_empty(), "without {label}: {found:#?}");
    }
}

/// Neither proxy nor Prometheus made a second series of any run when they were replaced.
async fn exactly_these_ended(stack: &Stack<'_>, runs: usize) {
    let all = stack.stored(ENDED).await.unwrap();
    let ids: BTreeSet<&str> = all.iter().filter_map(|s| s["task_execution_id"].as_str()).collect();
    assert_eq!((ids.len(), all.len()), (runs, runs), "{all:#?}");
}
