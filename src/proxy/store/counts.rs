//! What happened in the store, for the own metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::runs::Eviction;

/// Counts for the own metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Lines dropped.
    pub invalid: AtomicU64,
    /// Series that their body had twice.
    pub duplicate: AtomicU64,
    /// Series of families that are not kept.
    pub dropped: AtomicU64,
    /// Series whose identity was set.
    pub repaired: AtomicU64,
    /// Damaged stretches found at the start.
    pub damaged: AtomicU64,
    /// Final bodies that could not be written.
    pub unwritten: AtomicU64,
    /// Live bodies that cannot be kept: unreadable, or more than is taken of one.
    pub refused: AtomicU64,
    /// Live bodies for which there was no room.
    pub no_room: AtomicU64,
    /// Requests of scrapers beyond those that are waited for.
    pub unknown_scrapers: AtomicU64,
}

impl Counts {
    pub(super) fn add(to: &AtomicU64, n: usize) {
        to.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// Sums for the own metrics.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Bytes of all bodies.
    pub memory: usize,
    /// Bytes of the log.
    pub disk: usize,
    /// Final bodies.
    pub finals: usize,
    /// Living applications with a body.
    pub live: usize,
    /// Known scrapers.
    pub scrapers: usize,
    /// Final bodies gone, by reason.
    pub evictions: BTreeMap<Eviction, u64>,
}
