//! The metrics proxy: takes the last metrics of short-lived tasks and keeps them until every Prometheus had them.
//!
//! ```text
//! socket ─> frame ─> session ─> intake ─> store ─> exposition ─> HTTP
//! (bytes)  (pure)    (pure)              (disk)   (pure)
//! ```

pub mod exposition;
pub mod intake;
