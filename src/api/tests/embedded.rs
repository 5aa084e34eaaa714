//! Kubernetes' own types inside a definition: complete, small, and as tolerant as a Pod.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, PodSpec, ResourceRequirements};
use schemars::JsonSchema;
use serde_json::Value;

use super::schema_of;

/// Paths of all fields of a schema.
fn fields(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        fields(field, &path, found);
        found.push(path);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            fields(&schema[inner], &format!("{path}[]"), found);
        }
    }
    for part in ["allOf", "anyOf", "oneOf"].iter().flat_map(|of| schema[*of].as_array().into_iter().flatten())
    {
        fields(part, path, found);
    }
}

fn fields_of<T: JsonSchema>() -> Vec<String> {
    let settings = schemars::generate::SchemaSettings::openapi3().with(|s| s.inline_subschemas = true);
    let mut generator = settings.into_generator();
    let schema: Value = T::json_schema(&mut generator).into();
    let mut found = Vec::new();
    fields(&schema, "", &mut found);
    found
}

#[test]
fn every_field_of_a_pod_can_be_written() {
    let schema = schema_of("TaskDefinition");
    let spec = &schema["properties"]["spec"]["properties"];
    let compare = |ours: &Value, theirs: Vec<String>, at_least: usize| {
        let mut known = Vec::new();
        fields(ours, "", &mut known);
        assert!(theirs.len() >= at_least, "{}", theirs.len());
        let left_out = |field: &String| field.starts_with(".ephemeralContainers");
        let missing: Vec<_> = theirs.iter().filter(|f| !left_out(f) && !known.contains(f)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        let invented: Vec<_> = known.iter().filter(|f| !theirs.contains(f)).collect();
        assert!(invented.is_empty(), "{invented:?}");
        assert!(!known.iter().any(left_out));
    };
    compare(&spec["podTemplate"]["properties"]["spec"], fields_of::<PodSpec>(), 600);
    compare(&spec["env"]["items"], fields_of::<EnvVar>(), 10);
    compare(&spec["envFrom"]["items"], fields_of::<EnvFromSource>(), 5);
    compare(&spec["resources"], fields_of::<ResourceRequirements>(), 4);
}

/// Besides what `kubectl explain` needs, an embedded schema holds only what the API server understands.
#[test]
fn embedded_schemas_are_plain() {
    fn walk(schema: &Value, path: &str) {
        let object = schema.as_object().unwrap();
        let allowed = [
            "title",
            "type",
            "properties",
            "items",
            "additionalProperties",
            "required",
            "description",
            "format",
            "enum",
            "default",
            "nullable",
            "pattern",
            "minimum",
            "maximum",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "maxProperties",
            "x-kubernetes-int-or-string",
            "x-kubernetes-validations",
            "x-kubernetes-list-type",
            "x-kubernetes-list-map-keys",
            "x-kubernetes-map-type",
            "x-kubernetes-preserve-unknown-fields",
        ];
        for (key, value) in object {
            assert!(allowed.contains(&key.as_str()), "{path}: {key}");
            if key == "format" {
                let known = ["int32", "int64", "double", "float", "date-time", "date", "byte"];
                assert!(known.contains(&value.as_str().unwrap()), "{path}: format {value}");
            }
        }
        assert!(
            schema["x-kubernetes-preserve-unknown-fields"] != true,
            "{path} would swallow misspelt fields"
        );
        let typed = schema["type"].is_string() || schema["x-kubernetes-int-or-string"] == true;
        assert!(typed, "{path} has no type");
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            walk(field, &format!("{path}.{name}"));
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                walk(&schema[inner], &format!("{path}[]"));
            }
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(
                schema["properties"][required.as_str().unwrap()].is_object(),
                "{path}: {required} is required"
            );
        }
    }
    for kind in ["TaskDefinition", "TaskLaunch"] {
        walk(&schema_of(kind), kind);
    }
}

#[test]
fn quantities_may_be_numbers_and_containers_may_be_missing() {
    let schema = schema_of("TaskDefinition");
    let spec = &schema["properties"]["spec"]["properties"];
    let template = &spec["podTemplate"]["properties"];
    let container = &template["spec"]["properties"]["containers"]["items"];
    for resources in [&spec["resources"], &container["properties"]["resources"]] {
        for kind in ["limits", "requests"] {
            let quantity = &resources["properties"][kind]["additionalProperties"];
            assert_eq!(quantity["x-kubernetes-int-or-string"], true, "{quantity}");
            assert!(quantity["pattern"].is_string() && quantity["type"].is_null());
        }
    }
    let required = template["spec"]["required"].as_array().cloned().unwrap_or_default();
    assert!(!required.iter().any(|field| field == "containers"));
    assert_eq!(
        container["required"],
        serde_json::json!(["name"]),
        "a container's image may come from spec.image"
    );
    let metadata: Vec<_> = template["metadata"]["properties"].as_object().unwrap().keys().collect();
    assert_eq!(metadata, ["annotations", "creationTimestamp", "labels"]);
}
