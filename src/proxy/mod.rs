//! The metrics proxy: takes the last metrics of short-lived tasks and keeps them until every Prometheus had them.
//!
//! ```text
//! socket ─> frame ─> session ─> intake ─> store ─> exposition ─> HTTP
//! (bytes)  (pure)    (pure)              (disk)   (pure)
//! ```

pub mod aside;
#[cfg(test)]
mod captures;
pub mod crypto;
pub mod exposition;
pub mod files;
pub mod filter_file;
pub mod flood;
pub mod http;
pub mod intake;
pub mod metrics;
pub mod push;
pub mod rate;
pub mod run;
pub mod server;
pub mod session;
pub mod store;
pub mod wire;
