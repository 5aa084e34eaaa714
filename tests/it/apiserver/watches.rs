//! The open watches in a test's hands.

use super::{
    fault::WatchFault,
    inner::Inner,
    open_watch::OpenWatch,
    server::{ApiServer, PATIENCE},
    store::Store,
};

/// Some of the open watches.
pub struct Watches<'a> {
    pub(super) server: &'a ApiServer,
    pub(super) plural: String,
    pub(super) client: Option<String>,
}

impl Watches<'_> {
    #[must_use]
    pub fn by(mut self, client: &str) -> Self {
        self.client = Some(client.to_owned());
        self
    }

    pub fn count(&self) -> usize {
        self.server.lock().watches.values().filter(|w| self.has(w)).count()
    }

    /// Lets a fault of the stream begin.
    pub fn afflict(&self, fault: WatchFault) {
        self.each(|watch, _| watch.afflict(fault));
    }

    pub fn thaw(&self) {
        self.each(|watch, _| watch.thaw());
    }

    /// Lets lagging watches send this many events more; `u64::MAX` ends the lag.
    pub fn release(&self, events: u64) {
        self.each(|watch, _| watch.release(events));
    }

    /// Waits until at least this many are open.
    pub async fn until_open(&self, count: usize) {
        let mut activity = self.server.activity.subscribe();
        let wait = async {
            while self.count() < count {
                // The sender lives in the server.
                let _ = activity.changed().await;
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, wait).await;
        assert!(outcome.is_ok(), "{count} watches of {}: only {} are open", self.plural, self.count());
    }

    fn has(&self, watch: &OpenWatch) -> bool {
        (self.plural.is_empty() || watch.is_on(&self.plural))
            && self.client.as_ref().is_none_or(|c| *c == watch.client)
    }

    fn each(&self, mut act: impl FnMut(&mut OpenWatch, &Store)) {
        let mut inner = self.server.lock();
        let Inner { store, watches, .. } = &mut *inner;
        watches.values_mut().filter(|w| self.has(w)).for_each(|w| act(w, store));
        drop(inner);
        self.server.wake();
    }
}
