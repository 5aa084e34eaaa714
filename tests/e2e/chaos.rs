//! Everything that a cluster can do to the operator at once: it is killed over and over, what it talks to is restarted
//! under it, or turns it away. Nothing is lost, nothing runs twice, everything ends.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{join, join3};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use millrace::api::{Phase, TaskLaunch, TaskLaunchStatus};
use millrace::names::reason;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::chance::{Chance, seed};
use crate::support::cluster::within;
use crate::support::command::command;
use crate::support::manifest::plain;
use crate::support::{Space, alone, operator};

/// How long an API server that comes and goes is asked the same again.
const PATIENCE: Duration = Duration::from_mins(2);
const AGAIN: Duration = Duration::from_millis(300);
/// All launches have ended by then.
const END: u64 = 330;

/// Asks until an answer comes: what is asked for may be restarting.
async fn stubborn<T, F>(what: &str, ask: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let asked = async {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => {
                    let refused =
                        matches!(&error, kube::Error::Api(s) if matches!(s.code, 400 | 403 | 404 | 422));
                    assert!(!refused, "{what}: {error}");
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    within(PATIENCE.as_secs(), what, asked).await
}

/// Creates it under its name, once, however often the answer gets lost.
async fn create(api: &Api<TaskLaunch>, launch: &TaskLaunch) {
    stubborn(&launch.name_any(), || async {
        match api.create(&PostParams::default(), launch).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            other => other.map(drop),
        }
    })
    .await;
}

/// A history that lets none of them go: what is there at the end is all there was.
async fn define(t: &Space) {
    for (name, args) in [("good", &["--run-for=200ms"][..]), ("bad", &["--run-for=200ms", "--exit-code=3"])] {
        let mut spec = plain(args);
        spec["history"] = json!({"succeeded": 1000, "failed": 1000});
        t.define(name, spec).await;
    }
}

/// Launches at random distances; every third fails. When they have all ended, `over` becomes true.
async fn run_all(
    t: &Space,
    mut chance: Chance,
    number: usize,
    distance_millis: u64,
    over: watch::Sender<bool>,
) {
    let api = t.launches();
    for n in 0..number {
        let definition = if n % 3 == 2 { "bad" } else { "good" };
        let launch = json!({"metadata": {"name": format!("run-{n}")},
            "spec": {"definitionRef": {"name": definition}}});
        create(&api, &serde_json::from_value(launch).unwrap()).await;
        chance.moment(distance_millis).await;
    }
    let ended = async {
        loop {
            let all = all::<TaskLaunch>(t).await;
            let ended = all.iter().filter(|l| phase(l).is_some_and(Phase::is_final)).count();
            if ended == number {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    within(END, "all launches have ended", ended).await;
    over.send_replace(true);
}

async fn all<K>(t: &Space) -> Vec<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = t.api();
    stubborn("a list", || async { api.list(&ListParams::default()).await }).await.items
}

fn status(launch: &TaskLaunch) -> TaskLaunchStatus {
    launch.status.clone().unwrap_or_default()
}

fn phase(launch: &TaskLaunch) -> Option<Phase> {
    status(launch).phase
}

/// Each ended as it should: one Job, one pod, an execution id of its own.
async fn check(t: &Space, number: usize) {
    let (launches, jobs, pods) = (all::<TaskLaunch>(t).await, all::<Job>(t).await, all::<Pod>(t).await);
    assert_eq!((launches.len(), jobs.len(), pods.len()), (number, number, number), "launches, Jobs, pods");
    let owner = |job: &Job| job.owner_references().first().map(|o| o.uid.clone()).unwrap();
    let jobs: BTreeMap<String, &Job> = jobs.iter().map(|job| (owner(job), job)).collect();
    let mut ids = BTreeSet::new();
    for launch in &launches {
        let said = status(launch);
        // A kubelet that ends while it starts a container leaves a pod that failed: the launch tells just that.
        let broken = said.message.as_deref().is_some_and(|message| message.contains("StartError"));
        let expected = if broken {
            (Some(Phase::Failed), Some(reason::NON_ZERO_EXIT), Some(128))
        } else if launch.spec.definition_ref.name == "good" {
            (Some(Phase::Succeeded), None, Some(0))
        } else {
            (Some(Phase::Failed), Some(reason::NON_ZERO_EXIT), Some(3))
        };
        let seen = (said.phase, said.reason.as_deref(), said.exit_code);
        assert_eq!(seen, expected, "{}: {said:?}", launch.name_any());
        let job =
            jobs.get(&launch.uid().unwrap()).unwrap_or_else(|| panic!("{} has no Job", launch.name_any()));
        assert_eq!((said.job_name, said.job_uid), (Some(job.name_any()), job.uid()), "{}", launch.name_any());
        assert!(said.execution_id.is_some_and(|id| ids.insert(id)), "{} shares its id", launch.name_any());
    }
}

/// Ends the operator at once, every few seconds, until all is over. Gives how often.
async fn kill_over_and_over(client: &Client, mut chance: Chance, mut over: watch::Receiver<bool>) -> usize {
    let mut kills = 0;
    loop {
        let pause = Duration::from_millis(2000 + chance.below(4000));
        if tokio::time::timeout(pause, over.wait_for(|over| *over)).await.is_ok() {
            return kills;
        }
        // Without an API server there is nobody to ask where it is.
        let Ok(pods) = operator::try_pods(client).await else { continue };
        // The pod goes with its process: the kubelet waits longer and longer before it starts a killed container again.
        operator::kill_process(&pods).await;
        kills += usize::from(lose(client, &pods).await);
    }
}

/// Takes its pods away at once, as the loss of a node does. False where there was none.
async fn lose(client: &Client, pods: &[Pod]) -> bool {
    let api: Api<Pod> = Api::namespaced(client.clone(), operator::NAMESPACE);
    let at_once = DeleteParams::default().grace_period(0);
    let mut lost = false;
    for pod in pods {
        lost |= api.delete(&pod.name_any(), &at_once).await.is_ok();
    }
    lost
}

/// Restarts what the operator needs, one after the other, where that runs on this machine.
async fn restart_all(mut over: watch::Receiver<bool>) -> Vec<&'static str> {
    let mut restarted = Vec::new();
    for component in
        ["kube-controller-manager", "kubelet", "etcd", "kube-apiserver"].into_iter().cycle().take(8)
    {
        if tokio::time::timeout(Duration::from_secs(8), over.wait_for(|over| *over)).await.is_ok() {
            break;
        }
        command(CLUSTER, &["restart", component], "").await.good();
        restarted.push(component);
    }
    restarted
}

const CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/cluster");

#[tokio::test]
async fn two_hundred_launches_while_operator_and_cluster_are_restarted_under_them() {
    alone("chaos", async |t: &Space| {
        let seed = seed();
        define(t).await;
        let (sender, over) = watch::channel(false);
        let work = run_all(t, Chance(seed), 200, 500, sender);
        let kill = kill_over_and_over(&t.client, Chance(seed ^ 1), over.clone());
        let all = AssertUnwindSafe(join3(work, kill, restart_all(over))).catch_unwind().await;
        // Whatever became of it, others find a cluster that is up.
        command(CLUSTER, &["up"], "").await.good();
        let ((), kills, restarted) = all.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        eprintln!("the operator was ended {kills} times; restarted: {}", restarted.join(", "));
        assert!(kills >= 10, "the operator was hardly disturbed: {kills}");
        assert!(restarted.len() >= 4, "not everything was restarted: {restarted:?}");
        operator::wait_for_another(&t.client, &[]).await;
        check(t, 200).await;
    })
    .await;
}

/// What the API server lets through of the operator's requests: 0 is nothing, each is answered with 429.
fn level(shares: i32) -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": THROTTLE},
        "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "lendablePercent": 0, "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Reject"},
        }},
    })
}

