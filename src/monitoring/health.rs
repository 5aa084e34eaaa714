//! How each part of a stack stands. Sentences hold no counts and no times: a status that says the same is not written.

use serde_json::Value;

use super::diff::{self, NO_CONFIG, at, is_as_wanted, part_of, text};
use super::external;
use super::network::authority;
use super::object::{Kind, Object, Part};
use super::{Outcome, Stack, StackSnapshot};
use crate::api::conditions::{Draft, find};
use crate::api::seen::{SeenStackPod, Waiting};
use crate::api::task_monitoring::{Mode, WavefrontMode};
use crate::names::reason;

/// A reason and a sentence.
type Said = (&'static str, String);

/// Who runs a part.
pub fn mode_of(stack: &Stack<'_>, part: Part) -> Mode {
    let spec = stack.spec;
    match part {
        Part::Prometheus => spec.prometheus.mode,
        Part::Proxy => spec.proxy.mode,
        Part::Grafana => spec.grafana.mode,
        Part::InfluxDb => spec.influxdb.mode,
        Part::Wavefront => match spec.wavefront.mode {
            WavefrontMode::External => Mode::External,
            WavefrontMode::Disabled => Mode::Disabled,
        },
    }
}

/// The condition of a part; `None` where it is disabled. `changing`: something of the stack is about to be written.
pub fn of(
    s: &StackSnapshot,
    stack: &Stack<'_>,
    part: Part,
    wanted: &[Object],
    changing: bool,
) -> Option<Draft> {
    let mode = mode_of(stack, part);
    let own: Vec<&Object> = wanted.iter().filter(|object| object.part == part).collect();
    let (status, (reason, sentence)) = match mode {
        Mode::Disabled => return None,
        Mode::External => match refused(s, stack, &own).or_else(|| unreachable(s, stack, part)) {
            Some(said) => (false, said),
            None => (true, (reason::EXTERNAL, run_by_others(part))),
        },
        Mode::Managed => match refused(s, stack, &own).or_else(|| lost_volume(s, stack, &own)) {
            Some(said) => (false, said),
            None => managed(s, stack, part, &own, changing),
        },
    };
    Some(Draft::new(part.condition(), status, reason, sentence))
}

fn run_by_others(part: Part) -> String {
    format!("{} is run by somebody else; the operator cannot see how it is", part.name())
}

/// Which addresses of the part the operator could not connect to.
fn unreachable(s: &StackSnapshot, stack: &Stack<'_>, part: Part) -> Option<Said> {
    if !stack.installation.check_external {
        return None;
    }
    let addresses = external::addresses(stack.namespace, stack.spec, part);
    if addresses.iter().any(|address| !s.reached.contains_key(address)) {
        return unreachable_before(s, part);
    }
    let failed = addresses.iter().filter_map(|address| {
        let why = s.reached.get(address)?.err()?;
        Some(format!("{}: {why}", authority(&address.0, address.1.into())))
    });
    let failed: Vec<String> = failed.collect();
    (!failed.is_empty()).then(|| {
        let sentence = format!(
            "the operator cannot connect to {}; check spec.{}.external, whether it is up, and whether a policy keeps the operator out",
            failed.join(", "),
            field(part)
        );
        (reason::UNREACHABLE, sentence)
    })
}

/// Until it was tried, what was said of the same spec holds: a process that begins takes nothing back.
fn unreachable_before(s: &StackSnapshot, part: Part) -> Option<Said> {
    let before = s.stack.status.as_result().ok()?;
    let condition = find(&before.conditions, part.condition())?;
    let same = before.observed_generation == s.stack.metadata.generation;
    (same && condition.reason == reason::UNREACHABLE)
        .then(|| (reason::UNREACHABLE, condition.message.clone()))
}

/// What the API server said against an object of the part.
fn refused(s: &StackSnapshot, stack: &Stack<'_>, own: &[&Object]) -> Option<Said> {
    own.iter().find_map(|object| {
        let answer = s.memory.answers.get(&object.key())?;
        // Another answer was to another question; and an object that is as wanted needs none.
        let fresh = answer.digest == object.digest()
            && diff::live(s, stack, object).is_none_or(|live| !is_as_wanted(live, object));
        if !fresh {
            return None;
        }
        let (kind, name) = (object.kind.name(), &object.name);
        match &answer.outcome {
            Outcome::Taken(_) | Outcome::Absent => None,
            // A Secret that is there is used, whosever it is.
            Outcome::Foreign(_) if object.kind == Kind::Secret => None,
            Outcome::Foreign(owner) => {
                let whose = if owner.is_empty() { String::new() } else { format!(" ({owner})") };
                Some((
                    reason::NAME_TAKEN,
                    format!(
                        "{kind} {name} is there already and does not belong to this TaskMonitoring{whose}: delete it, or create the TaskMonitoring in another namespace"
                    ),
                ))
            }
            Outcome::KindMissing => Some((
                reason::KIND_MISSING,
                format!(
                    "this cluster does not know {kind} ({}): install the operator that brings it, or choose another way in spec.{}.external",
                    object.kind.api_version(),
                    field(object.part),
                ),
            )),
            Outcome::Refused(why) if object.kind == Kind::PersistentVolumeClaim => Some((
                reason::STORAGE_UNAVAILABLE,
                format!("volume {name} was refused: {why}; change spec.{}.storage", field(object.part)),
            )),
            Outcome::Refused(why) => Some((
                reason::REFUSED,
                format!("{kind} {name} was refused: {why}; change spec.{}, or what forbids it", field(object.part)),
            )),
        }
    })
}

/// The part's field in the spec.
const fn field(part: Part) -> &'static str {
    match part {
        Part::Prometheus => "prometheus",
        Part::Proxy => "proxy",
        Part::Grafana => "grafana",
        Part::InfluxDb => "influxdb",
        Part::Wavefront => "wavefront",
    }
}

