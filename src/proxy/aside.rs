//! Work that is not for the threads of the sockets: as much of it at a time as there are cores.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Places for such work.
#[derive(Clone, Debug)]
pub struct Aside {
    cores: Arc<Semaphore>,
}

/// The work did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("work on it ended early; send it again")]
pub struct EndedEarly;

impl Default for Aside {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { cores: Arc::new(Semaphore::new(cores)) }
    }
}

impl Aside {
    /// Waits for a place, and for the work. Its place is taken until it is done, also if nobody waits for it any more.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EndedEarly> {
        // It is never closed.
        let core = self.cores.clone().acquire_owned().await.map_err(|_| EndedEarly)?;
        let work = spawn_blocking(move || {
            let _core = core;
            work()
        });
        work.await.map_err(|_| EndedEarly)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_place_is_taken_until_the_work_is_done_although_nobody_waits() {
        let aside = Aside::default();
        let all = aside.cores.available_permits();
        let (done, wait) = mpsc::channel::<()>();
        let work = aside.clone();
        let abandoned = tokio::spawn(async move { work.run(move || wait.recv()).await });
        while aside.cores.available_permits() == all {
            tokio::task::yield_now().await;
        }
        abandoned.abort();
        abandoned.await.unwrap_err();
        assert_eq!(aside.cores.available_permits(), all - 1);
        done.send(()).unwrap();
        while aside.cores.available_permits() < all {
            tokio::task::yield_now().await;
        }
        assert_eq!(aside.run(|| panic!("a defect")).await, Err::<(), _>(EndedEarly));
        assert_eq!(aside.run(|| 1).await, Ok(1));
    }
}
