//! The one table of what a run's container gets (contract §4), readable next to what was measured with real
//! applications of Spring Boot 2.7, 3.2, 3.5 and 4.0.
//!
//! All dialects are given at once: the sets do not collide and unknown names are ignored by every generation.
//! Never `SPRING_APPLICATION_JSON` (it belongs to the user, and would hide the image's as a whole), never
//! `SPRING_CLOUD_TASK_EXECUTIONID` (an application without that row in its database fails to start).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, SecretKeySelector};

use crate::api::task_definition::BootVersion;
use crate::api::task_monitoring::SecretKey;

/// Who a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `task.name`.
    pub task_name: String,
    /// `task.execution.id`.
    pub execution_id: i64,
    /// `task.parent.execution.id`.
    pub parent_execution_id: Option<i64>,
    /// `task.namespace`.
    pub namespace: String,
}

/// What a variable's value is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Name of the pod, by the downward API.
    Pod,
    /// The same, through the variable above it in the list: the kubelet expands it.
    ExternalId,
    TaskName,
    ExecutionId,
    /// The parent's execution id; without a parent the variable is left out. (Spring Cloud Task takes only
    /// a number here: anything else ends the application at its start.)
    Parent,
    /// The parent's execution id, else `unknown`, as SCDF had it.
    ParentOrUnknown,
    Namespace,
    /// `<task name>-<execution id>`, as SCDF had it.
    Application,
    /// What all tasks have in common, as SCDF had it.
    Service,
    Word(&'static str),
}

/// Whether a user's setting wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Identity: nobody else may set it.
    Identity,
    /// A default: the definition's or launch's own setting wins.
    Default,
}

/// A variable for the task's container.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Name and value.
    pub env: EnvVar,
    /// Whether a user's setting wins over it.
    pub origin: Origin,
}

/// Name, value, Spring generations that read it (measured), who wins.
const TABLE: &[(&str, From, Origin)] = &[
    // Any language. The pod's name comes first, since later rows refer to it.
    ("MILLRACE_EXTERNAL_EXECUTION_ID", From::Pod, Origin::Identity),
    ("MILLRACE_TASK_NAME", From::TaskName, Origin::Identity),
    ("MILLRACE_EXECUTION_ID", From::ExecutionId, Origin::Identity),
    ("MILLRACE_PARENT_EXECUTION_ID", From::Parent, Origin::Identity),
    ("MILLRACE_NAMESPACE", From::Namespace, Origin::Identity),
    // Tags of all meters: Boot 3 and 4, and Boot 2 where Spring Cloud Task's own configuration is excluded.
    ("MANAGEMENT_METRICS_TAGS_TASK_NAME", From::TaskName, Origin::Identity),
    ("MANAGEMENT_METRICS_TAGS_TASK_EXECUTION_ID", From::ExecutionId, Origin::Identity),
    ("MANAGEMENT_METRICS_TAGS_TASK_EXTERNAL_EXECUTION_ID", From::ExternalId, Origin::Identity),
    ("MANAGEMENT_METRICS_TAGS_TASK_PARENT_EXECUTION_ID", From::ParentOrUnknown, Origin::Identity),
    ("MANAGEMENT_METRICS_TAGS_TASK_NAMESPACE", From::Namespace, Origin::Identity),
    ("MANAGEMENT_METRICS_TAGS_APPLICATION", From::Application, Origin::Default),
    ("MANAGEMENT_METRICS_TAGS_SERVICE", From::Service, Origin::Default),
    // Spring Cloud Task's own: its repository's row, its meters, and the tags of Boot 2.
    ("SPRING_CLOUD_TASK_NAME", From::TaskName, Origin::Identity),
    ("SPRING_CLOUD_TASK_EXTERNAL_EXECUTION_ID", From::ExternalId, Origin::Identity),
    ("SPRING_CLOUD_TASK_PARENT_EXECUTION_ID", From::Parent, Origin::Identity),
    // The RSocket starter makes a task a web application; without this its JVM never ends.
    ("SPRING_CLOUD_TASK_CLOSECONTEXTENABLED", From::Word("true"), Origin::Default),
];

/// The pod's name, once the kubelet has put it in.
pub(super) const EXTERNAL_ID: &str = "$(MILLRACE_EXTERNAL_EXECUTION_ID)";

