//! Bad input: refused at apply with a sentence, or a condition with a reason. Nothing crashes, nothing is half done.

use millrace::api::{Phase, TaskDefinition};
use millrace::names::condition;
use serde_json::{Value, json};

use crate::support::cluster::until;
use crate::support::manifest::little;
use crate::support::run::of;
use crate::support::{PLAIN, Run, Space, beside};

mod bounds;
#[expect(clippy::too_many_lines, reason = "a table")]
mod definitions;
mod launches;
mod monitoring;

/// What the API server or the operator is expected to say.
#[derive(Clone, Copy, Debug)]
enum Expect {
    /// `kubectl apply` fails with these words.
    Refused(&'static str),
    /// `kubectl create` fails with these words: for what is too large for apply's own annotation.
    RefusedAtCreate(&'static str),
    /// Condition Accepted is false for this reason, with these words.
    NotAccepted(&'static str, &'static str),
    /// The launch ends as failed for this reason, with these words.
    Fails(&'static str, &'static str),
    /// It is as it should be.
    Fine,
}

/// One input.
struct Case {
    what: &'static str,
    object: Value,
    expect: Expect,
}

/// A definition with this spec.
fn definition(what: &'static str, spec: Value, expect: Expect) -> Case {
    Case { what, object: json!({"kind": "TaskDefinition", "spec": spec}), expect }
}

/// A launch of a definition, with further fields.
fn launch(what: &'static str, of: &str, spec: Value, expect: Expect) -> Case {
    let mut spec = spec;
    spec["definitionRef"] = json!({"name": of});
    Case { what, object: json!({"kind": "TaskLaunch", "spec": spec}), expect }
}

impl Case {
    fn named(mut self, name: &str) -> Self {
        self.object["metadata"] = json!({"name": name});
        self
    }

    /// The object with what every one has, and its resource.
    fn manifest(&self, number: usize) -> (String, &'static str, String) {
        let mut object = self.object.clone();
        object["apiVersion"] = json!("millrace.dev/v1alpha1");
        if object["metadata"]["name"].is_null() {
            object["metadata"]["name"] = json!(format!("case-{number}"));
        }
        let resource = match object["kind"].as_str().unwrap() {
            "TaskLaunch" => "tasklaunch",
            "TaskMonitoring" => "taskmonitoring",
            _ => "taskdefinition",
        };
        (object["metadata"]["name"].as_str().unwrap().to_owned(), resource, object.to_string())
    }
}

/// The definitions that launches of the table name.
async fn fixtures(t: &Space) {
    for (name, overrides) in [
        ("plain", json!({"properties": ["app.chunk-size"]})),
        ("deny", json!({"args": "Deny"})),
        ("any", json!({"args": "Any", "properties": ["spring.cloud.task.name"]})),
    ] {
        t.define(name, json!({"image": PLAIN, "resources": little(), "overrides": overrides})).await;
    }
    // Fine for the schema; what is wrong shows when the Job is made.
    t.define("bad-label", json!({"image": PLAIN, "podTemplate": {"metadata": {"labels": {"team": "a b"}}}}))
        .await;
    let mount = json!([{"name": "nowhere", "mountPath": "/data"}]);
    let container = json!({"name": "task", "image": PLAIN, "volumeMounts": mount});
    t.define("bad-mount", json!({"podTemplate": {"spec": {"containers": [container]}}})).await;
}

#[tokio::test]
async fn the_table() {
    beside("refusals", async |t: &Space| {
        fixtures(t).await;
        let tables = [definitions::all(), launches::all(), bounds::all(), monitoring::all()];
        let cases: Vec<Case> = tables.into_iter().flatten().collect();
        let mut wrong = Vec::new();
        let mut applied = Vec::new();
        for (number, case) in cases.iter().enumerate() {
            let (name, resource, manifest) = case.manifest(number);
            let verb = if matches!(case.expect, Expect::RefusedAtCreate(_)) { "create" } else { "apply" };
            let said = t.kubectl_with(&[verb, "-f", "-"], &manifest).await;
            let refused = match case.expect {
                Expect::Refused(words) | Expect::RefusedAtCreate(words) => Some(words),
                _ => None,
            };
            eprintln!("{}: {}", case.what, said.err.chars().take(600).collect::<String>());
            match refused {
                Some(words) if said.ok || !said.err.contains(words) => {
                    wrong.push(format!("{}: {words:?} expected, but {said:?}", case.what));
                }
                None if !said.ok => wrong.push(format!("{}: refused: {}", case.what, said.err)),
                None => applied.push((case, name, resource)),
                Some(_) => {}
            }
        }
        let runs = t.all_runs().await;
        let mut jobs = 0;
        for (case, name, resource) in applied {
            let run = runs.iter().find(|r| resource == "tasklaunch" && r.name == name);
            if matches!(case.expect, Expect::Fine) && run.is_some() {
                jobs += 1;
            }
            if let Err(what) = outcome(t, case, &name, run).await {
                wrong.push(format!("{}: {what}", case.what));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        // Nothing was begun that was not allowed.
        assert_eq!(t.recorder.seen().jobs.len(), jobs);
    })
    .await;
}

async fn outcome(t: &Space, case: &Case, name: &str, run: Option<&Run>) -> Result<(), String> {
    match (case.expect, run) {
        (Expect::NotAccepted(reason, words), Some(run)) => {
            let status = t.status(run, case.what, 60, |s| of(s, condition::ACCEPTED).is_some()).await;
            let told = of(&status, condition::ACCEPTED).unwrap();
            eprintln!("{}: {}: {}", case.what, told.reason, told.message);
            let fits = told.status == "False" && told.reason == reason && told.message.contains(words);
            let same = status.phase == Some(Phase::Pending) && status.reason.as_deref() == Some(reason);
            (fits && same).then_some(()).ok_or_else(|| format!("{status:#?}"))
        }
        (Expect::NotAccepted(reason, words), None) => {
            let told = |d: Option<&TaskDefinition>| {
                let conditions = d.and_then(|d| d.status.as_ref()).map(|s| s.conditions.as_slice());
                conditions.unwrap_or_default().iter().find(|c| c.type_ == condition::ACCEPTED).cloned()
            };
            let api = t.api::<TaskDefinition>();
            let found = until(api, name, case.what, 30, |d: Option<&TaskDefinition>| told(d).is_some()).await;
            let told = told(found.as_ref()).unwrap();
            eprintln!("{}: {}: {}", case.what, told.reason, told.message);
            let fits = told.status == "False" && told.reason == reason && told.message.contains(words);
            fits.then_some(()).ok_or_else(|| format!("{told:#?}"))
        }
        (Expect::Fails(reason, words), Some(run)) => {
            let end = t.ended(run).await;
            eprintln!("{}: {:?}: {}", case.what, end.status.reason, end.message());
            let fits =
                end.status.phase == Some(Phase::Failed) && end.status.reason.as_deref() == Some(reason);
            (fits && end.message().contains(words)).then_some(()).ok_or_else(|| format!("{:#?}", end.status))
        }
        (Expect::Fine, Some(run)) => {
            t.ended(run).await.succeeded();
            Ok(())
        }
        (Expect::Fine, None) => {
            let object = format!("td/{name}");
            let line = ["wait", &object, "--for=condition=Accepted", "--timeout=30s"];
            let said = t.kubectl(&line).await;
            said.ok.then_some(()).ok_or(said.err)
        }
        other => Err(format!("{other:?} makes no sense")),
    }
}

#[tokio::test]
async fn what_was_launched_cannot_be_changed() {
    beside("immutable", async |t: &Space| {
        let object = json!({"apiVersion": "millrace.dev/v1alpha1", "kind": "TaskLaunch", "metadata": {"name": "one"},
            "spec": {"definitionRef": {"name": "nowhere"}, "args": ["a"], "properties": {"k": "v"},
                "parentRef": {"executionId": 7}}});
        t.kubectl_with(&["apply", "-f", "-"], &object.to_string()).await.good();
        for (patch, field) in [
            (r#"{"spec":{"definitionRef":{"name":"other"}}}"#, "spec.definitionRef cannot be changed"),
            (r#"{"spec":{"args":["b"]}}"#, "spec.args cannot be changed"),
            (r#"{"spec":{"args":null}}"#, "spec.args cannot be changed"),
            (r#"{"spec":{"properties":{"k":"w"}}}"#, "spec.properties cannot be changed"),
            (r#"{"spec":{"properties":{"k2":"w"}}}"#, "spec.properties cannot be changed"),
            (r#"{"spec":{"parentRef":{"executionId":8}}}"#, "spec.parentRef cannot be changed"),
            (r#"{"spec":{"parentRef":null}}"#, "spec.parentRef cannot be changed"),
        ] {
            let said = t.kubectl(&["patch", "tl", "one", "--type=merge", "-p", patch]).await.bad();
            assert!(said.contains(field) && said.contains("a re-run is a new TaskLaunch"), "{patch}: {said}");
        }
        let stop = |value: &str| format!(r#"{{"spec":{{"shutdown":{value}}}}}"#);
        t.kubectl(&["patch", "tl", "one", "--type=merge", "-p", &stop("\"Stop\"")]).await.good();
        let said = t.kubectl(&["patch", "tl", "one", "--type=merge", "-p", &stop("null")]).await.bad();
        assert!(said.contains("spec.shutdown cannot be taken back"), "{said}");
        let run = t.all_runs().await.pop().unwrap();
        t.ended(&run).await.is(Phase::Stopped, Some("Stopped"), None);
    })
    .await;
}
