//! Keeps what the doors hand in: live bodies in memory, final ones on disk before they are acknowledged.

pub mod commit;
pub mod counts;
pub mod disk;
pub mod facts;
pub mod log;
pub mod runs;
pub mod scrapers;

#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use self::commit::Committer;
pub use self::counts::{Counts, Totals};
use self::disk::Disk;
use self::log::{Log, Note, Record, Segment};
use self::runs::{Final, Key, Retention, Runs, Source, Taken};
use self::scrapers::{Deliveries, ScraperId, Scrapers};
use super::exposition::{Body as Series, Built, Exposed, Interner, Labels, build};
use super::intake::{Body, Door, Intake, IntakeError, Origin};

/// Tells the time of day.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Limits of the store.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long final bodies stay.
    pub retention: Retention,
    /// How long a scraper that does not come is waited for, milliseconds.
    pub scraper_memory_ms: i64,
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
            retention: Retention { least_ms: 5 * minute, most_ms: 50 * minute, deliveries: 2 },
            scraper_memory_ms: 15 * minute,
            memory_max: 256 << 20,
            disk_max: 1 << 30,
            segment_bytes: 16 << 20,
        }
    }
}

/// A connection that is there.
#[derive(Default)]
struct Connection {
    key: Option<Key>,
    pushed: bool,
}

#[derive(Default)]
struct State {
    runs: Runs,
    scrapers: Scrapers,
    connections: HashMap<u64, Connection>,
    /// Files and their sizes.
    segments: BTreeMap<Segment, usize>,
    /// Records on their way to the disk, by the oldest file that they can end up in: it must not be removed.
    in_flight: BTreeMap<Segment, usize>,
    began_ms: i64,
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
    clock: Clock,
    interner: Interner,
    state: Mutex<State>,
    committer: Committer,
    /// A POST reads what it adds to: one at a time.
    posts: tokio::sync::Mutex<()>,
    /// What happened.
    pub counts: Counts,
}

/// One request of the push door.
#[derive(Clone, Debug)]
pub struct Push {
    /// The request.
    pub origin: Origin,
    /// When it came.
    pub at: Timestamp,
    /// The grouping, as labels.
    pub group: Labels,
    /// The exposition.
    pub text: String,
    /// Whether families that it does not have are gone (PUT), or stay (POST).
    pub replace: bool,
}

fn door_name(door: Door) -> &'static str {
    match door {
        Door::Tcp => "tcp",
        Door::Websocket => "websocket",
        Door::Push => "push",
    }
}

fn door_of(name: &str) -> Door {
    match name {
        "tcp" => Door::Tcp,
        "websocket" => Door::Websocket,
        _ => Door::Push,
    }
}

