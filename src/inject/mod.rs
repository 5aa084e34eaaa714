//! Identity and exporter settings of a run, put into its task container.

pub mod exporters;
pub mod influxdb;
pub mod prometheus;
pub mod spring;
pub mod wavefront;
