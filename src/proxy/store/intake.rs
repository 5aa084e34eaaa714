//! How bodies come in: read, given a key, written, shown.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use jiff::Timestamp;

use super::commit::Written;
use super::log::Segment;
use super::log::{self, Note, TEXT_MAX};
use super::runs::{self, Eviction, Final, Key, Source, Taken};
use super::{Connection, Counts, InFlight, State, Store};
use crate::proxy::exposition::identity::besides_identity;
use crate::proxy::exposition::{Body as Series, Built, Labels, build};
use crate::proxy::intake::{Body, Door, Intake, IntakeError, Origin, Pushed};

/// Metric names in one body: each is a family that every scrape decides about.
const FAMILIES_MAX: usize = 20_000;
/// Series in one body.
const SERIES_MAX: usize = 500_000;
/// Bytes that the labels of every series may take in a text. They stand once in memory, and in a path of the push door:
/// a long one and very many series would be an exposition without end.
const LABELS_MAX: usize = 64 << 20;

/// One request of the push door.
#[derive(Clone, Debug)]
pub struct Push {
    /// The request.
    pub origin: Origin,
    /// When it came.
    pub at: Timestamp,
    /// The grouping, as labels.
    pub group: Labels,
    /// The exposition. Lines that are not UTF-8 are dropped alone.
    pub text: Vec<u8>,
    /// Whether families that it does not have are gone (PUT), or stay (POST).
    pub replace: bool,
}

/// A final body that was read.
pub struct Ready {
    origin: Origin,
    at: Timestamp,
    /// None if there is not a single sample.
    content: Option<Content>,
}

/// A request of the push door that was read.
pub struct ReadyPush {
    ready: Ready,
    group: Labels,
    replace: bool,
}

/// A body, and its text as it is stored.
struct Content {
    built: Built,
    packed: Vec<u8>,
}

pub(super) fn door_of(name: &str) -> Door {
    match name {
        "tcp" => Door::Tcp,
        "websocket" => Door::Websocket,
        _ => Door::Push,
    }
}

pub(super) fn key_of(built: &Built, group: Option<&Labels>, source: &Source) -> Key {
    match (&built.identity, group) {
        (Some(identity), group) => {
            Key::Run(identity.clone(), group.map(besides_identity).unwrap_or_default())
        }
        (None, Some(group)) => Key::Group(group.clone()),
        (None, None) => Key::Connection(source.since_ms, source.connection),
    }
}

fn taken(origin: Origin, body: Series, at_ms: i64) -> Taken {
    Taken { body: Arc::new(body), at_ms, source: Source::from(origin) }
}

fn final_of(taken: Taken, snapshot: bool, group: Option<Labels>) -> Final {
    Final { taken, snapshot, group, segment: None, deliveries: Arc::default() }
}

impl Store {
    /// A body, with the families that are kept, and the number of series of the others.
    pub(super) fn built(&self, text: &[u8], group: &Labels) -> (Built, usize) {
        let built = build(text, group, &self.interner);
        let filters = self.task_filters.read().unwrap_or_else(PoisonError::into_inner).clone();
        let of_task = built.task.as_ref().and_then(|task| filters.of(task));
        let each = [Some(&self.settings.filter), of_task.as_deref()];
        let each: Vec<_> = each.into_iter().flatten().filter(|filter| !filter.is_open()).collect();
        if each.is_empty() {
            return (built, 0);
        }
        let before = built.body.series();
        let body = built.body.retain(|name| each.iter().all(|filter| filter.passes(name)));
        let dropped = before - body.series();
        (Built { body, ..built }, dropped)
    }

    /// Reads a body; none if there is no sample in it. Not a single one in a text that has some lines is an error.
    fn built_whole(&self, text: &[u8], group: &Labels) -> Result<Option<Built>, IntakeError> {
        let (built, dropped) = self.built(text, group);
        Counts::add(&self.counts.invalid, built.report.invalid);
        Counts::add(&self.counts.duplicate, built.report.duplicate);
        Counts::add(&self.counts.repaired, built.report.repaired);
        Counts::add(&self.counts.dropped, dropped);
        // What has only samples that are not wanted is still a run that is known.
        let empty = built.body.is_empty() && dropped == 0;
        if empty && built.report.invalid > 0 {
            return Err(IntakeError::Invalid(format!("{} lines cannot be read", built.report.invalid)));
        }
        within_limits(&built.body)?;
        Ok((!empty).then_some(built))
    }

