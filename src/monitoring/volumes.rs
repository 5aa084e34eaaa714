//! Where the parts of a stack keep their data.

use serde_json::{Value, json};

use super::object::{Kind, Object, Part, set};
use super::quantity;
use crate::api::task_monitoring::Storage;

/// The volume `name` of a pod: the claim, or a folder that goes with the pod.
pub(super) fn data(name: &str, claim: &str, storage: &Storage) -> Value {
    if storage.ephemeral {
        return scratch(name, &storage.size);
    }
    json!({"name": name, "persistentVolumeClaim": {"claimName": claim}})
}

/// A folder that goes with the pod and holds at most `size`.
pub(super) fn scratch(name: &str, size: &str) -> Value {
    json!({"name": name, "emptyDir": {"sizeLimit": size}})
}

/// The files of a ConfigMap.
pub(super) fn files(name: &str, config_map: &str) -> Value {
    json!({"name": name, "configMap": {"name": config_map}})
}

/// The claim for what is to be kept, if it is.
pub(super) fn claim(part: Part, name: impl Into<String>, storage: &Storage) -> Option<Object> {
    if storage.ephemeral {
        return None;
    }
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": storage.size}},
    });
    if let Some(class) = &storage.storage_class_name {
        set(&mut spec, &["storageClassName"], json!(class));
    }
    let mut claim = Object::new(part, Kind::PersistentVolumeClaim, name, json!({"spec": spec}));
    claim.on_delete = storage.on_delete;
    Some(claim)
}

/// Four fifths of a volume, in bytes: the rest is for what is written before old data go.
pub(super) fn four_fifths(storage: &Storage) -> i64 {
    quantity::bytes(&storage.size).unwrap_or_default() / 5 * 4
}
