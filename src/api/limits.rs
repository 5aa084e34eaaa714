//! Bounds that several fields share. They keep an object far below etcd's 1.5 MB and the cost of CEL rules,
//! which the API server estimates from these very numbers, inside its budget.

use schemars::{Schema, SchemaGenerator};
use serde_json::json;

/// Arguments of a program.
pub fn args(_: &mut SchemaGenerator) -> Schema {
    object(&json!({"type": "array", "maxItems": 256, "items": {"type": "string", "maxLength": 8192}}))
}

/// Properties by name.
pub fn properties(_: &mut SchemaGenerator) -> Schema {
    object(&json!({"type": "object", "maxProperties": 256,
        "additionalProperties": {"type": "string", "maxLength": 8192}}))
}

/// Names of properties.
pub fn property_names(_: &mut SchemaGenerator) -> Schema {
    object(&json!({"type": "array", "maxItems": 256, "default": [],
        "items": {"type": "string", "minLength": 1, "maxLength": 256}}))
}

/// Labels.
pub fn labels(_: &mut SchemaGenerator) -> Schema {
    object(&json!({"type": "object", "maxProperties": 64, "additionalProperties": {
        "type": "string", "maxLength": 63, "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"}}))
}

/// Annotations.
pub fn string_map(_: &mut SchemaGenerator) -> Schema {
    object(&json!({"type": "object", "maxProperties": 64,
        "additionalProperties": {"type": "string", "maxLength": 4096}}))
}

/// Common tags of all meters. Only such keys survive the way through an environment variable, which is how
/// they reach an application of any generation.
pub fn tags(_: &mut SchemaGenerator) -> Schema {
    object(&json!({"type": "object", "maxProperties": 32,
    "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 256},
    "x-kubernetes-validations": [{
        "rule": "self.all(key, key.matches('^[a-z][a-z0-9]*([.][a-z0-9]+)*$'))",
        "message": "keys of tags are lower-case words joined by dots, such as team or cost.center: only those reach every application",
    }]}))
}

fn object(value: &serde_json::Value) -> Schema {
    value.as_object().cloned().unwrap_or_default().into()
}
