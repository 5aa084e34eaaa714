//! The dashboard `scdf-tasks` for InfluxDB.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt};
use millrace::inject::exporters::{Exporters, Influx, InfluxTarget};
use millrace::monitoring::dashboards::tasks_influxdb;
use serde_json::Value;

use super::prometheus::{GENERATIONS, Kind};
use super::proof::{Proof, same_as_documented};
use crate::support::app::{App, Run};
use crate::support::dashboard::{Choice, Dashboard, Query, put_in};
use crate::support::influxdb::{DATABASE, InfluxDb};
use crate::support::{check, eventually};

/// A row of an answer: tags and columns, as text.
type Row = BTreeMap<String, String>;

fn exporters(influxdb: &InfluxDb) -> Exporters {
    let target = InfluxTarget::Database { database: DATABASE.to_owned(), login: None };
    let influx = Influx { url: format!("http://{}", influxdb.address), target };
    Exporters { influx: Some(influx), ..Exporters::default() }
}

/// Writes every 2 s: a minute is the default, and nobody wants to wait for it here.
const OFTEN: [(&str, &str); 2] =
    [("MANAGEMENT_METRICS_EXPORT_INFLUX_STEP", "2s"), ("MANAGEMENT_INFLUX_METRICS_EXPORT_STEP", "2s")];

struct World {
    influxdb: InfluxDb,
    runs: Vec<(&'static str, Kind, Run)>,
    /// Live ones: they run until the end of the test.
    _live: Vec<App>,
    live_ids: BTreeMap<&'static str, String>,
}

impl World {
    async fn new() -> Self {
        let influxdb = InfluxDb::start().await;
        let to = &exporters(&influxdb);
        let (mut live, mut live_ids) = (Vec::new(), BTreeMap::new());
        for (name, _) in GENERATIONS {
            let run = Run::new(name);
            live.push(App::start(name, &run, to, &["--app.run-for=1h"], &OFTEN));
            live_ids.insert(name, run.id());
        }
        for app in &live {
            app.says("task started").await;
        }
        let all = GENERATIONS.iter().flat_map(|(name, _)| Kind::ALL.map(|kind| (*name, kind)));
        let ended = stream::iter(all).map(|(name, kind)| async move {
            let run = Run::new(name);
            let code = App::start(name, &run, to, kind.args(), &[]).ended().await.code();
            assert_eq!(code, Some(kind.exit_code()), "{name} {kind:?}");
            (name, kind, run)
        });
        let runs = ended.buffer_unordered(2).collect().await;
        Self { influxdb, runs, _live: live, live_ids }
    }

    fn application(&self, of: &str, kind: Kind) -> String {
        let (_, _, run) = self.runs.iter().find(|(name, k, _)| *name == of && *k == kind).unwrap();
        format!("{of}-{}", run.id())
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// All rows of an answer, those of each series one after the other.
fn rows(series: &[Value]) -> Vec<Row> {
    let mut all = Vec::new();
    for one in series {
        let tags =
            one["tags"].as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value)));
        let tags: Row = tags.filter(|(_, value)| !value.is_empty()).collect();
        for values in one["values"].as_array().unwrap() {
            let columns = one["columns"].as_array().unwrap().iter().map(text);
            let values = columns.zip(values.as_array().unwrap()).filter(|(_, value)| !value.is_null());
            let mut row = tags.clone();
            row.extend(values.map(|(name, value)| (name, text(value))));
            all.push(row);
        }
    }
    all
}

async fn ask(influxdb: &InfluxDb, query: &Query, choice: &Choice) -> Result<Vec<Row>, String> {
    let text = put_in(&query.text, choice, 900, 60).replace("$timeFilter", "time >= now() - 900s");
    let rows = rows(&influxdb.ask(&text).await.map_err(|e| format!("{e} for {text}"))?);
    check(!rows.is_empty(), format!("nothing for {text}"))?;
    Ok(rows)
}

fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().unwrap()
}

fn sum(rows: &[Row], column: &str) -> f64 {
    rows.iter().map(|row| number(row, column)).sum()
}

