//! Tests of the assembled crate, in one binary: each further one would link kube again.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod apiserver;
mod contract;
mod facts;
mod in_process;
mod operator;
mod task_filters;
