//! Crashes, lost answers, refusals, stale and silent watches.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use millrace::api::{Phase, TaskLaunch};
use millrace::names::{job_name, reason};
use serde_json::json;

use super::harness::{NS, World, condition, refused};
use crate::apiserver::{Fault, Rule, Verb, WatchFault};

#[tokio::test(start_paused = true)]
async fn a_crash_between_job_and_status_makes_no_second_job() {
    let world = World::new();
    world.define("hello", |_| ());
    let operator = world.operator();
    world.launch("one", "hello");
    world.pod("one").await;
    operator.kill();
    let _successor = world.operator();
    world.end_pod("one", 0, "").await;
    let status = world.finished("one").await;
    assert_eq!((status.phase, status.execution_id), (Some(Phase::Succeeded), Some(1)), "the id is the Job's");
    assert_eq!(world.jobs_made(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_the_jobs_creation_is_found_out_and_the_job_adopted() {
    let world = World::new();
    world.define("hello", |_| ());
    // The successor's watch lags, so that only the server can tell that the Job exists.
    world.inject(Rule::on(Verb::Create, "jobs", Fault::ResetAfter));
    world.inject(Rule::watch("jobs", WatchFault::Lag));
    let _operator = world.operator();
    world.launch("one", "hello");
    world
        .server
        .until("the second try is told that it exists", |store| {
            store.record.filter(|e| e.code == 409).count(Verb::Create, "jobs") == 1
        })
        .await;
    world.server.watches("jobs").release(u64::MAX);
    world.end_pod("one", 0, "").await;
    assert_eq!(world.finished("one").await.execution_id, Some(1));
    assert_eq!(world.jobs_made(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_job_of_that_name_is_left_alone() {
    let world = World::new();
    world.launch("one", "hello");
    let uid = world.server.get::<TaskLaunch>(NS, "one").unwrap().metadata.uid.unwrap();
    let name = job_name("one", &uid);
    let foreign = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": NS},
        "spec": {"template": {"spec": {"containers": [{"name": "x", "image": "y"}], "restartPolicy": "Never"}}}});
    world.server.with(|store| store.put(&foreign));
    let before = world.server.get::<Job>(NS, &name);
    world.define("hello", |_| ());
    let _operator = world.operator();
    let status = world.finished("one").await;
    assert_eq!(status.reason.as_deref(), Some(reason::JOB_NAME_TAKEN));
    assert!(status.message.unwrap().contains(&name));
    world.quiet().await;
    let writes = world.requests(0).by("operator").writes().on("jobs");
    assert_eq!(writes.filter(|e| e.changed).len(), 0, "{writes}");
    assert_eq!(before.unwrap().metadata.uid, world.server.get::<Job>(NS, &name).unwrap().metadata.uid);
}

#[tokio::test(start_paused = true)]
async fn a_vanished_job_ends_the_launch_and_is_not_made_again() {
    for (name, told) in [("short", false), ("long", true)] {
        let world = World::new();
        world.define("hello", |_| ());
        let _operator = world.operator();
        world.launch(name, "hello");
        let job = world.pod(name).await;
        world.server.with(|store| {
            store.pod_of(NS, &job).start();
        });
        if told {
            world.in_phase(name, Phase::Running).await;
        }
        world.server.with(|store| store.remove("jobs", NS, &job));
        let status = world.finished(name).await;
        assert_eq!(status.reason.as_deref(), Some(reason::JOB_LOST), "{name}");
        assert_eq!(status.execution_id, Some(1), "{name}: who it was is known");
        assert_eq!(world.jobs_made(), 1, "{name}");
        let reads = world.requests(0).by("operator").count(Verb::Get, "jobs");
        assert!(reads <= 1, "{name}: {reads} reads");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_is_resumed_within_six_minutes() {
    for plural in ["jobs", "pods", "tasklaunches", "taskdefinitions"] {
        let world = World::new();
        world.define("hello", |_| ());
        let _operator = world.operator();
        world.server.watches("").until_open(4).await;
        world.server.watches(plural).afflict(WatchFault::Freeze { after: 0 });
        world.define("other", |_| ());
        world.launch("one", "other");
        let ends = async {
            let server = world.server.clone();
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                let over = server.with(|store| {
                    let jobs: Vec<String> = store
                        .all("jobs")
                        .iter()
                        .filter_map(|j| Some(j["metadata"]["name"].as_str()?.into()))
                        .collect();
                    for job in jobs {
                        if !store.pods_of(NS, &job).is_empty() {
                            let running =
                                store.all("pods").iter().all(|p| p["status"]["phase"] != "Succeeded");
                            if running {
                                store.pod_of(NS, &job).start();
                                store.pod_of(NS, &job).finish(0, "");
                            }
                        }
                    }
                    store.get("tasklaunches", NS, "one").is_some_and(|l| l["status"]["phase"] == "Succeeded")
                });
                if over {
                    return;
                }
            }
        };
        let outcome = tokio::time::timeout(Duration::from_mins(6), ends).await;
        assert!(outcome.is_ok(), "{plural}:\n{}", world.server.record());
        assert_eq!(world.jobs_made(), 1, "{plural}");
    }
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_or_expire_cost_no_writes() {
    for fault in [WatchFault::Cut { after: 0 }, WatchFault::Reset { after: 0 }, WatchFault::Gone { after: 0 }]
    {
        let world = World::new();
        world.define("hello", |_| ());
        let _operator = world.operator();
        world.launch("one", "hello");
        world.end_pod("one", 0, "").await;
        world.finished("one").await;
        world.quiet().await;
        let mark = world.server.mark();
        world.server.watches("").afflict(fault);
        tokio::time::sleep(Duration::from_mins(1)).await;
        world.server.watches("").until_open(4).await;
        let requests = world.requests(mark).by("operator").writes();
        assert!(requests.is_empty(), "{fault:?}: {requests}");
        world.launch("two", "hello");
        world.end_pod("two", 0, "").await;
        world.finished("two").await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_pod_ends_the_launch_with_the_servers_sentence() {
    let world = World::new();
    world.define("hello", |_| ());
    let sentence = "Job.batch \"one\" is invalid: spec.template.spec.containers[0].image: Required value";
    world.inject(Rule::on(Verb::Create, "jobs", Fault::answer(422, "Invalid", sentence)).always());
    let _operator = world.operator();
    world.launch("one", "hello");
    let status = world.finished("one").await;
    assert_eq!(status.reason.as_deref(), Some(reason::INVALID_POD));
    assert!(status.message.unwrap().contains("Required value"));
    assert_eq!(world.requests(0).by("operator").count(Verb::Create, "jobs"), 1, "it is not tried again");
}

#[tokio::test(start_paused = true)]
async fn a_refused_job_is_tried_again_each_minute_and_starts_when_it_may() {
    let world = World::new();
    world.define("hello", |_| ());
    let quota = Fault::Answer(refused("exceeded quota: jobs"));
    world.inject(Rule::on(Verb::Create, "jobs", quota).times(3));
    let _operator = world.operator();
    world.launch("one", "hello");
    let status = world.in_phase("one", Phase::Pending).await;
    assert_eq!(condition(&status, "Started").1, reason::POD_REFUSED);
    assert_eq!(condition(&status, "Accepted").0, "True");
    tokio::time::sleep(Duration::from_mins(4)).await;
    world.end_pod("one", 0, "").await;
    assert_eq!(world.finished("one").await.phase, Some(Phase::Succeeded));
    assert_eq!(world.requests(0).by("operator").count(Verb::Create, "jobs"), 4);
}

#[tokio::test(start_paused = true)]
async fn passing_faults_of_the_server_are_outlived() {
    let faults = [
        Fault::answer(409, "Conflict", "the object has been modified"),
        Fault::answer(429, "TooManyRequests", "slow down"),
        Fault::answer(500, "InternalError", "etcdserver: mvcc: database space exceeded"),
        Fault::answer(503, "ServiceUnavailable", "starting"),
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::Garbage,
    ];
    for fault in faults {
        for (verb, plural) in [
            (Verb::Create, "jobs"),
            (Verb::Patch, "tasklaunches"),
            (Verb::Get, "configmaps"),
            (Verb::Create, "configmaps"),
            (Verb::List, "jobs"),
            (Verb::Watch, "pods"),
        ] {
            let world = World::new();
            world.define("hello", |_| ());
            let rule = world.server.inject(Rule::on(verb, plural, fault.clone()).by("operator").times(2));
            let _operator = world.operator();
            world.launch("one", "hello");
            world.end_pod("one", 3, "").await;
            let status = world.finished("one").await;
            let what = format!("{fault} on {verb:?} {plural}");
            assert_eq!((status.phase, status.exit_code), (Some(Phase::Failed), Some(3)), "{what}");
            assert_eq!(world.job_objects().len(), 1, "{what}");
            assert!(world.server.fired(rule) > 0, "{what} was never tried");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_end_was_not_seen_is_read_once_and_then_called_gone() {
    let world = World::new();
    world.define("hello", |_| ());
    let _operator = world.operator();
    world.launch("one", "hello");
    let job = world.pod("one").await;
    world.server.watches("pods").afflict(WatchFault::Freeze { after: 0 });
    world.server.with(|store| {
        store.pod_of(NS, &job).start();
        store.pod_of(NS, &job).finish(3, "");
    });
    let status = world.finished("one").await;
    assert_eq!(status.exit_code, Some(3), "read from the server");
    let lists =
        world.requests(0).by("operator").filter(|e| e.request.namespace == NS).count(Verb::List, "pods");
    assert_eq!(lists, 1);
}
