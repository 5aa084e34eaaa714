//! Deletion, and what the garbage collector and the namespace controller do after it.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    kind::Kind,
    object::{self, Key},
    request::{Request, Response},
    status::Status,
    store::{Store, key_of},
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

impl Store {
    pub(super) fn delete(&mut self, kind: &Kind, request: &Request) -> Result<Response, Status> {
        if !request.subresource.is_empty() {
            return Err(Status::method_not_allowed());
        }
        let options = request.body.clone().unwrap_or(Value::Null);
        let key = key_of(kind, &request.namespace, &request.name);
        let object = self.objects.get(&key).cloned().ok_or_else(|| Status::not_found(kind, &request.name))?;
        check_preconditions(kind, &object, &options["preconditions"])?;
        let given = options["propagationPolicy"]
            .as_str()
            .or_else(|| request.query.get("propagationPolicy").map(String::as_str));
        // Through the API, deleting a Job leaves its pods unless told otherwise (kubectl tells).
        let policy = given.unwrap_or(if kind.resource() == "jobs.batch" { "Orphan" } else { "Background" });
        self.mark_deleted(&key, policy, options["gracePeriodSeconds"].as_i64());
        Ok(Response::ok(match self.objects.get(&key) {
            Some(marked) => Value::clone(marked),
            None => json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": {"name": request.name, "group": kind.group, "kind": kind.plural, "uid": object::uid(&object)},
            }),
        }))
    }

    /// Removes an object, or marks it when finalizers or a running pod's grace period hold it.
    pub(super) fn mark_deleted(&mut self, key: &Key, policy: &str, grace: Option<i64>) {
        let Some(current) = self.objects.get(key).cloned() else {
            return;
        };
        let mut object = Value::clone(&current);
        match policy {
            "Foreground" => object::set_finalizer(&mut object, FOREGROUND, true),
            "Orphan" => object::set_finalizer(&mut object, ORPHAN, true),
            _ => {}
        }
        let grace = if key.resource == "pods" { pod_grace(&object, grace) } else { 0 };
        let held = !object::finalizers(&object).is_empty() || grace > 0 || key.resource == "namespaces";
        if !held {
            self.commit(key, None);
            return;
        }
        if !object::is_deleting(&object) {
            let until = self.now() + jiff::SignedDuration::from_secs(grace);
            object["metadata"]["deletionTimestamp"] = json!(until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            if let Some(generation) = object["metadata"]["generation"].as_i64() {
                object["metadata"]["generation"] = json!(generation + 1);
            }
        }
        object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        if key.resource == "namespaces" {
            object["status"]["phase"] = json!("Terminating");
        }
        if object != *current {
            self.commit(key, Some(object));
        }
    }

    /// Runs the garbage collector and the namespace controller until nothing is left to do.
    pub fn gc(&mut self) {
        while self.gc_once() {}
    }

    fn gc_once(&mut self) -> bool {
        let before = self.revision;
        let live: BTreeSet<String> = self.objects.values().map(|o| object::uid(o).to_owned()).collect();
        let keys: Vec<Arc<Key>> = self.objects.keys().cloned().collect();
        for key in keys {
            let Some(object) = self.objects.get(&key).cloned() else {
                continue;
            };
            self.collect_dependent(&key, &object, &live);
            if object::has_finalizer(&object, FOREGROUND) && self.dependents(object::uid(&object)).is_empty()
            {
                self.release(&key, FOREGROUND);
            }
            if object::has_finalizer(&object, ORPHAN) {
                self.orphan(object::uid(&object));
                self.release(&key, ORPHAN);
            }
            if key.resource == "namespaces" && object::is_deleting(&object) {
                self.empty_namespace(&key);
            }
        }
        self.revision != before
    }

    /// A dependent goes when its last owner went, or is waiting for it to go.
    fn collect_dependent(&mut self, key: &Key, object: &Arc<Value>, live: &BTreeSet<String>) {
        let owners = object::owners(object);
        if owners.is_empty() || object::is_deleting(object) {
            return;
        }
        let keeps = |uid: &&str| live.contains(*uid) && !self.waits_for_dependents(uid);
        let solid = owners.iter().copied().filter(keeps).count();
        if solid == 0 {
            let foreground = owners.iter().any(|uid| live.contains(*uid));
            self.mark_deleted(key, if foreground { "Foreground" } else { "Background" }, None);
        } else if owners.iter().any(|uid| !live.contains(*uid)) {
            let mut object = Value::clone(object);
            if let Some(list) = object["metadata"]["ownerReferences"].as_array_mut() {
                list.retain(|r| r["uid"].as_str().is_some_and(|uid| live.contains(uid)));
            }
            self.commit(key, Some(object));
        }
    }

    fn waits_for_dependents(&self, uid: &str) -> bool {
        let owner = self.objects.values().find(|o| object::uid(o) == uid);
        owner.is_some_and(|o| object::is_deleting(o) && object::has_finalizer(o, FOREGROUND))
    }

    /// Keys of what is owned by a UID.
    pub(super) fn dependents(&self, uid: &str) -> Vec<Arc<Key>> {
        let owned = self.objects.iter().filter(|(_, o)| object::is_owned_by(o, uid));
        owned.map(|(key, _)| key.clone()).collect()
    }

    fn orphan(&mut self, uid: &str) {
        for key in self.dependents(uid) {
            let mut object = self.objects.get(&key).map(|o| Value::clone(o)).unwrap_or_default();
            let mut references =
                object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            references.retain(|r| r["uid"] != uid);
            object::set_or_remove(&mut object["metadata"], "ownerReferences", Value::Array(references));
            self.commit(&key, Some(object));
        }
    }

    /// Drops a finalizer, and the object with its last one.
    pub(super) fn release(&mut self, key: &Key, finalizer: &str) {
        let Some(current) = self.objects.get(key).cloned() else {
            return;
        };
        let mut object = Value::clone(&current);
        object::set_finalizer(&mut object, finalizer, false);
        let grace = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or_default();
        let gone = object::is_deleting(&object) && object::finalizers(&object).is_empty() && grace == 0;
        if gone || object != *current {
            self.commit(key, if gone { None } else { Some(object) });
        }
    }

    fn empty_namespace(&mut self, namespace: &Key) {
        let contents: Vec<Arc<Key>> =
            self.objects.keys().filter(|k| k.namespace == namespace.name).cloned().collect();
        for key in &contents {
            self.mark_deleted(key, "Background", None);
        }
        if !self.objects.keys().any(|k| k.namespace == namespace.name) {
            self.commit(namespace, None);
        }
    }
}

fn check_preconditions(kind: &Kind, object: &Value, wanted: &Value) -> Result<(), Status> {
    for (field, label) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let (want, have) = (wanted[field].as_str(), object::meta(object, field));
        if let Some(want) = want.filter(|want| *want != have) {
            let why = format!(
                "Precondition failed: {label} in precondition: {want}, {label} in object meta: {have}"
            );
            return Err(Status::conflict(kind, object::name(object), &why));
        }
    }
    Ok(())
}

/// Seconds that a pod on a node is given to stop; a pod that never ran, or has ended, needs none.
fn pod_grace(pod: &Value, asked: Option<i64>) -> i64 {
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if pod["spec"]["nodeName"].is_null() || ended {
        return 0;
    }
    asked.or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30)
}
