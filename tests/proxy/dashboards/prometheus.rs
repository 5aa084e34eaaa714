//! The dashboard `scdf-tasks` for Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::stream::{self, StreamExt};
use millrace::api::Phase;
use millrace::monitoring::config::prometheus::{FLAGS, PrometheusConfig, RULES, Targets, render_prometheus};
use millrace::monitoring::dashboards::tasks_prometheus;
use millrace::telemetry::http::routes;
use millrace::telemetry::metrics::{Active, End, Metrics, Received, Run as Ended};
use millrace::telemetry::readiness::Readiness;
use serde_json::Value;

use super::proof::{Proof, same_as_documented};
use crate::support::app::{App, Run};
use crate::support::dashboard::{Choice, Dashboard, Query, put_in};
use crate::support::prometheus::{Prometheus, labels, sample};
use crate::support::proxy::Proxy;
use crate::support::{check, eventually};

/// Each generation, and what of it lives on while the panels are asked: the one with a bean can be pulled.
pub const GENERATIONS: [(&str, &str); 4] =
    [("boot27", "boot27"), ("boot32", "boot32"), ("boot35", "boot35-bean"), ("boot40", "boot40-bean")];

/// What a run is told, how it ends, and with which exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Batch,
    Fails,
    Returns,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Batch, Self::Fails, Self::Returns];

    /// What it is told.
    pub fn args(self) -> &'static [&'static str] {
        match self {
            Self::Batch => &["--app.batch=true", "--app.batch-skip=4"],
            Self::Fails => &["--app.exit-code=3"],
            Self::Returns => &[],
        }
    }

    /// With what it ends.
    pub const fn exit_code(self) -> i32 {
        if matches!(self, Self::Fails) { 3 } else { 0 }
    }
}

/// All that the dashboard is asked about.
struct World {
    prometheus: Prometheus,
    /// The operator's own metrics, as it fills them.
    metrics: Arc<Metrics>,
    proxy: Proxy,
    runs: Vec<(&'static str, Kind, Run)>,
    live: Vec<(&'static str, App, Run)>,
}

/// The rules with a second or five for each minute, so that nobody waits for minutes.
pub fn quick_rules() -> String {
    let mut rules = RULES.to_owned();
    for (from, to) in [
        ("[1m]", "[5s]"),
        ("offset 1m", "offset 5s"),
        ("offset 2m", "offset 10s"),
        ("interval: 1m", "interval: 5s"),
        ("interval: 10m", "interval: 5s"),
        ("[7d:5m]", "[7d:5s]"),
    ] {
        assert!(rules.contains(from), "{from}");
        rules = rules.replace(from, to);
    }
    rules
}

fn seconds_now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
}

/// Serves the operator's metrics, as the operator does.
pub async fn serve(metrics: Arc<Metrics>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes(metrics, Arc::new(Readiness::default()))).await });
    address
}

impl World {
    async fn new() -> Self {
        let proxy = Proxy::start(&["--pull-seconds=1"]).await;
        let metrics = Arc::new(Metrics::default());
        let (operator, proxies) = (serve(metrics.clone()).await.to_string(), [proxy.http.to_string()]);
        let config = render_prometheus(&PrometheusConfig {
            scraper: "proof",
            proxies: Targets::Static(&proxies),
            operator: Some(&operator),
            scrape_interval_seconds: 1,
            sample_limit: 100_000,
            alertmanagers: &[],
        });
        let prometheus = Prometheus::start_with(&config, &quick_rules(), &FLAGS).await;
        let mut world = Self { prometheus, metrics, proxy, runs: Vec::new(), live: Vec::new() };
        world.run().await;
        world
    }

    async fn run(&mut self) {
        let doors = &self.proxy.doors();
        for (name, live) in GENERATIONS {
            let run = Run::new(name);
            self.live.push((name, App::start(live, &run, doors, &["--app.run-for=1h"], &[]), run));
        }
        for (name, app, _) in &self.live {
            app.says("task started").await;
            self.defined(name, 1);
        }
        let all = GENERATIONS.iter().flat_map(|(name, _)| Kind::ALL.map(|kind| (*name, kind)));
        let ended = stream::iter(all).map(|(name, kind)| async move {
            let run = Run::new(name);
            let code = App::start(name, &run, doors, kind.args(), &[]).ended().await.code();
            assert_eq!(code, Some(kind.exit_code()), "{name} {kind:?}");
            (name, kind, run)
        });
        self.runs = ended.buffer_unordered(2).collect().await;
        for (name, kind, _) in &self.runs {
            let end = if kind.exit_code() == 0 { End::Succeeded } else { End::Failed };
            self.ended(name, end, kind.exit_code(), Received::Received);
        }
        // One that was killed before it said anything.
        self.defined("silent", 0);
        self.ended("silent", End::Failed, 137, Received::Missing);
    }

