//! What clients can cause is told at most so often: nobody floods the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one kind in each [`SPAN`]; the next one that is written tells how many were left out.
const LINES: u32 = 10;
const SPAN: Duration = Duration::from_secs(1);

/// Counts lines by kind.
#[derive(Debug, Default)]
pub struct Flood {
    kinds: Mutex<BTreeMap<&'static str, Kind>>,
}

#[derive(Debug)]
struct Kind {
    since: Instant,
    written: u32,
    left_out: u64,
}

impl Flood {
    /// Whether a line of `kind` may be written; if so, how many were left out since the last one.
    pub fn lets(&self, kind: &'static str, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.entry(kind).or_insert(Kind { since: now, written: 0, left_out: 0 });
        if now.saturating_duration_since(kind.since) >= SPAN {
            (kind.since, kind.written) = (now, 0);
        }
        if kind.written >= LINES {
            kind.left_out += 1;
            return None;
        }
        kind.written += 1;
        Some(std::mem::take(&mut kind.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_its_size_is_told() {
        let (flood, start) = (Flood::default(), Instant::now());
        let written = (0..1000).filter(|_| flood.lets("a", start) == Some(0)).count();
        assert_eq!(written, 10);
        assert_eq!(flood.lets("b", start), Some(0), "another kind");
        assert_eq!(flood.lets("a", start + SPAN), Some(990));
        assert_eq!(flood.lets("a", start + SPAN), Some(0));
    }
}
