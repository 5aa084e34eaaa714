//! Conditions of parts.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{all_ready, change, fresh, pod, settle};
use crate::monitoring::object::Kind;
use crate::monitoring::{Answer, Outcome, StackSnapshot, decide};

fn condition(s: &StackSnapshot, type_: &str) -> Option<(String, String, String)> {
    let mut s = s.clone();
    if let Some(status) = decide(&s).status {
        let stack = crate::api::seen::SeenMonitoring {
            status: crate::api::seen::Guarded::Read(*status),
            ..(*s.stack).clone()
        };
        s.stack = Arc::new(stack);
    }
    let status = s.stack.status.as_result().unwrap();
    let found = status.conditions.iter().find(|c| c.type_ == type_)?;
    Some((found.status.clone(), found.reason.clone(), found.message.clone()))
}

fn assert_says(s: &StackSnapshot, type_: &str, status: &str, reason: &str, fragment: &str) {
    let (is, why, sentence) = condition(s, type_).unwrap();
    assert_eq!((is.as_str(), why.as_str()), (status, reason), "{sentence}");
    assert!(sentence.contains(fragment), "{sentence}");
}

/// A stack that was written, whose pods are not ready.
fn written(spec: &Value) -> StackSnapshot {
    let mut s = fresh(spec);
    settle(&mut s);
    s
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": reason, "message": message}}}]})
}

fn unscheduled(message: &str) -> Value {
    json!({"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
    ]})
}

#[test]
fn what_hinders_pods() {
    let volumes = "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/3 nodes are available.";
    let room = "0/3 nodes are available: 1 Insufficient memory, 2 node(s) had untolerated taint(s). preemption: none.";
    for (status, reason, fragment) in [
        (
            waiting("CreateContainerConfigError", "secret \"mine\" not found"),
            "SecretMissing",
            "the kubelet says: secret \"mine\" not found; create what is missing, or name another in spec.prometheus",
        ),
        (
            waiting("ErrImagePull", "dial tcp 1.2.3.4: refused"),
            "ImagePullFailed",
            "image prom/prometheus:v3.16.0 cannot be pulled: check spec.prometheus.image",
        ),
        (waiting("ImagePullBackOff", "Back-off pulling image"), "ImagePullFailed", "prom/prometheus:v3.16.0"),
        (
            waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container"),
            "Crashing",
            "kubectl -n team-a logs statefulset/prometheus --previous",
        ),
        (
            unscheduled(volumes),
            "StorageUnavailable",
            "its volume cannot be had: pod has unbound immediate PersistentVolumeClaims; set spec.prometheus.storage",
        ),
        (
            unscheduled(
                "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found",
            ),
            "StorageUnavailable",
            "pod has unbound immediate PersistentVolumeClaims; set spec.prometheus.storage",
        ),
        (
            unscheduled(room),
            "Unschedulable",
            "no node takes its pod: Insufficient memory, node(s) had untolerated taint(s); change spec.prometheus.resources",
        ),
        (waiting("ContainerCreating", ""), "Progressing", "until all of its pods are ready"),
        (json!({}), "Progressing", "until all of its pods are ready"),
    ] {
        let mut s = written(&json!({}));
        s.pods = vec![pod("prometheus", &status)];
        assert_says(&s, "PrometheusReady", "False", reason, fragment);
        assert_says(&s, "ProxyReady", "False", "Progressing", "until all of its pods are ready");
        // Taken back, it heals.
        s.pods.clear();
        all_ready(&mut s);
        assert_says(&s, "PrometheusReady", "True", "Ready", "all pods are ready");
    }
}

/// A kubelet that tries, and one that waits to try again, say the same here; no count and no time moves it.
#[test]
fn sentences_do_not_change_by_themselves() {
    let said = |status: Value| {
        let mut s = written(&json!({}));
        s.pods = vec![pod("grafana", &status)];
        condition(&s, "GrafanaReady").unwrap()
    };
    for (one, two) in [
        (waiting("ErrImagePull", "a"), waiting("ImagePullBackOff", "b")),
        (waiting("CrashLoopBackOff", "back-off 10s"), waiting("CrashLoopBackOff", "back-off 5m0s")),
        (
            unscheduled("0/3 nodes are available: 3 Insufficient cpu. preemption: no victims"),
            unscheduled("0/14 nodes are available: 14 Insufficient cpu. preemption: none"),
        ),
    ] {
        assert_eq!(said(one), said(two));
    }
}

