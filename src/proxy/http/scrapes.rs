//! How many read all applications at the same time, and for how long: each holds a merge of all of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::delivery::{OnItsWay, Pending};

/// Twice as many as scrapers that are waited for, and each comes once in its interval.
const PLACES: usize = 32;
/// The next one waits so long for a place: as long as a Prometheus does by default for all of its answer.
const WAIT: Duration = Duration::from_secs(10);
/// A response must be taken whole in so long: no usual Prometheus waits for more than a minute.
const TAKEN: Duration = Duration::from_mins(2);

/// Those that read now.
#[derive(Clone, Debug)]
pub struct Scrapes {
    pub(super) places: Arc<Semaphore>,
    pub(super) wait: Duration,
    pub(super) taken: Duration,
}

impl Default for Scrapes {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), wait: WAIT, taken: TAKEN }
    }
}

/// One that reads; its connection has so long to take the response.
#[derive(Debug)]
pub struct Place {
    _place: OwnedSemaphorePermit,
    _response: OnItsWay,
}

impl Scrapes {
    /// Waits for a place; none if all others take too long.
    pub async fn place(&self, pending: &Arc<Pending>) -> Option<Place> {
        // It is never closed.
        let place = timeout(self.wait, self.places.clone().acquire_owned()).await.ok()?.ok()?;
        Some(Place { _place: place, _response: pending.begin(Instant::now() + self.taken) })
    }
}
