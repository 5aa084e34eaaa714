//! The same clients at the Java proxy and at this one: the same series.

use std::net::SocketAddr;

use tokio::task::JoinSet;

use crate::support::client::{Client, seal};
use crate::support::java_proxy::{JavaProxy, QUICK};
use crate::support::proxy::Proxy;
use crate::support::samples::{Labels, Sample, Series, samples};
use crate::support::{check, eventually};

/// What applications of Boot 2.7, 3.2, 3.5 and 4.0 exposed.
const BODIES: [&str; 4] = [
    include_str!("../../src/proxy/exposition/testdata/scrape-b27.prom"),
    include_str!("../../src/proxy/exposition/testdata/scrape-b32.prom"),
    include_str!("../../src/proxy/exposition/testdata/scrape-b35.prom"),
    include_str!("../../src/proxy/exposition/testdata/scrape-b40.prom"),
];
const CLIENTS: usize = 50;

/// Who the client is.
fn identity(client: usize) -> Labels {
    let pairs = [
        ("task_name", "mytask".to_owned()),
        ("task_execution_id", format!("10{client}")),
        ("task_external_execution_id", format!("mytask-10{client}-abc")),
        ("task_parent_execution_id", "7".to_owned()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A recorded body as if this client had sent it. The further label tells whose a series is where Boot 2.7 does not.
fn body(client: usize) -> String {
    BODIES[client % BODIES.len()]
        .replace("\"42\"", &format!("\"10{client}\""))
        .replace("mytask-42-abc", &format!("mytask-10{client}-abc"))
        .replace(",task_name=\"mytask\"", &format!(",task_name=\"mytask\",client=\"{client}\""))
}

/// Every other one lives and answers; the others push and go.
async fn connect(at: SocketAddr) -> JoinSet<()> {
    let mut living = JoinSet::new();
    for n in 0..CLIENTS {
        let mut client = Client::connect(at).await.unwrap();
        let sealed = seal(&client.key, &body(n));
        if n % 2 == 0 {
            living.spawn(async move { while client.answer_pull(&sealed).await.is_ok() {} });
        } else {
            client.push(&sealed).await.unwrap();
            client.close().await;
        }
    }
    living
}

fn client_of(sample: &Sample) -> usize {
    sample.label("client").parse().unwrap_or_else(|_| panic!("whose is {sample:?}?"))
}

/// Without order and time, and with the identity that Boot 2.7 gets wrong put right.
fn normal(all: &[Sample]) -> Vec<(Series, String)> {
    let right = |sample: &Sample| {
        let (name, mut labels) = sample.series();
        labels.extend(identity(client_of(sample)));
        ((name, labels), sample.value.clone())
    };
    let mut all: Vec<_> = all.iter().map(right).collect();
    all.sort();
    all
}

/// The `# TYPE` lines, and how many of them are of different families.
fn types(text: &str) -> (usize, usize) {
    let names = || text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    (names().count(), names().collect::<std::collections::BTreeSet<_>>().len())
}

#[tokio::test]
async fn both_proxies_serve_the_same_series() {
    let (java, ours) = tokio::join!(JavaProxy::start(QUICK), Proxy::start(&[]));
    let (_at_java, _at_ours) = tokio::join!(connect(java.tcp), connect(ours.tcp));
    let from_java = java.connected().await;
    for client in 0..CLIENTS {
        eventually(30, "ours has pulled all", async || {
            let facts = ours.execution(&format!("10{client}")).await;
            check(facts["attempts"].as_array().is_some_and(|all| all.len() == 1), facts)
        })
        .await;
    }
    let from_ours = ours.connected().await;

    let all = samples(&from_ours);
    for sample in &all {
        let right = identity(client_of(sample));
        assert!(right.iter().all(|(name, value)| sample.label(name) == value), "{sample:?}");
        assert!(sample.at.is_some(), "{sample:?}");
    }
    let (by_java, by_ours) = (normal(&samples(&from_java)), normal(&all));
    assert!(by_java.len() > CLIENTS * 90, "only {}", by_java.len());
    for (one, other) in by_java.iter().zip(&by_ours) {
        assert_eq!(one, other);
    }
    assert_eq!(by_java.len(), by_ours.len());

    let (lines, families) = types(&from_ours);
    assert_eq!(lines, families, "each family is declared once");
    let (lines, families) = types(&from_java);
    assert!(lines > families, "what the Java proxy repeats is no difference in series");
}
