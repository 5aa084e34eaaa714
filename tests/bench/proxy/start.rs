//! From the start of the process to its being ready, with nothing in its store and with 10,000 final bodies.

use std::time::Instant;

use futures::future::join_all;

use crate::Effort;
use crate::figures::{Figure, Wanted};
use crate::measure::{self, median};
use crate::support::client::{Client, Sealer};
use crate::support::proxy::Proxy;
use crate::texts;

/// Connections through which the store is filled.
const FILLERS: usize = 50;

pub async fn run(effort: Effort) -> Vec<Figure> {
    let number = 10_000 / effort.divisor;
    let mut proxy = Proxy::start(&[]).await;
    let empty = starts(&mut proxy, effort).await;
    fill(&proxy, number).await;
    let full = starts(&mut proxy, effort).await;
    let shown = measure::scrape(proxy.http, false).await;
    assert!(shown.lines >= number * 99, "every final body is there again: {shown:?}");
    vec![
        Figure::new("start to ready", empty * 1000.0, "ms", Wanted::AtMost(100.0, 30.0)),
        Figure::new(
            format!("start to ready with {number} stored finals"),
            full,
            "s",
            Wanted::AtMost(2.0, 0.5),
        ),
    ]
}

/// Killed and started again on the same folder, seconds.
async fn starts(proxy: &mut Proxy, effort: Effort) -> f64 {
    let mut took = Vec::new();
    for _ in 0..effort.rounds {
        proxy.kill();
        let begun = Instant::now();
        proxy.start_again().await;
        took.push(begun.elapsed().as_secs_f64());
    }
    median(&took)
}

async fn fill(proxy: &Proxy, number: usize) {
    let tasks = (0..FILLERS).map(|filler| {
        let to = proxy.tcp;
        tokio::spawn(async move {
            let mut client = Client::connect(to).await.unwrap();
            let sealer = Sealer::new(&client.key);
            for app in (filler..number).step_by(FILLERS) {
                client.push(&sealer.seal(&texts::text(app, 0, 100))).await.unwrap();
            }
        })
    });
    for filled in join_all(tasks).await {
        filled.unwrap();
    }
}
