//! Final pushes: how long one waits for its acknowledgement, and how many there are in a second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use millrace::proxy::wire::Payload;
use tokio::sync::Barrier;

use crate::Effort;
use crate::figures::{Figure, Wanted};
use crate::measure::{median, percentile};
use crate::support::client::{Client, Sealer};
use crate::support::proxy::Proxy;
use crate::texts;

/// Pushes that a percentile is made of.
const PUSHES: usize = 1000;
/// Applications that push one body after the other.
const AT_ONCE: usize = 50;
/// Bodies that each of them has, of a run of its own each.
const BODIES: usize = 20;
const SUSTAINED: Duration = Duration::from_secs(4);

/// A connected application with its bodies.
struct Pusher {
    client: Client,
    bodies: Vec<Payload>,
}

impl Pusher {
    async fn connect(to: SocketAddr, number: usize) -> Self {
        let client = Client::connect(to).await.unwrap();
        let sealer = Sealer::new(&client.key);
        let text = |body| texts::text(number * BODIES + body, 0, 100);
        Self { client, bodies: (0..BODIES).map(|body| sealer.seal(&text(body))).collect() }
    }

    async fn push(&mut self, body: usize) -> f64 {
        let begun = Instant::now();
        let body = &self.bodies[body % BODIES];
        self.client.push(body).await.unwrap();
        begun.elapsed().as_secs_f64()
    }
}

async fn pushers(to: SocketAddr, number: usize) -> Vec<Pusher> {
    let mut all = Vec::new();
    // One after the other: Java closes those that wait too long for their key.
    for i in 0..number {
        all.push(Pusher::connect(to, i).await);
    }
    all
}

pub async fn run(effort: Effort) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (at_once, must, aim) in [(10, 20.0, 8.0), (100, 150.0, 70.0)] {
        let (mut p99, mut p50) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds {
            let proxy = Proxy::start(&[]).await;
            let times = together(pushers(proxy.tcp, at_once).await, PUSHES / at_once).await;
            p99.push(percentile(&times, 99) * 1000.0);
            p50.push(median(&times) * 1000.0);
        }
        let name = format!("final push to acknowledgement, synced, {at_once} at once");
        figures.push(Figure::new(format!("{name}, p99"), median(&p99), "ms", Wanted::AtMost(must, aim)));
        figures.push(Figure::note(format!("{name}, median"), median(&p50), "ms"));
    }
    figures
}

/// All push at the same moment, again and again.
async fn together(all: Vec<Pusher>, times: usize) -> Vec<f64> {
    let barrier = Arc::new(Barrier::new(all.len()));
    let tasks = all.into_iter().map(|mut pusher| {
        let barrier = barrier.clone();
        tokio::spawn(async move {
            let mut took = Vec::new();
            for time in 0..times {
                barrier.wait().await;
                took.push(pusher.push(time).await);
            }
            took
        })
    });
    join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect()
}

/// Pushes per second when each application pushes again as soon as it is answered; ours keeps them on disk, Java on
/// its heap.
pub async fn sustained(effort: Effort, java: SocketAddr) -> Vec<Figure> {
    let proxy = Proxy::start(&[]).await;
    let mut ours = pushers(proxy.tcp, AT_ONCE).await;
    let mut theirs = pushers(java, AT_ONCE).await;
    // Java compiles what it does often.
    (_, theirs) = rate(theirs).await;
    let (mut us, mut they) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let pushed;
        (pushed, ours) = rate(ours).await;
        us.push(pushed);
        let pushed;
        (pushed, theirs) = rate(theirs).await;
        they.push(pushed);
    }
    let (us, they) = (median(&us), median(&they));
    vec![
        Figure::new(
            "final pushes per second, synced ÷ Java, unsynced",
            us / they,
            "",
            Wanted::AtLeast(1.0, 1.5),
        ),
        Figure::note("final pushes per second, ours", us, "/s"),
        Figure::note("final pushes per second, Java", they, "/s"),
    ]
}

async fn rate(all: Vec<Pusher>) -> (f64, Vec<Pusher>) {
    let begun = Instant::now();
    let tasks = all.into_iter().map(|mut pusher| {
        tokio::spawn(async move {
            let mut pushed = 0_usize;
            while begun.elapsed() < SUSTAINED {
                pusher.push(pushed).await;
                pushed += 1;
            }
            (pushed, pusher)
        })
    });
    let (pushed, all): (Vec<usize>, Vec<Pusher>) =
        join_all(tasks).await.into_iter().map(Result::unwrap).unzip();
    (pushed.iter().sum::<usize>() as f64 / begun.elapsed().as_secs_f64(), all)
}
