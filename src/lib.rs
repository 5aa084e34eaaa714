//! x
pub mod api;
pub mod cli;
pub mod inject;
pub mod names;
