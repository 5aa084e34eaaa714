//! The cluster's state and the synchronous core: a request in, a response out.
//!
//! Nothing here reads a clock, a random source or a socket. Cloning a store is a snapshot.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    kind::Kind,
    object::{self, Key},
    record::Record,
    request::{Request, Response, Verb},
    status::Status,
    watch::Change,
};

/// A check on objects being created, e.g. a quota: the refusal is what the client gets.
pub type Admission = Arc<dyn Fn(&Value) -> Result<(), Status> + Send + Sync>;

/// All state of a cluster. `BTreeMap`s and counters only, so that the same requests give the same
/// bytes; objects are shared between snapshots.
#[derive(Clone)]
pub struct Store {
    pub(super) kinds: Arc<Vec<Kind>>,
    pub(super) objects: BTreeMap<Arc<Key>, Arc<Value>>,
    /// Changes after `compacted`, oldest first.
    pub(super) log: Vec<Arc<Change>>,
    pub(super) compacted: u64,
    pub(super) revision: u64,
    /// Revision at which each UID was created: an order where time stands still.
    pub(super) births: BTreeMap<Arc<str>, u64>,
    /// What each field manager applied last, to know what it gives up.
    pub(super) applied: BTreeMap<(Arc<Key>, String), Arc<Value>>,
    pub(super) admission: Vec<(String, Admission)>,
    pub(super) now: Timestamp,
    pub(super) gc_automatic: bool,
    seed: u64,
    made: u64,
    pub record: Record,
}

