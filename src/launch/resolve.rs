//! Definition + launch → [`ResolvedLaunch`], or the reason why not. All that can be wrong is found here, so that
//! building the Job cannot fail.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, PodTemplateSpec};
use serde::Serialize;

use super::overrides;
use crate::api::task_definition::{BootVersion, PodSecurity, PropertiesAs, RunPolicy};
use crate::api::{TaskDefinitionSpec, TaskLaunchSpec};
use crate::inject::spring::{env_name, identity_key, letters};
use crate::names::{GROUP, reason};

/// Container made from a definition's short form.
const DEFAULT_CONTAINER: &str = "task";
/// Property under which Spring finds the tags of all meters.
const TAGS: &str = "management.metrics.tags";

/// The user's mistake: a word for machines and a sentence that says what to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// [`crate::names::reason`].
    pub reason: &'static str,
    /// What to change.
    pub message: String,
}

impl Rejection {
    pub(super) fn definition(message: impl Into<String>) -> Self {
        Self { reason: reason::INVALID_DEFINITION, message: message.into() }
    }

    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self { reason: reason::OVERRIDE_DENIED, message: message.into() }
    }

    pub(super) fn identity(what: &str) -> Self {
        Self {
            reason: reason::IDENTITY_RESERVED,
            message: format!(
                "{what} would change the identity of a run, which the operator sets: remove it (the task's name is spec.taskName of the definition)"
            ),
        }
    }
}

/// Everything about a run but its execution id.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResolvedLaunch {
    /// The task's name in tags and labels.
    pub task_name: String,
    /// Name of the definition.
    pub definition: String,
    /// The pod template, with exactly one container that is the task.
    pub template: PodTemplateSpec,
    /// Name of that container.
    pub task_container: String,
    /// Retries, deadlines, grace period.
    pub run_policy: RunPolicy,
    /// Tags for all meters.
    pub tags: BTreeMap<String, String>,
    /// Hint about Spring.
    pub boot_version: Option<BootVersion>,
    /// Labels for Job and pod.
    pub labels: BTreeMap<String, String>,
    /// Annotations for Job and pod.
    pub annotations: BTreeMap<String, String>,
    /// What to do to the security context.
    pub pod_security: PodSecurity,
    /// The parent's execution id.
    pub parent_execution_id: Option<i64>,
}

/// Checks a definition by itself, as if launched without arguments.
pub fn resolve_definition(name: &str, spec: &TaskDefinitionSpec) -> Result<(), Rejection> {
    resolve(name, spec, &TaskLaunchSpec::default(), None).map(drop)
}

/// What a launch of a definition runs.
pub fn resolve(
    definition: &str,
    spec: &TaskDefinitionSpec,
    launch: &TaskLaunchSpec,
    parent_execution_id: Option<i64>,
) -> Result<ResolvedLaunch, Rejection> {
    overrides::check(&spec.overrides, launch)?;
    check_metadata(spec)?;
    let mut template = spec.pod_template.clone().unwrap_or_default();
    let pod = template.spec.get_or_insert_default();
    check_pod(pod)?;
    let at = task_container(spec, pod)?;
    // `task_container` made sure of it.
    let Some(container) = pod.containers.get_mut(at) else {
        return Err(Rejection::definition("the pod template has no container: give spec.image"));
    };
    apply_short_form(container, spec);
    add_arguments(container, spec, launch)?;
    check_identity(container)?;
    if container.image.as_deref().unwrap_or_default().is_empty() {
        return Err(Rejection::definition(format!(
            "container {} has no image: give spec.image",
            container.name
        )));
    }
    if let Some(policy @ ("Always" | "OnFailure")) = container.restart_policy.as_deref() {
        return Err(Rejection::definition(format!(
            "container {} has restartPolicy {policy}, so its launches would never end: leave it out; retries are spec.runPolicy.backoffLimit",
            container.name
        )));
    }
    let task_container = container.name.clone();
    Ok(ResolvedLaunch {
        task_name: spec.task_name.clone().unwrap_or_else(|| definition.to_owned()),
        definition: definition.to_owned(),
        template,
        task_container,
        run_policy: spec.run_policy.clone(),
        tags: spec.metrics.tags.clone(),
        boot_version: spec.spring.as_ref().and_then(|s| s.boot_version),
        labels: spec.labels.clone(),
        annotations: spec.annotations.clone(),
        pod_security: spec.pod_security,
        parent_execution_id,
    })
}

