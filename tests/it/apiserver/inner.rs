//! What is behind the server's lock: how a fault and the store together answer a request.

use std::collections::BTreeMap;

use super::{
    fault::{Fault, Faults, WatchFault},
    open_watch::OpenWatch,
    request::{Request, Response},
    status::Status,
    store::Store,
};

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) faults: Faults,
    pub(super) watches: BTreeMap<u64, OpenWatch>,
    pub(super) opened: u64,
}

/// What the service does with a request.
pub(super) enum Outcome {
    Respond(Box<Response>),
    Stream(u64),
    Reset,
    Hang,
    Garbage,
}

impl Inner {
    pub(super) fn serve(&mut self, request: &Request, fault: Option<Fault>) -> Outcome {
        let note = fault.as_ref().map(ToString::to_string);
        let mut unserved = |code| self.store.record.push(request, code, false, note.clone());
        match fault {
            Some(Fault::Answer(status)) => {
                unserved(status.code);
                return refused(status);
            }
            Some(Fault::ResetBefore) => {
                unserved(0);
                return Outcome::Reset;
            }
            Some(Fault::Hang) => {
                unserved(0);
                return Outcome::Hang;
            }
            Some(Fault::Garbage) => {
                unserved(200);
                return Outcome::Garbage;
            }
            _ => {}
        }
        let response = match fault {
            Some(Fault::StaleList(revision)) => self.store.handle(&as_of(request, revision)),
            _ => self.store.handle(request),
        };
        match fault {
            Some(Fault::AnswerAfter(status)) => {
                self.store.record.amend(status.code, note.unwrap_or_default());
                refused(status)
            }
            Some(Fault::ResetAfter) => {
                self.store.record.amend(0, note.unwrap_or_default());
                Outcome::Reset
            }
            Some(Fault::StaleList(_)) => {
                self.store.record.amend(response.code, note.unwrap_or_default());
                Outcome::Respond(Box::new(response))
            }
            Some(Fault::Watch(fault)) if response.watch.is_some() => {
                self.store.record.amend(response.code, note.unwrap_or_default());
                self.open(request, response, Some(fault))
            }
            _ => self.open(request, response, None),
        }
    }

    fn open(&mut self, request: &Request, response: Response, fault: Option<WatchFault>) -> Outcome {
        let Some(cursor) = response.watch else {
            return Outcome::Respond(Box::new(response));
        };
        let mut watch = OpenWatch::new(&request.client, cursor);
        if let Some(fault) = fault {
            watch.afflict(fault);
        }
        self.opened += 1;
        self.watches.insert(self.opened, watch);
        Outcome::Stream(self.opened)
    }
}

/// A first page or whole list, at an exact revision.
fn as_of(request: &Request, revision: u64) -> Request {
    let mut stale = request.clone();
    if !stale.query.contains_key("continue") {
        stale.query.insert("resourceVersion".to_owned(), revision.to_string());
        stale.query.insert("resourceVersionMatch".to_owned(), "Exact".to_owned());
    }
    stale
}

fn refused(status: Status) -> Outcome {
    Outcome::Respond(Box::new(status.into()))
}
