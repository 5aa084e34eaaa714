//! Whose metrics a body holds.

use std::collections::BTreeMap;

use super::parse::{Label, is_label_name, unescape};

/// Labels by name; values as they are, without escapes.
pub type Labels = BTreeMap<String, String>;

/// A run: one attempt of one execution.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// `task_execution_id`.
    pub execution: String,
    /// `task_external_execution_id`: the pod. Empty if the body does not tell.
    pub external: String,
    /// The task's name where the pod is not told, else empty: `orders-2` and `billing-2` are two runs.
    pub task: String,
}

const EXECUTION: &str = "task_execution_id";
const EXTERNAL: &str = "task_external_execution_id";
/// The task's name.
pub const NAME: &str = "task_name";
/// The namespace that it runs in.
pub const NAMESPACE: &str = "task_namespace";
/// SCDF's tag, `<task>-<execution id>`.
const APPLICATION: &str = "application";
/// Labels that say whose a series is. Spring Boot 2.7 gets some of them wrong on some series: Spring Cloud Task's own
/// tags win there, and hold `unknown` or a database's id.
pub const LABELS: [&str; 5] = [EXECUTION, EXTERNAL, NAME, NAMESPACE, "task_parent_execution_id"];
/// What Spring Cloud Task writes where it does not know.
const UNKNOWN: [&str; 3] = ["", "unknown", "null"];

/// Bounds the work for a body that has a new value in every series.
const MOST_VALUES: usize = 64;

/// The label that most series have, of each name that matters.
#[derive(Debug, Default)]
pub struct Votes<'a> {
    /// Nearly always one value for each of few names: looked through in order.
    counts: Vec<(Label<'a>, usize)>,
}

impl<'a> Votes<'a> {
    /// One series' labels.
    pub fn add(&mut self, labels: &[Label<'a>]) {
        for label in labels.iter().filter(|label| matters(label.0)) {
            if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| known == label) {
                *count += 1;
            // More values than this are no identity.
            } else if self.counts.len() < MOST_VALUES {
                self.counts.push((*label, 1));
            }
        }
    }

    fn most(&self, name: &str) -> Option<String> {
        let of_name = self.counts.iter().filter(|((n, _), _)| *n == name);
        let ((_, value), _) = of_name.max_by_key(|((_, value), count)| (*count, *value))?;
        Some(unescape(value))
    }
}

fn matters(name: &str) -> bool {
    // Most names are told apart by how they begin.
    (name.starts_with("task_") && LABELS.contains(&name)) || name == APPLICATION
}

/// Who it is, and the labels that are set on every series. `group` are the labels of a push; they win.
pub fn identify(votes: &Votes<'_>, group: &Labels) -> (Option<Identity>, Labels) {
    let told = |name: &str| group.get(name).cloned().or_else(|| votes.most(name));
    let known = |name: &str| told(name).filter(|value| !UNKNOWN.contains(&value.as_str()));
    let application = known(APPLICATION).and_then(|application| {
        let (task, id) = application.rsplit_once('-')?;
        let right = !task.is_empty() && !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
        let right = right && known(NAME).is_none_or(|name| name == task);
        right.then(|| (task.to_owned(), id.to_owned()))
    });
    let external = known(EXTERNAL);
    let from_labels = known(EXECUTION).filter(|_| external.is_some());
    let execution = from_labels.or_else(|| application.clone().map(|(_, id)| id));
    let mut set = group.clone();
    // Where the task is named, `job` was only a key of the path.
    if known(NAME).is_some() || group.contains_key(NAME) {
        set.remove("job");
    }
    let Some(execution) = execution else { return (None, set) };
    for label in LABELS {
        if let Some(value) = told(label) {
            set.insert(label.to_owned(), value);
        }
    }
    set.insert(EXECUTION.to_owned(), execution.clone());
    let task = application.map(|(task, _)| task);
    if let (None, Some(task)) = (known(NAME), &task) {
        set.insert(NAME.to_owned(), task.clone());
    }
    let (external, task) = match external {
        Some(external) => (external, String::new()),
        None => (String::new(), task.unwrap_or_default()),
    };
    (Some(Identity { execution, external, task }), set)
}

/// What a group says besides whose it is. Nothing if that is only a job: then it is all that its run pushes.
pub fn besides_identity(group: &Labels) -> Labels {
    let besides = group.iter().filter(|(name, _)| !matters(name));
    let besides: Labels = besides.map(|(name, value)| (name.clone(), value.clone())).collect();
    if besides.keys().all(|name| name == "job") { Labels::new() } else { besides }
}

/// The labels of a push: keys of the grouping made valid label names.
pub fn group_labels(group: &[(String, String)]) -> Labels {
    let mut labels: Labels = group.iter().map(|(key, value)| (label_name(key), value.clone())).collect();
    labels.retain(|_, value| !value.is_empty());
    labels
}