    fn defined(&self, name: &str, running: usize) {
        let now = seconds_now();
        let active = |launches: usize| Active { launches, oldest_seconds: (launches > 0).then_some(now) };
        let active = BTreeMap::from([(Phase::Running, active(running)), (Phase::Pending, active(1))]);
        self.metrics.defined("batch", name, name, &active);
    }

    fn ended(&self, name: &str, end: End, exit_code: i32, received: Received) {
        let run = Ended { end, duration: Some(Duration::from_secs(3)), exit_code: Some(exit_code) };
        let reason = if end == End::Succeeded { "Completed" } else { "NonZeroExit" };
        self.metrics.ended(Some(("batch", name)), run, reason);
        self.metrics.arrival("batch", name, received);
    }

    fn batch_run(&self, of: &str) -> &Run {
        &self.runs.iter().find(|(name, kind, _)| *name == of && *kind == Kind::Batch).unwrap().2
    }

    fn live_run(&self, of: &str) -> &Run {
        &self.live.iter().find(|(name, ..)| *name == of).unwrap().2
    }
}

const RANGE_SECONDS: u32 = 900;

/// A series of an answer: labels, and its values.
pub type Series = (BTreeMap<String, String>, Vec<f64>);

/// Asks a query, for what is chosen; an answer without a series is none.
pub async fn ask(prometheus: &Prometheus, query: &Query, choice: &Choice) -> Result<Vec<Series>, String> {
    let text = put_in(&query.text, choice, RANGE_SECONDS, query.over_time.unwrap_or(15));
    let now = seconds_now();
    let data = match query.over_time {
        None => prometheus.ask("query", &[("query", &text)]).await,
        Some(step) => {
            let (start, end) = ((now - f64::from(RANGE_SECONDS)).to_string(), now.to_string());
            let parameters =
                [("query", &*text), ("start", &start), ("end", &end), ("step", &step.to_string())];
            prometheus.ask("query_range", &parameters).await
        }
    };
    let data = data.map_err(|e| format!("{e} for {text}"))?;
    let series = data["result"].as_array().unwrap().iter().map(|series| {
        let values = series["values"].as_array().cloned();
        let values = values.unwrap_or_else(|| vec![series["value"].clone()]);
        (labels(series), values.iter().map(|pair| sample(pair).1).collect())
    });
    check(data["result"] != Value::Array(Vec::new()), format!("nothing for {text}"))?;
    Ok(series.collect())
}

/// What Grafana offers for a variable.
async fn offers(prometheus: &Prometheus, query: &str, pattern: &str, choice: &Choice) -> BTreeSet<String> {
    let text = put_in(query, choice, RANGE_SECONDS, 15);
    let inner = |function: &str| text.strip_prefix(function)?.strip_prefix('(')?.strip_suffix(')');
    if let Some(inner) = inner("label_values") {
        let (matching, label) = inner.rsplit_once(", ").unwrap_or(("", inner));
        let path = format!("label/{label}/values");
        let parameters = [("match[]", matching)];
        let parameters = if matching.is_empty() { &[][..] } else { &parameters };
        return serde_json::from_value(prometheus.ask(&path, parameters).await.unwrap()).unwrap();
    }
    let data = prometheus.ask("query", &[("query", inner("query_result").unwrap())]).await.unwrap();
    let pattern = regex::Regex::new(pattern.trim_matches('/')).unwrap();
    let lines = data["result"].as_array().unwrap().iter().map(|series| {
        let labels: Vec<String> =
            labels(series).iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        format!("{{{}}} 1", labels.join(","))
    });
    lines.filter_map(|line| Some(pattern.captures(&line)?[1].to_owned())).collect()
}

fn choice(task_names: &[&str], ids: Vec<String>, jobs: &[&str]) -> Choice {
    let own = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect();
    Choice::from([
        ("task_namespace", if task_names.is_empty() { Vec::new() } else { vec!["batch".to_owned()] }),
        ("task_name", own(task_names)),
        ("task_execution_id", ids),
        ("job_name", own(jobs)),
    ])
}

