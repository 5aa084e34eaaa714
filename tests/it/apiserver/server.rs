//! The handle that tests hold: the store, the faults and the open watches behind one lock.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::watch::Sender;

use super::{
    fault::{Fault, Rule, RuleId, WatchFault},
    inner::{Inner, Outcome},
    open_watch::Step,
    record::Record,
    request::Request,
    store::Store,
    watches::Watches,
};

/// How long a test waits, in tokio's time, before it calls a condition missed.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// An API server in this process. Clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Mutex<Inner>>,
    /// Moves whenever something happened: wakes watches and waiting tests.
    pub(super) activity: Arc<Sender<u64>>,
}

impl Default for ApiServer {
    fn default() -> Self {
        Self::new()
    }
}

impl ApiServer {
    pub fn new() -> Self {
        Self::from_store(Store::default())
    }

    pub fn from_store(store: Store) -> Self {
        let inner = Inner { store, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)), activity: Arc::new(Sender::new(0)) }
    }

    /// A client called `operator`. Needs a tokio runtime, as every kube client does.
    pub fn client(&self) -> kube::Client {
        self.client_as("operator")
    }

    /// A client whose requests are recorded, and hit by faults, under this name.
    pub fn client_as(&self, name: &str) -> kube::Client {
        kube::Client::new(super::service::Shell::new(self.clone(), name), "default")
    }

    /// Looks at or changes the cluster. Watches see the changes afterwards.
    pub fn with<R>(&self, act: impl FnOnce(&mut Store) -> R) -> R {
        let result = act(&mut self.lock().store);
        self.wake();
        result
    }

    /// The same for actors: watches and waiting tests wake only when something changed, so that an
    /// actor that follows activity comes to rest.
    pub(super) fn with_quietly<R>(&self, act: impl FnOnce(&mut Store) -> R) -> R {
        let mut inner = self.lock();
        let before = inner.store.revision();
        let result = act(&mut inner.store);
        let changed = inner.store.revision() != before;
        drop(inner);
        if changed {
            self.wake();
        }
        result
    }

    pub fn snapshot(&self) -> Store {
        self.lock().store.clone()
    }

    /// Puts a snapshot in place. Open watches end: their past is another one.
    pub fn restore(&self, store: Store) {
        let mut inner = self.lock();
        inner.store = store;
        for watch in inner.watches.values_mut() {
            watch.afflict(WatchFault::Cut { after: 0 });
        }
        drop(inner);
        self.wake();
    }

    pub fn record(&self) -> Record {
        self.lock().store.record.clone()
    }

    /// A position for [`Record::since`].
    pub fn mark(&self) -> usize {
        self.lock().store.record.mark()
    }

    /// Moves the cluster's clock, not tokio's; backwards too.
    pub fn advance(&self, by: SignedDuration) {
        self.with(|store| store.advance(by));
    }

    /// Forgets all history: watches that resume and pages that continue get 410. Open watches are
    /// not affected, as the real server has their events buffered.
    pub fn compact(&self) {
        let mut inner = self.lock();
        let Inner { store, watches, .. } = &mut *inner;
        for watch in watches.values_mut() {
            watch.buffer(store);
        }
        store.compact(u64::MAX);
    }

    pub fn inject(&self, rule: Rule) -> RuleId {
        self.lock().faults.inject(rule)
    }

    /// How often an injected rule hit.
    pub fn fired(&self, rule: RuleId) -> u64 {
        self.lock().faults.fired(rule)
    }

    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// The open watches of a plural, `""` for all, to break or hold them.
    pub fn watches(&self, plural: &str) -> Watches<'_> {
        Watches { server: self, plural: plural.to_owned(), client: None }
    }

    /// Waits until the cluster fulfils a condition. Panics with the record when it does not within
    /// 30 s of tokio's time.
    pub async fn until(&self, what: &str, mut condition: impl FnMut(&Store) -> bool) {
        let mut activity = self.activity.subscribe();
        let wait = async {
            loop {
                activity.borrow_and_update();
                if condition(&self.lock().store) {
                    return;
                }
                // The sender lives in `self`.
                let _ = activity.changed().await;
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, wait).await;
        assert!(outcome.is_ok(), "{what}: did not happen; the requests were\n{}", self.record());
    }

    /// Waits until no request came for this long (tokio's time).
    pub async fn until_quiet(&self, time: Duration) {
        let mut activity = self.activity.subscribe();
        loop {
            let mark = self.mark();
            while let Ok(Ok(())) = tokio::time::timeout(time, activity.changed()).await {
                if self.mark() != mark {
                    break;
                }
            }
            if self.mark() == mark {
                return;
            }
        }
    }

    /// Stores an object as given, status included, and returns it as stored.
    pub fn put<K: Serialize + DeserializeOwned>(&self, object: &K) -> K {
        let value = serde_json::to_value(object).expect("objects serialize");
        decoded(&self.with(|store| store.put(&value)))
    }

    /// One object, or `None`.
    pub fn get<K: Resource<DynamicType = ()> + DeserializeOwned>(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<K> {
        let plural = plural_of::<K>();
        self.lock().store.get(&plural, namespace, name).map(decoded)
    }

    /// All objects of a kind, by namespace and name.
    pub fn all<K: Resource<DynamicType = ()> + DeserializeOwned>(&self) -> Vec<K> {
        self.lock().store.all(&plural_of::<K>()).into_iter().map(decoded).collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A test that panicked while it held the lock has failed already.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake(&self) {
        self.activity.send_modify(|n| *n += 1);
    }

    pub(super) fn pick_fault(&self, request: &Request) -> (Duration, Option<Fault>) {
        self.lock().faults.pick(request)
    }

    pub(super) fn serve(&self, request: &Request, fault: Option<Fault>) -> Outcome {
        let outcome = self.lock().serve(request, fault);
        self.wake();
        outcome
    }

    pub(super) fn step_watch(&self, id: u64) -> Step {
        let mut inner = self.lock();
        let Inner { store, watches, .. } = &mut *inner;
        watches.get_mut(&id).map_or(Step::End, |watch| watch.step(store))
    }

    pub(super) fn bookmark_watch(&self, id: u64) -> Option<Value> {
        let mut inner = self.lock();
        let Inner { store, watches, .. } = &mut *inner;
        watches.get_mut(&id).and_then(|watch| watch.bookmark(store))
    }

    pub(super) fn watch_timeout(&self, id: u64) -> Option<u64> {
        self.lock().watches.get(&id).and_then(|watch| watch.cursor.timeout)
    }

    pub(super) fn close_watch(&self, id: u64) {
        self.lock().watches.remove(&id);
        self.wake();
    }
}

/// `jobs.batch` of a type.
fn plural_of<K: Resource<DynamicType = ()>>() -> String {
    super::kind::qualified(&K::plural(&()), &K::group(&()))
}

fn decoded<K: DeserializeOwned>(object: &(impl std::borrow::Borrow<Value> + ?Sized)) -> K {
    let object: &Value = object.borrow();
    serde_json::from_value(object.clone()).unwrap_or_else(|why| panic!("cannot decode {object}: {why}"))
}
