//! Connections without their metrics: a burst of them, and what an idle one takes.

use std::time::Instant;

use millrace::proxy::wire::Payload;

use crate::Effort;
use crate::apps::{self, Apps};
use crate::figures::{Figure, Wanted};
use crate::measure::{self, median};
use crate::support::client::{Client, Sealer};
use crate::support::proxy::Proxy;
use crate::texts;

pub async fn run(effort: Effort) -> Vec<Figure> {
    let mut figures = burst(effort).await;
    figures.extend(idle(effort).await);
    figures
}

async fn burst(effort: Effort) -> Vec<Figure> {
    let number = 2000 / effort.divisor;
    let (mut seconds, mut closed) = (Vec::new(), 0);
    for _ in 0..effort.rounds {
        let proxy = Proxy::start(&[]).await;
        // Made before: the clients' work is not the proxy's.
        let key = Client::connect(proxy.tcp).await.unwrap().key;
        let sealer = Sealer::new(&key);
        let bodies = (0..number).map(|app| vec![sealer.seal(&texts::text(app, 0, 100))]).collect();
        let begun = Instant::now();
        let apps = Apps::connect(proxy.tcp, 0..number, number, &apps::made(bodies));
        seconds.push((apps.keys(60).await - begun).as_secs_f64());
        // Each was pulled once more by now: none was forgotten.
        apps.answered(60, 2).await;
        closed += apps.closed();
    }
    let name = format!("burst of {number} connections");
    vec![
        Figure::new(
            format!("{name}: until the last has its key"),
            median(&seconds),
            "s",
            Wanted::AtMost(2.0, 0.5),
        ),
        Figure::new(format!("{name}: connections closed"), closed as f64, "", Wanted::AtMost(0.0, 0.0)),
    ]
}

/// Applications that have nothing to show: their connections are all that they take.
async fn idle(effort: Effort) -> Vec<Figure> {
    let number = 5000 / effort.divisor;
    let mut each = Vec::new();
    for _ in 0..effort.rounds.min(3) {
        let mut proxy = Proxy::start(&[]).await;
        let process = proxy.process().id();
        let key = Client::connect(proxy.tcp).await.unwrap().key;
        let empty: Vec<Payload> = vec![Sealer::new(&key).seal("")];
        let before = measure::resident(process);
        let apps = Apps::connect(proxy.tcp, 0..number, 64, &apps::made(vec![empty; number]));
        apps.keys(120).await;
        apps.answered(120, 2).await;
        each.push((measure::resident(process) - before) / number as f64 / 1024.0);
    }
    let name = format!("idle memory per connection, {number} connections");
    vec![Figure::new(name, median(&each), "KiB", Wanted::AtMost(8.0, 3.0))]
}
