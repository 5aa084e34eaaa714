//! Every name that users, other controllers or our own restarts rely on. Each literal stands here once.

/// API group of all kinds. The derive macros need literals of their own; a test compares them with this.
pub const GROUP: &str = "millrace.dev";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";
/// Who writes: field manager, event reporter and `app.kubernetes.io/managed-by`.
pub const MANAGER: &str = "millrace";

/// Labels and annotations on Jobs and pods.
pub mod label {
    /// Definition that a Job or pod was made from.
    pub const DEFINITION: &str = "millrace.dev/definition";
    /// Launch that a Job or pod belongs to; its presence selects the Jobs and pods we watch.
    pub const LAUNCH: &str = "millrace.dev/launch";
    /// Execution id. As annotation of the Job it is the truth about the launch's id (contract L5).
    pub const EXECUTION_ID: &str = "millrace.dev/execution-id";
    /// Task name, under the name that SCDF's log and cost tools know.
    pub const TASK_NAME: &str = "task-name";
    /// Recommended labels of Kubernetes.
    pub const APP_NAME: &str = "app.kubernetes.io/name";
    /// Which launch this is an instance of.
    pub const APP_INSTANCE: &str = "app.kubernetes.io/instance";
    /// Always "task" for Jobs and pods of launches.
    pub const APP_COMPONENT: &str = "app.kubernetes.io/component";
    /// Always [`super::MANAGER`].
    pub const APP_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// The TaskMonitoring that owns an object or pod; its presence selects those we watch.
    pub const MONITORING: &str = "millrace.dev/monitoring";
    /// Written by the Job controller on pods.
    pub const JOB_NAME: &str = "batch.kubernetes.io/job-name";
}

/// Annotations.
pub mod annotation {
    /// On a Job: name of the container whose end is the task's end.
    pub const TASK_CONTAINER: &str = "millrace.dev/task-container";
    /// On a Job: the task's name. (The label of the same meaning may be cut or overridden by tools.)
    pub const TASK_NAME: &str = "millrace.dev/task-name";
    /// On a Job: the parent's execution id.
    pub const PARENT_EXECUTION_ID: &str = "millrace.dev/parent-execution-id";
    /// On a Job: why we end it before it ended by itself ([`super::stop`]).
    pub const STOP: &str = "millrace.dev/stop";
    /// On a Job: seconds within which the task must have started, counted from the launch's creation.
    pub const START_DEADLINE: &str = "millrace.dev/start-deadline-seconds";
    /// On a Job: namespace/name of the TaskMonitoring that its metrics go to.
    pub const MONITORING: &str = "millrace.dev/monitoring";
    /// On such a Job: "true" where the operator can see whether the metrics arrived.
    pub const OBSERVABLE: &str = "millrace.dev/metrics-observable";
    /// On what a TaskMonitoring owns: digest of what was applied, so that a field taken back is seen.
    pub const APPLIED: &str = "millrace.dev/applied";
    /// On pod templates: digest of the configuration they read, so that a change of it rolls the pods.
    pub const CONFIGURATION: &str = "millrace.dev/configuration";
    /// On a launch: "true" keeps it beyond the history limits.
    pub const KEEP: &str = "millrace.dev/keep";
}

/// Values of [`annotation::STOP`].
pub mod stop {
    /// The launch asked for it (`shutdown: Stop`).
    pub const SHUTDOWN: &str = "Shutdown";
    /// It did not start in time.
    pub const START_DEADLINE: &str = "StartDeadlineExceeded";
}

/// Condition types of the API (contract §2).
pub mod condition {
    /// The launch (or definition) is understood and allowed.
    pub const ACCEPTED: &str = "Accepted";
    /// The task's container has run.
    pub const STARTED: &str = "Started";
    /// The launch is over, whichever way.
    pub const FINISHED: &str = "Finished";
    /// The launch is over and the task succeeded.
    pub const SUCCEEDED: &str = "Succeeded";
    /// The metrics proxy has the run's metrics, durably.
    pub const METRICS_RECEIVED: &str = "MetricsReceived";
    /// False where patterns of metrics that a definition gives do not count.
    pub const PATTERNS_APPLIED: &str = "PatternsApplied";
    /// All parts of a stack are ready.
    pub const READY: &str = "Ready";
}

/// Reasons of conditions, events and `status.reason`.
pub mod reason {
    // Why a launch failed (contract §2). The set is closed.
    /// The task ended with an exit code other than 0.
    pub const NON_ZERO_EXIT: &str = "NonZeroExit";
    /// The kernel killed the task at its memory limit.
    pub const OOM_KILLED: &str = "OOMKilled";
    /// Kubernetes removed the pod: node pressure, preemption, a drained or lost node.
    pub const EVICTED: &str = "Evicted";
    /// Ran longer than `activeDeadlineSeconds`.
    pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    /// Did not start within `startDeadlineSeconds`.
    pub const START_DEADLINE_EXCEEDED: &str = "StartDeadlineExceeded";
    /// The image cannot be pulled.
    pub const IMAGE_PULL_FAILED: &str = "ImagePullFailed";
    /// No node takes the pod.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// Quota or admission refuses the Job or its pod.
    pub const POD_REFUSED: &str = "PodRefused";
    /// The Job of an unfinished launch vanished.
    pub const JOB_LOST: &str = "JobLost";
    /// Another object has the name that the launch's Job needs.
    pub const JOB_NAME_TAKEN: &str = "JobNameTaken";
    /// The API server or the kubelet finds the pod's specification invalid.
    pub const INVALID_POD: &str = "InvalidPod";

