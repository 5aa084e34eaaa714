//! What was acknowledged stays.

use crate::support::client::{Client, seal};
use crate::support::proxy::Proxy;

#[tokio::test]
async fn a_push_survives_sigkill() {
    let mut proxy = Proxy::start(&[]).await;
    proxy.push("/metrics/job/t/task.execution.id/7/task.external.execution.id/p", "a_total 3\n").await;
    let before = proxy.connected().await;
    assert!(before.contains("a_total{") && before.contains("task_execution_id=\"7\""), "{before}");
    proxy.kill();
    proxy.start_again().await;
    assert_eq!(proxy.connected().await, before);
}

#[tokio::test]
async fn an_acknowledged_final_push_survives_sigkill() {
    let mut proxy = Proxy::start(&[]).await;
    let text = "a_total{task_execution_id=\"7\",task_external_execution_id=\"p\"} 3\n";
    let mut client = Client::connect(proxy.tcp).await.unwrap();
    let sealed = seal(&client.key, text);
    client.push(&sealed).await.unwrap();
    proxy.kill();
    proxy.start_again().await;
    let after = proxy.connected().await;
    assert!(after.contains("task_external_execution_id=\"p\"} 3.0 "), "{after}");
}