fn lost_volume(s: &StackSnapshot, stack: &Stack<'_>, own: &[&Object]) -> Option<Said> {
    let mut claims = own.iter().filter(|object| object.kind == Kind::PersistentVolumeClaim);
    let lost = claims.find(|object| {
        diff::live(s, stack, object).and_then(|live| text(live, &["status", "phase"])) == Some("Lost")
    })?;
    Some((
        reason::STORAGE_UNAVAILABLE,
        format!(
            "the volume behind {0} is lost: delete the PersistentVolumeClaim {0}, with what it held, and it is made anew",
            lost.name
        ),
    ))
}

fn managed(
    s: &StackSnapshot,
    stack: &Stack<'_>,
    part: Part,
    own: &[&Object],
    changing: bool,
) -> (bool, Said) {
    let workload = own.iter().find(|o| matches!(o.kind, Kind::StatefulSet | Kind::Deployment));
    let live = workload.and_then(|object| Some((diff::live(s, stack, object)?, *object)));
    let progressing = |sentence: &str| (false, (reason::PROGRESSING, sentence.to_owned()));
    let Some((live, object)) = live else {
        return progressing("its objects are being made");
    };
    if changing && !is_as_wanted(live, object) {
        return progressing("a change of it is being written");
    }
    if is_complete(live) {
        return (true, (reason::READY, "all pods are ready".to_owned()));
    }
    let pods = s
        .pods
        .iter()
        .filter(|pod| part_of(pod) == Some(part.name()) && pod.metadata.deletion_timestamp.is_none());
    match pods.filter_map(|pod| trouble(stack, part, object, pod)).min_by_key(|(rank, _)| *rank) {
        Some((_, said)) => (false, said),
        None => progressing("it waits until all of its pods are ready"),
    }
}

/// Whether all pods of a workload are of its newest form and ready.
fn is_complete(live: &Value) -> bool {
    let number = |path: &[&str]| at(live, path).and_then(Value::as_i64).unwrap_or_default();
    let wanted = at(live, &["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(1);
    number(&["status", "observedGeneration"]) >= number(&["metadata", "generation"])
        && number(&["status", "readyReplicas"]) >= wanted
        && number(&["status", "updatedReplicas"]) >= wanted
}

/// What the containers of a pod wait for.
pub(super) fn waiting(pod: &SeenStackPod) -> impl Iterator<Item = &Waiting> {
    let status = &pod.status;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses);
    all.filter_map(|container| container.state.waiting.as_ref())
}

/// Why a pod is not ready, as far as people can do something about it; what hinders most has the lowest number.
fn trouble(stack: &Stack<'_>, part: Part, workload: &Object, pod: &SeenStackPod) -> Option<(u8, Said)> {
    let waits = waiting(pod).find_map(|waiting| {
        let said = waiting.message.as_deref().unwrap_or_default();
        match waiting.reason.as_deref()? {
            NO_CONFIG => Some((
                0,
                (
                    reason::SECRET_MISSING,
                    format!(
                        "the kubelet says: {said}; create what is missing, or name another in spec.{}",
                        field(part)
                    ),
                ),
            )),
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "RegistryUnavailable" => Some((1, (reason::IMAGE_PULL_FAILED, no_image(part, workload)))),
            "CrashLoopBackOff" => Some((
                2,
                (
                    reason::CRASHING,
                    format!(
                        "its container ends again and again: kubectl -n {} logs {}/{} --previous tells why",
                        stack.namespace,
                        workload.kind.name().to_lowercase(),
                        workload.name
                    ),
                ),
            )),
            _ => None,
        }
    });
    waits.or_else(|| unscheduled(part, pod).map(|said| (3, said)))
}

/// Without the kubelet's sentence: it changes from one try to the next.
fn no_image(part: Part, workload: &Object) -> String {
    let pod = at(&workload.body, &["spec", "template", "spec", "containers"]).and_then(Value::as_array);
    let image = pod.and_then(|all| all.first()).and_then(|c| text(c, &["image"])).unwrap_or_default();
    format!("image {image} cannot be pulled: check spec.{}.image and spec.imagePullSecrets", field(part))
}

fn unscheduled(part: Part, pod: &SeenStackPod) -> Option<Said> {
    let condition =
        pod.status.conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    let why = without_counts(condition.message.as_deref().unwrap_or_default());
    let about = why.to_lowercase();
    if about.contains("volume") || about.contains("persistentvolumeclaim") {
        let sentence = format!(
            "its volume cannot be had: {why}; set spec.{0}.storage.storageClassName, have a default StorageClass, or set spec.{0}.storage.ephemeral: true",
            field(part)
        );
        return Some((reason::STORAGE_UNAVAILABLE, sentence));
    }
    let sentence = format!(
        "no node takes its pod: {why}; change spec.{0}.resources, nodeSelector, tolerations or affinity, or add a node",
        field(part)
    );
    Some((reason::UNSCHEDULABLE, sentence))
}

/// The scheduler's sentence without its counts of nodes and what it tried besides: those change all the time.
fn without_counts(said: &str) -> String {
    let said = said.split_once("available: ").map_or(said, |(_, why)| why);
    let said = said.split(". preemption").next().unwrap_or(said);
    // What it tried besides may have no name.
    let said = said.strip_suffix(". not found").unwrap_or(said);
    let words = said.split_whitespace().filter(|word| !word.bytes().all(|b| b.is_ascii_digit() || b == b'/'));
    words.collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}
