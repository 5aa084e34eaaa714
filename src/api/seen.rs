//! Thin copies of what we watch: the fields that decisions depend on and nothing else, since these caches are
//! most of the operator's memory. What does not decode stays one object's problem ([`Guarded`]).

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, OwnerReference, Time};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Phase, TaskDefinitionSpec, TaskDefinitionStatus, TaskLaunchSpec, TaskLaunchStatus};
use super::{TaskMonitoringSpec, TaskMonitoringStatus, conditions};
use crate::names::{GROUP, VERSION, annotation, condition, label};

/// A field that may hold what this version cannot read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Guarded<T> {
    /// As expected.
    Read(T),
    /// Why it cannot be read.
    Unreadable(String),
}

impl<T> Guarded<T> {
    /// The value, or why it cannot be read.
    pub fn as_result(&self) -> Result<&T, &str> {
        match self {
            Self::Read(value) => Ok(value),
            Self::Unreadable(why) => Err(why),
        }
    }
}

impl<T: Default> Default for Guarded<T> {
    fn default() -> Self {
        Self::Read(T::default())
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Guarded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(serde_json::from_value(value).map_or_else(|e| Self::Unreadable(e.to_string()), Self::Read))
    }
}

/// A launch as we watch it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenLaunch {
    /// Name, UID, versions; of the annotations only ours.
    #[serde(deserialize_with = "thin_meta")]
    pub metadata: ObjectMeta,
    /// What was asked for.
    #[serde(default)]
    pub spec: Guarded<TaskLaunchSpec>,
    /// What we last said about it.
    #[serde(default)]
    pub status: Guarded<TaskLaunchStatus>,
}

impl SeenLaunch {
    /// The final phase, if the launch is over.
    pub fn final_phase(&self) -> Option<Phase> {
        self.status.as_result().ok()?.phase.filter(|phase| phase.is_final())
    }

    /// Of a launch that is over, only what history and children need: most launches that are there are over.
    #[must_use]
    pub fn thinned(self) -> Self {
        let (Guarded::Read(spec), Guarded::Read(status)) = (&self.spec, &self.status) else { return self };
        if self.final_phase().is_none() {
            return self;
        }
        let finished = conditions::find(&status.conditions, condition::FINISHED).map(|known| Condition {
            type_: known.type_.clone(),
            last_transition_time: known.last_transition_time.clone(),
            message: String::new(),
            observed_generation: None,
            reason: String::new(),
            status: String::new(),
        });
        let status = TaskLaunchStatus {
            phase: status.phase,
            execution_id: status.execution_id,
            completion_time: status.completion_time.clone(),
            conditions: finished.into_iter().collect(),
            ..TaskLaunchStatus::default()
        };
        let spec =
            TaskLaunchSpec { definition_ref: spec.definition_ref.clone(), ..TaskLaunchSpec::default() };
        Self { spec: Guarded::Read(spec), status: Guarded::Read(status), metadata: self.metadata }
    }

    /// Whether history limits leave it alone.
    pub fn is_kept(&self) -> bool {
        annotation_of(&self.metadata, annotation::KEEP) == Some("true")
    }
}

/// A definition as we watch it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenDefinition {
    /// Name, UID, versions.
    #[serde(deserialize_with = "thin_meta")]
    pub metadata: ObjectMeta,
    /// What to run.
    #[serde(default)]
    pub spec: Guarded<TaskDefinitionSpec>,
    /// What we last said about it.
    #[serde(default)]
    pub status: Guarded<TaskDefinitionStatus>,
}

/// A TaskMonitoring as we watch it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenMonitoring {
    /// Name, UID, versions.
    #[serde(deserialize_with = "thin_meta")]
    pub metadata: ObjectMeta,
    /// What was asked for.
    #[serde(default)]
    pub spec: Guarded<TaskMonitoringSpec>,
    /// What we last said about it.
    #[serde(default)]
    pub status: Guarded<TaskMonitoringStatus>,
}

/// A pod of a stack as we watch it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenStackPod {
    /// Name, UID; of the labels only ours and which part it is of.
    #[serde(deserialize_with = "thin_meta")]
    pub metadata: ObjectMeta,
    /// What kubelet and scheduler say.
    #[serde(default)]
    pub status: PodStatus,
}

/// A Job of ours as we watch it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenJob {
    /// Name, UID, owner; of labels and annotations only ours.
    #[serde(deserialize_with = "thin_meta")]
    pub metadata: ObjectMeta,
    /// What may change after creation.
    #[serde(default)]
    pub spec: JobSpec,
    /// What the Job controller says.
    #[serde(default)]
    pub status: JobStatus,
}

/// The part of a Job's spec that may change after its creation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobSpec {
    /// Held back, by a queue for example.
    pub suspend: bool,
    /// How many failed pods are replaced.
    pub backoff_limit: i32,
}

/// What the Job controller says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    /// Complete, Failed, …
    pub conditions: Vec<JobCondition>,
    /// Pods that run or wait.
    pub active: i32,
    /// Pods that ended well.
    pub succeeded: i32,
    /// Pods that failed.
    pub failed: i32,
}

/// One condition of a Job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobCondition {
    /// Complete, Failed, …
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// One word.
    pub reason: Option<String>,
    /// A sentence.
    pub message: Option<String>,
    /// When it became so.
    pub last_transition_time: Option<Time>,
}

