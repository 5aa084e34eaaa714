//! The push door beside the real Pushgateway: the same requests to both, the same answers and the same series, but for
//! the differences that `docs/push-door.md` lists.

mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;

use crate::support::peers::peer;
use crate::support::process::{Folder, Process, free_address};
use crate::support::proxy::Proxy;
use crate::support::reader::{Reader, Seen, TEXT, Values, run};
use crate::support::{check, eventually, http};

use self::requests::{Case, cases};

struct Pushgateway {
    at: SocketAddr,
    _process: Process,
    _folder: Folder,
}

impl Pushgateway {
    async fn start() -> Self {
        let (folder, at) = (Folder::new("pushgateway"), free_address());
        let mut command = Command::new(peer("MILLRACE_PUSHGATEWAY"));
        command.arg(format!("--web.listen-address={at}")).arg("--log.level=warn");
        let process = Process::start(command, folder.path().join("log"));
        let gateway = Self { at, _process: process, _folder: folder };
        eventually(30, "the Pushgateway is ready", async || {
            let answer = http::get(at, "/-/ready", &[]).await?;
            check(answer.status == 200, answer)
        })
        .await;
        gateway
    }

    async fn metrics(&self) -> String {
        http::get(self.at, "/metrics", &[]).await.unwrap().text()
    }
}

/// What somebody exposes under names that begin so: values, and types.
type Shown = (Values, BTreeMap<String, String>);

fn shown(text: &str, prefix: &str) -> Shown {
    of_it(&read(text), prefix)
}

fn read(text: &str) -> Seen {
    Reader::Prometheus3.read(TEXT, text).unwrap()
}

fn of_it(seen: &Seen, prefix: &str) -> Shown {
    let Seen { values, types, .. } = seen.clone();
    let values = values.into_iter().filter(|((name, _), _)| name.starts_with(prefix)).collect();
    (values, types.into_iter().filter(|(family, _)| family.starts_with(prefix)).collect())
}

/// What one side did with a case.
#[derive(Debug, PartialEq)]
struct Outcome {
    statuses: Vec<u16>,
    shown: Shown,
}

/// The status of each request of a case. Names in it begin with the case's own prefix.
async fn send(to: SocketAddr, case: &Case, prefix: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    for request in &case.requests {
        let path = request.path.replace("{m}", prefix);
        let headers: Vec<(&str, &str)> = request.headers.clone();
        let answer = http::with_body(to, request.method, &path, &headers, request.body(prefix)).await;
        statuses.push(answer.unwrap_or_else(|why| panic!("{}: {why}", case.what)).status.as_u16());
    }
    statuses
}

/// The rows of the table of differences: what, the Pushgateway's answer, ours.
fn documented() -> BTreeMap<String, (u16, u16)> {
    let text = include_str!("../../docs/push-door.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.filter_map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let status = |cell: &str| cell.get(..3)?.parse().ok();
        Some((cells.first()?.to_string(), (status(cells.get(1)?)?, status(cells.get(2)?)?)))
    });
    rows.collect()
}

