//! What differs between what is wanted and what is there.

use std::time::Duration;

use serde_json::Value;

use super::object::{Kind, LONG, Object, Part, abridged};
use super::{
    ASK_AGAIN, Answer, Gone, Outcome, Stack, StackSnapshot, UNWATCHED, grafana, prometheus, quantity,
};
use crate::api::seen::SeenStackPod;
use crate::api::seen::label_of;
use crate::names::{annotation, label};

/// Of `wanted`, what is to be written: what is not there, or not as it should be. An object that would have to be
/// made anew is left out until the old one is gone ([`orphans`] deletes it).
pub fn differing(s: &StackSnapshot, stack: &Stack<'_>, wanted: &[Object]) -> Vec<Object> {
    wanted.iter().filter(|object| is_to_be_written(s, stack, object)).cloned().collect()
}

fn is_to_be_written(s: &StackSnapshot, stack: &Stack<'_>, object: &Object) -> bool {
    let answer = s.memory.answers.get(&object.key());
    if object.kind == Kind::Secret {
        return is_secret_wanted(s, answer);
    }
    let same = answer.filter(|answer| answer.digest == object.digest());
    let live = live(s, stack, object);
    match same.map(|answer| (&answer.outcome, answer)) {
        Some((Outcome::Foreign(_) | Outcome::KindMissing | Outcome::Refused(_), answer)) => {
            live.is_none_or(|live| !is_as_wanted(live, object)) && is_older(s, answer, ASK_AGAIN)
        }
        // What others hold against us stays different: writing it again would change nothing.
        Some((Outcome::Taken(version), answer)) => match live {
            _ if !object.kind.is_watched() => is_older(s, answer, UNWATCHED),
            Some(live) => version_of(live) != Some(version) && differs(live, object),
            None => true,
        },
        // It was looked for when it was not wanted.
        Some((Outcome::Absent, _)) | None => live.is_none_or(|live| differs(live, object)),
    }
}

fn differs(live: &Value, object: &Object) -> bool {
    !is_going(live) && !must_be_remade(live, object) && !is_as_wanted(live, object)
}

fn is_older(s: &StackSnapshot, answer: &Answer, age: Duration) -> bool {
    left(s, answer, age).is_zero()
}

/// What is left until an answer has this age.
pub(super) fn left(s: &StackSnapshot, answer: &Answer, age: Duration) -> Duration {
    let passed = s.now.duration_since(answer.at);
    // A clock that was set back must not stop us for long.
    if passed.is_negative() { Duration::ZERO } else { age.saturating_sub(passed.unsigned_abs()) }
}

/// A Secret is made once; whether it is there is not known, since it is never read. So it is made where Grafana has
/// not been started, or does not start for want of it.
fn is_secret_wanted(s: &StackSnapshot, answer: Option<&Answer>) -> bool {
    let started = s.owned.contains_key(&(Kind::Deployment, Part::Grafana.name().to_owned()));
    let missed = || {
        let pods = s.pods.iter().filter(|pod| part_of(pod) == Some(Part::Grafana.name()));
        pods.flat_map(|pod| super::health::waiting(pod)).any(|w| w.reason.as_deref() == Some(NO_CONFIG))
    };
    match answer {
        None => !started || missed(),
        Some(answer) if matches!(answer.outcome, Outcome::Refused(_)) => is_older(s, answer, ASK_AGAIN),
        // Deleted by hand.
        Some(answer) => started && missed() && is_older(s, answer, ASK_AGAIN),
    }
}

/// The kubelet's word for a Secret or key that is not there.
pub(super) const NO_CONFIG: &str = "CreateContainerConfigError";

/// Which part a pod is of.
pub(super) fn part_of(pod: &SeenStackPod) -> Option<&str> {
    label_of(&pod.metadata, label::APP_COMPONENT)
}

/// What is there of `object`, if it is the stack's: its owner is the stack, or, of a volume that is kept, nobody.
pub fn live<'a>(s: &'a StackSnapshot, stack: &Stack<'_>, object: &Object) -> Option<&'a Value> {
    let live: &Value = s.owned.get(&object.key())?;
    let kept = object.kind == Kind::PersistentVolumeClaim
        && owners(live).next().is_none()
        && text(live, &["metadata", "labels", label::MONITORING]) == Some(stack.name);
    (kept || is_owned(live, stack)).then_some(live)
}

fn is_owned(live: &Value, stack: &Stack<'_>) -> bool {
    owners(live).any(|owner| owner.get("uid").and_then(Value::as_str) == Some(stack.uid))
}

fn owners(live: &Value) -> impl Iterator<Item = &Value> {
    at(live, &["metadata", "ownerReferences"]).and_then(Value::as_array).into_iter().flatten()
}

fn is_going(live: &Value) -> bool {
    at(live, &["metadata", "deletionTimestamp"]).is_some()
}

