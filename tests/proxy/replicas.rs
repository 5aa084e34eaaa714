//! Two replicas that share nothing, behind a door that picks one as a Service does: no push is refused while one after
//! the other is replaced, and Prometheus has each final once, of a run that moved the newest.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use millrace::proxy::wire::{Frame, Payload};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::support::client::{Client, seal};
use crate::support::gate::Gate;
use crate::support::prometheus::{Prometheus, Setup, USUAL, WINDOW};
use crate::support::proxy::Proxy;
use crate::support::{check, eventually, http, within};

/// What is told of a run that was seen at both replicas must not depend on it: usual ones, and one that keeps apart
/// what each replica showed.
const SETUPS: [Setup; 3] = [USUAL, WINDOW, Setup { name: "apart", apart: true, ..USUAL }];
/// Values of finals begin here; those of snapshots are below.
const FINAL: u32 = 1000;
/// So long a client that met nobody waits; the operator gives 500 ms.
const PAUSE: Duration = Duration::from_millis(100);

/// Two proxies with the doors before them.
struct Replicas {
    both: [Proxy; 2],
    rsocket: Gate,
    push: Gate,
    all: Vec<Prometheus>,
}

impl Replicas {
    async fn start(args: &[&str]) -> Self {
        let both = <[Proxy; 2]>::from(tokio::join!(Proxy::start(args), Proxy::start(args)));
        let mut rsocket = Gate::before_any(&both.each_ref().map(|proxy| proxy.tcp));
        let mut push = Gate::before_any(&both.each_ref().map(|proxy| proxy.push));
        tokio::join!(rsocket.open(), push.open());
        let targets = both.each_ref().map(|proxy| proxy.http);
        let all = join_all(SETUPS.map(|setup| Prometheus::start(setup, &targets))).await;
        let replicas = Self { both, rsocket, push, all };
        replicas.all_have("sum(up)", 2.0).await;
        replicas
    }

    /// All of them see the value.
    async fn all_have(&self, query: &str, wanted: f64) {
        join_all(self.all.iter().map(|prometheus| prometheus.has(query, wanted))).await;
    }

    /// Lets each Prometheus scrape both some times more.
    async fn scraped_again(&self) {
        join_all(self.all.iter().map(async |prometheus| {
            // Both, three times; they are asked at their own moments.
            let scrapes = "sum(count_over_time(up[1h]))";
            let before = prometheus.value(scrapes).await.unwrap();
            eventually(30, "more scrapes", async || {
                let now = prometheus.value(scrapes).await?;
                check(now >= before + 7.0, now)
            })
            .await;
        }))
        .await;
    }

    /// What each replica tells of a run's only attempt.
    async fn attempts(&self, run: &str) -> [Option<Value>; 2] {
        let mut told = [None, None];
        for (proxy, told) in self.both.iter().zip(&mut told) {
            let facts = proxy.execution(run).await;
            let attempts = facts["attempts"].as_array().cloned().unwrap_or_default();
            assert!(attempts.len() < 2, "one pod is one attempt: {facts}");
            *told = attempts.into_iter().next();
        }
        told
    }
}

fn body(run: &str, value: u32) -> String {
    format!(
        "# TYPE done_total counter\n\
         done_total{{task_execution_id=\"{run}\",task_external_execution_id=\"p-{run}\"}} {value}\n"
    )
}

/// A task, and how it fared.
#[derive(Debug, Default)]
struct Task {
    run: String,
    /// Connections that it had.
    connections: u32,
    /// Pushes that broke with their connection: nobody knows whether they were kept.
    broken: u32,
    /// What was acknowledged in the end.
    value: u32,
}

impl Task {
    /// Lives so long behind the door of RSocket, and pushes until somebody acknowledges it. A broken connection is
    /// made anew, as Java's client does; each further push has a further value.
    async fn live(mut self, at: SocketAddr, life: Duration) -> Self {
        let end = Instant::now() + life;
        loop {
            let Ok(Ok(mut client)) = timeout(Duration::from_secs(5), Client::connect(at)).await else {
                sleep(PAUSE).await;
                continue;
            };
            self.connections += 1;
            if self.work(&mut client, end).await.is_err() {
                continue;
            }
            let value = FINAL + self.broken;
            let sealed = seal(&client.key, &body(&self.run, value));
            match client.push(&sealed).await {
                Ok(()) => {
                    client.close().await;
                    self.value = value;
                    return self;
                }
                Err(why) => self.broke(&why),
            }
        }
    }

