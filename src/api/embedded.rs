//! Schemas of Kubernetes' own types inside our kinds: complete, so that a misspelt field is refused at apply,
//! yet small, so that each CRD can be applied with plain `kubectl apply` (which keeps a copy in an annotation).

use k8s_openapi::api::core::v1::{
    Affinity, EnvFromSource, EnvVar, PodTemplateSpec, ResourceRequirements, Toleration,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// What the API server itself accepts as a quantity (apimachinery, `resource.Quantity`).
const QUANTITY_PATTERN: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";
/// Longest description kept inside an embedded type, in characters.
const DESCRIPTION_MAX: usize = 50;

/// A pod template. `containers` may be missing: the short fields of a definition then make the container.
pub fn pod_template(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = embed::<PodTemplateSpec>(generator);
    schema.insert("description".into(), json!("A whole pod template, for everything that the short fields cannot say. Short fields apply to the container named by taskContainer, else to the only one, else they create it."));
    if let Some(metadata) = schema.pointer_mut("/properties/metadata") {
        *metadata = template_metadata();
    }
    // Debug containers cannot stand in a template; without them the CRD is a quarter smaller.
    if let Some(fields) = schema.pointer_mut("/properties/spec/properties").and_then(Value::as_object_mut) {
        fields.remove("ephemeralContainers");
    }
    if let Some(required) = schema.pointer_mut("/properties/spec/required").and_then(Value::as_array_mut) {
        required.retain(|field| field != "containers");
    }
    schema
}

/// Environment variables.
pub fn env(generator: &mut SchemaGenerator) -> Schema {
    list(embed::<EnvVar>(generator), "Environment of the task's container.")
}

/// Sources of environment variables.
pub fn env_from(generator: &mut SchemaGenerator) -> Schema {
    list(
        embed::<EnvFromSource>(generator),
        "ConfigMaps and Secrets whose keys become environment of the task's container.",
    )
}

/// Requests and limits.
pub fn resources(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = embed::<ResourceRequirements>(generator);
    schema.insert("description".into(), json!("Requests and limits of the container."));
    schema
}

/// Taints that are tolerated.
pub fn tolerations(generator: &mut SchemaGenerator) -> Schema {
    list(embed::<Toleration>(generator), "Taints of nodes that are no hindrance.")
}

/// Preferred and required places.
pub fn affinity(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = embed::<Affinity>(generator);
    schema.insert("description".into(), json!("Preferred and required places."));
    schema
}

/// Of a template's metadata only these two have a meaning; `creationTimestamp: null` is what generators print.
fn template_metadata() -> Value {
    let map = |what: &str| json!({"description": what, "type": "object", "additionalProperties": {"type": "string"}});
    json!({
        "description": "Labels and annotations of the pod.",
        "type": "object",
        "properties": {
            "labels": map("Labels of the pod."),
            "annotations": map("Annotations of the pod."),
            "creationTimestamp": {"description": "Ignored; generators print it.", "type": "string", "nullable": true},
        },
    })
}

fn list(items: Schema, description: &str) -> Schema {
    let mut schema = Map::new();
    schema.insert("description".into(), json!(description));
    schema.insert("type".into(), json!("array"));
    schema.insert("maxItems".into(), json!(512));
    schema.insert("items".into(), items.into());
    schema.into()
}

fn embed<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut value: Value = T::json_schema(generator).into();
    tidy(&mut value, false);
    match value {
        Value::Object(object) => object.into(),
        _ => Schema::default(),
    }
}

/// Shortens descriptions and lets quantities be numbers. `names` is true where the keys of `value` are
/// property names, and so never keywords of the schema.
fn tidy(value: &mut Value, names: bool) {
    let Value::Object(object) = value else { return };
    if !names {
        let description = object.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        if description.starts_with("Quantity is a fixed-point") {
            object.clear();
            object.insert("x-kubernetes-int-or-string".into(), json!(true));
            object.insert("pattern".into(), json!(QUANTITY_PATTERN));
            return;
        }
        match first_sentence(&description) {
            Some(short) => object.insert("description".into(), json!(short)),
            None => object.remove("description"),
        };
    }
    for (key, child) in object.iter_mut() {
        match (names, key.as_str()) {
            (false, "properties") => tidy(child, true),
            (true, _) | (false, "items" | "additionalProperties") => tidy(child, false),
            (false, "allOf" | "anyOf" | "oneOf") => {
                child.as_array_mut().into_iter().flatten().for_each(|part| tidy(part, false));
            }
            _ => {}
        }
    }
}

/// The first sentence, if it is short enough to keep.
fn first_sentence(text: &str) -> Option<String> {
    let end = text.find(". ").or_else(|| text.find(".\n")).map_or(text.len(), |at| at + 1);
    let sentence: String = text.get(..end)?.split_whitespace().collect::<Vec<_>>().join(" ");
    (!sentence.is_empty() && sentence.chars().count() <= DESCRIPTION_MAX).then_some(sentence)
}
