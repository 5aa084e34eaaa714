//! The client of the proxies' facts, against real proxies in this process.

#[allow(dead_code, reason = "not every test needs all of a client")]
#[path = "../proxy/support/client.rs"]
mod client;
#[path = "../proxy/support/setup.rs"]
mod setup;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use jiff::SignedDuration;
use millrace::facts::{Arrival, Facts, Run};

use self::client::{Client, seal};
use crate::in_process::{PATIENCE, Proxy, eventually, now};

const STACK: &str = "team/monitoring";
/// For what does not happen.
const SHORT: Duration = Duration::from_secs(1);

fn run_of(execution_id: i64, pod: Option<&str>) -> Run<'_> {
    Run { stack: STACK, execution_id, pod, address: None, started: None, ended: None }
}

fn received(door: &str, series: usize, pushed: bool) -> Arrival {
    Arrival::Received { door: door.to_owned(), series, pushed }
}

/// Facts that are told: the run with the most series has so many.
async fn told(facts: &Facts, series: usize) {
    eventually("the stream tells of the run", async || facts.series_per_run(STACK) == Some(series)).await;
}

#[tokio::test]
async fn a_push_has_arrived_whether_it_was_told_or_not() {
    let mut proxy = Proxy::start().await;
    proxy.push(7, "pod", 3).await;
    let facts = Facts::default();
    assert_eq!(facts.arrived(&run_of(7, Some("pod")), PATIENCE).await, Arrival::NotObservable);
    facts.follow(STACK, &[proxy.settings.http]);
    assert_eq!(facts.arrived(&run_of(7, Some("pod")), PATIENCE).await, received("push", 3, true));
    assert_eq!(facts.arrived(&run_of(7, None), PATIENCE).await, received("push", 3, true));
    // Another pod of the execution, and another execution.
    let none = Arrival::NoBody { connected: false };
    assert_eq!(facts.arrived(&run_of(7, Some("pod-2")), PATIENCE).await, none);
    assert_eq!(facts.arrived(&run_of(8, Some("pod")), PATIENCE).await, none);
    // An application that does not know its pod.
    proxy.push(8, "", 4).await;
    assert_eq!(facts.arrived(&run_of(8, Some("pod")), PATIENCE).await, received("push", 4, true));
    told(&facts, 4).await;
    proxy.kill().await;
    assert_eq!(facts.arrived(&run_of(7, Some("pod")), SHORT).await, received("push", 3, true), "from memory");
    let unknown = facts.arrived(&run_of(9, None), SHORT).await;
    assert!(matches!(unknown, Arrival::Unreachable(why) if why.contains(&proxy.settings.http.to_string())));
    facts.follow(STACK, &[]);
    assert_eq!(
        facts.arrived(&run_of(7, Some("pod")), SHORT).await,
        received("push", 3, true),
        "and with nobody left"
    );
}

#[tokio::test]
async fn a_proxy_that_restarts_is_followed_again() {
    let mut proxy = Proxy::start().await;
    let facts = Facts::default();
    facts.follow(STACK, &[proxy.settings.http]);
    proxy.push(1, "pod", 3).await;
    told(&facts, 3).await;
    proxy.kill().await;
    proxy.begin().await;
    // Numbers of changes begin anew: this is the first of the new process but for what it read from disk.
    proxy.push(2, "pod", 5).await;
    told(&facts, 5).await;
    // Who comes later is told of both.
    let later = Facts::default();
    later.follow(STACK, &[proxy.settings.http]);
    told(&later, 5).await;
    proxy.kill().await;
    for facts in [facts, later] {
        assert_eq!(facts.arrived(&run_of(1, Some("pod")), SHORT).await, received("push", 3, true));
        assert_eq!(facts.arrived(&run_of(2, Some("pod")), SHORT).await, received("push", 5, true));
    }
}

#[tokio::test]
async fn the_newer_body_of_two_replicas_counts() {
    let (first, second) = (Proxy::start().await, Proxy::start().await);
    let both = [first.settings.http, second.settings.http];
    second.push(1, "pod", 9).await;
    first.push(1, "pod", 3).await;
    for order in [both, [both[1], both[0]]] {
        let facts = Facts::default();
        // Asked and told alike.
        facts.follow(STACK, &order);
        assert_eq!(facts.arrived(&run_of(1, Some("pod")), PATIENCE).await, received("push", 3, true));
        told(&facts, 3).await;
    }
    // One has none of it, in whichever order they answer.
    second.push(2, "pod", 4).await;
    let facts = Facts::default();
    facts.follow(STACK, &both);
    assert_eq!(facts.arrived(&run_of(2, Some("pod")), PATIENCE).await, received("push", 4, true));
}

#[tokio::test]
async fn a_pod_that_connects_and_says_nothing_is_noticed() {
    let proxy = Proxy::start().await;
    let facts = Facts::default();
    facts.follow(STACK, &[proxy.settings.http]);
    let address = Ipv4Addr::new(127, 0, 7, 7);
    let run = |address: Ipv4Addr| Run { address: Some(IpAddr::V4(address)), ..run_of(7, Some("pod")) };
    let client = Client::connect_from(address, proxy.settings.tcp).await.unwrap();
    let (silent, none) = (Arrival::NoBody { connected: true }, Arrival::NoBody { connected: false });
    assert_eq!(facts.arrived(&run(address), SHORT).await, silent, "while it is connected");
    client.close().await;
    assert_eq!(facts.arrived(&run(address), PATIENCE).await, silent, "after it has gone");
    assert_eq!(facts.arrived(&run(Ipv4Addr::new(127, 0, 7, 8)), PATIENCE).await, none);
    let hour = SignedDuration::from_hours(1);
    let later = Run { started: Some(now() + hour), ..run(address) };
    assert_eq!(facts.arrived(&later, PATIENCE).await, none, "of a later pod with the same address");
}

#[tokio::test]
async fn the_last_snapshot_of_an_application_that_dies_has_arrived() {
    let proxy = Proxy::start().await;
    let facts = Facts::default();
    facts.follow(STACK, &[proxy.settings.http]);
    let mut client = Client::connect(proxy.settings.tcp).await.unwrap();
    let labels = "task_name=\"t\",task_execution_id=\"7\",task_external_execution_id=\"pod\"";
    let body = seal(&client.key, &format!("a{{{labels}}} 1\nb{{{labels}}} 2\n"));
    client.answer_pull(&body).await.unwrap();
    // The second pull comes only after the answer to the first was taken.
    client.answer_pull(&body).await.unwrap();
    let run = run_of(7, Some("pod"));
    assert_eq!(facts.arrived(&run, SHORT).await, received("tcp", 2, false), "while it lives");
    let (arrival, ()) = tokio::join!(facts.arrived(&run, PATIENCE), client.close());
    assert_eq!(arrival, received("tcp", 2, false));

    let mut client = Client::connect(proxy.settings.tcp).await.unwrap();
    client.push(&seal(&client.key, &format!("a{{{labels}}} 1\n"))).await.unwrap();
    assert_eq!(facts.arrived(&run, PATIENCE).await, received("tcp", 1, true));
}

#[tokio::test]
async fn a_body_without_a_series_has_not_arrived() {
    let proxy = Proxy::start().await;
    let facts = Facts::default();
    facts.follow(STACK, &[proxy.settings.http]);
    proxy.push(7, "pod", 0).await;
    assert_eq!(facts.arrived(&run_of(7, Some("pod")), PATIENCE).await, Arrival::NoBody { connected: false });
}
