//! What a stack makes of the proxies' metrics: rules and configuration with a real Prometheus.

mod rules;
mod stack;
