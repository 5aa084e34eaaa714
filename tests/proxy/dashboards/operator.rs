//! The dashboard `millrace`.

use std::sync::Arc;
use std::time::Duration;

use millrace::api::Phase;
use millrace::monitoring::config::prometheus::{FLAGS, PrometheusConfig, Targets, render_prometheus};
use millrace::monitoring::dashboards::operator;
use millrace::telemetry::metrics::{Controller, End, Metrics, Outcome, Request, Run, Step};

use super::prometheus::{Series, ask, quick_rules, serve};
use super::proof::{Proof, same_as_documented};
use crate::support::client::{Client, seal};
use crate::support::dashboard::{Choice, Dashboard, Query};
use crate::support::prometheus::Prometheus;
use crate::support::proxy::Proxy;
use crate::support::{check, eventually};

/// What an operator at work counts, again and again: a rate needs two samples.
async fn at_work(metrics: Arc<Metrics>) {
    metrics.in_phase(Phase::Running, 2);
    metrics.in_phase(Phase::Pending, 1);
    metrics.in_phase(Phase::Succeeded, 7);
    metrics.queued(1);
    loop {
        metrics.reconciled(Controller::Launch, Outcome::Applied, Duration::from_millis(3));
        metrics.requested(&Request { verb: "create", resource: "jobs", code: 201 });
        metrics.watch_restarted("pods");
        metrics.stepped(Step::CreatedToJob, Duration::from_millis(20));
        let run = Run { end: End::Succeeded, duration: Some(Duration::from_secs(1)), exit_code: Some(0) };
        metrics.ended(Some(("batch", "d")), run, "Completed");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Applications that end, one after the other, through both doors.
async fn tasks(proxy: &Proxy) {
    for run in 1_u32.. {
        let labels = format!("task_execution_id=\"{run}\",task_external_execution_id=\"p-{run}\"");
        let text = format!("# TYPE done_total counter\ndone_total{{{labels}}} 1\n");
        proxy.push(&format!("/metrics/job/t/task_execution_id/{run}"), &text).await;
        let mut client = Client::connect(proxy.tcp).await.unwrap();
        let sealed = seal(&client.key, &text);
        client.answer_pull(&sealed).await.unwrap();
        client.push(&sealed).await.unwrap();
        client.close().await;
    }
}

#[tokio::test]
async fn every_panel_about_operator_and_proxy_shows_them_at_work() {
    let proxy = Proxy::start(&["--pull-seconds=1", "--retention-least-seconds=2"]).await;
    let metrics = Arc::new(Metrics::default());
    let (operator_at, proxies) = (serve(metrics.clone()).await.to_string(), [proxy.http.to_string()]);
    let config = render_prometheus(&PrometheusConfig {
        scraper: "proof",
        proxies: Targets::Static(&proxies),
        operator: Some(&operator_at),
        scrape_interval_seconds: 1,
        sample_limit: 100_000,
        alertmanagers: &[],
    });
    let prometheus = Prometheus::start_with(&config, &quick_rules(), &FLAGS).await;
    let work = tokio::spawn(at_work(metrics));
    let proof = tokio::select! {
        proof = all_panels(&prometheus) => proof,
        () = tasks(&proxy) => unreachable!("they never end"),
    };
    work.abort();
    same_as_documented("operator", &proof.table());
}

async fn all_panels(prometheus: &Prometheus) -> Proof {
    let mut proof = Proof::default();
    for query in Dashboard::read(&operator()).queries("expr") {
        let what = format!("{:?} {}", query.panel, query.number);
        let found = eventually(60, &what, async || {
            let found = ask(prometheus, &query, &Choice::new()).await?;
            // A quantile of nothing is no number.
            check(found.iter().all(|(_, values)| values.iter().any(|v| v.is_finite())), &found)?;
            check(is_right(&query, &found), &found).map(|()| found)
        })
        .await;
        let cell = match query.panel.0 {
            11..=13 | 16 => found[0].1[0].to_string(),
            _ => "shown".to_owned(),
        };
        proof.add(&query, &[cell]);
    }
    proof
}

#[allow(clippy::float_cmp, reason = "counts are whole")]
fn is_right(query: &Query, found: &[Series]) -> bool {
    let value = found[0].1.last().copied().unwrap_or_default();
    match query.panel.0 {
        // Two paths of the proxy, and the operator.
        11 | 12 => value == 3.0,
        13 | 16 => value == 0.0,
        14 => value > 0.0,
        31 => ["tcp", "push"].iter().all(|door| found.iter().any(|(labels, _)| labels["door"] == *door)),
        35 => found.iter().any(|(labels, _)| labels["reason"] == "delivered"),
        42 => found.len() == 3,
        _ => true,
    }
}
