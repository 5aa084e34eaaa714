//! What a Spring task prints as its last scrape.

use std::collections::BTreeMap;

/// A series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name of the meter as Prometheus has it.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

/// The series between the two marks of a log; exactly one scrape.
pub fn last_scrape(log: &str) -> Vec<Series> {
    let parts: Vec<&str> = log.split("---8<--- scrape\n").collect();
    assert_eq!(parts.len(), 2, "not exactly one scrape in {log}");
    let (text, _) = parts[1].split_once("--->8--- scrape").unwrap();
    text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).map(series).collect()
}

fn series(line: &str) -> Series {
    let end = line.find(['{', ' ']).unwrap();
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside),
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next().and_then(|v| v.parse().ok());
    Series { name: name.to_owned(), labels, value: value.unwrap_or_else(|| panic!("no value in {line:?}")) }
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(after) = rest.strip_prefix('}') {
            return (labels, after);
        }
        let (name, quoted) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label in {rest:?}"));
        let mut escaped = false;
        let end = quoted.find(|c| {
            let closes = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        });
        let (value, after) = quoted.split_at(end.unwrap());
        labels.insert(name.to_owned(), value.to_owned());
        rest = &after[1..];
    }
}
