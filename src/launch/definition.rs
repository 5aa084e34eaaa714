//! One definition, decided: can it be launched, and do its patterns of metrics count?

use jiff::Timestamp;

use super::Warning;
use super::resolve::{Rejection, resolve_definition};
use crate::api::TaskDefinitionStatus;
use crate::api::conditions::{self, Draft};
use crate::api::seen::SeenDefinition;
use crate::names::{condition, reason};

/// What to say about a definition; `None` if it is said already. `outranked`: the task's name and an older definition
/// that gives it too, whose patterns of metrics count instead.
pub fn decide(
    definition: &SeenDefinition,
    outranked: Option<&(String, String)>,
    now: Timestamp,
) -> Option<(TaskDefinitionStatus, Vec<Warning>)> {
    if definition.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let before = definition.status.as_result().cloned().unwrap_or_default();
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    let checked = match definition.spec.as_result() {
        Ok(spec) => resolve_definition(name, spec),
        Err(why) => Err(Rejection { reason: reason::INVALID_SPEC, message: why.to_owned() }),
    };
    let accepted = match &checked {
        Ok(()) => Draft::new(condition::ACCEPTED, true, reason::ACCEPTED, ""),
        Err(rejection) => {
            Draft::new(condition::ACCEPTED, false, rejection.reason, rejection.message.as_str())
        }
    };
    let patterns = outranked.map(|(task, older)| shared(task, older));
    let mut next = before.clone();
    next.observed_generation = definition.metadata.generation;
    if patterns.is_none() {
        next.conditions.retain(|c| c.type_ != condition::PATTERNS_APPLIED);
    }
    let drafts = [Some(accepted), patterns];
    for draft in drafts.iter().flatten() {
        conditions::merge(&mut next.conditions, draft, definition.metadata.generation, now);
    }
    if next == before {
        return None;
    }
    let is_new = |draft: &&Draft| {
        let told = conditions::find(&before.conditions, draft.type_);
        draft.status == Some(false) && told.is_none_or(|told| told.reason != draft.reason)
    };
    let warnings = drafts.iter().flatten().filter(is_new);
    let warnings = warnings.map(|d| Warning { reason: d.reason.to_owned(), message: d.message.clone() });
    Some((next, warnings.collect()))
}

fn shared(task: &str, older: &str) -> Draft {
    let sentence = format!(
        "metrics.keep and metrics.drop do not count here: TaskDefinition {older}, which is older, gives its task the same name {task} and other patterns, and metrics tell only the task's name; change spec.taskName of one of the two, or give both the same patterns"
    );
    Draft::new(condition::PATTERNS_APPLIED, false, reason::TASK_NAME_SHARED, sentence)
}
