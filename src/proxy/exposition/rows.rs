//! The series of one family on their way into a family as it is kept. Nearly always it is known already, so nothing is
//! allocated for a series or a family here.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::model::Packed;
use super::parse::{Kind, Label};
use super::strict::Group;

/// Of so few series each is compared with each to find one that is there twice.
const FEW: usize = 8;

/// Room for one family after the other.
pub struct Rows<'a> {
    name: &'a str,
    kind: Kind,
    series: Vec<Row>,
    /// Lines and groups of the series.
    text: String,
    packed: Packed,
}

/// A series.
struct Row {
    /// Name and labels, in `Rows::text`.
    line: Range<usize>,
    /// The labels without `le` and `quantile`, there as well.
    group: Range<usize>,
    /// Of the group among the groups.
    place: usize,
    rank: usize,
    value: f64,
    /// Of a bucket or quantile.
    bound: f64,
    /// Whether OpenMetrics takes the bound as it is written.
    strict: bool,
}

impl<'a> Rows<'a> {
    /// Nothing yet.
    pub fn new() -> Self {
        let (series, text, packed) = (Vec::new(), String::new(), Packed::default());
        Self { name: "", kind: Kind::Untyped, series, text, packed }
    }

    /// Begins another family.
    pub fn begin(&mut self, name: &'a str, kind: Kind) {
        (self.name, self.kind) = (name, kind);
        self.series.clear();
        self.text.clear();
    }

    /// Adds a series. Labels that the body has `everywhere` are left out.
    pub fn add(&mut self, name: &str, value: f64, labels: &[Label<'_>], everywhere: &[&str]) {
        let suffix = name.strip_prefix(self.name).unwrap_or_default();
        let rank = self.kind.suffixes().iter().position(|s| *s == suffix).unwrap_or(0);
        let bound_label = match (self.kind, rank) {
            (Kind::Histogram, 0) => Some("le"),
            (Kind::Summary, 0) => Some("quantile"),
            _ => None,
        };
        let (mut bound, mut strict) = (0.0, bound_label.is_none());
        let own = || labels.iter().filter(|(name, _)| !everywhere.contains(name));
        let from = self.text.len();
        self.text.push_str(name);
        let mut sep = '{';
        for (name, value) in own() {
            self.text.push(sep);
            sep = ',';
            push_label(&mut self.text, name, value);
            if bound_label == Some(name) {
                bound = value.parse().unwrap_or(f64::NAN);
                strict = canonical(value, bound, self.kind);
            }
        }
        let line = from..self.text.len();
        if self.kind.is_compound() {
            for (name, value) in own().filter(|(name, _)| bound_label != Some(name)) {
                push_label(&mut self.text, name, value);
            }
        }
        let group = line.end..self.text.len();
        self.series.push(Row { line, group, place: 0, rank, value, bound, strict });
    }

    /// Puts the family together. Appends the values; returns how many series were there twice.
    pub fn end(&mut self, help: &str, values: &mut Vec<f64>) -> (&Packed, usize) {
        let compound = self.kind.is_compound();
        if compound {
            in_groups(&self.text, &mut self.series);
        }
        let (rows, packed) = (&self.series, &mut self.packed);
        packed.begin(self.name, self.kind, help);
        let line_of = |row: &Row| self.text.get(row.line.clone()).unwrap_or_default();
        let (mut seen, mut twice, mut group) = (HashSet::new(), 0, Group::default());
        for (i, row) in rows.iter().enumerate() {
            let line = line_of(row);
            let known = match rows.len() {
                0..=FEW => rows.iter().take(i).any(|other| line_of(other) == line),
                _ => !seen.insert(line),
            };
            if known {
                twice += 1;
            } else {
                packed.strict &= row.strict && group.allows(self.kind, row.rank, row.bound, row.value);
                packed.line(line);
                values.push(row.value);
            }
            if compound && rows.get(i + 1).is_none_or(|next| next.place != row.place) {
                packed.end_group();
                packed.strict &= std::mem::take(&mut group).is_whole(self.kind);
            }
        }
        packed.strict &= self.kind != Kind::Counter || self.name.ends_with("_total");
        packed.end();
        (&self.packed, twice)
    }
}

fn push_label(to: &mut String, name: &str, value: &str) {
    for part in [name, "=\"", value, "\""] {
        to.push_str(part);
    }
}

/// OpenMetrics wants bounds as `1.0`, `1e+06`, `+Inf`, and quantiles between 0 and 1.
fn canonical(text: &str, bound: f64, kind: Kind) -> bool {
    match kind {
        Kind::Summary => (0.0..=1.0).contains(&bound) && text.contains('.'),
        _ => text == "+Inf" || (bound.is_finite() && text.contains(['.', 'e'])),
    }
}

/// Series of the same labels together, groups in their first order, buckets in theirs.
fn in_groups(text: &str, rows: &mut [Row]) {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut last = ("", 0);
    for (i, row) in rows.iter_mut().enumerate() {
        let group = text.get(row.group.clone()).unwrap_or_default();
        if i == 0 || group != last.0 {
            let next = places.len();
            last = (group, *places.entry(group).or_insert(next));
        }
        row.place = last.1;
    }
    rows.sort_by(|a, b| {
        a.place.cmp(&b.place).then(a.rank.cmp(&b.rank)).then_with(|| a.bound.total_cmp(&b.bound))
    });
}
