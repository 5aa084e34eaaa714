//! What arrived from which run, for the operator and for people (`docs/adr/0008-facts.md`).

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::runs::{Final, Key, Run};
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
    /// What all groups of a run say together.
    fn attempt(&self, identity: &Identity) -> Option<Attempt> {
        let runs: Vec<&Run> = self.runs.of_run(identity).collect();
        let newest = || runs.iter().filter_map(|run| run.newest());
        let latest = newest().max_by_key(|taken| taken.at_ms)?;
        let finals = || runs.iter().filter_map(|run| run.last.as_ref());
        let snapshot = finals().filter(|last| last.snapshot).map(|last| last.taken.at_ms).max();
        let pushed = finals().filter(|last| !last.snapshot).map(|last| last.taken.at_ms).max();
        let live = runs.iter().filter_map(|run| run.live.as_ref()).map(|live| live.at_ms).max();
        Some(Attempt {
            external_execution_id: identity.external.clone(),
            connected: live.is_some(),
            peer: latest.source.peer.clone(),
            connected_since: time(latest.source.since_ms),
            door: latest.source.door.name(),
            last_snapshot: live.or(snapshot).map(time),
            final_push: pushed.map(time),
            snapshot_only: live.is_none() && pushed.is_none() && snapshot.is_some(),
            deleted: runs.iter().all(|run| run.ended),
            series: newest().map(|taken| taken.body.series()).sum(),
            bytes: newest().map(|taken| taken.body.bytes()).sum(),
            seen_by: self.seen_by(finals()),
        })
    }

    /// The scrapers that had all of these bodies.
    fn seen_by<'a>(&self, finals: impl Iterator<Item = &'a Final>) -> Vec<String> {
        let mut each = finals.map(|last| last.deliveries.seen_by());
        let first = each.next().unwrap_or_default();
        let all = each.fold(first, |mut all, next| {
            all.retain(|id| next.contains(id));
            all
        });
        all.into_iter().filter_map(|id| self.scrapers.name(id).map(str::to_owned)).collect()
    }
}

impl Store {
    /// The attempts of an execution that are still kept, by pod.
    pub fn attempts(&self, execution: &str) -> Vec<Attempt> {
        let state = self.lock();
        let of_it = state.runs.iter().filter_map(|(key, _)| match key {
            Key::Run(identity, _) if identity.execution == execution => Some(identity),
            _ => None,
        });
        // In their order: the groups of a run follow each other.
        let mut identities: Vec<&Identity> = of_it.collect();
        identities.dedup();
        identities.into_iter().filter_map(|identity| state.attempt(identity)).collect()
    }

    /// What changed after the change with this number, at most `most`, in order; of each run only how it stands now.
    pub fn facts_after(&self, sequence: u64, most: usize) -> Vec<(u64, Fact)> {
        let state = self.lock();
        let changes = state.runs.changes_after(sequence);
        let facts = changes.filter_map(|(sequence, identity)| {
            let attempt = state.attempt(identity)?;
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
                key.and_then(|key| if let Key::Run(identity, _) = key { Some(identity) } else { None });
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