#[tokio::test]
async fn every_panel_shows_the_runs_that_happened() {
    let world = World::new().await;
    let dashboard = Dashboard::read(&tasks_prometheus());
    let p = &world.prometheus;
    let last_run = world.runs.iter().map(|(_, _, run)| run.id()).max().unwrap();
    let arrived = format!(
        "count(last_over_time(process_uptime_seconds{{task_execution_id=~\".+\",task_execution_id!~\"{last_run}...\"}}[15m]))"
    );
    p.has(&arrived, 16.0).await;
    p.has("sum(sum_over_time(definition:millrace_definition_runs:count1m[15m]))", 13.0).await;
    p.has("sum(sum_over_time(task_name:spring_cloud_task_seconds:count1m[15m]))", 12.0).await;

    // As docs/alerts.md says of start timestamps.
    p.has("sum(increase(spring_cloud_task_seconds_count[15m] anchored))", 12.0).await;

    let all = choice(&[], Vec::new(), &[]);
    let ids = vec![world.batch_run("boot32").id(), world.live_run("boot32").id()];
    let chosen = choice(&["boot32"], ids.clone(), &["twoSteps"]);
    // As SCDF's links have it: the task's name, and then All beside it.
    let linked = choice(&["boot32", "All"], Vec::new(), &[]);

    let mut proof = Proof::default();
    for query in dashboard.queries("expr") {
        let what = format!("{:?} {}", query.panel, query.number);
        let mut seen = Vec::new();
        for choice in [&all, &chosen, &linked] {
            let found = eventually(30, &what, async || ask(p, &query, choice).await).await;
            for (labels, _) in found.iter().filter(|(labels, _)| labels.contains_key("task_name")) {
                let names = &choice["task_name"];
                assert!(names.is_empty() || names.contains(&labels["task_name"]), "{what}: {labels:?}");
            }
            seen.push(found);
        }
        right_numbers(&world, &query, &seen);
        proof.add(&query, &seen.iter().map(|series| summary(&query, series)).collect::<Vec<_>>());
    }

    for (name, query, pattern) in dashboard.variables() {
        let of_all = offers(p, &query, &pattern, &all).await;
        let of_chosen = offers(p, &query, &pattern, &chosen).await;
        let wanted: [BTreeSet<String>; 2] = match &*name {
            "task_namespace" => [set(["batch"]), set(["batch"])],
            "task_name" => [
                set(["boot27", "boot32", "boot35", "boot40", "silent"]),
                set(["boot27", "boot32", "boot35", "boot40", "silent"]),
            ],
            "task_execution_id" => {
                let runs = world.runs.iter().map(|(name, _, run)| (*name, run));
                let runs: Vec<_> = runs.chain(world.live.iter().map(|(name, _, run)| (*name, run))).collect();
                let of = |wanted: &str| {
                    runs.iter()
                        .filter(|(name, _)| wanted.is_empty() || *name == wanted)
                        .map(|(_, run)| run.id())
                        .collect()
                };
                [of(""), of("boot32")]
            }
            "job_name" => [set(["twoSteps"]), set(["twoSteps"])],
            other => panic!("an unknown variable {other}"),
        };
        assert_eq!([of_all, of_chosen], wanted, "{name}");
        proof.add_variable(&name, wanted.iter().map(BTreeSet::len));
    }
    same_as_documented("prometheus", &proof.table());
}

fn set<const N: usize>(of: [&str; N]) -> BTreeSet<String> {
    of.map(str::to_owned).into()
}

/// The values of each series by one label.
fn by<'a>(series: &'a [Series], label: &str) -> BTreeMap<&'a str, &'a [f64]> {
    series.iter().map(|(labels, values)| (labels[label].as_str(), &**values)).collect()
}

fn last(values: &[f64]) -> f64 {
    *values.last().unwrap()
}

