//! docs/reference.md is made from the CRDs: `UPDATE_DOCS=1 cargo test --test it reference` writes it.

use std::fmt::Write;

use serde_json::Value;

use super::{read, root, text};

const PAGE: &str = "docs/reference.md";
const HEAD: &str = "# Reference of the kinds

Made from the CRDs; change the comments in `src/api` instead. `kubectl explain taskdefinition.spec` says the same.
Fields of Kubernetes' own types are not listed: they are as in a Pod.
";
/// Fields whose inside is Kubernetes' own, with what to call them.
const EMBEDDED: [(&str, &str); 5] = [
    ("podTemplate", "pod template"),
    ("env", "list of environment variables"),
    ("envFrom", "list of sources"),
    ("resources", "requests and limits"),
    ("conditions", "list of conditions"),
];

fn render() -> String {
    let mut page = HEAD.to_owned();
    for crd in millrace::api::all_crds() {
        let crd = serde_json::to_value(crd).unwrap();
        let version = &crd["spec"]["versions"][0];
        let schema = &version["schema"]["openAPIV3Schema"];
        let short: Vec<&str> = crd["spec"]["names"]["shortNames"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let (kind, group) = (text(&crd, "/spec/names/kind"), text(&crd, "/spec/group"));
        write!(page, "\n## {kind}\n\n{}\n\n", text(schema, "/description")).unwrap();
        writeln!(
            page,
            "`apiVersion: {group}/{}`, short name `{}`.",
            text(version, "/name"),
            short.join("`, `")
        )
        .unwrap();
        for part in ["spec", "status"] {
            write!(page, "\n| Field | Type | Default | Meaning |\n| --- | --- | --- | --- |\n").unwrap();
            fields(&schema["properties"][part], part, &mut page);
        }
        let mut rules = Vec::new();
        collect_rules(schema, &mut rules);
        page.push_str("\nRefused at apply, with these sentences:\n\n");
        for rule in rules {
            writeln!(page, "- {rule}").unwrap();
        }
    }
    page
}

fn embedded(name: &str) -> Option<&'static str> {
    EMBEDDED.iter().find(|(field, _)| *field == name).map(|(_, what)| *what)
}

fn fields(schema: &Value, path: &str, page: &mut String) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let default = match &field["default"] {
            Value::Null if required.contains(&name.as_str()) => "required".to_owned(),
            Value::Null | Value::Object(_) => String::new(),
            default => format!("`{}`", cell(&default.to_string())),
        };
        let type_ = embedded(name).map_or_else(|| kind_of(field), str::to_owned);
        let meaning = cell(text(field, "/description"));
        writeln!(page, "| `{path}` | {type_} | {default} | {meaning} |").unwrap();
        if embedded(name).is_none() {
            fields(field, &path, page);
        }
    }
}

/// Type and bounds in words.
fn kind_of(field: &Value) -> String {
    let number = |key: &str| field[key].as_f64().map(|n| format!("{n}"));
    if let Some(words) = field["enum"].as_array() {
        let words: Vec<String> =
            words.iter().filter_map(Value::as_str).map(|w| format!("`{}`", cell(w))).collect();
        return words.join(", ");
    }
    match text(field, "/type") {
        "array" => format!("list of {}s", text(&field["items"], "/type")),
        "object" if field["additionalProperties"].is_object() => "map of strings".to_owned(),
        "integer" => match (number("minimum"), number("maximum")) {
            (Some(from), Some(to)) => format!("integer, {from} to {to}"),
            (Some(from), None) => format!("integer, from {from}"),
            _ => "integer".to_owned(),
        },
        "string" if field["format"] == "date-time" => "time".to_owned(),
        "string" => {
            number("maxLength").map_or("string".to_owned(), |n| format!("string, at most {n} characters"))
        }
        other => other.to_owned(),
    }
}

fn collect_rules(schema: &Value, into: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        into.push(text(rule, "/message").to_owned());
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        if embedded(name).is_none() {
            collect_rules(field, into);
        }
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[test]
fn the_reference_is_made_from_the_crds() {
    let wanted = render();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(root().join(PAGE), &wanted).unwrap();
    }
    assert!(read(PAGE) == wanted, "{PAGE} is old: UPDATE_DOCS=1 cargo test --test it reference");
    assert!(wanted.contains("| `spec.runPolicy.backoffLimit` | integer, 0 to 100 | `0` |"), "{wanted}");
}
