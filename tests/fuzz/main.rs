//! Fuzz targets: random changes of kept inputs, against everything of the metrics proxy that reads what others wrote.
//!
//! `make fuzz` runs each for a minute (`FUZZ_SECONDS` changes that). A run is told by its seed, which it prints;
//! `FUZZ_SEED` sets it. Stable Rust measures no coverage: an input is kept when its outcome is of a kind that no other
//! had (`engine`). `FUZZ_KEEP=1` writes such inputs to `tests/fuzz/corpus/<target>/`. An input that fails is written
//! there as well, and is tried first from then on.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on says so by panicking, and shows what it saw"
)]

mod cipher;
mod engine;
mod exposition;
mod frames;
mod grammar;
mod mutate;
mod protobuf;
mod push;
mod recovery;
mod seeds;
mod session;
#[path = "../proxy/support/setup.rs"]
mod setup;
mod websocket;
