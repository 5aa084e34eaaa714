//! What the operator tells about itself: logs, metrics, probes.

mod definitions;
pub mod http;
pub mod logs;
pub mod metrics;
pub mod readiness;
pub mod requests;
