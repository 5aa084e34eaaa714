//! What is told of runs and connections: one execution, its stream of changes, the connections of an address
//! (`docs/adr/0008-facts.md`).

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{sleep, timeout};

use super::{HttpDoor, health, json, parameter};
use crate::proxy::store::Store;

/// Readers of the stream at the same time: an operator or two, and people.
pub const STREAMS: usize = 16;
/// Without news a line tells that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// News are gathered for so long: a thousand pushes a second are not a thousand packets.
const GATHER: Duration = Duration::from_millis(50);
/// Facts looked up at once.
const BATCH: usize = 256;

fn refused(status: StatusCode, message: &str) -> Response {
    (status, json(&json!({ "message": message }))).into_response()
}

/// `/executions/{id}`
pub async fn execution(State(door): State<HttpDoor>, Path(id): Path<String>) -> Response {
    let Some(store) = door.store.get() else { return health(false) };
    let attempts = store.attempts(&id);
    if attempts.is_empty() {
        let message = format!("no metrics of execution {id:?} have arrived here, or they are no longer kept");
        return refused(StatusCode::NOT_FOUND, &message);
    }
    json(&json!({ "executionId": id, "attempts": attempts })).into_response()
}

/// `/connections?peer=<address>`
pub async fn connections(State(door): State<HttpDoor>, RawQuery(query): RawQuery) -> Response {
    let Some(store) = door.store.get() else { return health(false) };
    let query = query.unwrap_or_default();
    let peer = parameter(&query, "peer").unwrap_or_default().replace("%3A", ":").replace("%3a", ":");
    let Ok(address) = peer.parse::<IpAddr>() else {
        return refused(StatusCode::BAD_REQUEST, "give ?peer= and the IP address of a pod");
    };
    let address = address.to_canonical();
    json(&json!({ "peer": address, "connections": store.connections(address) })).into_response()
}

/// `/executions?after=<cursor>`: a line of JSON for each change, as they come.
pub async fn executions(State(door): State<HttpDoor>, RawQuery(query): RawQuery) -> Response {
    let Some(store) = door.store.get() else { return health(false) };
    let query = query.unwrap_or_default();
    let Ok(after) = cursor(parameter(&query, "after").unwrap_or_default(), store) else {
        let message = "after= is the cursor of a line of this stream, or is left out";
        return refused(StatusCode::BAD_REQUEST, message);
    };
    let Ok(permit) = door.streams.clone().try_acquire_owned() else {
        let message = format!("{STREAMS} others read this stream already; end one of them");
        return refused(StatusCode::SERVICE_UNAVAILABLE, &message);
    };
    let reader = Reader {
        store: store.clone(),
        news: store.news(),
        after: after.unwrap_or_default(),
        begins: after.is_none(),
        _permit: permit,
    };
    let lines = futures::stream::unfold(reader, |mut reader| async {
        let lines = reader.next().await?;
        Some((Ok::<_, Infallible>(lines), reader))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// The number in a cursor; none if it is no cursor of this process, or there is none: the reader begins anew.
fn cursor(text: &str, store: &Store) -> Result<Option<u64>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    let (epoch, sequence) = text.split_once('-').ok_or(())?;
    let sequence = sequence.parse::<u64>().map_err(|_| ())?;
    Ok((epoch == store.epoch() && sequence <= *store.news().borrow()).then_some(sequence))
}

/// One reader. It holds only how far it is: who reads slowly finds the latest state of what it missed.
struct Reader {
    store: Arc<Store>,
    news: watch::Receiver<u64>,
    after: u64,
    begins: bool,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// The next lines; waits for them.
    async fn next(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.begins) {
            return Some(line(&json!({ "cursor": self.cursor(), "reset": true })).into());
        }
        loop {
            // What comes from here on wakes it again.
            self.news.borrow_and_update();
            let lines = self.facts();
            if !lines.is_empty() {
                return Some(lines.into());
            }
            match timeout(HEARTBEAT, self.news.changed()).await {
                Ok(Ok(())) => sleep(GATHER).await,
                Ok(Err(_)) => return None,
                Err(_) => return Some(line(&json!({ "cursor": self.cursor() })).into()),
            }
        }
    }

    fn facts(&mut self) -> String {
        let mut lines = String::new();
        for (sequence, fact) in self.store.facts_after(self.after, BATCH) {
            self.after = sequence;
            let (id, attempt) = (fact.execution_id, fact.attempt);
            lines += &line(&json!({ "cursor": self.cursor(), "executionId": id, "attempt": attempt }));
        }
        lines
    }

    fn cursor(&self) -> String {
        format!("{}-{}", self.store.epoch(), self.after)
    }
}

fn line(value: &serde_json::Value) -> String {
    format!("{value}\n")
}
