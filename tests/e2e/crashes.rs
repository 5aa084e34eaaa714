//! Operators that die, are replaced or forget: launches do not notice.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use millrace::api::Phase;
use millrace::names::{execution_ids, reason};
use serde_json::json;

use crate::support::chance::{Chance, seed};
use crate::support::cluster::until;
use crate::support::manifest::plain;
use crate::support::{Run, Space, alone, operator};

async fn define(t: &Space) {
    t.define("good", plain(&["--run-for=1s"])).await;
    t.define("bad", plain(&["--run-for=500ms", "--exit-code=3"])).await;
}

/// Launches at random distances; every third fails.
async fn launch_many(t: &Space, mut chance: Chance, number: usize, distance_millis: u64) -> Vec<(Run, bool)> {
    let mut runs = Vec::new();
    for n in 0..number {
        let good = n % 3 != 2;
        runs.push((t.launch(if good { "good" } else { "bad" }).await, good));
        chance.moment(distance_millis).await;
    }
    runs
}

/// Each ended as it should, and only once: one Job, one pod, an id of its own.
async fn check(t: &Space, runs: &[(Run, bool)]) {
    let mut ids = BTreeSet::new();
    for (run, good) in runs {
        let end = t.ended(run).await;
        if *good {
            end.succeeded();
        } else {
            end.is(Phase::Failed, Some(reason::NON_ZERO_EXIT), Some(3));
        }
        assert!(ids.insert(end.id()), "id {} twice", end.id());
    }
    let seen = t.recorder.seen();
    assert_eq!(
        (seen.jobs.len(), seen.pods.len()),
        (runs.len(), runs.len()),
        "one Job and one pod per launch"
    );
}

#[tokio::test]
async fn thirty_launches_while_the_operator_is_killed_again_and_again() {
    alone("killed", async |t: &Space| {
        let seed = seed();
        define(t).await;
        let mut chance = Chance(seed ^ 1);
        let kill = async {
            let (mut lost, mut killed) = (0, 0);
            for round in 0..6 {
                chance.moment(2500).await;
                // The kubelet waits longer and longer before it starts a killed container again; a lost pod has a successor at once.
                if round % 3 == 0 && operator::kill_process(&operator::pods(&t.client).await).await {
                    killed += 1;
                } else {
                    lost += operator::lose_pod(&t.client).await.len();
                }
            }
            (lost, killed)
        };
        let (runs, (lost, killed)) = futures::future::join(launch_many(t, Chance(seed), 30, 900), kill).await;
        eprintln!("{lost} pods of the operator were lost, {killed} processes killed");
        assert!(lost + killed >= 4, "the operator was hardly disturbed");
        operator::wait_for_another(&t.client, &[]).await;
        check(t, &runs).await;
    })
    .await;
}

#[tokio::test]
async fn the_operator_is_upgraded_while_launches_run() {
    alone("upgraded", async |t: &Space| {
        define(t).await;
        let upgrade = async {
            for level in ["debug", "info"] {
                let before: Vec<String> =
                    operator::pods(&t.client).await.iter().filter_map(ResourceExt::uid).collect();
                let value = format!("logLevel={level}");
                operator::helm(&[
                    "upgrade",
                    operator::NAME,
                    operator::CHART,
                    "-n",
                    operator::NAMESPACE,
                    "--reuse-values",
                    "--set",
                    &value,
                    "--wait",
                    "--timeout",
                    "90s",
                ])
                .await;
                let after = operator::wait_for_another(&t.client, &before).await;
                let args = after.spec.unwrap().containers[0].args.clone().unwrap();
                assert!(args.contains(&format!("--log-level={level}")), "{args:?}");
            }
        };
        let (runs, ()) = futures::future::join(launch_many(t, Chance(seed()), 12, 1200), upgrade).await;
        check(t, &runs).await;
    })
    .await;
}

fn record_of_ids(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), operator::NAMESPACE)
}

#[tokio::test]
async fn execution_ids_go_on_above_the_highest_when_their_record_is_lost_or_damaged() {
    alone("ids", async |t: &Space| {
        t.define("task", plain(&[])).await;
        let records = record_of_ids(&t.client);
        let mut highest = t.run("task").await.id();
        for damage in [None, Some("not a number"), Some("-5"), Some("")] {
            match damage {
                None => {
                    drop(records.delete(execution_ids::CONFIG_MAP, &DeleteParams::default()).await.unwrap());
                }
                Some(text) => {
                    let patch = json!({"data": {execution_ids::NEXT: text}});
                    let patch = Patch::Merge(&patch);
                    records.patch(execution_ids::CONFIG_MAP, &PatchParams::default(), &patch).await.unwrap();
                }
            }
            // What is left of its block it would use up first.
            operator::restart(&t.client).await;
            let id = t.run("task").await.id();
            assert!(id > highest, "{id} after {highest}, with a record of {damage:?}");
            highest = id;
            let log = operator::log().await;
            assert!(log.contains("WARN") && log.contains("going on above the highest id found"), "{log}");
            let whole = |map: Option<&ConfigMap>| {
                let next = map.and_then(|m| m.data.as_ref()?.get(execution_ids::NEXT)?.parse::<i64>().ok());
                next.is_some_and(|next| next > highest)
            };
            until(records.clone(), execution_ids::CONFIG_MAP, "the record is whole again", 10, whole).await;
        }
    })
    .await;
}
