//! Which families are kept: patterns of names, given by whoever runs the proxy. Identity is labels, and stays.

use regex::{Regex, RegexBuilder};

/// Patterns that a family's whole name is compared with.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    keep: Option<Regex>,
    drop: Option<Regex>,
}

impl Filter {
    /// Keeps what one of `keep` fits (all, if there is none), but what one of `drop` fits.
    pub fn new(keep: &[String], drop: &[String]) -> Result<Self, String> {
        Ok(Self { keep: any(keep, "--keep", SIZE_MAX)?, drop: any(drop, "--drop", SIZE_MAX)? })
    }

    /// The same for one task among thousands, whose patterns anybody may have written.
    pub fn of_task(keep: &[String], drop: &[String]) -> Result<Self, String> {
        Ok(Self { keep: any(keep, "keep", TASK_SIZE_MAX)?, drop: any(drop, "drop", TASK_SIZE_MAX)? })
    }

    /// Whether every name passes.
    pub fn is_open(&self) -> bool {
        self.keep.is_none() && self.drop.is_none()
    }

    /// Whether a family is kept.
    pub fn passes(&self, name: &str) -> bool {
        self.keep.as_ref().is_none_or(|keep| keep.is_match(name))
            && !self.drop.as_ref().is_some_and(|drop| drop.is_match(name))
    }
}

/// Memory of all patterns of an option, compiled: the library's own default.
const SIZE_MAX: usize = 10 << 20;
/// The same of a task: enough for some hundred names.
const TASK_SIZE_MAX: usize = 256 << 10;

fn compiled(pattern: &str, size_max: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(size_max).build()
}

/// One pattern that fits where one of `patterns` does.
fn any(patterns: &[String], option: &str, size_max: usize) -> Result<Option<Regex>, String> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut parts = Vec::new();
    for pattern in patterns {
        // Alone first, so that the error is about this one and `a)(b` is none.
        compiled(pattern, size_max).map_err(|error| {
            format!(
                "{option} {pattern:?} is no pattern: {}; give a regular expression that the whole name of a \
                 family fits, such as jvm_.*",
                reason(&error)
            )
        })?;
        parts.push(format!("(?:{pattern})"));
    }
    let whole = format!("^(?:{})$", parts.join("|"));
    let too_large = |error| format!("the patterns of {option} together are too large: {}", reason(&error));
    compiled(&whole, size_max).map(Some).map_err(too_large)
}

/// The last line of the library's picture says what is wrong.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(keep: &[&str], drop: &[&str]) -> Result<Filter, String> {
        let owned = |of: &[&str]| of.iter().map(|&p| p.to_owned()).collect::<Vec<_>>();
        Filter::new(&owned(keep), &owned(drop))
    }

    #[test]
    fn patterns_are_anchored_and_drop_wins() {
        let some = filter(&["jvm_.*", "a|b"], &["jvm_gc_.*"]).unwrap();
        let passed: Vec<_> = ["jvm_threads", "jvm_gc_pause", "xjvm_a", "a", "b", "ab"]
            .into_iter()
            .filter(|n| some.passes(n))
            .collect();
        assert_eq!(passed, ["jvm_threads", "a", "b"]);
        assert!(filter(&[], &["x"]).unwrap().passes("xy"));
        assert!(filter(&[], &[]).unwrap().is_open());
    }

    #[test]
    fn a_wrong_pattern_is_told() {
        for (keep, drop, told) in [
            (&["jvm_("][..], &[][..], "--keep \"jvm_(\" is no pattern: unclosed group"),
            (&[], &["*"], "--drop \"*\" is no pattern: repetition operator missing expression"),
            (&["a)(b"], &[], "--keep \"a)(b\" is no pattern"),
        ] {
            let error = filter(keep, drop).unwrap_err();
            assert!(error.contains(told) && error.contains("such as"), "{error}");
        }
    }
}
