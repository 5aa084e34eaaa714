//! Logs on standard error: text for people, JSON for collectors.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. `filter` is a level (`info`) or directives (`info,millrace=debug`).
pub fn start(filter: &str, format: Format) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|e| format!("--log-level {filter:?}: {e}; give error, warn, info, debug or trace"))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        Format::Text => logs.with_ansi(false).finish().try_init(),
        Format::Json => logs.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|e| format!("cannot start logging: {e}"))
}