#[test]
fn pods_of_other_parts_and_pods_that_go_say_nothing() {
    let mut s = written(&json!({}));
    let mut going = (*pod("prometheus", &waiting("CrashLoopBackOff", ""))).clone();
    going.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(s.now));
    s.pods = vec![Arc::new(going), pod("grafana", &waiting("CrashLoopBackOff", ""))];
    assert_says(&s, "PrometheusReady", "False", "Progressing", "");
    assert_says(&s, "GrafanaReady", "False", "Crashing", "logs deployment/grafana --previous");
}

#[test]
fn what_the_api_server_said() {
    let say = |kind: Kind, name: &str, outcome: Outcome| {
        let mut s = written(&json!({}));
        all_ready(&mut s);
        let key = (kind, name.to_owned());
        s.owned.remove(&key);
        s.memory.answers.get_mut(&key).unwrap().outcome = outcome;
        s
    };
    let s = say(Kind::Service, "grafana", Outcome::Foreign(String::new()));
    assert_says(
        &s,
        "GrafanaReady",
        "False",
        "NameTaken",
        "Service grafana is there already and does not belong",
    );
    assert_says(&s, "PrometheusReady", "True", "Ready", "");
    assert_says(&s, "Ready", "False", "NameTaken", "GrafanaReady: Service grafana");
    let s = say(Kind::StatefulSet, "metrics-proxy", Outcome::Refused("exceeded quota: q".to_owned()));
    assert_says(&s, "ProxyReady", "False", "Refused", "was refused: exceeded quota: q; change spec.proxy");
    let s = say(
        Kind::PersistentVolumeClaim,
        "data-metrics-proxy-0",
        Outcome::Refused("storageclass \"x\" not found".to_owned()),
    );
    assert_says(
        &s,
        "ProxyReady",
        "False",
        "StorageUnavailable",
        "storageclass \"x\" not found; change spec.proxy.storage",
    );
    // A Secret of the user's own under that name is used.
    let mut s = written(&json!({}));
    all_ready(&mut s);
    let key = (Kind::Secret, "grafana".to_owned());
    s.memory.answers.get_mut(&key).unwrap().outcome = Outcome::Foreign(String::new());
    assert_says(&s, "GrafanaReady", "True", "Ready", "");
    // An answer to what is no longer asked says nothing.
    let mut s = say(Kind::Service, "grafana", Outcome::Refused("no".to_owned()));
    let answer = s.memory.answers.get_mut(&(Kind::Service, "grafana".to_owned())).unwrap();
    *answer = Answer { digest: "other".to_owned(), ..answer.clone() };
    assert_says(&s, "GrafanaReady", "True", "Ready", "");
}

#[test]
fn kinds_that_the_cluster_does_not_know() {
    let mut s = written(&super::external());
    all_ready(&mut s);
    assert_says(&s, "PrometheusReady", "True", "External", "run by somebody else");
    let key = (Kind::ServiceMonitor, "millrace-monitoring".to_owned());
    s.memory.answers.get_mut(&key).unwrap().outcome = Outcome::KindMissing;
    assert_says(
        &s,
        "PrometheusReady",
        "False",
        "KindMissing",
        "does not know ServiceMonitor (monitoring.coreos.com/v1): install the operator that brings it",
    );
}

#[test]
fn a_lost_volume() {
    let mut s = written(&json!({}));
    all_ready(&mut s);
    let live = s.owned.get_mut(&(Kind::PersistentVolumeClaim, "prometheus-data".to_owned())).unwrap();
    Arc::make_mut(live)["status"] = json!({"phase": "Lost"});
    assert_says(
        &s,
        "PrometheusReady",
        "False",
        "StorageUnavailable",
        "delete the PersistentVolumeClaim prometheus-data",
    );
}