#[allow(clippy::float_cmp, reason = "counts are whole")]
fn right_numbers(world: &World, query: &Query, seen: &[Vec<Series>]) {
    let [all, chosen, linked] = seen else { panic!() };
    let what = format!("{:?} {}", query.panel, query.number);
    let one = |series: &[Series]| {
        assert_eq!(series.len(), 1, "{what}");
        last(&series[0].1)
    };
    let counts = |wanted: [f64; 3]| assert_eq!([one(all), one(chosen), one(linked)], wanted, "{what}");
    let sum = |series: &[Series]| series.iter().flat_map(|(_, values)| values).sum::<f64>();
    match (query.panel.0, query.number) {
        (11, 0) => counts([12.0, 1.0, 3.0]),
        (12, 0) => counts([4.0, 0.0, 1.0]),
        (13, 0) => counts([9.0, 2.0, 2.0]),
        (16, 0) => counts([4.0, 1.0, 1.0]),
        (14 | 15, 0) => {
            assert!([all, chosen, linked].iter().all(|s| (0.1..60.0).contains(&one(s))), "{what}");
        }
        (17 | 32, _) => {
            each_run_ended_as_it_did(world, &what, all);
            assert_eq!((all.len(), chosen.len(), linked.len()), (12, 1, 3), "{what}");
        }
        (21, 0) => assert_eq!((sum(all), sum(chosen), sum(linked)), (12.0, 3.0, 3.0), "{what} {all:?}"),
        (23, 0) => assert!(by(all, "task_name").values().all(|v| last(v) == 1.0), "{what} {all:?}"),
        (24, 0) => {
            // Those that are still at work, and whichever was long enough at work to be pulled then.
            let at_work = |series: &[Series], name: &str| {
                let shown = by(series, "task_execution_id");
                let live = world.live.iter().filter(|(task, ..)| name.is_empty() || *task == name);
                live.map(|(.., run)| run.id()).all(|id| shown.contains_key(&*id))
            };
            assert!(
                at_work(all, "") && at_work(chosen, "boot32") && at_work(linked, "boot32"),
                "{what} {all:?}"
            );
        }
        (33..=38, 0) => {
            let per_run = if matches!(query.panel.0, 33 | 38) { 2 } else { 1 };
            let wanted = (16 * per_run, 2 * per_run, 4 * per_run);
            assert_eq!((all.len(), chosen.len(), linked.len()), wanted, "{what}");
        }
        (41, 0) => {
            assert!(
                all.iter().all(|(l, _)| l["job_name"] == "twoSteps" && l["status"] == "COMPLETED"),
                "{all:?}"
            );
            assert_eq!((all.len(), chosen.len(), linked.len()), (4, 1, 1), "{what}");
        }
        (42, 0) => {
            let steps: BTreeSet<&str> = all.iter().map(|(labels, _)| &*labels["step_name"]).collect();
            assert_eq!(steps, BTreeSet::from(["load", "report"]), "{what}");
            assert_eq!((all.len(), chosen.len(), linked.len()), (8, 2, 2), "{what}");
        }
        (43, number) => {
            assert!(
                all.iter().all(|(l, _)| l["job_name"] == "twoSteps" && l["step_name"] == "load"),
                "{all:?}"
            );
            for (name, values) in by(all, "task_name") {
                // What is skipped is processed again in its chunk by Spring Batch 4 and 5.
                let processed = if name == "boot40" { 4.0 } else { 5.0 };
                assert_eq!(last(values), [6.0, processed, 3.0, 1.0][number], "{what} {name}");
            }
            assert_eq!((all.len(), chosen.len(), linked.len()), (4, 1, 1), "{what}");
        }
        (51, number) => {
            assert_eq!((all.len(), chosen.len(), linked.len()), (5, 1, 1), "{what}");
            each_definition_is_right(&what, number, all);
        }
        (52 | 55, 0) => assert_eq!((sum(all), sum(chosen), sum(linked)), (13.0, 3.0, 3.0), "{what} {all:?}"),
        (53, 0) => {
            let of = by(all, "phase");
            assert_eq!((last(of["Running"]), last(of["Pending"])), (4.0, 5.0), "{what}");
        }
        (22 | 44 | 54, 0) => {}
        other => panic!("no numbers are known for panel {other:?}"),
    }
}

fn each_run_ended_as_it_did(world: &World, what: &str, all: &[Series]) {
    for (name, kind, run) in &world.runs {
        let (labels, _) = all.iter().find(|(l, _)| l["task_execution_id"] == run.id()).unwrap();
        let status = if *kind == Kind::Fails { "failure" } else { "success" };
        assert_eq!(labels["status"], status, "{what} {name}");
        assert_eq!(labels["exit_code"], kind.exit_code().to_string(), "{what} {name}");
        assert_eq!(labels["task_external_execution_id"], run.pod, "{what} {name}");
        assert_eq!(labels["failure"] == "none", *kind != Kind::Fails, "{what} {labels:?}");
    }
}

fn each_definition_is_right(what: &str, number: usize, all: &[Series]) {
    let wanted = |definition: &str| match (number, definition) {
        (0 | 3, "silent") => Some(0.0),
        (1, "silent") => Some(137.0),
        (4, _) => Some(1.0),
        (3, _) => Some(2.0),
        (2, _) => Some(3.0),
        _ => None, // depends on the order in which runs ended
    };
    for (definition, values) in by(all, "definition") {
        let is_right = wanted(definition).is_none_or(|wanted| last(values).to_bits() == f64::to_bits(wanted));
        assert!(is_right, "{what} {definition} {values:?}");
    }
}

/// For the documentation: values where they are the same every time, else how many series.
fn summary(query: &Query, series: &[Series]) -> String {
    let rows = |what: &str| match series.len() {
        1 => format!("1 {what}"),
        many => format!("{many} {what}s"),
    };
    match query.panel.0 {
        11..=13 | 16 => last(&series[0].1).to_string(),
        21 | 52 | 55 => format!("{} ended", series.iter().flat_map(|(_, values)| values).sum::<f64>()),
        24 => "shown".to_owned(),
        43 => {
            format!("{}, in all {}", rows("row"), series.iter().map(|(_, values)| last(values)).sum::<f64>())
        }
        _ if query.panel.1 == "table" => rows("row"),
        _ => rows("series").replace("seriess", "series"),
    }
}
