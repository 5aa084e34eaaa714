//! Writes a merge.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::merge::{Exposed, Format, Merge, Out, written_name};
use super::model::Family;
use super::parse::Kind;

/// Where the writing is.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    out: usize,
    source: usize,
    holder: usize,
    /// Whether the present family's head is written.
    headed: bool,
    ended: bool,
}

/// What all lines of a body end with: made once, for thousands of families.
#[derive(Debug)]
pub(super) struct Tail {
    /// The labels that all series have with what closes them, `a="b",c="d"} `; empty if there are none.
    labels: Box<str>,
    /// With the blank before it and the line's end.
    time: Box<str>,
    /// When counting began, where that is asked for.
    created: Option<Box<str>>,
}

impl Merge {
    /// Appends about `limit` bytes more; false when all is written.
    pub fn write(&mut self, to: &mut Vec<u8>, limit: usize) -> bool {
        let full = to.len().saturating_add(limit);
        while to.len() < full {
            let Some(out) = self.outs.get(self.cursor.out) else {
                if !self.cursor.ended && self.format != Format::Text {
                    to.extend_from_slice(b"# EOF\n");
                }
                self.cursor.ended = true;
                return false;
            };
            let Some(source) = out.sources.get(self.cursor.source) else {
                self.cursor.out += 1;
                (self.cursor.source, self.cursor.holder, self.cursor.headed) = (0, 0, false);
                // To clear it would take as long as the largest family before needed.
                self.seen = HashSet::new();
                continue;
            };
            let holders = self.holders.get(source.holders.clone()).unwrap_or_default();
            let Some(holder) = holders.get(self.cursor.holder) else {
                self.cursor.source += 1;
                self.cursor.holder = 0;
                continue;
            };
            self.cursor.holder += 1;
            let place = holder.body as usize;
            let (Some(exposed), Some(tail)) = (self.bodies.get(place), self.tails.get(place)) else {
                continue;
            };
            let Some((family, values)) = exposed.body.at(holder.place as usize) else { continue };
            let seen = (self.check_seen && !exposed.identified).then_some(&mut self.seen);
            let only = source.in_part.then_some(&*out.name);
            let piece = Piece { out, only, labels: &exposed.body.labels, tail, family, values };
            let (series, duplicates) = piece.write(to, self.format, &mut self.cursor.headed, seen);
            self.counts.series += series;
            self.counts.duplicates += duplicates;
        }
        true
    }
}

/// One body's series of one family.
struct Piece<'a> {
    out: &'a Out,
    only: Option<&'a str>,
    labels: &'a str,
    tail: &'a Tail,
    family: &'a Family,
    values: &'a [f64],
}

impl Piece<'_> {
    fn write(
        &self,
        to: &mut Vec<u8>,
        format: Format,
        headed: &mut bool,
        mut seen: Option<&mut HashSet<u64>>,
    ) -> (u64, u64) {
        let counts = matches!(self.out.kind, Kind::Counter | Kind::Histogram | Kind::Summary);
        let created = self.tail.created.as_deref().filter(|_| counts);
        let mut number = ryu::Buffer::new();
        let (mut series, mut duplicates) = (0, 0);
        for ((line, ends), value) in self.family.lines().zip(self.values) {
            if self.only.is_some_and(|only| line.split_once('{').map_or(line, |(name, _)| name) != only) {
                continue;
            }
            if let Some(seen) = &mut seen
                && !seen.insert(series_hash(line, self.labels))
            {
                duplicates += 1;
                continue;
            }
            if !*headed {
                self.out.head(to, format);
                *headed = true;
            }
            self.tail.line(to, line, text_of(*value, &mut number));
            series += 1;
            if ends && let Some(created) = created {
                self.created_line(to, line, created, seen.as_deref_mut());
            }
        }
        (series, duplicates)
    }

    fn created_line(&self, to: &mut Vec<u8>, line: &str, created: &str, seen: Option<&mut HashSet<u64>>) {
        let (name, labels) = line.split_once('{').map_or((line, None), |(name, labels)| (name, Some(labels)));
        // A group that ends with a bucket or a quantile has no line with its labels alone.
        if self.out.kind.is_compound() && !name.ends_with("_count") && !name.ends_with("_sum") {
            return;
        }
        let base = written_name(&self.out.name, Some(self.out.kind), true);
        let mut series = format!("{base}_created");
        if let Some(labels) = labels {
            series.push('{');
            series.push_str(labels);
        }
        // Two bodies without identity may have a part of one group each.
        if seen.is_none_or(|seen| seen.insert(series_hash(&series, self.labels))) {
            self.tail.line(to, &series, created);
        }
    }
}

