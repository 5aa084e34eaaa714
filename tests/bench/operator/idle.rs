//! An operator that has nothing to do.

use std::time::Duration;

use crate::Effort;
use crate::cluster::Cluster;
use crate::figures::{Figure, Wanted};
use crate::operator::Operator;
use crate::process::{MIB, median};

/// What it took in a time in which nothing was to be done.
pub struct Idle {
    /// Cores.
    pub cpu: f64,
    /// To the API server.
    pub writes: f64,
    /// Not watches, which are open for minutes.
    pub reads: f64,
}

/// Measures for so long.
pub async fn idle(operator: &Operator, time: Duration) -> Idle {
    let (cpu, before) = (operator.cpu(), operator.requests().await);
    tokio::time::sleep(time).await;
    let made = operator.requests().await.since(&before);
    Idle { cpu: (operator.cpu() - cpu) / time.as_secs_f64(), writes: made.writes(), reads: made.reads() }
}

pub async fn run(cluster: &Cluster, effort: Effort) -> Vec<Figure> {
    let mut starts = Vec::new();
    for _ in 0..effort.rounds {
        starts.push(Operator::start(cluster).await.ready);
    }
    let operator = Operator::start(cluster).await;
    let minutes = if effort.rounds == 1 { 15 } else { 120 };
    let seen = idle(&operator, Duration::from_secs(minutes)).await;
    let binary = std::fs::metadata(env!("CARGO_BIN_EXE_millrace")).unwrap().len();
    vec![
        Figure::new("idle: memory", operator.memory() / MIB, "MiB", Wanted::AtMost(25.0, 12.0)),
        Figure::new("idle: CPU", seen.cpu, "cores", Wanted::AtMost(0.005, 0.001)),
        Figure::new("idle: writes", seen.writes, "", Wanted::AtMost(0.0, 0.0)),
        Figure::new("size of the binary", binary as f64 / MIB, "MiB", Wanted::AtMost(25.0, 15.0)),
        Figure::new(
            "start to ready on an empty cluster",
            median(&starts),
            "ms",
            Wanted::AtMost(300.0, 100.0),
        ),
    ]
}
