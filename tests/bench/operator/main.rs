//! What the operator costs: `make bench-operator`. Each figure is measured on the real process and a real API server
//! (etcd and kube-apiserver; nothing runs pods), those that end with "÷ bare" on a client that does nothing but the same
//! writes, in the same run, in turns. `docs/performance.md` says what they mean.
//!
//! Arguments: names of sections (none means all), and `quick` for a rough look with fewer rounds and launches. Only a
//! whole run that is not quick writes `tests/bench/results/operator.json`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a measurement that cannot go on says so by panicking; counts are far below 2^52"
)]

mod bare;
mod cluster;
#[path = "../figures.rs"]
mod figures;
mod growth;
mod idle;
mod launches;
mod operator;
#[path = "../process.rs"]
#[allow(dead_code, reason = "shared with the bench of the proxy")]
mod process;
mod stacks;
mod throughput;

use std::time::Instant;

use cluster::Cluster;
use figures::Figure;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Of these the median is told.
    pub rounds: usize,
    /// Numbers of objects are divided by this.
    pub divisor: usize,
}

const SECTIONS: [&str; 4] = ["idle", "throughput", "growth", "stacks"];

#[allow(clippy::disallowed_methods, reason = "a program of its own reads its own arguments")]
fn main() {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let quick = words.iter().any(|word| word == "quick");
    let sections: Vec<&str> = SECTIONS
        .into_iter()
        .filter(|s| words.iter().all(|w| w == "quick") || words.iter().any(|w| w == s))
        .collect();
    if let Some(unknown) = words.iter().find(|w| *w != "quick" && !SECTIONS.contains(&w.as_str())) {
        eprintln!("unknown section {unknown:?}; there are: quick {}", SECTIONS.join(" "));
        std::process::exit(2);
    }
    let effort = if quick { Effort { rounds: 1, divisor: 10 } } else { Effort { rounds: 5, divisor: 1 } };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let figures = runtime.block_on(measure(&sections, effort));
    figures::print(&figures);
    if !quick && sections.len() == SECTIONS.len() {
        figures::write("operator.json", &figures);
    }
}

async fn measure(sections: &[&str], effort: Effort) -> Vec<Figure> {
    let mut figures = Vec::new();
    for section in sections {
        let begun = Instant::now();
        // A cluster of its own, so that no section measures what an earlier one left.
        let cluster = Cluster::up().await;
        figures.extend(match *section {
            "idle" => idle::run(&cluster, effort).await,
            "throughput" => throughput::run(&cluster, effort).await,
            "growth" => growth::run(&cluster, effort).await,
            _ => stacks::run(&cluster, effort).await,
        });
        eprintln!("{section}: {} s", begun.elapsed().as_secs());
    }
    figures
}
