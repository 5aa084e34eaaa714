//! The status as a whole.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{all_ready, change, everything, external, fresh, pod, settle};
use crate::api::TaskMonitoringStatus;
use crate::api::conditions::find;
use crate::monitoring::select::Acceptance;
use crate::monitoring::{StackSnapshot, decide};
use crate::names::reason;

fn status(s: &StackSnapshot) -> TaskMonitoringStatus {
    s.stack.status.as_result().unwrap().clone()
}

fn settled(spec: &Value) -> StackSnapshot {
    let mut s = fresh(spec);
    settle(&mut s);
    s
}

#[test]
fn it_is_ready_when_all_parts_are() {
    let mut s = settled(&json!({}));
    let ready = |s: &StackSnapshot| {
        let status = status(s);
        assert_eq!(find(&status.conditions, "Accepted").unwrap().status, "True");
        find(&status.conditions, "Ready").unwrap().clone()
    };
    assert_eq!(ready(&s).reason, reason::PROGRESSING);
    all_ready(&mut s);
    settle(&mut s);
    assert_eq!((ready(&s).status.as_str(), ready(&s).reason.as_str()), ("True", "Ready"));
    assert_eq!(status(&s).observed_generation, Some(1));
}

/// What waits for people speaks before what is on its way.
#[test]
fn the_part_that_needs_somebody_speaks_first() {
    let mut s = settled(&json!({}));
    s.pods = vec![pod(
        "grafana",
        &json!({"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
    )];
    let plan = decide(&s);
    let status = plan.status.unwrap();
    let ready = find(&status.conditions, "Ready").unwrap();
    assert_eq!(ready.reason, reason::CRASHING);
    assert!(ready.message.starts_with("GrafanaReady: "), "{}", ready.message);
    let warned: Vec<&str> = plan.warnings.iter().map(|w| w.reason.as_str()).collect();
    assert_eq!(warned, [reason::CRASHING]);
    settle(&mut s);
    assert!(decide(&s).warnings.is_empty(), "once is enough");
}

#[test]
fn where_parts_can_be_reached() {
    let shown = |spec: &Value| {
        let status = status(&settled(spec));
        (json!(status.addresses), status.open_grafana)
    };
    let host = |part: &str, port: u16| format!("http://{part}.team-a.svc:{port}");
    let (addresses, open) = shown(&json!({}));
    assert_eq!(
        addresses,
        json!({
            "prometheus": host("prometheus", 9090), "proxy": "metrics-proxy.team-a.svc:7001",
            "push": host("metrics-proxy", 9091), "grafana": host("grafana", 3000),
        })
    );
    assert_eq!(open.as_deref(), Some("minikube service --url grafana -n team-a"));
    let (addresses, open) = shown(&everything());
    assert_eq!(addresses["prometheus"], json!(host("prometheus", 80)));
    assert_eq!(addresses["proxy"], json!("metrics-proxy.team-a.svc:7000"));
    assert_eq!(addresses["influxdb"], json!(host("influxdb", 8086)));
    assert_eq!(open.as_deref(), Some("kubectl -n team-a port-forward service/grafana 3000:3000"));
    let (addresses, open) = shown(&external());
    assert_eq!(addresses["prometheus"], json!("http://prometheus.monitoring.svc:9090"));
    assert_eq!(addresses["grafana"], json!("https://grafana.example.com"));
    assert_eq!(open, None);
    let off = json!({"mode": "Disabled"});
    assert_eq!(shown(&json!({"prometheus": off, "proxy": off, "grafana": off})), (Value::Null, None));
    let v6 = json!({"proxy": {"mode": "External", "external": {"host": "fd00::1"}}});
    assert_eq!(shown(&v6).0["proxy"], json!("[fd00::1]:7001"));
}

#[test]
fn a_few_series_more_are_no_news() {
    let mut s = settled(&json!({}));
    for (series, said) in [(None, None), (Some(0), Some(0)), (Some(101), Some(110)), (Some(110), Some(110))] {
        s.series_per_run = series;
        settle(&mut s);
        assert_eq!(status(&s).series_per_run, said);
    }
    s.series_per_run = Some(105);
    assert!(decide(&s).status.is_none());
}

#[test]
fn one_that_does_not_count_says_why_and_nothing_else() {
    let mut s = settled(&json!({}));
    s.acceptance = Acceptance::Refused(reason::SCOPE_NOT_ALLOWED, "set scope: Namespace".to_owned());
    let plan = decide(&s);
    let told = plan.status.clone().unwrap();
    let conditions: Vec<_> = told
        .conditions
        .iter()
        .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str(), c.message.as_str()))
        .collect();
    assert_eq!(
        conditions,
        [
            ("Accepted", "False", "ScopeNotAllowed", "set scope: Namespace"),
            ("Ready", "False", "ScopeNotAllowed", "set scope: Namespace"),
        ]
    );
    assert_eq!((told.addresses, told.open_grafana), (None, None));
    assert_eq!(plan.warnings.len(), 1);
    settle(&mut s);
    assert!(decide(&s).warnings.is_empty());
    s.acceptance = Acceptance::Accepted;
    settle(&mut s);
    assert!(status(&s).addresses.is_some());
}

#[test]
fn the_status_speaks_of_the_newest_generation() {
    let mut s = settled(&json!({}));
    change(&mut s, &json!({}));
    let mut stack = (*s.stack).clone();
    stack.metadata.generation = Some(7);
    s.stack = Arc::new(stack);
    let told = decide(&s).status.unwrap();
    assert_eq!(told.observed_generation, Some(7));
    assert!(told.conditions.iter().all(|c| c.observed_generation == Some(7)));
}
