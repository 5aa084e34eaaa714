//! A real Prometheus that scrapes proxies every second.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::process::Command;

use millrace::monitoring::config::prometheus::RULES_PATH;
use serde_json::Value;

use super::peers::peer;
use super::process::{Folder, Process, free_address};
use super::{check, eventually, http};

/// How it is set up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    /// What it calls itself in the query: several Prometheis of one address are told apart by it.
    pub name: &'static str,
    /// `track_timestamps_staleness: true`.
    pub track_staleness: bool,
    /// `out_of_order_time_window`.
    pub window: Option<&'static str>,
    /// `--enable-feature`.
    pub features: &'static str,
    /// Whether it asks for start timestamps.
    pub start: bool,
    /// Whether it keeps the proxy's address as a label: then each replica has series of its own.
    pub apart: bool,
}

/// As people set it up.
pub const USUAL: Setup =
    Setup { name: "usual", track_staleness: false, window: None, features: "", start: false, apart: false };
/// The same with an out-of-order window.
pub const WINDOW: Setup = Setup { name: "window", window: Some("30m"), ..USUAL };

/// One, with its data.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    folder: Folder,
    setup: Setup,
    address: SocketAddr,
}

/// A series with its samples: seconds since 1970, value.
pub type Samples = (BTreeMap<String, String>, Vec<(f64, f64)>);

impl Prometheus {
    /// Starts one that scrapes these.
    pub async fn start(setup: Setup, targets: &[SocketAddr]) -> Self {
        let (folder, address) = (Folder::new("prometheus"), free_address());
        std::fs::write(folder.path().join("config.yml"), config(setup, targets)).unwrap();
        let process = Self::spawn(setup, &folder, address);
        let prometheus = Self { process, folder, setup, address };
        prometheus.ready().await;
        prometheus
    }

    fn spawn(setup: Setup, folder: &Folder, address: SocketAddr) -> Process {
        if setup.features.is_empty() {
            return Self::spawn_with(&[], folder, address);
        }
        let features = format!("--enable-feature={}", setup.features);
        Self::spawn_with(&[&features], folder, address)
    }

    fn spawn_with(flags: &[&str], folder: &Folder, address: SocketAddr) -> Process {
        let mut command = Command::new(peer("MILLRACE_PROMETHEUS"));
        command.args(["--config.file=config.yml", "--storage.tsdb.path=data", "--log.level=warn"]);
        command.arg(format!("--web.listen-address={address}")).args(flags).current_dir(folder.path());
        Process::start(command, folder.path().join("log"))
    }

    async fn ready(&self) {
        eventually(60, "Prometheus is ready", async || {
            let answer = http::get(self.address, "/-/ready", &[]).await?;
            check(answer.status == 200, answer)
        })
        .await;
    }

    /// Starts one with a whole configuration, rules and flags, whatever else it may hold.
    pub async fn start_with(config: &str, rules: &str, flags: &[&str]) -> Self {
        let (folder, address) = (Folder::new("prometheus"), free_address());
        let path = folder.path().join("rules.yml");
        std::fs::write(&path, rules).unwrap();
        let config = config.replace(RULES_PATH, path.to_str().unwrap());
        std::fs::write(folder.path().join("config.yml"), config).unwrap();
        let process = Self::spawn_with(flags, &folder, address);
        let prometheus = Self { process, folder, setup: Setup::default(), address };
        prometheus.ready().await;
        prometheus
    }

