//! Every request the server saw, in order.

use std::{fmt, sync::Arc};

use serde_json::Value;

use super::request::{Request, Verb};

/// One request and what became of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// From 1, without gaps.
    pub sequence: usize,
    /// Shared, because a record is copied with every snapshot of the store.
    pub request: Arc<Request>,
    /// What the client was told; 0 when it was told nothing.
    pub code: u16,
    /// The server changed its state, whatever the client was told.
    pub changed: bool,
    /// The injected fault, if one fired.
    pub fault: Option<String>,
}

/// The list of requests. Marks are positions in it.
#[derive(Clone, Debug, Default)]
pub struct Record {
    entries: Vec<Entry>,
}

impl Record {
    pub(super) fn push(&mut self, request: &Request, code: u16, changed: bool, fault: Option<String>) {
        let sequence = self.entries.len() + 1;
        self.entries.push(Entry { sequence, request: Arc::new(request.clone()), code, changed, fault });
    }

    /// Rewrites the last entry: the store has served it, the client is told something else.
    pub(super) fn amend(&mut self, code: u16, fault: String) {
        if let Some(last) = self.entries.last_mut() {
            last.code = code;
            last.fault = Some(fault);
        }
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// A position to give to [`Record::since`] later.
    pub fn mark(&self) -> usize {
        self.entries.len()
    }

    /// What came after a mark of the whole record, also of one that was filtered.
    pub fn since(&self, mark: usize) -> Self {
        self.filter(|e| e.sequence > mark)
    }

    #[must_use]
    pub fn filter(&self, keep: impl Fn(&Entry) -> bool) -> Self {
        Self { entries: self.entries.iter().filter(|e| keep(e)).cloned().collect() }
    }

    pub fn by(&self, client: &str) -> Self {
        self.filter(|e| e.request.client == client)
    }

    pub fn writes(&self) -> Self {
        self.filter(|e| e.request.verb.is_write())
    }

    /// Gets, lists and watches.
    pub fn reads(&self) -> Self {
        self.filter(|e| !e.request.verb.is_write())
    }

    /// Requests on a plural (`jobs` or `jobs.batch`), subresources included.
    pub fn on(&self, plural: &str) -> Self {
        self.filter(|e| e.request.is_on(plural))
    }

    pub fn count(&self, verb: Verb, plural: &str) -> usize {
        self.entries.iter().filter(|e| e.request.verb == verb && e.request.is_on(plural)).count()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Each (group, plural or plural/subresource, verb) once: what a role must allow.
    pub fn permissions(&self) -> std::collections::BTreeSet<(String, String, Verb)> {
        let resource = |r: &Request| match r.subresource.as_str() {
            "" => r.plural.clone(),
            sub => format!("{}/{sub}", r.plural),
        };
        let used = self.entries.iter().filter(|e| e.request.verb != Verb::Discover);
        // An apply that makes the object needs the right to create it as well.
        let made = |e: &&Entry| e.request.verb == Verb::Patch && e.code == 201;
        let made = used.clone().filter(made).map(|e| (&e.request, Verb::Create));
        let all = used.map(|e| (&e.request, e.request.verb)).chain(made);
        all.map(|(r, verb)| (r.group.clone(), resource(r), verb)).collect()
    }
}

impl Entry {
    pub fn body(&self) -> Option<&Value> {
        self.request.body.as_ref()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = &self.request;
        write!(f, "{:>4} {} {:<6} {}", self.sequence, r.client, r.verb, r.resource())?;
        if !r.subresource.is_empty() {
            write!(f, "/{}", r.subresource)?;
        }
        if !r.namespace.is_empty() || !r.name.is_empty() {
            write!(f, " {}/{}", r.namespace, r.name)?;
        }
        if let Some(patch) = r.patch {
            write!(f, " {patch:?}")?;
        }
        write!(f, " -> {}{}", self.code, if self.changed { " changed" } else { "" })?;
        self.fault.as_ref().map_or(Ok(()), |fault| write!(f, " [{fault}]"))
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}
