//! How last metrics get lost, each way with the Java proxy and with this one. The table in
//! `docs/metrics-proxy-losses.md` is what these tests saw: `UPDATE_DOCS=1` writes it.

mod ways;

use std::fmt::Write;

use self::ways::{Peer, Way};
use crate::support::java_proxy::{JavaProxy, QUICK};
use crate::support::proxy::Proxy;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics-proxy-losses.md");
const MARKS: [&str; 2] = ["<!-- table: losses -->\n", "<!-- end of table -->\n"];

/// What happens, and why each proxy does with it what the test then sees.
struct Row {
    way: Way,
    what: &'static str,
    java: &'static str,
    ours: &'static str,
}

/// In the order in which they are tried: those that end the proxies come late, and last the one after which the Java
/// proxy is busy for a minute.
const ROWS: &[Row] = &[
    Row {
        way: Way::ReadBefore,
        what: "Somebody else reads first: a second Prometheus, a person, a probe",
        java: "whoever reads first gets the push, nobody else",
        ours: "reading consumes nothing",
    },
    Row {
        way: Way::BrokenOff,
        what: "A scrape breaks off, here because one connected application does not answer",
        java: "the push was taken out for the response that never ended",
        ours: "no scrape waits for an application; only complete responses count",
    },
    Row {
        way: Way::LongBackoff,
        what: "The task starts while the proxy cannot be reached, and its client's pause before the next try is \
               longer than its life (default: 10 s)",
        java: "the client has no key, so it pushes nothing",
        ours: "the same: a launch waits for its proxy, and the operator sets a pause of 500 ms",
    },
    Row {
        way: Way::ShortBackoff,
        what: "The same with a pause of 500 ms",
        java: "connected at the second or third try",
        ours: "connected at the second or third try",
    },
    Row {
        way: Way::Killed,
        what: "SIGKILL, OOM kill, a lost node: no push at all",
        java: "the application vanishes with the next scrape",
        ours: "its last snapshot becomes the final body, marked so",
    },
    Row {
        way: Way::CutOff,
        what: "The network is cut when the task ends; the client tries its push once",
        java: "the application vanishes with the next scrape",
        ours: "its last snapshot becomes the final body, marked so",
    },
    Row {
        way: Way::Unreadable,
        what: "The push cannot be decrypted",
        java: "acknowledged all the same",
        ours: "the client is told, and the last snapshot becomes the final body",
    },
    Row {
        way: Way::FailedPull,
        what: "An application fails to answer once, and lives on",
        java: "it is never asked again",
        ours: "its last body stays, and it is asked again",
    },
    Row {
        way: Way::OneSample,
        what: "Prometheus scrapes again: `rate()` needs two samples or a start time, and a series that is gone \
               gets a staleness marker",
        java: "one sample without a time, then the marker",
        ours: "the same sample with the time it was taken, again and again; start times when asked (`?start=1`)",
    },
    Row {
        way: Way::RolledOut,
        what: "The proxy is replaced (SIGTERM) while the task runs",
        java: "connections end with the process, what was pushed is forgotten",
        ours: "it stays until its connections have ended; what was pushed is on disk",
    },
    Row {
        way: Way::ProxyKilled,
        what: "The proxy is killed between push and scrape",
        java: "pushes are on its heap",
        ours: "a push is on disk before it is acknowledged",
    },
    Row {
        way: Way::Burst,
        what: "400 tasks start at once; a client waits 5 s for its key",
        java: "a key pair for each connection takes too long: most get none in time, and push nothing",
        ours: "one key pair for all",
    },
];

/// The Java proxy lets a push be read once: that is what everything here is compared with.
#[tokio::test]
async fn what_gets_lost() {
    let (java, ours) =
        tokio::join!(JavaProxy::start(QUICK), Proxy::start(&["--pull-seconds=1", "--drain-seconds=5"]));
    let (mut java, mut ours) = (Peer::Java(Box::new(java)), Peer::Ours(Box::new(ours)));
    let mut table = String::from("| What happens | Java proxy 1.5.3 | Millrace |\n| --- | --- | --- |\n");
    for row in ROWS {
        let (by_java, by_ours) = tokio::join!(row.way.kept(&mut java), row.way.kept(&mut ours));
        let word = |kept| if kept { "kept" } else { "**lost**" };
        writeln!(
            table,
            "| {} | {}: {} | {}: {} |",
            row.what,
            word(by_java),
            row.java,
            word(by_ours),
            row.ours
        )
        .unwrap();
    }
    eprintln!("{table}");
    same_as_documented(&table);
}

#[allow(clippy::disallowed_methods, reason = "whether to check or to write is for who starts the test")]
fn same_as_documented(table: &str) {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(MARKS[0]).unwrap();
    let (old, after) = rest.split_once(MARKS[1]).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, [before, MARKS[0], table, MARKS[1], after].concat()).unwrap();
    } else {
        assert_eq!(old, table, "{PAGE} says something else; UPDATE_DOCS=1 writes what was seen");
    }
}
