//! The dashboards' JSON fits Grafana's own published types.

use std::collections::BTreeSet;
use std::process::Command;

use millrace::monitoring::dashboards::{operator, tasks_influxdb, tasks_prometheus};

use crate::support::dashboard::Dashboard;
use crate::support::peers::peer;
use crate::support::reader::run;

fn check(text: &str) -> Result<String, (Option<i32>, String)> {
    let mut command = Command::new("node");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy/grafana/check.mjs"));
    command.arg(peer("MILLRACE_GRAFANA_SCHEMA"));
    run(command, text)
}

#[test]
fn dashboards_fit_grafanas_types() {
    for text in [tasks_prometheus(), tasks_influxdb(true), tasks_influxdb(false), operator()] {
        let said = check(&text).unwrap_or_else(|(_, said)| panic!("{said}"));
        assert!(said.contains("parts checked"), "{said}");
        let panels: Vec<u64> =
            Dashboard::read(&text).panels().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(panels.iter().collect::<BTreeSet<_>>().len(), panels.len(), "two panels have one id");
    }
}

#[test]
fn what_does_not_fit_is_noticed() {
    let text = tasks_prometheus();
    for (good, bad) in [
        ("\"legendFormat\"", "\"legendFormats\""),
        ("\"drawStyle\": \"bars\"", "\"drawStyle\": \"bricks\""),
        ("\"graphTooltip\": 1", "\"graphTooltip\": \"all\""),
        ("\"textMode\": \"auto\"", "\"textMode\": \"large\""),
    ] {
        assert!(text.contains(good), "{good}");
        let (_, said) = check(&text.replacen(good, bad, 1)).expect_err(bad);
        assert!(said.contains("  at: "), "{said}");
    }
}

#[test]
fn every_panel_says_what_it_shows() {
    for text in [tasks_prometheus(), tasks_influxdb(true), operator()] {
        for panel in Dashboard::read(&text).panels() {
            assert!(panel["description"].as_str().is_some_and(|d| d.len() > 10), "{panel}");
        }
    }
}
