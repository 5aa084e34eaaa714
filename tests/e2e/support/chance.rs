//! Moments that are tied to nothing, and come again with the same seed.

use std::time::Duration;

use super::manifest::now;

/// Seed of what happens when; a failure is repeated with the one it printed.
#[expect(clippy::disallowed_methods, reason = "a test's own setting")]
pub fn seed() -> u64 {
    let given = std::env::var("MILLRACE_E2E_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(now().subsec_nanosecond().unsigned_abs()));
    eprintln!("MILLRACE_E2E_SEED={seed}");
    seed
}

/// SplitMix64: enough chance, and the same for the same seed.
pub struct Chance(pub u64);

impl Chance {
    /// A number below the limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }

    /// A moment that is not tied to anything: that is the point of it, so here a test does wait for time.
    pub async fn moment(&mut self, limit_millis: u64) {
        tokio::time::sleep(Duration::from_millis(self.below(limit_millis))).await;
    }
}
