//! Restarts, two operators at once, and how an operator begins and ends.

use std::time::Duration;

use millrace::api::{Phase, TaskLaunch};
use tokio::time::Instant;

use super::harness::{NS, World};
use crate::apiserver::{Fault, Kind, Rule, Verb, WatchFault};

#[tokio::test(start_paused = true)]
async fn a_restart_writes_nothing_about_what_is_settled() {
    let world = World::new();
    world.define("hello", |_| ());
    let operator = world.operator();
    for n in 0..20 {
        let name = format!("l{n}");
        world.launch(&name, "hello");
        world.end_pod(&name, n % 3, "").await;
    }
    for n in 0..20 {
        world.finished(&format!("l{n}")).await;
    }
    world.launch("running", "hello");
    let job = world.pod("running").await;
    world.server.with(|store| {
        store.pod_of(NS, &job).start();
    });
    world.in_phase("running", Phase::Running).await;
    world.quiet().await;
    operator.stop().await;
    let mark = world.server.mark();
    let _operator = world.operator();
    world.server.watches("").until_open(4).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let requests = world.requests(mark).by("operator");
    assert!(requests.is_empty(), "{requests}");
}

#[tokio::test(start_paused = true)]
async fn two_operators_make_one_job_for_each_launch_and_agree() {
    let world = World::new();
    world.define("hello", |_| ());
    let _a = world.operator_as("a", &[]);
    let _b = world.operator_as("b", &[]);
    for n in 0..30 {
        world.launch(&format!("l{n}"), "hello");
    }
    let mut ids = Vec::new();
    for n in 0..30 {
        let name = format!("l{n}");
        world.end_pod(&name, n % 2, "").await;
        let status = world.finished(&name).await;
        assert_eq!(status.exit_code.map(i64::from), Some(n % 2));
        ids.extend(status.execution_id);
    }
    world.quiet().await;
    assert_eq!(world.jobs_made(), 30);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 30, "no id is given twice");
    let creates = world.server.record().count(Verb::Create, "jobs");
    assert!(creates <= 60, "at most one try each: {creates}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_kind_is_waited_for_and_named() {
    let world = World::new();
    world.server.with(|store| store.unregister("tasklaunches"));
    let operator = world.operator();
    let named = async {
        while !operator.readiness.report().iter().any(|line| line.contains("tasklaunches.millrace.dev")) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), named).await.unwrap();
    assert!(operator.readiness.report().join("\n").contains("crds/"), "{:?}", operator.readiness.report());
    let kind = Kind::new("millrace.dev/v1alpha1", "TaskLaunch", "tasklaunches").with_status();
    world.server.with(|store| store.register(kind));
    world.define("hello", |_| ());
    world.launch("one", "hello");
    world.end_pod("one", 0, "").await;
    assert_eq!(world.finished("one").await.phase, Some(Phase::Succeeded));
    assert!(operator.readiness.report().is_empty(), "{:?}", operator.readiness.report());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_after_its_list_does_not_keep_the_operator_from_getting_ready() {
    let world = World::new();
    // As after the kinds were applied a moment ago: one watch is refused while other lists are still to come.
    let busy = Fault::answer(429, "TooManyRequests", "storage is (re)initializing");
    world.server.inject(Rule::on(Verb::Watch, "taskdefinitions", busy.clone()).times(2));
    world.server.inject(Rule::on(Verb::List, "pods", busy).times(4));
    let operator = world.operator();
    let ready = async {
        world.server.watches("").until_open(4).await;
        while !operator.readiness.report().is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let outcome = tokio::time::timeout(Duration::from_mins(2), ready).await;
    assert!(outcome.is_ok(), "{:?}", operator.readiness.report());
}

#[tokio::test(start_paused = true)]
async fn only_the_named_namespaces_are_touched() {
    let world = World::new();
    world.server.with(|store| store.add_namespace("team-a"));
    world.define("hello", |_| ());
    world.server.with(|store| {
        for kind in ["taskdefinitions", "tasklaunches"] {
            assert_eq!(store.all(kind).iter().filter(|o| o["metadata"]["namespace"] == "team-a").count(), 0);
        }
    });
    let _operator = world.operator_as("operator", &["team-a", NS]);
    world.launch("one", "hello");
    world.end_pod("one", 0, "").await;
    world.finished("one").await;
    let record = world.server.record().by("operator");
    let outside =
        record.filter(|e| !["team-a", NS, super::harness::HOME].contains(&e.request.namespace.as_str()));
    assert!(outside.is_empty(), "Roles in those namespaces must be enough: {outside}");
}

#[tokio::test(start_paused = true)]
async fn it_ends_within_five_seconds_of_being_asked() {
    let world = World::new();
    world.define("hello", |_| ());
    let operator = world.operator();
    world.launch("one", "hello");
    world.pod("one").await;
    let asked = Instant::now();
    operator.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_created_late_meets_the_one_that_was_there() {
    let world = World::new();
    world.define("hello", |spec| spec.history.succeeded = 0);
    let slow = world.operator_as("slow", &[]);
    let quick = world.operator_as("quick", &[]);
    world.server.watches("tasklaunches").until_open(2).await;
    let late = Fault::Delay(Duration::from_secs(25));
    world.server.inject(Rule::on(Verb::Create, "jobs", late).by("slow"));
    world.launch("one", "hello");
    world.end_pod("one", 0, "").await;
    world.finished("one").await;
    world.cleaned_up().await;
    assert!(world.server.get::<TaskLaunch>(NS, "one").is_none(), "it is cleaned up");
    assert_eq!(world.server.record().by("slow").count(Verb::Create, "jobs"), 1);
    assert_eq!(world.jobs_made(), 1, "{}", world.requests(0));
    drop((slow, quick));
}

#[tokio::test(start_paused = true)]
async fn a_stale_operator_does_not_run_again_what_was_cleaned_up() {
    let world = World::new();
    // It came before the definition, and its watches lag ever since.
    world.launch("one", "hello");
    let stale = world.operator_as("stale", &[]);
    world.in_phase("one", Phase::Pending).await;
    for plural in ["tasklaunches", "jobs", "pods"] {
        world.server.watches(plural).by("stale").afflict(WatchFault::Lag);
    }
    world.server.watches("taskdefinitions").by("stale").afflict(WatchFault::Lag);
    let fresh = world.operator_as("fresh", &[]);
    world.define("hello", |spec| spec.history.succeeded = 0);
    world.end_pod("one", 0, "").await;
    world.cleaned_up().await;
    assert!(world.server.get::<TaskLaunch>(NS, "one").is_none(), "it is cleaned up");
    // Now it hears of the definition, and still believes that the launch waits for it.
    world.server.watches("taskdefinitions").by("stale").release(u64::MAX);
    world
        .server
        .until("it looks for the launch", |store| {
            store.record.by("stale").count(Verb::Get, "tasklaunches") > 0
        })
        .await;
    world.quiet().await;
    assert_eq!(world.jobs_made(), 1, "{}", world.requests(0));
    drop((stale, fresh));
}
