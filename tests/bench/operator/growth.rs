//! How the cost of a launch, of memory and of a restart grows with what is kept of finished launches.

use std::collections::HashMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use k8s_openapi::api::batch::v1::Job;
use kube::api::PostParams;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use millrace::api::TaskLaunch;
use millrace::names::label;
use tokio::sync::mpsc;

use crate::Effort;
use crate::cluster::Cluster;
use crate::figures::{Figure, Wanted};
use crate::launches;
use crate::operator::{Operator, Requests};
use crate::process::{MIB, median, percentile};

/// Finished launches at which all is measured.
const SIZES: [usize; 4] = [0, 100, 1000, 10_000];
/// Launches of one measurement of costs, and of how many at a time: each batch is over before it counts as long.
const COSTS: (usize, usize) = (1000, 100);
/// Launches of one measurement of latency, and the pause between two.
const PACED: (usize, Duration) = (100, Duration::from_millis(50));
/// After this time an operator that has just started has nothing left to do.
const SETTLED: Duration = Duration::from_secs(10);
/// Launches that are made while the operator is away are ended in portions.
const PORTION: usize = 1000;

const KEPT: &str = "kept";

/// At one size.
struct Seen {
    size: usize,
    ready: f64,
    restart_writes: f64,
    memory: f64,
    peak: f64,
    latency: f64,
    slow: f64,
    cost: Cost,
}

/// Of [`COSTS`] launches, each.
struct Cost {
    cpu: f64,
    writes: f64,
    reads: f64,
    failed: f64,
    events: f64,
    reconciles: f64,
}

pub async fn run(cluster: &Cluster, effort: Effort) -> Vec<Figure> {
    cluster.namespace(KEPT).await;
    cluster.define(KEPT, 100_000).await;
    let mut seen = Vec::new();
    let mut there = 0;
    for size in SIZES.map(|size| size / effort.divisor) {
        fill(cluster, there, size).await;
        there = size;
        seen.push(at(cluster, size, effort).await);
    }
    let clean_up = clean_up(cluster).await;
    figures(&seen, clean_up)
}

/// Finished launches, made by the operator.
async fn fill(cluster: &Cluster, from: usize, to: usize) {
    let operator = Operator::start(cluster).await;
    let mut done = from;
    while done < to {
        let next = (done + PORTION).min(to);
        launches::create(cluster, KEPT, done, next).await;
        launches::jobs(cluster, KEPT, next).await;
        launches::end_jobs(cluster, KEPT).await;
        launches::over(cluster, KEPT, next).await;
        done = next;
    }
    drop(operator);
}

async fn at(cluster: &Cluster, size: usize, effort: Effort) -> Seen {
    let mut starts = Vec::new();
    for _ in 0..effort.rounds {
        starts.push(Operator::start(cluster).await.ready);
    }
    let operator = Operator::start(cluster).await;
    tokio::time::sleep(SETTLED).await;
    let restart_writes = operator.requests().await.writes();
    let (memory, peak) = (operator.memory(), operator.peak());
    let latencies = latencies(cluster, &format!("paced-{size}"), PACED.0 / effort.divisor.min(4)).await;
    let cost = cost(cluster, &operator, &format!("costs-{size}"), COSTS.0 / effort.divisor).await;
    let (latency, slow) = (median(&latencies), percentile(&latencies, 99));
    Seen { size, ready: median(&starts), restart_writes, memory, peak, latency, slow, cost }
}

/// Milliseconds from the request that creates a launch to the event of its Job, both as this process sees them.
async fn latencies(cluster: &Cluster, namespace: &str, number: usize) -> Vec<f64> {
    cluster.namespace(namespace).await;
    cluster.define(namespace, 100_000).await;
    let mut seen = job_events(cluster, namespace).await;
    let (api, mut sent) = (cluster.api::<TaskLaunch>(namespace), HashMap::new());
    let mut pace = tokio::time::interval(PACED.1);
    for i in 0..number {
        pace.tick().await;
        let name = format!("paced-{i}");
        sent.insert(name.clone(), Instant::now());
        api.create(&PostParams::default(), &launches::launch(&name)).await.unwrap();
    }
    let mut latencies = Vec::new();
    while latencies.len() < number {
        let (launch, at) = tokio::time::timeout(Duration::from_mins(1), seen.recv()).await.unwrap().unwrap();
        if let Some(sent) = sent.remove(&launch) {
            latencies.push((at - sent).as_secs_f64() * 1000.0);
        }
    }
    tidy(cluster, namespace, number).await;
    latencies
}

/// Which launch got a Job, and when that was seen. Returns once the watch is open.
async fn job_events(cluster: &Cluster, namespace: &str) -> mpsc::UnboundedReceiver<(String, Instant)> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let api: Api<PartialObjectMeta<Job>> = Api::namespaced(cluster.client.clone(), namespace);
    tokio::spawn(async move {
        let mut events = pin!(watcher(api, watcher::Config::default()));
        while let Some(event) = events.try_next().await.unwrap() {
            let launch = match event {
                watcher::Event::Apply(job) => job.labels().get(label::LAUNCH).cloned(),
                watcher::Event::InitDone => Some(String::new()),
                _ => None,
            };
            if launch.is_some_and(|launch| sender.send((launch, Instant::now())).is_err()) {
                return;
            }
        }
    });
    let first = receiver.recv().await.unwrap();
    assert_eq!(first.0, "", "the watch is open");
    receiver
}

