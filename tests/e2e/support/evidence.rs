//! What a test that failed shows.

use super::command::kubectl;
use super::operator;

/// Prints launches, the stack, Jobs, pods, events and the end of the operator's log.
pub async fn print(namespace: &str) {
    let n = namespace;
    show(&["get", "tasklaunches,taskdefinitions", "-n", n, "-o", "yaml"], 300).await;
    show(&["get", "taskmonitorings,statefulsets", "-n", n, "-o", "yaml"], 200).await;
    show(&["get", "jobs,pods", "-n", n, "-o", "wide", "--show-labels"], 80).await;
    show(
        &["get", "pods", "-n", n, "-o", "jsonpath={range .items[*]}{.metadata.name} {.status}{\"\\n\"}{end}"],
        40,
    )
    .await;
    show(&["get", "events", "-n", n, "--sort-by=.metadata.creationTimestamp"], 60).await;
    let deployment = format!("deployment/{}", operator::NAME);
    show(&["logs", "-n", operator::NAMESPACE, &deployment, "--tail=40"], 40).await;
}

async fn show(args: &[&str], lines: usize) {
    let said = kubectl(args).await;
    let all: Vec<&str> = said.out.lines().chain(said.err.lines()).collect();
    let first = all.len().saturating_sub(lines);
    eprintln!("--- {}{}", said.line, if first > 0 { " (its end)" } else { "" });
    all.iter().skip(first).for_each(|line| eprintln!("{line}"));
}
