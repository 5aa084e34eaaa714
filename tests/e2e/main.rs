//! The operator on a real cluster, with real kubelet, real Job controller and real applications.
//!
//! `tests/e2e/prepare` brings everything up; `make e2e` does that and runs these. Each test has a namespace of its
//! own, `e2e-…`, and they run side by side but for those that restart or replace the operator. At the end of each,
//! whatever it did, no launch has had more than one Job and no two launches the same execution id.
//!
//! `MILLRACE_E2E_SEED` repeats the random moments of an earlier run, which printed it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on says so by panicking, and shows what it saw"
)]
#![allow(
    clippy::large_futures,
    clippy::needless_pass_by_value,
    reason = "each test has a thread of its own, and JSON is written where it is used"
)]

mod chaos;
mod chart;
mod clients;
mod crashes;
mod examples;
mod history;
mod influxdb;
mod jobs;
mod monitoring;
mod outcomes;
mod parents;
mod refusals;
mod spring;
mod stacks;
mod stopping;
mod support;
mod waiting;