#[tokio::test]
async fn the_push_door_differs_from_the_pushgateway_only_where_that_is_intended() {
    let (gateway, proxy) = (Pushgateway::start().await, Proxy::start(&[]).await);
    let cases = cases();
    let prefix = |i: usize| format!("c{i}_");
    let mut statuses = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        statuses.push((send(gateway.at, case, &prefix(i)).await, send(proxy.push, case, &prefix(i)).await));
    }
    let (theirs, ours) = (read(&gateway.metrics().await), read(&proxy.connected().await));
    let documented = documented();
    let (mut met, mut wrong) = (BTreeSet::new(), Vec::new());
    for (i, (case, (their_statuses, our_statuses))) in cases.iter().zip(statuses).enumerate() {
        let prefix = case.names.map_or_else(|| prefix(i), str::to_owned);
        let their = Outcome { statuses: their_statuses, shown: of_it(&theirs, &prefix) };
        let our = Outcome { statuses: our_statuses, shown: of_it(&ours, &prefix) };
        let Some(difference) = case.differs else {
            if their != our {
                wrong.push(format!("{}: Pushgateway {their:#?}\nours {our:#?}", case.what));
            }
            continue;
        };
        met.insert(difference.to_owned());
        let told = documented.get(difference).copied();
        let last = |outcome: &Outcome| outcome.statuses.last().copied().unwrap_or_default();
        if their == our || told != Some((last(&their), last(&our))) {
            wrong.push(format!(
                "{} ({difference}, told {told:?}): Pushgateway {their:#?}\nours {our:#?}",
                case.what
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(met, documented.into_keys().collect(), "the table in docs/push-door.md");
}

/// Runs a client against both; what they expose of it afterwards must be the same.
async fn both_show(
    gateway: &Pushgateway,
    proxy: &Proxy,
    prefix: &str,
    client: impl Fn(SocketAddr) -> Command,
) -> Values {
    for to in [gateway.at, proxy.push] {
        run(client(to), "").unwrap_or_else(|why| panic!("{to}: {why:?}"));
    }
    let (theirs, ours) = (shown(&gateway.metrics().await, prefix), shown(&proxy.connected().await, prefix));
    assert_eq!(ours, theirs);
    ours.0
}

#[tokio::test]
async fn the_go_client_pushes_as_to_the_pushgateway() {
    let (gateway, proxy) = (Pushgateway::start().await, Proxy::start(&[]).await);
    let client = |what: &'static str, format: &'static str, value: &'static str| {
        move |to: SocketAddr| {
            let mut command = Command::new(peer("MILLRACE_GO_PUSH"));
            command.args([&format!("http://{to}"), what, format, value]);
            command
        }
    };
    for format in ["protobuf", "text"] {
        // Counter; 4 buckets, count and sum; 2 quantiles, count and sum.
        let pushed = both_show(&gateway, &proxy, "go_pushed", client("push", format, "1")).await;
        assert_eq!(pushed.len(), 1 + 6 + 4, "{pushed:?}");
        let added = both_show(&gateway, &proxy, "go_pushed", client("add", format, "2")).await;
        let counter = |values: &Values| {
            values.iter().find(|((name, _), _)| name == "go_pushed_total").map(|(_, bits)| *bits)
        };
        assert_eq!(counter(&added), Some(2_f64.to_bits()));
        assert_eq!(added.len(), pushed.len());
    }
    // What is retained stays.
    let before = shown(&proxy.connected().await, "go_pushed");
    for to in [gateway.at, proxy.push] {
        run(client("delete", "text", "0")(to), "").unwrap();
    }
    assert_eq!(shown(&proxy.connected().await, "go_pushed"), before);
    assert_eq!(shown(&gateway.metrics().await, "go_pushed").0, Values::new());
}

#[tokio::test]
async fn the_python_client_pushes_as_to_the_pushgateway() {
    let (gateway, proxy) = (Pushgateway::start().await, Proxy::start(&[]).await);
    let client = |what: &'static str, value: &'static str| {
        move |to: SocketAddr| {
            let mut command = Command::new(peer("MILLRACE_PYTHON_CLIENT"));
            command.arg("tests/proxy/prometheus/python/push.py").args([&to.to_string(), what, value]);
            command.current_dir(env!("CARGO_MANIFEST_DIR"));
            command
        }
    };
    // Counter and histogram, each with the time of its creation, which has another time at each of both.
    for what in ["push", "add", "delete"] {
        for to in [gateway.at, proxy.push] {
            run(client(what, "3")(to), "").unwrap_or_else(|why| panic!("{what} {to}: {why:?}"));
        }
        let of = |text: &str| {
            let (values, types) = shown(text, "python_pushed");
            let lasting = values.into_iter().filter(|((name, _), _)| !name.ends_with("_created"));
            (lasting.collect::<Values>(), types)
        };
        let (theirs, ours) = (of(&gateway.metrics().await), of(&proxy.connected().await));
        match what {
            "delete" => assert_eq!((theirs.0.len(), ours.0.len()), (0, 1 + 6)),
            _ => assert_eq!((&ours, ours.0.len()), (&theirs, 1 + 6), "{what}"),
        }
    }
}
