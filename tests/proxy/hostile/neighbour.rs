//! Those who mean well, beside those who do not: an application, a scraper and a pusher, each with its deadline.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::client::{Client, seal};
use crate::support::http;
use crate::support::proxy::{Proxy, SCRAPE};

/// As long as the Java client waits for its key, and for the answer to its push.
const CLIENT: Duration = Duration::from_secs(5);
/// As long as a Prometheus waits by default.
const SCRAPER: Duration = Duration::from_secs(10);
/// Not that of the attackers: how often one address may connect is limited.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// They go on until they are stopped.
pub struct Neighbour {
    stop: Arc<AtomicBool>,
    work: JoinHandle<Served>,
}

/// The longest that each waited.
#[derive(Default)]
pub struct Served {
    rounds: u32,
    key: Duration,
    push: Duration,
    scrape: Duration,
    door: Duration,
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, key, push, scrape, door } = self;
        write!(f, "beside them, {rounds} rounds; at most: key {key:?}, final push {push:?}, ")?;
        write!(f, "scrape {scrape:?}, push door {door:?}")
    }
}

async fn timed<T>(
    limit: Duration,
    longest: &mut Duration,
    what: &str,
    of: impl Future<Output = Result<T, String>>,
) -> T {
    let begin = Instant::now();
    let result = timeout(limit, of).await.unwrap_or_else(|_| panic!("{what}: not within {limit:?}"));
    *longest = (*longest).max(begin.elapsed());
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}

impl Neighbour {
    pub fn start(proxy: &Proxy) -> Self {
        let (stop, places) = (Arc::new(AtomicBool::new(false)), [proxy.tcp, proxy.http, proxy.push]);
        let work = tokio::spawn(live(places, stop.clone()));
        Self { stop, work }
    }

    /// Panics if one of them was not served in time.
    pub async fn stop(self) -> Served {
        self.stop.store(true, Ordering::Relaxed);
        self.work.await.unwrap()
    }
}

async fn live([tcp, read, push]: [SocketAddr; 3], stop: Arc<AtomicBool>) -> Served {
    let mut served = Served::default();
    while !stop.load(Ordering::Relaxed) {
        served.rounds += 1;
        let run = format!("task_execution_id=\"{}\",task_external_execution_id=\"good\"", served.rounds);
        let connect = Client::connect_from(ADDRESS, tcp);
        let mut client = timed(CLIENT, &mut served.key, "the key", connect).await;
        let sealed = seal(&client.key, &format!("good_total{{{run}}} 1\n"));
        timed(CLIENT, &mut served.push, "the final push", client.push(&sealed)).await;
        client.close().await;
        let path = "/metrics/job/good/task.execution.id/d/task.external.execution.id/good";
        let body = format!("door_total {}\n", served.rounds);
        let pushed = http::with_body(push, "PUT", path, &[], body);
        assert_eq!(timed(CLIENT, &mut served.door, "the push door", pushed).await.status, 200);
        let scraped = http::get(read, "/metrics/connected?scraper=good", &[SCRAPE]);
        let answer = timed(SCRAPER, &mut served.scrape, "the scrape", scraped).await;
        assert!(answer.kind.starts_with("text/plain; version=0.0.4"), "{}", answer.kind);
        let shown = answer.text();
        assert!(shown.contains(&format!("good_total{{{run}}} 1.0 ")), "the push is not shown");
        assert!(shown.contains("door_total{"), "{shown}");
    }
    served
}
