//! One definition, decided: can it be launched?

use jiff::Timestamp;

use super::Warning;
use super::resolve::{Rejection, resolve_definition};
use crate::api::TaskDefinitionStatus;
use crate::api::conditions::{self, Draft};
use crate::api::seen::SeenDefinition;
use crate::names::{condition, reason};

/// What to say about a definition; `None` if it is said already.
pub fn decide(
    definition: &SeenDefinition,
    now: Timestamp,
) -> Option<(TaskDefinitionStatus, Option<Warning>)> {
    if definition.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let before = definition.status.as_result().cloned().unwrap_or_default();
    let name = definition.metadata.name.as_deref().unwrap_or_default();
    let checked = match definition.spec.as_result() {
        Ok(spec) => resolve_definition(name, spec),
        Err(why) => Err(Rejection { reason: reason::INVALID_SPEC, message: why.to_owned() }),
    };
    let draft = match &checked {
        Ok(()) => Draft::new(condition::ACCEPTED, true, reason::ACCEPTED, ""),
        Err(rejection) => {
            Draft::new(condition::ACCEPTED, false, rejection.reason, rejection.message.as_str())
        }
    };
    let mut next = before.clone();
    next.observed_generation = definition.metadata.generation;
    conditions::merge(&mut next.conditions, &draft, definition.metadata.generation, now);
    if next == before {
        return None;
    }
    let told = conditions::find(&before.conditions, condition::ACCEPTED).map(|c| c.reason.as_str());
    let warning = checked.err().filter(|rejection| told != Some(rejection.reason));
    let warning = warning.map(|r| Warning { reason: r.reason.to_owned(), message: r.message });
    Some((next, warning))
}
