//! The place that talks to the API server: observe reads, apply writes.

pub mod apply;
pub mod cache;
pub mod error;
pub mod events;
pub mod execution_ids;
pub mod observe;
pub mod stacks;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::Client;

use crate::facts::Facts;
use crate::facts::reach::Reach;
use crate::launch::Memory;
use crate::telemetry::metrics::Metrics;
use cache::{Cache, Name};
use events::Events;
use execution_ids::ExecutionIds;
use stacks::Monitoring;

/// Tells the time; tests set it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// One scope (a namespace, or the whole cluster): what was seen in it, and how to act on it.
#[derive(Clone)]
pub struct Cluster {
    /// Talks to the API server.
    pub client: Client,
    /// What the watches saw.
    pub cache: Cache,
    /// Gives execution ids; shared by all scopes.
    pub ids: Arc<ExecutionIds>,
    /// The highest execution id that any scope has seen.
    pub highest_id: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Publishes events.
    pub events: Arc<Events>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Tells the time.
    pub clock: Clock,
    /// Stacks of all scopes.
    pub monitoring: Monitoring,
    /// What arrives in their proxies.
    pub facts: Facts,
    /// Whether what others run for them can be connected to.
    pub reach: Reach,
    /// What this process knows about launches beyond what it watches.
    pub memories: Memories,
}

/// Memories of launches; each goes when its launch is over or gone.
#[derive(Clone, Default)]
pub struct Memories {
    inner: Arc<Mutex<HashMap<Name, (String, Memory)>>>,
}

impl Memories {
    fn lock(&self) -> MutexGuard<'_, HashMap<Name, (String, Memory)>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known about the launch of that name and UID.
    pub fn of(&self, name: &Name, uid: &str) -> Memory {
        let known = self.lock().get(name).filter(|(whose, _)| whose == uid).cloned();
        known.map(|(_, memory)| memory).unwrap_or_default()
    }

    /// Changes what is known about the launch; what was known of another of the same name goes.
    pub fn change(&self, name: &Name, uid: &str, change: impl FnOnce(&mut Memory)) {
        let mut memory = self.of(name, uid);
        change(&mut memory);
        self.lock().insert(name.clone(), (uid.to_owned(), memory));
    }

    /// Forgets the launch.
    pub fn forget(&self, name: &Name) {
        self.lock().remove(name);
    }
}
