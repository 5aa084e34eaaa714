//! The metrics proxy, as applications of every generation find its two doors.
//!
//! Both doors are given at once: which library an application has is not known, and the proxy keeps one truth per run.

use super::exporters::{ProxyDoors, percent_encoded};
use super::spring::{From, Identity, Origin, Variable, plain, variable};

/// Prefixes of the RSocket client: clients 1.x (Boot 2.7 and 3.2), and clients 2.x with the bean of Boot 3.5 and 4.
const RSOCKET: [&str; 2] = ["MANAGEMENT_METRICS_EXPORT_PROMETHEUS_RSOCKET", "MICROMETER_PROMETHEUS_RSOCKET"];
/// Whether there is a Prometheus registry at all: Boot 2, then 3 and 4. The RSocket client needs one.
const REGISTRY: [&str; 2] =
    ["MANAGEMENT_METRICS_EXPORT_PROMETHEUS_ENABLED", "MANAGEMENT_PROMETHEUS_METRICS_EXPORT_ENABLED"];
/// Boot's Pushgateway export, and what its generation calls a POST at the end: Boot 2, then 3 and 4.
const PUSHGATEWAY: [(&str, &str); 2] = [
    ("MANAGEMENT_METRICS_EXPORT_PROMETHEUS_PUSHGATEWAY", "PUSH"),
    ("MANAGEMENT_PROMETHEUS_METRICS_EXPORT_PUSHGATEWAY", "POST"),
];
/// Grouping key of a run: it becomes `task.execution.id` (Boot 2 to 3.5) or `U__task_2e_execution_2e_id` (4) in the
/// path of a push, and the label `task_execution_id` in the proxy.
const GROUPING_KEY: [(&str, From); 5] = [
    ("TASK_NAME", From::TaskName),
    ("TASK_EXECUTION_ID", From::ExecutionId),
    ("TASK_EXTERNAL_EXECUTION_ID", From::ExternalId),
    ("TASK_PARENT_EXECUTION_ID", From::ParentOrUnknown),
    ("TASK_NAMESPACE", From::Namespace),
];
/// A complete URL to push to, for any language.
const PUSH_URL: &str = "MILLRACE_PUSH_URL";

/// What leads an application to the proxy; without one, what keeps the RSocket client from holding the start up for 5 s.
pub fn variables(doors: Option<&ProxyDoors>, identity: &Identity) -> Vec<Variable> {
    let Some(doors) = doors else {
        return RSOCKET.iter().map(|prefix| setting(prefix, "ENABLED", "false")).collect();
    };
    let mut all: Vec<_> = REGISTRY.iter().map(|name| plain(name, "true", Origin::Default)).collect();
    for prefix in RSOCKET {
        all.extend([
            setting(prefix, "ENABLED", "true"),
            setting(prefix, "HOST", &doors.host),
            setting(prefix, "PORT", &doors.port.to_string()),
            setting(prefix, "TRANSPORT", "tcp"),
            // The client's own 10 s are longer than many tasks live.
            setting(prefix, "FIRSTBACKOFF", "500ms"),
            setting(prefix, "MAXBACKOFF", "5s"),
            // For the connection and for the last push; clients 1.x always take 5 s.
            setting(prefix, "TIMEOUT", "5s"),
        ]);
    }
    if let Some(url) = &doors.push {
        let url = url.trim_end_matches('/');
        all.extend(
            PUSHGATEWAY
                .iter()
                .flat_map(|(prefix, at_the_end)| pushgateway(prefix, at_the_end, url, identity)),
        );
        all.push(plain(PUSH_URL, &push_url(url, identity), Origin::Identity));
    }
    all
}

fn setting(prefix: &str, name: &str, value: &str) -> Variable {
    plain(&format!("{prefix}_{name}"), value, Origin::Default)
}

