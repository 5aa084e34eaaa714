//! Specs in, objects and plans out.

mod build;
mod health;
mod hostile;
mod plan;
mod select;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object::{Kind, Object, as_kept};
use super::select::Acceptance;
use super::{
    Answer, Installation, Outcome, Stack, StackMemory, StackPlan, StackSnapshot, TaskFilter, decide,
};
use crate::api::TaskMonitoringSpec;
use crate::api::seen::{Guarded, SeenMonitoring, SeenStackPod};

const UID: &str = "11111111-1111-1111-1111-111111111111";

fn installation() -> Installation {
    Installation {
        proxy_image: "example.com/millrace:0.1.0".to_owned(),
        operator_metrics: Some("millrace.millrace-system.svc:8080".to_owned()),
        operator_namespace: "millrace-system".to_owned(),
        cluster_scope_namespaces: Vec::new(),
        integrations: true,
        check_external: true,
    }
}

/// A stack that was just created.
fn fresh(spec: &Value) -> StackSnapshot {
    StackSnapshot {
        now: Timestamp::from_second(1_700_000_000).unwrap(),
        stack: Arc::new(stack(spec)),
        acceptance: Acceptance::Accepted,
        installation: Arc::new(installation()),
        owned: BTreeMap::new(),
        pods: Vec::new(),
        filters: Vec::new(),
        series_per_run: None,
        reached: BTreeMap::new(),
        memory: StackMemory::default(),
    }
}

fn stack(spec: &Value) -> SeenMonitoring {
    serde_json::from_value(json!({
        "metadata": {"name": "monitoring", "namespace": "team-a", "uid": UID, "generation": 1},
        "spec": spec,
    }))
    .unwrap()
}

/// What a spec is built into.
fn built(spec: &Value) -> Vec<Object> {
    built_with(spec, &[])
}

fn built_with(spec: &Value, filters: &[TaskFilter]) -> Vec<Object> {
    let spec: TaskMonitoringSpec = serde_json::from_value(spec.clone()).unwrap();
    let installation = installation();
    super::build(&Stack {
        name: "monitoring",
        namespace: "team-a",
        uid: UID,
        spec: &spec,
        installation: &installation,
        filters,
    })
}

fn find<'a>(objects: &'a [Object], kind: Kind, name: &str) -> &'a Value {
    let found = objects.iter().find(|o| o.kind == kind && o.name == name);
    &found.unwrap_or_else(|| panic!("no {kind:?} {name}")).body
}

/// Carries a plan out as the API server would, and notes what an operator would see and remember.
fn carry_out(s: &mut StackSnapshot, plan: &StackPlan) {
    for object in &plan.apply {
        let version = format!("{}", s.owned.len() + s.memory.answers.len() + 1);
        if object.kind.is_watched() {
            let mut live = object.body.clone();
            live["metadata"]["uid"] = json!(format!("{:?}/{}", object.kind, object.name));
            live["metadata"]["resourceVersion"] = json!(version);
            live["metadata"]["generation"] = json!(1);
            as_kept(object.kind, &mut live);
            s.owned.insert(object.key(), Arc::new(live));
        }
        let outcome = Outcome::Taken(version);
        let answer = Answer { at: s.now, digest: object.digest().to_owned(), outcome };
        s.memory.answers.insert(object.key(), answer);
    }
    for gone in &plan.delete {
        let live = s.owned.remove(&(gone.kind, gone.name.clone())).unwrap();
        assert_eq!(live["metadata"]["uid"], json!(gone.uid));
    }
    for key in &plan.strays {
        let answer = Answer { at: s.now, digest: String::new(), outcome: Outcome::Absent };
        s.memory.answers.insert(key.clone(), answer);
    }
    if let Some(status) = &plan.status {
        let stack = SeenMonitoring { status: Guarded::Read((**status).clone()), ..(*s.stack).clone() };
        s.stack = Arc::new(stack);
    }
}

