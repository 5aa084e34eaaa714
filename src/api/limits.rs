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

/// Names of Secrets.
pub fn secret_names(_: &mut SchemaGenerator) -> Schema {
    object(&json!({"type": "array", "maxItems": 16, "items": {
        "type": "string", "maxLength": 253, "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}}))
}

/// Regular expressions for names of metrics. The API server's own engine and the proxy's understand the same syntax,
/// so what is no expression is refused at apply.
pub fn patterns(_: &mut SchemaGenerator) -> Schema {
    object(&json!({"type": "array", "maxItems": 64,
    "items": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[^\\s]+$"},
    "x-kubernetes-validations": [{
        "rule": "self.all(p, ''.matches(p) in [true, false])",
        "message": "each must be a regular expression that the whole name of a metric fits, such as jvm_.*",
    }]}))
}

/// The URL of a server: nothing in it can leave its place in a configuration file.
pub fn url(_: &mut SchemaGenerator) -> Schema {
    object(&url_of())
}

/// URLs of servers.
pub fn urls(_: &mut SchemaGenerator) -> Schema {
    object(&json!({"type": "array", "maxItems": 16, "items": url_of()}))
}

fn url_of() -> serde_json::Value {
    json!({"type": "string", "minLength": 8, "maxLength": 512,
        "pattern": r"^https?://([a-zA-Z0-9._-]+|\[[0-9a-fA-F:]+\])(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?(/[a-zA-Z0-9._~/%-]*)?$"})
}

/// A host's name or address.
pub fn host(_: &mut SchemaGenerator) -> Schema {
    object(&json!({"type": "string", "minLength": 1, "maxLength": 253,
        "pattern": r"^([a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?|[0-9a-fA-F:]+)$"}))
}

fn object(value: &serde_json::Value) -> Schema {
    value.as_object().cloned().unwrap_or_default().into()
}
