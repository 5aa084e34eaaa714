//! From bodies to expositions.

use std::sync::Arc;

use proptest::prelude::*;

use super::identity::group_labels;
use super::*;

mod memory;
mod merging;

const CAPTURES: [(&str, &str, usize); 4] = [
    ("b27", include_str!("testdata/scrape-b27.prom"), 99),
    ("b32", include_str!("testdata/scrape-b32.prom"), 112),
    ("b35", include_str!("testdata/scrape-b35.prom"), 116),
    ("b40", include_str!("testdata/scrape-b40.prom"), 100),
];

fn built(text: &str) -> Built {
    build(text.as_bytes(), &Labels::new(), &Interner::default())
}

fn exposed(text: &str, taken_ms: i64) -> Exposed {
    let built = built(text);
    Exposed {
        identified: built.identity.is_some(),
        body: Arc::new(built.body),
        taken_ms: Some(taken_ms),
        since: 1.5,
    }
}

fn merged(bodies: Vec<Exposed>, format: Format) -> (String, merge::Counts) {
    let mut merge = Merge::new(bodies, format);
    let mut out = Vec::new();
    // Pieces of one byte: every place to go on from is tried.
    while merge.write(&mut out, 1) {}
    (String::from_utf8(out).unwrap(), merge.counts())
}

const OPENMETRICS: Format = Format::OpenMetrics { start: false };

#[test]
fn captures_keep_every_series() {
    for (name, text, series) in CAPTURES {
        let built = built(text);
        assert_eq!(built.report.invalid, 0, "{name}");
        assert_eq!(built.report.duplicate, 0, "{name}");
        assert_eq!(built.body.series(), series, "{name}");
        let identity = built.identity.unwrap();
        assert_eq!((&*identity.execution, &*identity.external), ("42", "mytask-42-abc"), "{name}");
        assert!(built.body.start().unwrap() > 1.7e9, "{name}");
    }
}

