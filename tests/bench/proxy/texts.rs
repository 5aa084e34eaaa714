//! Bodies as real applications send them: recorded ones of four Spring Boot generations, each with the identity of its
//! own run and with values of its own.

use std::fmt::Write;

const RECORDED: [&str; 4] = [
    include_str!("../../../src/proxy/exposition/testdata/scrape-b27.prom"),
    include_str!("../../../src/proxy/exposition/testdata/scrape-b32.prom"),
    include_str!("../../../src/proxy/exposition/testdata/scrape-b35.prom"),
    include_str!("../../../src/proxy/exposition/testdata/scrape-b40.prom"),
];
/// Families whose series are as many in a large application as in a small one.
const ONCE: [&str; 3] = ["spring_cloud_task", "process_", "application_"];

/// What the application with this number shows at its `round`th scrape: `series` series, or as many as were recorded
/// (99 to 116) where that is less than `series` and `series` is 100.
pub fn text(app: usize, round: usize, series: usize) -> String {
    let mut out = String::with_capacity(series * 300);
    let (names, labels) = if series <= 100 { (1, 1) } else { (2, series.div_ceil(150)) };
    let pod = format!("task{}-{}-{:05x}", app % 20, app + 1000, app.wrapping_mul(2_654_435_761) & 0xF_FFFF);
    let mut left = series;
    let mut mixed = (app as u64) << 32 | round as u64;
    for (name, family) in (0..names).flat_map(|name| families(RECORDED[app % 4]).map(move |f| (name, f))) {
        let once = ONCE.iter().any(|begin| family[0].starts_with(&format!("# HELP {begin}")));
        if left == 0 || (once && name > 0) {
            continue;
        }
        let prefix = if name > 0 { "other_" } else { "" };
        for comment in family.iter().filter(|line| line.starts_with('#')) {
            let (word, rest) = comment[2..].split_once(' ').unwrap();
            writeln!(out, "# {word} {prefix}{rest}").unwrap();
        }
        for label in 0..if once { 1 } else { labels } {
            for line in family.iter().filter(|line| !line.starts_with('#')).take(left) {
                left -= 1;
                mixed = mixed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                out.push_str(prefix);
                sample(&mut out, line, label, app, &pod, mixed >> 56);
            }
        }
    }
    out
}

/// Each with its comments and its samples.
fn families(recorded: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines: Vec<&str> = recorded.lines().collect();
    let mut all: Vec<Vec<&str>> = Vec::new();
    for line in lines {
        match all.last_mut() {
            Some(family) if !line.starts_with("# HELP") => family.push(line),
            _ => all.push(vec![line]),
        }
    }
    all.into_iter()
}

fn sample(out: &mut String, line: &str, label: usize, app: usize, pod: &str, mixed: u64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let series = series
        .replace(
            "task_external_execution_id=\"mytask-42-abc\"",
            &format!("task_external_execution_id=\"{pod}\""),
        )
        .replace("task_external_execution_id=\"unknown\"", &format!("task_external_execution_id=\"{pod}\""))
        .replace(",task_execution_id=\"42\"", &format!(",task_execution_id=\"{}\"", app + 1000))
        .replace("{task_execution_id=\"42\"", &format!("{{task_execution_id=\"{}\"", app + 1000))
        .replace("\"mytask\"", &format!("\"task{}\"", app % 20));
    match label {
        0 => out.push_str(&series),
        label => out.push_str(&series.replacen('{', &format!("{{part=\"p{label}\","), 1)),
    }
    let known: f64 = value.parse().unwrap();
    let varied = known * (1.0 + mixed as f64 / 997.0);
    let varied = if known.fract() == 0.0 { varied.round() } else { varied };
    // As Java writes a double.
    if varied == 0.0 || (1e-3..1e7).contains(&varied.abs()) {
        writeln!(out, " {varied:?}").unwrap();
    } else {
        writeln!(out, " {varied:E}").unwrap();
    }
}