fn version_of(live: &Value) -> Option<&str> {
    text(live, &["metadata", "resourceVersion"])
}

/// What `path` leads to.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// The text that `path` leads to.
pub(super) fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(value, path)?.as_str()
}

/// Whether what is there says all that `object` says, and was built as it.
pub fn is_as_wanted(live: &Value, object: &Object) -> bool {
    text(live, &["metadata", "annotations", annotation::APPLIED]) == Some(object.digest())
        && contains(live, &object.body, Meaning::Words)
        && is_exact(live, object)
}

/// Of rules that give access, one more is as wrong as one less. The API server adds nothing to these.
fn is_exact(live: &Value, object: &Object) -> bool {
    let field = match object.kind {
        Kind::NetworkPolicy => "spec",
        Kind::Role => "rules",
        Kind::RoleBinding => "subjects",
        _ => return true,
    };
    match (object.body.get(field), live.get(field)) {
        (Some(wanted), Some(live)) => contains(wanted, live, Meaning::Words),
        _ => false,
    }
}

/// How strings are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Words,
    /// Beneath `requests` and the like: `1000m` is `1`.
    Amounts,
}

/// A field that the API server leaves out where it is false. (Where true is the default it does not.)
const LEFT_OUT: &str = "publishNotReadyAddresses";

/// Whether `live` has everything that `wanted` says. Empty maps and nothing are one: the API server leaves them out.
fn contains(live: &Value, wanted: &Value, meaning: Meaning) -> bool {
    match (live, wanted) {
        (_, Value::Null) => true,
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            let meaning = match key.as_str() {
                "requests" | "limits" | "sizeLimit" => Meaning::Amounts,
                _ => meaning,
            };
            let is_left_out = || is_nothing(wanted) || *wanted == Value::Bool(false) && key == LEFT_OUT;
            live.get(key).map_or_else(is_left_out, |live| contains(live, wanted, meaning))
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(l, w)| contains(l, w, meaning))
        }
        // The type of ports and amounts is "integer or string".
        (Value::String(text), Value::Number(number)) | (Value::Number(number), Value::String(text)) => {
            same(text, &number.to_string(), meaning)
        }
        (Value::String(live), Value::String(wanted)) => same(live, wanted, meaning),
        _ => live == wanted,
    }
}

fn same(live: &str, wanted: &str, meaning: Meaning) -> bool {
    live == wanted
        || wanted.len() > LONG && live == abridged(wanted)
        || meaning == Meaning::Amounts
            && quantity::billionths(live).is_some_and(|live| quantity::billionths(wanted) == Some(live))
}

fn is_nothing(wanted: &Value) -> bool {
    match wanted {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_nothing),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// Whether a StatefulSet's volumes are to come from claims and do not, or the other way round: that cannot be changed.
fn must_be_remade(live: &Value, object: &Object) -> bool {
    let claims = |set: &Value| {
        let templates = at(set, &["spec", "volumeClaimTemplates"]).and_then(Value::as_array);
        templates.is_some_and(|templates| !templates.is_empty())
    };
    object.kind == Kind::StatefulSet && claims(live) != claims(&object.body)
}

/// What is the stack's and is not wanted, workloads first. Volumes without owner are nobody's: they stay.
pub fn orphans(s: &StackSnapshot, stack: &Stack<'_>, wanted: &[Object]) -> Vec<Gone> {
    let is_wanted = |kind: Kind, name: &str, live: &Value| {
        let same = wanted.iter().find(|object| object.kind == kind && object.name == name);
        same.is_some_and(|object| !must_be_remade(live, object))
    };
    let mut gone: Vec<Gone> = s
        .owned
        .iter()
        .filter(|((kind, name), live)| {
            is_owned(live, stack) && !is_going(live) && !is_wanted(*kind, name, live)
        })
        .map(|((kind, name), live)| Gone {
            kind: *kind,
            name: name.clone(),
            uid: text(live, &["metadata", "uid"]).unwrap_or_default().to_owned(),
        })
        .collect();
    gone.sort_by(|a, b| (b.kind, &a.name).cmp(&(a.kind, &b.name)));
    gone
}

/// What may be left of the stack among kinds that are not watched: all that it could have there, but for what is wanted
/// and what this process has looked for already.
pub fn strays(s: &StackSnapshot, stack: &Stack<'_>, wanted: &[Object]) -> Vec<(Kind, String)> {
    if !stack.installation.integrations {
        return Vec::new();
    }
    let is_absent = |key: &(Kind, String)| {
        s.memory.answers.get(key).is_some_and(|answer| answer.outcome == Outcome::Absent)
    };
    let all = prometheus::unwatched(stack).into_iter().chain(grafana::unwatched(stack));
    all.filter(|key| !is_absent(key) && wanted.iter().all(|object| object.key() != *key)).collect()
}