    /// Answers until the task's end; an error is that of its connection.
    async fn work(&self, client: &mut Client, end: Instant) -> Result<(), String> {
        let sealed = seal(&client.key, &body(&self.run, self.connections));
        loop {
            let frame = tokio::select! {
                frame = client.next() => frame?,
                () = tokio::time::sleep_until(end) => return Ok(()),
            };
            if let Frame::RequestResponse { stream, .. } = frame {
                client.answer(stream, &sealed).await?;
            }
        }
    }

    /// The same through the push door, with nothing but the push at the end.
    async fn push(mut self, at: SocketAddr, life: Duration) -> Self {
        sleep(life).await;
        let path = format!("/metrics/job/t/task_execution_id/{0}/task_external_execution_id/p-{0}", self.run);
        loop {
            self.connections += 1;
            let value = FINAL + self.broken;
            match http::with_body(at, "PUT", &path, &[], body(&self.run, value)).await {
                Ok(answer) => {
                    assert_eq!(answer.status, 200, "refused: {answer:?}");
                    self.value = value;
                    return self;
                }
                Err(_) => self.broken += 1,
            }
            sleep(PAUSE).await;
        }
    }

    /// Nothing but a broken connection may be the reason: no push is refused.
    fn broke(&mut self, why: &str) {
        let broken = ["the proxy closed", "cannot read", "cannot send"].iter().any(|w| why.starts_with(w));
        assert!(broken, "{self:?} is refused: {why}");
        self.broken += 1;
    }
}

