//! Other implementations of RSocket as applications, two that share no code with this one or with rsocket-java, and
//! rsocket-java with its own defaults: over TCP and websocket, whole and in fragments, with every kind of request and
//! with what is not served.

use std::process::Command;

use futures::future::join_all;
use tokio::process;

use crate::support::java_proxy::QUICK;
use crate::support::peers::peer;
use crate::support::proxy::{Proxy, SCRAPE};
use crate::support::within;

/// What an application tells of its conversation, line by line.
async fn tells(mut command: Command, arguments: [&str; 4]) -> Vec<String> {
    command.args(arguments.iter().filter(|argument| !argument.is_empty()));
    let mut command = process::Command::from(command);
    let output = within(90, "the application ends", command.kill_on_drop(true).output()).await.unwrap();
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}\n{said}\n{failed}");
    said.lines().map(str::to_owned).collect()
}

/// Each line of `told` begins as wanted.
fn like(told: &[String], wanted: &[&str]) {
    assert_eq!(told.len(), wanted.len(), "{told:#?}");
    for (line, wanted) in told.iter().zip(wanted) {
        assert!(line.starts_with(wanted), "{wanted:?}: {told:#?}");
    }
}

/// All conversations at once: each of them waits to be let go. Each has its runs served.
async fn all(name: &str, command: fn() -> Command, wanted: fn(&str) -> Vec<&'static str>) {
    let proxy = Proxy::start(&[]).await;
    let kinds = [("tcp", ""), ("tcp", "64"), ("websocket", ""), ("websocket", "64")];
    join_all(kinds.map(async |(kind, mtu)| {
        let run = format!("{name}-{kind}-{mtu}");
        let port = if kind == "tcp" { proxy.tcp } else { proxy.websocket }.port().to_string();
        like(&tells(command(), [kind, &port, &run, mtu]).await, &wanted(kind));
        let shown = proxy.connected_as(&[SCRAPE]).await;
        for push in ["response", "fnf", "last"] {
            let labels = format!("{{task_execution_id=\"{run}-{push}\",task_external_execution_id=\"p\"}}");
            assert!(shown.contains(&format!("peer_total{labels} 7.0 ")), "{push}: {shown}");
            let fillers =
                shown.lines().filter(|line| line.starts_with("filler{") && line.contains(&labels[1..]));
            assert_eq!(fillers.count(), if push == "last" { 0 } else { 199 }, "{run} {push}");
        }
    }))
    .await;
}

#[tokio::test]
async fn the_python_implementation_is_served() {
    let command = || {
        let mut command = Command::new(peer("MILLRACE_RSOCKET_PYTHON"));
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy/rsocket/client.py"));
        command
    };
    all("python", command, |_| {
        vec![
            "key 294",
            "pulled",
            "acknowledged",
            "fired",
            "stream RSocket error REJECTED(514): \"only request-response and fire-and-forget are served",
            "channel RSocket error REJECTED(514): \"only request-response and fire-and-forget are served",
            "unreadable the key in the metadata cannot be decrypted",
            "acknowledged again",
            "closed",
            "lease INVALID_SETUP lease is not supported",
        ]
    })
    .await;
}

#[tokio::test]
async fn the_javascript_implementation_is_served() {
    let command = || {
        let mut command = Command::new("node");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy/rsocket/node/client.mjs"));
        command.env("RSOCKET_PACKAGES", peer("MILLRACE_RSOCKET_NODE"));
        command
    };
    all("node", command, |_| {
        vec![
            "key 294",
            "pulled",
            "acknowledged",
            "fired",
            "stream 514 only request-response and fire-and-forget are served",
            "channel 514 only request-response and fire-and-forget are served",
            "unreadable 513 the key in the metadata cannot be decrypted",
            "acknowledged again",
            "closed",
            "lease 1 lease is not supported",
            "resume 2 resume not supported",
        ]
    })
    .await;
}

/// Without Micrometer's client: nothing is set but who answers, and in the second half the size of fragments.
#[tokio::test]
async fn rsocket_java_with_its_own_defaults_is_served() {
    let command = || {
        let mut command = Command::new(peer("MILLRACE_JAVA"));
        command.args(QUICK).arg("-jar").arg(peer("MILLRACE_RSOCKET_JAVA"));
        command
    };
    all("java", command, |_| {
        vec![
            "key 294",
            "pulled",
            "acknowledged",
            "fired",
            "stream RejectedException only request-response and fire-and-forget are served",
            "channel RejectedException only request-response and fire-and-forget are served",
            "unreadable ApplicationErrorException the key in the metadata cannot be decrypted",
            "acknowledged again",
            "closed",
            "lease InvalidSetupException lease is not supported",
            "resume UnsupportedSetupException resume not supported",
        ]
    })
    .await;
}
