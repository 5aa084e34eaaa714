//! Which of several stacks count, and whose tasks each watches.

use jiff::Timestamp;

use crate::monitoring::select::{Acceptance, Candidate, accept, choose};
use crate::names::reason;

fn one(namespace: &str, name: &str, second: i64, cluster: bool) -> Candidate {
    let created = Timestamp::from_second(second).unwrap();
    Candidate { created, namespace: namespace.to_owned(), name: name.to_owned(), cluster, going: false }
}

fn allowed(namespaces: &[&str]) -> Vec<String> {
    namespaces.iter().map(ToString::to_string).collect()
}

/// The sentence with which one is refused.
fn refusal(one: &Candidate, all: &[Candidate], allowed: &[String], why: &str) -> String {
    match accept(one, all, allowed) {
        Acceptance::Refused(reason, sentence) if reason == why => sentence,
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_two_for_the_whole_cluster_the_older_counts() {
    let both = allowed(&["home", "ops"]);
    let (older, younger) = (one("ops", "z", 1, true), one("home", "a", 2, true));
    let all = [younger.clone(), older.clone()];
    assert_eq!(accept(&older, &all, &both), Acceptance::Accepted);
    let sentence = refusal(&younger, &all, &both, reason::CONFLICT);
    assert!(sentence.starts_with("TaskMonitoring z in namespace ops is older"), "{sentence}");
    // It goes, or may no longer be for the cluster, or is not for the cluster any more.
    let going = Candidate { going: true, ..older.clone() };
    let own = Candidate { cluster: false, ..older.clone() };
    for (what, rival, allowed) in
        [("going", going, &both), ("own", own, &both), ("not allowed", older.clone(), &allowed(&["home"]))]
    {
        assert_eq!(accept(&younger, &[younger.clone(), rival], allowed), Acceptance::Accepted, "{what}");
    }
    refusal(&older, &all, &allowed(&["home"]), reason::SCOPE_NOT_ALLOWED);
    // Of the same second the name decides, for both in the same way.
    let twin = one("home", "b", 2, true);
    let all = [younger.clone(), twin.clone()];
    assert_eq!(accept(&younger, &all, &both), Acceptance::Accepted);
    refusal(&twin, &all, &both, reason::CONFLICT);
}

#[test]
fn there_is_one_for_each_namespace() {
    let (older, younger) = (one("a", "z", 1, false), one("a", "y", 2, false));
    let elsewhere = one("b", "z", 3, false);
    let all = [older.clone(), younger.clone(), elsewhere.clone()];
    assert_eq!(accept(&older, &all, &[]), Acceptance::Accepted);
    assert_eq!(accept(&elsewhere, &all, &[]), Acceptance::Accepted);
    refusal(&younger, &all, &[], reason::CONFLICT);
}

#[test]
fn a_namespaces_own_is_chosen_before_the_clusters() {
    let home = allowed(&["home"]);
    let all = [one("home", "c", 1, true), one("a", "own", 2, false), one("b", "no", 3, true)];
    let chosen = |namespace: &str, all: &[Candidate]| {
        choose(namespace, all, &home).map(|chosen| format!("{}/{}", chosen.namespace, chosen.name))
    };
    assert_eq!(chosen("a", &all).as_deref(), Some("a/own"));
    for namespace in ["home", "b", "elsewhere"] {
        assert_eq!(chosen(namespace, &all).as_deref(), Some("home/c"), "{namespace}");
    }
    let going = all.clone().map(|c| Candidate { going: c.namespace != "b", ..c });
    assert_eq!(chosen("a", &going), None);
}
