//! Keeps what the doors hand in: live bodies in memory, final ones on disk before they are acknowledged.

pub mod commit;
pub mod counts;
pub mod disk;
pub mod facts;
mod intake;
pub mod log;
mod recovery;
pub mod runs;
pub mod scrapers;
mod turns;

#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use self::commit::Committer;
pub use self::counts::{Counts, Totals};
use self::disk::Disk;
use self::facts::Silent;
pub use self::intake::{Push, Ready, ReadyPush};
use self::log::{Log, Segment};
use self::runs::{Eviction, Key, Retention, Runs};
use self::scrapers::{Deliveries, ScraperId, Scrapers};
use self::turns::Turns;
use super::aside::Aside;
use super::exposition::{Exposed, Filter, Interner, TaskFilters};
use super::flood::Flood;
use super::intake::Origin;

/// Tells the time of day.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Limits of the store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which families are kept at all.
    pub filter: Filter,
    /// Which families are kept of which task, at first.
    pub task_filters: Arc<TaskFilters>,
    /// How long final bodies stay.
    pub retention: Retention,
    /// How long a scraper that does not come is waited for, milliseconds.
    pub scraper_memory_ms: i64,
    /// Scrapers that are waited for at the same time: whoever invents names must not make the proxy keep everything.
    pub scrapers_max: usize,
    /// Bytes of all bodies in memory.
    pub memory_max: usize,
    /// Bytes of the log.
    pub disk_max: usize,
    /// Bytes after which a new file of the log is begun.
    pub segment_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let minute = 60_000;
        Self {
            filter: Filter::default(),
            task_filters: Arc::default(),
            retention: Retention { least_ms: 5 * minute, most_ms: 50 * minute, deliveries: 2 },
            scraper_memory_ms: 15 * minute,
            scrapers_max: 16,
            memory_max: 256 << 20,
            disk_max: 1 << 30,
            segment_bytes: 16 << 20,
        }
    }
}

/// A connection that is there.
struct Connection {
    origin: Origin,
    /// Whose live body it brought last.
    key: Option<Key>,
    /// When its last push was taken.
    pushed_ms: Option<i64>,
    /// When the newest of all its bodies was taken.
    newest_ms: i64,
}

impl Connection {
    fn new(origin: Origin) -> Self {
        Self { origin, key: None, pushed_ms: None, newest_ms: i64::MIN }
    }

    /// A body of `at_ms`: it is not older than those that came before through the same connection, whatever the clock
    /// says. Nor is it newer than a push that overtook it.
    fn time_of(&mut self, at_ms: i64) -> i64 {
        self.newest_ms = self.newest_ms.max(at_ms);
        self.newest_ms
    }
}

#[derive(Default)]
struct State {
    runs: Runs,
    scrapers: Scrapers,
    connections: HashMap<u64, Connection>,
    silent: Silent,
    /// Files and their sizes.
    segments: BTreeMap<Segment, usize>,
    /// Records on their way to the disk, by the oldest file that they can end up in: it must not be removed.
    in_flight: BTreeMap<Segment, usize>,
    began_ms: i64,
    /// Whether a living application's body found no room since the last sweep.
    crowded: bool,
}

impl State {
    fn newest_segment(&self) -> Segment {
        self.segments.last_key_value().map_or(0, |(segment, _)| *segment)
    }

    fn may_remove(&self, segment: Segment) -> bool {
        self.in_flight.keys().next().is_none_or(|oldest| segment < *oldest)
    }
}

/// A record on its way, until it is dropped: requests end at any point.
struct InFlight<'a> {
    store: &'a Store,
    segment: Segment,
}

impl<'a> InFlight<'a> {
    fn begin(store: &'a Store) -> Self {
        let mut state = store.lock();
        let segment = state.newest_segment();
        *state.in_flight.entry(segment).or_default() += 1;
        drop(state);
        Self { store, segment }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut state = self.store.lock();
        let left = state.in_flight.get(&self.segment).copied().unwrap_or_default();
        if left > 1 {
            state.in_flight.insert(self.segment, left - 1);
        } else {
            state.in_flight.remove(&self.segment);
        }
    }
}

/// The store.
pub struct Store {
    settings: Settings,
    task_filters: RwLock<Arc<TaskFilters>>,
    clock: Clock,
    interner: Interner,
    state: Mutex<State>,
    committer: Committer,
    turns: Turns,
    /// For work with whole bodies; the push door's as well.
    pub aside: Aside,
    /// Differs from process to process: numbers of changes begin anew with each.
    epoch: String,
    /// Number of the last change that the stream of facts tells.
    news: watch::Sender<u64>,
    flood: Flood,
    /// What happened.
    pub counts: Counts,
}

