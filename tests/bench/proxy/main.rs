//! What the metrics proxy costs: `make bench-proxy`. Each figure is measured on the real process, those that end with
//! "÷ Java" on the Java proxy 1.5.3 in the same run as well, in turns. `docs/performance.md` says what they mean.
//!
//! Arguments: names of sections (none means all), and `quick` for a rough look with one round instead of five. Only a
//! whole run that is not quick writes `tests/bench/results/proxy.json`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a measurement that cannot go on says so by panicking; counts are far below 2^52"
)]

mod apps;
mod doors;
#[path = "../figures.rs"]
mod figures;
mod large;
mod measure;
#[path = "../process.rs"]
#[allow(dead_code, reason = "shared with the bench of the operator")]
mod process;
mod pushes;
mod side_by_side;
mod start;
mod steps;
#[path = "../../proxy/support/mod.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod support;
mod texts;

use std::time::Instant;

use figures::Figure;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Of these the median is told.
    pub rounds: usize,
    /// Connections and bodies of the largest measurements are divided by this.
    pub divisor: usize,
}

const SECTIONS: [&str; 6] = ["steps", "java", "doors", "pushes", "start", "large"];

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
    let mut figures: Vec<Figure> = Vec::new();
    for section in &sections {
        let begun = Instant::now();
        figures.extend(match *section {
            "steps" => steps::run(effort),
            "java" => runtime.block_on(side_by_side::run(effort)),
            "doors" => runtime.block_on(doors::run(effort)),
            "pushes" => runtime.block_on(pushes::run(effort)),
            "start" => runtime.block_on(start::run(effort)),
            _ => runtime.block_on(large::run(effort)),
        });
        eprintln!("{section}: {} s", begun.elapsed().as_secs());
    }
    figures::print(&figures);
    if !quick && sections.len() == SECTIONS.len() {
        figures::write("proxy.json", &figures);
    }
}
