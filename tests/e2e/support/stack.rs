//! A namespace's monitoring, and its Prometheus to ask.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use millrace::api::{TaskMonitoring, TaskMonitoringStatus};
use millrace::names::{condition, reason};
use serde_json::{Value, json};

use super::Space;
use super::cluster::until;
use super::command::Said;
use super::scrape::Series;

/// Where there is no registry to pull from: `tests/e2e/prepare` made it and gave it to the node.
pub const PROMETHEUS: &str = "localhost/prometheus:v3.16.0";
/// The same.
pub const INFLUXDB: &str = "localhost/influxdb:1.6";
const NAME: &str = "monitoring";

/// A volume that goes with the test.
pub fn volume() -> Value {
    json!({"size": "1Gi", "onDelete": "Delete"})
}

/// A part that is not there.
pub fn off() -> Value {
    json!({"mode": "Disabled"})
}

/// The stack of a test's namespace.
pub struct Stack<'a> {
    space: &'a Space,
    name: &'static str,
}

impl<'a> Stack<'a> {
    /// Prometheus and one proxy, each with a volume; ready.
    pub async fn up(space: &'a Space) -> Self {
        let spec = json!({
            "prometheus": {"image": PROMETHEUS, "storage": volume(), "scrapeIntervalSeconds": 2},
            "proxy": {"storage": volume()},
            // Its image cannot be had here.
            "grafana": off(),
        });
        let stack = Self::of(space, NAME, &spec).await;
        stack.ready().await;
        stack
    }

    /// One with this name and spec, however it may stand.
    pub async fn of(space: &'a Space, name: &'static str, spec: &Value) -> Self {
        space.create::<TaskMonitoring>(&json!({"metadata": {"name": name}, "spec": spec})).await;
        Self { space, name }
    }

    /// Waits until its status fits.
    pub async fn status(&self, what: &str, fits: impl Fn(&TaskMonitoringStatus) -> bool) {
        let fits = |stack: Option<&TaskMonitoring>| stack.and_then(|s| s.status.as_ref()).is_some_and(&fits);
        until(self.space.api(), self.name, what, 120, fits).await;
    }

    /// Waits until it is ready.
    pub async fn ready(&self) {
        self.says(condition::READY, "True", reason::READY, "").await;
    }

    /// Waits until a condition has this status, this reason, and these words.
    pub async fn says(&self, type_: &str, status: &str, reason: &str, words: &str) {
        let what = format!("{type_} is {status}/{reason}, with {words:?}");
        self.status(&what, |s| {
            s.conditions.iter().any(|c| {
                (&*c.type_, &*c.status, &*c.reason) == (type_, status, reason) && c.message.contains(words)
            })
        })
        .await;
    }

    /// Changes its spec, as `kubectl patch` does.
    pub async fn patch(&self, spec: &Value) -> Said {
        let patch = json!({"spec": spec}).to_string();
        self.space.kubectl(&["patch", "taskmonitoring", self.name, "--type=merge", "-p", &patch]).await
    }

    /// Deletes a pod of it, and waits until another of that name is ready.
    pub async fn replace(&self, pod: &str) {
        let api = self.space.api::<Pod>();
        let before = api.get(pod).await.unwrap().uid();
        api.delete(pod, &kube::api::DeleteParams::default()).await.unwrap();
        let ready = |found: Option<&Pod>| {
            found.is_some_and(|p| {
                let mut conditions = p.status.iter().flat_map(|s| s.conditions.iter().flatten());
                p.uid() != before && conditions.any(|c| c.type_ == "Ready" && c.status == "True")
            })
        };
        until(api, pod, "another pod is ready", 90, ready).await;
    }

    /// What Prometheus answers to a query, or why it does not.
    async fn ask(&self, path: &str) -> Result<Value, String> {
        self.get("prometheus:9090", &format!("api/v1/{path}")).await
    }

    /// What a Service answers.
    async fn get(&self, service: &str, path: &str) -> Result<Value, String> {
        // Through the API server, so that it does not matter whether this machine reaches Services.
        let uri = format!("/api/v1/namespaces/{}/services/{service}/proxy/{path}", self.space.name);
        let request = http::Request::get(uri).body(Vec::new()).unwrap();
        self.space.client.request(request).await.map_err(|e| e.to_string())
    }

    /// The one series that InfluxDB has for a query, with `tags`, `columns` and `values`, once it answers.
    pub async fn influxql(&self, query: &str) -> Value {
        let path = format!("query?db=millrace&q={}", encoded(query));
        again(query, 30, async || {
            let mut answer = self.get("influxdb:8086", &path).await?;
            match answer["results"][0]["series"].as_array_mut().map(Vec::as_mut_slice) {
                Some([one]) => Ok(one.take()),
                _ => Err(answer.to_string()),
            }
        })
        .await
    }

    /// The series of an instant query.
    pub async fn query(&self, query: &str) -> Result<Vec<Series>, String> {
        let mut answer = self.ask(&format!("query?query={}", encoded(query))).await?;
        let Value::Array(all) = answer["data"]["result"].take() else { return Err(answer.to_string()) };
        Ok(all.into_iter().map(series).collect())
    }

    /// All series ever stored that fit a selector.
    pub async fn stored(&self, selector: &str) -> Result<Vec<Value>, String> {
        let mut answer = self.ask(&format!("series?match[]={}", encoded(selector))).await?;
        let Value::Array(all) = answer["data"].take() else { return Err(answer.to_string()) };
        Ok(all)
    }

    /// Asks again until the answer fits: what a proxy shows is stored with the next scrape.
    pub async fn until(
        &self,
        what: &str,
        seconds: u64,
        query: &str,
        fits: impl Fn(&[Series]) -> bool,
    ) -> Vec<Series> {
        again(what, seconds, async || {
            let all = self.query(query).await?;
            if fits(&all) { Ok(all) } else { Err(format!("`{query}` says {all:#?}")) }
        })
        .await
    }

    /// All its targets answer: tasks and proxy of the one replica, and the operator.
    pub async fn targets_are_up(&self) {
        self.until("all targets are up", 30, "up == 1", |all| all.len() == 3).await;
    }
}

/// Looks again until it is as it should be.
async fn again<T>(what: &str, seconds: u64, look: impl AsyncFn() -> Result<T, String>) -> T {
    let mut last = String::from("nothing yet");
    let found = async {
        let mut turn = tokio::time::interval(Duration::from_millis(500));
        loop {
            turn.tick().await;
            match look().await {
                Ok(found) => return found,
                Err(why) => last = why,
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(seconds), found).await;
    found.unwrap_or_else(|_| panic!("not within {seconds} s: {what}: {last}"))
}

fn series(mut one: Value) -> Series {
    let mut labels: std::collections::BTreeMap<String, String> =
        serde_json::from_value(one["metric"].take()).unwrap();
    let value = one["value"][1].as_str().unwrap().parse().unwrap();
    Series { name: labels.remove("__name__").unwrap_or_default(), labels, value }
}

/// For a URL.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric();
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
