//! Identity and exporter settings of a run, put into its task container.

pub mod exporters;
pub mod spring;
