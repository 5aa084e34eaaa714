//! From a body's text to a [`Body`]: families, identity, common labels.

use std::borrow::Cow;
use std::collections::HashMap;

use super::identity::{Identity, Labels, NAME, NAMESPACE, Votes, identify};
use super::model::{Body, Interner};
use super::parse::{Kind, Label, Line, escape, is_metric_name, line};
use super::rows::Rows;

/// What was found in a body besides its series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines dropped because they cannot be read.
    pub invalid: usize,
    /// Series dropped because the body had them already.
    pub duplicate: usize,
    /// Series whose identity labels were missing or wrong.
    pub repaired: usize,
}

/// A body, read.
#[derive(Debug)]
pub struct Built {
    /// The series.
    pub body: Body,
    /// Whose they are, if the body or the group tells.
    pub identity: Option<Identity>,
    /// The task, if the run tells it with its namespace.
    pub task: Option<Task>,
    /// What was wrong.
    pub report: Report,
}

/// A task, as its runs name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Task {
    /// `task_namespace`.
    pub namespace: String,
    /// `task_name`.
    pub name: String,
}

impl Task {
    /// Out of the labels that are set on every series of a run.
    fn of(set: &Labels) -> Option<Self> {
        let told = |label| set.get(label).cloned();
        Some(Self { namespace: told(NAMESPACE)?, name: told(NAME)? })
    }
}

struct Sample<'a> {
    name: &'a str,
    value: f64,
    /// Place in `Parsed::families`.
    family: usize,
    /// Its labels, in `Parsed::labels`, sorted by name.
    labels: std::ops::Range<usize>,
}

struct Declared<'a> {
    name: &'a str,
    kind: Kind,
    help: &'a str,
}

#[derive(Default)]
struct Parsed<'a> {
    families: Vec<Declared<'a>>,
    by_name: HashMap<&'a str, usize>,
    labels: Vec<Label<'a>>,
    samples: Vec<Sample<'a>>,
    invalid: usize,
}

/// Reads `text`. The labels of `group` are set on every series.
pub fn build(text: &[u8], group: &Labels, interner: &Interner) -> Built {
    let mut parsed = Parsed::default();
    let types = declared_types(text);
    // Looked at as a whole it takes less time than line by line.
    let whole = std::str::from_utf8(text).ok();
    let mut from = 0;
    while let Some(rest) = text.get(from..).filter(|rest| !rest.is_empty()) {
        let end = from + memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = match whole {
            Some(whole) => whole.get(from..end),
            None => text.get(from..end).and_then(|line| std::str::from_utf8(line).ok()),
        };
        match line {
            Some(line) => parsed.line(line, &types),
            None => parsed.invalid += 1,
        }
        from = end + 1;
    }
    parsed.into_built(group, interner)
}

/// What OpenMetrics' types mean in text 0.0.4; those that it does not have are what their series look like.
fn kind(word: &str) -> Option<Kind> {
    Some(match word {
        "counter" => Kind::Counter,
        "gauge" | "info" | "stateset" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        "summary" => Kind::Summary,
        "untyped" | "unknown" | "gaugehistogram" => Kind::Untyped,
        _ => return None,
    })
}

/// A usual body has 60 to 80.
const FAMILIES_USUAL: usize = 100;

