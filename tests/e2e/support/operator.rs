//! The operator as `tests/e2e/prepare` installed it.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::cluster::{until, within};
use super::command::{command, kubectl};

/// Its namespace.
pub const NAMESPACE: &str = "millrace-system";
/// Its release and deployment.
pub const NAME: &str = "millrace";
/// The chart.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/millrace");

/// What its pods are found by.
pub const SELECTOR: &str = "app.kubernetes.io/instance=millrace,app.kubernetes.io/component=operator";

/// Its pods, if the API server answers.
pub async fn try_pods(client: &Client) -> Result<Vec<Pod>, kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    Ok(api.list(&ListParams::default().labels(SELECTOR)).await?.items)
}

/// Its pods.
pub async fn pods(client: &Client) -> Vec<Pod> {
    try_pods(client).await.unwrap()
}

/// Waits until a pod other than these is at work.
pub async fn wait_for_another(client: &Client, than: &[String]) -> Pod {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let ready = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
        pod.metadata.deletion_timestamp.is_none()
            && conditions.filter(|c| c.type_ == "Ready" && c.status == "True").count() > 0
            && !pod.uid().is_some_and(|uid| than.contains(&uid))
    };
    let found = async {
        let config = kube::runtime::watcher::Config::default().labels(SELECTOR);
        let events = kube::runtime::watcher(api, config);
        futures::pin_mut!(events);
        while let Some(event) = futures::StreamExt::next(&mut events).await {
            use kube::runtime::watcher::Event::{Apply, InitApply};
            match event {
                Ok(Apply(pod) | InitApply(pod)) if ready(&pod) => return pod,
                _ => {}
            }
        }
        panic!("the watch ended")
    };
    within(90, "another operator is at work", found).await
}

/// Takes its pod away at once, as the loss of a node does, and does not wait.
pub async fn lose_pod(client: &Client) -> Vec<String> {
    let mut gone = Vec::new();
    for pod in pods(client).await {
        let name = pod.name_any();
        // It may be gone already; another one follows in any case.
        kubectl(&["delete", "pod", "-n", NAMESPACE, &name, "--grace-period=0", "--force", "--wait=false"])
            .await;
        gone.extend(pod.uid());
    }
    gone
}

/// Sends SIGKILL to the process of one of its pods. False where that runs on another machine.
pub async fn kill_process(pods: &[Pod]) -> bool {
    for pod in pods {
        let containers = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
        for id in containers.filter_map(|c| c.container_id.as_deref()?.split("//").nth(1)) {
            if let Some(process) = process_of(id) {
                return command("kill", &["-KILL", &process], "").await.ok;
            }
        }
    }
    false
}

/// The process of this machine that is in a container's control group.
fn process_of(container: &str) -> Option<String> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let groups = std::fs::read_to_string(entry.path().join("cgroup")).ok()?;
        (name.parse::<u32>().is_ok() && groups.contains(container)).then_some(name)
    })
}

/// Starts it anew, so that it holds no ids.
pub async fn restart(client: &Client) {
    let gone = lose_pod(client).await;
    wait_for_another(client, &gone).await;
}

/// Sets the number of its pods, and waits for it.
pub async fn scale(client: &Client, replicas: i32) {
    let replicas_flag = format!("--replicas={replicas}");
    kubectl(&["scale", "-n", NAMESPACE, "deployment", NAME, &replicas_flag]).await.good();
    if replicas > 0 {
        wait_for_another(client, &[]).await;
        return;
    }
    gone(client).await;
}

/// Waits until it has no pod.
pub async fn gone(client: &Client) {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    for pod in pods(client).await {
        until(api.clone(), &pod.name_any(), "the operator is gone", 60, |p: Option<&Pod>| p.is_none()).await;
    }
}

/// `helm` with the chart of this checkout.
pub async fn helm(args: &[&str]) -> String {
    command("helm", args, "").await.good()
}

/// Values it was installed with.
pub async fn values() -> Value {
    let json = helm(&["get", "values", NAME, "-n", NAMESPACE, "-o", "json"]).await;
    serde_json::from_str(&json).unwrap()
}

/// Installs it as it was, unless it is.
pub async fn restore(values: &Value) {
    let args = ["upgrade", "--install", NAME, CHART, "-n", NAMESPACE, "--reset-values", "-f", "-", "--wait"];
    let timeout = ["--timeout", "90s"];
    let args: Vec<&str> = args.into_iter().chain(timeout).collect();
    command("helm", &args, &values.to_string()).await.good();
}

/// Its log since it started.
pub async fn log() -> String {
    let deployment = format!("deployment/{NAME}");
    kubectl(&["logs", "-n", NAMESPACE, &deployment, "--tail=-1"]).await.out
}