/// Class that makes Spring Cloud Task 2 put its own `task.execution.id` (always `unknown` here) on all meters.
/// It does not exist in later generations, where excluding it is harmless.
pub const TASK_METRICS_CONFIGURATION: &str =
    "org.springframework.cloud.task.configuration.MetricsAutoConfiguration";
/// Variable that excludes configurations.
pub const EXCLUDE: &str = "SPRING_AUTOCONFIGURE_EXCLUDE";

/// All variables of a run, in the order in which the kubelet may expand them.
pub fn variables(
    identity: &Identity,
    tags: &BTreeMap<String, String>,
    boot_version: Option<BootVersion>,
) -> Vec<Variable> {
    let fixed = TABLE.iter().filter_map(|(name, from, origin)| {
        Some(Variable { env: variable(name, *from, identity)?, origin: *origin })
    });
    let tags = tags.iter().map(|(key, value)| Variable {
        env: text(&format!("MANAGEMENT_METRICS_TAGS_{}", env_name(key)), value.clone()),
        origin: Origin::Default,
    });
    let exclude = (boot_version == Some(BootVersion::Two)).then(|| Variable {
        env: text(EXCLUDE, TASK_METRICS_CONFIGURATION.to_owned()),
        origin: Origin::Default,
    });
    fixed.chain(tags).chain(exclude).collect()
}

pub(super) fn variable(name: &str, from: From, identity: &Identity) -> Option<EnvVar> {
    let value = match from {
        From::Pod => {
            let pod_name = ObjectFieldSelector { field_path: "metadata.name".into(), api_version: None };
            let source = EnvVarSource { field_ref: Some(pod_name), ..EnvVarSource::default() };
            return Some(EnvVar { name: name.into(), value: None, value_from: Some(source) });
        }
        From::ExternalId => EXTERNAL_ID.to_owned(),
        From::TaskName => identity.task_name.clone(),
        From::ExecutionId => identity.execution_id.to_string(),
        From::Parent => identity.parent_execution_id?.to_string(),
        From::ParentOrUnknown => {
            identity.parent_execution_id.map_or_else(|| "unknown".to_owned(), |id| id.to_string())
        }
        From::Namespace => identity.namespace.clone(),
        From::Application => format!("{}-{}", identity.task_name, identity.execution_id),
        From::Service => "task-application".to_owned(),
        From::Word(word) => word.to_owned(),
    };
    Some(text(name, value))
}

fn text(name: &str, value: String) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value), value_from: None }
}

/// A variable with this value.
pub(super) fn plain(name: &str, value: &str, origin: Origin) -> Variable {
    Variable { env: text(name, value.to_owned()), origin }
}

/// A variable whose value the kubelet takes from a Secret. A Secret that is missing never keeps a task from running.
pub(super) fn secret(name: &str, key: &SecretKey) -> Variable {
    let key = SecretKeySelector { name: key.name.clone(), key: key.key.clone(), optional: Some(true) };
    let source = EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() };
    let env = EnvVar { name: name.to_owned(), value: None, value_from: Some(source) };
    Variable { env, origin: Origin::Default }
}

/// Spring's environment form of a property's name: `a.b-c[0].d` is read from `A_BC_0_D`.
pub fn env_name(property: &str) -> String {
    property
        .chars()
        .filter(|c| !matches!(c, '-' | ']'))
        .map(|c| if matches!(c, '.' | '[') { '_' } else { c.to_ascii_uppercase() })
        .collect()
}

/// A name without what Spring overlooks when it compares names, whichever way they are written: as property,
/// as environment variable, in camel case. Equal letters mean that the name might reach the same setting.
/// (Spring overlooks all but a–z and 0–9, in lower case: `ConfigurationPropertyName.elementsEqual`.)
pub fn letters(name: &str) -> String {
    name.chars().flat_map(char::to_lowercase).filter(char::is_ascii_alphanumeric).collect()
}

