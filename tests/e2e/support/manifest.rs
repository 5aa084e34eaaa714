//! Objects of Kubernetes' own that tests need, and `now`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::PLAIN;

/// The time: tasks that fail before a time need one.
#[expect(clippy::disallowed_methods, reason = "no operator here whose clock could be set")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// What a plain task asks for: without a request it starves beside other work.
pub fn little() -> Value {
    json!({"requests": {"cpu": "50m"}})
}

/// A definition of the plain task with these arguments.
pub fn plain(args: &[&str]) -> Value {
    json!({"image": PLAIN, "args": args, "resources": little()})
}

/// The same with a run policy.
pub fn plain_with(args: &[&str], run_policy: &Value) -> Value {
    json!({"image": PLAIN, "args": args, "resources": little(), "runPolicy": run_policy})
}

/// A quota of this many objects of a resource.
pub fn quota(resource: &str, hard: u32) -> Value {
    json!({"metadata": {"name": "quota"}, "spec": {"hard": {resource: hard.to_string()}}})
}