    /// What its API answers under `path`, with these parameters.
    pub async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let mut path = format!("/api/v1/{path}?");
        for (name, value) in parameters {
            let _ = write!(path, "{name}=");
            for byte in value.bytes() {
                let _ = write!(path, "%{byte:02X}");
            }
            path.push('&');
        }
        let answer = http::get(self.address, &path, &[]).await?;
        let mut answer: Value = serde_json::from_slice(&answer.bytes).map_err(|e| e.to_string())?;
        check(answer["status"] == "success", &answer)?;
        Ok(answer["data"].take())
    }

    /// Who it is, for messages.
    pub fn setup(&self) -> Setup {
        self.setup
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again, after its end, with its data.
    pub async fn start_again(&mut self) {
        self.process = Self::spawn(self.setup, &self.folder, self.address);
        self.ready().await;
    }

    async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let data = self.ask("query", &[("query", query)]).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// The value of each series that a query gives.
    pub async fn values(&self, query: &str) -> Result<Vec<(BTreeMap<String, String>, f64)>, String> {
        let series = self.query(query).await?;
        Ok(series.iter().map(|series| (labels(series), sample(&series["value"]).1)).collect())
    }

    /// The only value that a query gives.
    pub async fn value(&self, query: &str) -> Result<f64, String> {
        match &*self.values(query).await? {
            [(_, value)] => Ok(*value),
            other => Err(format!("{query}: {other:?}")),
        }
    }

    /// All stored samples of a range selector.
    pub async fn samples(&self, selector: &str) -> Result<Vec<Samples>, String> {
        let samples =
            |series: &Value| series["values"].as_array().into_iter().flatten().map(sample).collect();
        let series = self.query(selector).await?;
        Ok(series.iter().map(|series| (labels(series), samples(series))).collect())
    }

    /// Waits until a query has one value, and this one.
    pub async fn has(&self, query: &str, wanted: f64) {
        eventually(30, &format!("{query} is {wanted} in {:?}", self.setup), async || {
            let value = self.value(query).await?;
            check((value - wanted).abs() < 1e-9, value)
        })
        .await;
    }

    /// The sum of a metric of its own.
    pub async fn own(&self, name: &str) -> f64 {
        let text = http::get(self.address, "/metrics", &[]).await.unwrap().text();
        let of_it = |line: &&str| line.split([' ', '{']).next() == Some(name);
        let values: Vec<f64> = text
            .lines()
            .filter(of_it)
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(!values.is_empty(), "Prometheus has no {name}");
        values.iter().sum()
    }

    /// Samples that it refused, by what it counts them as; all zero is well.
    pub async fn refused(&self) -> BTreeMap<&'static str, f64> {
        let mut all = BTreeMap::new();
        for why in [
            "prometheus_target_scrapes_sample_out_of_order_total",
            "prometheus_target_scrapes_sample_duplicate_timestamp_total",
            "prometheus_target_scrapes_sample_out_of_bounds_total",
        ] {
            all.insert(why, self.own(why).await);
        }
        all.retain(|_, count| *count > 0.0);
        all
    }
}

/// Labels of a series of an answer.
pub fn labels(series: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(series["metric"].clone()).unwrap_or_default()
}

/// Time and value of a sample of an answer.
pub fn sample(pair: &Value) -> (f64, f64) {
    let value = pair[1].as_str().unwrap_or_default();
    (pair[0].as_f64().unwrap_or(f64::NAN), value.parse().unwrap_or(f64::NAN))
}

/// The configuration of `docs/prometheus.md`, with what this one has otherwise.
fn config(setup: Setup, targets: &[SocketAddr]) -> String {
    let documented = include_str!("../../../docs/prometheus.md").split("```").nth(1).unwrap();
    let mut config = documented.trim_start_matches("yaml").to_owned();
    let mut replace = |from: &str, to: &str| {
        assert!(config.contains(from), "{from} is not in {config}");
        config = config.replace(from, to);
    };
    let targets: Vec<String> = targets.iter().map(SocketAddr::to_string).collect();
    replace("metrics-proxy:8080", &targets.join(", "));
    replace("[prometheus-a]", &format!("[{}]", setup.name));
    if setup.track_staleness {
        replace(
            "    honor_timestamps: true",
            "    track_timestamps_staleness: true\n    honor_timestamps: true",
        );
    }
    if setup.start {
        replace("    params:\n", "    params:\n      start: ['1']\n");
    }
    if setup.apart {
        replace("labeldrop", "labelkeep");
        replace("regex: instance", "regex: .*");
    }
    config.push_str("global: {scrape_interval: 1s, scrape_timeout: 1s}\n");
    if let Some(window) = setup.window {
        let _ = writeln!(config, "storage: {{tsdb: {{out_of_order_time_window: {window}}}}}");
    }
    config
}
