//! Launches per second, beside the bare client.

use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use millrace::api::{TaskLaunch, TaskLaunchStatus};
use serde_json::Value;

use crate::Effort;
use crate::bare;
use crate::cluster::Cluster;
use crate::figures::{Figure, Wanted};
use crate::launches;
use crate::operator::{Operator, Requests};
use crate::process::median;

/// Launches of one round.
const LAUNCHES: usize = 2000;
/// How often the operator is asked how far it is: what an answer costs is not to be seen in the result.
const ASKED: Duration = Duration::from_millis(50);

/// Each per second.
#[derive(Default)]
struct Rates {
    bare_jobs: Vec<f64>,
    bare_pairs: Vec<f64>,
    jobs: Vec<f64>,
    ends: Vec<f64>,
    cpu: Vec<f64>,
}

pub async fn run(cluster: &Cluster, effort: Effort) -> Vec<Figure> {
    let number = LAUNCHES / effort.divisor;
    let (job, status) = learn(cluster).await;
    let mut rates = Rates::default();
    for round in 0..effort.rounds {
        one_round(cluster, &format!("round-{round}"), number, &job, &status, &mut rates).await;
    }
    figures(&rates)
}

/// A Job and a final status as the operator writes them.
async fn learn(cluster: &Cluster) -> (Value, TaskLaunchStatus) {
    cluster.namespace("learn").await;
    cluster.define("learn", 100_000).await;
    let _operator = Operator::start(cluster).await;
    launches::create(cluster, "learn", 0, 1).await;
    launches::jobs(cluster, "learn", 1).await;
    let job: Vec<Job> = cluster.all("learn").await;
    launches::end_jobs(cluster, "learn").await;
    launches::over(cluster, "learn", 1).await;
    let launch: Vec<TaskLaunch> = cluster.all("learn").await;
    (bare::like(&job[0]), launch[0].status.clone().unwrap())
}

/// The operator's work is cut in two, since nothing that plays Job controller shall run beside it: it makes all
/// Jobs, is stopped while they end, and then writes how they ended.
async fn one_round(
    cluster: &Cluster,
    namespace: &str,
    number: usize,
    job: &Value,
    status: &TaskLaunchStatus,
    rates: &mut Rates,
) {
    let rate = |seconds: f64| number as f64 / seconds;
    cluster.namespace(namespace).await;
    cluster.define(namespace, 100_000).await;
    rates.bare_jobs.push(rate(bare::create_jobs(&cluster.client, namespace, job, number).await));
    cluster.clear::<Job>(namespace).await;

    launches::create(cluster, namespace, 0, number).await;
    let operator = Operator::start(cluster).await;
    rates
        .jobs
        .push(counted(&operator, number, |r| r.count(|v, r, c| (v, r, c) == ("create", "jobs", 201))).await);
    launches::jobs(cluster, namespace, number).await;
    let cpu = operator.cpu();
    drop(operator);
    launches::end_jobs(cluster, namespace).await;
    let operator = Operator::start(cluster).await;
    let ended = |r: &Requests| r.count(|v, r, c| (v, r, c) == ("patch", "tasklaunches/status", 200));
    rates.ends.push(counted(&operator, number, ended).await);
    launches::over(cluster, namespace, number).await;
    rates.cpu.push((cpu + operator.cpu()) * 1000.0 / number as f64);
    drop(operator);

    let all: Vec<TaskLaunch> = cluster.all(namespace).await;
    rates.bare_pairs.push(rate(bare::create_and_end(&cluster.client, namespace, job, &all, status).await));
    cluster.clear::<TaskLaunch>(namespace).await;
    cluster.clear::<Job>(namespace).await;
    cluster.clear::<Pod>(namespace).await;
}

/// How many per second, from the first that is counted to the last.
async fn counted(operator: &Operator, number: usize, count: impl Fn(&Requests) -> f64) -> f64 {
    let deadline = Instant::now() + Duration::from_mins(5);
    let mut first = None;
    loop {
        let done = count(&operator.requests().await);
        let now = Instant::now();
        if done > 0.0 {
            let (then, before) = *first.get_or_insert((now, done));
            if done >= number as f64 {
                return (done - before) / (now - then).as_secs_f64();
            }
        }
        assert!(now < deadline, "only {done} of {number}");
        tokio::time::sleep(ASKED).await;
    }
}

fn figures(rates: &Rates) -> Vec<Figure> {
    let ratio =
        |ours: &[f64], bare: &[f64]| median(&ours.iter().zip(bare).map(|(a, b)| a / b).collect::<Vec<_>>());
    // One after the other: the time of a launch is the time of its Job and the time of its end.
    let whole: Vec<f64> =
        rates.jobs.iter().zip(&rates.ends).map(|(a, b)| 1.0 / (1.0 / a + 1.0 / b)).collect();
    vec![
        Figure::new(
            "launches turned into Jobs per second ÷ bare",
            ratio(&rates.jobs, &rates.bare_jobs),
            "",
            Wanted::AtLeast(0.75, 0.9),
        ),
        Figure::new(
            "launches to their final status per second ÷ bare",
            ratio(&whole, &rates.bare_pairs),
            "",
            Wanted::AtLeast(0.85, 1.0),
        ),
        Figure::note("launches turned into Jobs", median(&rates.jobs), "per s"),
        Figure::note("Jobs that the bare client creates", median(&rates.bare_jobs), "per s"),
        Figure::note("launches to their final status", median(&whole), "per s"),
        Figure::note(
            "pairs of Job and status that the bare client writes",
            median(&rates.bare_pairs),
            "per s",
        ),
        Figure::new("CPU of 1,000 launches in a burst", median(&rates.cpu), "s", Wanted::AtMost(2.0, 1.0)),
    ]
}