/// Ends what a measurement began, and removes it.
async fn tidy(cluster: &Cluster, namespace: &str, number: usize) {
    launches::end_jobs(cluster, namespace).await;
    launches::over(cluster, namespace, number).await;
    cluster.clear::<TaskLaunch>(namespace).await;
    cluster.clear::<Job>(namespace).await;
    cluster.clear::<k8s_openapi::api::core::v1::Pod>(namespace).await;
}

/// What launches cost that end within seconds, in batches.
async fn cost(cluster: &Cluster, operator: &Operator, namespace: &str, number: usize) -> Cost {
    cluster.namespace(namespace).await;
    cluster.define(namespace, 100_000).await;
    let (cpu, before, reconciles) = (operator.cpu(), operator.requests().await, operator.reconciles().await);
    for from in (0..number).step_by(COSTS.1) {
        let to = (from + COSTS.1).min(number);
        launches::create(cluster, namespace, from, to).await;
        launches::jobs(cluster, namespace, to).await;
        launches::end_jobs(cluster, namespace).await;
        launches::over(cluster, namespace, to).await;
    }
    let each = |of: f64| of / number as f64;
    let made: Requests = operator.requests().await.since(&before);
    let cost = Cost {
        cpu: each(operator.cpu() - cpu) * 1000.0,
        writes: each(made.writes()),
        reads: each(made.reads()),
        failed: each(made.failed_writes()),
        events: each(made.count(|_, resource, _| resource == "events")),
        reconciles: each(operator.reconciles().await - reconciles),
    };
    tidy(cluster, namespace, number).await;
    cost
}

/// Writes for each launch that a history limit lets go.
async fn clean_up(cluster: &Cluster) -> f64 {
    const NUMBER: usize = 100;
    const KEEP: usize = 10;
    cluster.namespace("history").await;
    cluster.define("history", KEEP).await;
    launches::create(cluster, "history", 0, NUMBER).await;
    let operator = Operator::start(cluster).await;
    launches::jobs(cluster, "history", NUMBER).await;
    launches::end_jobs(cluster, "history").await;
    let left = async {
        while cluster.all::<TaskLaunch>("history").await.len() > KEEP {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(3), left).await.expect("history goes");
    tokio::time::sleep(SETTLED).await;
    operator.requests().await.count(|verb, _, _| verb == "delete") / (NUMBER - KEEP) as f64
}

fn figures(seen: &[Seen], clean_up: f64) -> Vec<Figure> {
    let [empty, few, .., many] = seen else { panic!("too few sizes") };
    let per_launch = (many.memory - empty.memory) / many.size as f64 / 1024.0;
    let cost = &few.cost;
    let mut figures = vec![
        Figure::new(
            "writes per short launch until its final status",
            cost.writes,
            "",
            Wanted::AtMost(2.1, 2.0),
        ),
        Figure::new("writes per launch for clean-up", clean_up, "", Wanted::AtMost(1.0, 1.0)),
        Figure::new("reads per launch", cost.reads, "", Wanted::AtMost(0.0, 0.0)),
        Figure::new("failed writes per launch", cost.failed, "", Wanted::AtMost(0.01, 0.0)),
        Figure::new("events of ours per launch", cost.events, "", Wanted::AtMost(0.0, 0.0)),
        Figure::new("reconciles per launch", cost.reconciles, "", Wanted::AtMost(6.0, 4.0)),
        Figure::new("CPU of 1,000 launches", cost.cpu, "s", Wanted::AtMost(2.0, 1.0)),
        Figure::new(
            format!("CPU per launch with {} kept ÷ with {}", many.size, few.size),
            many.cost.cpu / cost.cpu,
            "",
            Wanted::AtMost(1.2, 1.0),
        ),
        Figure::new("memory per launch held", per_launch, "KiB", Wanted::AtMost(4.0, 2.0)),
        Figure::new(
            format!("memory with {} kept", many.size),
            many.memory / MIB,
            "MiB",
            Wanted::AtMost(60.0, 40.0),
        ),
        Figure::new(
            format!("start to ready with {} kept", many.size),
            many.ready / 1000.0,
            "s",
            Wanted::AtMost(10.0, 3.0),
        ),
        Figure::new(
            format!("writes of a restart with {} kept", many.size),
            many.restart_writes,
            "",
            Wanted::AtMost(0.0, 0.0),
        ),
    ];
    for at in seen {
        let wanted =
            if at.size == 0 || at.size == many.size { Wanted::AtMost(60.0, 30.0) } else { Wanted::Nothing };
        figures.push(Figure::new(
            format!("launch created to Job created, p50, {} kept", at.size),
            at.latency,
            "ms",
            wanted,
        ));
        figures.push(Figure::note(format!("the same, p99, {} kept", at.size), at.slow, "ms"));
        figures.push(Figure::note(format!("memory, {} kept", at.size), at.memory / MIB, "MiB"));
        figures.push(Figure::note(format!("most memory of a start, {} kept", at.size), at.peak / MIB, "MiB"));
        figures.push(Figure::note(format!("start to ready, {} kept", at.size), at.ready, "ms"));
        figures.push(Figure::note(format!("CPU of 1,000 launches, {} kept", at.size), at.cost.cpu, "s"));
    }
    figures
}