    /// Reads a final body.
    fn ready(
        &self,
        origin: Origin,
        at: Timestamp,
        text: &[u8],
        group: &Labels,
    ) -> Result<Ready, IntakeError> {
        let content = match self.built_whole(text, group)? {
            Some(built) => Some(Content { built, packed: packed(text)? }),
            None => None,
        };
        Ok(Ready { origin, at, content })
    }

    /// Reads a request of the push door: work that is not for the threads of the sockets.
    pub fn read_push(&self, push: Push) -> Result<ReadyPush, IntakeError> {
        let Push { origin, at, group, text, replace } = push;
        Ok(ReadyPush { ready: self.ready(origin, at, &text, &group)?, group, replace })
    }

    /// A request of the push door. Returns when it survives power loss.
    pub async fn push(self: &Arc<Self>, push: ReadyPush) -> Result<Pushed, IntakeError> {
        let ReadyPush { ready: Ready { origin, at, content }, group, replace } = push;
        let Some(mut content) = content else { return Ok(Pushed::Empty) };
        let key = key_of(&content.built, Some(&group), &Source::from(origin));
        let _turn = self.turns.take(&key).await;
        let now_ms = self.now_ms();
        let (before, at_ms) = {
            let runs = &self.lock().runs;
            // What came through another door, or to a group with other labels, is not added to.
            let before = runs.last(&key).filter(|last| last.group.as_ref() == Some(&group));
            let before = before.map(|last| last.taken.body.clone());
            (before, runs.time_of_request(&key, at.as_millisecond(), now_ms))
        };
        if let Some(before) = before.filter(|_| !replace) {
            let (store, of) = (self.clone(), group.clone());
            content = self.aside.run(move || store.added(&before, content, &of)).await??;
        }
        let last = final_of(taken(origin, content.built.body, at_ms), false, Some(group));
        self.finish(&key, last, Ok(content.packed)).await?;
        Ok(Pushed::Stored)
    }

    /// What a POST adds to the body `before` it in the same group.
    fn added(&self, before: &Series, new: Content, group: &Labels) -> Result<Content, IntakeError> {
        let rest = Arc::new(before.without(&new.built.body)).to_text();
        let text = Arc::new(new.built.body).to_text() + &rest;
        // What was wrong with both was counted when they came.
        let built = self.built(text.as_bytes(), group).0;
        within_limits(&built.body)?;
        Ok(Content { built, packed: packed(text.as_bytes())? })
    }

    /// The owner of a group says that it is over. What is retained stays.
    pub fn end(&self, group: Labels) {
        let built = build(b"", &group, &self.interner);
        let key = match built.identity {
            Some(identity) => Key::Run(identity, besides_identity(&group)),
            None => Key::Group(group),
        };
        let mut state = self.lock();
        state.runs.end(&key);
        self.tell(&state);
    }

    /// Writes a final body.
    async fn written(&self, last: &Final, packed: &[u8]) -> Result<(Written, InFlight<'_>), IntakeError> {
        let source = &last.taken.source;
        let note = Note {
            door: source.door.name().to_owned(),
            peer: source.peer.clone(),
            connection: source.connection,
            since_ms: source.since_ms,
            taken_ms: last.taken.at_ms,
            snapshot: last.snapshot,
            group: last.group.clone(),
        };
        let payload = log::encode(&note, packed);
        self.make_room(last.bytes(), payload.len());
        let in_flight = InFlight::begin(self);
        let written = self.committer.append(payload).await;
        written.map(|written| (written, in_flight)).map_err(IntakeError::Store)
    }

