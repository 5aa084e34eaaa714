//! Through a real Prometheus: what it has stored at the end is what the applications exposed.

use std::collections::BTreeMap;

use futures::future::join_all;

use crate::support::client::{Client, seal};
use crate::support::prometheus::{Prometheus, Setup, USUAL, WINDOW};
use crate::support::proxy::Proxy;
use crate::support::{check, eventually};

/// As people set it up.
const AS_USUAL: [Setup; 2] = [USUAL, WINDOW];
/// With staleness markers for series that have times, which `docs/prometheus.md` advises against without a window.
const TRACKING: [Setup; 2] = [
    Setup { name: "track", track_staleness: true, ..USUAL },
    Setup { name: "track-window", track_staleness: true, ..WINDOW },
];

async fn start(setups: &[Setup], proxy: &Proxy) -> Vec<Prometheus> {
    join_all(setups.iter().map(async |setup| Prometheus::start(*setup, &[proxy.http]).await)).await
}

/// All of them see the value, each in its time.
async fn all_have(all: &[Prometheus], query: &str, wanted: f64) {
    join_all(all.iter().map(|prometheus| prometheus.has(query, wanted))).await;
}

fn body(run: usize, value: usize) -> String {
    let labels =
        format!("task_execution_id=\"{run}\",task_external_execution_id=\"p-{run}\",task_name=\"t\"");
    format!(
        "# TYPE done_total counter\ndone_total{{{labels}}} {value}\n# TYPE live gauge\nlive{{{labels}}} {value}\n"
    )
}

/// Ends runs, every other one through the push door; a run's counter is its number.
async fn end(proxy: &Proxy, runs: std::ops::Range<usize>) {
    for run in runs {
        if run % 2 == 0 {
            let group = format!("/metrics/job/t/task_execution_id/{run}/task_external_execution_id/p-{run}");
            proxy.push(&group, &body(run, run)).await;
        } else {
            let mut client = Client::connect(proxy.tcp).await.unwrap();
            let sealed = seal(&client.key, &body(run, run));
            client.push(&sealed).await.unwrap();
            client.close().await;
        }
    }
}

/// Every final is stored once, with its value, at the time that the proxy says.
async fn stored_once(prometheus: &Prometheus, runs: usize, times: &BTreeMap<String, f64>) {
    let who = prometheus.setup();
    let samples = prometheus.samples("done_total{task_execution_id!~\"9...\"}[1h]").await.unwrap();
    assert_eq!(samples.len(), runs, "{who:?}");
    for (labels, samples) in samples {
        let run = &labels["task_execution_id"];
        let value: f64 = run.parse().unwrap();
        assert_eq!(samples.len(), 1, "stored more than once by {who:?}: run {run} {samples:?}");
        assert_eq!(samples[0].1.to_bits(), value.to_bits(), "{who:?}: run {run}");
        if let Some(time) = times.get(run) {
            assert!(
                (samples[0].0 - time).abs() < 1e-6,
                "{who:?}: run {run} at {} instead of {time}",
                samples[0].0
            );
        }
    }
}

/// When the proxy says that each run's final was taken, seconds since 1970.
async fn times(proxy: &Proxy) -> BTreeMap<String, f64> {
    let text = proxy.connected().await;
    let lines = text.lines().filter(|line| line.starts_with("done_total{"));
    lines
        .map(|line| {
            let (_, rest) = line.split_once("task_execution_id=\"").unwrap();
            let ms: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            (rest.split('"').next().unwrap().to_owned(), ms / 1000.0)
        })
        .collect()
}

const COUNT: &str = "count(last_over_time(done_total[1h]))";

