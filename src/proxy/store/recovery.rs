//! What was on disk, read again: file by file, so that memory holds one of them at a time, and on all cores.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use super::intake::{door_of, key_of};
use super::log::{OldFile, Packed};
use super::runs::{Final, Key, Source, Taken};
use super::{Counts, Store};

/// What a record turned out to be.
enum Found {
    Damaged,
    /// No Prometheus would take it any more.
    Expired,
    Body(Key, Box<Final>),
}

impl Store {
    /// Shows again what `files` hold.
    pub(super) fn recover(&self, files: &[OldFile]) {
        let (mut damaged, mut kept) = (0, 0);
        for file in files {
            let Ok(content) = file.read() else {
                damaged += 1;
                continue;
            };
            let scan = file.scan(&content);
            damaged += scan.damaged;
            let found = on_all_cores(&scan.payloads, |payload| self.revive(file, payload));
            let mut state = self.lock();
            state.segments.insert(file.segment, content.len());
            for found in found {
                match found {
                    Found::Damaged => damaged += 1,
                    Found::Expired => {}
                    Found::Body(key, last) => kept += usize::from(state.runs.finish(&key, *last)),
                }
            }
            drop(state);
            self.make_room(0, 0);
        }
        Counts::add(&self.counts.damaged, damaged);
        if damaged > 0 {
            tracing::warn!(
                places = damaged,
                records = kept,
                "the store is damaged or torn; the rest of it is whole"
            );
        }
    }

    fn revive(&self, file: &OldFile, payload: &[u8]) -> Found {
        let Some(packed) = Packed::decode(payload) else { return Found::Damaged };
        if self.now_ms().saturating_sub(packed.note.taken_ms) >= self.settings.retention.most_ms {
            return Found::Expired;
        }
        let Some(text) = packed.text() else { return Found::Damaged };
        let note = packed.note;
        let built = self.built(&text, &note.group.clone().unwrap_or_default()).0;
        let source = Source {
            door: door_of(&note.door),
            peer: note.peer,
            connection: note.connection,
            since_ms: note.since_ms,
        };
        let key = key_of(&built, note.group.as_ref(), &source);
        let taken = Taken { body: Arc::new(built.body), at_ms: note.taken_ms, source };
        let (snapshot, group, segment) = (note.snapshot, note.group, Some(file.segment));
        Found::Body(key, Box::new(Final { taken, snapshot, group, segment, deliveries: Arc::default() }))
    }
}

/// The results of `work`, in order.
fn on_all_cores<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, Into::into);
    let share = all.len().div_ceil(cores).max(1);
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = all
            .chunks(share)
            .map(|share| scope.spawn(move || share.iter().map(work).collect::<Vec<_>>()))
            .collect();
        let results =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        results.flatten().collect()
    })
}
