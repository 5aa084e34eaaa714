//! `prometheus.yml` and what belongs to it. `docs/prometheus.md` tells why each setting is as it is.

use serde_json::{Value, json};

/// Recording rules and alerts: the file that [`RULES_PATH`] names.
pub const RULES: &str = include_str!("rules.yml");
/// Where Prometheus finds [`RULES`].
pub const RULES_PATH: &str = "/etc/prometheus/rules.yml";
/// Flags of Prometheus 3 that go with this configuration: without the first it would store the start timestamps
/// that are asked for as series of their own; before 3.16 `anchored` needs the second.
pub const FLAGS: [&str; 1] =
    ["--enable-feature=created-timestamp-zero-ingestion,promql-extended-range-selectors"];
/// Samples older than the newest of their series by so much are still taken: for so long may a proxy be away.
/// Longer than the six hours of a proxy's own retention would serve nobody.
pub const OUT_OF_ORDER_WINDOW: &str = "6h";

/// Label of the proxies' pods by which they are found, and its value.
pub const PROXY_COMPONENT: (&str, &str) = ("app.kubernetes.io/component", "metrics-proxy");
/// Label whose value is the stack's name.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Name of the container port that is scraped.
pub const HTTP_PORT: &str = "http-metrics";

/// Name of the job that scrapes what tasks left.
pub const TASKS_JOB: &str = "tasks";
/// Name of the job that scrapes the proxies' own metrics.
pub const PROXY_JOB: &str = "metrics-proxy";
/// Name of the job that scrapes the operator.
pub const OPERATOR_JOB: &str = "millrace-operator";

/// Where the proxies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets<'a> {
    /// Pods of the stack of this name in Prometheus' own namespace.
    Pods(&'a str),
    /// These addresses, `host:port`.
    Static(&'a [String]),
}

/// What differs between two stacks.
#[derive(Clone, Copy, Debug)]
pub struct PrometheusConfig<'a> {
    /// What this Prometheus calls itself to the proxies, which keep a final body until everyone they know had it.
    pub scraper: &'a str,
    /// The proxies.
    pub proxies: Targets<'a>,
    /// The operator, `host:port`.
    pub operator: Option<&'a str>,
    /// Between two scrapes.
    pub scrape_interval_seconds: u32,
    /// Samples that one scrape may have; a scrape with more counts as failed. 0 is no limit.
    pub sample_limit: u64,
    /// URLs; what comes after the host is where that Alertmanager's own paths begin.
    pub alertmanagers: &'a [String],
}

/// A scrape must be over before the next one.
const SCRAPE_TIMEOUT_MAX_SECONDS: u32 = 10;

/// The text of `prometheus.yml`. Values become YAML scalars, whatever they hold: none can add a line.
pub fn render_prometheus(config: &PrometheusConfig<'_>) -> String {
    let interval = config.scrape_interval_seconds.max(1);
    let mut jobs = vec![
        tasks_job(config),
        proxy_job(config, PROXY_JOB, "/metrics/proxy", vec![relabel("__meta_kubernetes_pod_name", "pod")]),
    ];
    if let Some(operator) = config.operator {
        jobs.push(json!({ "job_name": OPERATOR_JOB, "static_configs": [{ "targets": [operator] }] }));
    }
    let mut root = json!({
        "global": {
            "scrape_interval": format!("{interval}s"),
            "scrape_timeout": format!("{}s", interval.min(SCRAPE_TIMEOUT_MAX_SECONDS)),
            "evaluation_interval": "30s",
        },
        "rule_files": [RULES_PATH],
        "scrape_configs": jobs,
        "storage": { "tsdb": { "out_of_order_time_window": OUT_OF_ORDER_WINDOW } },
    });
    let alertmanagers: Vec<Value> = config.alertmanagers.iter().filter_map(|url| alertmanager(url)).collect();
    if !alertmanagers.is_empty()
        && let Some(root) = root.as_object_mut()
    {
        root.insert("alerting".to_owned(), json!({ "alertmanagers": alertmanagers }));
    }
    // A value made of strings, numbers, lists and maps with string keys is always YAML.
    serde_yaml::to_string(&root).unwrap_or_default()
}

/// What tasks left. A run belongs to no proxy: without the proxy's address, a run that another replica shows, or the
/// same one with another address, stays one series. (Labels of a target come after those of a sample: they are dropped
/// when both are together.)
fn tasks_job(config: &PrometheusConfig<'_>) -> Value {
    let mut job = proxy_job(config, TASKS_JOB, "/metrics/connected", Vec::new());
    if let Some(job) = job.as_object_mut() {
        let more = json!({
            "honor_labels": true,
            "honor_timestamps": true,
            "track_timestamps_staleness": true,
            "params": { "scraper": [config.scraper], "start": ["1"] },
            "metric_relabel_configs": [{ "action": "labeldrop", "regex": "instance|pod" }],
            "sample_limit": config.sample_limit,
        });
        job.extend(more.as_object().cloned().unwrap_or_default());
    }
    job
}

