//! Which families are kept of which task: patterns that come with the tasks, beside those of whoever runs the proxy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use super::build::Task;
use super::filter::Filter;

/// Bytes of the file: what a ConfigMap holds at most.
pub const BYTES_MAX: usize = 1 << 20;
/// Tasks in it.
pub const TASKS_MAX: usize = 10_000;
/// Tasks whose patterns are held compiled, half a megabyte each at worst; of others they are compiled for each body,
/// which takes about as long as reading it.
const COMPILED_MAX: usize = 128;
/// Characters of one complaint: names and patterns are the users'.
const COMPLAINT_MAX: usize = 400;

/// One task's patterns, as they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Patterns {
    #[serde(default)]
    keep: Vec<String>,
    #[serde(default)]
    drop: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    namespace: String,
    task: String,
    #[serde(flatten)]
    patterns: Patterns,
}

/// The patterns of all tasks.
#[derive(Debug, Default)]
pub struct TaskFilters {
    patterns: BTreeMap<Task, Patterns>,
    compiled: Mutex<BTreeMap<Task, Arc<Filter>>>,
}

impl TaskFilters {
    /// Reads a file, and says which of its entries are left out. An error if it cannot be used as a whole.
    pub fn parse(text: &[u8]) -> Result<(Self, Vec<String>), String> {
        if text.len() > BYTES_MAX {
            return Err(format!("it has more than {BYTES_MAX} bytes"));
        }
        let entries: Vec<serde_json::Value> =
            serde_json::from_slice(text).map_err(|error| format!("it is no list in JSON: {error}"))?;
        if entries.len() > TASKS_MAX {
            return Err(format!("it has {} entries, more than {TASKS_MAX}", entries.len()));
        }
        let (mut patterns, mut wrong) = (BTreeMap::new(), Vec::new());
        for (place, entry) in entries.into_iter().enumerate() {
            if let Err(why) = add(&mut patterns, place, entry) {
                wrong.push(why.chars().take(COMPLAINT_MAX).collect());
            }
        }
        Ok((Self { patterns, compiled: Mutex::default() }, wrong))
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.patterns.len()
    }

    /// What is kept of this task, if it is named.
    pub fn of(&self, task: &Task) -> Option<Arc<Filter>> {
        let Patterns { keep, drop } = self.patterns.get(task)?;
        let compiled = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = compiled().get(task) {
            return Some(known.clone());
        }
        // They were tried when they were read.
        let filter = Arc::new(Filter::of_task(keep, drop).ok()?);
        let mut compiled = compiled();
        if compiled.len() >= COMPILED_MAX {
            compiled.clear();
        }
        compiled.insert(task.clone(), filter.clone());
        Some(filter)
    }
}

/// Adds an entry, or says what is wrong with it.
fn add(
    patterns: &mut BTreeMap<Task, Patterns>,
    place: usize,
    entry: serde_json::Value,
) -> Result<(), String> {
    let entry = Entry::deserialize(entry).map_err(|error| format!("entry {}: {error}", place + 1))?;
    let name = format!("{:?}", format!("{}/{}", entry.namespace, entry.task));
    let wrong = |why: String| format!("{name}: {why}");
    Filter::of_task(&entry.patterns.keep, &entry.patterns.drop).map_err(wrong)?;
    let task = Task { namespace: entry.namespace, name: entry.task };
    if patterns.contains_key(&task) {
        return Err(wrong("it is named twice; the first entry counts".to_owned()));
    }
    patterns.insert(task, entry.patterns);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(namespace: &str, name: &str) -> Task {
        Task { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn a_wrong_entry_is_left_out_alone() {
        let text = br#"[
            {"namespace": "a", "task": "t", "keep": ["jvm_.*", "rows"], "drop": ["jvm_gc_.*"], "later": 1},
            {"namespace": "a", "task": "wrong", "keep": ["("]},
            {"namespace": "a", "task": "large", "drop": ["\\w{1000}"]},
            {"namespace": "a", "task": "t"},
            {"task": "nobody's"},
            7,
            {"namespace": "b", "task": "t"}
        ]"#;
        let (filters, wrong) = TaskFilters::parse(text).unwrap();
        assert_eq!(filters.tasks(), 2);
        let of_a = filters.of(&task("a", "t")).unwrap();
        assert!(of_a.passes("jvm_threads") && of_a.passes("rows"));
        assert!(!of_a.passes("jvm_gc_pause") && !of_a.passes("other") && !of_a.passes("rows_total"));
        assert!(filters.of(&task("b", "t")).unwrap().is_open());
        assert!(filters.of(&task("a", "wrong")).is_none() && filters.of(&task("", "t")).is_none());
        for (wrong, told) in wrong.iter().zip([
            "\"a/wrong\": keep \"(\" is no pattern: unclosed group",
            "\"a/large\": drop",
            "\"a/t\": it is named twice",
            "entry 5: missing field `namespace`",
            "entry 6: invalid type",
        ]) {
            assert!(wrong.contains(told), "{wrong}");
        }
        assert_eq!(wrong.len(), 5, "{wrong:?}");
    }

    #[test]
    fn what_cannot_be_used_as_a_whole_is_an_error() {
        let many = format!("[{}0]", "0,".repeat(TASKS_MAX));
        for (text, told) in [
            ("", "no list in JSON"),
            ("{}", "no list in JSON"),
            (many.as_str(), "10001 entries"),
            (&" ".repeat(BYTES_MAX + 1), "more than 1048576 bytes"),
        ] {
            let error = TaskFilters::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        assert_eq!(TaskFilters::parse(b"[]").unwrap().0.tasks(), 0);
    }

    #[test]
    fn patterns_of_few_tasks_are_held_compiled_and_those_of_all_count() {
        let entry = |i| format!("{{\"namespace\":\"a\",\"task\":\"t{i}\",\"keep\":[\"x{i}\"]}}");
        let entries: Vec<_> = (0..COMPILED_MAX + 10).map(entry).collect();
        let (filters, wrong) = TaskFilters::parse(format!("[{}]", entries.join(",")).as_bytes()).unwrap();
        assert_eq!((filters.tasks(), wrong.len()), (COMPILED_MAX + 10, 0));
        for _ in 0..2 {
            for i in 0..COMPILED_MAX + 10 {
                assert!(filters.of(&task("a", &format!("t{i}"))).unwrap().passes(&format!("x{i}")));
                assert!(filters.compiled.lock().unwrap().len() <= COMPILED_MAX);
            }
        }
    }

    #[test]
    fn complaints_are_short() {
        let name = "x".repeat(100_000);
        let text = format!("[{{\"namespace\":\"a\",\"task\":\"{name}\",\"drop\":[\"{name}(\"]}}]");
        let wrong = TaskFilters::parse(text.as_bytes()).unwrap().1;
        assert_eq!(wrong[0].len(), COMPLAINT_MAX);
    }
}
