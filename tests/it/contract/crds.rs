//! CRDs as files, in the chart and in deploy/: all are what the code prints.

use std::process::Command;

use kube::ResourceExt;
use millrace::names::{GROUP, VERSION};
use serde_json::Value;

use super::{chart, documents, files, read, root, run, text};

/// Plain `kubectl apply` keeps a copy of what it applies in an annotation; annotations have 256 KiB.
const FILE_MAX: usize = 200 * 1024;

fn printed() -> Vec<(String, Value)> {
    let crds = millrace::api::all_crds();
    crds.iter().map(|crd| (crd.spec.names.plural.clone(), serde_json::to_value(crd).unwrap())).collect()
}

/// Calls `see` with every schema inside `schema` and its path, itself included.
fn walk(schema: &Value, path: &str, see: &mut dyn FnMut(&Value, &str)) {
    see(schema, path);
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(inner, &format!("{path}.{key}"), see);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            walk(&schema[key], &format!("{path}[]"), see);
        }
    }
}

fn schema_of(crd: &Value) -> &Value {
    &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

#[test]
fn files_are_what_the_code_prints() {
    let mut names: Vec<String> = printed().iter().map(|(plural, _)| format!("crds/{plural}.yaml")).collect();
    names.sort();
    let present: Vec<String> = files("crds").iter().map(|p| p.to_str().unwrap().to_owned()).collect();
    assert_eq!(present, names);
    for (plural, crd) in printed() {
        let file = documents(&read(format!("crds/{plural}.yaml")));
        assert!(file == [crd], "crds/{plural}.yaml is not what the code prints: run `make generate`");
    }
}

#[test]
fn the_chart_has_the_same_crds() {
    let objects = chart::render(&[]);
    for (plural, mut crd) in printed() {
        crd["metadata"]["annotations"] = serde_json::json!({"helm.sh/resource-policy": "keep"});
        let rendered = objects
            .iter()
            .find(|o| o["kind"] == crd["kind"] && o["metadata"]["name"] == crd["metadata"]["name"]);
        assert!(rendered == Some(&crd), "{plural} of the chart differs");
    }
}

#[test]
fn deploy_is_the_chart_rendered() {
    chart::helm();
    let rendered = documents(&run(Command::new(root().join("charts/render")).current_dir(root())));
    let mut file = documents(&read("deploy/millrace.yaml"));
    assert!(rendered == file, "deploy/millrace.yaml is not the chart rendered: run `make generate`");
    // All of the chart, and a namespace for it.
    let from_chart = chart::render(&[]);
    assert_eq!(file.remove(0)["kind"], "Namespace");
    let names = |objects: &[Value]| -> Vec<String> {
        objects.iter().map(|o| format!("{} {}", text(o, "/kind"), text(o, "/metadata/name"))).collect()
    };
    assert_eq!(names(&file), names(&from_chart));
    let metadata: String = file.iter().map(|o| o["metadata"].to_string()).collect();
    assert!(!metadata.contains("elm"), "nothing says that Helm looks after it");
}

#[test]
fn each_crd_is_small_enough_for_plain_kubectl_apply() {
    for file in files("crds") {
        let size = read(&file).len();
        assert!(size < FILE_MAX, "{} has {size} bytes", file.display());
    }
}

#[test]
fn kinds_are_of_our_group_and_version() {
    for crd in millrace::api::all_crds() {
        assert_eq!(crd.spec.group, GROUP);
        assert_eq!(crd.name_any(), format!("{}.{GROUP}", crd.spec.names.plural));
        let versions: Vec<&str> = crd.spec.versions.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(versions, [VERSION]);
        assert_eq!(crd.spec.scope, "Namespaced");
    }
}

#[test]
fn no_schema_uses_a_format_that_kubernetes_does_not_know() {
    for (plural, crd) in printed() {
        walk(schema_of(&crd), &plural, &mut |schema, path| {
            let format = text(schema, "/format");
            assert!(
                ["", "int32", "int64", "double", "date-time", "byte"].contains(&format),
                "{path}: {format}"
            );
        });
    }
}

#[test]
fn every_field_of_ours_is_described_and_every_rule_says_what_to_do() {
    // Kubernetes' own types keep only short descriptions, so that the CRD stays small.
    const EMBEDDED: [&str; 7] =
        [".podTemplate", ".env", ".envFrom", ".resources", ".conditions", ".tolerations", ".affinity"];
    for (plural, crd) in printed() {
        walk(schema_of(&crd), &plural, &mut |schema, path| {
            let embedded =
                EMBEDDED.iter().any(|e| path.contains(&format!("{e}.")) || path.contains(&format!("{e}[")));
            if !embedded && !path.ends_with("[]") {
                assert!(!text(schema, "/description").is_empty(), "{path} has no description");
            }
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                assert!(text(rule, "/message").len() > 20, "{path}: {rule}");
            }
        });
    }
}

#[test]
fn the_reader_of_schemas_sees_all_of_them() {
    let mut seen = 0;
    for (plural, crd) in printed() {
        walk(schema_of(&crd), &plural, &mut |_, _| seen += 1);
    }
    assert!(seen > 1000, "{seen}");
}