/// What we read back from Jobs must be what we wrote, and a tag is a setting like any other.
fn check_metadata(spec: &TaskDefinitionSpec) -> Result<(), Rejection> {
    for (field, map) in [("labels", &spec.labels), ("annotations", &spec.annotations)] {
        if let Some(key) = map.keys().find(|key| key.split('/').next() == Some(GROUP)) {
            return Err(Rejection::definition(format!("spec.{field}: {key} is the operator's: remove it")));
        }
    }
    match spec.metrics.tags.keys().find(|key| identity_key(&format!("{TAGS}.{key}"))) {
        Some(key) => Err(Rejection::identity(&format!("tag {key} in spec.metrics.tags"))),
        None => Ok(()),
    }
}

fn check_pod(pod: &PodSpec) -> Result<(), Rejection> {
    match pod.restart_policy.as_deref() {
        None | Some("" | "Never") => Ok(()),
        Some(other) => Err(Rejection::definition(format!(
            "spec.podTemplate.spec.restartPolicy is {other}: leave it out (Never); retries are spec.runPolicy.backoffLimit"
        ))),
    }
}

/// Index of the task's container, which is made where the template has none.
fn task_container(spec: &TaskDefinitionSpec, pod: &mut PodSpec) -> Result<usize, Rejection> {
    let found = match &spec.task_container {
        Some(name) => pod.containers.iter().position(|c| c.name == *name),
        None if pod.containers.len() > 1 => {
            return Err(Rejection::definition(format!(
                "spec.podTemplate has several containers ({}): name the task's in spec.taskContainer",
                names(&pod.containers, usize::MAX)
            )));
        }
        None => (!pod.containers.is_empty()).then_some(0),
    };
    let at = match found {
        Some(at) => at,
        None if spec.image.is_some() => {
            let name = spec.task_container.clone().unwrap_or_else(|| DEFAULT_CONTAINER.to_owned());
            pod.containers.insert(0, Container { name, ..Container::default() });
            0
        }
        None => {
            let name = spec.task_container.as_deref().unwrap_or(DEFAULT_CONTAINER);
            return Err(Rejection::definition(format!(
                "spec.podTemplate has no container {name}: add it, or give spec.image to make it"
            )));
        }
    };
    if pod.containers.len() > 1 {
        return Err(Rejection::definition(format!(
            "container {} beside the task would keep the Job from ending: make it a native sidecar (an initContainer with restartPolicy: Always)",
            names(&pod.containers, at)
        )));
    }
    Ok(at)
}

