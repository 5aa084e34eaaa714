//! A few threads that open payloads. Pushes go first: an application waits 5 s for its answer, and thousands of
//! pulls may be in the queue.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{KeyPair, OpenError};
use crate::proxy::wire::Payload;

/// What is done with the text, on the pool's thread.
type Then = Box<dyn FnOnce(Result<String, OpenError>) + Send>;

/// Which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody waits.
    Push,
    /// Nobody does.
    Pull,
}

/// The threads. They end when the pool is dropped and the queues are empty.
pub struct Pool {
    shared: Arc<Shared>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

struct Shared {
    keys: Arc<KeyPair>,
    limit: usize,
    queues: Mutex<Queues>,
    changed: Condvar,
}

#[derive(Default)]
struct Queues {
    pushes: VecDeque<(Payload, Then)>,
    pulls: VecDeque<(Payload, Then)>,
    ended: bool,
}

impl Pool {
    /// Starts `threads`; a text has at most `limit` bytes.
    pub fn start(keys: Arc<KeyPair>, threads: NonZeroUsize, limit: usize) -> std::io::Result<Self> {
        let shared = Shared { keys, limit, queues: Mutex::default(), changed: Condvar::new() };
        let pool = Self { shared: Arc::new(shared) };
        for _ in 0..threads.get() {
            let shared = pool.shared.clone();
            thread::Builder::new().name("open".to_owned()).spawn(move || shared.work())?;
        }
        Ok(pool)
    }

    /// Opens `payload` when its turn has come.
    pub fn open(
        &self,
        urgency: Urgency,
        payload: Payload,
        then: impl FnOnce(Result<String, OpenError>) + Send + 'static,
    ) {
        let job = (payload, Box::new(then) as Then);
        let mut queues = self.shared.lock();
        match urgency {
            Urgency::Push => queues.pushes.push_back(job),
            Urgency::Pull => queues.pulls.push_back(job),
        }
        drop(queues);
        self.shared.changed.notify_one();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some((payload, then)) = self.next() {
            let work = AssertUnwindSafe(|| then(self.keys.open(&payload, self.limit)));
            // A defect that one body shows must not cost a thread. What was shared is behind locks that outlive it.
            if catch_unwind(work).is_err() {
                tracing::error!("work on a body ended early");
            }
        }
    }

    fn next(&self) -> Option<(Payload, Then)> {
        let mut queues = self.lock();
        loop {
            let job = queues.pushes.pop_front().or_else(|| queues.pulls.pop_front());
            if job.is_some() || queues.ended {
                return job;
            }
            queues = self.changed.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::proxy::crypto::tests::{seal, test_key};

    #[test]
    fn pushes_overtake_pulls_and_nothing_is_dropped_at_the_end() {
        let keys = Arc::new(test_key());
        let pool = Pool::start(keys.clone(), NonZeroUsize::MIN, 100).unwrap();
        let (sender, receiver) = mpsc::channel();
        let (block, blocked) = mpsc::channel::<()>();
        pool.open(Urgency::Pull, seal(&keys, "first"), move |_| blocked.recv().unwrap());
        for (urgency, text) in [(Urgency::Pull, "pull 1"), (Urgency::Pull, "pull 2"), (Urgency::Push, "push")]
        {
            let sender = sender.clone();
            pool.open(urgency, seal(&keys, text), move |text| sender.send(text.unwrap()).unwrap());
        }
        drop((pool, sender));
        block.send(()).unwrap();
        assert_eq!(receiver.iter().collect::<Vec<_>>(), ["push", "pull 1", "pull 2"]);
    }
}
