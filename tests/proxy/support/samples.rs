//! What an exposition says, read by other code than the proxy's.

use std::collections::BTreeMap;

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// Name and labels.
pub type Series = (String, Labels);

/// A line of an exposition.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// Value, as `f64` writes it.
    pub value: String,
    /// Timestamp, milliseconds since 1970.
    pub at: Option<i64>,
}

impl Sample {
    /// Which series it belongs to.
    pub fn series(&self) -> Series {
        (self.name.clone(), self.labels.clone())
    }

    /// The value of a label, empty if there is none: the same to Prometheus.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map(String::as_str).unwrap_or_default()
    }
}

/// All samples of a text 0.0.4, in order.
pub fn samples(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(sample).collect()
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("not a sample: {line}"));
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(open) = rest.strip_prefix('{') {
        rest = open;
        while !rest.starts_with('}') {
            let (label, quoted) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
            let (value, after) = unquoted(quoted);
            labels.insert(label.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let mut words = rest.split_whitespace();
    let value: f64 = words.next().and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("no value: {line}"));
    let at = words.next().map(|at| at.parse().unwrap_or_else(|_| panic!("no timestamp: {line}")));
    assert_eq!(words.next(), None, "{line}");
    Sample { name: name.to_owned(), labels, value: value.to_string(), at }
}

/// A quoted value without its escapes, and what comes after the quote.
pub fn unquoted(text: &str) -> (String, &str) {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, other)) => other,
                None => panic!("ends in the middle: {text}"),
            }),
            other => value.push(other),
        }
    }
    panic!("no end of a label's value: {text}")
}
