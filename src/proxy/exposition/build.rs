//! From a body's text to a [`Body`]: families, identity, common labels.

use std::collections::{HashMap, HashSet};
use std::ops::Add;

use super::identity::{Identity, Labels, Votes, identify};
use super::model::{Body, Family, Interner};
use super::parse::{Kind, Label, Line, escape, is_metric_name, line};
use super::strict::Group;

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
    /// What was wrong.
    pub report: Report,
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
    for bytes in text.split(|b| *b == b'\n') {
        match std::str::from_utf8(bytes) {
            Ok(text) => parsed.line(text, &types),
            Err(_) => parsed.invalid += 1,
        }
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

/// Type and help by family. They are read first: a sample may stand before them (bodies joined by hand).
fn declared_types(text: &[u8]) -> HashMap<&str, (Kind, &str)> {
    let mut declared: HashMap<&str, (Kind, &str)> = HashMap::new();
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
        let set: Vec<(String, String)> =
            set.into_iter().map(|(name, value)| (name, escape(&value))).collect();
        let common = self.common(&set);
        let mut report = Report { invalid: self.invalid, ..Report::default() };
        if identity.is_some() {
            let wrong = |s: &&Sample<'a>| {
                set.iter()
                    .any(|(n, v)| !v.is_empty() && !self.labels_of(s).contains(&(n.as_str(), v.as_str())))
            };
            report.repaired = self.samples.iter().filter(wrong).count();
        }
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
        Built { body, identity, report }
    }

    /// Labels that every series has alike, besides those that are set.
    fn common(&self, set: &[(String, String)]) -> Vec<Label<'a>> {
        let Some(first) = self.samples.first() else { return Vec::new() };
        let mut common: Vec<Label<'a>> = self.labels_of(first).to_vec();
        common.retain(|(name, _)| !["le", "quantile"].contains(name) && !set.iter().any(|(n, _)| n == name));
        for sample in &self.samples {
            let own = self.labels_of(sample);
            common.retain(|label| own.contains(label));
        }
        common
    }

    fn body(&mut self, everywhere: &[&str], labels: &str, interner: &Interner, report: &mut Report) -> Body {
        let mut of_family: Vec<Vec<usize>> = self.families.iter().map(|_| Vec::new()).collect();
        for (i, sample) in self.samples.iter().enumerate() {
            if let Some(samples) = of_family.get_mut(sample.family) {
                samples.push(i);
            }
        }
        let mut order: Vec<(usize, &Declared<'a>)> = self.families.iter().enumerate().collect();
        order.sort_unstable_by_key(|(_, family)| family.name);
        let (mut families, mut values) =
            (Vec::with_capacity(order.len()), Vec::with_capacity(self.samples.len()));
        let (mut start, mut new_bytes) = (None, 0);
        for (i, declared) in order {
            let samples = of_family.get(i).into_iter().flatten().filter_map(|i| self.samples.get(*i));
            let rows = samples.map(|s| Row::new(s, declared, self.labels_of(s), everywhere)).collect();
            let from = values.len();
            let family = family(declared, rows, &mut values, report);
            if declared.name == "process_start_time_seconds" {
                start = values.get(from).copied().filter(|s| s.is_finite() && *s > 0.0);
            }
            let (family, bytes) = interner.intern(family);
            new_bytes += bytes;
            families.push((family, u32::try_from(from).unwrap_or(u32::MAX)));
        }
        Body { labels: labels.into(), families: families.into(), values: values.into(), start, new_bytes }
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

/// Bytes of a usual line without the labels that all have.
const LINE_USUAL: usize = 96;

/// A series on its way into a family.
struct Row {
    line: String,
    value: f64,
    /// The labels without `le` and `quantile`.
    group: String,
    rank: u8,
    /// Of a bucket or quantile.
    bound: f64,
    /// Whether OpenMetrics takes the bound as it is written.
    strict: bool,
}

impl Row {
    fn new(sample: &Sample<'_>, family: &Declared<'_>, labels: &[Label<'_>], everywhere: &[&str]) -> Self {
        let compound = family.kind.is_compound();
        let suffix = sample.name.strip_prefix(family.name).unwrap_or_default();
        let rank = family.kind.suffixes().iter().position(|s| *s == suffix).unwrap_or(0);
        let bound_label = match (family.kind, rank) {
            (Kind::Histogram, 0) => Some("le"),
            (Kind::Summary, 0) => Some("quantile"),
            _ => None,
        };
        let mut row = Self {
            line: String::with_capacity(LINE_USUAL).add(sample.name),
            value: sample.value,
            group: String::new(),
            rank: u8::try_from(rank).unwrap_or(u8::MAX),
            bound: 0.0,
            strict: bound_label.is_none(),
        };
        let mut sep = '{';
        for (name, value) in labels.iter().filter(|(name, _)| !everywhere.contains(name)) {
            row.line.push(sep);
            let from = row.line.len();
            row.line.extend([name, "=\"", value, "\""]);
            sep = ',';
            if bound_label == Some(name) {
                row.bound = value.parse().unwrap_or(f64::NAN);
                row.strict = canonical(value, row.bound, family.kind);
            } else if compound {
                row.group.push_str(row.line.get(from..).unwrap_or_default());
            }
        }
        row
    }
}

/// OpenMetrics wants bounds as `1.0`, `1e+06`, `+Inf`, and quantiles between 0 and 1.
fn canonical(text: &str, bound: f64, kind: Kind) -> bool {
    match kind {
        Kind::Summary => (0.0..=1.0).contains(&bound) && text.contains('.'),
        _ => text == "+Inf" || (bound.is_finite() && text.contains(['.', 'e'])),
    }
}

fn family(declared: &Declared<'_>, mut rows: Vec<Row>, values: &mut Vec<f64>, report: &mut Report) -> Family {
    let compound = declared.kind.is_compound();
    if compound {
        in_groups(&mut rows);
    }
    let mut strict = true;
    let (mut lines, mut count, mut seen) = (String::new(), 0, HashSet::with_capacity(rows.len()));
    let mut rows = rows.into_iter().peekable();
    let mut group = Group::default();
    while let Some(row) = rows.next() {
        let ends = rows.peek().is_none_or(|next| next.group != row.group);
        if seen.contains(&row.line) {
            report.duplicate += 1;
        } else {
            strict &= row.strict && group.allows(declared.kind, row.rank, row.bound, row.value);
            lines.push_str(&row.line);
            lines.push('\n');
            values.push(row.value);
            count += 1;
        }
        if compound && ends {
            if !lines.ends_with("\n\n") {
                lines.push('\n');
            }
            strict &= std::mem::take(&mut group).is_whole(declared.kind);
        }
        seen.insert(row.line);
    }
    strict &= declared.kind != Kind::Counter || declared.name.ends_with("_total");
    Family {
        name: declared.name.into(),
        kind: declared.kind,
        help: help(declared),
        strict,
        lines: lines.into(),
        count,
    }
}

/// Series of the same labels together, groups in their first order, buckets in theirs.
fn in_groups(rows: &mut [Row]) {
    let mut places: HashMap<String, usize> = HashMap::new();
    for row in rows.iter() {
        let next = places.len();
        places.entry(row.group.clone()).or_insert(next);
    }
    let place = |row: &Row| places.get(&row.group).copied().unwrap_or_default();
    rows.sort_by(|a, b| {
        place(a).cmp(&place(b)).then(a.rank.cmp(&b.rank)).then_with(|| a.bound.total_cmp(&b.bound))
    });
}

/// Escapes of a help text that OpenMetrics allows: `\\`, `\n`, `\"`. Any other backslash is doubled.
fn help(declared: &Declared<'_>) -> Box<str> {
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
