//! A namespace's monitoring, and its Prometheus to ask.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use millrace::api::{TaskMonitoring, TaskMonitoringStatus};
use millrace::names::condition;
use serde_json::{Value, json};

use super::Space;
use super::cluster::until;
use super::scrape::Series;

/// Where there is no registry to pull from: `tests/e2e/prepare` made it and gave it to the node.
const PROMETHEUS: &str = "localhost/prometheus:v3.16.0";
const NAME: &str = "monitoring";

/// The stack of a test's namespace.
pub struct Stack<'a> {
    space: &'a Space,
}

impl<'a> Stack<'a> {
    /// Prometheus and one proxy, each with a volume; ready.
    pub async fn up(space: &'a Space) -> Self {
        let volume = json!({"size": "1Gi", "onDelete": "Delete"});
        let spec = json!({
            "prometheus": {"image": PROMETHEUS, "storage": volume, "scrapeIntervalSeconds": 2},
            "proxy": {"storage": volume},
            // Its image cannot be had here.
            "grafana": {"mode": "Disabled"},
        });
        space.create::<TaskMonitoring>(&json!({"metadata": {"name": NAME}, "spec": spec})).await;
        let stack = Self { space };
        stack.ready().await;
        stack
    }

    /// Waits until its status fits.
    pub async fn status(&self, what: &str, fits: impl Fn(&TaskMonitoringStatus) -> bool) {
        let fits = |stack: Option<&TaskMonitoring>| stack.and_then(|s| s.status.as_ref()).is_some_and(&fits);
        until(self.space.api(), NAME, what, 120, fits).await;
    }

    /// Waits until it is ready.
    async fn ready(&self) {
        let ready = |s: &TaskMonitoringStatus| {
            s.conditions.iter().any(|c| c.type_ == condition::READY && c.status == "True")
        };
        self.status("the stack is ready", ready).await;
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
        // Through the API server, so that it does not matter whether this machine reaches Services.
        let uri =
            format!("/api/v1/namespaces/{}/services/prometheus:9090/proxy/api/v1/{path}", self.space.name);
        let request = http::Request::get(uri).body(Vec::new()).unwrap();
        self.space.client.request(request).await.map_err(|e| e.to_string())
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
        let mut last = Err(String::from("nothing yet"));
        let found = async {
            let mut turn = tokio::time::interval(Duration::from_millis(500));
            loop {
                turn.tick().await;
                last = self.query(query).await;
                if last.as_ref().is_ok_and(|answer| fits(answer)) {
                    return;
                }
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(seconds), found).await.is_ok();
        assert!(in_time, "not within {seconds} s: {what}; `{query}` says {last:#?}");
        last.unwrap()
    }

    /// All its targets answer: tasks and proxy of the one replica, and the operator.
    pub async fn targets_are_up(&self) {
        self.until("all targets are up", 30, "up == 1", |all| all.len() == 3).await;
    }
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
