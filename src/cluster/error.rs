//! What the API server said that a decision cannot depend on, and how soon to try again.

use std::time::Duration;

use kube::core::response::Status;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request of ours failed.
    #[error("{verb} {what}: {source}")]
    Request {
        /// What we did.
        verb: &'static str,
        /// To what.
        what: String,
        /// What came back.
        source: Box<kube::Error>,
    },
    /// The record of execution ids changed under our hands again and again.
    #[error("ConfigMap {0}: another writer was faster ten times; trying again")]
    Contended(&'static str),
    /// A request was not answered in time.
    #[error("no answer from the API server within {0:?}")]
    Unanswered(Duration),
    /// A decision wanted the same thing twice.
    #[error("no decision after {0} look-ups: please report this")]
    Undecided(usize),
}

/// How soon to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Somebody else wrote first: look again at once.
    Conflict,
    /// We may not: until somebody changes that.
    Forbidden,
    /// Anything else: with growing pauses.
    Transient,
}

impl Error {
    /// A failed request: `verb` and what it was for.
    pub fn request(verb: &'static str, what: impl Into<String>, source: kube::Error) -> Self {
        Self::Request { verb, what: what.into(), source: Box::new(source) }
    }

    /// How soon to try again.
    pub fn class(&self) -> Class {
        match self {
            Self::Request { source, .. } => match api_status(source) {
                Some(status) if status.is_conflict() => Class::Conflict,
                Some(status) if status.is_forbidden() => Class::Forbidden,
                _ => Class::Transient,
            },
            Self::Contended(_) | Self::Unanswered(_) | Self::Undecided(_) => Class::Transient,
        }
    }

    /// The pause before the `failures`-th next try.
    pub fn pause(&self, failures: u32) -> Duration {
        const LONGEST: Duration = Duration::from_mins(5);
        let first = match self.class() {
            Class::Conflict => Duration::from_millis(20),
            Class::Forbidden => Duration::from_secs(15),
            Class::Transient => Duration::from_millis(500),
        };
        let asked = match self {
            Self::Request { source, .. } => api_status(source).and_then(|status| status.details.as_ref()),
            _ => None,
        };
        // What the API server asks for, under load, is waited at least.
        let asked = Duration::from_secs(asked.map_or(0, |details| details.retry_after_seconds.into()));
        first.saturating_mul(1 << failures.min(16)).max(asked).min(LONGEST)
    }
}

/// The API server's own answer in an error, if it was one.
pub fn api_status(error: &kube::Error) -> Option<&Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}
