//! Group commit: one thread writes whatever came while the last sync ran, and syncs once for all of it.

use std::io;

use tokio::sync::{mpsc, oneshot};

use super::log::{Log, Segment};

/// Waiting records beyond this make their senders wait.
const QUEUE: usize = 4096;
/// A group ends here, so that its first record does not wait for ever.
const GROUP_BYTES: usize = 8 << 20;

enum Job {
    Append(Vec<u8>, oneshot::Sender<Result<Written, String>>),
    Remove(Segment),
}

/// Where a record was written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// The file.
    pub segment: Segment,
    /// Its size there.
    pub bytes: usize,
}

/// Hands records to the thread.
#[derive(Clone, Debug)]
pub struct Committer {
    jobs: mpsc::Sender<Job>,
}

impl Committer {
    /// Starts the thread; it ends with the last `Committer`.
    pub fn start(mut log: Log) -> io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel(QUEUE);
        std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            while let Some(first) = queue.blocking_recv() {
                group(&mut log, first, &mut queue);
            }
        })?;
        Ok(Self { jobs })
    }

    /// Returns when the record survives power loss.
    pub async fn append(&self, payload: Vec<u8>) -> Result<Written, String> {
        let (done, written) = oneshot::channel();
        let gone = || "the store has ended".to_owned();
        self.jobs.send(Job::Append(payload, done)).await.map_err(|_| gone())?;
        written.await.map_err(|_| gone())?
    }

    /// Removes a file, some time.
    pub fn remove(&self, segment: Segment) -> bool {
        self.jobs.try_send(Job::Remove(segment)).is_ok()
    }
}

fn group(log: &mut Log, first: Job, queue: &mut mpsc::Receiver<Job>) {
    let (mut payloads, mut waiting, mut remove, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let mut next = Some(first);
    while let Some(job) = next {
        match job {
            Job::Append(payload, done) => {
                bytes += payload.len();
                payloads.push(payload);
                waiting.push(done);
            }
            Job::Remove(segment) => remove.push(segment),
        }
        next = if bytes < GROUP_BYTES { queue.try_recv().ok() } else { None };
    }
    // First what makes room.
    for segment in remove {
        if let Err(error) = log.remove(segment) {
            tracing::warn!(segment, %error, "cannot remove a file of the store");
        }
    }
    if payloads.is_empty() {
        return;
    }
    let result = log.commit(&payloads).map_err(|e| e.to_string());
    if let Err(error) = &result {
        tracing::error!(
            error,
            records = payloads.len(),
            "cannot store final metrics; their senders are told"
        );
    }
    for (payload, done) in payloads.iter().zip(waiting) {
        let written = result.clone().map(|(segment, _)| Written { segment, bytes: payload.len() });
        // Nobody waits any more: it is stored all the same.
        let _ = done.send(written);
    }
}