/// Each acknowledged value is stored once, and is the last one.
async fn stored_once(prometheus: &Prometheus, tasks: &[Task]) {
    let who = prometheus.setup().name;
    let series = prometheus.samples("done_total[1h]").await.unwrap();
    for task in tasks {
        let of_it = series.iter().filter(|(labels, _)| labels["task_execution_id"] == task.run);
        let mut samples: Vec<(f64, f64)> = of_it.clone().flat_map(|(_, samples)| samples.clone()).collect();
        samples.sort_by(|a, b| a.0.total_cmp(&b.0));
        let acknowledged = samples.iter().filter(|(_, value)| (value - f64::from(task.value)).abs() < 1e-9);
        assert_eq!(acknowledged.count(), 1, "{who}: {task:?} {samples:?}");
        assert!(
            (samples.last().unwrap().1 - f64::from(task.value)).abs() < 1e-9,
            "{who}: {task:?} {samples:?}"
        );
        // One that was pushed and not acknowledged may be there as well, and nothing else.
        let finals = samples.iter().filter(|(_, value)| *value >= f64::from(FINAL)).count();
        assert!(finals <= 1 + task.broken as usize, "{who}: {task:?} {samples:?}");
        if !prometheus.setup().apart {
            assert_eq!(of_it.count(), 1, "{who}: a run is one series, wherever it was");
        }
    }
    // Where both replicas show one series, the older body is refused when the newer one was there first.
    let mut refused = prometheus.refused().await;
    if who == "usual" {
        refused.remove("prometheus_target_scrapes_sample_out_of_order_total");
    }
    assert!(refused.is_empty(), "{who}: {refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_push_is_refused_and_none_stored_twice_while_replicas_are_replaced() {
    let mut replicas = Replicas::start(&["--pull-seconds=1", "--drain-seconds=3"]).await;
    let (rsocket, push) = (replicas.rsocket.at, replicas.push.at);
    let mut tasks = JoinSet::new();
    // They end over all that follows; every eighth lives until after it.
    for n in 0..64_u64 {
        let task = Task { run: format!("{n}"), ..Task::default() };
        match n % 8 {
            0 => tasks.spawn(task.live(rsocket, Duration::from_secs(25))),
            1 | 2 => tasks.spawn(task.push(push, Duration::from_millis(200 * n))),
            _ => tasks.spawn(task.live(rsocket, Duration::from_millis(200 * n))),
        };
    }
    for replica in 0..2 {
        sleep(Duration::from_secs(1)).await;
        let proxy = &mut replicas.both[replica];
        proxy.process().signal("TERM");
        assert!(proxy.process().ended(30).await.success());
        proxy.start_again().await;
    }
    let tasks = within(90, "every push is acknowledged", tasks.join_all()).await;
    let (moved, broken) =
        (tasks.iter().filter(|t| t.connections > 1).count(), tasks.iter().map(|t| t.broken).sum::<u32>());
    eprintln!("{moved} of {} tasks moved, {broken} pushes broke with their connection", tasks.len());
    assert!(moved >= 8, "those that live long saw both replicas end");

    let sum: u32 = tasks.iter().map(|task| task.value).sum();
    let by_run = "max by (task_execution_id) (last_over_time(done_total[1h]))";
    replicas.all_have(&format!("sum({by_run})"), f64::from(sum)).await;
    replicas.all_have("sum(up)", 2.0).await;
    replicas.scraped_again().await;
    for prometheus in &replicas.all {
        stored_once(prometheus, &tasks).await;
    }
    let mut kept = [0; 2];
    for task in &tasks {
        let told = replicas.attempts(&task.run).await;
        let pushed =
            told.each_ref().map(|told| told.as_ref().is_some_and(|told| told["finalPush"].is_string()));
        let finals = pushed.iter().filter(|pushed| **pushed).count();
        assert!(finals >= 1 && finals <= 1 + task.broken as usize, "{task:?} {told:?}");
        for (kept, pushed) in kept.iter_mut().zip(pushed) {
            *kept += usize::from(pushed);
        }
        if task.connections == 1 {
            assert_eq!(told.iter().flatten().count(), 1, "the other never heard of it: {task:?} {told:?}");
        }
        // Where it was before, its last snapshot is what is known.
        for (told, pushed) in told.iter().zip(pushed) {
            assert!(told.as_ref().is_none_or(|told| pushed || told["snapshotOnly"] == true), "{told:?}");
        }
    }
    assert!(kept.iter().all(|kept| *kept > 5), "both took finals: {kept:?}");
}

/// Answers the next pull with this value.
async fn answered(client: &mut Client, run: &str, value: u32) -> Payload {
    let sealed = seal(&client.key, &body(run, value));
    within(10, "a pull", client.answer_pull(&sealed)).await.unwrap();
    sealed
}

#[tokio::test]
async fn of_a_run_that_moved_the_newer_body_wins_wherever_it_is() {
    let mut replicas = Replicas::start(&["--pull-seconds=1"]).await;
    let door = replicas.rsocket.at;
    // One is still at work; the other pushed already, and comes again: its container is started anew.
    let mut living = Client::connect(replicas.both[0].tcp).await.unwrap();
    answered(&mut living, "1", 5).await;
    let mut pushed = Client::connect(replicas.both[0].tcp).await.unwrap();
    let sealed = seal(&pushed.key, &body("2", 6));
    pushed.push(&sealed).await.unwrap();
    let (first, second) = (
        "last_over_time(done_total{task_execution_id=\"1\"}[1h])",
        "last_over_time(done_total{task_execution_id=\"2\"}[1h])",
    );
    replicas.all_have(first, 5.0).await;
    replicas.all_have(second, 6.0).await;
    replicas.both[0].kill();
    drop((living, pushed));
    replicas.all_have("sum(up)", 1.0).await;

    // The door leads to the other one, which has an own key and knows nothing.
    let mut living = Client::connect(door).await.unwrap();
    answered(&mut living, "1", 7).await;
    let newest = |query: &str| format!("max({query})");
    replicas.all_have(&newest(first), 7.0).await;
    let mut pushed = Client::connect(door).await.unwrap();
    let sealed = seal(&pushed.key, &body("2", 8));
    pushed.push(&sealed).await.unwrap();
    replicas.all_have(&newest(second), 8.0).await;

    // The first one comes back with what it had acknowledged, which is older.
    replicas.both[0].start_again().await;
    replicas.all_have("sum(up)", 2.0).await;
    let sealed = seal(&living.key, &body("1", 9));
    living.push(&sealed).await.unwrap();
    replicas.all_have(&newest(first), 9.0).await;
    replicas.scraped_again().await;
    for prometheus in &replicas.all {
        let apart = prometheus.setup().apart;
        for (query, wanted) in [(first, 9.0), (second, 8.0)] {
            if !apart {
                prometheus.has(query, wanted).await;
            }
            prometheus.has(&newest(query), wanted).await;
        }
        let runs = prometheus.samples("done_total[1h]").await.unwrap();
        let values = |run: &str| {
            let of_it = runs.iter().filter(|(labels, _)| labels["task_execution_id"] == run);
            let mut samples: Vec<(f64, f64)> = of_it.flat_map(|(_, samples)| samples.clone()).collect();
            samples.sort_by(|a, b| a.0.total_cmp(&b.0));
            samples.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
        };
        assert_eq!(values("2"), [6.0, 8.0], "{:?}", prometheus.setup());
        assert_eq!(values("1"), [5.0, 7.0, 9.0], "{:?}", prometheus.setup());
    }

    let [one, other] = replicas.attempts("1").await;
    assert!(one.is_none(), "a live body is not on disk: {one:?}");
    assert!(other.is_some_and(|told| told["finalPush"].is_string()));
    let [one, other] = replicas.attempts("2").await.map(Option::unwrap);
    assert!(one["finalPush"].is_string() && other["finalPush"].is_string(), "{one} {other}");
    assert!(one["finalPush"].as_str() < other["finalPush"].as_str(), "each tells its own: {one} {other}");
}