const THROTTLE: &str = "e2e-throttled-operator";

fn flow() -> Value {
    let any = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]});
    let operator = json!({"namespace": operator::NAMESPACE, "name": operator::NAME});
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": THROTTLE},
        "spec": {
            "matchingPrecedence": 10, "priorityLevelConfiguration": {"name": THROTTLE},
            "rules": [{"subjects": [{"kind": "ServiceAccount", "serviceAccount": operator}], "resourceRules": [any]}],
        },
    })
}

async fn apply<K>(client: &Client, object: Value)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let apply = PatchParams::apply("millrace-e2e").force();
    Api::<K>::all(client.clone()).patch(THROTTLE, &apply, &Patch::Apply(object)).await.unwrap();
}

/// Whatever becomes of the test, others find an operator that is let through.
async fn forget<K>(client: &Client)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    Api::<K>::all(client.clone()).delete(THROTTLE, &DeleteParams::default()).await.unwrap();
}

/// Turns the operator away four seconds of five, until all is over.
async fn throttle(client: &Client, mut over: watch::Receiver<bool>) {
    loop {
        for (shares, seconds) in [(0, 4), (30, 1)] {
            apply::<PriorityLevelConfiguration>(client, level(shares)).await;
            apply::<FlowSchema>(client, flow()).await;
            if tokio::time::timeout(Duration::from_secs(seconds), over.wait_for(|over| *over)).await.is_ok() {
                return;
            }
        }
    }
}

/// How many requests of the operator the API server has turned away, by its own count.
async fn turned_away(client: &Client) -> f64 {
    let text = client.request_text(http::Request::get("/metrics").body(Vec::new()).unwrap()).await.unwrap();
    let ours = |l: &&str| {
        l.starts_with("apiserver_flowcontrol_rejected_requests_total{")
            && l.contains(&format!("flow_schema=\"{THROTTLE}\""))
    };
    text.lines().filter(ours).filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test]
async fn launches_end_although_the_api_server_turns_the_operator_away_most_of_the_time() {
    alone("throttled", async |t: &Space| {
        define(t).await;
        let before = turned_away(&t.client).await;
        let (sender, over) = watch::channel(false);
        let work = join(run_all(t, Chance(seed()), 40, 400, sender), throttle(&t.client, over));
        let result = AssertUnwindSafe(work).catch_unwind().await;
        forget::<FlowSchema>(&t.client).await;
        forget::<PriorityLevelConfiguration>(&t.client).await;
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
        let refused = turned_away(&t.client).await - before;
        eprintln!("{refused} requests were answered with 429");
        assert!(refused >= 10.0, "the operator was hardly turned away: {refused}");
        // Each is tried again with a pause that grows: no storm.
        assert!(refused < 5000.0, "{refused} requests although each was to wait");
        check(t, 40).await;
    })
    .await;
}
