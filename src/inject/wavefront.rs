//! Wavefront, as Boot 2 and 3 read it; Boot 4 has dropped it, because the product has reached the end of its life.

use super::exporters::WavefrontSender;
use super::spring::{EXTERNAL_ID, From, Identity, Origin, Variable, plain, secret, variable};

/// Where Boot 2 has all its settings, and Boot 3 those of the sender.
const PREFIXES: [&str; 2] = ["MANAGEMENT_METRICS_EXPORT_WAVEFRONT", "MANAGEMENT_WAVEFRONT"];
/// The switch: Boot 2, then 3.
const ENABLED: [&str; 2] =
    ["MANAGEMENT_METRICS_EXPORT_WAVEFRONT_ENABLED", "MANAGEMENT_WAVEFRONT_METRICS_EXPORT_ENABLED"];
/// Two tags that Boot 3 puts on all of Wavefront's metrics over what everybody else gets; without these settings they
/// say `unnamed_application` and `unnamed_service`.
const APPLICATION: [(&str, From); 2] = [
    ("MANAGEMENT_WAVEFRONT_APPLICATION_NAME", From::Application),
    ("MANAGEMENT_WAVEFRONT_APPLICATION_SERVICENAME", From::Service),
];
/// The token on its way into both: see [`variables`].
const TOKEN: &str = "MILLRACE_WAVEFRONT_TOKEN";

/// What leads an application to Wavefront; without it the exporter is left as the application has it.
///
/// The token is referred to by the kubelet's `$(…)`. Where its Secret is missing, this text stays and Wavefront refuses
/// the metrics; with no token at all Micrometer refuses to start ("apiToken must be set"), and the task with it.
pub fn variables(wavefront: Option<&WavefrontSender>, identity: &Identity) -> Vec<Variable> {
    let Some(wavefront) = wavefront else { return Vec::new() };
    let set = |name: &str, value: &str| plain(name, value, Origin::Default);
    let source = wavefront.source.as_deref().unwrap_or(EXTERNAL_ID);
    let mut all: Vec<_> = wavefront.token.iter().map(|token| secret(TOKEN, token)).collect();
    all.extend(ENABLED.iter().map(|name| set(name, "true")));
    for prefix in PREFIXES {
        all.extend([set(&format!("{prefix}_URI"), &wavefront.url), set(&format!("{prefix}_SOURCE"), source)]);
        if wavefront.token.is_some() {
            all.push(set(&format!("{prefix}_APITOKEN"), &format!("$({TOKEN})")));
        }
    }
    all.extend(APPLICATION.iter().filter_map(|(name, from)| {
        Some(Variable { env: variable(name, *from, identity)?, origin: Origin::Default })
    }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::task_monitoring::SecretKey;

    fn run() -> Identity {
        let (task_name, namespace) = ("task1".into(), "batch".into());
        Identity { task_name, execution_id: 42, parent_execution_id: None, namespace }
    }

    #[test]
    fn both_generations_know_where_to_and_whose() {
        let token = Some(SecretKey { name: "wavefront".into(), key: "token".into() });
        let sender = WavefrontSender { url: "https://example.wavefront.com".into(), source: None, token };
        let all: Vec<_> = variables(Some(&sender), &run()).into_iter().map(|v| v.env).collect();
        insta::assert_yaml_snapshot!(all);
    }

    #[test]
    fn a_wavefront_proxy_needs_no_token() {
        let (url, source) = ("proxy://wavefront:2878".into(), Some("tasks".into()));
        let all = variables(Some(&WavefrontSender { url, source, token: None }), &run());
        let names: Vec<_> = all.iter().map(|v| v.env.name.as_str()).collect();
        assert!(!names.iter().any(|name| name.contains("TOKEN")), "{names:?}");
        let sources = all.iter().filter(|v| v.env.value.as_deref() == Some("tasks"));
        assert_eq!(sources.count(), 2, "one for each generation");
    }

    #[test]
    fn without_it_the_application_is_left_alone() {
        assert_eq!(variables(None, &run()), []);
    }
}
