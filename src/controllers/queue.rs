//! What is due: each key once, at its earliest time, and never two workers on the same key.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// A queue of keys with times.
#[derive(Debug)]
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<K> {
    due: BTreeSet<(Instant, K)>,
    times: HashMap<K, Instant>,
    /// Keys that a worker has; what is added meanwhile waits for it.
    taken: HashSet<K>,
    failures: HashMap<K, u32>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        let state = State {
            due: BTreeSet::new(),
            times: HashMap::new(),
            taken: HashSet::new(),
            failures: HashMap::new(),
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }
}

impl<K: Clone + Ord + Hash> Queue<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `key` due after `pause`, unless it is due earlier.
    pub fn add(&self, key: K, pause: Duration) {
        self.lock().add(key, pause);
        self.changed.notify_one();
    }

    /// Waits for a key that is due and takes it.
    pub async fn next(&self) -> K {
        loop {
            let until = match self.lock().take_due() {
                Ok(key) => return key,
                Err(until) => until,
            };
            let changed = self.changed.notified();
            match until {
                Some(until) => {
                    tokio::select! {
                        () = changed => {}
                        () = sleep_until(until) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Gives a key back; `again` is when to look at it again without an event.
    pub fn done(&self, key: K, again: Option<Duration>) {
        let mut state = self.lock();
        state.failures.remove(&key);
        state.release(key, again);
        drop(state);
        self.changed.notify_one();
    }

    /// Gives a key back after a failure; `pause` is told how many came before in a row.
    pub fn failed(&self, key: K, pause: impl FnOnce(u32) -> Duration) {
        let mut state = self.lock();
        let failures = state.failures.entry(key.clone()).or_default();
        let pause = pause(*failures);
        *failures = failures.saturating_add(1);
        state.release(key, Some(pause));
        drop(state);
        self.changed.notify_one();
    }

    /// How many keys are due now.
    pub fn depth(&self) -> usize {
        let now = Instant::now();
        self.lock().due.iter().take_while(|(at, _)| *at <= now).count()
    }
}

impl<K: Clone + Ord + Hash> State<K> {
    fn add(&mut self, key: K, pause: Duration) {
        let at = Instant::now() + pause;
        if let Some(known) = self.times.get(&key).copied() {
            if known <= at {
                return;
            }
            self.due.remove(&(known, key.clone()));
        }
        self.times.insert(key.clone(), at);
        if !self.taken.contains(&key) {
            self.due.insert((at, key));
        }
    }

    /// A due key, else the time of the next.
    fn take_due(&mut self) -> Result<K, Option<Instant>> {
        match self.due.first() {
            Some((at, _)) if *at > Instant::now() => Err(Some(*at)),
            None => Err(None),
            Some(_) => {
                let (_, key) = self.due.pop_first().ok_or(None)?;
                self.times.remove(&key);
                self.taken.insert(key.clone());
                Ok(key)
            }
        }
    }

    fn release(&mut self, key: K, again: Option<Duration>) {
        self.taken.remove(&key);
        if let Some(at) = self.times.get(&key) {
            self.due.insert((*at, key.clone()));
        }
        if let Some(pause) = again {
            self.add(key, pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[tokio::test(start_paused = true)]
    async fn the_earliest_time_of_a_key_counts() {
        let queue = Queue::default();
        queue.add("a", Duration::from_mins(1));
        queue.add("a", Duration::from_secs(5));
        queue.add("a", Duration::from_secs(30));
        let start = Instant::now();
        assert_eq!(queue.next().await, "a");
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        queue.done("a", None);
        assert_eq!(queue.depth(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_in_work_comes_again_only_after_it_is_given_back() {
        let queue = Queue::default();
        queue.add("a", NOW);
        assert_eq!(queue.next().await, "a");
        queue.add("a", NOW);
        queue.add("b", NOW);
        assert_eq!(queue.next().await, "b", "a is taken");
        let none = tokio::time::timeout(Duration::from_secs(9), queue.next()).await;
        assert!(none.is_err(), "a is still taken");
        queue.done("a", None);
        assert_eq!(queue.next().await, "a", "what was added meanwhile is not lost");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_counted_until_a_success() {
        let queue = Queue::default();
        queue.add("a", NOW);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let key = queue.next().await;
            queue.failed(key, |n| {
                seen.push(n);
                Duration::from_secs(1)
            });
        }
        let key = queue.next().await;
        queue.done(key, Some(NOW));
        let key = queue.next().await;
        queue.failed(key, |n| {
            seen.push(n);
            NOW
        });
        assert_eq!(seen, [0, 1, 2, 0]);
    }
}