#[tokio::test]
async fn finals_are_stored_once_whatever_is_restarted() {
    let mut proxy = Proxy::start(&["--pull-seconds=1", "--drain-seconds=20"]).await;
    let mut all = start(&AS_USUAL, &proxy).await;
    end(&proxy, 1..21).await;
    all_have(&all, COUNT, 20.0).await;
    let mut known = times(&proxy).await;

    // The proxy dies; Prometheus notices, and writes staleness markers where it does that.
    proxy.kill();
    all_have(&all, "up", 0.0).await;
    proxy.start_again().await;
    end(&proxy, 21..31).await;
    all_have(&all, COUNT, 30.0).await;

    // Prometheus dies, is away for some finals, and replays its log.
    for prometheus in &mut all {
        prometheus.process().kill();
    }
    end(&proxy, 31..41).await;
    for prometheus in &mut all {
        prometheus.start_again().await;
    }
    all_have(&all, COUNT, 40.0).await;
    known.extend(times(&proxy).await);

    // The proxy is replaced by one with the same data, in order: it waits until both had everything twice.
    proxy.process().signal("TERM");
    assert!(proxy.process().ended(30).await.success());
    proxy.start_again().await;
    end(&proxy, 41..51).await;
    all_have(&all, COUNT, 50.0).await;
    known.extend(times(&proxy).await);

    // And by one that knows nothing.
    proxy.kill();
    std::fs::remove_dir_all(proxy.data()).unwrap();
    proxy.start_again().await;
    end(&proxy, 51..61).await;
    all_have(&all, COUNT, 60.0).await;
    known.extend(times(&proxy).await);

    assert_eq!(known.len(), 60);
    for prometheus in &all {
        stored_once(prometheus, 60, &known).await;
        for (query, wanted) in [
            ("sum(last_over_time(done_total[1h]))", 1830.0),
            ("sum by (task_name) (last_over_time(done_total{task_execution_id=\"60\"}[1h]))", 60.0),
            ("sum(count_over_time(done_total[1h]))", 60.0),
            ("max(count_over_time(done_total[1h]))", 1.0),
            ("min(count_over_time(done_total[1h]))", 1.0),
        ] {
            prometheus.has(query, wanted).await;
        }
        // An instant query looks back 5 minutes, and gives the time that the proxy gave.
        let time = prometheus.value("timestamp(done_total{task_execution_id=\"60\"})").await.unwrap();
        assert!((time - known["60"]).abs() < 1e-6, "{time} instead of {}", known["60"]);
        assert_eq!(prometheus.refused().await, BTreeMap::new(), "{:?}", prometheus.setup());
    }
}

/// A living task with one series whose value grows with each pull.
async fn live(proxy: &Proxy, run: usize, pulls: usize) -> Client {
    let mut client = Client::connect(proxy.tcp).await.unwrap();
    for pull in 1..=pulls {
        let sealed = seal(&client.key, &body(run, pull));
        client.answer_pull(&sealed).await.unwrap();
    }
    client
}

#[tokio::test]
async fn a_final_that_follows_snapshots_is_never_refused() {
    let mut proxy = Proxy::start(&["--pull-seconds=1"]).await;
    let mut all = start(&[AS_USUAL[0], AS_USUAL[1], TRACKING[0], TRACKING[1]], &proxy).await;

    // Ends while all goes well.
    let mut first = live(&proxy, 9001, 3).await;
    all_have(&all, "done_total{task_execution_id=\"9001\"}", 3.0).await;
    let sealed = seal(&first.key, &body(9001, 100));
    first.push(&sealed).await.unwrap();
    all_have(&all, "last_over_time(done_total{task_execution_id=\"9001\"}[1h])", 100.0).await;
    for prometheus in &all {
        assert_eq!(prometheus.refused().await, BTreeMap::new(), "{:?}", prometheus.setup());
    }

    // Ends while no Prometheus looks; then the proxy dies, and only when Prometheus has seen that it comes again.
    let mut second = live(&proxy, 9002, 2).await;
    all_have(&all, "done_total{task_execution_id=\"9002\"}", 2.0).await;
    for prometheus in &mut all {
        prometheus.process().signal("STOP");
    }
    let sealed = seal(&second.key, &body(9002, 100));
    second.push(&sealed).await.unwrap();
    proxy.kill();
    for prometheus in &mut all {
        prometheus.process().signal("CONT");
    }
    all_have(&all, "up", 0.0).await;
    proxy.start_again().await;
    all_have(&all, "up", 1.0).await;
    let last = "last_over_time(done_total{task_execution_id=\"9002\"}[1h])";
    let (markers, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|p| p.setup().name == "track");
    all_have(&rest, last, 100.0).await;
    for prometheus in &rest {
        let runs = prometheus.samples("done_total[1h]").await.unwrap();
        let finals = |samples: &[(f64, f64)]| samples.iter().filter(|(_, value)| *value >= 100.0).count();
        assert_eq!(runs.len(), 2);
        assert!(runs.iter().all(|(_, samples)| finals(samples) == 1), "{:?}: {runs:?}", prometheus.setup());
        assert_eq!(prometheus.refused().await, BTreeMap::new(), "{:?}", prometheus.setup());
    }
    // Why the documentation advises against it: a marker that says "gone" is newer than the final, which is then refused.
    eventually(30, "Prometheus refuses what is older than its marker", async || {
        let refused = markers[0].refused().await;
        check(refused.contains_key("prometheus_target_scrapes_sample_out_of_order_total"), refused)
    })
    .await;
    assert_eq!(markers[0].value(last).await, Ok(2.0));
}

