//! One at a time for each run: what adds to the last body of a run must see it. Different runs do not wait for each
//! other, so that their records are synced together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::runs::Key;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// A lock for each run that is written just now.
#[derive(Debug, Default)]
pub struct Turns {
    locks: Mutex<HashMap<Key, Lock>>,
}

/// It is the holder's turn until this is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    // Dropped in this order.
    _guard: OwnedMutexGuard<()>,
    _place: Place<'a>,
}

/// A place in the queue. Whoever leaves last takes the lock away; requests may end while they wait.
#[derive(Debug)]
struct Place<'a> {
    turns: &'a Turns,
    key: &'a Key,
    lock: Lock,
}

impl Turns {
    /// Waits for those who came before with the same `key`.
    pub async fn take<'a>(&'a self, key: &'a Key) -> Turn<'a> {
        let lock =
            self.locks.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone();
        let place = Place { turns: self, key, lock };
        let guard = place.lock.clone().lock_owned().await;
        Turn { _guard: guard, _place: place }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut locks = self.turns.locks.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's and this one: others are made only while the map is locked, or by who has one.
        if Arc::strong_count(&self.lock) <= 2 {
            locks.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_run_waits_and_others_do_not() {
        let (turns, one, other) = (Turns::default(), Key::Connection(1, 1), Key::Connection(1, 2));
        let first = turns.take(&one).await;
        let second = turns.take(&other).await;
        assert!(timeout(Duration::from_secs(1), turns.take(&one)).await.is_err());
        drop((first, second));
        let again = turns.take(&one).await;
        assert_eq!(turns.locks.lock().unwrap().len(), 1, "who gave up and who is done leave nothing behind");
        drop(again);
        assert!(turns.locks.lock().unwrap().is_empty());
    }
}
