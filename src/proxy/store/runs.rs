//! What is known of every run, and what of it is shown. Pure: every decision takes the time as an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::log::Segment;
use super::scrapers::{Deliveries, ScraperId};
use crate::proxy::exposition::{Body, Exposed, Identity, Labels};
use crate::proxy::intake::{Door, Origin};

/// Whose body it is. All doors of one run have the same, but for push groups that say more than whose they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// It says so, and what its push group says besides.
    Run(Identity, Labels),
    /// A push group without the identity of a run.
    Group(Labels),
    /// A connection that tells nothing: its beginning in milliseconds since 1970, and its number.
    Connection(i64, u64),
}

/// Where a body came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Which door.
    pub door: Door,
    /// Who.
    pub peer: String,
    /// Number of the connection.
    pub connection: u64,
    /// When the connection began, milliseconds since 1970.
    pub since_ms: i64,
}

impl From<Origin> for Source {
    fn from(origin: Origin) -> Self {
        Self {
            door: origin.door,
            peer: origin.peer.to_string(),
            connection: origin.id,
            since_ms: origin.since.as_millisecond(),
        }
    }
}

/// A body and when it was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The series.
    pub body: Arc<Body>,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// From where.
    pub source: Source,
}

/// A body that no newer one of a living application will replace.
#[derive(Clone, Debug)]
pub struct Final {
    /// The body.
    pub taken: Taken,
    /// Whether it is the last one before a connection died.
    pub snapshot: bool,
    /// The group that it was pushed to.
    pub group: Option<Labels>,
    /// File that holds it; none if it could not be written.
    pub segment: Option<Segment>,
    /// Who had it.
    pub deliveries: Arc<Deliveries>,
}

/// One run, or one push group of it.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Last body of a living connection.
    pub live: Option<Taken>,
    /// Last final one.
    pub last: Option<Final>,
    /// Whether its group was deleted by its owner.
    pub ended: bool,
}

impl Run {
    /// The one that is shown: the newest; of equally old ones the final.
    fn shown(&self) -> Option<(&Taken, Option<&Arc<Deliveries>>)> {
        match (&self.live, &self.last) {
            (Some(live), Some(last)) if live.at_ms > last.taken.at_ms => Some((live, None)),
            (_, Some(last)) => Some((&last.taken, Some(&last.deliveries))),
            (Some(live), None) => Some((live, None)),
            (None, None) => None,
        }
    }

    /// Its newest body.
    pub fn newest(&self) -> Option<&Taken> {
        self.shown().map(|(taken, _)| taken)
    }

    /// Whether its final body is what is shown.
    pub fn is_final(&self) -> bool {
        matches!(self.shown(), Some((_, Some(_))))
    }
}

/// What a run takes beside its body, roughly: itself, its key in three places, where the body came from, who had it.
const RUN_BYTES: usize = 1 << 10;

/// Memory of a run with this body, but for the families, which bodies share.
pub fn bytes_of(body: &Body) -> usize {
    body.bytes() + RUN_BYTES
}

impl Final {
    /// Memory that it takes. The labels of its group stand in its key and in its body as well.
    pub fn bytes(&self) -> usize {
        let label = |(name, value): (&String, &String)| name.len() + value.len() + 2 * size_of::<String>();
        bytes_of(&self.taken.body) + 2 * self.group.iter().flatten().map(label).sum::<usize>()
    }
}

/// How long final bodies stay.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Milliseconds at least.
    pub least_ms: i64,
    /// Milliseconds at most: the head window of a Prometheus without one for out-of-order samples is about an hour.
    pub most_ms: i64,
    /// Complete responses to each known scraper.
    pub deliveries: u8,
}

/// Why a final body is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Eviction {
    /// Everybody had it.
    Delivered,
    /// Too old for Prometheus.
    Expired,
    /// No room.
    Bytes,
    /// A newer one of the same run came.
    Replaced,
}

/// All runs.
#[derive(Debug, Default)]
pub struct Runs {
    /// All groups of a run stand together.
    by_key: BTreeMap<Key, Run>,
    /// Final bodies by file.
    in_segment: BTreeMap<Segment, usize>,
    bytes: usize,
    evictions: BTreeMap<Eviction, u64>,
    /// The last change of each run that has an identity, by number.
    changes: BTreeMap<u64, Identity>,
    /// The same by run.
    changed: BTreeMap<Identity, u64>,
    /// Number of the last change of all.
    sequence: u64,
}

impl Runs {
    /// When a body counts as taken that was taken at `at_ms` and is handed in at `now_ms`. If the known one is of the
    /// future, the clock was set back since: what came after that is newer all the same.
    pub fn time_of(&self, key: &Key, at_ms: i64, now_ms: i64) -> i64 {
        let newest = self.by_key.get(key).and_then(Run::newest).map(|newest| newest.at_ms);
        match newest {
            Some(newest) if newest > now_ms && at_ms <= now_ms => newest.saturating_add(1),
            _ => at_ms,
        }
    }