/// Whether setting `name` (a property or a variable, in any spelling) would change who a run is.
pub fn identity_key(name: &str) -> bool {
    const TASK: [&str; 5] = ["name", "executionid", "externalexecutionid", "parentexecutionid", "namespace"];
    const PREFIXES: [&str; 5] = [
        "managementmetricstagstask",
        "managementobservationskeyvaluestask",
        "springcloudtask",
        "managementmetricsexportprometheuspushgatewaygroupingkeytask",
        "managementprometheusmetricsexportpushgatewaygroupingkeytask",
    ];
    let letters = letters(name);
    letters.starts_with("millrace")
        || PREFIXES.iter().filter_map(|prefix| letters.strip_prefix(prefix)).any(|rest| TASK.contains(&rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Identity {
        Identity {
            task_name: "task1".into(),
            execution_id: 42,
            parent_execution_id: None,
            namespace: "batch".into(),
        }
    }

    fn value(variables: &[Variable], name: &str) -> Option<String> {
        variables.iter().find(|v| v.env.name == name).and_then(|v| v.env.value.clone())
    }

    #[test]
    fn the_pods_name_is_known_before_it_is_referred_to() {
        let all = variables(&run(), &BTreeMap::new(), None);
        let at = |name: &str| all.iter().position(|v| v.env.name == name);
        assert_eq!(at("MILLRACE_EXTERNAL_EXECUTION_ID"), Some(0));
        for v in &all {
            let refers = v.env.value.as_deref().unwrap_or_default().contains("$(");
            assert!(!refers || v.env.value.as_deref() == Some("$(MILLRACE_EXTERNAL_EXECUTION_ID)"));
        }
    }

    #[test]
    fn a_parent_is_a_number_or_left_out() {
        let mut identity = run();
        let all = variables(&identity, &BTreeMap::new(), None);
        assert_eq!(value(&all, "SPRING_CLOUD_TASK_PARENT_EXECUTION_ID"), None);
        assert_eq!(
            value(&all, "MANAGEMENT_METRICS_TAGS_TASK_PARENT_EXECUTION_ID").as_deref(),
            Some("unknown")
        );
        identity.parent_execution_id = Some(7);
        let all = variables(&identity, &BTreeMap::new(), None);
        assert_eq!(value(&all, "SPRING_CLOUD_TASK_PARENT_EXECUTION_ID").as_deref(), Some("7"));
    }

    #[test]
    fn tags_and_the_exclude_are_added_only_where_asked_for() {
        let tags = BTreeMap::from([("cost.center".to_owned(), "x1".to_owned())]);
        let all = variables(&run(), &tags, Some(BootVersion::Two));
        assert_eq!(value(&all, "MANAGEMENT_METRICS_TAGS_COST_CENTER").as_deref(), Some("x1"));
        assert_eq!(value(&all, EXCLUDE).as_deref(), Some(TASK_METRICS_CONFIGURATION));
        assert_eq!(value(&variables(&run(), &tags, Some(BootVersion::Four)), EXCLUDE), None);
    }

    #[test]
    fn what_must_never_be_injected_is_not_in_the_table() {
        for (name, _, _) in TABLE {
            let letters = letters(name);
            assert_ne!(letters, "springapplicationjson");
            assert_ne!(letters, "springcloudtaskexecutionid");
        }
    }

    #[test]
    fn identity_is_recognised_in_every_spelling() {
        for name in [
            "management.metrics.tags.task.name",
            "management.metrics.tags[task.name]",
            "MANAGEMENT_METRICS_TAGS_TASK_EXECUTION_ID",
            "management.metrics.tags.task.execution-id",
            "spring.cloud.task.external-execution-id",
            "spring.cloud.task.externalExecutionId",
            "SPRING_CLOUD_TASK_EXECUTIONID",
            "spring.cloud.task.name",
            "millrace.task-name",
            "MILLRACE_EXECUTION_ID",
            "management.prometheus.metrics.export.pushgateway.grouping-key.task.name",
        ] {
            assert!(identity_key(name), "{name}");
        }
        for name in ["spring.cloud.task.closecontextEnabled", "management.metrics.tags.team", "task.name"] {
            assert!(!identity_key(name), "{name}");
        }
        let ours: Vec<_> = TABLE.iter().filter(|(_, _, o)| *o == Origin::Identity).collect();
        assert!(ours.iter().all(|(name, _, _)| identity_key(name)), "every row of identity is reserved");
    }

    #[test]
    fn property_names_become_variables_as_spring_reads_them() {
        assert_eq!(env_name("spring.batch.job.name"), "SPRING_BATCH_JOB_NAME");
        assert_eq!(env_name("a.b-c[0].d"), "A_BC_0_D");
    }
}