impl Store {
    /// Reads what is on disk and goes on. Blocks; takes all cores.
    pub fn open(disk: Arc<dyn Disk>, settings: Settings, clock: Clock) -> io::Result<Arc<Self>> {
        let (log, files) = Log::open(disk, settings.segment_bytes)?;
        let began_ms = clock().as_millisecond();
        let store = Arc::new(Self {
            task_filters: RwLock::new(settings.task_filters.clone()),
            settings,
            clock,
            interner: Interner::default(),
            state: Mutex::new(State { began_ms, ..State::default() }),
            committer: Committer::start(log)?,
            turns: Turns::default(),
            aside: Aside::default(),
            epoch: facts::new_epoch(),
            news: watch::Sender::new(0),
            flood: Flood::default(),
            counts: Counts::default(),
        });
        store.recover(&files);
        store.sweep();
        Ok(store)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the readers of the stream of facts, if there is something for them.
    fn tell(&self, state: &State) {
        let newest = state.runs.sequence();
        self.news.send_if_modified(|known| std::mem::replace(known, newest) != newest);
    }

    /// Changes with every change that the stream of facts tells.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Which families are kept of which task, of bodies that come from now on.
    pub fn filter_tasks(&self, filters: TaskFilters) {
        *self.task_filters.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(filters);
    }

    fn now_ms(&self) -> i64 {
        (self.clock)().as_millisecond()
    }

    /// Lets go of what was kept long enough, and of the files that hold nothing else.
    pub fn sweep(&self) {
        let now = self.now_ms();
        let mut state = self.lock();
        state.crowded = false;
        self.interner.sweep();
        state.scrapers.forget(now, self.settings.scraper_memory_ms);
        let (scrapers, began) = (state.scrapers.ids(), state.began_ms);
        let before = state.runs.evicted_for(Eviction::Expired);
        state.runs.sweep(now, began, &scrapers, self.settings.retention);
        let expired = state.runs.evicted_for(Eviction::Expired) - before;
        if expired > 0 {
            tracing::warn!(
                bodies = expired,
                scrapers = scrapers.len(),
                "metrics were let go: they are too old for any Prometheus, and not every scraper had them"
            );
        }
        // The newest file is written to.
        let newest = state.newest_segment();
        let unneeded = |s: &Segment| *s != newest && state.may_remove(*s) && !state.runs.needs(*s);
        let gone: Vec<Segment> = state.segments.keys().copied().filter(|s| unneeded(s)).collect();
        for segment in gone {
            if self.committer.remove(segment) {
                state.segments.remove(&segment);
            }
        }
    }

    /// Sweeps until it is dropped.
    pub async fn keep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(Duration::from_secs(5));
        loop {
            ticks.tick().await;
            self.sweep();
        }
    }

    /// What is shown now, and who had what of it.
    pub fn exposed(&self) -> (Vec<Exposed>, Vec<Arc<Deliveries>>) {
        self.lock().runs.exposed()
    }

    /// A scraper's request begins.
    pub fn scraper(&self, name: &str) -> Option<ScraperId> {
        let now = self.now_ms();
        let mut state = self.lock();
        state.scrapers.forget(now, self.settings.scraper_memory_ms);
        let known = state.scrapers.ids().len();
        let id = state.scrapers.seen(name, now, self.settings.scrapers_max);
        let more = state.scrapers.ids().len() > known;
        drop(state);
        if more {
            tracing::info!(scraper = name, "a scraper is waited for from now on");
        }
        if id.is_none() {
            Counts::add(&self.counts.unknown_scrapers, 1);
            if let Some(left_out) = self.flood.lets("scraper ignored", Instant::now()) {
                let most = self.settings.scrapers_max;
                tracing::warn!(
                    scraper = name,
                    most,
                    left_out,
                    "too many scrapers; this one is not waited for"
                );
            }
        }
        id
    }

    /// Sums for the own metrics.
    pub fn totals(&self) -> Totals {
        let state = self.lock();
        Totals {
            memory: self.memory(&state),
            disk: state.segments.values().sum(),
            finals: state.runs.iter().filter(|(_, run)| run.last.is_some()).count(),
            live: state.runs.iter().filter(|(_, run)| run.live.is_some()).count(),
            scrapers: state.scrapers.ids().len(),
            evictions: state.runs.evictions().clone(),
        }
    }

    /// Whether every known scraper had every final body as often as is wanted: a proxy that ends may go. Where no scraper
    /// is known there is nobody to wait for; what is kept is on disk.
    pub fn drained(&self) -> bool {
        let state = self.lock();
        let scrapers = state.scrapers.ids();
        scrapers.is_empty()
            || state
                .runs
                .iter()
                .filter(|(_, run)| run.is_final())
                .filter_map(|(_, run)| run.last.as_ref())
                .all(|last| last.deliveries.to_all(&scrapers, self.settings.retention.deliveries))
    }
}
