//! A body in memory. Applications of one kind expose the same series with other values and other common labels, so
//! names, labels and help of a family are kept once for all bodies that have them alike; a body of 1,000 series then
//! takes about 10 KB instead of the 137 KB of its text.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::parse::Kind;

/// A family as one or many bodies have it.
#[derive(Debug)]
pub struct Family {
    /// [`Packed::text`].
    text: Box<str>,
    kind: Kind,
    strict: bool,
    name_end: u32,
    help_end: u32,
    pub(super) count: u32,
}

impl Family {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.text.get(1..self.name_end as usize).unwrap_or_default()
    }

    /// Its type.
    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its help, with its escapes.
    pub(super) fn help(&self) -> &str {
        self.text.get(self.name_end as usize + 1..self.help_end as usize).unwrap_or_default()
    }

    /// Whether OpenMetrics allows the series under this type.
    pub(super) const fn strict(&self) -> bool {
        self.strict
    }

    /// For each series a line with its name and its own labels, `name{a="b"` or `name`, sorted by label name, and
    /// whether a group of series with the same labels (but `le` and `quantile`) ends with it.
    pub(super) fn lines(&self) -> Lines<'_> {
        let rest = self.text.get(self.help_end as usize + 1..).unwrap_or_default();
        Lines { rest, grouped: self.kind.is_compound() }
    }

    /// Memory that it takes with its place in the [`Interner`].
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.text.len() + PLACE
    }
}

/// Bytes of a kept family besides itself: the counts of its `Arc`, an entry of a set that is half full, what the
/// allocator needs for two pieces.
const PLACE: usize = 64;

/// A family that may be known already: all in one text, which can be looked up and used again for the next one.
#[derive(Debug)]
pub(super) struct Packed {
    /// A letter for the type, the name, the help and the series, each on a line of its own; a group of a compound
    /// family ends with an empty line. Behind the last line stands whether it is strict. Two families are equal when
    /// this is.
    text: String,
    kind: Kind,
    name_end: usize,
    help_end: usize,
    count: u32,
    /// Whether OpenMetrics allows the series and their values under this type.
    pub(super) strict: bool,
}

impl Default for Packed {
    fn default() -> Self {
        Self { text: String::new(), kind: Kind::Untyped, name_end: 0, help_end: 0, count: 0, strict: true }
    }
}

impl Packed {
    /// Begins another one, without series.
    pub(super) fn begin(&mut self, name: &str, kind: Kind, help: &str) {
        (self.kind, self.count, self.strict) = (kind, 0, true);
        self.text.clear();
        self.text.push(match kind {
            Kind::Counter => 'c',
            Kind::Gauge => 'g',
            Kind::Histogram => 'h',
            Kind::Summary => 's',
            Kind::Untyped => 'u',
        });
        self.text.push_str(name);
        self.name_end = self.text.len();
        self.text.push('\n');
        self.text.push_str(help);
        self.help_end = self.text.len();
        self.text.push('\n');
    }

    /// Adds a series.
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
        self.count += 1;
    }

    /// No more series with these labels come.
    pub(super) fn end_group(&mut self) {
        if !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// All is known. The same series are another family where OpenMetrics refuses their values.
    pub(super) fn end(&mut self) {
        self.text.push(if self.strict { '+' } else { '-' });
    }

    fn keep(&self) -> Family {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Family {
            text: self.text.as_str().into(),
            kind: self.kind,
            strict: self.strict,
            name_end: place(self.name_end),
            help_end: place(self.help_end),
            count: self.count,
        }
    }
}

/// A kept family, found by its text.
#[derive(Debug)]
struct Known(Arc<Family>);

impl Borrow<str> for Known {
    fn borrow(&self) -> &str {
        &self.0.text
    }
}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Known {}

pub(super) struct Lines<'a> {
    rest: &'a str,
    grouped: bool,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (&'a str, bool);

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr::memchr(b'\n', self.rest.as_bytes())?;
        let line = self.rest.get(..end)?;
        self.rest = self.rest.get(end + 1..)?;
        if !self.grouped {
            return Some((line, true));
        }
        // A group of a compound family ends with an empty line.
        let after = self.rest.strip_prefix('\n');
        self.rest = after.unwrap_or(self.rest);
        Some((line, after.is_some()))
    }
}

/// One application's metrics at one time.
#[derive(Debug)]
pub struct Body {
    /// Labels of every series, `a="b",c="d"`.
    pub(super) labels: Box<str>,
    /// Sorted by name; with each the place of its first value.
    pub(super) families: Box<[(Arc<Family>, u32)]>,
    pub(super) values: Box<[f64]>,
    pub(super) start: Option<f64>,
}

impl Body {
    /// Number of series.
    pub fn series(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Number of families.
    pub fn families(&self) -> usize {
        self.families.len()
    }

    /// Memory that it takes for itself. Its families are counted by [`Interner::bytes`], for all bodies together.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.labels.len() + size_of_val(&*self.families) + size_of_val(&*self.values)
    }

