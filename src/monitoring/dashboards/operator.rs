//! The dashboard `millrace`: the operator and the metrics proxy themselves.

use super::panel::{Dashboard, Panel, Row, Source, now, over_time};

/// The dashboard.
pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "millrace",
        title: "Millrace",
        description: "The operator and the metrics proxy themselves.",
        source: Source::Prometheus,
        variables: Vec::new(),
        rows: vec![at_a_glance(), operator(), proxy(), prometheus()],
    }
}

/// Per second, of a counter.
fn rate(expr: &str, by: &str) -> String {
    format!("sum by ({by}) (rate({expr}[$__rate_interval]))")
}

/// A quantile of a histogram per second.
fn quantile(q: &str, metric: &str, by: &str) -> String {
    let group = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
    format!("histogram_quantile({q}, sum by ({group}) (rate({metric}_bucket[$__rate_interval])))")
}

fn at_a_glance() -> Row {
    let lost = "sum(sum_over_time(reason:millrace_proxy_lost:count1m[$__range])) or vector(0)";
    Row {
        id: 1,
        title: "At a glance",
        panels: vec![
            Panel::stat(11, "Targets that answer", "Scrapes of proxies and operator that work, of all that there are.")
                .query(now("sum(up{job=~\"(.*/)?(tasks|metrics-proxy|millrace(-operator)?)\"})", "up"))
                .query(now("count(up{job=~\"(.*/)?(tasks|metrics-proxy|millrace(-operator)?)\"})", "of")),
            Panel::stat(12, "Launches not ended", "As the operator counts them.").query(now(
                "sum(millrace_launches{phase=~\"Pending|Running|Stopping\"}) or vector(0)",
                "",
            )),
            Panel::stat(13, "Bodies lost", "Bodies that proxies could not keep, in this time. Should be 0.")
                .query(now(lost, "")),
            Panel::stat(14, "Series shown", "Series of the last response to Prometheus, of all proxies.")
                .query(now("sum(millrace_proxy_exposed_series)", "")),
            Panel::stat(15, "Connected applications", "Applications that have a connection to a proxy.")
                .query(now("sum(prometheus_proxy_scrape_active_connections) or vector(0)", "")),
            Panel::stat(16, "Alerts that fire", "Of the rules that come with Millrace.").query(now(
                "count(ALERTS{alertstate=\"firing\",alertname=~\"Task.+|Metrics.+|Millrace.+\"}) or vector(0)",
                "",
            )),
        ],
    }
}

fn operator() -> Row {
    Row {
        id: 2,
        title: "Operator",
        panels: vec![
            Panel::lines(21, "Launches", "TaskLaunches that there are, by phase.")
                .query(over_time("sum by (phase) (millrace_launches)", "{{phase}}")),
            Panel::lines(22, "Launches that end", "Per second, by outcome and reason.").unit("ops").query(
                over_time(rate("millrace_launches_ended_total", "outcome, reason"), "{{outcome}} {{reason}}"),
            ),
            Panel::lines(
                23,
                "Steps of a launch",
                "95 % of launches took no longer from one point of their life to the \
                         next.",
            )
            .unit("s")
            .query(over_time(quantile("0.95", "millrace_launch_step_duration_seconds", "step"), "{{step}}")),
            Panel::lines(
                24,
                "Decisions",
                "Reconciles per second, by outcome. Error, Forbidden and Panic want a look at the \
                         log.",
            )
            .unit("ops")
            .query(over_time(
                rate("millrace_reconciles_total", "controller, outcome"),
                "{{controller}} {{outcome}}",
            )),
            Panel::lines(25, "Duration of decisions", "95 % of reconciles took no longer.").unit("s").query(
                over_time(
                    quantile("0.95", "millrace_reconcile_duration_seconds", "controller"),
                    "{{controller}}",
                ),
            ),
            Panel::lines(26, "Queue", "Objects that are due and wait for a worker.")
                .query(over_time("sum(millrace_queue_depth)", "waiting")),
            Panel::lines(
                27,
                "Requests to the API server",
                "Per second, by verb and code. Code 0: no answer.",
            )
            .unit("reqps")
            .query(over_time(rate("millrace_api_requests_total", "verb, code"), "{{verb}} {{code}}")),
            Panel::lines(
                28,
                "Watches begun again",
                "Per second, by kind. A few are usual: the API server ends watches.",
            )
            .unit("ops")
            .query(over_time(rate("millrace_watch_restarts_total", "resource"), "{{resource}}")),
        ],
    }
}

fn proxy() -> Row {
    Row {
        id: 3,
        title: "Metrics proxy",
        panels: vec![
            Panel::lines(31, "Final pushes", "Last bodies of applications per second, by door and outcome.")
                .unit("ops")
                .query(over_time(
                    rate("millrace_proxy_push_seconds_count", "door, outcome"),
                    "{{door}} {{outcome}}",
                )),
            Panel::lines(
                32,
                "Time to acknowledge",
                "99 % of final pushes were on disk and acknowledged after this time.",
            )
            .unit("s")
            .query(over_time(quantile("0.99", "millrace_proxy_push_seconds", "door"), "{{door}}")),
            Panel::lines(33, "Pulls", "Bodies asked of living applications per second, by outcome.")
                .unit("ops")
                .query(over_time(rate("millrace_proxy_pulls_total", "outcome"), "{{outcome}}")),
            Panel::lines(34, "Bodies kept", "Final bodies, and living applications with a body.")
                .query(over_time("sum by (instance) (millrace_proxy_finals)", "{{instance}} final"))
                .query(over_time("sum by (instance) (millrace_proxy_live)", "{{instance}} live")),
            Panel::lines(
                35,
                "Bodies let go",
                "Per second, by reason: delivered and replaced are as it should be; expired \
                         and bytes are losses.",
            )
            .unit("ops")
            .query(over_time(rate("millrace_proxy_evictions_total", "reason"), "{{reason}}")),
            Panel::lines(36, "Store", "Memory of all runs, and the log on disk.")
                .unit("bytes")
                .query(over_time(
                    "sum by (instance) (millrace_proxy_store_memory_bytes)",
                    "{{instance}} memory",
                ))
                .query(over_time("sum by (instance) (millrace_proxy_store_disk_bytes)", "{{instance}} disk")),
            Panel::lines(
                37,
                "Series shown",
                "Series of the last response to Prometheus. Their number is the cost.",
            )
            .query(over_time("sum by (instance) (millrace_proxy_exposed_series)", "{{instance}}")),
            Panel::lines(38, "What clients did", "Per second: connections, and what was wrong with them.")
                .unit("ops")
                .query(over_time(rate("millrace_proxy_connection_events_total", "what"), "{{what}}")),
        ],
    }
}

fn prometheus() -> Row {
    Row {
        id: 4,
        title: "Prometheus",
        panels: vec![
            Panel::lines(
                41,
                "Samples per scrape",
                "Of what tasks left. At the limit of the configuration a scrape fails.",
            )
            .query(over_time(
                "sum by (instance) (scrape_samples_post_metric_relabeling{job=~\"(.*/)?tasks\"})",
                "{{instance}}",
            )),
            Panel::lines(42, "Duration of scrapes", "How long the proxies and the operator take to answer.")
                .unit("s")
                .query(over_time("max by (job, instance) (scrape_duration_seconds)", "{{job}} {{instance}}")),
        ],
    }
}
