//! Many bodies, and bodies of very many families.

use std::collections::BTreeSet;

use super::*;

const FAMILIES: usize = 70;

/// Of a run, with families that all such bodies have.
fn usual(run: usize) -> String {
    let labels = format!("task_execution_id=\"{run}\",task_external_execution_id=\"p-{run}\"");
    let family = |n: usize| format!("# TYPE shared_{n:02} gauge\nshared_{n:02}{{{labels}}} {run}\n");
    (0..FAMILIES).map(family).collect()
}

fn exposed_of(texts: impl Iterator<Item = String>) -> Vec<Exposed> {
    let interner = Interner::default();
    let one = |text: String| {
        let built = build(text.as_bytes(), &Labels::new(), &interner);
        let identified = built.identity.is_some();
        Exposed { body: Arc::new(built.body), taken_ms: Some(7), since: 1.5, identified }
    };
    texts.map(one).collect()
}

/// All at once.
fn whole(mut merge: Merge) -> (String, merge::Counts) {
    let mut out = Vec::new();
    while merge.write(&mut out, 64 << 10) {}
    (String::from_utf8(out).unwrap(), merge.counts())
}

#[test]
fn a_body_of_very_many_names_stands_beside_the_others() {
    let (bodies, names) = (2_000, 20_000);
    // In the order of names before, between and behind the others.
    let prefix = |n: usize| ["a", "shared_30_", "z"][n % 3];
    let odd: Vec<String> = (0..names).map(|n| format!("{}{n} {n}\n", prefix(n))).collect();
    let merge = Merge::new(exposed_of((0..bodies).map(usual).chain([odd.concat()])), Format::Text);
    // What is gone through: each family of each body once, and nothing else.
    let pairs = bodies * FAMILIES + names;
    let gone_through: usize = merge.outs.iter().flat_map(|out| &out.sources).map(|s| s.holders.len()).sum();
    assert_eq!((gone_through, merge.holders.len()), (pairs, pairs));
    let each: BTreeSet<_> = merge.holders.iter().map(|holder| (holder.body, holder.place)).collect();
    assert_eq!(each.len(), pairs);
    let (text, counts) = whole(merge);
    assert_eq!(counts, merge::Counts { series: pairs as u64, conflicts: 0, duplicates: 0 });
    let mut lines = text.lines();
    let mut heads: Vec<String> = (0..names).map(|n| format!("{}{n}", prefix(n))).collect();
    heads.extend((0..FAMILIES).map(|n| format!("shared_{n:02}")));
    heads.sort();
    for name in heads {
        let shared = name.len() == "shared_00".len() && name.starts_with("shared_");
        let kind = if shared { "gauge" } else { "untyped" };
        assert_eq!(lines.next(), Some(&*format!("# TYPE {name} {kind}")));
        if !shared {
            let value: usize =
                name.trim_start_matches("shared_30_").trim_matches(['a', 'z']).parse().unwrap();
            assert_eq!(lines.next(), Some(&*format!("{name} {value}.0 7")));
            continue;
        }
        for run in 0..bodies {
            let labels = format!("task_execution_id=\"{run}\",task_external_execution_id=\"p-{run}\"");
            assert_eq!(lines.next(), Some(&*format!("{name}{{{labels}}} {run}.0 7")));
        }
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn a_family_that_gives_way_is_gone_through_once_for_each_of_its_names() {
    let summary = "# TYPE a summary\na{quantile=\"0.5\"} 1\na_count 1\na_sum 1\n";
    let gauge = "# TYPE a_count gauge\na_count{x=\"1\"} 1\n";
    let texts = [summary, gauge, summary].map(str::to_owned).into_iter();
    let merge = Merge::new(exposed_of(texts), Format::Text);
    let gone_through = merge.outs.iter().flat_map(|out| &out.sources).map(|s| s.holders.len());
    assert_eq!((gone_through.sum::<usize>(), merge.holders.len()), (3 * 2 + 1, 3));
}

#[test]
fn bodies_follow_each_other_alike_in_every_family() {
    // Families that differ in their help are not shared, and still one.
    let text = |n: usize| format!("# HELP a {n}\n# TYPE a gauge\na{{n=\"{n}\"}} 1\nb{{n=\"{n}\"}} 1\n");
    let mut bodies = exposed_of((0..50).map(text));
    for (exposed, taken) in bodies.iter_mut().zip(0..) {
        exposed.taken_ms = Some(taken * 37 % 50);
    }
    let (text, _) = whole(Merge::new(bodies, Format::Text));
    let times = |name: &str| {
        let samples = text.lines().filter(|line| line.starts_with(name));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect::<Vec<i64>>()
    };
    let newest_first: Vec<i64> = (0..50).rev().collect();
    assert_eq!((times("a{"), times("b{")), (newest_first.clone(), newest_first));
}

/// A part of a family that gave way may have the name of another one, which has no room there.
#[test]
fn a_family_gives_way_to_a_part_of_another_one_that_did() {
    let texts = [
        "# TYPE a summary\na_count 1\na_sum 1\n",
        "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\n",
        "# TYPE a_count summary\na_count{quantile=\"0.5\"} 1\na_count_count 1\na_count_sum 1\n",
        "# TYPE a_count_sum summary\na_count_sum{quantile=\"0.5\"} 1\na_count_sum_sum 1\n",
    ];
    for format in [Format::Text, OPENMETRICS] {
        let (text, counts) = whole(Merge::new(exposed_of(texts.map(str::to_owned).into_iter()), format));
        assert!(!text.contains("summary"), "{text}");
        for name in ["a_bucket", "a_count", "a_count_count", "a_count_sum", "a_count_sum_sum", "a_sum"] {
            let head = format!("# TYPE {name} un");
            assert_eq!(text.matches(&head).count(), 1, "{head}: {text}");
        }
        assert_eq!((counts.conflicts, counts.series), (3, 8));
    }
}

fn nested() -> impl Strategy<Value = String> {
    let suffixes = prop::collection::vec("_total|_count|_sum|_bucket|_created", 0..3);
    suffixes.prop_map(|suffixes| format!("a{}", suffixes.concat()))
}

/// A family with all that its type may have.
fn family() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(vec!["counter", "gauge", "histogram", "summary", "untyped"]);
    (nested(), kind, any::<bool>()).prop_map(|(name, kind, right)| {
        let value = if right { "1" } else { "-1" };
        let series = match kind {
            "histogram" => format!("{name}_bucket{{le=\"+Inf\"}} 1\n{name}_count 1\n{name}_sum {value}\n"),
            "summary" => format!("{name}{{quantile=\"0.5\"}} {value}\n{name}_count 1\n{name}_sum 1\n"),
            _ => format!("{name} {value}\n"),
        };
        format!("# TYPE {name} {kind}\n{series}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The names are such that one family is named as a part of another one, that one as a part of a third.
    #[test]
    fn every_series_stands_under_its_own_family(families in prop::collection::vec(family(), 1..12)) {
        for format in [Format::Text, Format::OpenMetrics { start: true }] {
            let (text, _) = whole(Merge::new(exposed_of(families.iter().cloned()), format));
            let openmetrics = format != Format::Text;
            let (mut name, mut suffixes): (&str, &[&str]) = ("", &[]);
            let (mut heads, mut taken) = (BTreeSet::new(), BTreeSet::new());
            for line in text.lines().filter(|line| *line != "# EOF") {
                if let Some(head) = line.strip_prefix("# TYPE ") {
                    let (family, kind) = head.split_once(' ').unwrap();
                    name = family;
                    suffixes = match kind {
                        "histogram" => &["_bucket", "_count", "_sum", "_created"],
                        "summary" => &["", "_count", "_sum", "_created"],
                        "counter" if openmetrics => &["_total", "_created"],
                        _ => &[""],
                    };
                    heads.insert(name);
                    let own = suffixes.iter().filter(|s| !s.is_empty() && (openmetrics || **s != "_created"));
                    taken.extend(own.map(|suffix| format!("{name}{suffix}")));
                } else {
                    let sample = line.split(['{', ' ']).next().unwrap();
                    let fits = sample.strip_prefix(name).is_some_and(|suffix| suffixes.contains(&suffix));
                    prop_assert!(fits, "{} under {}\n{}", line, name, text);
                }
            }
            prop_assert!(heads.iter().all(|head| !taken.contains(*head)), "{}", text);
        }
    }
}
