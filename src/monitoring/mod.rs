//! environment.

pub mod config;
