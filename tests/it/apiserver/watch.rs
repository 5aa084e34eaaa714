//! Watches, without time: a cursor over the log of changes.

use std::{collections::VecDeque, sync::Arc};

use serde_json::{Value, json};

use super::{
    kind::Kind,
    object::{self, Key},
    request::{Request, Response},
    selector::Selector,
    status::Status,
    store::Store,
};

/// One committed change. `last` is what a deletion shows: the old object at the new revision.
#[derive(Debug)]
pub struct Change {
    pub revision: u64,
    pub key: Arc<Key>,
    pub old: Option<Arc<Value>>,
    pub new: Option<Arc<Value>>,
    pub last: Arc<Value>,
}

/// Where one watch stands. Copying it with the store copies the watch.
#[derive(Clone, Debug)]
pub struct Cursor {
    kind: Kind,
    namespace: String,
    selector: Selector,
    metadata_only: bool,
    /// Asked for bookmarks.
    pub bookmarks: bool,
    /// Seconds after which the server ends the watch.
    pub timeout: Option<u64>,
    at: u64,
    initial: VecDeque<Value>,
    expired: bool,
}

impl Cursor {
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The revision up to which events were taken.
    pub fn at(&self) -> u64 {
        self.at
    }
}

impl Store {
    pub(super) fn watch(&self, kind: &Kind, request: &Request) -> Result<Response, Status> {
        let from = request.query("resourceVersion");
        let mut cursor = Cursor {
            kind: kind.clone(),
            namespace: request.namespace.clone(),
            selector: Selector::parse(kind, request.query("labelSelector"), request.query("fieldSelector"))?,
            metadata_only: request.metadata_only,
            bookmarks: request.flag("allowWatchBookmarks"),
            timeout: request.query("timeoutSeconds").parse().ok().filter(|seconds| *seconds > 0),
            at: from.parse().unwrap_or_default(),
            initial: VecDeque::new(),
            expired: false,
        };
        let initial_events = request.flag("sendInitialEvents");
        if initial_events || matches!(from, "" | "0") {
            self.start_with_state(&mut cursor, initial_events);
        }
        Ok(Response { watch: Some(cursor), ..Response::ok(Value::Null) })
    }

    /// A watch without a start begins with the present state as additions.
    fn start_with_state(&self, cursor: &mut Cursor, marks_end: bool) {
        cursor.at = self.revision;
        let objects = self.objects_at(&cursor.kind, self.revision).unwrap_or_default();
        for (key, object) in objects {
            if (cursor.namespace.is_empty() || cursor.namespace == key.namespace)
                && cursor.selector.takes(&object)
            {
                cursor.initial.push_back(event("ADDED", &object, cursor.metadata_only));
            }
        }
        if marks_end {
            let mut end = self.bookmark(cursor);
            end["object"]["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
            cursor.initial.push_back(end);
        }
    }

    /// The next event of a watch, or `None` when it has seen everything. An `ERROR` is the last.
    pub fn next_event(&self, cursor: &mut Cursor) -> Option<Value> {
        if let Some(event) = cursor.initial.pop_front() {
            return Some(event);
        }
        if cursor.expired {
            return None;
        }
        if cursor.at < self.compacted {
            cursor.expired = true;
            return Some(error_event(&Status::too_old(cursor.at, self.compacted)));
        }
        let start = self.log.partition_point(|change| change.revision <= cursor.at);
        for change in self.log.get(start..).unwrap_or_default() {
            cursor.at = change.revision;
            if let Some(event) = seen_by(cursor, change) {
                return Some(event);
            }
        }
        None
    }

    /// A bookmark for a watch that has taken all events.
    pub fn bookmark(&self, cursor: &Cursor) -> Value {
        let (version, kind) = if cursor.metadata_only {
            ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata".to_owned())
        } else {
            (cursor.kind.api_version(), cursor.kind.kind.clone())
        };
        let metadata =
            json!({"resourceVersion": cursor.at.max(self.compacted).to_string(), "creationTimestamp": null});
        json!({"type": "BOOKMARK", "object": {"apiVersion": version, "kind": kind, "metadata": metadata}})
    }

    /// Forgets changes up to a revision: older watches and pages get 410.
    pub fn compact(&mut self, upto: u64) {
        self.compacted = self.compacted.max(upto.min(self.revision));
        let keep = self.log.partition_point(|change| change.revision <= self.compacted);
        self.log.drain(..keep);
    }
}

/// A change as a watch sees it: objects that enter or leave the selection look created or deleted.
fn seen_by(cursor: &Cursor, change: &Change) -> Option<Value> {
    let elsewhere = !cursor.namespace.is_empty() && change.key.namespace != cursor.namespace;
    if elsewhere || change.key.resource != cursor.kind.resource() {
        return None;
    }
    let taken = |object: &Option<Arc<Value>>| object.as_ref().is_some_and(|o| cursor.selector.takes(o));
    let kind = match (taken(&change.old), taken(&change.new)) {
        (false, false) => return None,
        (false, true) => "ADDED",
        (true, true) => "MODIFIED",
        (true, false) => "DELETED",
    };
    if change.new.is_some() && kind == "DELETED" {
        // The last state inside the selection, at the revision at which it left.
        let mut left = change.old.as_deref().cloned().unwrap_or_default();
        left["metadata"]["resourceVersion"] = json!(change.revision.to_string());
        return Some(event(kind, &left, cursor.metadata_only));
    }
    Some(event(kind, &change.last, cursor.metadata_only))
}

fn event(kind: &str, object: &Value, metadata_only: bool) -> Value {
    let object = if metadata_only { object::metadata_only(object) } else { object.clone() };
    json!({"type": kind, "object": object})
}

pub(super) fn error_event(status: &Status) -> Value {
    json!({"type": "ERROR", "object": status.to_value()})
}
