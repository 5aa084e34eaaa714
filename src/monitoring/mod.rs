//! The monitoring of a namespace, decided: configuration files, rules and dashboards. No client, no clock, no
//! environment.

pub mod config;
pub mod dashboards;
