//! How bodies come in: read, given a key, written, shown.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::log::{Note, Record, TEXT_MAX};
use super::runs::{Eviction, Final, Key, Source, Taken};
use super::{Connection, Counts, InFlight, State, Store};
use crate::proxy::exposition::identity::besides_identity;
use crate::proxy::exposition::{Body as Series, Built, Labels, build};
use crate::proxy::intake::{Body, Door, Intake, IntakeError, Origin};

/// Bytes that the labels of every series may take in a text. They stand once in memory, and in a path of the push door:
/// a long one and very many series would be an exposition without end.
const LABELS_MAX: usize = 128 << 20;

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

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It survives power loss.
    Stored,
    /// It has not a single sample, and changes nothing.
    Empty,
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
    pub(super) fn built(&self, text: &str, group: &Labels) -> (Built, usize) {
        let built = build(text.as_bytes(), group, &self.interner);
        let filter = &self.settings.filter;
        if filter.is_open() {
            return (built, 0);
        }
        let before = built.body.series();
        let body = built.body.retain(|name| filter.passes(name));
        let dropped = before - body.series();
        (Built { body, ..built }, dropped)
    }

    /// Reads a body; none if there is no sample in it. Not a single one in a text that has some lines is an error.
    fn read(&self, text: &str, group: &Labels) -> Result<Option<Built>, IntakeError> {
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
        if built.body.label_bytes() > LABELS_MAX {
            return Err(IntakeError::Full(format!(
                "the labels that all its series have would take more than {LABELS_MAX} bytes"
            )));
        }
        Ok((!empty).then_some(built))
    }

    /// A request of the push door. Returns when it survives power loss.
    pub async fn push(&self, push: Push) -> Result<Pushed, IntakeError> {
        let Some(built) = self.read(&push.text, &push.group)? else { return Ok(Pushed::Empty) };
        let key = key_of(&built, Some(&push.group), &Source::from(push.origin));
        let _turn = self.turns.take(&key).await;
        let now_ms = self.now_ms();
        let (before, at_ms) = {
            let runs = &self.lock().runs;
            // What came through another door, or to a group with other labels, is not added to.
            let before = runs.last(&key).filter(|last| last.group.as_ref() == Some(&push.group));
            let before = before.map(|last| last.taken.body.clone());
            (before, runs.time_of_request(&key, push.at.as_millisecond(), now_ms))
        };
        let (body, text) = match before.filter(|_| !push.replace) {
            Some(before) => {
                let rest = Arc::new(before.without(&built.body)).to_text();
                let text = Arc::new(built.body).to_text() + &rest;
                (build(text.as_bytes(), &push.group, &self.interner).body, text)
            }
            None => (built.body, push.text),
        };
        let last = final_of(taken(push.origin, body, at_ms), false, Some(push.group));
        self.finish(&key, last, text).await?;
        Ok(Pushed::Stored)
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

    /// Writes a final body, then shows it.
    async fn finish(&self, key: &Key, last: Final, text: String) -> Result<(), IntakeError> {
        let written = if text.len() > TEXT_MAX {
            Err(IntakeError::Full(format!("{} bytes of text are more than {TEXT_MAX}", text.len())))
        } else if !last.snapshot && last.taken.body.bytes() > self.settings.memory_max {
            Err(IntakeError::Full("larger than all that may be kept".to_owned()))
        } else {
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
            let payload = Record { note, text }.encode();
            self.make_room(payload.len() + last.taken.body.bytes(), payload.len());
            let in_flight = InFlight::begin(self);
            let written = self.committer.append(payload).await;
            written.map(|written| (written, in_flight)).map_err(IntakeError::Store)
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
        let limit = self.settings.memory_max.saturating_sub(memory);
        let scrapers = state.scrapers.ids();
        state.runs.shrink(limit, &scrapers, self.settings.retention, true);
        while state.segments.values().sum::<usize>() + disk > self.settings.disk_max {
            let Some(segment) = state.segments.keys().next().copied() else { break };
            if !state.may_remove(segment) {
                break;
            }
            state.segments.remove(&segment);
            state.runs.evict_segment(segment);
            self.committer.remove(segment);
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

    /// Room for the body of a living application, which can be asked again: for it goes only what everybody had.
    fn make_room_for_live(&self, state: &mut State, bytes: usize) -> bool {
        let scrapers = state.scrapers.ids();
        let limit = self.settings.memory_max.saturating_sub(bytes);
        state.runs.shrink(limit, &scrapers, self.settings.retention, false);
        state.runs.bytes() <= limit
    }
}

impl Intake for Store {
    fn connected(&self, origin: Origin) {
        self.lock().connections.insert(origin.id, Connection::new(origin));
    }

    fn live_body(&self, body: Body) {
        let Ok(Some(built)) = self.read(&body.text, &Labels::new()) else { return };
        let source = Source::from(body.origin);
        let key = key_of(&built, None, &source);
        let now_ms = self.now_ms();
        let mut state = self.lock();
        if !self.make_room_for_live(&mut state, built.body.bytes()) {
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

    async fn final_push(&self, body: Body) -> Result<(), IntakeError> {
        let Some(built) = self.read(&body.text, &Labels::new())? else { return Ok(()) };
        let key = key_of(&built, None, &Source::from(body.origin));
        let _turn = self.turns.take(&key).await;
        let now_ms = self.now_ms();
        let at_ms = {
            let mut state = self.lock();
            let at_ms = state.runs.time_of(&key, body.taken_at.as_millisecond(), now_ms);
            let connection = state.connections.get_mut(&body.origin.id);
            connection.map_or(at_ms, |connection| connection.time_of(at_ms))
        };
        let last = final_of(taken(body.origin, built.body, at_ms), false, None);
        self.finish(&key, last, body.text).await?;
        if let Some(connection) = self.lock().connections.get_mut(&body.origin.id) {
            connection.pushed_ms = connection.pushed_ms.max(Some(at_ms));
        }
        Ok(())
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
            let text = taken.body.to_text();
            // Counted and logged; the application is gone and cannot be told.
            let _ = self.finish(&key, final_of(taken, true, None), text).await;
        }
        let mut state = self.lock();
        state.runs.drop_live(&key, &source);
        self.tell(&state);
    }
}
