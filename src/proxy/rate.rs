//! How fast one address may connect: a bucket of tokens each, and a pause for who has none.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses remembered at the same time; full buckets are forgotten first.
const ADDRESSES_MAX: usize = 4096;
/// Longest pause: clients give up waiting for a key after 5 s and must not pile up behind that.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The buckets.
#[derive(Debug)]
pub struct Rate {
    burst: f64,
    per_second: f64,
    buckets: Mutex<BTreeMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rate {
    /// `burst` at once, then `per_second`.
    pub fn new(burst: u32, per_second: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { burst: f64::from(burst.max(1)), per_second, buckets: Mutex::default() }
    }

    /// Takes a token of `address`; if there was none, how long to wait for it.
    pub fn take(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= ADDRESSES_MAX && !buckets.contains_key(&address) {
            buckets.retain(|_, bucket| self.filled(bucket, now) < self.burst);
            // An attack from very many addresses is held by the number of connections.
            if buckets.len() >= ADDRESSES_MAX {
                buckets.pop_first();
            }
        }
        let bucket = buckets.entry(address).or_insert(Bucket { tokens: self.burst, at: now });
        let tokens = self.filled(bucket, now) - 1.0;
        let least = -PAUSE_MAX.as_secs_f64() * self.per_second;
        *bucket = Bucket { tokens: tokens.max(least), at: now };
        (tokens < 0.0).then(|| Duration::from_secs_f64(-bucket.tokens / self.per_second))
    }

    fn filled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens + passed * self.per_second).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(n).into()
    }

    #[test]
    fn a_burst_is_free_and_then_each_waits_longer() {
        let (rate, now) = (Rate::new(3, 2), Instant::now());
        let waits: Vec<_> = (0..6).map(|_| rate.take(ip(1), now).map(|w| w.as_millis())).collect();
        assert_eq!(waits, [None, None, None, Some(500), Some(1000), Some(1500)]);
        assert_eq!(rate.take(ip(2), now), None, "another address");
        assert_eq!(rate.take(ip(1), now + Duration::from_secs(2)), None);
        let longest = (0..1000).filter_map(|_| rate.take(ip(1), now)).max();
        assert!(longest <= Some(PAUSE_MAX), "{longest:?}");
    }

    #[test]
    fn addresses_are_forgotten_when_there_are_too_many() {
        let (rate, now) = (Rate::new(3, 2), Instant::now());
        for n in 0..10_000 {
            rate.take(ip(n), now);
        }
        assert!(rate.buckets.lock().unwrap().len() <= ADDRESSES_MAX);
    }
}
