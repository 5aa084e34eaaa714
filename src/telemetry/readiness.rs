//! What the operator still waits for before it works.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Things that must be there, each with why it is not.
#[derive(Debug, Default)]
pub struct Readiness {
    missing: Mutex<BTreeMap<String, String>>,
}

impl Readiness {
    /// `what` is waited for, because of `why`.
    pub fn wait_for(&self, what: impl Into<String>, why: impl Into<String>) {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).insert(what.into(), why.into());
    }

    /// `what` is there.
    pub fn arrived(&self, what: &str) {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }

    /// A line for each thing that is waited for; none means ready.
    pub fn report(&self) -> Vec<String> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.iter().map(|(what, why)| format!("{what}: {why}")).collect()
    }
}
