//! What is shipped and written down, compared with what the code does: CRDs, chart, plain manifests, examples,
//! documentation, and the rules of the house.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that cannot go on says so by panicking, and takes the paths of tools from the environment"
)]

mod architecture;
pub mod chart;
mod crds;
mod docs;
mod examples;
mod proxy;
mod reference;
mod schema;

use std::path::{Path, PathBuf};
use std::process::Command;

use millrace::api::{TaskDefinition, TaskLaunch};
use millrace::launch::resolve::resolve_definition;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Text of a file of the repository.
fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
}

/// Files below a folder of the repository, as paths from the root, sorted.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("cannot read {}: {e}", folder.display()))
        {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The documents of a YAML text, without empty ones.
fn documents(yaml: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(yaml)
        .map(|document| Value::deserialize(document).unwrap_or_else(|e| panic!("{e} in:\n{yaml}")))
        .filter(|document| !document.is_null())
        .collect()
}

/// What a command printed; the test fails with its errors if it failed.
fn run(command: &mut Command) -> String {
    succeeds(command).unwrap_or_else(|errors| panic!("{command:?}: {errors}"))
}

/// What a command printed, or what it complained about.
fn succeeds(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}; `export $(tests/tools)` gets it"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// The string at a JSON pointer, or "".
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Fails unless `manifest` is one that the API server and the operator would take: no unknown field, CEL rules,
/// a definition that can be launched. Kubernetes' own kinds are left to their schemas.
fn check_manifest(manifest: &Value, place: &str) {
    match text(manifest, "/kind") {
        "TaskDefinition" => {
            let definition = read_whole::<TaskDefinition>(manifest, place);
            check_cel(&definition, place);
            let accepted = resolve_definition(text(manifest, "/metadata/name"), &definition.spec);
            assert!(accepted.is_ok(), "{place}: {accepted:?}");
        }
        "TaskLaunch" => check_cel(&read_whole::<TaskLaunch>(manifest, place), place),
        _ => {}
    }
}

fn check_cel<T: kube::CustomResourceExt + serde::Serialize>(object: &T, place: &str) {
    let mut value = serde_json::to_value(object).unwrap();
    // The API server completes the name before it checks.
    if let Some(prefix) = value.pointer("/metadata/generateName").and_then(Value::as_str) {
        let name = format!("{prefix}x7k2p");
        value["metadata"]["name"] = name.into();
    }
    let schema =
        serde_json::to_value(&T::crd().spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema).unwrap();
    let result = kube::core::cel::Validator::new().validate(&schema, &value, None);
    assert!(result.is_ok(), "{place}: {result:?}");
}

/// `manifest` as our type, with nothing lost on the way: a lost field is a misspelt one.
fn read_whole<T: DeserializeOwned + serde::Serialize>(manifest: &Value, place: &str) -> T {
    let object: T = serde_json::from_value(manifest.clone()).unwrap_or_else(|e| panic!("{place}: {e}"));
    let again = serde_json::to_value(&object).unwrap();
    if let Some(lost) = lost(manifest, &again, "") {
        panic!("{place}: unknown field {lost}");
    }
    object
}

/// The first field of `given` that `kept` lacks.
fn lost(given: &Value, kept: &Value, path: &str) -> Option<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => given.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match kept.get(key) {
                Some(kept) => lost(value, kept, &path),
                None => Some(path),
            }
        }),
        (Value::Array(given), Value::Array(kept)) => {
            given.iter().zip(kept).enumerate().find_map(|(i, (g, k))| lost(g, k, &format!("{path}[{i}]")))
        }
        _ => None,
    }
}

#[test]
fn a_misspelt_field_is_noticed() {
    let manifest = |yaml: &str| documents(yaml).remove(0);
    let good = manifest(
        "{apiVersion: millrace.dev/v1alpha1, kind: TaskDefinition, metadata: {name: a}, spec: {image: x}}",
    );
    check_manifest(&good, "here");
    for bad in [
        "{apiVersion: millrace.dev/v1alpha1, kind: TaskDefinition, metadata: {name: a}, spec: {image: x, imag: y}}",
        "{apiVersion: millrace.dev/v1alpha1, kind: TaskDefinition, metadata: {name: a}, spec: {image: x, podTemplate: {spec: {container: []}}}}",
        "{apiVersion: millrace.dev/v1alpha1, kind: TaskDefinition, metadata: {name: a}, spec: {}}",
    ] {
        let bad = manifest(bad);
        assert!(std::panic::catch_unwind(|| check_manifest(&bad, "here")).is_err(), "{bad}");
    }
}
