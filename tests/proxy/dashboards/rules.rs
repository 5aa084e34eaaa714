//! Rules and configuration before Prometheus' own judge.

use std::fmt::Write;
use std::process::Command;

use millrace::monitoring::config::prometheus::{
    PrometheusConfig, RULES, RULES_PATH, Targets, render_prometheus,
};
use serde_json::Value;

use crate::support::peers::peer;
use crate::support::process::Folder;
use crate::support::reader::run;

fn promtool(args: &[&str]) -> String {
    let mut command = Command::new(peer("MILLRACE_PROMTOOL"));
    command.args(args);
    run(command, "").unwrap_or_else(|(_, said)| panic!("{said}"))
}

#[test]
fn rules_do_what_their_tests_say() {
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/src/monitoring/config/rules_test.yml");
    let said = promtool(&["test", "rules", tests]);
    assert!(said.contains("SUCCESS"), "{said}");
}

fn rules() -> Value {
    serde_yaml::from_str(RULES).unwrap()
}

/// All rules of the file.
fn all_rules(of: &Value) -> Vec<&Value> {
    of["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect()
}

/// Windows of Prometheus 2 have their oldest moment within them, those of Prometheus 3 have not.
#[test]
fn prometheus_2_counts_the_same() {
    let (rules, tests) = (rules(), include_str!("../../../src/monitoring/config/rules_test.yml"));
    let tests: Value = serde_yaml::from_str(tests).unwrap();
    let mut script = String::new();
    for (test, record, at, by, wanted) in [
        (
            0,
            "task_name:spring_cloud_task_seconds:count1m",
            "25m",
            "task_name",
            "{task_name=\"t\"} 20\n  {task_name=\"web\"} 1",
        ),
        (
            1,
            "definition:millrace_definition_runs:count1m",
            "25m",
            "definition, outcome",
            "{definition=\"d\",outcome=\"Failed\"} 5\n  {definition=\"e\",outcome=\"Failed\"} 3\n  \
             {definition=\"e\",outcome=\"Succeeded\"} 1\n  {definition=\"f\",outcome=\"Stopped\"} 9",
        ),
    ] {
        let test = &tests["tests"][test];
        writeln!(script, "clear\nload {}", test["interval"].as_str().unwrap()).unwrap();
        for series in test["input_series"].as_array().unwrap() {
            let of = |name: &str| series[name].as_str().unwrap();
            writeln!(script, "  {} {}", of("series"), of("values")).unwrap();
        }
        let rule = all_rules(&rules).into_iter().find(|rule| rule["record"] == record).unwrap();
        let expr: Vec<&str> = rule["expr"].as_str().unwrap().split_whitespace().collect();
        let expr = expr.join(" ");
        writeln!(
            script,
            "\neval instant at {at} sum by ({by}) (sum_over_time(({expr})[{at}:1m]))\n  {wanted}\n"
        )
        .unwrap();
    }
    let judge = || Command::new(peer("MILLRACE_PROMETHEUS2_PROMQL"));
    let said = run(judge(), &script).unwrap_or_else(|(_, said)| panic!("{said}\n{script}"));
    assert_eq!(said, "as expected\n");
    run(judge(), &script.replace("} 20", "} 19")).expect_err("it judges");
}

#[test]
fn every_alert_says_what_is_wrong_and_what_to_do() {
    let rules = rules();
    let alerts: Vec<&Value> =
        all_rules(&rules).into_iter().filter(|rule| rule["alert"].is_string()).collect();
    assert_eq!(alerts.len(), 7);
    let documented = include_str!("../../../docs/alerts.md");
    for alert in alerts {
        let name = alert["alert"].as_str().unwrap();
        assert!(["warning", "critical"].contains(&alert["labels"]["severity"].as_str().unwrap()), "{name}");
        for text in ["summary", "description", "runbook"] {
            assert!(alert["annotations"][text].as_str().is_some_and(|t| t.len() > 20), "{name}: {text}");
        }
        assert!(documented.contains(&format!("| `{name}` |")), "docs/alerts.md: no row for {name}");
    }
    for record in RULES.lines().filter_map(|line| line.trim().strip_prefix("- record: ")) {
        assert!(documented.contains(&format!("| `{record}` |")), "docs/alerts.md: no row for {record}");
    }
}

#[test]
fn prometheus_takes_the_configuration() {
    let proxies = ["proxy-0:8080".to_owned(), "proxy-1:8080".to_owned()];
    let alertmanagers = ["https://alerts.example.com/am".to_owned(), "http://alerts:9093".to_owned()];
    let config = PrometheusConfig {
        scraper: "batch/monitoring",
        proxies: Targets::Static(&proxies),
        operator: Some("millrace.millrace-system:8080"),
        scrape_interval_seconds: 10,
        sample_limit: 500_000,
        alertmanagers: &alertmanagers,
    };
    // The Prometheus of these tests is built without Kubernetes: the rest of a job that finds pods is judged with addresses.
    let pods = render_prometheus(&PrometheusConfig { proxies: Targets::Pods("monitoring"), ..config });
    let mut pods: Value = serde_yaml::from_str(&pods).unwrap();
    for job in pods["scrape_configs"].as_array_mut().unwrap() {
        if job.as_object_mut().unwrap().remove("kubernetes_sd_configs").is_some() {
            job["static_configs"] = serde_json::json!([{ "targets": proxies }]);
        }
    }
    for text in [render_prometheus(&config), serde_yaml::to_string(&pods).unwrap()] {
        let folder = Folder::new("config");
        let rules = folder.path().join("rules.yml");
        std::fs::write(&rules, RULES).unwrap();
        let path = folder.path().join("prometheus.yml");
        std::fs::write(&path, text.replace(RULES_PATH, rules.to_str().unwrap())).unwrap();
        let said = promtool(&["check", "config", path.to_str().unwrap()]);
        assert!(said.contains("14 rules found"), "{said}");
    }
}