    // Why a launch or a definition is not (yet) accepted.
    /// All is well.
    pub const ACCEPTED: &str = "Accepted";
    /// No `TaskDefinition` of that name in the namespace.
    pub const DEFINITION_NOT_FOUND: &str = "DefinitionNotFound";
    /// The definition cannot be launched as it stands.
    pub const INVALID_DEFINITION: &str = "InvalidDefinition";
    /// The launch adds arguments or properties that its definition does not allow.
    pub const OVERRIDE_DENIED: &str = "OverrideDenied";
    /// A property or variable would change the identity of the run.
    pub const IDENTITY_RESERVED: &str = "IdentityReserved";
    /// The parent launch does not exist.
    pub const PARENT_NOT_FOUND: &str = "ParentNotFound";
    /// The parent launch has no execution id yet.
    pub const PARENT_NOT_STARTED: &str = "ParentNotStarted";
    /// The object cannot be read by this version of the operator.
    pub const INVALID_SPEC: &str = "InvalidSpec";

    // Whether a TaskMonitoring counts.
    /// Its namespace may not have one for the whole cluster.
    pub const SCOPE_NOT_ALLOWED: &str = "ScopeNotAllowed";
    /// An older one does the same already.
    pub const CONFLICT: &str = "Conflict";

    // Whether a part of a stack is ready.
    /// It is.
    pub const READY: &str = "Ready";
    /// Its pods are being made or replaced.
    pub const PROGRESSING: &str = "Progressing";
    /// Somebody else runs it, which we cannot see from here.
    pub const EXTERNAL: &str = "External";
    /// Somebody else runs it, and the operator cannot connect to it.
    pub const UNREACHABLE: &str = "Unreachable";
    /// An object that it needs is there and not ours.
    pub const NAME_TAKEN: &str = "NameTaken";
    /// Its volume cannot be had.
    pub const STORAGE_UNAVAILABLE: &str = "StorageUnavailable";
    /// A Secret or a key of it is missing.
    pub const SECRET_MISSING: &str = "SecretMissing";
    /// Its container ends again and again.
    pub const CRASHING: &str = "Crashing";
    /// The API server refuses one of its objects.
    pub const REFUSED: &str = "Refused";
    /// Resources of another operator are asked for which this cluster does not know.
    pub const KIND_MISSING: &str = "KindMissing";

    // Why patterns of metrics do not count.
    /// An older definition gives the same task name, and other patterns.
    pub const TASK_NAME_SHARED: &str = "TaskNameShared";
    /// Those of all definitions have no room in the proxies' configuration.
    pub const TOO_MANY_PATTERNS: &str = "TooManyPatterns";

    // Whether metrics arrived.
    /// They did.
    pub const RECEIVED: &str = "Received";
    /// The proxy has nothing of the run.
    pub const NO_BODY: &str = "NoBody";
    /// The proxy did not answer.
    pub const PROXY_UNREACHABLE: &str = "ProxyUnreachable";
    /// They go where the operator cannot look.
    pub const NOT_OBSERVABLE: &str = "NotObservable";
    /// No TaskMonitoring collects them.
    pub const NOT_MONITORED: &str = "NotMonitored";
    /// A launch waits for its proxy.
    pub const PROXY_NOT_READY: &str = "ProxyNotReady";

    // Started.
    /// The container runs or has run.
    pub const STARTED: &str = "ContainerStarted";
    /// Nothing is known to be wrong; the container has not started yet.
    pub const STARTING: &str = "Starting";
    /// Another controller (a queue) holds the Job back.
    pub const SUSPENDED: &str = "Suspended";
    /// The launch ended before its task started.
    pub const NEVER_STARTED: &str = "NeverStarted";

    // Finished and Succeeded.
    /// Exit code 0.
    pub const COMPLETED: &str = "Completed";
    /// Ended because the launch asked for it.
    pub const STOPPED: &str = "Stopped";
    /// Not over yet.
    pub const RUNNING: &str = "Running";
    /// Being ended.
    pub const STOPPING: &str = "Stopping";
}

/// The allocator's record (contract L5): a ConfigMap of the operator's namespace.
pub mod execution_ids {
    /// Name of the ConfigMap.
    pub const CONFIG_MAP: &str = "millrace-execution-ids";
    /// Its key: the first id that is not yet given to any operator.
    pub const NEXT: &str = "next";
}

/// Longest name of a launch's Job: the Job controller appends a dash and five characters for the pod, and
/// a pod's name over 63 characters would lose its tail, and with it the part that makes it ours.
pub const JOB_NAME_MAX: usize = 57;
const UID_DIGITS: usize = 10;

/// Name of the one Job of a launch: a function of its name and UID, so that every operator, at any time,
/// means the same Job, and a launch deleted and made again under the same name means another.
pub fn job_name(launch: &str, uid: &str) -> String {
    let digits: String = uid.chars().filter(char::is_ascii_hexdigit).take(UID_DIGITS).collect();
    let room = JOB_NAME_MAX - UID_DIGITS - 1;
    // A pod's host name cannot hold dots.
    let stem: String = launch.chars().take(room).map(|c| if c == '.' { '-' } else { c }).collect();
    format!("{}-{digits}", stem.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_names_fit_and_keep_the_uid() {
        let uid = "4f0c8a52-1b9e-4c0d-9d52-7f3a5e2b1c00";
        assert_eq!(job_name("nightly-x7k2p", uid), "nightly-x7k2p-4f0c8a521b");
        assert_eq!(job_name("a.b", uid), "a-b-4f0c8a521b");
        let long = job_name(&"a".repeat(52), uid);
        assert_eq!(long.len(), JOB_NAME_MAX);
        assert!(long.ends_with("-4f0c8a521b"));
        assert_ne!(job_name("x", uid), job_name("x", "5f0c8a52-1b9e-4c0d-9d52-7f3a5e2b1c00"));
    }
}