#[test]
fn a_workload_is_ready_when_its_newest_form_is() {
    for (status, ready) in [
        (json!({"observedGeneration": 1, "readyReplicas": 1, "updatedReplicas": 1}), true),
        (json!({"observedGeneration": 0, "readyReplicas": 1, "updatedReplicas": 1}), false),
        (json!({"observedGeneration": 1, "readyReplicas": 1, "updatedReplicas": 0}), false),
        (json!({"observedGeneration": 1, "updatedReplicas": 1}), false),
        (json!({}), false),
    ] {
        let mut s = written(&json!({}));
        all_ready(&mut s);
        let live = s.owned.get_mut(&(Kind::Deployment, "grafana".to_owned())).unwrap();
        Arc::make_mut(live)["status"] = status.clone();
        let (is, reason, _) = condition(&s, "GrafanaReady").unwrap();
        let wanted = if ready { ("True", "Ready") } else { ("False", "Progressing") };
        assert_eq!((is.as_str(), reason.as_str()), wanted, "{status}");
    }
}

/// Else `kubectl wait` right after a change would be satisfied by what was before.
#[test]
fn a_change_that_is_being_written_is_not_ready() {
    let mut s = written(&json!({}));
    all_ready(&mut s);
    settle(&mut s);
    change(&mut s, &json!({"prometheus": {"retention": {"time": "30d"}}}));
    assert_says(&s, "PrometheusReady", "False", "Progressing", "a change of it is being written");
    assert_says(&s, "GrafanaReady", "True", "Ready", "");
}

#[test]
fn disabled_parts_have_no_condition() {
    let mut s = written(&json!({}));
    assert!(condition(&s, "InfluxDBReady").is_none() && condition(&s, "WavefrontReady").is_none());
    change(&mut s, &json!({"grafana": {"mode": "Disabled"}, "influxdb": {"mode": "Managed"}}));
    assert!(condition(&s, "GrafanaReady").is_none());
    assert!(condition(&s, "InfluxDBReady").is_some());
}

#[test]
fn what_others_run_and_cannot_be_connected_to() {
    let spec = json!({
        "prometheus": {"mode": "External", "external": {"url": "http://p.team-b:9090"}},
        "proxy": {"mode": "External", "external": {"host": "fd00::1", "pushUrl": "http://push:9091"}},
    });
    let mut s = written(&spec);
    all_ready(&mut s);
    settle(&mut s);
    let address = |host: &str, port: u16| (host.to_owned(), port);
    let (prometheus, door) = (address("p.team-b", 9090), address("fd00::1", 7001));
    let push = address("push.team-a.svc", 9091);
    assert_says(&s, "PrometheusReady", "True", "External", "run by somebody else");
    s.reached = [(prometheus.clone(), Err("connection refused")), (door.clone(), Ok(()))].into();
    assert_says(
        &s,
        "PrometheusReady",
        "False",
        "Unreachable",
        "cannot connect to p.team-b:9090: connection refused; check spec.prometheus.external",
    );
    assert_says(&s, "ProxyReady", "True", "External", "");
    s.reached.extend([(door.clone(), Err("no route to it")), (push, Err("its name is not known"))]);
    let both = "cannot connect to [fd00::1]:7001: no route to it, push.team-a.svc:9091: its name is not known; check";
    assert_says(&s, "ProxyReady", "False", "Unreachable", both);
    assert_says(&s, "Ready", "True", "Ready", "all parts that the operator runs are ready");
    assert_eq!(decide(&s).warnings.len(), 2);
    settle(&mut s);
    // The next process has not tried yet; another spec has nothing to do with it.
    let known = std::mem::take(&mut s.reached);
    assert!(decide(&s).status.is_none());
    let mut other = s.clone();
    Arc::make_mut(&mut other.stack).metadata.generation = Some(2);
    assert_says(&other, "ProxyReady", "True", "External", "");
    s.reached = known;
    assert!(decide(&s).status.is_none());
    s.reached.values_mut().for_each(|found| *found = Ok(()));
    assert_says(&s, "ProxyReady", "True", "External", "");
    s.reached.insert(door, Err("connection refused"));
    Arc::make_mut(&mut s.installation).check_external = false;
    assert_says(&s, "ProxyReady", "True", "External", "");
}
