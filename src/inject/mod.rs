//! Identity and exporter settings of a run, put into its task container.

pub mod spring;

pub use spring::{Identity, Origin, Variable, identity_key, variables};
