//! What is written and deleted.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{UID, all_ready, carry_out, change, everything, external, fresh, meddle, pod, settle};
use crate::monitoring::object::Kind;
use crate::monitoring::select::Acceptance;
use crate::monitoring::{ASK_AGAIN, Answer, Outcome, StackSnapshot, UNWATCHED, decide};
use crate::names::reason;

fn names(s: &StackSnapshot) -> Vec<String> {
    decide(s).apply.iter().map(|o| format!("{:?}/{}", o.kind, o.name)).collect()
}

#[test]
fn the_same_snapshot_gives_the_same_plan() {
    for spec in [json!({}), everything(), external()] {
        let s = fresh(&spec);
        assert_eq!(decide(&s), decide(&s.clone()));
    }
}

#[test]
fn a_plan_that_was_carried_out_leaves_nothing_to_do() {
    for spec in [json!({}), everything(), external()] {
        let mut s = fresh(&spec);
        settle(&mut s);
        // Also for a process that begins, but for what is not watched.
        s.memory.answers.clear();
        let left = decide(&s).apply;
        assert!(left.iter().all(|o| !o.kind.is_watched() && o.kind != Kind::Secret), "{left:?}");
        assert!(decide(&s).delete.is_empty());
    }
}

#[test]
fn configuration_comes_before_workloads() {
    let plan = decide(&fresh(&everything()));
    let kinds: Vec<Kind> = plan.apply.iter().map(|o| o.kind).collect();
    assert!(kinds.is_sorted(), "{kinds:?}");
    assert!(kinds.contains(&Kind::StatefulSet));
}

#[test]
fn what_others_change_is_repaired() {
    for (kind, name, pointer, value) in [
        (Kind::Service, "grafana", "/spec/type", json!("ClusterIP")),
        (Kind::StatefulSet, "prometheus", "/spec/replicas", json!(0)),
        (Kind::StatefulSet, "prometheus", "/spec/template/spec/containers/0/image", json!("evil")),
        (Kind::ConfigMap, "prometheus", "/data/rules.yml", json!("")),
        (Kind::Service, "metrics-proxy", "/spec/publishNotReadyAddresses", json!(true)),
        (Kind::NetworkPolicy, "prometheus", "/spec/ingress/0/from/0", json!({"podSelector": {}})),
        (Kind::Role, "prometheus", "/rules/0/verbs", json!(["list", "watch", "delete"])),
        (
            Kind::Role,
            "prometheus",
            "/rules/0",
            json!({"apiGroups": [""], "resources": ["pods"],
            "verbs": ["list", "watch"], "resourceNames": ["x"]}),
        ),
        (Kind::Service, "prometheus", "/metadata/annotations/millrace.dev~1applied", json!("0")),
    ] {
        let mut s = fresh(&json!({}));
        settle(&mut s);
        meddle(&mut s, kind, name, pointer, value);
        assert_eq!(names(&s), [format!("{kind:?}/{name}")], "{pointer}");
        let plan = decide(&s);
        carry_out(&mut s, &plan);
        assert!(names(&s).is_empty());
    }
}