/// Type and help by family. They are read first: a sample may stand before them (bodies joined by hand).
fn declared_types(text: &[u8]) -> HashMap<&str, (Kind, &str)> {
    let mut declared: HashMap<&str, (Kind, &str)> = HashMap::with_capacity(FAMILIES_USUAL);
    let mut none = Vec::new();
    for at in memchr::memchr_iter(b'#', text) {
        let before = text.get(..at).unwrap_or_default().iter().rev();
        let begins = before.copied().find(|b| !matches!(b, b' ' | b'\t')).is_none_or(|b| b == b'\n');
        let Some(rest) = text.get(at..).filter(|_| begins) else { continue };
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let Some(Ok(comment)) = rest.get(..end).map(std::str::from_utf8) else { continue };
        match line(comment, &mut none) {
            // The first declaration stays.
            Line::Type(name, word) => {
                if let Some(kind) = kind(word) {
                    let known = declared.entry(name).or_insert((kind, ""));
                    if known.0 == Kind::Untyped {
                        known.0 = kind;
                    }
                }
            }
            Line::Help(name, text) => {
                let known = declared.entry(name).or_insert((Kind::Untyped, text));
                if known.1.is_empty() {
                    known.1 = text;
                }
            }
            Line::Sample(..) | Line::Nothing | Line::Invalid => {}
        }
    }
    declared
}

