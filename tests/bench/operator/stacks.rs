//! What stacks cost. The controller manager works, so that Deployments and StatefulSets get their pods; nothing runs them.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::api::{Api, Patch, PatchParams, PostParams};
use millrace::api::TaskMonitoring;
use millrace::names::annotation;
use serde_json::json;

use crate::Effort;
use crate::cluster::{Cluster, from};
use crate::figures::{Figure, Wanted};
use crate::idle::idle;
use crate::operator::Operator;
use crate::process::{MIB, median, percentile};

/// Stacks of the largest measurement.
const STACKS: usize = 100;
/// Changes of one stack.
const CHANGES: usize = 20;
/// A stack is looked at again for a while after it was made.
const SETTLED: Duration = Duration::from_secs(45);

pub async fn run(cluster: &Cluster, effort: Effort) -> Vec<Figure> {
    cluster.start("kube-controller-manager");
    let operator = Operator::start(cluster).await;
    create(cluster, 0).await;
    tokio::time::sleep(SETTLED).await;
    let time = Duration::from_secs(if effort.rounds == 1 { 30 } else { 120 });
    let one = idle(&operator, time).await;
    let changes = changes(cluster, "stack-0").await;
    let number = STACKS / effort.divisor;
    for i in 1..number {
        create(cluster, i).await;
    }
    tokio::time::sleep(SETTLED).await;
    let many = idle(&operator, time).await;
    vec![
        Figure::new("idle with one stack: CPU", one.cpu, "cores", Wanted::AtMost(0.01, 0.001)),
        Figure::new("idle with one stack: writes", one.writes, "", Wanted::AtMost(0.0, 0.0)),
        Figure::new(
            "a stack's change until it is applied, slowest of 20",
            percentile(&changes, 100),
            "s",
            Wanted::AtMost(2.0, 0.5),
        ),
        Figure::note("the same, median", median(&changes), "s"),
        Figure::new(
            format!("memory with {number} stacks"),
            operator.memory() / MIB,
            "MiB",
            Wanted::AtMost(80.0, 40.0),
        ),
        Figure::note(format!("most memory with {number} stacks"), operator.peak() / MIB, "MiB"),
        Figure::new(
            format!("idle with {number} stacks: CPU"),
            many.cpu,
            "cores",
            Wanted::AtMost(0.01, 0.001),
        ),
        Figure::new(format!("idle with {number} stacks: writes"), many.writes, "", Wanted::AtMost(0.0, 0.0)),
        Figure::note(format!("idle with {number} stacks: reads"), many.reads, ""),
    ]
}

/// A stack with an empty spec in a namespace of its own; returns once its parts are there.
async fn create(cluster: &Cluster, i: usize) {
    let namespace = format!("stack-{i}");
    cluster.bare_namespace(&namespace).await;
    let stack: TaskMonitoring = from(json!({"metadata": {"name": "monitoring"}, "spec": {}}));
    cluster.api::<TaskMonitoring>(&namespace).create(&PostParams::default(), &stack).await.unwrap();
    let there = async {
        loop {
            let deployments = cluster.all::<Deployment>(&namespace).await.len();
            if deployments + cluster.all::<StatefulSet>(&namespace).await.len() >= 3 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), there).await.expect("Prometheus, proxy and Grafana");
}

/// Seconds from each change of the spec until the Prometheus that it is for has another pod template.
async fn changes(cluster: &Cluster, namespace: &str) -> Vec<f64> {
    let stacks: Api<TaskMonitoring> = cluster.api(namespace);
    let prometheus: Api<StatefulSet> = cluster.api(namespace);
    let mut took = Vec::new();
    for i in 0..CHANGES {
        let before = configuration(&prometheus).await;
        let spec = json!({"spec": {"prometheus": {"scrapeIntervalSeconds": 5 + i}}});
        let begun = Instant::now();
        stacks.patch("monitoring", &PatchParams::default(), &Patch::Merge(&spec)).await.unwrap();
        let applied = async {
            while configuration(&prometheus).await == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), applied).await.expect("the change is applied");
        took.push(begun.elapsed().as_secs_f64());
    }
    took
}

async fn configuration(api: &Api<StatefulSet>) -> Option<String> {
    let set = api.get("prometheus").await.unwrap();
    let template = set.spec.template.metadata.unwrap();
    template.annotations.unwrap_or_default().remove(annotation::CONFIGURATION)
}