fn pushgateway(prefix: &str, at_the_end: &str, url: &str, identity: &Identity) -> Vec<Variable> {
    let (scheme, address) = url.split_once("://").unwrap_or(("http", url));
    let mut all = vec![
        setting(prefix, "ENABLED", "true"),
        // Up to Boot 3.4 …
        setting(prefix, "BASEURL", url),
        // … and since 3.5.
        setting(prefix, "ADDRESS", address),
        setting(prefix, "JOB", &identity.task_name),
        // Without it nothing is pushed at the end.
        setting(prefix, "SHUTDOWNOPERATION", at_the_end),
    ];
    all.extend((scheme != "http").then(|| setting(prefix, "SCHEME", scheme)));
    all.extend(GROUPING_KEY.iter().filter_map(|(key, from)| {
        let env = variable(&format!("{prefix}_GROUPINGKEY_{key}"), *from, identity)?;
        Some(Variable { env, origin: Origin::Identity })
    }));
    all
}

/// The group of the run that all its series get their identity from. The pod's name is put in by the kubelet.
fn push_url(url: &str, identity: &Identity) -> String {
    let parent = identity.parent_execution_id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
    let task = percent_encoded(&identity.task_name);
    format!(
        "{url}/metrics/job/{task}/task_name/{task}/task_execution_id/{}/task_external_execution_id/{}\
         /task_parent_execution_id/{parent}/task_namespace/{}",
        identity.execution_id,
        super::spring::EXTERNAL_ID,
        percent_encoded(&identity.namespace),
    )
}

#[cfg(test)]
mod tests {
    use super::super::spring::identity_key;
    use super::*;

    fn run() -> Identity {
        let (task_name, namespace) = ("Nightly_Import".into(), "batch".into());
        Identity { task_name, execution_id: 42, parent_execution_id: None, namespace }
    }

    fn doors() -> ProxyDoors {
        ProxyDoors { host: "metrics-proxy.batch.svc".into(), port: 7001, push: Some("http://p:9091".into()) }
    }

    fn lines(all: &[Variable]) -> Vec<String> {
        all.iter().map(|v| format!("{}={}", v.env.name, v.env.value.as_deref().unwrap_or("?"))).collect()
    }

    #[test]
    fn both_doors_are_open_to_every_generation() {
        insta::assert_snapshot!(lines(&variables(Some(&doors()), &run())).join("\n"));
    }

    #[test]
    fn without_a_proxy_only_the_client_is_switched_off() {
        assert_eq!(lines(&variables(None, &run())), RSOCKET.map(|prefix| format!("{prefix}_ENABLED=false")));
    }

    #[test]
    fn a_proxy_without_a_push_door_gets_no_pushes() {
        let doors = ProxyDoors { push: None, ..doors() };
        let all = lines(&variables(Some(&doors), &run()));
        assert!(all.iter().any(|line| line == "MICROMETER_PROMETHEUS_RSOCKET_PORT=7001"));
        assert!(all.iter().all(|line| !line.contains("PUSH")), "{all:?}");
    }

    #[test]
    fn an_address_is_a_url_without_its_scheme() {
        let doors = ProxyDoors { push: Some("https://push.example.com/a/".into()), ..doors() };
        let all = lines(&variables(Some(&doors), &run()));
        for line in ["_BASEURL=https://push.example.com/a", "_ADDRESS=push.example.com/a", "_SCHEME=https"] {
            assert!(all.iter().any(|l| l.ends_with(&format!("PUSHGATEWAY{line}"))), "{line} in {all:?}");
        }
    }

    #[test]
    fn names_that_mean_something_in_a_url_stay_names() {
        let mut identity = run();
        identity.task_name = "a/b c".into();
        identity.parent_execution_id = Some(7);
        let all = lines(&variables(Some(&doors()), &identity));
        let url = all.iter().find_map(|line| line.strip_prefix("MILLRACE_PUSH_URL=")).unwrap();
        assert_eq!(
            url,
            "http://p:9091/metrics/job/a%2Fb%20c/task_name/a%2Fb%20c/task_execution_id/42/task_external_execution_id/\
             $(MILLRACE_EXTERNAL_EXECUTION_ID)/task_parent_execution_id/7/task_namespace/batch"
        );
    }

    #[test]
    fn who_a_push_is_of_is_reserved() {
        let all = variables(Some(&doors()), &run());
        let (identity, others): (Vec<_>, Vec<_>) = all.iter().partition(|v| v.origin == Origin::Identity);
        assert_eq!(identity.len(), 2 * GROUPING_KEY.len() + 1);
        assert!(identity.iter().all(|v| identity_key(&v.env.name)));
        assert!(!others.iter().any(|v| identity_key(&v.env.name)));
    }
}
