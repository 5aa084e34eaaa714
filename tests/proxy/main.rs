//! The metrics proxy with real peers: real applications, the Java proxy, Prometheus, the Pushgateway, and other
//! implementations of RSocket.
//!
//! `tests/proxy/peers` gets the peers and prints where they are; `make proxy` does that and runs these. Each test starts
//! proxies of its own, on loopback ports of its own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on says so by panicking, and shows what it saw"
)]

mod clients;
mod crashes;
mod dashboards;
mod differential;
mod exposition;
mod hostile;
mod losses;
mod operating;
mod prometheus;
mod prometheus_operator;
mod pushgateway;
mod replicas;
mod rsocket_peers;
mod support;
mod survival;
mod wavefront;
