//! Clients that are broken or mean harm, all against one proxy. Each is counted and logged, the proxy lives, its memory
//! is bounded, and applications, scrapers and pushers beside them are served within their time all the while.

mod attacks;
mod neighbour;

use std::fmt::Write;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, join_all};
use tokio::time::sleep;

use self::attacks::{Place, QUICK, SLOW};
use self::neighbour::Neighbour;
use crate::support::client::Client;
use crate::support::proxy::Proxy;
use crate::support::{check, eventually, within};

/// One kind of bad input.
pub struct Attack {
    /// What is done.
    pub what: &'static str,
    /// The series of the proxy's own metrics that counts it, and by how much at least.
    pub counted: (&'static str, f64),
    /// What its log says.
    pub logged: &'static str,
    /// Does it.
    pub run: fn(&Place) -> BoxFuture<'_, ()>,
}

/// More than before the attacks, resident, MiB: payloads of the largest size are on their way, and what the allocator
/// does not give back.
const MEMORY_MIB: u64 = 200;

/// The proxy writes ten lines of a kind in a second at most; each attack is to find room for its own.
const LINES_EVERY: Duration = Duration::from_millis(1100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_input_is_counted_and_logged_and_harms_nobody_else() {
    let mut proxy = Proxy::start(&[]).await;
    let place = Place { tcp: proxy.tcp, websocket: proxy.websocket, http: proxy.http, push: proxy.push };
    let neighbour = Neighbour::start(&proxy);
    let before = resident(proxy.process().id());
    let mut table = Table::default();
    // Those that the proxy waits for take a minute: all at once, and the others meanwhile.
    let slow = tokio::spawn(async move { join_all(SLOW.iter().map(|attack| (attack.run)(&place))).await });
    for attack in QUICK {
        sleep(LINES_EVERY).await;
        let (begin, count) = (Instant::now(), counted(&proxy, attack).await);
        let said = proxy.process().output().len();
        (attack.run)(&place).await;
        seen(&proxy, attack, count + attack.counted.1).await;
        table.row(attack, begin, resident(proxy.process().id()));
        let said = proxy.process().output().split_off(said);
        assert!(said.contains(attack.logged), "{}: not logged: {:?}\n{said}", attack.what, attack.logged);
        assert!(proxy.process().runs(), "{}: the proxy is gone", attack.what);
    }
    let begin = Instant::now();
    slow.await.unwrap();
    for attack in SLOW {
        seen(&proxy, attack, attack.counted.1).await;
        table.row(attack, begin, resident(proxy.process().id()));
        assert!(proxy.process().output().contains(attack.logged), "{}", attack.what);
    }
    let served = neighbour.stop().await;
    let peak = peak(proxy.process().id());
    eprintln!("{}\nresident before {before} MiB, at most {peak} MiB\n{served}", table.0);
    assert!(!proxy.process().output().contains("panicked"), "a panic");
    assert!(peak < before + MEMORY_MIB, "{peak} MiB after {before} MiB");
}

#[tokio::test]
async fn over_the_limit_a_client_waits_and_is_served_as_soon_as_another_ends() {
    let mut proxy = Proxy::start(&["--connections-max=3"]).await;
    let mut three = Vec::new();
    for _ in 0..3 {
        three.push(Client::connect(proxy.tcp).await.unwrap());
    }
    let waits = tokio::spawn(Client::connect(proxy.tcp));
    let held = "millrace_proxy_held_connections";
    eventually(10, "a connection waits", async || check(value(&proxy.own().await, held) > 0.0, ())).await;
    assert!(proxy.process().output().contains("over a limit: the connection waits"));
    assert!(!waits.is_finished());
    three.pop().unwrap().close().await;
    within(10, "the key", waits).await.unwrap().unwrap();
    eventually(10, "nobody waits", async || check(value(&proxy.own().await, held) == 0.0, ())).await;
}

#[derive(Default)]
struct Table(String);

impl Table {
    fn row(&mut self, attack: &Attack, begin: Instant, resident: u64) {
        let (took, (series, _)) = (begin.elapsed().as_secs_f64(), attack.counted);
        writeln!(self.0, "| {:58} | {series} | {took:5.1} s | {resident:4} MiB |", attack.what).unwrap();
    }
}

async fn counted(proxy: &Proxy, attack: &Attack) -> f64 {
    value(&proxy.own().await, attack.counted.0)
}

/// The value of one series; 0 if it is not there.
fn value(own: &str, series: &str) -> f64 {
    let line = own.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

async fn seen(proxy: &Proxy, attack: &Attack, wanted: f64) {
    eventually(30, attack.what, async || {
        let own = proxy.own().await;
        let found = value(&own, attack.counted.0);
        if found >= wanted { Ok(()) } else { Err(format!("{found} instead of {wanted}:\n{own}")) }
    })
    .await;
}

fn status(process: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

fn resident(process: u32) -> u64 {
    status(process, "VmRSS:")
}

fn peak(process: u32) -> u64 {
    status(process, "VmHWM:")
}
