//! What these tests have in common.

pub mod app;
pub mod client;
pub mod dashboard;
pub mod gate;
pub mod http;
pub mod influxdb;
pub mod java_proxy;
pub mod peers;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod reader;
pub mod samples;
pub mod setup;
pub mod wavefront;

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `look` finds something.
pub async fn eventually<T, F>(seconds: u64, what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let mut last = "not looked yet".to_owned();
    let found = tokio::time::timeout(Duration::from_secs(seconds), async {
        loop {
            match look().await {
                Ok(found) => return found,
                Err(why) => last = why,
            }
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
    found.unwrap_or_else(|_| panic!("not within {seconds} s: {what}; last: {last}"))
}

/// Awaits something that must happen in time.
pub async fn within<T>(seconds: u64, what: &str, future: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(Duration::from_secs(seconds), future).await;
    answer.unwrap_or_else(|_| panic!("not within {seconds} s: {what}"))
}

/// `true`, or what was seen instead.
pub fn check(ok: bool, seen: impl Debug) -> Result<(), String> {
    if ok { Ok(()) } else { Err(format!("{seen:?}")) }
}