fn names(containers: &[Container], but: usize) -> String {
    let others = containers.iter().enumerate().filter(|(i, _)| *i != but);
    others.map(|(_, c)| c.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The short fields stand over the template's container: single values replace, lists are added.
fn apply_short_form(container: &mut Container, spec: &TaskDefinitionSpec) {
    if let Some(image) = &spec.image {
        container.image = Some(image.clone());
    }
    if let Some(command) = &spec.command {
        container.command = Some(command.clone());
    }
    if !spec.args.is_empty() {
        container.args = Some(spec.args.clone());
    }
    if let Some(resources) = &spec.resources {
        container.resources = Some(resources.clone());
    }
    for variable in &spec.env {
        put(container.env.get_or_insert_default(), variable.clone());
    }
    if !spec.env_from.is_empty() {
        container.env_from.get_or_insert_default().extend(spec.env_from.iter().cloned());
    }
}

/// Sets a variable, instead of adding a second one of the same name.
pub(super) fn put(env: &mut Vec<EnvVar>, variable: EnvVar) {
    match env.iter_mut().find(|v| v.name == variable.name) {
        Some(present) => *present = variable,
        None => env.push(variable),
    }
}

/// Order: the definition's arguments, properties, the launch's arguments. Nothing that a launch gives is
/// expanded by the kubelet.
fn add_arguments(
    container: &mut Container,
    spec: &TaskDefinitionSpec,
    launch: &TaskLaunchSpec,
) -> Result<(), Rejection> {
    let by_arg: Vec<String> = launch.args.iter().filter_map(|arg| setting_of(arg)).collect();
    let by_launch: Vec<String> =
        launch.properties.keys().map(|key| overrides::relaxed(key)).chain(by_arg.iter().cloned()).collect();
    let properties = merged_properties(spec, launch, &by_arg, &by_launch)?;
    let mut args = container.args.take().unwrap_or_default();
    // An option without value stays: the next argument may belong to it.
    args.retain(|arg| !arg.contains('=') || !setting_of(arg).is_some_and(|name| by_launch.contains(&name)));
    match spec.properties_as {
        PropertiesAs::Arguments => args.extend(properties.iter().map(|(k, v)| format!("--{k}={v}"))),
        PropertiesAs::Environment => {
            let env = container.env.get_or_insert_default();
            for (key, value) in properties {
                put(env, EnvVar { name: env_name(&key), value: Some(value), value_from: None });
            }
        }
    }
    args.extend(launch.args.iter().map(|arg| literal(arg)));
    container.args = (!args.is_empty()).then_some(args);
    Ok(())
}

/// The property that an argument sets, as Spring compares it.
fn setting_of(arg: &str) -> Option<String> {
    overrides::setting(arg).map(|(name, _)| overrides::relaxed(name))
}

/// What a launch sets, also as argument, replaces what the definition sets of the same meaning, whatever its
/// spelling: Spring would make a list of both. It is written as the definition spells it, since as environment
/// variable another spelling may be another property (`a.b_c` and `a.b.c` both become `A_B_C`).
fn merged_properties(
    spec: &TaskDefinitionSpec,
    launch: &TaskLaunchSpec,
    by_arg: &[String],
    by_launch: &[String],
) -> Result<BTreeMap<String, String>, Rejection> {
    let mut merged = BTreeMap::new();
    for (key, value) in &spec.properties {
        check_property_name(key).map_err(Rejection::definition)?;
        if !by_launch.contains(&overrides::relaxed(key)) {
            merged.insert(key.clone(), value.clone());
        }
    }
    for (key, value) in &launch.properties {
        check_property_name(key).map_err(Rejection::denied)?;
        let relaxed = overrides::relaxed(key);
        if !by_arg.contains(&relaxed) {
            let mut known = spec.properties.keys().chain(&spec.overrides.properties);
            let spelling = known.find(|known| overrides::relaxed(known) == relaxed).unwrap_or(key);
            merged.insert(spelling.clone(), literal(value));
        }
    }
    Ok(merged)
}

fn check_property_name(name: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | '/' | ':');
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 256 && name.chars().all(known) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no property name: use letters, digits and . - _ [ ] / : and begin with a letter or digit, at most 256 in all"
    ))
}

/// Kubernetes replaces `$(NAME)` in arguments and environment, and `$$` by one `$`; doubled, every `$` stays itself.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// No setting of a definition may forge who a run is.
fn check_identity(container: &Container) -> Result<(), Rejection> {
    for variable in container.env.iter().flatten() {
        if identity_key(&variable.name) {
            return Err(Rejection::identity(&format!("environment variable {}", variable.name)));
        }
        if letters(&variable.name) == "springapplicationjson" {
            check_json(variable.value.as_deref().unwrap_or_default())?;
        }
    }
    for arg in container.command.iter().chain(&container.args).flatten() {
        let Some((name, value)) = overrides::setting(arg) else {
            continue;
        };
        if identity_key(name) {
            return Err(Rejection::identity(&format!("argument {name}")));
        }
        if letters(name) == "springapplicationjson" {
            check_json(value)?;
        }
    }
    Ok(())
}

/// `SPRING_APPLICATION_JSON` beats the environment, key by key. What is no JSON ends the application, not us.
fn check_json(text: &str) -> Result<(), Rejection> {
    fn walk(value: &serde_json::Value, path: &str) -> Result<(), Rejection> {
        if identity_key(path) {
            return Err(Rejection::identity(&format!("{path} in SPRING_APPLICATION_JSON")));
        }
        let Some(object) = value.as_object() else {
            return Ok(());
        };
        object.iter().try_for_each(|(key, inner)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            walk(inner, &path)
        })
    }
    serde_json::from_str::<serde_json::Value>(text).map_or(Ok(()), |value| walk(&value, ""))
}