/// A job that scrapes a path of every proxy. `labels` are for pods that are found.
fn proxy_job(config: &PrometheusConfig<'_>, name: &str, path: &str, labels: Vec<Value>) -> Value {
    match config.proxies {
        Targets::Static(addresses) => json!({
            "job_name": name,
            "metrics_path": path,
            "static_configs": [{ "targets": addresses }],
        }),
        Targets::Pods(stack) => {
            let (component, is_proxy) = PROXY_COMPONENT;
            let mut relabels = vec![
                json!({
                    "action": "keep",
                    "source_labels": ["__meta_kubernetes_pod_container_port_name"],
                    "regex": HTTP_PORT,
                }),
                // A pod that failed or was evicted stays in the list, and nobody answers for it.
                json!({
                    "action": "drop",
                    "source_labels": ["__meta_kubernetes_pod_phase"],
                    "regex": "Failed|Succeeded",
                }),
            ];
            relabels.extend(labels);
            json!({
                "job_name": name,
                "metrics_path": path,
                "kubernetes_sd_configs": [{
                    "role": "pod",
                    "namespaces": { "own_namespace": true },
                    "selectors": [{
                        "role": "pod",
                        "label": format!("{component}={is_proxy},{INSTANCE}={stack}"),
                    }],
                }],
                "relabel_configs": relabels,
            })
        }
    }
}

fn relabel(from: &str, to: &str) -> Value {
    json!({ "action": "replace", "source_labels": [from], "target_label": to })
}

/// One Alertmanager; none where the text is no address of one, which the API refuses.
fn alertmanager(url: &str) -> Option<Value> {
    let uri: http::Uri = url.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    if authority.as_str().contains('@') {
        return None; // a password has no place here
    }
    let prefix = uri.path().trim_end_matches('/');
    Some(json!({
        "scheme": scheme,
        "path_prefix": if prefix.is_empty() { "/" } else { prefix },
        "static_configs": [{ "targets": [authority.as_str()] }],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: PrometheusConfig<'_> = PrometheusConfig {
        scraper: "batch/monitoring",
        proxies: Targets::Pods("monitoring"),
        operator: Some("millrace.millrace-system:8080"),
        scrape_interval_seconds: 10,
        sample_limit: 500_000,
        alertmanagers: &[],
    };

    fn parsed(config: &PrometheusConfig<'_>) -> Value {
        serde_yaml::from_str(&render_prometheus(config)).unwrap()
    }

    #[test]
    fn a_stack_is_scraped_and_nothing_else() {
        insta::assert_snapshot!(render_prometheus(&STACK));
    }

    #[test]
    fn an_operator_that_cannot_be_reached_is_no_target() {
        let jobs = parsed(&PrometheusConfig { operator: None, ..STACK });
        let names: Vec<&Value> =
            jobs["scrape_configs"].as_array().unwrap().iter().map(|j| &j["job_name"]).collect();
        assert_eq!(names, [TASKS_JOB, PROXY_JOB]);
    }

    #[test]
    fn a_scrape_is_over_before_the_next_one() {
        for (interval, wanted) in
            [(0, ("1s", "1s")), (1, ("1s", "1s")), (5, ("5s", "5s")), (60, ("60s", "10s"))]
        {
            let global = parsed(&PrometheusConfig { scrape_interval_seconds: interval, ..STACK });
            assert_eq!(global["global"]["scrape_interval"], wanted.0);
            assert_eq!(global["global"]["scrape_timeout"], wanted.1);
        }
    }

    #[test]
    fn alertmanagers_keep_their_path() {
        let urls =
            ["http://alerts:9093", "https://example.com:8443/alerts/", "no address", "http://a:b@alerts"]
                .map(str::to_owned);
        let all = parsed(&PrometheusConfig { alertmanagers: &urls, ..STACK });
        assert_eq!(
            all["alerting"]["alertmanagers"],
            json!([
                { "scheme": "http", "path_prefix": "/", "static_configs": [{ "targets": ["alerts:9093"] }] },
                {
                    "scheme": "https",
                    "path_prefix": "/alerts",
                    "static_configs": [{ "targets": ["example.com:8443"] }],
                },
            ])
        );
    }

    #[test]
    fn nothing_breaks_out_of_its_value() {
        for evil in ["a\nscrape_configs: []", "'", "\"]}\n- job_name: evil", "${HOME}", "*x", "&x y", "# no"]
        {
            let targets = [evil.to_owned()];
            let config = PrometheusConfig {
                scraper: evil,
                proxies: Targets::Static(&targets),
                operator: Some(evil),
                alertmanagers: &[],
                ..STACK
            };
            let all = parsed(&config);
            assert_eq!(all["scrape_configs"].as_array().unwrap().len(), 3);
            assert_eq!(all["scrape_configs"][0]["params"]["scraper"], json!([evil]));
            for job in all["scrape_configs"].as_array().unwrap() {
                assert_eq!(job["static_configs"][0]["targets"], json!([evil]));
            }
            let all = parsed(&PrometheusConfig { proxies: Targets::Pods(evil), ..STACK });
            let label =
                all["scrape_configs"][0]["kubernetes_sd_configs"][0]["selectors"][0]["label"].as_str();
            assert!(label.unwrap().ends_with(evil));
        }
    }
}
