//! Real Spring Cloud Tasks with the environment that the operator injects: whichever door they use and however they end,
//! the proxy afterwards serves what they had.

use std::collections::{BTreeMap, BTreeSet};

use millrace::inject::exporters::Exporters;
use serde_json::Value;

use crate::support::app::{App, Run, doors};
use crate::support::proxy::Proxy;
use crate::support::samples::{Sample, Series, samples};
use crate::support::{check, eventually};

/// A pull each second: what is known of a living application is at most so old.
const ARGS: &[&str] = &["--pull-seconds=1"];

/// How a task lives and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// After 200 ms, by itself.
    Returns,
    /// After 2 s, by itself.
    ReturnsLater,
    /// After 200 ms, by an exception.
    Throws,
    /// After 200 ms, by an exception that carries the exit code 3.
    ExitCode,
    /// By SIGTERM, while it works.
    Terminated,
    /// By SIGKILL, while it works.
    Killed,
}

const ALL: &[End] =
    &[End::Returns, End::ReturnsLater, End::Throws, End::ExitCode, End::Terminated, End::Killed];
/// Where only the transport is another.
const SOME: &[End] = &[End::Returns, End::Terminated, End::Killed];

impl End {
    fn args(self) -> &'static [&'static str] {
        match self {
            Self::Returns => &["--app.run-for=200ms"],
            Self::ReturnsLater => &["--app.run-for=2s"],
            Self::Throws => &["--app.run-for=200ms", "--app.fail-with=told to"],
            Self::ExitCode => &["--app.run-for=200ms", "--app.exit-code=3"],
            Self::Terminated | Self::Killed => &["--app.run-for=10m"],
        }
    }

    /// The exit code; none after SIGKILL.
    fn code(self) -> Option<i32> {
        match self {
            Self::Returns | Self::ReturnsLater => Some(0),
            Self::Throws => Some(1),
            Self::ExitCode => Some(3),
            Self::Terminated => Some(143),
            Self::Killed => None,
        }
    }
}

/// How an application comes to the proxy: it is told of both doors, and which it takes is a matter of its libraries.
struct Way {
    to: Exporters,
    /// Whether it has the RSocket client, and so can be pulled.
    pulled: bool,
    /// What its user sets.
    env: &'static [(&'static str, &'static str)],
}

fn by_tcp(proxy: &Proxy) -> Way {
    Way { to: proxy.doors(), pulled: true, env: &[] }
}

/// The operator never says so, but its users may.
fn by_websocket(proxy: &Proxy) -> Way {
    let env = &[("MANAGEMENT_METRICS_EXPORT_PROMETHEUS_RSOCKET_TRANSPORT", "websocket")];
    Way { to: doors(proxy.websocket, Some(proxy.push)), pulled: true, env }
}

fn by_push(proxy: &Proxy) -> Way {
    Way { pulled: false, ..by_tcp(proxy) }
}

/// Of an application that has libraries for both doors.
fn by_rsocket_only(proxy: &Proxy) -> Way {
    Way { to: doors(proxy.tcp, None), ..by_tcp(proxy) }
}

#[tokio::test]
async fn boot_2_7_by_tcp() {
    let proxy = Proxy::start(ARGS).await;
    each(&proxy, "boot27", &by_tcp(&proxy), ALL).await;
}

#[tokio::test]
async fn boot_2_7_by_websocket() {
    let proxy = Proxy::start(ARGS).await;
    each(&proxy, "boot27", &by_websocket(&proxy), SOME).await;
}

#[tokio::test]
async fn boot_3_2_by_tcp() {
    let proxy = Proxy::start(ARGS).await;
    each(&proxy, "boot32", &by_tcp(&proxy), ALL).await;
}

#[tokio::test]
async fn boot_3_2_by_websocket() {
    let proxy = Proxy::start(ARGS).await;
    each(&proxy, "boot32", &by_websocket(&proxy), SOME).await;
}

#[tokio::test]
async fn boot_3_5_by_the_push_door() {
    let proxy = Proxy::start(ARGS).await;
    each(&proxy, "boot35", &by_push(&proxy), ALL).await;
}

#[tokio::test]
async fn boot_4_0_by_the_push_door() {
    let proxy = Proxy::start(ARGS).await;
    each(&proxy, "boot40", &by_push(&proxy), ALL).await;
}

#[tokio::test]
async fn boot_3_5_by_a_bean_of_its_own() {
    let proxy = Proxy::start(ARGS).await;
    each(&proxy, "boot35-bean", &by_rsocket_only(&proxy), ALL).await;
}

#[tokio::test]
async fn boot_4_0_by_a_bean_of_its_own() {
    let proxy = Proxy::start(ARGS).await;
    each(&proxy, "boot40-bean", &by_rsocket_only(&proxy), ALL).await;
}

#[tokio::test]
async fn an_application_that_comes_through_both_doors_counts_once() {
    let proxy = Proxy::start(ARGS).await;
    for app in ["boot35-bean", "boot40-bean"] {
        each(&proxy, app, &by_tcp(&proxy), &[End::Returns, End::Terminated]).await;
    }
}

