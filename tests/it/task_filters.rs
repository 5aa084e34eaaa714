//! Patterns of single tasks, from the file to what is shown of a push.

use std::path::PathBuf;

use http::Request;
use http_body_util::Full;

use crate::in_process::{Proxy, eventually, get, send};

/// A file that goes with its owner.
struct Filters(PathBuf);

impl Drop for Filters {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Filters {
    fn write(&self, drop: &str) {
        // In its place at once, as a ConfigMap's.
        let next = self.0.with_extension("next");
        let text = format!("[{{\"namespace\":\"n\",\"task\":\"t\",\"drop\":[\"{drop}\"]}}]");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, &self.0).unwrap();
    }
}

const RUN: &str =
    "/metrics/job/t/task_name/t/task_namespace/n/task_execution_id/7/task_external_execution_id/pod";

/// The names that are shown after a push.
async fn pushed(proxy: &Proxy) -> Vec<String> {
    let request = Request::put(RUN).body(Full::from("a 1\nb 2\n")).unwrap();
    assert_eq!(send(proxy.settings.push, request).await, Ok(200));
    let text = get(proxy.settings.http, "/metrics/connected").await;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.split('{').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_the_file_says_counts_from_the_start_and_when_it_changes() {
    let file =
        Filters(std::env::temp_dir().join(format!("millrace-task-filters-{}.json", std::process::id())));
    file.write("a");
    let proxy = Proxy::start_with(Some(file.0.clone())).await;
    assert_eq!(pushed(&proxy).await, ["b"]);
    file.write("b");
    eventually("the new patterns count", async || pushed(&proxy).await == ["a"]).await;
    file.write("(");
    eventually("a wrong pattern drops nothing", async || pushed(&proxy).await == ["a", "b"]).await;
    let own = get(proxy.settings.http, "/metrics/proxy").await;
    for line in [
        "millrace_proxy_task_filter_reads_total{outcome=\"applied\"} 2.0\n",
        "millrace_proxy_task_filter_reads_total{outcome=\"partly\"} 1.0\n",
        "millrace_proxy_task_filters 0.0\n",
    ] {
        assert!(own.contains(line), "{own}");
    }
}

#[tokio::test]
async fn without_its_file_a_proxy_starts_all_the_same() {
    let proxy = Proxy::start_with(Some("/nowhere/filters.json".into())).await;
    assert_eq!(pushed(&proxy).await, ["a", "b"]);
    let own = get(proxy.settings.http, "/metrics/proxy").await;
    assert!(own.contains("millrace_proxy_task_filter_reads_total{outcome=\"refused\"} 1.0\n"), "{own}");
}