#[tokio::test]
async fn every_panel_for_influxdb_shows_the_runs_that_happened() {
    let world = World::new().await;
    let dashboard = Dashboard::read(&tasks_influxdb(true));
    let id = |application: String| application.rsplit('-').next().unwrap().to_owned();
    let choice = |names: &[&str], ids: Vec<String>, jobs: &[&str]| {
        let own = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect();
        let namespaces = if names.is_empty() { &[][..] } else { &["batch"] };
        Choice::from([
            ("task_namespace", own(namespaces)),
            ("task_name", own(names)),
            ("task_execution_id", ids),
            ("job_name", own(jobs)),
        ])
    };
    let all = choice(&[], Vec::new(), &[]);
    let ids = vec![
        id(world.application("boot32", Kind::Batch)),
        id(world.application("boot32", Kind::Fails)),
        world.live_ids["boot32"].clone(),
    ];
    let chosen = choice(&["boot32"], ids, &["twoSteps"]);
    let linked = choice(&["boot32", "All"], Vec::new(), &[]);

    let mut proof = Proof::default();
    for query in dashboard.queries("query") {
        let what = format!("{:?}", query.panel);
        let mut seen = Vec::new();
        for choice in [&all, &chosen, &linked] {
            // The live ones write every 2 s.
            seen.push(
                eventually(30, &what, async || {
                    let rows = ask(&world.influxdb, &query, choice).await?;
                    let wanted = if choice["task_name"].is_empty() { 4.0 } else { 1.0_f64 };
                    let all_told =
                        query.panel.0 != 13 || number(&rows[0], "sum").to_bits() == wanted.to_bits();
                    check(all_told, &rows)?;
                    Ok(rows)
                })
                .await,
            );
        }
        right_numbers(&world, &query, &seen);
        proof.add(&query, &seen.iter().map(|rows| summary(&query, rows)).collect::<Vec<_>>());
    }
    for (name, query, pattern) in dashboard.variables() {
        let offered = |choice: &Choice| put_in(&query, choice, 900, 60);
        let mut offers = Vec::new();
        for choice in [&all, &chosen] {
            let rows = rows(&world.influxdb.ask(&offered(choice)).await.unwrap());
            let pattern = regex::Regex::new(pattern.trim_matches('/')).unwrap();
            let values = rows.iter().filter_map(|row| {
                let found = pattern.captures(&row["value"])?;
                Some(found.get(1).map_or(&*row["value"], |m| m.as_str()).to_owned())
            });
            offers.push(values.collect::<BTreeSet<String>>());
        }
        let sizes = match &*name {
            "task_name" => [4, 4],
            "task_execution_id" => [16, 4],
            "task_namespace" | "job_name" => [1, 1],
            other => panic!("an unknown variable {other}"),
        };
        assert_eq!([offers[0].len(), offers[1].len()], sizes, "{name}: {offers:?}");
        proof.add_variable(&name, sizes.into_iter());
    }
    same_as_documented("influxdb", &proof.table());
}

#[allow(clippy::float_cmp, reason = "counts are whole")]
fn right_numbers(world: &World, query: &Query, seen: &[Vec<Row>]) {
    let [all, chosen, linked] = seen else { panic!() };
    let what = format!("{:?}", query.panel);
    let counts = |column: &str, wanted: [f64; 3]| {
        assert_eq!([sum(all, column), sum(chosen, column), sum(linked, column)], wanted, "{what}");
    };
    let lengths =
        |wanted: [usize; 3]| assert_eq!([all.len(), chosen.len(), linked.len()], wanted, "{what} {all:?}");
    match query.panel.0 {
        11 | 21 => counts("count", [12.0, 2.0, 3.0]),
        12 => counts("count", [4.0, 1.0, 1.0]),
        13 => counts("sum", [4.0, 1.0, 1.0]),
        14 => assert!(number(&all[0], "median") > 100.0, "{what}"),
        15 => assert!(number(&all[0], "max") > 200.0, "{what}"),
        17 => {
            lengths([12, 2, 3]);
            for (name, kind, run) in &world.runs {
                let row = all.iter().find(|r| r["application"] == format!("{name}-{}", run.id())).unwrap();
                let tag = |newer: &str, boot2: &str| row.get(newer).or(row.get(boot2)).cloned().unwrap();
                let status = if *kind == Kind::Fails { "failure" } else { "success" };
                assert_eq!(tag("spring_cloud_task_status", "task_status"), status, "{row:?}");
                let code = tag("spring_cloud_task_exit_code", "task_exit_code");
                assert_eq!(code, kind.exit_code().to_string(), "{row:?}");
                assert_eq!(row["task_external_execution_id"], run.pod);
                assert!(number(row, "duration") > 100.0, "milliseconds: {row:?}");
            }
        }
        37 => lengths([16, 3, 4]),
        38 => assert_eq!(all.len(), 32, "{what}"),
        41 => lengths([4, 1, 1]),
        42 => lengths([8, 2, 2]),
        43 => counts("count", [24.0, 6.0, 6.0]),
        // Each with one that failed.
        44 => counts("count", [23.0, 6.0, 6.0]),
        45 => counts("count", [12.0, 3.0, 3.0]),
        22 | 24 | 33 | 34 => {}
        other => panic!("no numbers are known for panel {other}"),
    }
    if query.panel.0 == 44 {
        let failed = all.iter().filter(|row| row.values().any(|value| value == "FAILURE"));
        assert_eq!(failed.map(|row| number(row, "count")).sum::<f64>(), 4.0, "{what}");
    }
}

/// For the documentation: values where they are the same every time, else how many runs or tasks.
fn summary(query: &Query, rows: &[Row]) -> String {
    match query.panel.0 {
        11 | 12 => sum(rows, "count").to_string(),
        13 => sum(rows, "sum").to_string(),
        14 | 15 => "1 value".to_owned(),
        21 => format!("{} ended", sum(rows, "count")),
        43..=45 => format!("in all {}", sum(rows, "count")),
        _ if query.panel.1 == "table" => format!("{} rows", rows.len()).replace("1 rows", "1 row"),
        _ => "shown".to_owned(),
    }
}