/// What `increase` makes of a task that was seen only once, at its end.
#[tokio::test]
async fn start_timestamps_give_increase_the_true_number() {
    let proxy = Proxy::start(&[]).await;
    let zero =
        Setup { name: "zero", features: "created-timestamp-zero-ingestion", start: true, ..Setup::default() };
    let stored = Setup {
        name: "stored",
        features: "st-storage,use-start-timestamps",
        start: true,
        ..Setup::default()
    };
    let all = start(&[zero, stored, AS_USUAL[0]], &proxy).await;
    all_have(&all, "up", 1.0).await;
    let mut client = Client::connect(proxy.tcp).await.unwrap();
    let labels = "task_execution_id=\"1\",task_external_execution_id=\"p\"";
    let text = format!(
        "# TYPE short_total counter\nshort_total{{{labels}}} 7\n# TYPE took_seconds summary\n\
         took_seconds_count{{{labels}}} 3\ntook_seconds_sum{{{labels}}} 1.5\n"
    );
    let sealed = seal(&client.key, &text);
    client.push(&sealed).await.unwrap();
    client.close().await;
    all_have(&all, "count(last_over_time(short_total[5m]))", 1.0).await;
    let [zero, stored, usual] = &*all else { panic!() };
    for (counter, wanted) in [("short_total", 7.0), ("took_seconds_count", 3.0), ("took_seconds_sum", 1.5)] {
        zero.has(&format!("increase({counter}[5m] anchored)"), wanted).await;
        let extrapolated = zero.value(&format!("increase({counter}[5m])")).await.unwrap();
        assert!(extrapolated > wanted, "{extrapolated}");
        stored.has(&format!("increase({counter}[5m])"), wanted).await;
        // One sample alone has no increase, and needs none: its value is the whole of it.
        assert_eq!(usual.values(&format!("increase({counter}[5m])")).await.unwrap(), []);
        usual.has(&format!("sum(last_over_time({counter}[5m]))"), wanted).await;
    }
    for prometheus in &all {
        // Prometheus that takes them as start timestamps has no such series.
        assert_eq!(prometheus.values("{__name__=~\".+_created\"}").await.unwrap(), []);
        assert_eq!(prometheus.refused().await, BTreeMap::new(), "{:?}", prometheus.setup());
    }
}

#[tokio::test]
async fn finals_go_when_every_prometheus_had_them_twice_and_not_before() {
    let proxy = Proxy::start(&["--retention-least-seconds=2"]).await;
    let mut all = start(&AS_USUAL, &proxy).await;
    all_have(&all, "up", 1.0).await;
    all[1].process().signal("STOP");
    end(&proxy, 1..3).await;
    all[0].has(COUNT, 2.0).await;
    // Twice what is needed of scrapes, of time to stay, and of time until the proxy looks.
    let began = all[0].value("sum(count_over_time(up[1h]))").await.unwrap();
    eventually(60, "14 more scrapes", async || {
        let scrapes = all[0].value("sum(count_over_time(up[1h]))").await?;
        check(scrapes >= began + 14.0, scrapes)
    })
    .await;
    assert_eq!(times(&proxy).await.len(), 2, "gone before the second Prometheus had them");
    all[1].process().signal("CONT");
    eventually(30, "the finals are gone", async || check(times(&proxy).await.is_empty(), proxy.own().await))
        .await;
    let own = proxy.own().await;
    assert!(own.contains("millrace_proxy_evictions_total{reason=\"delivered\"} 2"), "{own}");
    for prometheus in &all {
        stored_once(prometheus, 2, &BTreeMap::new()).await;
        assert_eq!(prometheus.refused().await, BTreeMap::new(), "{:?}", prometheus.setup());
    }
}