/// Decides and carries out until nothing is to be done.
fn settle(s: &mut StackSnapshot) {
    for _ in 0..5 {
        let plan = decide(s);
        let to_do = (plan.apply.len(), plan.delete.len(), plan.strays.len());
        if to_do == (0, 0, 0) && plan.status.is_none() {
            return;
        }
        carry_out(s, &plan);
    }
    panic!("there is no end of it: {:?}", decide(s));
}

/// Gives the stack another spec.
fn change(s: &mut StackSnapshot, spec: &Value) {
    let mut next = stack(spec);
    next.status = s.stack.status.clone();
    s.stack = Arc::new(next);
}

/// Changes what is there, as somebody else would.
fn meddle(s: &mut StackSnapshot, kind: Kind, name: &str, pointer: &str, value: Value) {
    let live = s.owned.get_mut(&(kind, name.to_owned())).unwrap();
    let live = Arc::make_mut(live);
    *live.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    live["metadata"]["resourceVersion"] = json!("changed");
}

/// Says that the pods of all workloads are ready.
fn all_ready(s: &mut StackSnapshot) {
    for ((kind, _), live) in &mut s.owned {
        if matches!(kind, Kind::StatefulSet | Kind::Deployment) {
            let replicas = live["spec"]["replicas"].clone();
            Arc::make_mut(live)["status"] = json!({
                "observedGeneration": 1, "readyReplicas": replicas, "updatedReplicas": replicas,
            });
        }
    }
}

fn pod(part: &str, status: &Value) -> Arc<SeenStackPod> {
    let pod = json!({
        "metadata": {"name": "p", "labels": {"app.kubernetes.io/component": part, "millrace.dev/monitoring": "monitoring"}},
        "status": status,
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

/// Everything that can be switched on at once.
fn everything() -> Value {
    let pod = json!({
        "image": "registry.example.com/part:1",
        "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
        "nodeSelector": {"pool": "monitoring"},
        "tolerations": [{"key": "monitoring", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
    });
    let with = |more: Value| {
        let mut all = pod.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let kept = json!({"size": "20Gi", "storageClassName": "fast", "onDelete": "Delete"});
    json!({
        "scope": "Cluster",
        "metrics": {"keep": ["spring_.*", "jvm_.*"], "drop": ["jvm_gc_.*"]},
        "imagePullSecrets": ["registry"],
        "prometheus": with(json!({
            "storage": kept, "retention": {"time": "30d", "size": "10GB"}, "scrapeIntervalSeconds": 5,
            "alertmanagers": ["http://alertmanager.alerts.svc:9093/prefix"],
            "service": {"type": "NodePort", "port": 80, "nodePort": 30090},
        })),
        "proxy": with(json!({"replicas": 2, "storage": kept, "service": {"port": 7000}})),
        "grafana": with(json!({
            "storage": kept, "externalURL": "https://grafana.example.com/g",
            "adminSecret": {"name": "admin", "usernameKey": "u", "passwordKey": "p"},
            "service": {"type": "ClusterIP"},
        })),
        "influxdb": with(json!({"mode": "Managed", "storage": kept})),
        "wavefront": {"mode": "External", "external": {"url": "proxy://wavefront:2878"}},
    })
}

/// What others run, wherever that is possible; only the proxy is ours.
fn external() -> Value {
    json!({
        "prometheus": {"mode": "External", "external": {
            "url": "http://prometheus.monitoring.svc:9090", "discovery": "ServiceMonitor",
            "labels": {"release": "kube-prometheus-stack"},
        }},
        "grafana": {"mode": "External", "external": {
            "url": "https://grafana.example.com", "folder": "Tasks",
        }},
        "influxdb": {"mode": "External", "external": {
            "url": "http://influx:8086", "version": "V2", "org": "o", "bucket": "b",
            "token": {"name": "influx", "key": "token"},
        }},
    })
}
