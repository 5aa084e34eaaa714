//! A strict reader of text 0.0.4 and OpenMetrics 1.0, of its own: nothing of the proxy's tolerant one is in it.

use std::collections::{BTreeMap, BTreeSet};

/// What an exposition holds.
pub struct Exposition {
    /// Name and sorted labels with the bits of the value, sorted.
    pub series: Vec<(String, u64)>,
    /// Which types there are.
    pub kinds: BTreeSet<String>,
}

/// Reads; panics at whatever is not as the format wants it.
pub fn read(text: &str, openmetrics: bool) -> Exposition {
    let mut reader = Reader { openmetrics, ..Reader::default() };
    let text = if openmetrics { text.strip_suffix("# EOF\n").expect("the end") } else { text };
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has no end");
    for line in text.strip_suffix('\n').into_iter().flat_map(|text| text.split('\n')) {
        reader.line(line);
    }
    reader.end()
}

#[derive(Default)]
struct Reader<'a> {
    openmetrics: bool,
    families: BTreeMap<&'a str, &'a str>,
    help: Option<&'a str>,
    now: Option<&'a str>,
    series: BTreeMap<String, u64>,
    names: BTreeSet<&'a str>,
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: &'a str) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').expect("a help");
            assert!(is_name(name) && !self.families.contains_key(name), "{line}");
            assert!(escapes(text, if self.openmetrics { "\\n\"" } else { "\\n" }).is_some(), "{line}");
            assert!(!self.openmetrics || !unescaped_quote(text), "{line}");
            self.help = Some(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(is_name(name), "{line}");
            assert!(self.help.take().is_none_or(|help| help == name), "help and type differ: {line}");
            assert!(self.kinds().contains(&kind), "{line}");
            assert!(self.families.insert(name, kind).is_none(), "a family twice: {line}");
            self.now = Some(name);
        } else {
            self.sample(line);
        }
    }

    fn kinds(&self) -> [&'static str; 5] {
        let unknown = if self.openmetrics { "unknown" } else { "untyped" };
        ["counter", "gauge", "histogram", "summary", unknown]
    }

    fn sample(&mut self, line: &'a str) {
        let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no sample: {line:?}"));
        let (name, rest) = line.split_at(end);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest, line),
            None => (BTreeMap::new(), rest),
        };
        let family = self.now.unwrap_or_else(|| panic!("no type before {line}"));
        assert!(is_name(name) && self.fits(family, name, &labels), "{line} under {family}");
        let words: Vec<&str> = rest.strip_prefix(' ').expect("a blank").split(' ').collect();
        assert!(words.len() <= 2, "{line}");
        let value: f64 = words[0].parse().unwrap_or_else(|_| panic!("{line}"));
        if let Some(time) = words.get(1) {
            assert!(
                if self.openmetrics { time.contains('.') } else { time.parse::<i64>().is_ok() },
                "{line}"
            );
        }
        self.names.insert(name);
        // All that is not a number is one: which one it is says nothing.
        let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        assert!(self.series.insert(format!("{name}{labels:?}"), bits).is_none(), "twice: {line}");
    }

    fn fits(&self, family: &str, name: &str, labels: &BTreeMap<&str, &str>) -> bool {
        let Some(suffix) = name.strip_prefix(family) else { return false };
        match (self.families[family], suffix) {
            // To text 0.0.4 they are samples like any other.
            ("histogram", "_bucket") => !self.openmetrics || labels.contains_key("le"),
            ("summary", "") => !self.openmetrics || labels.contains_key("quantile"),
            ("histogram" | "summary", "_created") => self.openmetrics,
            ("counter", "_total" | "_created") if self.openmetrics => true,
            ("counter", "") => !self.openmetrics,
            ("histogram" | "summary", "_count" | "_sum") | ("gauge" | "unknown" | "untyped", "") => true,
            _ => false,
        }
    }

    /// No name of one family's series may be another family.
    fn end(self) -> Exposition {
        assert!(self.help.is_none(), "a help without a type");
        for (family, kind) in &self.families {
            let taken: &[&str] = match *kind {
                "histogram" => &["_bucket", "_count", "_sum"],
                "summary" => &["_count", "_sum"],
                "counter" if self.openmetrics => &["_total", "_created"],
                _ => &[],
            };
            for suffix in taken {
                let name = format!("{family}{suffix}");
                assert!(
                    !self.families.contains_key(name.as_str()),
                    "{name} is a family and a series of {family}"
                );
            }
        }
        let kinds = self.families.values().map(|kind| (*kind).replace("unknown", "untyped")).collect();
        Exposition { series: self.series.into_iter().collect(), kinds }
    }
}

fn labels<'a>(mut rest: &'a str, line: &str) -> (BTreeMap<&'a str, &'a str>, &'a str) {
    let mut labels = BTreeMap::new();
    loop {
        let (name, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
        assert!(is_name(name) && !name.contains(':'), "{line}");
        let end = escapes(value, "\\n\"").unwrap_or_else(|| panic!("no value: {line}"));
        assert!(end < value.len(), "no end of a value: {line}");
        assert!(labels.insert(name, &value[..end]).is_none(), "a label twice: {line}");
        rest = &value[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (labels, rest.strip_prefix('}').unwrap_or_else(|| panic!("{line}"))),
        }
    }
}

/// Where a text with escapes ends: at a bare quote if quotes are to be escaped, else at its end. None if a backslash
/// stands before anything but `allowed`.
fn escapes(text: &str, allowed: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (escaped, c) {
            (true, c) if !allowed.contains(c) => return None,
            (true, _) => escaped = false,
            (false, '\\') => escaped = true,
            (false, '"') if allowed.contains('"') => return Some(at),
            _ => {}
        }
    }
    (!escaped).then_some(text.len())
}

fn unescaped_quote(text: &str) -> bool {
    escapes(text, "\\n\"").is_some_and(|end| end < text.len())
}

fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}
