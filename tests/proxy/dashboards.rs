//! The dashboards without a browser: every query of every panel and variable goes to a real Prometheus with the
//! configuration that a stack gives it, after real runs of every Spring Boot generation. `docs/dashboards-proof.md` is
//! what these tests saw: `UPDATE_DOCS=1` writes it.

mod influxdb;
mod operator;
mod prometheus;
mod proof;
mod rules;
mod schema;
mod stack;
