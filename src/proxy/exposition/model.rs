//! A body in memory. Applications of one kind expose the same series with other values and other common labels, so
//! names, labels and help of a family are kept once for all bodies that have them alike; a body of 1,000 series then
//! takes about 10 KB instead of the 137 KB of its text.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::parse::Kind;

/// A family as one or many bodies have it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Family {
    pub(super) name: Box<str>,
    pub(super) kind: Kind,
    pub(super) help: Box<str>,
    /// Whether OpenMetrics allows the series under this type.
    pub(super) strict: bool,
    /// For each series a line with its name and its own labels, `name{a="b"` or `name`, sorted by label name.
    pub(super) lines: Box<str>,
    pub(super) count: u32,
}

impl Family {
    /// Each line, and whether a group of series with the same labels (but `le` and `quantile`) ends with it.
    pub(super) fn lines(&self) -> Lines<'_> {
        Lines { rest: &self.lines, grouped: self.kind.is_compound() }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.help.len() + self.lines.len()
    }
}

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
    /// Bytes of the families that no other body had when this one came.
    pub(super) new_bytes: usize,
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

    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.labels.len()
            + size_of_val(&*self.families)
            + size_of_val(&*self.values)
            + self.new_bytes
    }

    /// Bytes that the labels of every series take in a text, where they stand on each line.
    pub fn label_bytes(&self) -> usize {
        self.labels.len().saturating_mul(self.values.len())
    }

    /// `process_start_time_seconds`, seconds since 1970.
    pub fn start(&self) -> Option<f64> {
        self.start
    }

    /// The place of a family; `hint` is where it was looked for last, and is moved on.
    pub(super) fn find(&self, name: &str, hint: &mut u32) -> Option<(&Arc<Family>, &[f64])> {
        while let Some((family, _)) = self.families.get(*hint as usize) {
            match (*family.name).cmp(name) {
                std::cmp::Ordering::Less => *hint += 1,
                std::cmp::Ordering::Equal => return self.at(*hint as usize),
                std::cmp::Ordering::Greater => return None,
            }
        }
        None
    }

    /// The same, anywhere.
    pub(super) fn search(&self, name: &str) -> Option<(&Arc<Family>, &[f64])> {
        self.at(self.families.binary_search_by(|(family, _)| (*family.name).cmp(name)).ok()?)
    }

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
            let Some((family, of_it)) = self.at(place).filter(|(family, _)| keeps(&family.name)) else {
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
            new_bytes: self.new_bytes,
        };
        copy.retain(|name| newer.search(name).is_none())
    }
}

/// All families that bodies have now, each once.
#[derive(Debug)]
pub struct Interner {
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug, Default)]
struct Shard {
    families: HashSet<Arc<Family>>,
    /// Size at which those that no body has any more are looked for.
    sweep_at: usize,
}

/// Enough for the threads that parse.
const SHARDS: usize = 16;
/// A shard smaller than this is not swept.
const SWEEP_MIN: usize = 256;

impl Default for Interner {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Interner {
    /// The one that is equal to `family`, and the bytes that it adds.
    pub(super) fn intern(&self, family: Family) -> (Arc<Family>, usize) {
        let place =
            family.name.bytes().fold(0_usize, |h, b| h.wrapping_mul(31).wrapping_add(b.into())) % SHARDS;
        let Some(shard) = self.shards.get(place) else { return (Arc::new(family), 0) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shard.families.get(&family) {
            return (known.clone(), 0);
        }
        if shard.families.len() >= shard.sweep_at {
            shard.families.retain(|family| Arc::strong_count(family) > 1);
            shard.sweep_at = (shard.families.len() * 2).max(SWEEP_MIN);
        }
        let (bytes, family) = (family.bytes(), Arc::new(family));
        shard.families.insert(family.clone());
        (family, bytes)
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