    /// The same for a request of the push door, whose turn it is: it comes after the known final body, whatever its
    /// own time.
    pub fn time_of_request(&self, key: &Key, at_ms: i64, now_ms: i64) -> i64 {
        let known = self.by_key.get(key).and_then(|run| run.last.as_ref());
        let after = known.map_or(i64::MIN, |known| known.taken.at_ms.saturating_add(1));
        self.time_of(key, at_ms, now_ms).max(after)
    }

    /// A living application's newest body. False if a newer one is known, or it is empty and the known one is not.
    pub fn live(&mut self, key: &Key, taken: Taken) -> bool {
        let run = self.by_key.entry(key.clone()).or_default();
        let older = run.live.as_ref().is_some_and(|live| live.at_ms > taken.at_ms);
        if older || (taken.body.is_empty() && run.shown().is_some()) {
            return false;
        }
        self.bytes += bytes_of(&taken.body);
        let series = taken.body.series();
        let former = run.live.replace(taken);
        self.bytes = self.bytes.saturating_sub(former.as_ref().map_or(0, |former| bytes_of(&former.body)));
        // That it was pulled once more is no news.
        if former.is_none_or(|former| former.body.series() != series) {
            self.change(key);
        }
        true
    }

    /// A final body that is stored. False if a newer final one is known; nobody pushed a snapshot, so that of equally
    /// old ones it is not the newer.
    pub fn finish(&mut self, key: &Key, last: Final) -> bool {
        let run = self.by_key.entry(key.clone()).or_default();
        let older = run.last.as_ref().is_some_and(|known| {
            let (known, new) = (known.taken.at_ms, last.taken.at_ms);
            known > new || (last.snapshot && known == new)
        });
        if older || (last.taken.body.is_empty() && run.shown().is_some()) {
            self.evicted(Eviction::Replaced);
            return false;
        }
        self.bytes += last.bytes();
        if let Some(segment) = last.segment {
            *self.in_segment.entry(segment).or_default() += 1;
        }
        run.ended = false;
        if let Some(former) = run.last.replace(last) {
            self.release(&former);
            self.evicted(Eviction::Replaced);
        }
        self.change(key);
        true
    }

    /// The live body of a connection that is over; it is taken out by [`Runs::drop_live`].
    pub fn live_of(&self, key: &Key, source: &Source) -> Option<Taken> {
        self.by_key.get(key)?.live.clone().filter(|live| live.source == *source)
    }

    /// A connection is over, or goes by another name.
    pub fn drop_live(&mut self, key: &Key, source: &Source) {
        let Some(run) = self.by_key.get_mut(key) else { return };
        let Some(live) = run.live.take_if(|live| live.source == *source) else { return };
        self.bytes = self.bytes.saturating_sub(bytes_of(&live.body));
        if run.last.is_none() {
            self.forget(key);
        }
        self.change(key);
    }

    /// The last final body, unless its owner said that it is over: nothing is added to that.
    pub fn last(&self, key: &Key) -> Option<&Final> {
        self.by_key.get(key).filter(|run| !run.ended)?.last.as_ref()
    }

    /// The owner of a push group says that it is over.
    pub fn end(&mut self, key: &Key) {
        if let Some(run) = self.by_key.get_mut(key) {
            run.ended = true;
            self.change(key);
        }
    }

    /// All groups of a run.
    pub fn of_run<'a>(&'a self, identity: &'a Identity) -> impl Iterator<Item = &'a Run> {
        let from = Key::Run(identity.clone(), Labels::new());
        let of_it = move |key: &Key| matches!(key, Key::Run(of, _) if of == identity);
        self.by_key.range(from..).take_while(move |(key, _)| of_it(key)).map(|(_, run)| run)
    }

    /// What is shown, with who had it where that counts.
    pub fn exposed(&self) -> (Vec<Exposed>, Vec<Arc<Deliveries>>) {
        let (mut bodies, mut deliveries) = (Vec::with_capacity(self.by_key.len()), Vec::new());
        for (key, run) in &self.by_key {
            let Some((taken, of_it)) = run.shown() else { continue };
            deliveries.extend(of_it.cloned());
            bodies.push(Exposed {
                body: taken.body.clone(),
                taken_ms: Some(taken.at_ms),
                since: seconds(taken.source.since_ms),
                // A series of one group may be one of another as well.
                identified: matches!(key, Key::Run(identity, _) if self.of_run(identity).nth(1).is_none()),
            });
        }
        (bodies, deliveries)
    }

