//! What a stack gives to the Prometheus operator fits that operator's own types, and its Prometheus' rules.

use std::process::Command;

use millrace::api::TaskMonitoringSpec;
use millrace::monitoring::config::prometheus::RULES;
use millrace::monitoring::object::Kind;
use millrace::monitoring::{Installation, Stack, build};
use serde_json::{Value, json};

use crate::support::peers::peer;
use crate::support::process::Folder;
use crate::support::reader::run;

/// As a stack with a Prometheus of its user's makes them.
fn objects() -> Value {
    let external = json!({
        "url": "http://prometheus.monitoring.svc:9090",
        "discovery": "ServiceMonitor",
        "labels": {"release": "kube-prometheus-stack"},
    });
    let spec = json!({"prometheus": {"mode": "External", "external": external}});
    let spec: TaskMonitoringSpec = serde_json::from_value(spec).unwrap();
    let installation = Installation::default();
    let stack = Stack {
        name: "monitoring",
        namespace: "batch",
        uid: "11111111-1111-1111-1111-111111111111",
        spec: &spec,
        installation: &installation,
        filters: &[],
    };
    let all = build(&stack).into_iter();
    all.filter(|o| matches!(o.kind, Kind::ServiceMonitor | Kind::PrometheusRule)).map(|o| o.body).collect()
}

/// What the types make of them, or what they have against it.
fn typed(objects: &Value) -> Result<Value, String> {
    let said = run(Command::new(peer("MILLRACE_PROMETHEUS_OPERATOR")), &objects.to_string());
    said.map(|said| serde_json::from_str(&said).unwrap()).map_err(|(_, said)| said)
}

fn of_kind<'a>(objects: &'a Value, kind: &str) -> &'a Value {
    let mut all = objects.as_array().unwrap().iter();
    all.find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind} in {objects:#}"))
}

/// Whether nothing got lost; the types write some fields that nobody gave.
fn has_all(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            ours.iter().all(|(name, value)| theirs.get(name).is_some_and(|theirs| has_all(theirs, value)))
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            theirs.len() == ours.len() && theirs.iter().zip(ours).all(|(theirs, ours)| has_all(theirs, ours))
        }
        _ => theirs == ours,
    }
}

#[test]
fn what_the_prometheus_operator_gets_fits_its_types() {
    let ours = objects();
    let theirs = typed(&ours).unwrap_or_else(|said| panic!("{said}"));
    for kind in ["ServiceMonitor", "PrometheusRule"] {
        let (ours, theirs) = (of_kind(&ours, kind), of_kind(&theirs, kind));
        assert!(has_all(theirs, ours), "{kind}: all of it arrives: {ours:#} became {theirs:#}");
    }
}

#[test]
fn what_does_not_fit_is_noticed() {
    let ours = objects().to_string();
    for (good, bad) in [
        ("\"honorLabels\":true", "\"honourLabels\":true"),
        ("\"honorLabels\":true", "\"honorLabels\":\"true\""),
        ("\"metricRelabelings\"", "\"metricRelabelling\""),
        ("\"expr\"", "\"expression\""),
        ("monitoring.coreos.com/v1\"", "monitoring.coreos.com/v2\""),
    ] {
        assert!(ours.contains(good), "{good} in {ours}");
        let objects = serde_json::from_str(&ours.replacen(good, bad, 1)).unwrap();
        typed(&objects).expect_err(bad);
    }
}

/// The operator writes a rule's spec into a file for its Prometheus.
#[test]
fn its_prometheus_takes_the_rules() {
    let theirs = typed(&objects()).unwrap();
    let folder = Folder::new("rules");
    let path = folder.path().join("rules.yml");
    std::fs::write(&path, serde_yaml::to_string(&of_kind(&theirs, "PrometheusRule")["spec"]).unwrap())
        .unwrap();
    let mut promtool = Command::new(peer("MILLRACE_PROMTOOL"));
    promtool.args(["check", "rules", path.to_str().unwrap()]);
    let said = run(promtool, "").unwrap_or_else(|(_, said)| panic!("{said}"));
    let rules = RULES.lines().filter(|line| {
        let line = line.trim_start();
        line.starts_with("- record: ") || line.starts_with("- alert: ")
    });
    assert!(said.contains(&format!("{} rules found", rules.count())), "{said}");
}
