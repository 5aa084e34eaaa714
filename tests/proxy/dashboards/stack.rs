//! What a stack's configuration makes of proxies that come and go.

use std::collections::BTreeMap;

use millrace::monitoring::config::prometheus::{FLAGS, PrometheusConfig, RULES, Targets, render_prometheus};

use crate::support::client::{Client, seal};
use crate::support::prometheus::Prometheus;
use crate::support::proxy::Proxy;

const COUNT: &str = "count(last_over_time(spring_cloud_task_seconds_count[1h]))";

fn body(run: usize, value: usize) -> String {
    let labels =
        format!("task_execution_id=\"{run}\",task_external_execution_id=\"p-{run}\",task_name=\"t\"");
    format!(
        "# TYPE spring_cloud_task_seconds summary\nspring_cloud_task_seconds_count{{{labels}}} {value}\n\
         spring_cloud_task_seconds_sum{{{labels}}} {value}\n"
    )
}

async fn live(proxy: &Proxy, run: usize) -> Client {
    let mut client = Client::connect(proxy.tcp).await.unwrap();
    for pull in 1..=2 {
        let sealed = seal(&client.key, &body(run, pull));
        client.answer_pull(&sealed).await.unwrap();
    }
    client
}

async fn end(mut client: Client, run: usize) {
    let sealed = seal(&client.key, &body(run, 100));
    client.push(&sealed).await.unwrap();
    client.close().await;
}

fn last(run: usize) -> String {
    format!("last_over_time(spring_cloud_task_seconds_count{{task_execution_id=\"{run}\"}}[1h])")
}

#[tokio::test]
async fn a_replaced_proxy_makes_no_second_series_and_loses_no_final() {
    let mut old = Proxy::start(&["--pull-seconds=1"]).await;
    let new = Proxy::start(&["--pull-seconds=1"]).await;
    let proxies = [&old, &new].map(|proxy| proxy.http.to_string());
    let config = render_prometheus(&PrometheusConfig {
        scraper: "replaced",
        proxies: Targets::Static(&proxies),
        operator: None,
        scrape_interval_seconds: 1,
        sample_limit: 10_000,
        alertmanagers: &[],
    });
    let mut prometheus = Prometheus::start_with(&config, RULES, &FLAGS).await;

    // Five that end, one that goes on at the other proxy, and one whose final nobody reads before the proxy dies.
    for run in 1..6 {
        end(live(&old, run).await, run).await;
    }
    let moved = live(&old, 6).await;
    let unread = live(&old, 7).await;
    prometheus.has(COUNT, 7.0).await;
    prometheus.has(&last(7), 2.0).await;
    prometheus.process().signal("STOP");
    end(unread, 7).await;
    old.kill();
    prometheus.process().signal("CONT");
    // All that it showed is marked as gone now, with a time after the final of run 7.
    prometheus.has(&format!("up{{job=\"tasks\",instance=\"{}\"}}", old.http), 0.0).await;
    drop(moved);
    let moved = Client::connect(new.tcp).await.unwrap();
    end(moved, 6).await;
    prometheus.has(&last(6), 100.0).await;
    old.start_again().await;
    prometheus.has(&last(7), 100.0).await;

    prometheus.has(COUNT, 7.0).await;
    prometheus.has("sum(last_over_time(spring_cloud_task_seconds_count[1h]))", 700.0).await;
    let labelled = "last_over_time(spring_cloud_task_seconds_count{instance!=\"\"}[1h]) or \
                    last_over_time(spring_cloud_task_seconds_count{pod!=\"\"}[1h])";
    assert_eq!(prometheus.values(labelled).await.unwrap(), []);
    assert_eq!(prometheus.values("last_over_time({__name__=~\".+_created\"}[1h])").await.unwrap(), []);
    assert_eq!(prometheus.refused().await, BTreeMap::new());
}