/// What the API server adds, and how it writes the same in other words.
#[test]
fn what_the_api_server_adds_is_no_difference() {
    let mut s =
        fresh(&json!({"prometheus": {"resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}}}}));
    settle(&mut s);
    let container = "/spec/template/spec/containers/0";
    let set = (Kind::StatefulSet, "prometheus");
    meddle(
        &mut s,
        set.0,
        set.1,
        &format!("{container}/resources"),
        json!({"requests": {"cpu": "1", "memory": "1Gi"}}),
    );
    meddle(
        &mut s,
        set.0,
        set.1,
        &format!("{container}/ports/0"),
        json!({"name": "http-web", "containerPort": 9090, "protocol": "TCP", "more": 1}),
    );
    meddle(&mut s, Kind::Service, "prometheus", "/spec/ports/0/targetPort", json!("9090"));
    let live = s.owned.get_mut(&(Kind::Service, "prometheus".to_owned())).unwrap();
    Arc::make_mut(live)["spec"]["clusterIP"] = json!("10.0.0.1");
    let proxy = s.owned.get_mut(&(Kind::Service, "metrics-proxy".to_owned())).unwrap();
    Arc::make_mut(proxy)["metadata"]["resourceVersion"] = json!("changed");
    let left_out = Arc::make_mut(proxy)["spec"].as_object_mut().unwrap().remove("publishNotReadyAddresses");
    assert_eq!(left_out, Some(json!(false)));
    assert!(names(&s).is_empty(), "{:?}", names(&s));
    // Words are no amounts.
    meddle(&mut s, Kind::Service, "prometheus", "/spec/ports/0/name", json!("http-web2"));
    assert_eq!(names(&s), ["Service/prometheus"]);
}

/// An admission webhook that changes what we write would be written against for ever.
#[test]
fn what_was_taken_and_is_different_all_the_same_is_left_alone() {
    let mut s = fresh(&json!({}));
    settle(&mut s);
    meddle(&mut s, Kind::StatefulSet, "prometheus", "/spec/replicas", json!(2));
    assert_eq!(names(&s), ["StatefulSet/prometheus"]);
    let answer = s.memory.answers.get_mut(&(Kind::StatefulSet, "prometheus".to_owned())).unwrap();
    answer.outcome = Outcome::Taken("changed".to_owned());
    assert!(names(&s).is_empty());
    meddle(&mut s, Kind::StatefulSet, "prometheus", "/spec/replicas", json!(3));
    let live = s.owned.get_mut(&(Kind::StatefulSet, "prometheus".to_owned())).unwrap();
    Arc::make_mut(live)["metadata"]["resourceVersion"] = json!("again");
    assert_eq!(names(&s), ["StatefulSet/prometheus"]);
}

#[test]
fn what_was_refused_is_tried_again_later_or_when_it_changes() {
    for outcome in
        [Outcome::Foreign(String::new()), Outcome::KindMissing, Outcome::Refused("quota".to_owned())]
    {
        let mut s = fresh(&json!({}));
        settle(&mut s);
        let key = (Kind::Service, "grafana".to_owned());
        s.owned.remove(&key);
        let digest = s.memory.answers[&key].digest.clone();
        s.memory.answers.insert(key.clone(), Answer { at: s.now, digest, outcome });
        assert!(names(&s).is_empty());
        assert_eq!(decide(&s).next, Some(ASK_AGAIN));
        let mut later = s.clone();
        // An event in between puts nothing off.
        later.now = s.now + ASK_AGAIN * 2 / 3;
        assert_eq!(decide(&later).next, Some(ASK_AGAIN / 3));
        later.now = s.now + ASK_AGAIN;
        assert_eq!(names(&later), ["Service/grafana"]);
        change(&mut s, &json!({"grafana": {"service": {"port": 80}}}));
        assert!(names(&s).contains(&"Service/grafana".to_owned()));
    }
}

#[test]
fn kinds_of_other_operators_are_looked_at_from_time_to_time() {
    let mut s = fresh(&external());
    settle(&mut s);
    assert_eq!(decide(&s).next, Some(UNWATCHED));
    assert!(names(&s).is_empty());
    s.now += UNWATCHED / 4;
    assert_eq!(decide(&s).next, Some(UNWATCHED * 3 / 4));
    s.now += UNWATCHED * 3 / 4;
    assert_eq!(names(&s), ["ServiceMonitor/millrace-monitoring", "PrometheusRule/millrace-monitoring"]);
}

#[test]
fn what_no_watch_shows_is_looked_for_once_where_it_is_not_wanted() {
    let strays = |s: &StackSnapshot| -> Vec<String> {
        decide(s).strays.iter().map(|(kind, name)| format!("{kind:?}/{name}")).collect()
    };
    let monitors = ["ServiceMonitor/millrace-monitoring", "PrometheusRule/millrace-monitoring"];
    let dashboards =
        ["tasks", "millrace", "tasks-influxdb"].map(|d| format!("GrafanaDashboard/millrace-monitoring-{d}"));
    let mut s = fresh(&external());
    assert_eq!(strays(&s), dashboards);
    settle(&mut s);
    assert!(strays(&s).is_empty());
    change(&mut s, &json!({}));
    assert_eq!(strays(&s), monitors);
    settle(&mut s);
    assert!(strays(&s).is_empty());
    // Nobody can tell what was there before this process.
    s.memory.answers.clear();
    assert_eq!(strays(&s).len(), monitors.len() + dashboards.len());
    // Wanted again, it is written.
    settle(&mut s);
    change(&mut s, &external());
    assert!(names(&s).contains(&monitors[0].to_owned()));
    settle(&mut s);
    s.acceptance = Acceptance::Refused(reason::CONFLICT, "another is older".to_owned());
    assert_eq!(strays(&s), monitors);
    Arc::make_mut(&mut s.installation).integrations = false;
    assert!(strays(&s).is_empty(), "it may not look");
}

#[test]
fn the_secret_is_made_once_and_again_where_it_is_missed() {
    let key = (Kind::Secret, "grafana".to_owned());
    let wanted = |s: &StackSnapshot| decide(s).apply.iter().any(|o| o.kind == Kind::Secret);
    let mut s = fresh(&json!({}));
    assert!(wanted(&s));
    settle(&mut s);
    assert!(!wanted(&s));
    // Another process: Grafana is there, so it is there too.
    s.memory.answers.clear();
    assert!(!wanted(&s));
    s.pods = vec![pod(
        "grafana",
        &json!({"containerStatuses": [{"name": "grafana", "state": {"waiting": {"reason": "CreateContainerConfigError"}}}]}),
    )];
    assert!(wanted(&s));
    let answer = Answer { at: s.now, digest: String::new(), outcome: Outcome::Taken("1".to_owned()) };
    s.memory.answers.insert(key, answer);
    assert!(!wanted(&s));
    s.now += ASK_AGAIN;
    assert!(wanted(&s));
    assert!(!wanted(&fresh(&json!({"grafana": {"adminSecret": {"name": "mine"}}}))));
}

#[test]
fn a_part_that_is_switched_off_goes_workloads_first_and_its_volume_stays() {
    let mut s = fresh(&json!({}));
    settle(&mut s);
    change(&mut s, &json!({"prometheus": {"mode": "Disabled"}}));
    let gone = decide(&s).delete;
    assert_eq!(gone.first().map(|g| (g.kind, g.name.as_str())), Some((Kind::StatefulSet, "prometheus")));
    assert!(gone.iter().all(|g| g.kind != Kind::PersistentVolumeClaim && g.name == "prometheus"));
    settle(&mut s);
    assert!(s.owned.contains_key(&(Kind::PersistentVolumeClaim, "prometheus-data".to_owned())));

    let mut s = fresh(&json!({"prometheus": {"storage": {"onDelete": "Delete"}}}));
    settle(&mut s);
    change(&mut s, &json!({"prometheus": {"mode": "Disabled"}}));
    settle(&mut s);
    assert!(!s.owned.contains_key(&(Kind::PersistentVolumeClaim, "prometheus-data".to_owned())));
}

#[test]
fn what_belongs_to_another_is_neither_taken_for_ours_nor_deleted() {
    let mut s = fresh(&json!({}));
    settle(&mut s);
    s.memory.answers.clear();
    let owner = "/metadata/ownerReferences/0/uid";
    meddle(&mut s, Kind::Service, "grafana", owner, json!("another"));
    assert_eq!(names(&s), ["Service/grafana"]);
    change(&mut s, &json!({"grafana": {"mode": "Disabled"}}));
    assert!(decide(&s).delete.iter().all(|gone| gone.kind != Kind::Service));
}

#[test]
fn a_proxy_whose_data_move_is_made_anew() {
    let mut s = fresh(&json!({}));
    settle(&mut s);
    change(&mut s, &json!({"proxy": {"storage": {"ephemeral": true}}}));
    let plan = decide(&s);
    assert!(plan.delete.iter().any(|gone| gone.kind == Kind::StatefulSet && gone.name == "metrics-proxy"));
    assert!(plan.apply.iter().all(|o| o.name != "metrics-proxy" || o.kind != Kind::StatefulSet));
    carry_out(&mut s, &plan);
    assert_eq!(names(&s), ["StatefulSet/metrics-proxy"]);
    settle(&mut s);
}

#[test]
fn a_stack_that_does_not_count_is_taken_down_and_says_why() {
    let mut s = fresh(&json!({}));
    settle(&mut s);
    s.acceptance = Acceptance::Refused(reason::CONFLICT, "another is older".to_owned());
    let plan = decide(&s);
    assert!(plan.apply.is_empty());
    assert!(plan.delete.iter().any(|gone| gone.kind == Kind::StatefulSet));
    settle(&mut s);
    assert!(s.owned.keys().all(|(kind, _)| *kind == Kind::PersistentVolumeClaim), "{:?}", s.owned.keys());
    s.acceptance = Acceptance::Accepted;
    settle(&mut s);
    assert!(s.owned.contains_key(&(Kind::Deployment, "grafana".to_owned())));
}

#[test]
fn what_cannot_be_read_is_left_as_it_is() {
    let mut s = fresh(&json!({}));
    settle(&mut s);
    change(&mut s, &json!({"scope": "Galaxy"}));
    let plan = decide(&s);
    assert!(plan.apply.is_empty() && plan.delete.is_empty());
    let status = plan.status.unwrap();
    let accepted = status.conditions.iter().find(|c| c.type_ == "Accepted").unwrap();
    assert_eq!((accepted.status.as_str(), accepted.reason.as_str()), ("False", "InvalidSpec"));
    assert_eq!(plan.warnings.len(), 1);

    let going = json!({"metadata": {"name": "m", "uid": UID, "deletionTimestamp": "2025-01-01T00:00:00Z"}});
    s.stack = Arc::new(serde_json::from_value(going).unwrap());
    assert_eq!(decide(&s), crate::monitoring::StackPlan::default());
    let later = json!({"metadata": {"name": "m", "uid": UID}, "spec": {}, "status": {"conditions": "new"}});
    s.stack = Arc::new(serde_json::from_value(later).unwrap());
    assert_eq!(decide(&s), crate::monitoring::StackPlan::default());
}

#[test]
fn a_ready_stack_is_idle() {
    let mut s = fresh(&json!({}));
    settle(&mut s);
    all_ready(&mut s);
    settle(&mut s);
    s.now += Duration::from_hours(24);
    let plan = decide(&s);
    assert_eq!(plan, crate::monitoring::StackPlan::default());
}

fn storage() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        Just(json!({"ephemeral": true})),
        Just(json!({"size": "20Gi", "onDelete": "Delete"})),
    ]
}

fn specs() -> impl Strategy<Value = Value> {
    let modes = |external: Value| {
        prop_oneof![
            3 => Just(json!({"mode": "Managed"})),
            1 => Just(json!({"mode": "Disabled"})),
            1 => Just(json!({"mode": "External", "external": external})),
        ]
    };
    let prometheus = modes(json!({"url": "http://p:9090", "discovery": "Annotations"}));
    let proxy = modes(json!({"host": "proxy"}));
    let grafana = modes(json!({"url": "http://g:3000"}));
    let influx = modes(json!({"url": "http://i:8086"}));
    let service = prop_oneof![Just(json!({})), Just(json!({"type": "NodePort"})), Just(json!({"port": 80}))];
    let scope = prop_oneof![Just("Namespace"), Just("Cluster")];
    (prometheus, proxy, grafana, influx, storage(), service, 1..4, scope).prop_map(
        |(mut prometheus, mut proxy, mut grafana, mut influx, storage, service, replicas, scope)| {
            for part in [&mut prometheus, &mut proxy, &mut influx, &mut grafana] {
                part["storage"] = storage.clone();
                part["service"] = service.clone();
            }
            proxy["replicas"] = json!(replicas);
            json!({"scope": scope, "prometheus": prometheus, "proxy": proxy, "grafana": grafana, "influxdb": influx})
        },
    )
}

/// What is there, but volumes, which stay, and what the server numbers.
fn remains(s: &StackSnapshot) -> Vec<Value> {
    let all = s.owned.iter().filter(|((kind, _), _)| *kind != Kind::PersistentVolumeClaim);
    all.map(|(_, live)| {
        let mut live = (**live).clone();
        live["metadata"]["resourceVersion"] = json!("");
        live
    })
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_sequence_of_specs_ends_as_the_last_alone(all in prop::collection::vec(specs(), 1..5)) {
        let mut s = fresh(&all[0]);
        for spec in &all {
            change(&mut s, spec);
            settle(&mut s);
        }
        let mut alone = fresh(all.last().unwrap());
        settle(&mut alone);
        prop_assert_eq!(remains(&s), remains(&alone));
        let said = |s: &StackSnapshot| {
            let conditions = s.stack.status.as_result().unwrap().conditions.clone();
            let mut said: Vec<_> = conditions.into_iter().map(|c| (c.type_, c.status, c.reason, c.message)).collect();
            said.sort();
            said
        };
        prop_assert_eq!(said(&s), said(&alone));
    }

    #[test]
    fn a_crash_between_any_two_requests_does_no_harm(spec in specs(), done in 0_usize..40) {
        let mut s = fresh(&spec);
        let mut plan = decide(&s);
        plan.apply.truncate(done);
        plan.status = None;
        carry_out(&mut s, &plan);
        s.memory.answers.clear();
        settle(&mut s);
        let mut alone = fresh(&spec);
        settle(&mut alone);
        prop_assert_eq!(remains(&s), remains(&alone));
    }
}