impl Out {
    /// HELP and TYPE.
    fn head(&self, to: &mut Vec<u8>, format: Format) {
        let openmetrics = format != Format::Text;
        let name = written_name(&self.name, Some(self.kind), openmetrics);
        let word = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
            Kind::Untyped if openmetrics => "unknown",
            Kind::Untyped => "untyped",
        };
        if !self.help.is_empty() {
            let help = &self.help;
            // OpenMetrics escapes quotes as well.
            let help = if openmetrics { help.replace('"', "\\\"") } else { help.to_string() };
            push(to, &["# HELP ", name, " ", &help, "\n"]);
        }
        push(to, &["# TYPE ", name, " ", word, "\n"]);
    }
}

impl Tail {
    pub(super) fn new(body: &Exposed, format: Format) -> Self {
        let labels = match &*body.body.labels {
            "" => String::new(),
            labels => format!("{labels}}} "),
        };
        let time = match (body.taken_ms, format) {
            (None, _) => "\n".to_owned(),
            (Some(ms), Format::Text) => format!(" {ms}\n"),
            (Some(ms), Format::OpenMetrics { .. }) => {
                let sign = if ms < 0 { "-" } else { "" };
                format!(" {sign}{}.{:03}\n", ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000)
            }
        };
        let created = (format == Format::OpenMetrics { start: true }).then(|| {
            let start = body.body.start().unwrap_or(body.since);
            text_of(start, &mut ryu::Buffer::new()).into()
        });
        Self { labels: labels.into(), time: time.into(), created }
    }

    fn line(&self, to: &mut Vec<u8>, line: &str, value: &str) {
        // Own labels end with a quote; a name does not.
        let (sep, labels) = match (line.ends_with('"'), &*self.labels) {
            (true, "") => ("", "} "),
            (false, "") => ("", " "),
            (true, labels) => (",", labels),
            (false, labels) => ("{", labels),
        };
        push(to, &[line, sep, labels, value, &self.time]);
    }
}

fn push(to: &mut Vec<u8>, parts: &[&str]) {
    to.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        to.extend_from_slice(part.as_bytes());
    }
}

fn text_of(value: f64, number: &mut ryu::Buffer) -> &str {
    if value.is_nan() {
        "NaN"
    } else if value == f64::INFINITY {
        "+Inf"
    } else if value == f64::NEG_INFINITY {
        "-Inf"
    } else {
        number.format_finite(value)
    }
}

/// The same for the same name and labels, however they are divided into own and common ones.
fn series_hash(line: &str, common: &str) -> u64 {
    let (name, own) = line.split_once('{').unwrap_or((line, ""));
    let mut sum = hash(name);
    for labels in [own, common] {
        let mut rest = labels;
        while !rest.is_empty() {
            let end = label_end(rest);
            let (label, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
            sum = sum.wrapping_add(hash(label));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
    }
    sum
}

/// Where the first of `a="b",c="d"` ends.
fn label_end(labels: &str) -> usize {
    let mut quotes = 0;
    let mut escaped = false;
    for (i, b) in labels.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quotes += 1,
            _ => {}
        }
        if quotes == 2 {
            return i + 1;
        }
    }
    labels.len()
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
