//! What the steps of a pull cost, each alone, in this process: they explain the other figures.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use millrace::proxy::crypto::KeyPair;
use millrace::proxy::exposition::{Exposed, Format, Interner, Labels, Merge, build};

use crate::Effort;
use crate::figures::Figure;
use crate::measure::median;
use crate::support::client::Sealer;
use crate::texts;

/// Applications that are worked on in turns.
const APPS: usize = 100;

pub fn run(effort: Effort) -> Vec<Figure> {
    let (keys, _) = KeyPair::generate().unwrap();
    let sealer = Sealer::new(&keys.public());
    let all: Vec<String> = (0..APPS).map(|app| texts::text(app, 0, 100)).collect();
    let payloads: Vec<_> = all.iter().map(|text| sealer.seal(text)).collect();
    let interner = Interner::default();
    let read = |text: &String| build(text.as_bytes(), &Labels::new(), &interner).body;
    // As long as they are kept their families are known.
    let kept: Vec<_> = all.iter().map(|text| Arc::new(read(text))).collect();
    let series: usize = kept.iter().map(|body| body.series()).sum();
    let bodies = || {
        let exposed =
            |body| Exposed { body, taken_ms: Some(1_700_000_000_000), since: 1.7e9, identified: true };
        kept.iter().cloned().map(exposed).collect::<Vec<_>>()
    };
    let rounds = 4 * effort.rounds;
    let opened = each(rounds, || payloads.iter().for_each(|s| drop(black_box(keys.open(s, 1 << 20)))));
    let built = each(rounds, || all.iter().for_each(|text| drop(black_box(read(text)))));
    let written = each(rounds, || {
        let (mut merge, mut out) = (Merge::new(bodies(), Format::Text), Vec::new());
        while merge.write(&mut out, 64 << 10) {
            out.clear();
        }
    });
    vec![
        Figure::note("decrypt and decompress one body of 100 series", opened / APPS as f64 * 1e6, "µs"),
        Figure::note("read one body of 100 series", built / APPS as f64 * 1e6, "µs"),
        Figure::note("write one series of a scrape", written / series as f64 * 1e9, "ns"),
    ]
}

/// Seconds, the median of some rounds.
fn each(rounds: usize, mut work: impl FnMut()) -> f64 {
    let took = (0..rounds).map(|_| {
        let begun = Instant::now();
        work();
        begun.elapsed().as_secs_f64()
    });
    median(&took.collect::<Vec<_>>())
}
