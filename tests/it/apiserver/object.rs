//! Reading and merging objects, which are plain JSON here.

use serde_json::{Map, Value, json};

/// Where an object lives. `resource` is the qualified plural (`jobs.batch`); cluster-scoped
/// objects have an empty namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

/// A string in `metadata`, empty when absent.
pub fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

pub fn name(object: &Value) -> &str {
    meta(object, "name")
}

pub fn namespace(object: &Value) -> &str {
    meta(object, "namespace")
}

pub fn uid(object: &Value) -> &str {
    meta(object, "uid")
}

pub fn version(object: &Value) -> u64 {
    meta(object, "resourceVersion").parse().unwrap_or_default()
}

pub fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"][key].as_str()
}

pub fn finalizers(object: &Value) -> Vec<&str> {
    strings(&object["metadata"]["finalizers"])
}

pub fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    finalizers(object).contains(&finalizer)
}

/// Adds or removes one finalizer; no list at all when none is left, as the server prints it.
pub fn set_finalizer(object: &mut Value, finalizer: &str, present: bool) {
    let mut all: Vec<String> = finalizers(object).into_iter().map(str::to_owned).collect();
    all.retain(|f| f != finalizer);
    if present {
        all.push(finalizer.to_owned());
    }
    set_or_remove(&mut object["metadata"], "finalizers", json!(all));
}

/// UIDs of the owners.
pub fn owners(object: &Value) -> Vec<&str> {
    let references = object["metadata"]["ownerReferences"].as_array();
    references.into_iter().flatten().filter_map(|r| r["uid"].as_str()).collect()
}

pub fn is_owned_by(object: &Value, owner_uid: &str) -> bool {
    owners(object).contains(&owner_uid)
}

/// Sets a field, or removes it when the value is null, `[]` or `{}`.
pub fn set_or_remove(parent: &mut Value, field: &str, value: Value) {
    let empty = match &value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if empty {
        if let Some(map) = parent.as_object_mut() {
            map.remove(field);
        }
    } else {
        parent[field] = value;
    }
}

/// A dotted path of object fields, as field selectors write it.
pub fn at_path<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(object, |value, field| value.get(field))
}

/// JSON merge patch (RFC 7386): null removes, objects merge, all else replaces.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (field, value) in patch {
            if value.is_null() {
                target.remove(field);
            } else {
                merge(target.entry(field.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

/// Removes from `target` what `before` had applied and `now` no longer mentions: how an applier
/// gives fields up. Lists are one field here.
pub fn prune(target: &mut Value, before: &Value, now: &Value) {
    let (Value::Object(fields), Value::Object(before)) = (target, before) else {
        return;
    };
    for (field, old) in before {
        match now.get(field) {
            None if old.is_object() => {
                if let Some(inner) = fields.get_mut(field) {
                    prune(inner, old, &json!({}));
                    if inner.as_object().is_some_and(Map::is_empty) {
                        fields.remove(field);
                    }
                }
            }
            None => drop(fields.remove(field)),
            Some(new) => {
                if let Some(inner) = fields.get_mut(field) {
                    prune(inner, old, new);
                }
            }
        }
    }
}

/// JSON patch (RFC 6902) without `move` and `copy`. The error is the operation that failed.
pub fn json_patch(target: &mut Value, operations: &Value) -> Result<(), String> {
    for operation in operations.as_array().into_iter().flatten() {
        apply_operation(target, operation).ok_or_else(|| operation.to_string())?;
    }
    Ok(())
}

fn apply_operation(target: &mut Value, operation: &Value) -> Option<()> {
    let (path, value) = (operation["path"].as_str()?, &operation["value"]);
    let (parent, last) = path.rsplit_once('/')?;
    let field = last.replace("~1", "/").replace("~0", "~");
    if operation["op"] == "test" {
        return (target.pointer(path)? == value).then_some(());
    }
    match (target.pointer_mut(parent)?, operation["op"].as_str()?) {
        (Value::Object(map), "add") => drop(map.insert(field, value.clone())),
        (Value::Object(map), "replace") => *map.get_mut(&field)? = value.clone(),
        (Value::Object(map), "remove") => drop(map.remove(&field)?),
        (Value::Array(items), "add") if field == "-" => items.push(value.clone()),
        (Value::Array(items), "add") => {
            let at = field.parse().ok().filter(|at| *at <= items.len())?;
            items.insert(at, value.clone());
        }
        (Value::Array(items), "replace") => *items.get_mut(field.parse::<usize>().ok()?)? = value.clone(),
        (Value::Array(items), "remove") => {
            let at = field.parse().ok().filter(|at| *at < items.len())?;
            items.remove(at);
        }
        _ => return None,
    }
    Some(())
}

/// What `as=PartialObjectMetadata` leaves of an object.
pub fn metadata_only(object: &Value) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