    /// Writes a final body, then shows it.
    async fn finish(
        &self,
        key: &Key,
        last: Final,
        packed: Result<Vec<u8>, IntakeError>,
    ) -> Result<(), IntakeError> {
        let body = &last.taken.body;
        let too_large = !last.snapshot && body.bytes() + body.alone_bytes() > self.settings.memory_max;
        let packed = if too_large {
            Err(IntakeError::Full("larger than all that may be kept; raise --memory-max".to_owned()))
        } else {
            packed
        };
        let written = match packed {
            Err(error) => Err(error),
            Ok(packed) => self.written(&last, &packed).await,
        };
        let mut state = self.lock();
        let segment = match &written {
            Ok((written, _)) => {
                *state.segments.entry(written.segment).or_default() += written.bytes;
                Some(written.segment)
            }
            // A snapshot is better kept in memory alone than not at all.
            Err(_) if last.snapshot => None,
            Err(error) => {
                Counts::add(&self.counts.unwritten, 1);
                return Err(error.clone());
            }
        };
        Counts::add(&self.counts.unwritten, usize::from(segment.is_none()));
        // Not taken is only what a newer one of the run makes needless.
        state.runs.finish(key, Final { segment, ..last });
        self.tell(&state);
        // Its end takes the lock again.
        drop(state);
        Ok(())
    }

    /// Lets go of old bodies, so that so many bytes more fit.
    pub(super) fn make_room(&self, memory: usize, disk: usize) {
        let mut state = self.lock();
        let before = state.runs.evicted_for(Eviction::Bytes);
        self.fits(&mut state, memory, true);
        while state.segments.values().sum::<usize>() + disk > self.settings.disk_max {
            let Some(segment) = self.dispensable(&state) else { break };
            // Its queue is full: the next body asks again.
            if !self.committer.remove(segment) {
                break;
            }
            state.segments.remove(&segment);
            state.runs.evict_segment(segment);
        }
        let bodies = state.runs.evicted_for(Eviction::Bytes) - before;
        drop(state);
        if bodies > 0
            && let Some(left_out) = self.flood.lets("evicted", Instant::now())
        {
            tracing::warn!(
                bodies,
                left_out,
                "final metrics were let go for want of room; raise --memory-max or --disk-max"
            );
        }
    }

    /// The file to do without: the oldest in which nothing is that somebody still waits for, else the oldest.
    fn dispensable(&self, state: &State) -> Option<Segment> {
        let scrapers = state.scrapers.ids();
        let waited_for = state.runs.undelivered_in(&scrapers, self.settings.retention);
        let mut files = state.segments.keys().copied().filter(|segment| state.may_remove(*segment));
        let oldest = files.clone().next();
        files.find(|segment| !waited_for.contains(segment)).or(oldest)
    }

    /// Bytes of all that is kept in memory.
    pub(super) fn memory(&self, state: &State) -> usize {
        state.runs.bytes() + self.interner.bytes()
    }

    /// Whether so many bytes more fit, after what nobody misses was let go, and, if `undelivered` bodies may go too, the
    /// oldest.
    fn fits(&self, state: &mut State, bytes: usize, undelivered: bool) -> bool {
        let limit = self.settings.memory_max.saturating_sub(bytes);
        if self.memory(state) <= limit {
            return true;
        }
        self.interner.sweep();
        let over = self.memory(state).saturating_sub(limit);
        if over > 0 {
            let scrapers = state.scrapers.ids();
            // Some more, or the next body would look through all of them again.
            state.runs.shrink(over + limit / 10, &scrapers, self.settings.retention, undelivered);
            self.interner.sweep();
        }
        self.memory(state) <= limit
    }

    /// Room for the body of a living application, which can be asked again: for it goes only what everybody had.
    fn make_room_for_live(&self, state: &mut State, bytes: usize) -> bool {
        let limit = self.settings.memory_max.saturating_sub(bytes);
        // Until the next sweep nothing more was delivered, or little.
        if state.crowded && self.memory(state) > limit {
            return false;
        }
        state.crowded = !self.fits(state, bytes, false);
        !state.crowded
    }
}

/// Whether so large a body is taken.
fn within_limits(body: &Series) -> Result<(), IntakeError> {
    for (what, found, most) in [
        ("metric names", body.families(), FAMILIES_MAX),
        ("series", body.series(), SERIES_MAX),
        ("bytes in the labels that all its series have", body.label_bytes(), LABELS_MAX),
    ] {
        if found > most {
            return Err(IntakeError::Full(format!("{found} {what}; the most that is taken is {most}")));
        }
    }
    Ok(())
}

