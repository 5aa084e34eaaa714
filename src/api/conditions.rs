//! Conditions as Kubernetes writes them: merged by type, with the time of the last change kept.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Longest message of a condition or status, in bytes: a server's sentence fits, a log does not.
pub const MESSAGE_MAX_BYTES: usize = 1024;

/// A condition to be merged into a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Condition type ([`crate::names::condition`]).
    pub type_: &'static str,
    /// True or False; `None` is Unknown.
    pub status: Option<bool>,
    /// One word for machines ([`crate::names::reason`]).
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl Draft {
    /// A condition of type `type_`.
    pub fn new(type_: &'static str, status: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, status: Some(status), reason, message: message.into() }
    }
}

/// A Warning event about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// [`crate::names::reason`].
    pub reason: String,
    /// The sentence.
    pub message: String,
}

/// Puts `draft` among `conditions`; the transition time moves only when the status does.
pub fn merge(conditions: &mut Vec<Condition>, draft: &Draft, generation: Option<i64>, now: Timestamp) {
    let status = match draft.status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let mut next = Condition {
        type_: draft.type_.to_owned(),
        status: status.to_owned(),
        reason: draft.reason.to_owned(),
        message: clip(&draft.message),
        observed_generation: generation,
        last_transition_time: Time(whole_seconds(now)),
    };
    match conditions.iter_mut().find(|c| c.type_ == draft.type_) {
        Some(present) => {
            if present.status == next.status {
                next.last_transition_time = present.last_transition_time.clone();
            }
            *present = next;
        }
        None => conditions.push(next),
    }
}

/// The condition of type `type_`, if it is there.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Kubernetes keeps whole seconds in status; more would make every comparison differ.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Cuts `text` to [`MESSAGE_MAX_BYTES`] at a character's border and drops control characters, so that what
/// an application or a server says cannot break a log line, a table or an event.
pub fn clip(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MESSAGE_MAX_BYTES));
    for c in text.trim().chars() {
        let c = if c.is_control() { ' ' } else { c };
        if out.len() + c.len_utf8() > MESSAGE_MAX_BYTES - '…'.len_utf8() {
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let mut conditions = Vec::new();
        merge(&mut conditions, &Draft::new("Accepted", false, "A", "x"), Some(1), at(10));
        merge(&mut conditions, &Draft::new("Accepted", false, "B", "y"), Some(1), at(20));
        assert_eq!((conditions[0].reason.as_str(), conditions[0].last_transition_time.0), ("B", at(10)));
        merge(&mut conditions, &Draft::new("Accepted", true, "B", "y"), Some(1), at(30));
        assert_eq!(conditions[0].last_transition_time.0, at(30));
        assert_eq!(conditions.len(), 1);
    }

    #[test]
    fn messages_are_cut_at_a_character_and_have_no_control_characters() {
        let cut = clip(&"ä".repeat(2000));
        assert!(cut.len() <= MESSAGE_MAX_BYTES && cut.ends_with('…'));
        assert_eq!(clip("a\nb\u{1b}[31mc "), "a b [31mc");
    }
}