/// `task.execution.id` → `task_execution_id`, as Boot writes grouping keys that it read from the environment.
pub fn label_name(key: &str) -> String {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name: String = key.chars().map(|c| if valid(c) { c } else { '_' }).collect();
    if is_label_name(&name) { name } else { format!("_{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(series: &[&[Label<'_>]], group: &[(&str, &str)]) -> (Option<(String, String)>, Labels) {
        let mut votes = Votes::default();
        for labels in series {
            votes.add(labels);
        }
        let group: Vec<_> = group.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (identity, labels) = identify(&votes, &group_labels(&group));
        (identity.map(|i| (i.execution, i.external)), labels)
    }

    fn run(execution: &str, external: &str) -> (String, String) {
        (execution.to_owned(), external.to_owned())
    }

    #[test]
    fn most_series_decide() {
        let own = [(EXECUTION, "42"), (EXTERNAL, "pod"), (NAME, "t")];
        let sct = [(EXECUTION, "1"), (EXTERNAL, "unknown"), (NAME, "t")];
        let (identity, labels) = who(&[&own, &own, &sct], &[]);
        assert_eq!(identity, Some(run("42", "pod")));
        assert_eq!(labels.get(EXTERNAL).map(String::as_str), Some("pod"));
    }

    #[test]
    fn boot_2_without_the_exclude_is_known_by_its_application() {
        let own = [(APPLICATION, "t-x-42"), (EXECUTION, "unknown"), (EXTERNAL, "pod"), (NAME, "t-x")];
        let sct = [(APPLICATION, "t-x-42"), (EXECUTION, "1"), (EXTERNAL, "pod"), (NAME, "t-x")];
        let (identity, labels) = who(&[&own, &own, &sct], &[]);
        assert_eq!(identity, Some(run("42", "pod")));
        assert_eq!(labels.get(EXECUTION).map(String::as_str), Some("42"));
    }

    #[test]
    fn no_identity_is_guessed() {
        assert_eq!(who(&[&[(EXECUTION, "1"), (EXTERNAL, "unknown")]], &[]).0, None);
        assert_eq!(who(&[&[(APPLICATION, "app-2")], &[(NAME, "other")]], &[]).0, None);
        assert_eq!(who(&[&[(APPLICATION, "app-v2")]], &[]).0, None);
        assert_eq!(who(&[&[(APPLICATION, "app-2")]], &[]).0, Some(run("2", "")));
    }

    #[test]
    fn a_group_that_says_only_whose_it_is_is_plain() {
        let besides = |group: &[(&str, &str)]| {
            let group: Vec<_> = group.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let besides = besides_identity(&group_labels(&group)).into_iter();
            besides.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        let run = [("job", "t"), ("task.execution.id", "7"), ("task.name", "t"), (APPLICATION, "t-7")];
        assert!(besides(&run).is_empty());
        assert_eq!(besides(&[&run[..], &[("step", "load")]].concat()), ["job=t", "step=load"]);
    }

    #[test]
    fn without_a_pod_the_task_belongs_to_the_run() {
        let identity = |series: &[Label<'_>]| {
            let mut votes = Votes::default();
            votes.add(series);
            identify(&votes, &Labels::new()).0.unwrap()
        };
        let orders = identity(&[(APPLICATION, "orders-2")]);
        assert_eq!((orders.execution.as_str(), orders.task.as_str()), ("2", "orders"));
        assert_ne!(orders, identity(&[(APPLICATION, "billing-2")]));
        assert_eq!(orders, identity(&[(APPLICATION, "orders-2"), (NAME, "orders")]));
        // Where it is told it is enough.
        let pod = identity(&[(APPLICATION, "orders-2"), (EXTERNAL, "p")]);
        assert_eq!(pod, identity(&[(EXECUTION, "2"), (EXTERNAL, "p")]));
    }

    #[test]
    fn the_group_wins_and_job_is_only_a_key() {
        let group = [
            ("job", "t"),
            ("task.execution.id", "7"),
            ("task.external.execution.id", "p"),
            ("task.name", "t"),
        ];
        let (identity, labels) = who(&[&[(EXECUTION, "1"), (EXTERNAL, "q")]], &group);
        assert_eq!(identity, Some(run("7", "p")));
        assert!(!labels.contains_key("job"));
        assert!(who(&[], &[("job", "t")]).1.contains_key("job"));
        assert!(!who(&[&[(NAME, "t")]], &[("job", "t")]).1.contains_key("job"), "the body names the task");
        assert_eq!(label_name("1.b"), "_1_b");
        assert_eq!(label_name("a:é"), "a__");
    }
}