/// A text as it is stored.
fn packed(text: &[u8]) -> Result<Vec<u8>, IntakeError> {
    if text.len() > TEXT_MAX {
        return Err(IntakeError::Full(format!("{} bytes of text are more than {TEXT_MAX}", text.len())));
    }
    Ok(log::pack(text))
}

impl Intake for Arc<Store> {
    type Ready = Ready;

    fn connected(&self, origin: Origin) {
        self.lock().connections.insert(origin.id, Connection::new(origin));
    }

    fn live_body(&self, body: Body) {
        let built = match self.built_whole(body.text.as_bytes(), &Labels::new()) {
            Ok(Some(built)) => built,
            Ok(None) => return,
            Err(error) => {
                Counts::add(&self.counts.refused, 1);
                if let Some(left_out) = self.flood.lets("live body", Instant::now()) {
                    tracing::warn!(peer = %body.origin.peer, %error, left_out, "an answer is not kept");
                }
                return;
            }
        };
        let source = Source::from(body.origin);
        let key = key_of(&built, None, &source);
        let now_ms = self.now_ms();
        let mut state = self.lock();
        if !self.make_room_for_live(&mut state, runs::bytes_of(&built.body)) {
            Counts::add(&self.counts.no_room, 1);
            return;
        }
        let at_ms = state.runs.time_of(&key, body.taken_at.as_millisecond(), now_ms);
        let Some(connection) = state.connections.get_mut(&body.origin.id) else { return };
        let at_ms = connection.time_of(at_ms);
        let former = connection.key.replace(key.clone()).filter(|former| *former != key);
        state.runs.live(&key, taken(body.origin, built.body, at_ms));
        if let Some(former) = former {
            state.runs.drop_live(&former, &source);
        }
        self.tell(&state);
    }

    fn read(&self, body: Body) -> Result<Ready, IntakeError> {
        self.ready(body.origin, body.taken_at, body.text.as_bytes(), &Labels::new())
    }

    async fn final_push(&self, body: Ready) -> Result<Pushed, IntakeError> {
        let Ready { origin, at, content } = body;
        let Some(Content { built, packed }) = content else { return Ok(Pushed::Empty) };
        let key = key_of(&built, None, &Source::from(origin));
        let _turn = self.turns.take(&key).await;
        let now_ms = self.now_ms();
        let at_ms = {
            let mut state = self.lock();
            let at_ms = state.runs.time_of(&key, at.as_millisecond(), now_ms);
            let connection = state.connections.get_mut(&origin.id);
            connection.map_or(at_ms, |connection| connection.time_of(at_ms))
        };
        let last = final_of(taken(origin, built.body, at_ms), false, None);
        self.finish(&key, last, Ok(packed)).await?;
        if let Some(connection) = self.lock().connections.get_mut(&origin.id) {
            connection.pushed_ms = connection.pushed_ms.max(Some(at_ms));
        }
        Ok(Pushed::Stored)
    }

    async fn closed(&self, origin: Origin, at: Timestamp) {
        let source = Source::from(origin);
        let (key, snapshot) = {
            let mut state = self.lock();
            let Some(connection) = state.connections.remove(&origin.id) else { return };
            let Some(key) = connection.key else {
                if connection.pushed_ms.is_none() {
                    state.silent.left(origin, at);
                }
                return;
            };
            // An application that pushed and lived on has something newer to leave.
            let newer = |live: &Taken| connection.pushed_ms.is_none_or(|pushed| live.at_ms > pushed);
            let live = state.runs.live_of(&key, &source).filter(newer);
            (key, live)
        };
        if let Some(taken) = snapshot {
            if let Some(left_out) = self.flood.lets("snapshot", Instant::now()) {
                let peer = &taken.source.peer;
                tracing::info!(peer, left_out, "a connection ended without a push; its last body is kept");
            }
            let _turn = self.turns.take(&key).await;
            let body = taken.body.clone();
            let text = self.aside.run(move || packed(body.to_text().as_bytes())).await;
            let text = text.unwrap_or_else(|early| Err(early.into()));
            // Counted and logged; the application is gone and cannot be told.
            let _ = self.finish(&key, final_of(taken, true, None), text).await;
        }
        let mut state = self.lock();
        state.runs.drop_live(&key, &source);
        self.tell(&state);
    }
}
