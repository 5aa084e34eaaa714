//! Examples, and manifests in the documentation: the API server would take them as they stand.

use std::collections::BTreeSet;
use std::path::Path;

use millrace::names::reason;
use serde_json::Value;

use super::{check_manifest, documents, files, read, text};

/// Images that `make demo` builds; whoever tries an example elsewhere replaces them.
const IMAGES: [&str; 2] = ["localhost/millrace-task-plain:1", "localhost/millrace-task-boot35:1"];

/// Files of examples; those of the demo are the demo's own.
pub(super) fn examples() -> Vec<std::path::PathBuf> {
    let mut all = files("examples");
    all.retain(|file| !file.starts_with("examples/demo") && file.extension().is_some_and(|e| e == "yaml"));
    all
}

fn folder(file: &Path) -> &str {
    file.parent().unwrap().file_name().unwrap().to_str().unwrap()
}

/// Every image that a manifest names.
fn images(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(key, inner)| match inner.as_str() {
            Some(image) if key == "image" => drop(found.insert(image.to_owned())),
            _ => images(inner, found),
        }),
        Value::Array(all) => all.iter().for_each(|inner| images(inner, found)),
        _ => {}
    }
}

#[test]
fn examples_are_valid_and_run_anywhere() {
    assert!(examples().len() > 10);
    let mut found = BTreeSet::new();
    for file in examples() {
        for object in documents(&read(&file)) {
            check_manifest(&object, &file.display().to_string());
            assert!(
                object["metadata"]["namespace"].is_null(),
                "{}: leave the namespace to the user",
                file.display()
            );
            images(&object, &mut found);
        }
    }
    assert_eq!(found, IMAGES.map(str::to_owned).into());
}

#[test]
fn each_launch_says_how_it_ends_and_runs_a_definition_beside_it() {
    for file in examples() {
        let content = read(&file);
        let is_launch = file.file_name().unwrap().to_str().unwrap().starts_with("launch-")
            || file.file_name().unwrap() == "launch.yaml";
        for object in documents(&content) {
            assert_eq!(
                object["kind"] == "TaskLaunch",
                is_launch,
                "{}: launches are launch*.yaml",
                file.display()
            );
            if !is_launch {
                continue;
            }
            let definition = text(&object, "/spec/definitionRef/name");
            let beside = examples().into_iter().filter(|other| folder(other) == folder(&file));
            let defined = beside
                .flat_map(|other| documents(&read(other)))
                .any(|o| o["kind"] == "TaskDefinition" && text(&o, "/metadata/name") == definition);
            assert!(defined, "{}: no definition {definition} beside it", file.display());
        }
        if is_launch {
            let ends = content.lines().next().unwrap().strip_prefix("# Ends: ").unwrap_or_default();
            let failures =
                [reason::NON_ZERO_EXIT, reason::DEADLINE_EXCEEDED].map(|reason| format!("Failed {reason}"));
            let known = ends == "Succeeded" || failures.iter().any(|f| f == ends);
            assert!(
                known,
                "{}: the first line says `# Ends: Succeeded` or `# Ends: Failed REASON`",
                file.display()
            );
        }
    }
}

#[test]
fn the_readme_lists_every_example() {
    let readme = read("examples/README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let rows: BTreeSet<&str> = rows.map(|(name, _)| name).collect();
    let all = examples();
    assert_eq!(rows, all.iter().map(|file| folder(file)).collect());
}

#[test]
fn manifests_in_the_documentation_are_valid() {
    let mut count = 0;
    for page in files("docs").iter().filter(|p| p.extension().is_some_and(|e| e == "md")) {
        for block in read(page).split("```yaml\n").skip(1) {
            let (block, _) = block.split_once("```").unwrap();
            for object in documents(block).iter().filter(|o| o["kind"].is_string()) {
                check_manifest(object, &format!("{}:\n{block}", page.display()));
                count += 1;
            }
        }
    }
    assert!(count > 5, "{count}");
}
