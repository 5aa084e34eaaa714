//! Objects as they are built.

use k8s_openapi::api::{
    apps::v1 as apps, core::v1 as core, networking::v1 as networking, policy::v1 as policy, rbac::v1 as rbac,
};
use serde_json::{Value, json};

use super::{built, built_with, everything, external, find};
use crate::monitoring::TaskFilter;
use crate::monitoring::object::{Kind, Object};

/// Objects as YAML, without long texts that have tests of their own, and without digests, which follow them.
fn shown(mut objects: Vec<Object>) -> String {
    for object in &mut objects {
        for pointer in [
            "/metadata/annotations/millrace.dev~1applied",
            "/spec/template/metadata/annotations/millrace.dev~1configuration",
        ] {
            if let Some(digest) = object.body.pointer_mut(pointer) {
                assert_eq!(digest.as_str().unwrap().len(), 16);
                *digest = json!("(digest)");
            }
        }
        for (key, text) in object.body.get_mut("data").and_then(Value::as_object_mut).into_iter().flatten() {
            if ["tasks.json", "tasks-influxdb.json", "millrace.json", "rules.yml", "prometheus.yml"]
                .contains(&key.as_str())
            {
                assert!(!text.as_str().unwrap().is_empty());
                *text = json!("(text)");
            }
        }
        if object.kind == Kind::PrometheusRule {
            assert!(!object.body["spec"]["groups"].as_array().unwrap().is_empty());
            object.body["spec"]["groups"] = json!("(rules)");
        }
    }
    let bodies = objects.iter().map(|object| serde_yaml::to_string(&object.body).unwrap());
    bodies.collect::<Vec<_>>().join("---\n")
}

#[test]
fn an_empty_spec_is_prometheus_proxy_and_grafana() {
    insta::assert_snapshot!(shown(built(&json!({}))));
}

#[test]
fn everything_at_once() {
    let filters = [TaskFilter {
        namespace: "team-b".to_owned(),
        task: "nightly".to_owned(),
        keep: vec!["app_.*".to_owned()],
        drop: Vec::new(),
        definition: "d".to_owned(),
    }];
    insta::assert_snapshot!(shown(built_with(&everything(), &filters)));
}

#[test]
fn what_others_run_gets_what_it_needs() {
    insta::assert_snapshot!(shown(built(&external())));
}

fn all_specs() -> [Value; 4] {
    let ephemeral = json!({"ephemeral": true});
    let small = json!({
        "prometheus": {"storage": ephemeral}, "proxy": {"storage": ephemeral, "replicas": 3},
        "influxdb": {"mode": "Managed", "storage": ephemeral},
    });
    [json!({}), everything(), external(), small]
}

fn templates(objects: &[Object]) -> impl Iterator<Item = (&str, &Value)> {
    let all = objects.iter().filter_map(|o| Some((o.name.as_str(), o.body.pointer("/spec/template")?)));
    all.inspect(|(name, template)| assert!(template["spec"]["containers"][0]["image"].is_string(), "{name}"))
}

/// Pod Security Standards, level restricted, and what we ask of ourselves beyond it.
#[test]
fn every_pod_is_restricted() {
    let mut seen = 0;
    for spec in all_specs() {
        for (name, template) in templates(&built(&spec)) {
            seen += 1;
            let pod = &template["spec"];
            for field in ["hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"] {
                assert!(pod[field].is_null(), "{name}: {field}");
            }
            let security = &pod["securityContext"];
            assert_eq!(security["runAsNonRoot"], json!(true), "{name}");
            assert!(security["runAsUser"].as_i64().unwrap() > 0, "{name}");
            assert_eq!(security["fsGroup"], security["runAsUser"], "{name}");
            assert_eq!(security["seccompProfile"], json!({"type": "RuntimeDefault"}), "{name}");
            assert_eq!(pod["automountServiceAccountToken"], json!(name == "prometheus"), "{name}");
            assert_eq!(pod["enableServiceLinks"], json!(false), "{name}");
            for volume in pod["volumes"].as_array().unwrap() {
                let kinds: Vec<&String> =
                    volume.as_object().unwrap().keys().filter(|k| *k != "name").collect();
                let [kind] = kinds[..] else { panic!("{name}: {volume}") };
                assert!(
                    ["configMap", "emptyDir", "persistentVolumeClaim"].contains(&kind.as_str()),
                    "{name}"
                );
            }
            for container in pod["containers"].as_array().unwrap() {
                let wanted = json!({
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                });
                assert_eq!(container["securityContext"], wanted, "{name}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
                assert!(!container["resources"]["requests"]["cpu"].is_null(), "{name}");
                let ports = container["ports"].as_array().unwrap();
                assert!(ports.iter().all(|port| port["hostPort"].is_null()), "{name}");
            }
        }
    }
    assert!(seen >= 10, "{seen}");
}

#[test]
fn nothing_reaches_beyond_the_namespace() {
    for spec in all_specs() {
        for object in built(&spec) {
            let text = object.body.to_string();
            assert_eq!(object.body["metadata"]["namespace"], json!("team-a"));
            assert_ne!(object.body["spec"]["type"], json!("LoadBalancer"));
            assert!(object.body["spec"]["externalIPs"].is_null());
            assert!(!text.contains("ClusterRole") && !text.contains("hostPath"), "{text}");
            if object.kind == Kind::Role {
                assert_eq!(
                    object.body["rules"],
                    json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}])
                );
            }
        }
    }
}

