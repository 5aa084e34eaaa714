//! What a proxy's answers mean. Nothing in them is trusted: what cannot be read is an error or left out, never a panic.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::Run;

/// How final a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Of a connection that is open: a newer one may come.
    Live,
    /// The last one of an application that ended without a push.
    Snapshot,
    /// The application's own last word.
    Pushed,
}

/// The newest body of a run. The greater one counts: newer, and of the same time more final.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Body {
    /// When the application handed it out.
    pub at: Timestamp,
    /// How final it is.
    pub standing: Standing,
    /// Series in it, at least 1.
    pub series: usize,
    /// Through which door it came.
    pub door: String,
}

/// Whether a pod connected and said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Silence {
    /// No such connection.
    #[default]
    None,
    /// It is over.
    Ended,
    /// It may still say something.
    Open,
}

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP's.
    pub status: u16,
    /// JSON, it is hoped.
    pub text: Vec<u8>,
}

/// A line of the stream.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Where the stream is. A line with `reset` has the new one, and what is told anew follows it.
    pub cursor: String,
    #[serde(default)]
    execution_id: serde_json::Value,
    #[serde(default)]
    attempt: serde_json::Value,
}

/// As the proxy tells it; fields that are not needed are left out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    external_execution_id: String,
    connected: bool,
    door: String,
    last_snapshot: Option<String>,
    final_push: Option<String>,
    series: usize,
}

#[derive(Debug, Deserialize)]
struct Execution {
    attempts: Vec<Attempt>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(rename = "message")]
    _message: String,
}

#[derive(Debug, Deserialize)]
struct Connections {
    connections: Vec<Link>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    connected_since: String,
    ended: Option<String>,
    silent: bool,
}

/// No pod's name is longer (RFC 1123, as Kubernetes has it); what is longer is not kept.
const POD_MAX: usize = 253;
/// Longer than the name of any door.
const DOOR_MAX: usize = 32;
/// Clocks of nodes differ by a little, and Kubernetes tells whole seconds.
const SLACK: SignedDuration = SignedDuration::from_secs(5);

fn time(text: Option<&String>) -> Option<Timestamp> {
    text?.parse().ok()
}

impl Attempt {
    /// Its newest body, if there is one with anything in it.
    fn body(self) -> Option<Body> {
        let (pushed, snapshot) = (time(self.final_push.as_ref()), time(self.last_snapshot.as_ref()));
        let at = pushed.max(snapshot)?;
        let standing = match (pushed, self.connected) {
            // An application that pushed and lives on has something newer to leave.
            (Some(pushed), connected) if !connected || at == pushed => Standing::Pushed,
            (_, true) => Standing::Live,
            (_, false) => Standing::Snapshot,
        };
        let word = self.door.len() <= DOOR_MAX && self.door.bytes().all(|b| b.is_ascii_alphanumeric());
        (self.series > 0 && word).then_some(Body { at, standing, series: self.series, door: self.door })
    }

    /// Whether it is an attempt of this pod, as far as it says.
    fn is_of(&self, pod: Option<&str>) -> bool {
        self.external_execution_id.is_empty() || pod.is_none_or(|pod| pod == self.external_execution_id)
    }
}

impl Line {
    /// Execution id, pod and newest body, if the line tells of a run that can be one of ours.
    pub fn fact(self) -> Option<(i64, String, Body)> {
        // Executions of others have ids that are no numbers.
        let id = self.execution_id.as_str()?.parse().ok()?;
        let mut attempt = Attempt::deserialize(self.attempt).ok()?;
        let pod = std::mem::take(&mut attempt.external_execution_id);
        let body = attempt.body().filter(|_| pod.len() <= POD_MAX)?;
        Some((id, pod, body))
    }
}

/// A line of the stream; an error if it is none.
pub fn line(text: &[u8]) -> Result<Line, String> {
    let line: Line = serde_json::from_slice(text).map_err(|_| "a line of its stream cannot be read")?;
    // It goes into a request line.
    let cursor = line.cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if cursor && line.cursor.len() <= 128 { Ok(line) } else { Err("its stream has no cursor".to_owned()) }
}

fn read<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<T, String> {
    serde_json::from_slice(&answer.text).map_err(|_| "its answer cannot be read".to_owned())
}

/// The newest body in the answer about one execution.
pub fn newest_body(answer: &Answer, run: &Run<'_>) -> Result<Option<Body>, String> {
    match answer.status {
        200 => {
            let attempts = read::<Execution>(answer)?.attempts.into_iter();
            Ok(attempts.filter(|attempt| attempt.is_of(run.pod)).filter_map(Attempt::body).max())
        }
        // Whoever else listens at this address knows no such page either.
        404 => read::<Refusal>(answer).map(|_| None),
        503 => Err("it is not ready yet".to_owned()),
        other => Err(format!("it answered with {other}")),
    }
}

/// Whether the pod connected in its time without sending anything.
pub fn silence(answer: &Answer, run: &Run<'_>) -> Result<Silence, String> {
    if answer.status != 200 {
        return Err(format!("it answered with {} about connections", answer.status));
    }
    let in_time = |connection: &Link| {
        let Some(since) = time(Some(&connection.connected_since)) else { return false };
        // Saturating, so that no time makes it overflow.
        let from = run.started.map(|at| at.saturating_sub(SLACK).unwrap_or(Timestamp::MIN));
        let to = run.ended.map(|at| at.saturating_add(SLACK).unwrap_or(Timestamp::MAX));
        from.is_none_or(|from| from <= since) && to.is_none_or(|to| since <= to)
    };
    let connections = read::<Connections>(answer)?.connections.into_iter();
    let silent = connections.filter(|connection| connection.silent && in_time(connection));
    let each = silent.map(|c| if c.ended.is_none() { Silence::Open } else { Silence::Ended });
    Ok(each.max().unwrap_or_default())
}