async fn each(proxy: &Proxy, app: &str, way: &Way, ends: &[End]) {
    for &end in ends {
        let run = Run::new("report");
        let case = format!("{app} {end:?}");
        let mut task = start(app, &run, way, end);
        let before = at_work(proxy, &task, &run, way, end).await;
        match end {
            End::Terminated => task.process().signal("TERM"),
            End::Killed => task.process().kill(),
            _ => {}
        }
        assert_eq!(task.ended().await.code(), end.code(), "{case}");
        let attempt = ended(proxy, &run).await;
        let served = served(proxy, &run).await;
        let killed_alive = end == End::Killed && way.pulled;
        assert_eq!(attempt["snapshotOnly"], killed_alive, "{case} {attempt}");
        assert_eq!(attempt["series"], served.len(), "{case} {attempt}");
        if end == End::Killed {
            same_series(&case, &before, &served, true);
        } else {
            same_series(&case, &printed(&task, &run), &served, false);
        }
    }
}

fn start(app: &str, run: &Run, way: &Way, end: End) -> App {
    // Nothing can be pulled through the push door: what SIGKILL leaves is what the application pushed last.
    let often = [("MANAGEMENT_PROMETHEUS_METRICS_EXPORT_PUSHGATEWAY_PUSHRATE", "1s")];
    let env: &[_] = if end == End::Killed && !way.pulled { &often } else { way.env };
    App::start(app, run, &way.to, end.args(), env)
}

/// Where the task is met at work: waits for that, and tells what the proxy serves of it.
async fn at_work(proxy: &Proxy, task: &App, run: &Run, way: &Way, end: End) -> BTreeMap<Series, Sample> {
    if matches!(end, End::Returns | End::Throws | End::ExitCode) {
        return BTreeMap::new();
    }
    task.says("task started").await;
    if !way.pulled && end != End::Killed {
        return BTreeMap::new();
    }
    eventually(60, "the proxy serves the task at work", async || {
        let attempt = attempt(proxy, run).await?;
        check(!way.pulled || attempt["connected"] == true, &attempt)?;
        let served = served(proxy, run).await;
        check(served.values().any(|s| s.name == "app_runs_total" && s.value == "1"), &attempt)
            .map(|()| served)
    })
    .await
}

/// The one attempt of the run, as the proxy's facts tell it.
async fn attempt(proxy: &Proxy, run: &Run) -> Result<Value, String> {
    let facts = proxy.execution(&run.id()).await;
    match facts["attempts"].as_array().map(Vec::as_slice) {
        Some([attempt]) if attempt["externalExecutionId"] == run.pod.as_str() => Ok(attempt.clone()),
        _ => Err(facts.to_string()),
    }
}

/// The same when the proxy has a final body. An acknowledged push is there when the task ends, the last snapshot soon.
async fn ended(proxy: &Proxy, run: &Run) -> Value {
    eventually(10, "the proxy has a final body", async || {
        let attempt = attempt(proxy, run).await?;
        let last = attempt["finalPush"].is_string() || attempt["snapshotOnly"] == true;
        check(last && attempt["connected"] == false, &attempt).map(|()| attempt)
    })
    .await
}

/// What the proxy serves with the run's execution id: each series once, all of one time.
async fn served(proxy: &Proxy, run: &Run) -> BTreeMap<Series, Sample> {
    let all = samples(&proxy.connected().await);
    let of_it: Vec<Sample> = all.into_iter().filter(|s| s.label("task_execution_id") == run.id()).collect();
    let times: BTreeSet<Option<i64>> = of_it.iter().map(|s| s.at).collect();
    assert!(times.len() <= 1 && !times.contains(&None), "{times:?}");
    let series = of_it.len();
    let served: BTreeMap<Series, Sample> = of_it.into_iter().map(|s| (s.series(), s)).collect();
    assert_eq!(served.len(), series, "a series is there twice");
    served
}

/// The last scrape that the application printed, with the labels that each series of the run must have.
fn printed(task: &App, run: &Run) -> BTreeMap<Series, Sample> {
    let with_identity = |mut sample: Sample| {
        sample.labels.extend(run.labels());
        (sample.series(), sample)
    };
    task.last_scrape().into_iter().map(with_identity).collect()
}

/// The proxy has what the application had; where it lived on for a moment, it may have more.
fn same_series(case: &str, had: &BTreeMap<Series, Sample>, served: &BTreeMap<Series, Sample>, more: bool) {
    // Pauses for garbage become series when the first one happens, perhaps between push and print.
    let relevant = |series: &&Series| !series.0.starts_with("jvm_gc_pause_seconds");
    let had_only: Vec<&Series> = had.keys().filter(relevant).filter(|s| !served.contains_key(*s)).collect();
    assert!(had_only.is_empty(), "{case}: the proxy lacks {had_only:#?}");
    let served_only: Vec<&Series> =
        served.keys().filter(relevant).filter(|s| !had.contains_key(*s)).collect();
    assert!(more || served_only.is_empty(), "{case}: the proxy has also {served_only:#?}");
    assert!(had.len() > 80, "{case}: only {} series", had.len());
    for (series, sample) in had {
        // What no longer changes when a task ends.
        if series.0.starts_with("app_") || series.0.starts_with("spring_cloud_task_seconds") {
            assert_eq!(served[series].value, sample.value, "{case}: {series:?}");
        }
    }
}