    /// Memory of the families that no other body has: what an [`Interner::sweep`] gives back when this one is gone. Only
    /// for now, since others come and go, and not counted where two bodies that go together share a family.
    pub fn alone_bytes(&self) -> usize {
        // The interner has each as well.
        let alone = self.families.iter().filter(|(family, _)| Arc::strong_count(family) <= 2);
        alone.map(|(family, _)| family.bytes()).sum()
    }

    /// Bytes that the labels of every series take in a text, where they stand on each line.
    pub fn label_bytes(&self) -> usize {
        self.labels.len().saturating_mul(self.values.len())
    }

    /// `process_start_time_seconds`, seconds since 1970.
    pub fn start(&self) -> Option<f64> {
        self.start
    }

    fn has(&self, name: &str) -> bool {
        self.families.binary_search_by(|(family, _)| family.name().cmp(name)).is_ok()
    }

    /// A family with its values.
    pub(super) fn at(&self, place: usize) -> Option<(&Arc<Family>, &[f64])> {
        let (family, from) = self.families.get(place)?;
        let from = *from as usize;
        Some((family, self.values.get(from..from + family.count as usize)?))
    }

    /// The families whose name `keeps` says yes to.
    #[must_use]
    pub fn retain(self, keeps: impl Fn(&str) -> bool) -> Self {
        let (mut families, mut values) = (Vec::new(), Vec::new());
        for place in 0..self.families.len() {
            let Some((family, of_it)) = self.at(place).filter(|(family, _)| keeps(family.name())) else {
                continue;
            };
            families.push((family.clone(), u32::try_from(values.len()).unwrap_or(u32::MAX)));
            values.extend_from_slice(of_it);
        }
        Self { families: families.into(), values: values.into(), ..self }
    }

    /// The families that `newer` does not have: what a POST to the push door leaves of an older body.
    #[must_use]
    pub fn without(&self, newer: &Self) -> Self {
        let copy = Self {
            labels: self.labels.clone(),
            families: self.families.clone(),
            values: self.values.clone(),
            start: self.start,
        };
        copy.retain(|name| !newer.has(name))
    }
}

/// All families that bodies have now, each once.
#[derive(Debug)]
pub struct Interner {
    shards: Box<[Mutex<Shard>]>,
    /// Of all kept families, changed where a shard is.
    bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Shard {
    families: HashSet<Known>,
    /// Size at which those that no body has any more are looked for.
    sweep_at: usize,
}

/// Enough for the threads that parse.
const SHARDS: usize = 16;
/// A shard smaller than this is not swept before another family comes.
const SWEEP_MIN: usize = 256;

impl Default for Interner {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), bytes: AtomicUsize::new(0) }
    }
}

impl Shard {
    /// Drops the families that no body has; returns their bytes.
    fn sweep(&mut self) -> usize {
        let mut bytes = 0;
        // While the shard is locked nobody else can get one that only the shard has.
        self.families.retain(|Known(family)| {
            let kept = Arc::strong_count(family) > 1;
            bytes += if kept { 0 } else { family.bytes() };
            kept
        });
        self.sweep_at = (self.families.len() * 2).max(SWEEP_MIN);
        // The room of a burst of names does not stay; that of a few comings and goings does.
        if self.families.capacity() > 2 * self.sweep_at {
            self.families.shrink_to(self.sweep_at);
        }
        bytes
    }
}

impl Interner {
    /// The kept one that is equal to `family`.
    pub(super) fn intern(&self, family: &Packed) -> Arc<Family> {
        let name = family.text.as_bytes().get(1..family.name_end).unwrap_or_default();
        let place = name.iter().fold(0_usize, |h, b| h.wrapping_mul(31).wrapping_add((*b).into())) % SHARDS;
        let Some(shard) = self.shards.get(place) else { return Arc::new(family.keep()) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shard.families.get(family.text.as_str()) {
            return known.0.clone();
        }
        if shard.families.len() >= shard.sweep_at {
            self.bytes.fetch_sub(shard.sweep(), Ordering::Relaxed);
        }
        let family = Arc::new(family.keep());
        self.bytes.fetch_add(family.bytes(), Ordering::Relaxed);
        shard.families.insert(Known(family.clone()));
        family
    }

    /// Drops the families that no body has any more. Otherwise that is only looked for when there are twice as many as
    /// the last time. Goes through all of them: to be called when much has gone, not for every body.
    pub fn sweep(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            self.bytes.fetch_sub(shard.sweep(), Ordering::Relaxed);
        }
    }

    /// Memory of all families that are kept, those that no body has any more among them until they are swept.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Distinct families that are kept.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().unwrap_or_else(PoisonError::into_inner).families.len()).sum()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