impl<'a> Parsed<'a> {
    fn line(&mut self, text: &'a str, types: &HashMap<&'a str, (Kind, &'a str)>) {
        let from = self.labels.len();
        match line(text, &mut self.labels) {
            Line::Sample(name, value) => {
                if let Some(own) = self.labels.get_mut(from..)
                    && !own.is_sorted_by(|a, b| a.0 < b.0)
                {
                    own.sort_unstable();
                }
                let family = match self.samples.last() {
                    Some(last) if last.name == name => Some(last.family),
                    _ => self.family_of(name, types),
                };
                let Some(family) = family else {
                    self.labels.truncate(from);
                    self.invalid += 1;
                    return;
                };
                self.samples.push(Sample { name, value, family, labels: from..self.labels.len() });
            }
            Line::Invalid => self.invalid += 1,
            Line::Help(..) | Line::Type(..) | Line::Nothing => {}
        }
    }

    fn family_of(&mut self, name: &'a str, types: &HashMap<&'a str, (Kind, &'a str)>) -> Option<usize> {
        let (family, kind, help) = fitting(name, types)?;
        Some(*self.by_name.entry(family).or_insert_with(|| {
            self.families.push(Declared { name: family, kind, help });
            self.families.len() - 1
        }))
    }

    fn labels_of(&self, sample: &Sample<'a>) -> &[Label<'a>] {
        self.labels.get(sample.labels.clone()).unwrap_or_default()
    }

    fn into_built(mut self, group: &Labels, interner: &Interner) -> Built {
        let mut votes = Votes::default();
        self.samples.iter().for_each(|sample| votes.add(self.labels_of(sample)));
        let (identity, set) = identify(&votes, group);
        let task = identity.as_ref().and_then(|_| Task::of(&set));
        let set: Vec<(String, String)> =
            set.into_iter().map(|(name, value)| (name, escape(&value))).collect();
        let alike = self.alike();
        let mut report = Report { invalid: self.invalid, ..Report::default() };
        if identity.is_some() {
            // Nearly always every series has them all.
            let wanted = |(name, value): &&(String, String)| {
                !value.is_empty() && !alike.contains(&(name.as_str(), value.as_str()))
            };
            let wanted: Vec<Label<'_>> =
                set.iter().filter(wanted).map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let wrong = |s: &&Sample<'a>| wanted.iter().any(|label| !self.labels_of(s).contains(label));
            report.repaired = self.samples.iter().filter(wrong).count();
        }
        let mut common = alike;
        common.retain(|(name, _)| !set.iter().any(|(n, _)| n == name));
        let mut labels: Vec<String> = set
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain(common.iter().copied())
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        labels.sort_unstable();
        let everywhere: Vec<&str> =
            set.iter().map(|(n, _)| n.as_str()).chain(common.iter().map(|(n, _)| *n)).collect();
        let body = self.body(&everywhere, &labels.join(","), interner, &mut report);
        Built { body, identity, task, report }
    }

    /// Labels that every series has alike.
    fn alike(&self) -> Vec<Label<'a>> {
        let Some(first) = self.samples.first() else { return Vec::new() };
        let mut alike: Vec<Label<'a>> = self.labels_of(first).to_vec();
        alike.retain(|(name, _)| !["le", "quantile"].contains(name));
        for sample in &self.samples {
            // Both in the order of names.
            let mut own = self.labels_of(sample);
            alike.retain(|label| {
                while let Some((_, rest)) = own.split_first().filter(|(first, _)| first.0 < label.0) {
                    own = rest;
                }
                own.first() == Some(label)
            });
        }
        alike
    }

    fn body(&mut self, everywhere: &[&str], labels: &str, interner: &Interner, report: &mut Report) -> Body {
        let mut order: Vec<usize> = (0..self.families.len()).collect();
        order.sort_unstable_by_key(|i| self.families.get(*i).map(|family| family.name));
        let mut rank = vec![0; order.len()];
        for (place, i) in order.iter().enumerate() {
            if let Some(rank) = rank.get_mut(*i) {
                *rank = place;
            }
        }
        // Stable: a family's series stay in their order.
        self.samples.sort_by_key(|sample| rank.get(sample.family).copied());
        let (mut families, mut values) =
            (Vec::with_capacity(order.len()), Vec::with_capacity(self.samples.len()));
        let (mut start, mut rows) = (None, Rows::new());
        for samples in self.samples.chunk_by(|a, b| a.family == b.family) {
            let Some(declared) = samples.first().and_then(|s| self.families.get(s.family)) else { continue };
            rows.begin(declared.name, declared.kind);
            for sample in samples {
                rows.add(sample.name, sample.value, self.labels_of(sample), everywhere);
            }
            let from = values.len();
            let (packed, twice) = rows.end(&help(declared), &mut values);
            report.duplicate += twice;
            let family = interner.intern(packed);
            if declared.name == "process_start_time_seconds" {
                start = values.get(from).copied().filter(|s| s.is_finite() && *s > 0.0);
            }
            families.push((family, u32::try_from(from).unwrap_or(u32::MAX)));
        }
        Body { labels: labels.into(), families: families.into(), values: values.into(), start }
    }
}

/// The family that a sample belongs to; none for the bare name of a histogram, which is no series of it.
fn fitting<'a>(name: &'a str, types: &HashMap<&'a str, (Kind, &'a str)>) -> Option<(&'a str, Kind, &'a str)> {
    if let Some((kind, help)) = types.get(name) {
        return (*kind != Kind::Histogram).then_some((name, *kind, help));
    }
    for suffix in ["_bucket", "_count", "_sum", "_total", "_info"] {
        let Some((base, (kind, help))) = name.strip_suffix(suffix).and_then(|b| Some((b, types.get(b)?)))
        else {
            continue;
        };
        match (kind, suffix) {
            (Kind::Histogram, "_bucket" | "_count" | "_sum") | (Kind::Summary, "_count" | "_sum") => {
                return Some((base, *kind, help));
            }
            // OpenMetrics names a counter without its suffix, and an info.
            (Kind::Counter, "_total") | (Kind::Gauge, "_info") => return Some((name, *kind, help)),
            _ => {}
        }
    }
    Some((name, Kind::Untyped, ""))
}

/// Escapes of a help text that OpenMetrics allows: `\\`, `\n`, `\"`. Any other backslash is doubled.
fn help<'a>(declared: &Declared<'a>) -> Cow<'a, str> {
    debug_assert!(is_metric_name(declared.name));
    let text = declared.help.trim_end();
    if !text.bytes().any(|b| b == b'\\' || b.is_ascii_control()) && text.is_ascii() {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek().copied()) {
            ('\\', Some(next @ ('\\' | 'n'))) => {
                out.extend([c, next]);
                chars.next();
            }
            // Only OpenMetrics escapes quotes; to text 0.0.4 `\"` is two characters.
            ('\\', Some('"')) => {}
            ('\\', _) => out.push_str("\\\\"),
            // A raw control character would break the line for some readers.
            (c, _) if c.is_control() => out.push(' '),
            (c, _) => out.push(c),
        }
    }
    out.into()
}
