//! What is told of each definition beyond its last run: what of it is at work, and whether its metrics arrived. These
//! series go with the definition.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::api::Phase;

/// Whether a run's metrics arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Received {
    /// A proxy has them.
    Received,
    /// No proxy has any.
    Missing,
    /// It cannot be known.
    Unknown,
}

/// Launches of one phase that have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Active {
    /// How many.
    pub launches: usize,
    /// Since when the oldest is: its creation while it waits, its start when it runs. Seconds since 1970.
    pub oldest_seconds: Option<f64>,
}

/// Phases of launches that have not ended.
pub const ACTIVE_PHASES: [Phase; 3] = [Phase::Pending, Phase::Running, Phase::Stopping];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Named {
    namespace: String,
    definition: String,
    task_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InPhase {
    namespace: String,
    definition: String,
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Arrived {
    namespace: String,
    definition: String,
    received: Received,
}

fn in_phase(namespace: &str, definition: &str, phase: Phase) -> InPhase {
    InPhase { namespace: namespace.to_owned(), definition: definition.to_owned(), phase: phase.as_str() }
}

fn arrived(namespace: &str, definition: &str, received: Received) -> Arrived {
    Arrived { namespace: namespace.to_owned(), definition: definition.to_owned(), received }
}

/// The families.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    info: Family<Named, Gauge>,
    active: Family<InPhase, Gauge>,
    oldest: Family<InPhase, Gauge<f64, AtomicU64>>,
    received: Family<Arrived, Counter>,
    /// Task names by namespace and definition: of another name the old series goes.
    task_names: Mutex<BTreeMap<(String, String), String>>,
}

impl Definitions {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("definition_info", "Definitions with the name of their task", self.info.clone());
        r.register(
            "definition_active",
            "Launches of a definition that have not ended, by phase",
            self.active.clone(),
        );
        r.register_with_unit(
            "definition_oldest_active_timestamp",
            "When the oldest launch of a phase was created (Pending) or started",
            Unit::Seconds,
            self.oldest.clone(),
        );
        r.register(
            "definition_run_metrics",
            "Ended launches of a definition by whether their metrics arrived",
            self.received.clone(),
        );
    }

    pub(super) fn named(&self, namespace: &str, definition: &str, task_name: &str) {
        let name = |task: &str| Named {
            namespace: namespace.to_owned(),
            definition: definition.to_owned(),
            task_name: task.to_owned(),
        };
        let mut names = self.task_names.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), definition.to_owned());
        if let Some(old) = names.insert(key, task_name.to_owned()).filter(|old| old != task_name) {
            self.info.remove(&name(&old));
        }
        self.info.get_or_create(&name(task_name)).set(1);
    }

    pub(super) fn active(&self, namespace: &str, definition: &str, phase: Phase, now: Active) {
        let whose = in_phase(namespace, definition, phase);
        self.active.get_or_create(&whose).set(i64::try_from(now.launches).unwrap_or(i64::MAX));
        match now.oldest_seconds {
            Some(seconds) => _ = self.oldest.get_or_create(&whose).set(seconds),
            None => _ = self.oldest.remove(&whose),
        }
    }

    pub(super) fn arrival(&self, namespace: &str, definition: &str, received: Received) {
        self.received.get_or_create(&arrived(namespace, definition, received)).inc();
    }

    pub(super) fn forget(&self, namespace: &str, definition: &str) {
        for phase in ACTIVE_PHASES {
            self.active.remove(&in_phase(namespace, definition, phase));
            self.oldest.remove(&in_phase(namespace, definition, phase));
        }
        for received in [Received::Received, Received::Missing, Received::Unknown] {
            self.received.remove(&arrived(namespace, definition, received));
        }
        let key = (namespace.to_owned(), definition.to_owned());
        let task_name = self.task_names.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        if let Some(task_name) = task_name {
            let (namespace, definition) = key;
            self.info.remove(&Named { namespace, definition, task_name });
        }
    }
}
