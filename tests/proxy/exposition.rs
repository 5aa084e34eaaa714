//! What the proxy exposes, read by the parsers that others use: all see the series that it was given.

mod bodies;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use crate::support::client::{Client, seal};
use crate::support::http;
use crate::support::proxy::Proxy;
use crate::support::reader::{OPENMETRICS, READERS, Reader, Seen, TEXT, Values, named, promtool, value};

use self::bodies::{CAPTURES, Hostile, capture, hostile, random, refused_by_promtool};

/// What can be asked for, with the content type that it has.
const FORMATS: [(&str, &str); 3] =
    [("", TEXT), ("?format=openmetrics", OPENMETRICS), ("?start=1", OPENMETRICS)];

async fn exposed(proxy: &Proxy, query: &str) -> http::Answer {
    let answer = http::get(proxy.http, &format!("/metrics/connected{query}"), &[]).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// Reads what is exposed in every format with every parser; the series and values must be `given`.
async fn all_see(proxy: &Proxy, given: &Values) -> BTreeMap<&'static str, Seen> {
    let mut seen_by_three = BTreeMap::new();
    for (query, kind) in FORMATS {
        let answer = exposed(proxy, query).await;
        assert_eq!(answer.kind, kind, "{query}");
        for reader in READERS {
            let seen = reader.read(&answer.kind, &answer.text());
            let seen = seen.unwrap_or_else(|why| panic!("{reader:?} {query}: {why}"));
            let start = query == "?start=1";
            let of = |all: &Values| if start { without_created(all) } else { all.clone() };
            same(&of(&seen.values), &of(given), &format!("{reader:?} {query}"));
            assert!(
                seen.times.values().all(Option::is_some),
                "a series without its time: {reader:?} {query}"
            );
            if reader == Reader::Prometheus3 {
                seen_by_three.insert(query, seen);
            }
        }
    }
    seen_by_three
}

/// Without what the proxy adds to start timestamps.
fn without_created(all: &Values) -> Values {
    all.iter().filter(|((name, _), _)| !name.ends_with("_created")).map(|(n, v)| (n.clone(), *v)).collect()
}

/// Like `assert_eq`, but shows only what differs.
fn same(seen: &Values, given: &Values, who: &str) {
    let all: BTreeSet<_> = seen.keys().chain(given.keys()).collect();
    let number = |values: &Values, name| values.get(name).map(|bits| f64::from_bits(*bits));
    let differ = all.into_iter().filter(|name| seen.get(*name) != given.get(*name));
    let differ: Vec<_> =
        differ.map(|name| (name, number(seen, name), number(given, name))).take(10).collect();
    assert!(differ.is_empty(), "{who}: (series, seen, given): {differ:#?}");
}

/// Pushes a body as an application does at its end.
async fn push(proxy: &Proxy, text: &str) {
    let mut client = Client::connect(proxy.tcp).await.unwrap();
    let sealed = seal(&client.key, text);
    client.push(&sealed).await.unwrap();
    client.close().await;
}

/// The series of a body as Prometheus reads it, with the identity that the proxy sets on each.
fn with_identity(text: &str, identity: &[(&str, &str)]) -> Values {
    let read = Reader::Prometheus3.read(TEXT, text).unwrap();
    let set = |((name, mut labels), bits): ((String, BTreeMap<String, String>), u64)| {
        labels.extend(identity.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())));
        ((name, labels), bits)
    };
    let series = read.values.len();
    let set: Values = read.values.into_iter().map(set).collect();
    assert_eq!(set.len(), series);
    set
}

/// Pushes what real applications exposed, each as its own pod; returns their series.
async fn push_captures(proxy: &Proxy) -> Values {
    let mut given = Values::new();
    for boot in CAPTURES {
        let pod = format!("mytask-42-{boot}");
        let text = capture(boot).replace("mytask-42-abc", &pod);
        push(proxy, &text).await;
        let identity = [
            ("task_execution_id", "42"),
            ("task_external_execution_id", &pod),
            ("task_name", "mytask"),
            ("task_parent_execution_id", "7"),
        ];
        given.extend(with_identity(&text, &identity));
    }
    given
}

#[tokio::test]
async fn every_parser_sees_what_four_versions_of_boot_expose() {
    let proxy = Proxy::start(&[]).await;
    let given = push_captures(&proxy).await;
    assert_eq!(given.len(), 99 + 112 + 116 + 100);
    let seen = all_see(&proxy, &given).await;
    // The same types in both formats, but for what OpenMetrics cannot type.
    for (family, kind) in &seen["?format=openmetrics"].types {
        let as_text = seen[""].types.get(family).or_else(|| seen[""].types.get(&format!("{family}_total")));
        assert!(kind == "unknown" || as_text == Some(kind), "{family}: {kind}, as text {as_text:?}");
    }
}

/// `promtool` complains of what applications do, not of what the proxy does.
#[tokio::test]
async fn promtool_complains_of_the_style_of_applications_only() {
    let proxy = Proxy::start(&[]).await;
    push_captures(&proxy).await;
    let complaints = promtool(&exposed(&proxy, "").await.text()).unwrap();
    let mut of_applications = BTreeSet::new();
    for boot in CAPTURES {
        of_applications.extend(promtool(capture(boot)).unwrap_or_default());
    }
    let ours: Vec<_> = complaints.iter().filter(|line| !of_applications.contains(*line)).collect();
    assert!(ours.is_empty(), "{ours:#?}");
    // If it stopped complaining of style at all, this test would show nothing.
    assert!(complaints.iter().any(|line| line.contains("no help text")), "{complaints:#?}");
}

