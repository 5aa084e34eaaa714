//! One open watch of a client: its cursor, and what faults make of the events.

use std::collections::VecDeque;

use serde_json::Value;

use super::{
    fault::WatchFault,
    object,
    status::Status,
    store::Store,
    watch::{Cursor, error_event},
};

/// What a stream does next.
#[derive(Debug)]
pub enum Step {
    Send(Value),
    /// Nothing to send. `silent`: not even bookmarks or the end by timeout.
    Wait {
        silent: bool,
    },
    End,
    Reset,
}

/// The server's side of a watch.
#[derive(Clone, Debug)]
pub struct OpenWatch {
    pub client: String,
    pub cursor: Cursor,
    /// Events that were taken from the log and not sent.
    queue: VecDeque<Value>,
    sent: u64,
    /// Happens once `sent` reaches the count.
    ending: Option<(u64, WatchFault)>,
    /// Events that may pass; `None` is no limit.
    allowance: Option<u64>,
    drops: u64,
    duplicates: u64,
    /// The head of the queue is the second copy of an event.
    repeating: bool,
    swaps: u64,
    coalesces: bool,
}

impl OpenWatch {
    pub fn new(client: &str, cursor: Cursor) -> Self {
        Self {
            client: client.to_owned(),
            cursor,
            queue: VecDeque::new(),
            sent: 0,
            ending: None,
            allowance: None,
            drops: 0,
            duplicates: 0,
            repeating: false,
            swaps: 0,
            coalesces: false,
        }
    }

    pub fn is_on(&self, plural: &str) -> bool {
        self.cursor.kind().is_called(plural)
    }

    /// Lets a fault begin, now or after the events it still lets through.
    pub fn afflict(&mut self, fault: WatchFault) {
        let from_now = |after: u64| self.sent.saturating_add(after);
        match fault {
            WatchFault::Cut { after }
            | WatchFault::Reset { after }
            | WatchFault::Freeze { after }
            | WatchFault::Gone { after } => self.ending = Some((from_now(after), fault)),
            WatchFault::Drop(events) => self.drops += events,
            WatchFault::Duplicate(events) => self.duplicates += events,
            WatchFault::Reorder => self.swaps += 1,
            WatchFault::Coalesce => self.coalesces = true,
            WatchFault::Lag => self.allowance = Some(0),
        }
    }

    /// Ends a freeze; what happened meanwhile is sent.
    pub fn thaw(&mut self) {
        self.ending = self.ending.filter(|(_, fault)| !matches!(fault, WatchFault::Freeze { .. }));
    }

    /// Lets a lagging watch send this many events more; `u64::MAX` ends the lag.
    pub fn release(&mut self, events: u64) {
        self.allowance =
            self.allowance.map(|left| left.saturating_add(events)).filter(|left| *left != u64::MAX);
    }

    /// Takes what is in the log into the queue, as a server buffers for an open watch: it then
    /// survives compaction.
    pub fn buffer(&mut self, store: &Store) {
        while let Some(event) = store.next_event(&mut self.cursor) {
            self.queue.push_back(event);
        }
        if self.coalesces {
            coalesce(&mut self.queue);
        }
    }

    pub fn step(&mut self, store: &Store) -> Step {
        match self.due() {
            Some(WatchFault::Cut { .. }) => return Step::End,
            Some(WatchFault::Reset { .. }) => return Step::Reset,
            Some(WatchFault::Freeze { .. }) => return Step::Wait { silent: true },
            Some(WatchFault::Gone { .. }) => {
                self.end();
                return Step::Send(error_event(&Status::too_old(self.cursor.at(), store.revision())));
            }
            _ => {}
        }
        if !store.serves(self.cursor.kind()) {
            return Step::End;
        }
        if self.allowance == Some(0) {
            return Step::Wait { silent: false };
        }
        let Some(event) = self.take(store) else {
            return Step::Wait { silent: false };
        };
        self.sent += 1;
        self.allowance = self.allowance.map(|left| left - 1);
        if event["type"] == "ERROR" {
            self.end();
        }
        Step::Send(event)
    }

    /// The fault that ends or stops the stream here.
    fn due(&self) -> Option<WatchFault> {
        self.ending.filter(|(at, _)| self.sent >= *at).map(|(_, fault)| fault)
    }

    fn end(&mut self) {
        self.ending = Some((0, WatchFault::Cut { after: 0 }));
    }

    fn take(&mut self, store: &Store) -> Option<Value> {
        self.buffer(store);
        while self.drops > 0 && self.queue.pop_front().is_some() {
            self.drops -= 1;
        }
        if self.swaps > 0 {
            if self.queue.len() < 2 {
                return None;
            }
            self.swaps -= 1;
            self.queue.swap(0, 1);
        }
        let event = self.queue.pop_front()?;
        if self.repeating {
            self.repeating = false;
        } else if self.duplicates > 0 {
            self.duplicates -= 1;
            self.repeating = true;
            self.queue.push_front(event.clone());
        }
        Some(event)
    }

    /// A bookmark, when the client wants them and has seen all there is.
    pub fn bookmark(&mut self, store: &Store) -> Option<Value> {
        self.buffer(store);
        let idle = self.queue.is_empty() && self.allowance.is_none() && self.due().is_none();
        (idle && self.cursor.bookmarks).then(|| store.bookmark(&self.cursor))
    }
}

/// Leaves one event per object: the newest, as an addition if the first was one.
fn coalesce(queue: &mut VecDeque<Value>) {
    let mut kept: VecDeque<Value> = VecDeque::new();
    for mut event in queue.drain(..) {
        let same = |other: &Value| {
            let (a, b) = (&other["object"], &event["object"]);
            (object::namespace(a), object::name(a)) == (object::namespace(b), object::name(b))
                && !object::name(a).is_empty()
        };
        if let Some(at) = kept.iter().position(same)
            && let Some(earlier) = kept.remove(at)
        {
            match (earlier["type"].as_str(), event["type"].as_str()) {
                (Some("ADDED"), Some("DELETED")) => continue,
                (Some("ADDED"), _) => event["type"] = Value::from("ADDED"),
                (Some("DELETED"), Some("ADDED")) => event["type"] = Value::from("MODIFIED"),
                _ => {}
            }
        }
        kept.push_back(event);
    }
    *queue = kept;
}