impl SeenJob {
    /// The condition that says that the Job is over: Complete or Failed.
    pub fn end(&self) -> Option<&JobCondition> {
        self.status
            .conditions
            .iter()
            .find(|c| c.status == "True" && (c.type_ == "Complete" || c.type_ == "Failed"))
    }

    /// The execution id that the Job was made with (contract L5: this annotation is the truth).
    pub fn execution_id(&self) -> Option<i64> {
        annotation_of(&self.metadata, label::EXECUTION_ID)?.parse().ok()
    }

    /// Whether the launch of that UID owns the Job.
    pub fn is_owned_by(&self, launch_uid: &str) -> bool {
        self.metadata.owner_references.iter().flatten().any(|owner| owner.uid == launch_uid)
    }
}

/// A pod of ours as we watch it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenPod {
    /// Name, UID; of the labels only ours.
    #[serde(deserialize_with = "thin_meta")]
    pub metadata: ObjectMeta,
    /// What kubelet and scheduler say.
    #[serde(default)]
    pub status: PodStatus,
}

/// What kubelet and scheduler say about a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Pending, Running, Succeeded, Failed, Unknown.
    pub phase: Option<String>,
    /// Evicted, …
    pub reason: Option<String>,
    /// A sentence.
    pub message: Option<String>,
    /// Its address, once it has one.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<IpAddr>,
    /// PodScheduled, DisruptionTarget, …
    #[serde(deserialize_with = "told_conditions")]
    pub conditions: Vec<JobCondition>,
    /// State of the containers.
    pub container_statuses: Vec<ContainerStatus>,
    /// State of init containers and sidecars.
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// State of one container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// The container's name.
    pub name: String,
    /// Whether it passes its readiness probe.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: i32,
    /// What it does now.
    pub state: ContainerState,
}

/// What a container does now: at most one of the three is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// Not started.
    pub waiting: Option<Waiting>,
    /// Runs.
    pub running: Option<Running>,
    /// Ended.
    pub terminated: Option<Terminated>,
}

/// Why a container has not started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// ImagePullBackOff, …
    pub reason: Option<String>,
    /// A sentence.
    pub message: Option<String>,
}

/// A container that runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Running {
    /// Since when.
    pub started_at: Option<Time>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// Exit code; 128 + n for signal n.
    pub exit_code: i32,
    /// Completed, Error, OOMKilled, …
    pub reason: Option<String>,
    /// What the application wrote as its termination message.
    pub message: Option<String>,
    /// When it started.
    pub started_at: Option<Time>,
    /// When it ended.
    pub finished_at: Option<Time>,
}

impl SeenPod {
    /// The state of the container called `name`, else of the only one.
    pub fn task_container(&self, name: Option<&str>) -> Option<&ContainerStatus> {
        let all = &self.status.container_statuses;
        match name {
            Some(name) => all.iter().find(|c| c.name == name),
            None => all.first().filter(|_| all.len() == 1),
        }
    }

    /// The condition of that type.
    pub fn condition(&self, type_: &str) -> Option<&JobCondition> {
        self.status.conditions.iter().find(|c| c.type_ == type_)
    }

    /// Whether the pod is over.
    pub fn is_over(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }
}

/// The annotation `key` of an object.
pub fn annotation_of<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The label `key` of an object.
pub fn label_of<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

/// What we keep of an object's metadata. A third of a Job's JSON is `managedFields`
/// (measured: 763 of 2,000 bytes).
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ThinMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<Timestamp>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    owner_references: Option<Vec<OwnerReference>>,
}

fn thin_meta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let seen = ThinMeta::deserialize(deserializer)?;
    let ours = |map: BTreeMap<String, String>| {
        let kept: BTreeMap<_, _> = map
            .into_iter()
            .filter(|(key, _)| {
                key.starts_with(GROUP) || key == label::JOB_NAME || key == label::APP_COMPONENT
            })
            .collect();
        (!kept.is_empty()).then_some(kept)
    };
    Ok(ObjectMeta {
        name: seen.name,
        namespace: seen.namespace,
        uid: seen.uid,
        resource_version: seen.resource_version,
        generation: seen.generation,
        creation_timestamp: seen.creation_timestamp.map(Time),
        deletion_timestamp: seen.deletion_timestamp.map(Time),
        labels: ours(seen.labels),
        annotations: ours(seen.annotations),
        owner_references: seen.owner_references,
        ..ObjectMeta::default()
    })
}

/// Of a pod's conditions, those that say why it does not run.
fn told_conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<JobCondition>, D::Error> {
    let mut conditions = Vec::<JobCondition>::deserialize(deserializer)?;
    conditions.retain(|c| c.type_ == "PodScheduled" || c.type_ == "DisruptionTarget");
    Ok(conditions)
}

macro_rules! watched {
    ($type:ty, $kind:literal, $group:expr, $version:expr, $plural:literal) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = kube::core::NamespaceResourceScope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }
            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

watched!(SeenLaunch, "TaskLaunch", GROUP, VERSION, "tasklaunches");
watched!(SeenDefinition, "TaskDefinition", GROUP, VERSION, "taskdefinitions");
watched!(SeenMonitoring, "TaskMonitoring", GROUP, VERSION, "taskmonitorings");
watched!(SeenStackPod, "Pod", "", "v1", "pods");
watched!(SeenJob, "Job", "batch", "v1", "jobs");
watched!(SeenPod, "Pod", "", "v1", "pods");