#[test]
fn prometheus_can_only_be_read() {
    let objects = built(&everything());
    let args =
        find(&objects, Kind::StatefulSet, "prometheus")["spec"]["template"]["spec"]["containers"][0]["args"]
            .to_string();
    assert!(
        !args.contains("lifecycle") && !args.contains("admin") && !args.contains("remote-write"),
        "{args}"
    );
}

/// A pod that asks for something, by namespace and labels.
struct Caller {
    namespace: &'static str,
    labels: Value,
}

/// Which stack, its objects, a part, a port, and who may reach it.
type Row<'a> = (&'static str, &'a [Object], &'static str, i64, Vec<&'static str>);

/// As a network plugin reads the policies of team-a.
fn may_reach(objects: &[Object], caller: &Caller, part: &str, number: i64) -> bool {
    let fits = |selector: &Value, labels: &Value| {
        let all = selector["matchLabels"].as_object();
        let fits = all.is_none_or(|all| all.iter().all(|(key, value)| labels[key] == *value));
        let expressions = selector["matchExpressions"].as_array();
        fits && expressions.is_none_or(|all| {
            all.iter().all(|one| {
                assert_eq!(one["operator"], json!("Exists"));
                !labels[one["key"].as_str().unwrap()].is_null()
            })
        })
    };
    let target = json!({"app.kubernetes.io/component": part, "millrace.dev/monitoring": "monitoring"});
    let policies = objects.iter().filter(|o| o.kind == Kind::NetworkPolicy);
    let ours: Vec<&Object> = policies.filter(|o| fits(&o.body["spec"]["podSelector"], &target)).collect();
    assert!(!ours.is_empty(), "{part} is open to all");
    ours.iter().flat_map(|o| o.body["spec"]["ingress"].as_array().unwrap()).any(|rule| {
        let open = rule["ports"].as_array().unwrap().iter().any(|p| p["port"] == json!(number));
        let from = rule["from"].as_array();
        open && from.is_none_or(|peers| {
            assert!(!peers.is_empty(), "an empty list means everybody");
            peers.iter().any(|peer| {
                let namespace = match peer.get("namespaceSelector") {
                    None => caller.namespace == "team-a",
                    Some(selector) => {
                        fits(selector, &json!({"kubernetes.io/metadata.name": caller.namespace}))
                    }
                };
                namespace && peer.get("podSelector").is_none_or(|selector| fits(selector, &caller.labels))
            })
        })
    })
}

