//! Who reads regularly, and what each of them has had.

use std::sync::{Mutex, PoisonError};

/// Numbers a scraper; never used again.
pub type ScraperId = u32;

#[derive(Debug)]
struct Scraper {
    id: ScraperId,
    name: String,
    seen_ms: i64,
}

/// The scrapers that are known.
#[derive(Debug, Default)]
pub struct Scrapers {
    known: Vec<Scraper>,
    next: ScraperId,
}

impl Scrapers {
    /// A request of `name`; none if `most` others are known already.
    pub fn seen(&mut self, name: &str, now_ms: i64, most: usize) -> Option<ScraperId> {
        if let Some(scraper) = self.known.iter_mut().find(|s| s.name == name) {
            scraper.seen_ms = now_ms;
            return Some(scraper.id);
        }
        if self.known.len() >= most {
            return None;
        }
        self.next += 1;
        self.known.push(Scraper { id: self.next, name: name.to_owned(), seen_ms: now_ms });
        Some(self.next)
    }

    /// Forgets those that were not seen for `memory_ms`.
    pub fn forget(&mut self, now_ms: i64, memory_ms: i64) {
        self.known.retain(|s| now_ms.saturating_sub(s.seen_ms) <= memory_ms);
    }

    /// All that are known.
    pub fn ids(&self) -> Vec<ScraperId> {
        self.known.iter().map(|s| s.id).collect()
    }

    /// A known one's name.
    pub fn name(&self, id: ScraperId) -> Option<&str> {
        self.known.iter().find(|s| s.id == id).map(|s| &*s.name)
    }
}

/// Complete responses that had a body, by scraper.
#[derive(Debug, Default)]
pub struct Deliveries {
    counts: Mutex<Vec<(ScraperId, u8)>>,
}

impl Deliveries {
    /// One more.
    pub fn add(&self, scraper: ScraperId) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.iter_mut().find(|(id, _)| *id == scraper) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => counts.push((scraper, 1)),
        }
    }

    /// Whether each of `scrapers` had `wanted`. Of none it is not: then nobody has it.
    pub fn to_all(&self, scrapers: &[ScraperId], wanted: u8) -> bool {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let had = |scraper: &ScraperId| counts.iter().any(|(id, count)| id == scraper && *count >= wanted);
        !scrapers.is_empty() && scrapers.iter().all(had)
    }

    /// Scrapers that had it.
    pub fn seen_by(&self) -> Vec<ScraperId> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(id, _)| *id).collect()
    }
}