    /// Lets go of final bodies that were kept long enough, and of live ones that no Prometheus would take any more;
    /// `began_ms` is when this process began, and with it the counting of deliveries.
    pub fn sweep(&mut self, now_ms: i64, began_ms: i64, scrapers: &[ScraperId], retention: Retention) {
        let why = |run: &Run| {
            let last = run.last.as_ref()?;
            let age = now_ms.saturating_sub(last.taken.at_ms);
            let shown = now_ms.saturating_sub(last.taken.at_ms.max(began_ms));
            if age >= retention.most_ms {
                // The application came back, and nobody misses what it said before.
                Some(if run.is_final() { Eviction::Expired } else { Eviction::Replaced })
            } else if shown >= retention.least_ms && last.deliveries.to_all(scrapers, retention.deliveries) {
                Some(Eviction::Delivered)
            } else {
                None
            }
        };
        let due: Vec<(Key, Eviction)> =
            self.by_key.iter().filter_map(|(key, run)| Some((key.clone(), why(run)?))).collect();
        for (key, eviction) in due {
            self.evict(&key, eviction);
        }
        let stale = |live: &Taken| now_ms.saturating_sub(live.at_ms) >= retention.most_ms;
        let stale =
            self.by_key.iter().filter_map(|(key, run)| Some((key, run.live.as_ref().filter(|l| stale(l))?)));
        let stale: Vec<(Key, Source)> = stale.map(|(key, live)| (key.clone(), live.source.clone())).collect();
        for (key, source) in stale {
            self.drop_live(&key, &source);
            self.evicted(Eviction::Expired);
        }
    }

    /// Lets go of final bodies until `bytes` are free, those of families that only they had included: first of those
    /// that everybody had, then, if `undelivered` ones may go too, of the oldest.
    pub fn shrink(&mut self, bytes: usize, scrapers: &[ScraperId], retention: Retention, undelivered: bool) {
        let mut all: Vec<_> = self
            .by_key
            .iter()
            .filter_map(|(key, run)| {
                let last = run.last.as_ref()?;
                let missing = !last.deliveries.to_all(scrapers, retention.deliveries);
                (undelivered || !missing).then(|| (missing, last.taken.at_ms, key.clone()))
            })
            .collect();
        all.sort();
        let mut freed = 0;
        for (_, _, key) in all {
            if freed >= bytes {
                break;
            }
            let last = self.by_key.get(&key).and_then(|run| run.last.as_ref());
            freed += last.map_or(0, |last| last.bytes() + last.taken.body.alone_bytes());
            self.evict(&key, Eviction::Bytes);
        }
    }

    /// The files that hold bodies which not every scraper had.
    pub fn undelivered_in(&self, scrapers: &[ScraperId], retention: Retention) -> BTreeSet<Segment> {
        let finals = self.by_key.values().filter_map(|run| run.last.as_ref());
        let missing = finals.filter(|last| !last.deliveries.to_all(scrapers, retention.deliveries));
        missing.filter_map(|last| last.segment).collect()
    }

    /// Lets go of all that a file holds.
    pub fn evict_segment(&mut self, segment: Segment) {
        let of_it = |run: &Run| run.last.as_ref().is_some_and(|last| last.segment == Some(segment));
        let keys: Vec<Key> =
            self.by_key.iter().filter(|(_, run)| of_it(run)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.evict(&key, Eviction::Bytes);
        }
    }

    fn evict(&mut self, key: &Key, why: Eviction) {
        let Some(run) = self.by_key.get_mut(key) else { return };
        let last = run.last.take();
        if run.live.is_none() {
            self.forget(key);
        }
        if let Some(last) = last {
            self.release(&last);
            self.evicted(why);
        }
    }

    fn forget(&mut self, key: &Key) {
        self.by_key.remove(key);
        let Key::Run(identity, _) = key else { return };
        if self.of_run(identity).next().is_some() {
            return;
        }
        if let Some(number) = self.changed.remove(identity) {
            self.changes.remove(&number);
        }
    }

    /// Something about a run that is told.
    fn change(&mut self, key: &Key) {
        let Key::Run(identity, _) = key else { return };
        if self.of_run(identity).next().is_none() {
            return;
        }
        self.sequence += 1;
        if let Some(former) = self.changed.insert(identity.clone(), self.sequence) {
            self.changes.remove(&former);
        }
        self.changes.insert(self.sequence, identity.clone());
    }

    /// Number of the last change of all.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The runs that changed after the change with this number, in the order of their last change.
    pub fn changes_after(&self, sequence: u64) -> impl Iterator<Item = (u64, &Identity)> {
        let after = (Bound::Excluded(sequence), Bound::Unbounded);
        self.changes.range(after).map(|(sequence, identity)| (*sequence, identity))
    }

    fn release(&mut self, last: &Final) {
        self.bytes = self.bytes.saturating_sub(last.bytes());
        if let Some(count) = last.segment.and_then(|segment| self.in_segment.get_mut(&segment)) {
            *count = count.saturating_sub(1);
        }
        self.in_segment.retain(|_, count| *count > 0);
    }

    fn evicted(&mut self, why: Eviction) {
        *self.evictions.entry(why).or_default() += 1;
    }

    /// Whether a file holds a body that is still kept.
    pub fn needs(&self, segment: Segment) -> bool {
        self.in_segment.contains_key(&segment)
    }

    /// Memory of all bodies.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Final bodies gone for this reason.
    pub fn evicted_for(&self, why: Eviction) -> u64 {
        self.evictions.get(&why).copied().unwrap_or_default()
    }

    /// Bodies gone, by reason.
    pub fn evictions(&self) -> &BTreeMap<Eviction, u64> {
        &self.evictions
    }

    /// Each run.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Run)> {
        self.by_key.iter()
    }
}

#[allow(clippy::cast_precision_loss)] // Milliseconds since 1970 fit for 280,000 years.
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests;
