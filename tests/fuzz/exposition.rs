//! Any text is read, merged with others and written: what comes out is well formed, and has the same series in every
//! format.
//!
//! An input is bodies with a byte 0xFF between them, which no UTF-8 has. A body that begins with `@` is of a push group,
//! whose labels stand in its first line as `name=value` with blanks between.

use std::sync::Arc;

use millrace::proxy::exposition::identity::group_labels;
use millrace::proxy::exposition::{Built, Exposed, Format, Interner, Labels, Merge, build};

use crate::engine::{Target, fuzz, hash, size};
use crate::{grammar, seeds};

#[test]
fn exposition() {
    let boot = seeds::expositions();
    let mut seeds: Vec<Vec<u8>> = boot[4..].to_vec();
    // Long texts slow everything down; of the real ones a few families each.
    seeds.extend(boot[..4].iter().flat_map(|text| text.chunks(3000).step_by(4).map(<[u8]>::to_vec)));
    let group =
        b"@job=t task.execution.id=7 task.external.execution.id=p\"\\q x=1\na{task_name=\"u\",x=\"2\"} 1\n";
    seeds.push(group.to_vec());
    seeds.push(boot[4..].join(&0xFF));
    fuzz(Target { name: "exposition", seeds, words: WORDS, longest: 6 << 10, run });
}

const WORDS: &[&[u8]] = &[
    b"# TYPE a counter\n",
    b"# TYPE a gauge\n",
    b"# TYPE a histogram\n",
    b"# TYPE a summary\n",
    b"# TYPE a_total counter\n",
    b"# TYPE a_count gauge\n",
    b"# TYPE a_created gauge\n",
    b"# HELP a \\ \\n \\\" \"\n",
    b"# EOF\n",
    b"a 1\n",
    b"a_total{b=\"c\"} 1\n",
    b"a_bucket{le=\"1.0\"} 1\n",
    b"a_bucket{le=\"+Inf\"} 1\n",
    b"a_count 1\n",
    b"a_sum 1\n",
    b"a_info{} 1\n",
    b"a{quantile=\"0.5\"} 1\n",
    b"le=\"1\",",
    b"quantile=\"1\",",
    b"task_execution_id=\"1\",",
    b"task_external_execution_id=\"p\",",
    b"application=\"t-1\",",
    b"process_start_time_seconds 1e9\n",
    b"\xff",
    b"\xff@job=t\n",
    b"\\\"",
    b"\\\\",
];

fn built(body: &[u8], interner: &Interner) -> Built {
    let Some(rest) = body.strip_prefix(b"@") else { return build(body, &Labels::new(), interner) };
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let head = String::from_utf8_lossy(&rest[..end]);
    let pairs = head.split(' ').filter_map(|pair| pair.split_once('='));
    let pairs: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    build(&rest[end..], &group_labels(&pairs), interner)
}

/// Also with pieces of a few bytes: every place to go on from is tried.
fn written(bodies: &[Exposed], format: Format, piece: usize) -> (String, u64, u64) {
    let mut merge = Merge::new(bodies.to_vec(), format);
    let mut out = Vec::new();
    while merge.write(&mut out, piece) {}
    let counts = merge.counts();
    (String::from_utf8(out).expect("no UTF-8 comes out"), counts.series, counts.duplicates)
}

fn run(input: &[u8]) -> u64 {
    let interner = Interner::default();
    let (mut bodies, mut kinds) = (Vec::new(), Vec::new());
    for (taken_ms, body) in (0..).zip(input.split(|byte| *byte == 0xFF)).take(6) {
        let built = built(body, &interner);
        let report = (size(built.report.invalid), size(built.report.duplicate), size(built.report.repaired));
        kinds.push((report, size(built.body.series()), built.identity.is_some()));
        let body = Arc::new(built.body);
        again(&body);
        bodies.push(Exposed { body, taken_ms: Some(taken_ms), since: 1.5, identified: false });
    }
    let all: usize = bodies.iter().map(|exposed| exposed.body.series()).sum();
    let (text, series, duplicates) = written(&bodies, Format::Text, 1);
    assert_eq!(text, written(&bodies, Format::Text, 1 << 20).0);
    assert_eq!(series + duplicates, u64::try_from(all).unwrap());
    let plain = grammar::read(&text, false);
    let open = written(&bodies, Format::OpenMetrics { start: false }, 1 << 20).0;
    assert_eq!(plain.series, grammar::read(&open, true).series, "\n{text}\n{open}");
    let started = grammar::read(&written(&bodies, Format::OpenMetrics { start: true }, 1 << 20).0, true);
    let (created, others): (Vec<_>, Vec<_>) =
        started.series.into_iter().partition(|series| !plain.series.contains(series));
    assert_eq!(others, plain.series);
    assert!(created.iter().all(|(name, _)| name.contains("_created")), "{created:?}");
    kinds.truncate(2);
    hash((kinds, plain.kinds, size(all), bodies.len()))
}

/// A body's own text gives the same body.
fn again(body: &Arc<millrace::proxy::exposition::Body>) {
    let text = body.to_text();
    let built = build(text.as_bytes(), &Labels::new(), &Interner::default());
    assert_eq!((built.report.invalid, built.report.duplicate), (0, 0), "{text}");
    assert_eq!(built.body.series(), body.series(), "{text}");
    let again = Arc::new(built.body).to_text();
    assert_eq!(grammar::read(&text, false).series, grammar::read(&again, false).series, "\n{text}\n{again}");
}
