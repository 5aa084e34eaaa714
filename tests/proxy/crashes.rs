//! Crashes while everybody pushes: what was acknowledged is there afterwards, once, with its value.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::client::{Client, seal};
use crate::support::http;
use crate::support::proxy::Proxy;
use crate::support::within;

const CLIENTS: u32 = 500;
const CRASHES: u32 = 10;

/// What a run may show: its last acknowledged value, or one that was pushed after it and never acknowledged.
#[derive(Debug, Default)]
struct Pushed {
    acknowledged: Option<u32>,
    after: Vec<u32>,
}

type Ledger = Arc<Mutex<BTreeMap<String, Pushed>>>;

/// Random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

fn text(run: &str, value: u32) -> String {
    format!("value{{task_execution_id=\"{run}\",task_external_execution_id=\"p\"}} {value}\n")
}

/// Pushes new runs, and each of them twice, until it is stopped; a client that meets no proxy comes again.
struct Pusher {
    number: u32,
    tcp: SocketAddr,
    door: SocketAddr,
    ledger: Ledger,
    stop: Arc<AtomicBool>,
    random: Random,
    acknowledged: u32,
}

impl Pusher {
    async fn work(mut self) -> u32 {
        for round in 0.. {
            let run = format!("{}-{round}", self.number);
            for value in [round * 2, round * 2 + 1] {
                if self.stop.load(Ordering::Relaxed) {
                    return self.acknowledged;
                }
                self.ledger.lock().unwrap().entry(run.clone()).or_default().after.push(value);
                let through_door = self.number.is_multiple_of(3);
                let pushed =
                    if through_door { self.door(&run, value).await } else { self.rsocket(&run, value).await };
                if pushed.is_ok() {
                    self.acknowledged += 1;
                    let known = Pushed { acknowledged: Some(value), after: Vec::new() };
                    self.ledger.lock().unwrap().insert(run.clone(), known);
                }
                sleep(Duration::from_millis(500 + self.random.below(2500))).await;
            }
        }
        self.acknowledged
    }

    async fn rsocket(&self, run: &str, value: u32) -> Result<(), String> {
        let connect = tokio::time::timeout(Duration::from_secs(5), Client::connect(self.tcp)).await;
        let mut client = connect.map_err(|_| "no key".to_owned())??;
        let sealed = seal(&client.key, &text(run, value));
        client.push(&sealed).await
    }

    async fn door(&self, run: &str, value: u32) -> Result<(), String> {
        let path = format!("/metrics/job/j/task.execution.id/{run}/task.external.execution.id/p");
        let answer = http::with_body(self.door, "PUT", &path, &[], format!("value {value}\n")).await?;
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    }
}

/// Runs and their values.
fn shown(exposition: &str) -> BTreeMap<String, u32> {
    let mut all = BTreeMap::new();
    for line in exposition.lines().filter(|line| line.starts_with("value{")) {
        let run = line.split("task_execution_id=\"").nth(1).unwrap().split('"').next().unwrap();
        let value = line.split("} ").nth(1).unwrap().split(".0 ").next().unwrap();
        assert!(all.insert(run.to_owned(), value.parse().unwrap()).is_none(), "twice: {run}");
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_clients_push_while_the_proxy_is_killed_again_and_again() {
    let seed = RandomState::new().hash_one(()) % 1_000_000;
    eprintln!("seed {seed}");
    let mut proxy = Proxy::start(&[]).await;
    let (ledger, stop, mut pushers) = (Ledger::default(), Arc::new(AtomicBool::new(false)), JoinSet::new());
    for number in 0..CLIENTS {
        let (tcp, door) = (proxy.tcp, proxy.push);
        let (ledger, stop, random) = (ledger.clone(), stop.clone(), Random(seed + u64::from(number)));
        pushers.spawn(Pusher { number, tcp, door, ledger, stop, random, acknowledged: 0 }.work());
    }
    let mut random = Random(seed);
    for _ in 0..CRASHES {
        sleep(Duration::from_millis(200 + random.below(3000))).await;
        proxy.kill();
        proxy.start_again().await;
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged: u32 = within(60, "the clients end", pushers.join_all()).await.iter().sum();
    proxy.kill();
    proxy.start_again().await;
    let (shown, ledger) = (shown(&proxy.connected().await), ledger.lock().unwrap());
    for (run, pushed) in ledger.iter() {
        let value = shown.get(run).copied();
        let may_be = value == pushed.acknowledged || value.is_some_and(|value| pushed.after.contains(&value));
        assert!(may_be, "seed {seed}: {run} shows {value:?} of {pushed:?}");
    }
    assert!(shown.keys().all(|run| ledger.contains_key(run)));
    eprintln!("{acknowledged} pushes acknowledged over {CRASHES} crashes, {} runs shown", shown.len());
    assert!(acknowledged > CLIENTS, "{acknowledged}");
}

/// A disk that is full: no file may be longer than this, so that each file of the store fills up in the middle of a
/// record.
const FULL_KIB: u32 = 256;

#[tokio::test]
async fn a_full_disk_is_told_to_who_pushes_and_then_it_goes_on() {
    let shell = format!("trap '' XFSZ; ulimit -f {FULL_KIB}; exec \"$0\" \"$@\"");
    let mut proxy = Proxy::start_in(&["bash", "-c", &shell], &[]).await;
    let mut random = Random(7);
    let mut outcomes = [Vec::new(), Vec::new()];
    for n in 0..60 {
        // 20 KB that cannot be compressed.
        let mut text = text(&format!("full-{n}"), n);
        for _ in 0..500 {
            let (a, b) = (random.below(u64::MAX), random.below(u64::MAX));
            writeln!(text, "x_{a:x}{{y=\"{b:x}\"}} 1").unwrap();
        }
        let mut client = Client::connect(proxy.tcp).await.unwrap();
        let sealed = seal(&client.key, &text);
        match client.push(&sealed).await {
            Ok(()) => outcomes[0].push(n),
            Err(error) => {
                assert!(error.contains("cannot store"), "{error}");
                outcomes[1].push(n);
            }
        }
    }
    let [taken, refused] = outcomes;
    eprintln!("{} pushes taken, {} refused", taken.len(), refused.len());
    assert!(taken.len() > 30 && !refused.is_empty(), "{taken:?}, {refused:?}");
    assert!(taken.last() > refused.first(), "it did not go on");
    let own = proxy.own().await;
    assert!(own.contains(&format!("millrace_proxy_store_unwritten_total {}.0", refused.len())), "{own}");
    assert!(proxy.process().output().contains("cannot store final metrics"));
    proxy.kill();
    proxy.start_again().await;
    let shown = shown(&proxy.connected().await);
    assert!(taken.iter().all(|n| shown.get(&format!("full-{n}")) == Some(n)), "{taken:?}\n{shown:?}");
}
