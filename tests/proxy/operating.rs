//! Starting, settings, facts, filters and the end, as whoever runs the proxy sees them.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{Client, seal};
use crate::support::proxy::{Proxy, SCRAPE};
use crate::support::{check, eventually, http, within};

fn body(execution: &str, series: &str) -> String {
    format!("{series}{{task_execution_id=\"{execution}\",task_external_execution_id=\"pod\"}} 1\n")
}

fn group(execution: &str) -> String {
    format!("/metrics/job/t/task_execution_id/{execution}/task_external_execution_id/pod")
}

async fn facts(proxy: &Proxy, path: &str) -> (u16, Value) {
    let answer = http::get(proxy.http, path, &[]).await.unwrap();
    (answer.status.as_u16(), serde_json::from_slice(&answer.bytes).unwrap())
}

#[tokio::test]
async fn a_restart_keeps_the_key_and_is_ready_at_once() {
    let mut proxy = Proxy::start(&[]).await;
    let first = Client::connect(proxy.tcp).await.unwrap();
    let key = first.key.clone();
    proxy.kill();
    proxy.start_again().await;
    assert_eq!(Client::connect(proxy.tcp).await.unwrap().key, key);
    let mode = std::fs::metadata(proxy.data().join("key.der")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    proxy.kill();
    std::fs::write(proxy.data().join("key.der"), b"damaged").unwrap();
    proxy.start_again().await;
    assert_ne!(Client::connect(proxy.tcp).await.unwrap().key, key);
    proxy.process().says(5, "the key is damaged and is replaced").await;
}

#[tokio::test]
async fn wrong_settings_end_with_a_sentence() {
    let program = env!("CARGO_BIN_EXE_millrace");
    for (args, told) in [
        (
            &["--retention-least-seconds=9", "--retention-most-seconds=8"][..],
            "lower the one or raise the other",
        ),
        (&["--keep=jvm_("], "is no pattern: unclosed group"),
        (&["--data=/proc/none"], "give a folder that can be written to as --data"),
    ] {
        let mut command = tokio::process::Command::new(program);
        command.args(["proxy", "--address=127.0.0.1"]).args(args).env_clear();
        for flag in ["tcp", "websocket", "http", "push"] {
            let port = crate::support::process::free_address().port();
            command.arg(format!("--{flag}-port={port}"));
        }
        let output = within(10, "the proxy refuses to start", command.output()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(told), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn filters_drop_names_and_never_identity() {
    let proxy = Proxy::start(&["--keep=a_.* jvm_.*", "--drop=jvm_gc_.*"]).await;
    let text = "a_total 1\njvm_threads 2\njvm_gc_pause 3\nother 4\n";
    proxy.push(&group("7"), text).await;
    let shown = proxy.connected().await;
    let names: Vec<&str> = shown
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('{').next().unwrap())
        .collect();
    assert_eq!(names, ["a_total", "jvm_threads"], "{shown}");
    assert!(shown.lines().filter(|l| !l.starts_with('#')).all(|l| l.contains("task_execution_id=\"7\"")));
    let own = proxy.own().await;
    assert!(own.contains("millrace_proxy_dropped_series_total 2.0\n"), "{own}");
    // A run of which nothing is wanted is known all the same.
    proxy.push(&group("8"), "other 1\n").await;
    let (status, told) = facts(&proxy, "/executions/8").await;
    assert_eq!((status, &told["attempts"][0]["series"]), (200, &0.into()));
}

#[tokio::test]
async fn both_doors_of_one_run_are_one_truth() {
    let proxy = Proxy::start(&["--pull-seconds=1"]).await;
    let mut client = Client::connect(proxy.tcp).await.unwrap();
    let sealed = seal(&client.key, &(body("7", "a_total") + &body("7", "b_total")));
    client.answer_pull(&sealed).await.unwrap();
    eventually(5, "the live body is shown", async || {
        let shown = proxy.connected().await;
        check(shown.contains("b_total{"), shown)
    })
    .await;
    proxy.push(&group("7"), "").await;
    assert!(proxy.connected().await.contains("b_total{"), "an empty body replaces nothing");
    proxy.push(&group("7"), "a_total 5\n").await;
    let shown = proxy.connected().await;
    assert_eq!(shown.lines().filter(|line| line.starts_with("a_total{")).count(), 1, "{shown}");
    assert!(shown.contains("} 5.0 "), "the newest body counts: {shown}");
    let (_, told) = facts(&proxy, "/executions/7").await;
    assert_eq!(told["attempts"].as_array().unwrap().len(), 1, "{told}");
    // DELETE takes nothing back.
    let gone = http::with_body(proxy.push, "DELETE", &group("7"), &[], "").await.unwrap();
    assert_eq!(gone.status, 202);
    assert!(proxy.connected().await.contains("a_total{"));
}

#[tokio::test]
async fn a_post_adds_to_its_group_whatever_labels_its_series_have() {
    let proxy = Proxy::start(&[]).await;
    proxy.push(&group("7"), "a_total{x=\"1\"} 1\n").await;
    proxy.push(&group("7"), "b_total{y=\"2\"} 2\n").await;
    let shown = proxy.connected().await;
    let line = |name: &str| shown.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("a_total{").contains("x=\"1\"") && !line("a_total{").contains("y=\"2\""), "{shown}");
    assert!(line("b_total{").contains("y=\"2\"") && !line("b_total{").contains("x=\"1\""), "{shown}");
}

#[tokio::test]
async fn facts_tell_a_run_and_what_is_unknown() {
    let proxy = Proxy::start(&[]).await;
    let (status, told) = facts(&proxy, "/executions/7").await;
    assert_eq!(status, 404);
    assert!(
        told["message"].as_str().unwrap().contains("no metrics of execution \"7\" have arrived"),
        "{told}"
    );
    let mut client = Client::connect(proxy.tcp).await.unwrap();
    let sealed = seal(&client.key, &body("7", "a_total"));
    client.push(&sealed).await.unwrap();
    client.close().await;
    proxy.connected_as(&[SCRAPE, ("user-agent", "Prometheus/3")]).await;
    let attempt = eventually(5, "the scraper had it", async || {
        let (_, told) = facts(&proxy, "/executions/7").await;
        let attempt = told["attempts"][0].clone();
        check(attempt["seenBy"] == serde_json::json!(["127.0.0.1 Prometheus/3"]), &attempt)?;
        Ok(attempt)
    })
    .await;
    assert_eq!(attempt["externalExecutionId"], "pod");
    assert_eq!(attempt["door"], "tcp");
    assert_eq!((&attempt["connected"], &attempt["snapshotOnly"]), (&false.into(), &false.into()));
    assert!(attempt["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{attempt}");
    assert!(attempt["finalPush"].is_string() && attempt["connectedSince"].is_string(), "{attempt}");
    assert!(attempt["bytes"].as_u64() > Some(0) && attempt["series"] == 1, "{attempt}");
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_found_by_its_address() {
    let proxy = Proxy::start(&[]).await;
    let client = Client::connect(proxy.tcp).await.unwrap();
    let silent = async |ended: bool| {
        eventually(5, "the silent connection is told", async || {
            let (_, told) = facts(&proxy, "/connections?peer=127.0.0.1").await;
            let one = &told["connections"][0];
            check(one["silent"] == true && one["ended"].is_string() == ended && one["door"] == "tcp", &told)
        })
        .await;
    };
    silent(false).await;
    client.close().await;
    silent(true).await;
    assert_eq!(facts(&proxy, "/connections?peer=127.0.0.2").await.1["connections"], serde_json::json!([]));
    let (status, told) = facts(&proxy, "/connections").await;
    assert_eq!((status, &told["message"]), (400, &"give ?peer= and the IP address of a pod".into()));
}

/// A reader of the stream of facts.
struct Stream(TcpStream, Vec<u8>);

impl Stream {
    async fn open(proxy: &Proxy, after: &str) -> Self {
        let mut stream = TcpStream::connect(proxy.http).await.unwrap();
        let request = format!("GET /executions?after={after} HTTP/1.1\r\nhost: p\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self(stream, Vec::new())
    }

    /// The next line of JSON; the rest of HTTP has none that begins so.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.1.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.1.drain(..=end).collect();
                if line.starts_with(b"{\"") {
                    return Some(serde_json::from_slice(&line).unwrap());
                }
                continue;
            }
            let read = within(15, "a line of the stream", self.0.read_buf(&mut self.1)).await;
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
    }

    /// The next line about a run: its execution and its cursor.
    async fn run(&mut self) -> (String, String) {
        loop {
            let line = self.next().await.expect("the stream ended");
            if let Some(id) = line["executionId"].as_str() {
                return (id.to_owned(), line["cursor"].as_str().unwrap().to_owned());
            }
        }
    }
}

#[tokio::test]
async fn the_stream_of_facts_is_taken_up_where_it_was_left() {
    let mut proxy = Proxy::start(&[]).await;
    proxy.push(&group("1"), "a_total 1\n").await;
    let mut stream = Stream::open(&proxy, "").await;
    assert_eq!(stream.next().await.unwrap()["reset"], true);
    let (id, first) = stream.run().await;
    assert_eq!(id, "1");
    proxy.push(&group("2"), "a_total 1\n").await;
    assert_eq!(stream.run().await.0, "2", "without asking again");
    drop(stream);
    proxy.push(&group("3"), "a_total 1\n").await;
    proxy.push(&group("2"), "b_total 1\n").await;
    let mut stream = Stream::open(&proxy, &first).await;
    assert_eq!([stream.run().await.0, stream.run().await.0], ["3", "2"], "each once, as it stands now");
    // Without news it says that it lives.
    let alive = stream.next().await.unwrap();
    assert!(alive["cursor"].is_string() && alive["executionId"].is_null(), "{alive}");
    proxy.kill();
    assert_eq!(stream.next().await, None);
    proxy.start_again().await;
    let mut stream = Stream::open(&proxy, &first).await;
    assert_eq!(stream.next().await.unwrap()["reset"], true, "another process's cursor");
    let mut found = [stream.run().await.0, stream.run().await.0, stream.run().await.0];
    found.sort();
    assert_eq!(found, ["1", "2", "3"]);
    let (status, told) = facts(&proxy, "/executions?after=x").await;
    assert_eq!(status, 400, "{told}");
}

#[tokio::test]
async fn the_seventeenth_reader_of_the_stream_is_refused_with_a_sentence() {
    let proxy = Proxy::start(&[]).await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut stream = Stream::open(&proxy, "").await;
        assert_eq!(stream.next().await.unwrap()["reset"], true);
        streams.push(stream);
    }
    let (status, told) = facts(&proxy, "/executions").await;
    assert!(status == 503 && told["message"].as_str().unwrap().contains("16 others"), "{told}");
    drop(streams.pop());
    proxy.push(&group("1"), "a_total 1\n").await;
    eventually(15, "there is room for another", async || {
        let mut stream = Stream::open(&proxy, "").await;
        check(stream.next().await.is_some_and(|line| line["reset"] == true), "refused")
    })
    .await;
}

/// A scrape by this scraper.
async fn scrape(proxy: &Proxy, scraper: &str) -> Result<String, String> {
    let path = format!("/metrics/connected?scraper={scraper}");
    Ok(http::get(proxy.http, &path, &[SCRAPE]).await?.text())
}

#[tokio::test]
async fn the_end_waits_until_known_scrapers_have_everything() {
    let mut proxy = Proxy::start(&[]).await;
    proxy.push(&group("1"), "a_total 1\n").await;
    scrape(&proxy, "p").await.unwrap();
    let mut client = Client::connect(proxy.tcp).await.unwrap();
    let sealed = seal(&client.key, &body("2", "b_total"));
    proxy.process().signal("TERM");
    proxy.process().says(5, "the proxy ends").await;
    eventually(5, "nothing new is accepted", async || {
        check(
            Client::connect(proxy.tcp).await.is_err() && TcpStream::connect(proxy.push).await.is_err(),
            "accepted",
        )
    })
    .await;
    // Who is connected is served, to the end.
    client.push(&sealed).await.unwrap();
    client.close().await;
    for _ in 0..2 {
        let shown = scrape(&proxy, "p").await.unwrap();
        assert!(shown.contains("a_total{") && shown.contains("b_total{"), "{shown}");
        assert!(proxy.process().runs(), "not everything was delivered twice");
    }
    let status = proxy.process().ended(10).await;
    assert_eq!(status.code(), Some(0));
    assert!(proxy.process().output().contains("everything_delivered=true"), "{}", proxy.process().output());
}

#[tokio::test]
async fn the_end_comes_after_its_time_and_loses_nothing() {
    let mut proxy = Proxy::start(&["--drain-seconds=2", "--pull-seconds=1"]).await;
    let mut client = Client::connect(proxy.tcp).await.unwrap();
    let sealed = seal(&client.key, &body("1", "a_total"));
    client.answer_pull(&sealed).await.unwrap();
    proxy.push(&group("2"), "b_total 1\n").await;
    scrape(&proxy, "p").await.unwrap();
    let begin = Instant::now();
    proxy.process().signal("TERM");
    let status = proxy.process().ended(10).await;
    assert_eq!(status.code(), Some(0));
    assert!(begin.elapsed() >= Duration::from_secs(2), "who is connected is waited for");
    proxy.start_again().await;
    let shown = proxy.connected().await;
    assert!(shown.contains("a_total{") && shown.contains("b_total{"), "{shown}");
    let (_, told) = facts(&proxy, "/executions/1").await;
    assert_eq!(told["attempts"][0]["snapshotOnly"], true, "{told}");
}

#[tokio::test]
async fn scrapers_are_known_by_name_and_at_most_as_many_as_are_waited_for() {
    let proxy = Proxy::start(&["--scrapers-max=2"]).await;
    proxy.push(&group("1"), "a_total 1\n").await;
    for scraper in ["p", "q", "r"] {
        scrape(&proxy, scraper).await.unwrap();
    }
    // curl and probes are nobody.
    http::get(proxy.http, "/metrics/connected?scraper=s", &[]).await.unwrap();
    let own = proxy.own().await;
    assert!(own.contains("millrace_proxy_scrapers 2.0\n"), "{own}");
    assert!(own.contains("millrace_proxy_scrapers_ignored_total 1.0\n"), "{own}");
}

#[tokio::test]
async fn logs_are_json_when_asked_for_and_a_flood_is_cut() {
    let mut proxy = Proxy::start(&["--log-format=json"]).await;
    for _ in 0..100 {
        let answer = http::with_body(proxy.push, "POST", &group("1"), &[], "secret_metric }").await.unwrap();
        assert_eq!(answer.status, 400);
    }
    let output = proxy.process().output();
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let refused = lines.iter().filter(|line| line["message"] == "a push is refused").count();
    assert!((10..100).contains(&refused), "{refused}");
    assert!(!output.contains("secret_metric"), "no bodies in logs");
}
