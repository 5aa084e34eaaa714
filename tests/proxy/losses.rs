//! How final metrics get lost, and what the Java proxy and this one do about it.

use crate::support::client::{Client, seal};
use crate::support::java_proxy::{JavaProxy, QUICK};

/// What all comparisons stand on: the Java proxy takes what the simulated client sends.
#[tokio::test]
async fn the_java_proxy_serves_a_final_push_once() {
    let java = JavaProxy::start(QUICK).await;
    let mut client = Client::connect(java.tcp).await.unwrap();
    let sealed = seal(&client.key, "a_total{task_execution_id=\"7\"} 3\n");
    client.push(&sealed).await.unwrap();
    client.close().await;
    assert!(java.connected().await.contains("a_total{task_execution_id=\"7\"} 3"));
    assert_eq!(java.connected().await, "");
}
