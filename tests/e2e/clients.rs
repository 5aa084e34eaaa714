//! What people see with `kubectl`.

use std::time::Duration;

use crate::support::cluster::within;
use crate::support::command::kubectl;
use crate::support::manifest::plain;
use crate::support::{Space, beside};

fn header(table: &str) -> Vec<&str> {
    table.lines().next().unwrap_or_default().split_whitespace().collect()
}

#[tokio::test]
async fn kubectl_get_shows_launches_and_definitions() {
    beside("get", async |t: &Space| {
        t.define("three", plain(&["--exit-code=3", "--run-for=2s"])).await;
        let end = t.run("three").await;
        let waits = t.launch("nowhere").await;
        t.reason(&waits, "DefinitionNotFound").await;

        let table = t.kubectl(&["get", "tl"]).await.good();
        let columns = ["NAME", "DEFINITION", "PHASE", "EXECUTION", "EXIT", "DURATION", "METRICS", "AGE"];
        assert_eq!(header(&table), columns);
        let line = table.lines().find(|l| l.starts_with(&end.run.name)).unwrap();
        let cells: Vec<&str> = line.split_whitespace().collect();
        let id = end.id().to_string();
        let duration = end.status.duration.as_deref().unwrap();
        assert_eq!(cells[1..7], ["three", "Failed", &id, "3", duration, "Unknown"], "{table}");
        // Exit code and duration of what has not ended are empty, as is the id of what has no Job.
        let line = table.lines().find(|l| l.starts_with(&waits.name)).unwrap();
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((&cells[1..3], cells.len()), (&["nowhere", "Pending"][..], 4), "{table}");

        let wide = t.kubectl(&["get", "tasklaunches", "-o", "wide"]).await.good();
        assert_eq!(header(&wide).get(6..), Some(&["METRICS", "REASON", "POD", "AGE"][..]), "{wide}");
        assert!(wide.contains("NonZeroExit") && wide.contains(end.pod()), "{wide}");

        let table = t.kubectl(&["get", "td"]).await.good();
        assert_eq!(header(&table), ["NAME", "IMAGE", "ACCEPTED", "AGE"]);
        assert!(table.contains("True"), "{table}");
        let all = t.kubectl(&["get", "millrace", "-o", "name"]).await.good();
        assert!(all.contains("taskdefinition.millrace.dev/three"), "{all}");
        assert!(all.contains(&format!("tasklaunch.millrace.dev/{}", end.run.name)), "{all}");

        let told = t.kubectl(&["describe", "tl", &waits.name]).await.good();
        assert!(told.contains("create it, and the launch starts"), "{told}");
    })
    .await;
}

#[tokio::test]
async fn kubectl_explain_reads_well() {
    beside("explain", async |_: &Space| {
        // kubectl keeps what the server had before the kinds were there; this looks anew.
        within(30, "the short names are served", async {
            loop {
                let kinds = kubectl(&["api-resources", "--api-group=millrace.dev"]).await.good();
                let words: Vec<&str> = kinds.split_whitespace().collect();
                if ["td", "tl"].iter().all(|short| words.contains(short)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        })
        .await;
        for (field, words) in [
            ("td", "A task that can be launched"),
            ("tl", "it becomes exactly one Job"),
            ("td.spec.overrides", "What a launch may add"),
            ("td.spec.overrides.args", "`Plain` such as do not begin with a dash"),
            ("td.spec.podTemplate.spec.containers.image", "FIELD: image"),
            ("tl.spec.shutdown", "never taken back"),
            ("tl.status.podName", "external execution id"),
        ] {
            let text = kubectl(&["explain", field]).await.good();
            let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains(words), "{field}: {text}");
            assert!(!text.contains("<empty>"), "a field without description in {field}: {text}");
        }
        let text = kubectl(&["explain", "td.spec.overrides.args"]).await.good();
        assert!(["Deny", "Plain", "Any"].iter().all(|word| text.contains(word)), "{text}");
    })
    .await;
}
