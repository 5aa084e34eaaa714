//! Real applications with the settings that the operator injects for Wavefront, and what arrives there.

use std::collections::BTreeMap;

use http::StatusCode;
use millrace::api::task_definition::BootVersion;
use millrace::api::task_monitoring::SecretKey;
use millrace::inject::exporters::{Exporters, WavefrontSender};

use crate::support::app::{App, Run};
use crate::support::wavefront::{Point, Receiver};

/// Generations that have it, and what their definitions say.
const GENERATIONS: [(&str, Option<BootVersion>); 3] =
    [("boot27", Some(BootVersion::Two)), ("boot32", None), ("boot35", None)];
const PARENT: i64 = 77;

fn token() -> SecretKey {
    SecretKey { name: "wavefront".to_owned(), key: "token".to_owned() }
}

fn to_wavefront(url: String, token: Option<SecretKey>) -> Exporters {
    let wavefront = Some(WavefrontSender { url, source: None, token });
    Exporters { wavefront, ..Exporters::default() }
}

fn run(name: &str, boot_version: Option<BootVersion>) -> Run {
    let mut run = Run { boot_version, ..Run::new(name) };
    run.identity.parent_execution_id = Some(PARENT);
    run
}

async fn ends_well(app: &str, run: &Run, to: &Exporters) {
    let code = App::start(app, run, to, &[], &[]).ended().await.code();
    assert_eq!(code, Some(0), "{app}: metrics never fail a task");
}

/// What the application measured; the library also speaks of itself.
fn measured(receiver: &Receiver, run: &Run) -> Vec<Point> {
    let points = receiver.reports_of(&run.pod).into_iter().flat_map(|report| report.points);
    points.filter(|point| !point.name.starts_with('~')).collect()
}

/// Spring Cloud Task 2 says on its own two meters what its database does.
fn is_boot_2s_own(app: &str, point: &Point) -> bool {
    app == "boot27" && point.name.starts_with("spring.cloud.task.")
}

fn is_told_whose_it_is(app: &str, run: &Run, point: &Point) {
    let expected: BTreeMap<&str, String> = [
        ("task.name", run.identity.task_name.clone()),
        ("task.execution.id", run.id()),
        ("task.external.execution.id", run.pod.clone()),
        ("task.parent.execution.id", PARENT.to_string()),
        ("task.namespace", run.identity.namespace.clone()),
        ("application", format!("{}-{}", run.identity.task_name, run.id())),
        ("service", "task-application".to_owned()),
    ]
    .into();
    for (tag, value) in expected {
        let own = is_boot_2s_own(app, point) && tag.ends_with("execution.id") && !tag.contains("external");
        assert!(own || point.tags.get(tag) == Some(&value), "{app}: {tag} should be {value} in {point:?}");
    }
    assert_eq!(point.source, run.pod, "{app}: {point:?}");
}

fn has_all(app: &str, run: &Run, points: &[Point]) {
    for point in points {
        is_told_whose_it_is(app, run, point);
    }
    let names: BTreeMap<&str, f64> = points.iter().map(|point| (&*point.name, point.value)).collect();
    assert!(names.len() > 40, "{app}: {names:#?}");
    // The first is counted while the task runs; the second only when it has ended.
    for (name, value) in [("app.runs", 1.0), ("spring.cloud.task.count", 1.0)] {
        let seen = names.get(name).copied();
        assert_eq!(seen, Some(value), "{app}: {name} in {names:#?}");
    }
    assert!(names.contains_key("jvm.memory.used"), "{app}: {names:#?}");
}

#[tokio::test]
async fn last_metrics_of_every_generation_arrive_with_the_token_and_the_runs_identity() {
    let receiver = Receiver::start(StatusCode::ACCEPTED).await;
    let to = to_wavefront(format!("http://{}", receiver.at), Some(token()));
    for (app, boot_version) in GENERATIONS {
        let mut run = run(app, boot_version);
        run.secrets.push((token(), "a-real-token".to_owned()));
        ends_well(app, &run, &to).await;
        for report in receiver.reports_of(&run.pod) {
            assert_eq!(report.authorization.as_deref(), Some("Bearer a-real-token"), "{app}");
            assert_eq!(report.to, "/report?f=wavefront", "{app}");
        }
        has_all(app, &run, &measured(&receiver, &run));
    }
}

#[tokio::test]
async fn a_wavefront_proxy_gets_them_without_a_token() {
    let receiver = Receiver::start(StatusCode::ACCEPTED).await;
    let to = to_wavefront(format!("proxy://{}", receiver.at), None);
    for (app, boot_version) in GENERATIONS {
        let run = run(app, boot_version);
        ends_well(app, &run, &to).await;
        for report in receiver.reports_of(&run.pod) {
            assert_eq!(report.authorization, None, "{app}");
        }
        has_all(app, &run, &measured(&receiver, &run));
    }
}

#[tokio::test]
async fn a_missing_token_fails_no_task() {
    let receiver = Receiver::start(StatusCode::UNAUTHORIZED).await;
    let to = to_wavefront(format!("http://{}", receiver.at), Some(token()));
    for (app, boot_version) in GENERATIONS {
        let run = run(app, boot_version);
        ends_well(app, &run, &to).await;
        let reports = receiver.reports_of(&run.pod);
        assert!(!reports.is_empty(), "{app} tries");
        for report in reports {
            assert_eq!(report.authorization.as_deref(), Some("Bearer $(MILLRACE_WAVEFRONT_TOKEN)"), "{app}");
        }
    }
}

/// It has Micrometer's registry on its class path, but Boot no longer makes one of it.
#[tokio::test]
async fn boot_4_sends_nothing_and_runs() {
    let receiver = Receiver::start(StatusCode::ACCEPTED).await;
    let to = to_wavefront(format!("http://{}", receiver.at), Some(token()));
    let mut run = run("boot40", None);
    run.secrets.push((token(), "a-real-token".to_owned()));
    ends_well("boot40", &run, &to).await;
    assert_eq!(receiver.requests(), 0);
}
