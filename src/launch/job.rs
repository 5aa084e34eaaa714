//! A resolved launch and its execution id → the Job. Cannot fail.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, PodSecurityContext, PodSpec, PodTemplateSpec, SeccompProfile,
    SecurityContext,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::resolve::{ResolvedLaunch, put};
use crate::api::task_definition::{BootVersion, PodSecurity};
use crate::inject::exporters::{self, Exporters, Offer};
use crate::inject::spring::{EXCLUDE, Identity, Origin, TASK_METRICS_CONFIGURATION, letters, variables};
use crate::names::{GROUP, MANAGER, VERSION, annotation, job_name, label};

/// The launch that a Job belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Name of the launch.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its UID.
    pub uid: &'a str,
}

/// The one Job of a launch, whose metrics go to what `offer` names.
pub fn build_job(
    owner: &Owner<'_>,
    launch: &ResolvedLaunch,
    execution_id: i64,
    offer: Option<&Offer>,
) -> Job {
    let labels = labels(owner, launch, execution_id);
    Job {
        metadata: ObjectMeta {
            name: Some(job_name(owner.name, owner.uid)),
            namespace: Some(owner.namespace.to_owned()),
            labels: Some(labels.clone()),
            annotations: Some(job_annotations(launch, execution_id, offer)),
            owner_references: Some(vec![OwnerReference {
                api_version: format!("{GROUP}/{VERSION}"),
                kind: "TaskLaunch".to_owned(),
                name: owner.name.to_owned(),
                uid: owner.uid.to_owned(),
                controller: Some(true),
                // No finalizer of ours, and nobody's deletion waits for us.
                block_owner_deletion: Some(false),
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            parallelism: Some(1),
            completions: Some(1),
            backoff_limit: Some(launch.run_policy.backoff_limit),
            active_deadline_seconds: launch.run_policy.active_deadline_seconds,
            // A replacement starts only when the failed pod is really over (GA in Kubernetes 1.34).
            pod_replacement_policy: Some("Failed".to_owned()),
            template: build_template(owner, launch, execution_id, labels, offer),
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn labels(owner: &Owner<'_>, launch: &ResolvedLaunch, execution_id: i64) -> BTreeMap<String, String> {
    let ours = [
        (label::APP_NAME, launch.task_name.clone()),
        (label::APP_INSTANCE, owner.name.to_owned()),
        (label::APP_COMPONENT, "task".to_owned()),
        (label::APP_MANAGED_BY, MANAGER.to_owned()),
        (label::TASK_NAME, launch.task_name.clone()),
        (label::DEFINITION, launch.definition.clone()),
        (label::LAUNCH, owner.name.to_owned()),
        (label::EXECUTION_ID, execution_id.to_string()),
    ];
    let mut labels = launch.labels.clone();
    labels.extend(ours.map(|(key, value)| (key.to_owned(), value)));
    labels
}

fn job_annotations(
    launch: &ResolvedLaunch,
    execution_id: i64,
    offer: Option<&Offer>,
) -> BTreeMap<String, String> {
    let mut annotations = launch.annotations.clone();
    annotations.insert(label::EXECUTION_ID.to_owned(), execution_id.to_string());
    annotations.insert(annotation::TASK_NAME.to_owned(), launch.task_name.clone());
    annotations.insert(annotation::TASK_CONTAINER.to_owned(), launch.task_container.clone());
    // The definition is read once: what later decisions need of it stands on the Job.
    annotations
        .insert(annotation::START_DEADLINE.to_owned(), launch.run_policy.start_deadline_seconds.to_string());
    if let Some(parent) = launch.parent_execution_id {
        annotations.insert(annotation::PARENT_EXECUTION_ID.to_owned(), parent.to_string());
    }
    if let Some(offer) = offer {
        annotations.insert(annotation::MONITORING.to_owned(), offer.stack.clone());
        annotations.insert(annotation::OBSERVABLE.to_owned(), offer.observable.to_string());
    }
    annotations
}

fn build_template(
    owner: &Owner<'_>,
    launch: &ResolvedLaunch,
    execution_id: i64,
    labels: BTreeMap<String, String>,
    offer: Option<&Offer>,
) -> PodTemplateSpec {
    let mut template = launch.template.clone();
    let metadata = template.metadata.get_or_insert_default();
    metadata.labels.get_or_insert_default().extend(labels);
    let annotations = launch.annotations.clone();
    if !annotations.is_empty() {
        metadata.annotations.get_or_insert_default().extend(annotations);
    }
    metadata.creation_timestamp = None;

    let pod = template.spec.get_or_insert_default();
    pod.restart_policy = Some("Never".to_owned());
    if pod.service_account_name.is_none() && pod.service_account.is_none() {
        pod.automount_service_account_token.get_or_insert(false);
    }
    if let Some(seconds) = launch.run_policy.termination_grace_period_seconds {
        pod.termination_grace_period_seconds = Some(seconds);
    }
    let identity = Identity {
        task_name: launch.task_name.clone(),
        execution_id,
        parent_execution_id: launch.parent_execution_id,
        namespace: owner.namespace.to_owned(),
    };
    for container in pod.containers.iter_mut().filter(|c| c.name == launch.task_container) {
        inject(container, launch, &identity, offer);
    }
    if launch.pod_security == PodSecurity::Restricted {
        restrict(pod);
    }
    template
}

/// Ours first, so that the definition's variables may refer to them; then the definition's. Where both set the
/// same thing in any spelling, the definition wins, but never over identity (`resolve` refused that).
fn inject(container: &mut Container, launch: &ResolvedLaunch, identity: &Identity, offer: Option<&Offer>) {
    let theirs = container.env.take().unwrap_or_default();
    let set = settings(container, &theirs);
    let mut env = Vec::new();
    let nowhere = Exporters::default();
    let exporters = offer.map_or(&nowhere, |offer| &offer.exporters);
    let ours = variables(identity, &launch.tags, launch.boot_version);
    for variable in ours.into_iter().chain(exporters::variables(exporters, identity)) {
        if variable.origin == Origin::Identity || !set.contains(&letters(&variable.env.name)) {
            put(&mut env, variable.env);
        }
    }
    for variable in theirs {
        put(&mut env, variable);
    }
    container.env = Some(env);
    if launch.boot_version == Some(BootVersion::Two) {
        merge_excludes(container);
    }
}

/// What a definition or launch sets itself, by environment or argument, as [`letters`].
fn settings(container: &Container, env: &[EnvVar]) -> Vec<String> {
    let by_env = env.iter().map(|v| letters(&v.name));
    let args = container.command.iter().chain(&container.args).flatten();
    let by_arg = args.filter_map(|arg| super::overrides::setting(arg)).map(|(name, _)| letters(name));
    by_env.chain(by_arg).collect()
}

/// An exclude of the definition's or launch's own would hide ours: ours is added to each that can be seen.
fn merge_excludes(container: &mut Container) {
    let exclude = letters(EXCLUDE);
    for variable in container.env.iter_mut().flatten() {
        if letters(&variable.name) == exclude && variable.value_from.is_none() {
            add_exclude(variable.value.get_or_insert_default(), 0);
        }
    }
    for arg in container.command.iter_mut().chain(&mut container.args).flatten() {
        let Some((name, _)) = super::overrides::setting(arg).filter(|(name, _)| letters(name) == exclude)
        else {
            continue;
        };
        // Behind the dashes, the name and the equals sign; `--name` alone gets one.
        let from = arg.find(name).unwrap_or_default() + name.len() + 1;
        if arg.len() < from {
            arg.push('=');
        }
        add_exclude(arg, from);
    }
}

/// Adds our exclude to the list that begins at `from`.
fn add_exclude(text: &mut String, from: usize) {
    if text.contains(TASK_METRICS_CONFIGURATION) {
        return;
    }
    if text.len() > from {
        text.push(',');
    }
    text.push_str(TASK_METRICS_CONFIGURATION);
}

/// What the Pod Security Standard `restricted` asks for, where the template says nothing.
fn restrict(pod: &mut PodSpec) {
    let context = pod.security_context.get_or_insert_with(PodSecurityContext::default);
    context.run_as_non_root.get_or_insert(true);
    context.seccomp_profile.get_or_insert_with(|| SeccompProfile {
        type_: "RuntimeDefault".to_owned(),
        localhost_profile: None,
    });
    for container in pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten()) {
        let context = container.security_context.get_or_insert_with(SecurityContext::default);
        context.allow_privilege_escalation.get_or_insert(false);
        let capabilities = context.capabilities.get_or_insert_with(Capabilities::default);
        capabilities.drop.get_or_insert_with(|| vec!["ALL".to_owned()]);
    }
}
