//! Memory for what clients have sent and nobody has read yet: frames that are not whole, fragments, bodies that wait to
//! be opened or stored. All connections together have so much; each has a little of its own, enough for an application
//! of some hundred series. Who needs more than there is, is not read from until there is room again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

/// Bytes of all connections, beside what each has of its own: sixteen of the longest payloads at the same time.
const ALL: usize = 64 << 20;
/// Bytes of each connection.
const OWN: usize = 16 << 10;
/// Room is taken in such steps.
const STEP: usize = 64 << 10;
/// Who waits so long for room may be one of those who keep it from each other, each with half a frame.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is left for all connections.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ALL)))
    }
}

/// What one connection has of it.
#[derive(Debug, Default)]
pub struct Share {
    taken: Option<OwnedSemaphorePermit>,
    waiting_since: Option<Instant>,
}

/// No room in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl Share {
    /// Makes it fit `bytes`: gives back what is too much, waits for what is missing. May be dropped and called again.
    pub async fn fit(&mut self, bytes: usize, room: &Room) -> Result<(), NoRoom> {
        // One with more than all may have together has it while the others have none.
        let wanted = bytes.saturating_sub(OWN).next_multiple_of(STEP).min(ALL);
        let had = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if wanted <= had {
            self.waiting_since = None;
            match &mut self.taken {
                Some(taken) if wanted > 0 => drop(taken.split(had - wanted)),
                _ => self.taken = None,
            }
            return Ok(());
        }
        let latest = *self.waiting_since.get_or_insert_with(Instant::now) + PATIENCE;
        let missing = u32::try_from(wanted - had).unwrap_or(u32::MAX);
        // It is never closed.
        let more = timeout_at(latest.into(), room.0.clone().acquire_many_owned(missing)).await;
        let more = more.map_err(|_| NoRoom)?.map_err(|_| NoRoom)?;
        self.waiting_since = None;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn little_is_free_and_much_comes_from_what_all_have() {
        let (room, mut share) = (Room::default(), Share::default());
        let left = || ALL - room.0.available_permits();
        for (bytes, taken) in
            [(0, 0), (OWN, 0), (OWN + 1, STEP), (4 << 20, 4 << 20), (2 << 20, 2 << 20), (1, 0)]
        {
            share.fit(bytes, &room).await.unwrap();
            assert_eq!(left(), taken, "{bytes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_waits_for_it_and_not_for_ever() {
        let room = Room::default();
        let (mut first, mut second) = (Share::default(), Share::default());
        first.fit(usize::MAX >> 1, &room).await.unwrap();
        assert_eq!(second.fit(OWN, &room).await, Ok(()), "what is its own");
        assert_eq!(second.fit(1 << 20, &room).now_or_never(), None);
        first.fit(0, &room).await.unwrap();
        assert_eq!(second.fit(1 << 20, &room).now_or_never(), Some(Ok(())));
        assert_eq!(first.fit(ALL, &room).now_or_never(), None);
        assert_eq!(first.fit(ALL, &room).await, Err(NoRoom));
    }
}