impl Store {
    /// Reads the log and goes on. Blocks: 10,000 bodies take about a second.
    pub fn open(disk: Arc<dyn Disk>, settings: Settings, clock: Clock) -> io::Result<Arc<Self>> {
        let (log, found) = Log::open(disk, settings.segment_bytes)?;
        let began_ms = clock().as_millisecond();
        let store = Arc::new(Self {
            settings,
            clock,
            interner: Interner::default(),
            state: Mutex::new(State { began_ms, ..State::default() }),
            committer: Committer::start(log)?,
            posts: tokio::sync::Mutex::default(),
            counts: Counts::default(),
        });
        Counts::add(&store.counts.damaged, found.damaged);
        if found.damaged > 0 {
            tracing::warn!(
                places = found.damaged,
                records = found.records.len(),
                "the store is damaged or torn"
            );
        }
        store.lock().segments = found.segments.into_iter().collect();
        for (segment, record) in found.records {
            store.recover(segment, record);
        }
        store.sweep();
        Ok(store)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> i64 {
        (self.clock)().as_millisecond()
    }

    fn recover(&self, segment: Segment, record: Record) {
        let note = record.note;
        if self.now_ms().saturating_sub(note.taken_ms) >= self.settings.retention.most_ms {
            return;
        }
        let group = note.group.clone().unwrap_or_default();
        let built = build(record.text.as_bytes(), &group, &self.interner);
        let source = Source {
            door: door_of(&note.door),
            peer: note.peer,
            connection: note.connection,
            since_ms: note.since_ms,
        };
        let key = key_of(&built, note.group, &source);
        let taken = Taken { body: Arc::new(built.body), at_ms: note.taken_ms, source };
        let last =
            Final { taken, snapshot: note.snapshot, segment: Some(segment), deliveries: Arc::default() };
        self.lock().runs.finish(&key, last);
    }

    /// Reads a body. Not a single sample in a text that has some lines is an error.
    fn read(&self, text: &str, group: &Labels) -> Result<Built, IntakeError> {
        let built = build(text.as_bytes(), group, &self.interner);
        Counts::add(&self.counts.invalid, built.report.invalid);
        Counts::add(&self.counts.duplicate, built.report.duplicate);
        Counts::add(&self.counts.repaired, built.report.repaired);
        if built.body.is_empty() && built.report.invalid > 0 {
            return Err(IntakeError::Invalid(format!("{} lines cannot be read", built.report.invalid)));
        }
        Ok(built)
    }

    /// Writes a final body, then shows it.
    async fn finish(
        &self,
        key: &Key,
        last: Final,
        group: Option<Labels>,
        text: String,
    ) -> Result<(), IntakeError> {
        let note = Note {
            door: door_name(last.taken.source.door).to_owned(),
            peer: last.taken.source.peer.clone(),
            connection: last.taken.source.connection,
            since_ms: last.taken.source.since_ms,
            taken_ms: last.taken.at_ms,
            snapshot: last.snapshot,
            group,
        };
        let payload = Record { note, text }.encode();
        self.make_room(payload.len() + last.taken.body.bytes(), payload.len());
        let _in_flight = InFlight::begin(self);
        let written = self.committer.append(payload).await;
        let segment = written.as_ref().ok().map(|written| written.segment);
        let mut state = self.lock();
        if let Ok(written) = &written {
            *state.segments.entry(written.segment).or_default() += written.bytes;
        } else {
            Counts::add(&self.counts.unwritten, 1);
            if !last.snapshot {
                return Err(IntakeError::Store(written.err().unwrap_or_default()));
            }
        }
        // A snapshot is better kept in memory alone than not at all.
        state.runs.finish(key, Final { segment, ..last });
        Ok(())
    }

    /// Lets go of old bodies, so that so many bytes more fit.
    fn make_room(&self, memory: usize, disk: usize) {
        let mut state = self.lock();
        let scrapers = state.scrapers.ids();
        state.runs.shrink(
            self.settings.memory_max.saturating_sub(memory),
            &scrapers,
            self.settings.retention,
        );
        while state.segments.values().sum::<usize>() + disk > self.settings.disk_max {
            let Some(segment) = state.segments.keys().next().copied() else { break };
            if !state.may_remove(segment) {
                break;
            }
            state.segments.remove(&segment);
            state.runs.evict_segment(segment);
            self.committer.remove(segment);
        }
    }

    /// Lets go of what was kept long enough, and of the files that hold nothing else.
    pub fn sweep(&self) {
        let now = self.now_ms();
        let mut state = self.lock();
        state.scrapers.forget(now, self.settings.scraper_memory_ms);
        let (scrapers, began) = (state.scrapers.ids(), state.began_ms);
        state.runs.sweep(now, began, &scrapers, self.settings.retention);
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

    /// A request of the push door. Returns when it survives power loss.
    pub async fn push(&self, push: Push) -> Result<(), IntakeError> {
        let built = self.read(&push.text, &push.group)?;
        if built.body.is_empty() {
            return Ok(());
        }
        let source = Source::from(push.origin);
        let key = key_of(&built, Some(push.group.clone()), &source);
        let _alone = self.posts.lock().await;
        let before = self.lock().runs.last(&key).map(|last| last.taken.body.clone());
        let (body, text) = match before.filter(|_| !push.replace) {
            Some(before) => {
                let both = Arc::new(built.body.over(&before));
                let text = both.to_text();
                (both, text)
            }
            None => (Arc::new(built.body), push.text),
        };
        let taken = Taken { body, at_ms: push.at.as_millisecond(), source };
        let last = Final { taken, snapshot: false, segment: None, deliveries: Arc::default() };
        self.finish(&key, last, Some(push.group), text).await
    }

    /// The owner of a group says that it is over. What is retained stays.
    pub fn end(&self, group: Labels) {
        let built = build(b"", &group, &self.interner);
        let key = built.identity.map_or(Key::Group(group), Key::Run);
        self.lock().runs.end(&key);
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
        let id = state.scrapers.seen(name, now);
        if id.is_none() {
            Counts::add(&self.counts.unknown_scrapers, 1);
        }
        id
    }

    /// Sums for the own metrics.
    pub fn totals(&self) -> Totals {
        let state = self.lock();
        Totals {
            memory: state.runs.bytes(),
            disk: state.segments.values().sum(),
            finals: state.runs.iter().filter(|(_, run)| run.last.is_some()).count(),
            live: state.runs.iter().filter(|(_, run)| run.live.is_some()).count(),
            scrapers: state.scrapers.ids().len(),
            evictions: state.runs.evictions().clone(),
        }
    }

    /// Whether every known scraper had every final body as often as is wanted: a proxy that ends may go.
    pub fn drained(&self) -> bool {
        let state = self.lock();
        let scrapers = state.scrapers.ids();
        state
            .runs
            .iter()
            .filter_map(|(_, run)| run.last.as_ref())
            .all(|last| last.deliveries.to_all(&scrapers, self.settings.retention.deliveries))
    }
}

fn taken(origin: Origin, body: Series, at: Timestamp) -> Taken {
    Taken { body: Arc::new(body), at_ms: at.as_millisecond(), source: Source::from(origin) }
}

fn key_of(built: &Built, group: Option<Labels>, source: &Source) -> Key {
    match (&built.identity, group) {
        (Some(identity), _) => Key::Run(identity.clone()),
        (None, Some(group)) => Key::Group(group),
        (None, None) => Key::Connection(source.since_ms, source.connection),
    }
}

impl Intake for Store {
    fn connected(&self, origin: Origin) {
        self.lock().connections.insert(origin.id, Connection::default());
    }

    fn live_body(&self, body: Body) {
        let Ok(built) = self.read(&body.text, &Labels::new()) else { return };
        if built.body.is_empty() {
            return;
        }
        let source = Source::from(body.origin);
        let key = key_of(&built, None, &source);
        self.make_room(built.body.bytes(), 0);
        let mut state = self.lock();
        if state.runs.bytes() + built.body.bytes() > self.settings.memory_max {
            Counts::add(&self.counts.no_room, 1);
            return;
        }
        let Some(connection) = state.connections.get_mut(&body.origin.id) else { return };
        let former = connection.key.replace(key.clone()).filter(|former| *former != key);
        state.runs.live(&key, taken(body.origin, built.body, body.taken_at));
        if let Some(former) = former {
            state.runs.drop_live(&former, &source);
        }
    }

    async fn final_push(&self, body: Body) -> Result<(), IntakeError> {
        let built = self.read(&body.text, &Labels::new())?;
        if built.body.is_empty() {
            return Ok(());
        }
        if built.body.bytes() > self.settings.memory_max {
            return Err(IntakeError::Full("larger than all that may be kept".to_owned()));
        }
        let key = key_of(&built, None, &Source::from(body.origin));
        let taken = taken(body.origin, built.body, body.taken_at);
        let last = Final { taken, snapshot: false, segment: None, deliveries: Arc::default() };
        self.finish(&key, last, None, body.text).await?;
        if let Some(connection) = self.lock().connections.get_mut(&body.origin.id) {
            connection.pushed = true;
        }
        Ok(())
    }

    async fn closed(&self, origin: Origin, _at: Timestamp) {
        let source = Source::from(origin);
        let (key, snapshot) = {
            let mut state = self.lock();
            let Some(connection) = state.connections.remove(&origin.id) else { return };
            let Some(key) = connection.key else { return };
            let live = state.runs.live_of(&key, &source).filter(|_| !connection.pushed);
            (key, live)
        };
        if let Some(taken) = snapshot {
            let text = taken.body.to_text();
            let last = Final { taken, snapshot: true, segment: None, deliveries: Arc::default() };
            // Counted and logged; the application is gone and cannot be told.
            let _ = self.finish(&key, last, None, text).await;
        }
        self.lock().runs.drop_live(&key, &source);
    }
}
