//! Texts that would like to be more than texts. The CRD refuses most of them; builders do not rely on it.

use serde_json::{Value, json};

use super::{built, built_with, find, fresh, settle};
use crate::api::conditions;
use crate::monitoring::object::{Kind, Object};
use crate::monitoring::{StackSnapshot, TaskFilter, decide};
use crate::proxy::exposition::TaskFilters;

const TEXTS: [&str; 9] = [
    "a\nscrape_configs: []",
    "'\"]}\n- job_name: evil",
    "$(HOME)",
    "${HOME} $HOME",
    "$__file{/etc/passwd}",
    "$__env{PATH}",
    "*x &y !!z # no",
    "{{ template }}",
    "--web.enable-lifecycle",
];

/// What Grafana makes of a text in a provisioning file, and Kubernetes of one in a variable: `$$` is a dollar, and
/// any other dollar begins something.
fn expanded(text: &str) -> String {
    let parts: Vec<&str> = text.split("$$").collect();
    assert!(parts.iter().all(|part| !part.contains('$')), "{text} would be expanded");
    parts.join("$")
}

fn yaml(objects: &[Object], config_map: &str, file: &str) -> Value {
    let text = find(objects, Kind::ConfigMap, config_map)["data"][file].as_str().unwrap();
    serde_yaml::from_str(text).unwrap()
}

fn variable(objects: &[Object], kind: Kind, workload: &str, name: &str) -> Value {
    let container = &find(objects, kind, workload)["spec"]["template"]["spec"]["containers"][0];
    let all = container["env"].as_array().unwrap();
    all.iter().find(|one| one["name"] == json!(name)).unwrap()["value"].clone()
}

#[test]
fn grafanas_data_sources_stay_what_they_are() {
    for evil in TEXTS {
        let objects = built(&json!({
            "prometheus": {"mode": "External", "external": {"url": evil}},
            "influxdb": {"mode": "External", "external": {"url": evil, "version": "V2", "org": evil, "bucket": evil,
                "token": {"name": "n", "key": "k"}}},
        }));
        let file = yaml(&objects, "grafana", "datasources.yaml");
        let sources = file["datasources"].as_array().unwrap();
        assert_eq!(sources.len(), 2, "{evil}");
        assert_eq!(sources[0]["uid"], json!("prometheus"));
        assert_eq!(sources[1]["uid"], json!("influxdb"));
        for source in sources {
            assert_eq!(expanded(source["url"].as_str().unwrap()), evil);
        }
        assert_eq!(expanded(sources[1]["jsonData"]["dbName"].as_str().unwrap()), evil);
        assert_eq!(sources[1]["secureJsonData"], json!({"httpHeaderValue1": "Token $INFLUXDB_TOKEN"}));
    }
}