#[test]
fn identity_is_on_every_series_of_a_boot_2_body() {
    let (text, _) = merged(vec![exposed(CAPTURES[0].1, 5)], Format::Text);
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        assert!(line.contains(r#"task_execution_id="42""#), "{line}");
        assert!(line.contains(r#"task_external_execution_id="mytask-42-abc""#), "{line}");
        assert!(line.ends_with(" 5"), "{line}");
    }
    assert!(built(CAPTURES[0].1).report.repaired > 0);
}

#[test]
fn samples_that_do_not_fit_their_type_are_families_of_their_own() {
    let (text, _) = merged(vec![exposed(CAPTURES[0].1, 5)], OPENMETRICS);
    assert!(text.contains("# TYPE spring_cloud_task_active_seconds_active_count unknown\n"), "{text}");
    assert!(text.contains("# TYPE jvm_gc_pause_seconds summary\n"), "{text}");
    assert!(
        text.contains("# TYPE executor_completed_tasks counter\nexecutor_completed_tasks_total{"),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn bodies_are_grouped_by_family() {
    let a = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\"} 1\nbad line\n# TYPE g gauge\ng 2\n";
    let b = "g 3\n# TYPE g gauge\na_total{x=\"2\",} 4 99\n# TYPE a_total counter\n# HELP a_total A.\n";
    let (text, counts) = merged(vec![exposed(a, 2000), exposed(b, 1500)], Format::Text);
    assert_eq!(
        text,
        "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\"} 1.0 2000\na_total{x=\"2\"} 4.0 1500\n\
         # TYPE g gauge\ng 2.0 2000\n"
    );
    assert_eq!(counts, merge::Counts { series: 3, conflicts: 0, duplicates: 1 });
    assert_eq!(built(a).report.invalid, 1);
    let (text, _) = merged(vec![exposed(a, 2000)], Format::OpenMetrics { start: true });
    assert_eq!(
        text,
        "# HELP a A.\n# TYPE a counter\na_total{x=\"1\"} 1.0 2.000\na_created{x=\"1\"} 1.5 2.000\n\
         # TYPE g gauge\ng 2.0 2.000\n# EOF\n"
    );
}

#[test]
fn a_type_may_stand_after_blanks() {
    let (text, _) = merged(vec![exposed(" \t# TYPE a gauge\na 1 # TYPE b gauge\nb 1\n", 1)], Format::Text);
    assert_eq!(text, "# TYPE a gauge\na 1.0 1\n# TYPE b untyped\nb 1.0 1\n");
}

/// The strictest readers refuse a whole exposition for one of these.
#[test]
fn what_openmetrics_does_not_allow_is_unknown_there() {
    let odd = "# TYPE a_total counter\na_total -1\n# TYPE s summary\ns_count 0.5\ns_sum 1\n# TYPE h histogram\n\
        h_bucket{le=\"1.0\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_count 1\nh_sum 1\n";
    let (text, _) = merged(vec![exposed(odd, 1)], OPENMETRICS);
    let unknown = |line: &str| line.ends_with(" unknown");
    assert!(text.lines().filter(|line| line.starts_with("# TYPE")).all(unknown), "{text}");
    let (text, _) = merged(vec![exposed(odd, 1)], Format::Text);
    assert!(!text.contains("untyped"), "{text}");
}

#[test]
fn most_bodies_decide_about_a_type() {
    let gauge = exposed("# TYPE a gauge\na{x=\"1\"} 1\n", 1);
    let other = exposed("# TYPE a gauge\na{x=\"2\"} 1\n", 1);
    let counter = exposed("# TYPE a counter\na{x=\"3\"} 1\n", 1);
    let (text, counts) = merged(vec![counter, gauge, other], Format::Text);
    assert!(text.starts_with("# TYPE a gauge\n"), "{text}");
    assert_eq!((counts.conflicts, counts.series), (1, 3));
}

#[test]
fn a_compound_family_gives_way_series_by_series() {
    let summary = exposed("# TYPE a summary\na_count{x=\"1\"} 1\na_sum{x=\"1\"} 2\n", 1);
    let gauge = exposed("# TYPE a_count gauge\na_count{x=\"2\"} 3\n", 1);
    let (text, counts) = merged(vec![summary.clone(), gauge], Format::Text);
    assert_eq!(
        text,
        "# TYPE a_count untyped\na_count{x=\"1\"} 1.0 1\na_count{x=\"2\"} 3.0 1\n\
         # TYPE a_sum untyped\na_sum{x=\"1\"} 2.0 1\n"
            .replace(
                "a_count untyped",
                if text.contains("a_count gauge") { "a_count gauge" } else { "a_count untyped" }
            )
    );
    assert_eq!((counts.conflicts, counts.series), (1, 3));
    let histogram = exposed("# TYPE a histogram\na_bucket{le=\"+Inf\",x=\"2\"} 1\na_count{x=\"2\"} 1\n", 1);
    let (text, counts) = merged(vec![summary, histogram], OPENMETRICS);
    assert_eq!(counts.series, 4);
    assert!(!text.contains("summary") && !text.contains("histogram"), "{text}");
}

#[test]
fn a_group_that_two_bodies_have_in_part_begins_once() {
    let count = exposed("# TYPE a summary\na_count{x=\"1\"} 1\n", 1);
    let sum = exposed("# TYPE a summary\na_sum{x=\"1\"} 2\n", 2);
    let (text, counts) = merged(vec![count, sum], Format::OpenMetrics { start: true });
    assert_eq!((text.matches("a_created{").count(), counts.series), (1, 2), "{text}");
}

#[test]
fn openmetrics_never_renames() {
    let body = "# TYPE c counter\nc 1\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_count 1\nh_sum 1\n";
    let (text, _) = merged(vec![exposed(body, 0)], OPENMETRICS);
    for line in
        ["# TYPE c unknown\nc 1.0 0.000\n", "# TYPE h_bucket unknown\n", "h_bucket{le=\"1\"} 1.0 0.000\n"]
    {
        assert!(text.contains(line), "{line} not in {text}");
    }
    let from_openmetrics = "# TYPE c counter\nc_total 1\n# EOF\n";
    let (text, _) = merged(vec![exposed(from_openmetrics, 0)], Format::Text);
    assert_eq!(text, "# TYPE c_total counter\nc_total 1.0 0\n");
}

#[test]
fn a_group_wins_over_a_body_and_stays_through_its_text() {
    let group = [
        ("job", "t"),
        ("task.name", "t"),
        ("task.execution.id", "7"),
        ("task.external.execution.id", "p\"q"),
    ];
    let group: Vec<_> = group.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let interner = Interner::default();
    let built = build(b"a{task_name=\"x\",y=\"1\"} 1\n", &group_labels(&group), &interner);
    assert_eq!(built.identity.unwrap().external, "p\"q");
    let text = Arc::new(built.body).to_text();
    assert_eq!(
        text,
        "# TYPE a untyped\na{task_execution_id=\"7\",task_external_execution_id=\"p\\\"q\",task_name=\"t\",y=\"1\"} 1.0\n"
    );
}

fn sample() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "a",
        "a_total",
        "a_count",
        "a_sum",
        "a_bucket",
        "b",
        "b_total",
        "b_created",
    ]);
    let labels = prop::collection::btree_map("[a-c]|le|quantile", "[0-9]|\\+Inf|é|\\\\\\\\", 0..4);
    (name, labels, any::<f32>()).prop_map(|(name, labels, value)| {
        let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        format!("{name}{{{}}} {value}", labels.join(","))
    })
}

fn any_line() -> impl Strategy<Value = String> {
    let kind =
        prop::sample::select(vec!["counter", "gauge", "histogram", "summary", "untyped", "unknown", "odd"]);
    prop_oneof![
        6 => sample(),
        2 => ("[ab]|a_total|a_count", kind).prop_map(|(name, kind)| format!("# TYPE {name} {kind}")),
        1 => "# HELP [ab] [ -~]{0,9}",
        1 => "[ -~]{0,20}",
    ]
}

/// Every series with its value, sorted.
fn series(text: &str) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for line in text.lines() {
        let mut labels = Vec::new();
        if let parse::Line::Sample(name, value) = parse::line(line, &mut labels) {
            labels.sort_unstable();
            all.push((format!("{name}{labels:?}"), value.to_bits()));
        } else {
            assert!(line.starts_with("# "), "{line}");
        }
    }
    all.sort();
    all
}

#[test]
fn families_that_only_openmetrics_tells_apart_are_not_one() {
    let text = |id: i64, value: i64| {
        let run = format!("task_execution_id=\"{id}\",task_external_execution_id=\"p{id}\"");
        format!("# TYPE a_total counter\na_total{{{run}}} {value}\n")
    };
    // Whoever comes first must not decide for the other.
    for values in [[1, -1], [-1, 1], [1, 1]] {
        let interner = Interner::default();
        let body = |(id, value)| {
            let body = build(text(id, value).as_bytes(), &Labels::new(), &interner).body;
            Exposed { body: Arc::new(body), taken_ms: Some(5), since: 1.5, identified: true }
        };
        let (written, counts) = merged((1..).zip(values).map(body).collect(), OPENMETRICS);
        assert_eq!(written.contains("# TYPE a_total unknown\n"), values.contains(&-1), "{written}");
        assert_eq!(counts.series, 2);
        assert_eq!(interner.len(), if values.contains(&-1) { 2 } else { 1 });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_written_is_read_again_as_the_same(lines in prop::collection::vec(any_line(), 0..20)) {
        let first = Arc::new(built(&lines.join("\n")).body);
        let text = first.to_text();
        let again = built(&text);
        prop_assert_eq!(again.report, Report { repaired: again.report.repaired, ..Report::default() });
        prop_assert_eq!(series(&text), series(&Arc::new(again.body).to_text()));
        prop_assert_eq!(series(&text).len(), first.series());
    }

    #[test]
    fn both_formats_have_the_same_series_each_family_once(
        bodies in prop::collection::vec(prop::collection::vec(any_line(), 0..20), 1..5),
    ) {
        let bodies: Vec<_> = bodies.iter().enumerate()
            .map(|(i, lines)| exposed(&lines.join("\n"), i64::try_from(i).unwrap())).collect();
        let all: usize = bodies.iter().map(|b| b.body.series()).sum();
        let (text, counts) = merged(bodies.clone(), Format::Text);
        let (open, _) = merged(bodies, OPENMETRICS);
        prop_assert_eq!(series(&text), series(&open));
        prop_assert_eq!(counts.series + counts.duplicates, all as u64);
        for format in [text, open] {
            let mut types: Vec<_> = format.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
            let all = types.len();
            types.sort_unstable();
            types.dedup();
            prop_assert_eq!(types.len(), all);
            let mut names = series(&format);
            names.dedup_by(|a, b| a.0 == b.0);
            prop_assert_eq!(names.len(), series(&format).len());
        }
    }

    #[test]
    fn nothing_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
        build(&body, &Labels::new(), &Interner::default());
        let _ = protobuf::to_text(&body, 1000);
    }
}