#[tokio::test]
async fn start_timestamps_are_read_by_prometheus() {
    let proxy = Proxy::start(&[]).await;
    push_captures(&proxy).await;
    let answer = exposed(&proxy, "?start=1").await;
    let seen = Reader::Prometheus3Start.read(&answer.kind, &answer.text()).unwrap();
    // Those lines are taken as start timestamps, not as series.
    assert_eq!(without_created(&seen.values), seen.values);
    let starts: BTreeMap<&str, i64> = CAPTURES
        .iter()
        .map(|boot| {
            let start = capture(boot).lines().find(|l| l.starts_with("process_start_time_seconds")).unwrap();
            let seconds: f64 = start.rsplit(' ').next().unwrap().parse().unwrap();
            #[allow(clippy::cast_possible_truncation)] // Milliseconds since 1970.
            (*boot, (seconds * 1000.0) as i64)
        })
        .collect();
    let mut counted = 0;
    for (name, labels) in seen.values.keys() {
        let pod = &labels["task_external_execution_id"];
        let start = seen.starts.get(&(name.clone(), labels.clone()));
        if name.ends_with("_total") {
            assert_eq!(start, Some(&starts[pod.trim_start_matches("mytask-42-")]), "{name} of {pod}");
            counted += 1;
        }
    }
    assert!(counted > 20, "{counted}");
}

/// Pushes hostile bodies, each as a run of its own, from the number `first`; adds their series to `given`.
async fn push_hostile(proxy: &Proxy, first: usize, cases: Vec<Hostile>, given: &mut Values) {
    for (run, case) in (first..).zip(cases) {
        let group = format!("task_execution_id/{run}/task_external_execution_id/h-{run}/task_name/h");
        proxy.push(&format!("/metrics/job/h/{group}"), &case.text).await;
        let group: Vec<&str> = group.split('/').collect();
        for (name, labels, number) in case.series {
            let labels = group.chunks(2).map(|pair| (pair[0], pair[1])).chain(labels.iter().copied());
            let labels = labels.map(|(label, value)| (label.to_owned(), value.to_owned()));
            let known = given.insert(named(name, labels.collect()), value(number));
            assert_eq!(known, None, "{}: {name}", case.what);
        }
    }
}

#[tokio::test]
async fn hostile_bodies_harm_nobody() {
    let proxy = Proxy::start(&[]).await;
    let mut given = push_captures(&proxy).await;
    push_hostile(&proxy, 100, hostile(), &mut given).await;
    promtool(&exposed(&proxy, "").await.text()).unwrap();
    push_hostile(&proxy, 200, refused_by_promtool(), &mut given).await;
    let seen = all_see(&proxy, &given).await;
    // The first of two help texts, as it was meant.
    for format in ["", "?format=openmetrics"] {
        assert_eq!(seen[format].helps["helped"], "a \\ and a \n new line, \"quoted\"");
    }
}

#[tokio::test]
async fn a_thousand_bodies_at_once_that_agree_about_nothing() {
    let proxy = Proxy::start(&[]).await;
    let mut given = Values::new();
    for i in 0..1000 {
        let body = random(i);
        let group =
            format!("/metrics/job/r/task_execution_id/{i}/task_external_execution_id/r-{i}/task_name/r");
        proxy.push(&group, &body.text).await;
        given.extend(body.series);
    }
    assert!(given.len() > 5_000, "{}", given.len());
    all_see(&proxy, &given).await;
    promtool(&exposed(&proxy, "").await.text()).unwrap();
}

#[tokio::test]
async fn nothing_changes_the_format_but_the_query() {
    let proxy = Proxy::start(&[]).await;
    push_captures(&proxy).await;
    let plain = exposed(&proxy, "").await;
    let of_prometheus =
        "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let protobuf =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    for accept in ["text/plain", "application/json", "*/*;q=0", "", of_prometheus, protobuf] {
        let answer = http::get(proxy.http, "/metrics/connected", &[("accept", accept)]).await.unwrap();
        assert_eq!((&*answer.kind, answer.bytes), (TEXT, plain.bytes.clone()), "{accept}");
    }
    for (query, kind) in FORMATS {
        let plain = exposed(&proxy, query).await;
        for accept in ["gzip", "deflate, gzip;q=0.5", "*"] {
            let path = format!("/metrics/connected{query}");
            let answer = http::get(proxy.http, &path, &[("accept-encoding", accept)]).await.unwrap();
            assert_eq!(answer.kind, kind);
            let mut text = Vec::new();
            flate2::read::MultiGzDecoder::new(&*answer.bytes).read_to_end(&mut text).unwrap();
            assert_eq!(text, plain.bytes, "{query} {accept}");
        }
        let path = format!("/metrics/connected{query}");
        let answer = http::get(proxy.http, &path, &[("accept-encoding", "gzip;q=0, br")]).await.unwrap();
        assert_eq!(answer.bytes, plain.bytes);
    }
}