#[test]
fn who_may_reach_which_port() {
    let part = |component: &str| Caller {
        namespace: "team-a",
        labels: json!({"app.kubernetes.io/component": component, "millrace.dev/monitoring": "monitoring"}),
    };
    let task = |namespace| Caller { namespace, labels: json!({"millrace.dev/launch": "l"}) };
    let callers = [
        ("Prometheus", part("prometheus")),
        ("Grafana", part("grafana")),
        ("task", task("team-a")),
        ("task elsewhere", task("team-b")),
        ("operator", Caller { namespace: "millrace-system", labels: json!({}) }),
        ("other", Caller { namespace: "team-a", labels: json!({"app": "x"}) }),
        ("other elsewhere", Caller { namespace: "team-b", labels: json!({"app": "x"}) }),
    ];
    let doors = [("metrics-proxy", 7001), ("metrics-proxy", 8081), ("metrics-proxy", 9091)];
    let default = built(&json!({"influxdb": {"mode": "Managed"}}));
    let cluster = built(&json!({"scope": "Cluster", "influxdb": {"mode": "Managed"}}));
    let open = built(&json!({"proxy": {"service": {"type": "NodePort"}}}));
    let external = built(&external());
    let everybody: Vec<&str> = callers.iter().map(|(name, _)| *name).collect();
    let mut table: Vec<Row<'_>> = Vec::new();
    for (name, port) in doors {
        table.push(("default", &default, name, port, vec!["task"]));
        table.push(("cluster", &cluster, name, port, vec!["task", "task elsewhere"]));
        table.push(("open", &open, name, port, everybody.clone()));
    }
    table.extend([
        ("default", &default[..], "metrics-proxy", 8080, vec!["Prometheus", "operator"]),
        ("open", &open, "metrics-proxy", 8080, vec!["Prometheus", "operator"]),
        ("external", &external, "metrics-proxy", 8080, everybody.clone()),
        ("default", &default, "prometheus", 9090, vec!["Grafana"]),
        ("cluster", &cluster, "prometheus", 9090, vec!["Grafana"]),
        ("default", &default, "grafana", 3000, everybody.clone()),
        ("default", &default, "influxdb", 8086, vec!["Grafana", "task"]),
        ("cluster", &cluster, "influxdb", 8086, vec!["Grafana", "task", "task elsewhere"]),
        ("default", &default, "influxdb", 8088, vec![]),
        ("default", &default, "grafana", 9094, vec![]),
    ]);
    for (what, objects, part, port, wanted) in table {
        let mut allowed: Vec<&str> = callers
            .iter()
            .filter(|(_, caller)| may_reach(objects, caller, part, port))
            .map(|(name, _)| *name)
            .collect();
        let mut wanted = wanted;
        allowed.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(allowed, wanted, "{what}: {part}:{port}");
    }
}

#[test]
fn a_change_of_configuration_rolls_the_pods_that_read_it() {
    let digest = |spec: &Value, kind, name| {
        let objects = built(spec);
        let template = &find(&objects, kind, name)["spec"]["template"];
        template["metadata"]["annotations"]["millrace.dev/configuration"].as_str().unwrap().to_owned()
    };
    let prometheus = |spec: &Value| digest(spec, Kind::StatefulSet, "prometheus");
    assert_ne!(prometheus(&json!({})), prometheus(&json!({"prometheus": {"scrapeIntervalSeconds": 5}})));
    let grafana = |spec: &Value| digest(spec, Kind::Deployment, "grafana");
    assert_ne!(grafana(&json!({})), grafana(&json!({"influxdb": {"mode": "Managed"}})));
    assert_eq!(grafana(&json!({})), grafana(&json!({"proxy": {"replicas": 2}})));
}

/// One that Kubernetes starts in order waits for ever for a pod that can never be ready, also when its image was put right.
#[test]
fn a_set_replaces_pods_that_cannot_start() {
    let objects = built(&everything());
    for part in ["prometheus", "metrics-proxy", "influxdb"] {
        let set = find(&objects, Kind::StatefulSet, part);
        assert_eq!(set["spec"]["podManagementPolicy"], "Parallel", "{part}");
    }
}

#[test]
fn a_larger_volume_touches_no_field_that_cannot_change() {
    let set = |size: &str| {
        let objects = built(&json!({"proxy": {"storage": {"size": size}}}));
        let claim = find(&objects, Kind::PersistentVolumeClaim, "data-metrics-proxy-0");
        assert_eq!(claim["spec"]["resources"]["requests"]["storage"], json!(size));
        let set = find(&objects, Kind::StatefulSet, "metrics-proxy")["spec"].clone();
        ["volumeClaimTemplates", "selector", "serviceName", "podManagementPolicy"].map(|f| set[f].clone())
    };
    let (small, large) = (set("8Gi"), set("20Gi"));
    assert_eq!(small, large);
    assert!(small.iter().all(|field| !field.is_null()));
}

