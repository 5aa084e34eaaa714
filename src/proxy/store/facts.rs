//! What arrived from which run, for the operator and for people.

use serde::Serialize;

use super::runs::{Key, Taken};
use super::{Store, door_name};

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

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map(|t| t.to_string()).unwrap_or_default()
}

impl Store {
    /// The attempts of an execution that are still kept, by pod.
    pub fn attempts(&self, execution: &str) -> Vec<Attempt> {
        let state = self.lock();
        let mut attempts: Vec<Attempt> = Vec::new();
        for (key, run) in state.runs.iter() {
            let Key::Run(identity) = key else { continue };
            if identity.execution != execution {
                continue;
            }
            let last = run.last.as_ref();
            let newest: Option<&Taken> = match (&run.live, last) {
                (Some(live), Some(last)) if last.taken.at_ms >= live.at_ms => Some(&last.taken),
                (Some(live), _) => Some(live),
                (None, last) => last.map(|last| &last.taken),
            };
            let Some(newest) = newest else { continue };
            let snapshot = last.filter(|last| last.snapshot);
            let seen = last.map(|last| last.deliveries.seen_by()).unwrap_or_default();
            attempts.push(Attempt {
                external_execution_id: identity.external.clone(),
                connected: state.connections.contains_key(&newest.source.connection) && run.live.is_some(),
                peer: newest.source.peer.clone(),
                connected_since: time(newest.source.since_ms),
                door: door_name(newest.source.door),
                last_snapshot: run
                    .live
                    .as_ref()
                    .or(snapshot.map(|s| &s.taken))
                    .map(|taken| time(taken.at_ms)),
                final_push: last.filter(|last| !last.snapshot).map(|last| time(last.taken.at_ms)),
                snapshot_only: run.live.is_none() && snapshot.is_some(),
                deleted: run.ended,
                series: newest.body.series(),
                bytes: newest.body.bytes(),
                seen_by: seen
                    .into_iter()
                    .filter_map(|id| state.scrapers.name(id).map(str::to_owned))
                    .collect(),
            });
        }
        attempts.sort_by(|a, b| a.external_execution_id.cmp(&b.external_execution_id));
        attempts
    }
}