#[test]
fn prometheus_configuration_stays_what_it_is() {
    for evil in TEXTS {
        let objects = built(&json!({
            "prometheus": {"alertmanagers": [evil], "retention": {"time": evil, "size": evil}},
            "proxy": {"mode": "External", "external": {"host": evil}},
        }));
        let file = yaml(&objects, "prometheus", "prometheus.yml");
        let plain = yaml(&built(&json!({})), "prometheus", "prometheus.yml");
        let jobs = |file: &Value| file["scrape_configs"].as_array().unwrap().len();
        assert_eq!(jobs(&file), jobs(&plain), "{evil}");
        assert_eq!(file["global"], plain["global"], "{evil}");
        let set = find(&objects, Kind::StatefulSet, "prometheus");
        let args = set["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
        let given: Vec<String> = args.iter().map(|arg| expanded(arg.as_str().unwrap())).collect();
        assert!(given.contains(&format!("--storage.tsdb.retention.time={evil}")), "{given:?}");
        assert!(!given.contains(&evil.to_owned()), "{given:?}");
    }
}

#[test]
fn patterns_and_filters_stay_what_they_are() {
    for evil in TEXTS {
        let text = evil.to_owned();
        let filters = [TaskFilter {
            namespace: text.clone(),
            task: text.clone(),
            keep: vec![text.clone()],
            drop: vec![text.clone()],
            definition: text.clone(),
        }];
        let objects = built_with(&json!({"metrics": {"keep": [evil], "drop": [evil, "b"]}}), &filters);
        let keep = variable(&objects, Kind::StatefulSet, "metrics-proxy", "MILLRACE_KEEP");
        assert_eq!(expanded(keep.as_str().unwrap()), evil);
        let drop = variable(&objects, Kind::StatefulSet, "metrics-proxy", "MILLRACE_DROP");
        assert_eq!(expanded(drop.as_str().unwrap()), format!("{evil} b"));
        let read = yaml(&objects, "metrics-proxy", "filters.json");
        assert_eq!(read, json!([{"namespace": evil, "task": evil, "keep": [evil], "drop": [evil]}]));
    }
}

#[test]
fn grafanas_address_stays_what_it_is() {
    for evil in TEXTS {
        let objects = built(&json!({"grafana": {"externalURL": evil}}));
        let url = variable(&objects, Kind::Deployment, "grafana", "GF_SERVER_ROOT_URL");
        // Kubernetes reads it first, Grafana what is left.
        let first = url.as_str().unwrap().replace("$$", "\u{0}");
        assert!(!first.contains('$'), "{url}");
        assert_eq!(expanded(&first.replace('\u{0}', "$")), evil);
    }
}

/// Labels that a user adds for a Prometheus or Grafana of their own cannot make an object another stack's.
#[test]
fn labels_of_others_do_not_hide_whose_an_object_is() {
    let labels =
        json!({"millrace.dev/monitoring": "other", "app.kubernetes.io/component": "x", "release": "r"});
    let objects = built(&json!({
        "prometheus": {"mode": "External", "external": {"url": "http://p:9090", "discovery": "ServiceMonitor", "labels": labels}},
        "grafana": {"mode": "External", "external": {"url": "http://g:3000", "labels": labels}},
    }));
    let monitor = find(&objects, Kind::ServiceMonitor, "millrace-monitoring");
    let dashboards = find(&objects, Kind::ConfigMap, "grafana-dashboards");
    for (object, part) in [(monitor, "prometheus"), (dashboards, "grafana")] {
        let labels = &object["metadata"]["labels"];
        assert_eq!(labels["millrace.dev/monitoring"], json!("monitoring"));
        assert_eq!(labels["app.kubernetes.io/component"], json!(part));
        assert_eq!(labels["release"], json!("r"));
    }
}

/// What many definitions say at once must not keep the ConfigMap, and with it the proxy, from being written, nor the
/// proxy from reading it.
#[test]
fn filters_fit_into_a_config_map_and_the_proxy_reads_them() {
    for (count, patterns, least) in
        [(100, vec!["x".repeat(256); 64], 50), (12_000, vec!["x".to_owned()], 9_000)]
    {
        let objects = built_with(&json!({}), &many(count, &patterns));
        let text = find(&objects, Kind::ConfigMap, "metrics-proxy")["data"]["filters.json"].as_str().unwrap();
        assert!(text.len() < 1 << 20, "{}", text.len());
        let (read, wrong) = TaskFilters::parse(text.as_bytes()).unwrap();
        assert!(
            read.tasks() > least && read.tasks() < count && wrong.is_empty(),
            "{} {wrong:?}",
            read.tasks()
        );
    }
}

fn many(count: usize, keep: &[String]) -> Vec<TaskFilter> {
    let filter = |n: usize| TaskFilter {
        namespace: "b".to_owned(),
        task: format!("t{n}"),
        keep: keep.to_vec(),
        drop: Vec::new(),
        definition: format!("definition-{n}"),
    };
    (0..count).map(filter).collect()
}

#[test]
fn definitions_whose_patterns_have_no_room_are_told_and_healed() {
    let mut s = fresh(&json!({}));
    let said = |s: &StackSnapshot| {
        let plan = decide(s);
        let status =
            plan.status.map_or_else(|| s.stack.status.as_result().unwrap().clone(), |status| *status);
        let condition = conditions::find(&status.conditions, "PatternsApplied").cloned();
        (condition.map(|c| (c.status, c.reason, c.message)), plan.warnings.len())
    };
    s.filters = many(60, &vec!["x".repeat(256); 64]);
    assert_eq!(
        said(&s).0.map(|(status, reason, _)| (status, reason)),
        Some(("False".to_owned(), "TooManyPatterns".to_owned()))
    );
    let (told, warnings) = said(&s);
    let sentence = told.unwrap().2;
    assert!(sentence.starts_with("the patterns of 5 of 60 definitions have no room"), "{sentence}");
    assert!(
        sentence.contains(": b/definition-55, b/definition-56, b/definition-57 and 2 more; shorten"),
        "{sentence}"
    );
    assert_eq!(warnings, 1);
    settle(&mut s);
    assert_eq!(said(&s).1, 0);
    s.filters.truncate(55);
    assert_eq!(said(&s), (None, 0));
}