#[test]
fn the_proxys_limits_follow_its_volume_and_memory() {
    let args = |proxy: Value| {
        let objects = built(&json!({"proxy": proxy}));
        let set = find(&objects, Kind::StatefulSet, "metrics-proxy");
        set["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap().clone()
    };
    let all = args(json!({"storage": {"size": "5Gi"}}));
    assert!(all.contains(&json!("--disk-max=4294967296")), "{all:?}");
    assert!(all.contains(&json!("--memory-max=268435456")), "{all:?}");
    let all = args(json!({"resources": {"limits": {"memory": "1Gi"}}, "storage": {"size": "1Mi"}}));
    assert!(all.contains(&json!("--disk-max=16777216")), "{all:?}");
    assert!(all.contains(&json!("--memory-max=536870912")), "{all:?}");
    let all = args(json!({"resources": {"requests": {"memory": "1Gi"}}}));
    assert!(!all.iter().any(|arg| arg.as_str().unwrap().starts_with("--memory-max")), "{all:?}");
}

#[test]
fn dashboards_follow_what_has_the_metrics() {
    let files = |spec: &Value| {
        let objects = built(spec);
        let data = find(&objects, Kind::ConfigMap, "grafana-dashboards")["data"].as_object().unwrap();
        let size: usize = data.values().map(|text| text.as_str().unwrap().len()).sum();
        assert!(size < 900 << 10, "a ConfigMap holds a mebibyte: {size}");
        let uid = |text: &Value| {
            let board: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
            board["uid"].as_str().unwrap().to_owned()
        };
        data.iter().map(|(file, text)| (file.clone(), uid(text))).collect::<Vec<_>>()
    };
    let names = |files: Vec<(String, String)>| files.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(files(&json!({}))), ["millrace.json", "tasks.json"]);
    let both = files(&json!({"influxdb": {"mode": "Managed"}}));
    let uids: std::collections::BTreeSet<_> = both.iter().map(|(_, uid)| uid.clone()).collect();
    assert_eq!(uids.len(), 3, "{both:?}");
    let alone = files(&json!({"influxdb": {"mode": "Managed"}, "prometheus": {"mode": "Disabled"}}));
    assert_eq!(alone, [("tasks-influxdb.json".to_owned(), "scdf-tasks".to_owned())]);
}

/// What Kubernetes' own types make of an object: a misspelt field would be lost.
fn as_kubernetes_reads(object: &Object) -> Option<Value> {
    fn read<T: serde::de::DeserializeOwned + serde::Serialize>(body: &Value) -> Value {
        json!(serde_json::from_value::<T>(body.clone()).unwrap())
    }
    let body = &object.body;
    Some(match object.kind {
        Kind::Secret => read::<core::Secret>(body),
        Kind::ServiceAccount => read::<core::ServiceAccount>(body),
        Kind::Role => read::<rbac::Role>(body),
        Kind::RoleBinding => read::<rbac::RoleBinding>(body),
        Kind::ConfigMap => read::<core::ConfigMap>(body),
        Kind::PersistentVolumeClaim => read::<core::PersistentVolumeClaim>(body),
        Kind::NetworkPolicy => read::<networking::NetworkPolicy>(body),
        Kind::Service => read::<core::Service>(body),
        Kind::PodDisruptionBudget => read::<policy::PodDisruptionBudget>(body),
        Kind::StatefulSet => read::<apps::StatefulSet>(body),
        Kind::Deployment => read::<apps::Deployment>(body),
        Kind::ServiceMonitor | Kind::PrometheusRule | Kind::GrafanaDashboard => return None,
    })
}

/// Paths of all values.
fn leaves(value: &Value, path: &str, into: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| leaves(value, &format!("{path}/{key}"), into));
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, value)| leaves(value, &format!("{path}/{n}"), into));
        }
        leaf => into.push((path.to_owned(), leaf.clone())),
    }
}

#[test]
fn kubernetes_knows_every_field() {
    let mut kinds = std::collections::BTreeSet::new();
    for spec in all_specs() {
        for object in built(&spec) {
            let Some(read) = as_kubernetes_reads(&object) else { continue };
            kinds.insert(object.kind);
            let (mut said, mut understood) = (Vec::new(), Vec::new());
            leaves(&object.body, "", &mut said);
            leaves(&read, "", &mut understood);
            let lost: Vec<_> = said.iter().filter(|leaf| !understood.contains(leaf)).collect();
            assert!(lost.is_empty(), "{:?} {}: {lost:?}", object.kind, object.name);
        }
    }
    assert!(Kind::WATCHED.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
}