impl Default for Store {
    fn default() -> Self {
        let mut store = Self {
            kinds: Arc::new(Kind::defaults()),
            objects: BTreeMap::new(),
            log: Vec::new(),
            compacted: 0,
            // Not from zero: "0" has a meaning of its own to a watch.
            revision: 100,
            births: BTreeMap::new(),
            applied: BTreeMap::new(),
            admission: Vec::new(),
            now: Timestamp::constant(1_767_225_600, 0), // 2026-01-01T00:00:00Z
            gc_automatic: true,
            seed: 0,
            made: 0,
            record: Record::default(),
        };
        for name in ["default", "kube-system"] {
            store.add_namespace(name);
        }
        store
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let objects = self.objects.keys().map(|k| format!("{} {}/{}", k.resource, k.namespace, k.name));
        f.debug_struct("Store")
            .field("revision", &self.revision)
            .field("objects", &objects.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// UIDs and generated names differ between seeds and are equal for equal seeds.
    pub fn with_seed(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Serves one request and records it.
    pub fn handle(&mut self, request: &Request) -> Response {
        let before = self.revision;
        let response = self.dispatch(request);
        let changed = self.revision != before;
        self.record.push(request, response.code, changed, None);
        response
    }

    /// Serves one request without a trace in the record.
    pub(super) fn dispatch(&mut self, request: &Request) -> Response {
        let options =
            request.body.as_ref().filter(|_| request.verb == Verb::Delete).map(|body| &body["dryRun"][0]);
        if request.query("dryRun") == "All" || options.is_some_and(|option| option == "All") {
            let mut rehearsal = self.clone();
            return rehearsal.serve(request).unwrap_or_else(Response::from);
        }
        let response = self.serve(request).unwrap_or_else(Response::from);
        if self.gc_automatic && request.verb.is_write() && response.is_ok() {
            self.gc();
        }
        response
    }

    fn serve(&mut self, request: &Request) -> Result<Response, Status> {
        if request.verb == Verb::Discover {
            return self.discover(request);
        }
        let kind = self.kind_of(request)?;
        let subresource_exists =
            request.subresource.is_empty() || (request.subresource == "status" && kind.status);
        if !subresource_exists {
            return Err(Status::no_such_resource());
        }
        match request.verb {
            Verb::Get => self.read(&kind, request),
            Verb::List => self.list(&kind, request),
            Verb::Watch => self.watch(&kind, request),
            Verb::Create => self.create(&kind, request),
            Verb::Update => self.update(&kind, request),
            Verb::Patch => self.patch(&kind, request),
            Verb::Delete => self.delete(&kind, request),
            Verb::Discover => Err(Status::no_such_resource()),
        }
    }

    /// Whether a kind is registered as it is.
    pub(super) fn serves(&self, kind: &Kind) -> bool {
        self.kinds.contains(kind)
    }

    fn kind_of(&self, request: &Request) -> Result<Kind, Status> {
        let same = |k: &&Kind| {
            k.group == request.group && k.version == request.version && k.plural == request.plural
        };
        let kind = self.kinds.iter().find(same).ok_or_else(Status::no_such_resource)?;
        // One object is addressed through its namespace; lists may span all.
        let spans = matches!(request.verb, Verb::List | Verb::Watch);
        let misplaced = kind.namespaced == request.namespace.is_empty() && !(kind.namespaced && spans);
        if misplaced { Err(Status::no_such_resource()) } else { Ok(kind.clone()) }
    }

    fn discover(&self, request: &Request) -> Result<Response, Status> {
        let served = self.kinds.iter().filter(|k| k.group == request.group && k.version == request.version);
        let resources: Vec<Value> = served.map(describe).collect();
        if resources.is_empty() {
            return Err(Status::no_such_resource());
        }
        let group_version = if request.group.is_empty() {
            request.version.clone()
        } else {
            format!("{}/{}", request.group, request.version)
        };
        Ok(Response::ok(json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
        })))
    }

    fn read(&self, kind: &Kind, request: &Request) -> Result<Response, Status> {
        let key = key_of(kind, &request.namespace, &request.name);
        let object = self.objects.get(&key).ok_or_else(|| Status::not_found(kind, &request.name))?;
        Ok(Response::ok(shown(object, request)))
    }

    /// Stores an object under a new revision, or drops it (`None`), and tells the watches.
    /// What is stored is returned.
    pub(super) fn commit(&mut self, key: &Key, object: Option<Value>) -> Arc<Value> {
        let old = self.objects.get(key).cloned();
        if old.is_none() && object.is_none() {
            return Arc::new(Value::Null);
        }
        self.revision += 1;
        let revision = json!(self.revision.to_string());
        let key =
            self.objects.get_key_value(key).map_or_else(|| Arc::new(key.clone()), |(key, _)| Arc::clone(key));
        let new = object.map(|mut object| {
            object["metadata"]["resourceVersion"] = revision.clone();
            Arc::new(object)
        });
        let last = if let Some(new) = &new {
            self.births.entry(object::uid(new).into()).or_insert(self.revision);
            self.objects.insert(Arc::clone(&key), Arc::clone(new));
            Arc::clone(new)
        } else {
            self.objects.remove(&key);
            self.applied.retain(|(k, _), _| *k != key);
            let mut gone = old.as_deref().cloned().unwrap_or_default();
            gone["metadata"]["resourceVersion"] = revision;
            Arc::new(gone)
        };
        let change = Change { revision: self.revision, key, old, new, last: Arc::clone(&last) };
        self.log.push(Arc::new(change));
        last
    }

    /// The time of the cluster, to the second, as metadata has it.
    pub fn time(&self) -> String {
        self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Moves the cluster's clock; backwards too.
    pub fn advance(&mut self, by: SignedDuration) {
        self.now += by;
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn next_uid(&mut self) -> String {
        let (high, low) = (self.scramble(), self.scramble());
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        )
    }

    /// Five characters from the alphabet Kubernetes uses for generated names.
    pub fn next_suffix(&mut self) -> String {
        const ALPHABET: [char; 27] = [
            'b', 'c', 'd', 'f', 'g', 'h', 'j', 'k', 'l', 'm', 'n', 'p', 'q', 'r', 's', 't', 'v', 'w', 'x',
            'z', '2', '4', '5', '6', '7', '8', '9',
        ];
        let mut rest = self.scramble();
        let mut next = || {
            let at = usize::try_from(rest % 27).unwrap_or_default();
            rest /= 27;
            ALPHABET[at]
        };
        (0..5).map(|_| next()).collect()
    }

    /// The next number of a sequence that looks random (splitmix64): names made from the first
    /// digits of UIDs must differ, as they do in a cluster.
    fn scramble(&mut self) -> u64 {
        self.made += 1;
        let mut z = self.seed.wrapping_add(self.made).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

pub(super) fn key_of(kind: &Kind, namespace: &str, name: &str) -> Key {
    Key { resource: kind.resource(), namespace: namespace.to_owned(), name: name.to_owned() }
}

/// An object as this request wants to see it.
pub(super) fn shown(object: &Value, request: &Request) -> Value {
    if request.metadata_only { object::metadata_only(object) } else { object.clone() }
}

fn describe(kind: &Kind) -> Value {
    json!({
        "name": kind.plural, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
    })
}
