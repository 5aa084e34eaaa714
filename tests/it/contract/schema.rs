//! What is applied is valid for Kubernetes 1.33 to the newest, by Kubernetes' own schemas.

use std::io::Write;
use std::process::{Command, Stdio};

use millrace::api::{TaskDefinition, TaskLaunch};
use millrace::launch::job::{Owner, build_job};
use millrace::launch::resolve::resolve;
use serde_json::{Value, json};

use super::{chart, documents, examples, files, read, root, text};

const PYTHON: &str = "MILLRACE_KUBERNETES_VALIDATE_PYTHON";

/// What is wrong with `objects`, each with the place it comes from.
fn validate(objects: &[(String, Value)]) -> Vec<String> {
    let python = std::env::var_os(PYTHON).unwrap_or_else(|| {
        panic!("{PYTHON} does not name a Python with tests/it/contract/requirements.txt: run `make unit`, or first `export $(tests/tools)`")
    });
    let mut child = Command::new(python)
        .arg(root().join("tests/it/contract/validate.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input: Vec<Value> = objects.iter().map(|(place, o)| json!({"place": place, "object": o})).collect();
    child.stdin.take().unwrap().write_all(json!(input).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "validate.py failed; its errors are above");
    let mut lines = std::str::from_utf8(&output.stdout).unwrap().lines().map(str::to_owned);
    let versions = lines.next().unwrap();
    assert!(versions.starts_with("1.33 1.34 1.35 1.36 1.37"), "checked only {versions}");
    lines.collect()
}

/// Kinds that Kubernetes itself has a schema for.
fn known(object: &Value) -> bool {
    let group = text(object, "/apiVersion").split_once('/').map_or("", |(group, _)| group);
    !group.ends_with("millrace.dev") && group != "monitoring.coreos.com"
}

#[test]
fn manifests_are_valid_for_every_supported_kubernetes() {
    let mut all = Vec::new();
    for (case, args) in chart::CASES {
        all.extend(chart::render(args).into_iter().map(|o| (format!("chart ({case})"), o)));
    }
    for file in files("deploy")
        .iter()
        .chain(&files("examples"))
        .filter(|f| f.extension().is_some_and(|e| e == "yaml"))
    {
        all.extend(documents(&read(file)).into_iter().map(|o| (file.display().to_string(), o)));
    }
    all.retain(|(_, object)| known(object));
    // The same CRD many times over says nothing new, and is what takes long.
    let mut crds = 0;
    all.retain(|(_, o)| {
        o["kind"] != "CustomResourceDefinition" || {
            crds += 1;
            crds <= 2
        }
    });
    assert!(all.len() > 20);
    assert_eq!(validate(&all), [""; 0]);
}

#[test]
fn the_jobs_of_all_examples_are_valid_for_every_supported_kubernetes() {
    let objects: Vec<Value> = examples::examples().iter().flat_map(|file| documents(&read(file))).collect();
    let mut jobs = Vec::new();
    for launch in objects.iter().filter(|o| o["kind"] == "TaskLaunch") {
        let launch: TaskLaunch = serde_json::from_value(launch.clone()).unwrap();
        let name = launch.spec.definition_ref.name.as_str();
        let definition = |o: &&Value| o["kind"] == "TaskDefinition" && text(o, "/metadata/name") == name;
        let definition = objects.iter().find(definition).unwrap();
        let definition: TaskDefinition = serde_json::from_value(definition.clone()).unwrap();
        let resolved = resolve(name, &definition.spec, &launch.spec, Some(7)).unwrap();
        let owner = Owner { name, namespace: "default", uid: "4f0c8a52-1b9e-4c0d-9d52-7f3a5e2b1c00" };
        let mut job = json!({"apiVersion": "batch/v1", "kind": "Job"});
        let built = serde_json::to_value(build_job(&owner, &resolved, 42, None)).unwrap();
        job.as_object_mut().unwrap().extend(built.as_object().unwrap().clone());
        jobs.push((format!("Job of {name}"), job));
    }
    assert!(jobs.len() >= 6);
    assert_eq!(validate(&jobs), [""; 0]);
}

#[test]
fn an_invalid_manifest_is_noticed() {
    let bad =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"prots": []}});
    let errors = validate(&[("here".to_owned(), bad)]);
    assert!(errors.len() >= 5 && errors[0].contains("prots"), "{errors:?}");
}
