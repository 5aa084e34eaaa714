//! What arrived from which run, for the operator and for people (`docs/adr/0008-facts.md`).

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::runs::{Key, Run, Taken};
use super::{State, Store};
use crate::proxy::exposition::Identity;
use crate::proxy::intake::Origin;

/// One attempt of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The pod, if it is told.
    pub external_execution_id: String,
    /// Whether its connection is open.
    pub connected: bool,
    /// Address of the connection or request that the newest body came from.
    pub peer: String,
    /// When that began.
    pub connected_since: String,
    /// Through which door.
    pub door: &'static str,
    /// When the last body of a living connection was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_snapshot: Option<String>,
    /// When the final push was taken; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_push: Option<String>,
    /// Whether the connection ended without a push, so that its last snapshot is the final body.
    pub snapshot_only: bool,
    /// Whether the owner of the push group deleted it.
    pub deleted: bool,
    /// Series of the newest body.
    pub series: usize,
    /// Memory that it takes.
    pub bytes: usize,
    /// Scrapers that had the final body completely.
    pub seen_by: Vec<String>,
}

/// What is known of a run now, as the stream tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fact {
    /// Which run.
    pub execution_id: String,
    /// One of its attempts.
    pub attempt: Attempt,
}

/// A connection of RSocket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionFact {
    /// Address and port.
    pub peer: String,
    /// Through which door.
    pub door: &'static str,
    /// When it was accepted.
    pub connected_since: String,
    /// When it ended; absent while it is open. Only ended connections that never sent metrics are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Whether no metrics came through it.
    pub silent: bool,
    /// Whose metrics came last, if they say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// The pod, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_execution_id: Option<String>,
}

/// Connections that ended and never sent metrics: the newest of them.
#[derive(Debug, Default)]
pub struct Silent {
    ended: VecDeque<(Origin, Timestamp)>,
}

/// So many are remembered.
const SILENT_MAX: usize = 1024;
/// Connections told at once; more of one address are no application's.
const CONNECTIONS_TOLD: usize = 1000;

impl Silent {
    /// One more.
    pub(super) fn left(&mut self, origin: Origin, at: Timestamp) {
        if self.ended.len() >= SILENT_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back((origin, at));
    }
}

/// Differs from process to process.
pub(super) fn new_epoch() -> String {
    // The keys of a RandomState come from the system's random source.
    format!("{:016x}", RandomState::new().hash_one(()))
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(|t| t.to_string()).unwrap_or_default()
}

impl State {
    fn attempt(&self, identity: &Identity, run: &Run) -> Option<Attempt> {
        let last = run.last.as_ref();
        let newest: &Taken = match (&run.live, last) {
            (Some(live), Some(last)) if last.taken.at_ms >= live.at_ms => &last.taken,
            (Some(live), _) => live,
            (None, last) => &last?.taken,
        };
        let snapshot = last.filter(|last| last.snapshot);
        let seen = last.map(|last| last.deliveries.seen_by()).unwrap_or_default();
        Some(Attempt {
            external_execution_id: identity.external.clone(),
            connected: run.live.is_some(),
            peer: newest.source.peer.clone(),
            connected_since: time(newest.source.since_ms),
            door: newest.source.door.name(),
            last_snapshot: run.live.as_ref().or(snapshot.map(|s| &s.taken)).map(|taken| time(taken.at_ms)),
            final_push: last.filter(|last| !last.snapshot).map(|last| time(last.taken.at_ms)),
            snapshot_only: run.live.is_none() && snapshot.is_some(),
            deleted: run.ended,
            series: newest.body.series(),
            bytes: newest.body.bytes(),
            seen_by: seen.into_iter().filter_map(|id| self.scrapers.name(id).map(str::to_owned)).collect(),
        })
    }
}

impl Store {
    /// The attempts of an execution that are still kept, by pod.
    pub fn attempts(&self, execution: &str) -> Vec<Attempt> {
        let state = self.lock();
        let of_it = state.runs.iter().filter_map(|(key, run)| match key {
            Key::Run(identity) if identity.execution == execution => state.attempt(identity, run),
            _ => None,
        });
        let mut attempts: Vec<Attempt> = of_it.collect();
        attempts.sort_by(|a, b| a.external_execution_id.cmp(&b.external_execution_id));
        attempts
    }

    /// What changed after the change with this number, at most `most`, in order; of each run only how it stands now.
    pub fn facts_after(&self, sequence: u64, most: usize) -> Vec<(u64, Fact)> {
        let state = self.lock();
        let changes = state.runs.changes_after(sequence);
        let facts = changes.filter_map(|(sequence, identity, run)| {
            let attempt = state.attempt(identity, run)?;
            Some((sequence, Fact { execution_id: identity.execution.clone(), attempt }))
        });
        facts.take(most).collect()
    }

    /// Numbers of changes mean something only together with this.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// The open connections of an address, and those that ended without ever having sent metrics.
    pub fn connections(&self, address: IpAddr) -> Vec<ConnectionFact> {
        let state = self.lock();
        let from_it = |origin: &Origin| origin.peer.ip().to_canonical() == address;
        let fact = |origin: &Origin, silent: bool, ended: Option<Timestamp>, key: Option<&Key>| {
            let identity =
                key.and_then(|key| if let Key::Run(identity) = key { Some(identity) } else { None });
            ConnectionFact {
                peer: origin.peer.to_string(),
                door: origin.door.name(),
                connected_since: origin.since.to_string(),
                ended: ended.map(|at| at.to_string()),
                silent,
                execution_id: identity.map(|i| i.execution.clone()),
                external_execution_id: identity.map(|i| i.external.clone()),
            }
        };
        let open = state.connections.values().filter(|c| from_it(&c.origin));
        let open =
            open.map(|c| fact(&c.origin, c.key.is_none() && c.pushed_ms.is_none(), None, c.key.as_ref()));
        let ended = state.silent.ended.iter().filter(|(origin, _)| from_it(origin));
        let ended = ended.map(|(origin, at)| fact(origin, true, Some(*at), None));
        let mut all: Vec<ConnectionFact> = open.chain(ended).take(CONNECTIONS_TOLD).collect();
        all.sort_by(|a, b| (&a.connected_since, &a.peer).cmp(&(&b.connected_since, &b.peer)));
        all
    }
}
