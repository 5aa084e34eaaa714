//! Create, update and patch.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    builtin,
    kind::Kind,
    object::{self, Key},
    request::{PatchType, Request, Response},
    status::Status,
    store::{Store, key_of, shown},
};

/// What a client cannot change in `metadata`.
const FIXED: [&str; 9] = [
    "name",
    "namespace",
    "generateName",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

impl Store {
    pub(super) fn create(&mut self, kind: &Kind, request: &Request) -> Result<Response, Status> {
        if !request.subresource.is_empty() || !request.name.is_empty() {
            return Err(Status::method_not_allowed());
        }
        let body = request.body.clone().ok_or_else(|| Status::bad_request("a body is required"))?;
        let created = self.insert(kind, &request.namespace, body, &Manager::of(request))?;
        Ok(Response { code: 201, ..Response::ok(shown(&created, request)) })
    }

    pub(super) fn insert(
        &mut self,
        kind: &Kind,
        namespace: &str,
        mut object: Value,
        manager: &Manager,
    ) -> Result<Arc<Value>, Status> {
        check_type(kind, &object)?;
        if !object::meta(&object, "resourceVersion").is_empty() {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        self.name_new(kind, namespace, &mut object)?;
        let name = object::name(&object).to_owned();
        self.check_namespace(kind, namespace, &name)?;
        for (plural, admit) in self.admission.clone() {
            if kind.is_called(&plural) {
                admit(&object)?;
            }
        }
        builtin::validate(kind, &object)?;
        let key = key_of(kind, namespace, &name);
        if self.objects.contains_key(&key) {
            return Err(Status::already_exists(kind, &name));
        }
        self.stamp_new(kind, namespace, &mut object);
        manager.sign(kind, &mut object);
        Ok(self.commit(&key, Some(object)))
    }

    pub(super) fn name_new(
        &mut self,
        kind: &Kind,
        namespace: &str,
        object: &mut Value,
    ) -> Result<(), Status> {
        let given = object::namespace(object);
        if !given.is_empty() && given != namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        if object::name(object).is_empty() {
            let prefix = object::meta(object, "generateName").to_owned();
            if prefix.is_empty() {
                let problem = "Required value: name or generateName is required";
                return Err(Status::invalid(kind, "", "metadata.name", problem));
            }
            // Generated names fit into a label.
            let prefix: String = prefix.chars().take(58).collect();
            object["metadata"]["name"] = json!(format!("{prefix}{}", self.next_suffix()));
        }
        Ok(())
    }

    fn check_namespace(&self, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status> {
        if !kind.namespaced {
            return Ok(());
        }
        let Some(namespaces) = self.kinds.iter().find(|k| k.resource() == "namespaces") else {
            return Ok(());
        };
        match self.objects.get(&key_of(namespaces, "", namespace)) {
            None => Err(Status::not_found(namespaces, namespace)),
            Some(found) if object::is_deleting(found) => Err(Status::terminating(kind, name, namespace)),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn stamp_new(&mut self, kind: &Kind, namespace: &str, object: &mut Value) {
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        let (uid, time) = (self.next_uid(), self.time());
        let metadata = &mut object["metadata"];
        for field in
            ["deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "generation", "selfLink"]
        {
            object::set_or_remove(metadata, field, Value::Null);
        }
        metadata["uid"] = json!(uid);
        metadata["creationTimestamp"] = json!(time);
        if kind.namespaced {
            metadata["namespace"] = json!(namespace);
        }
        if kind.status {
            metadata["generation"] = json!(1);
            object::set_or_remove(object, "status", Value::Null);
        }
        builtin::complete(kind, object);
    }

    pub(super) fn update(&mut self, kind: &Kind, request: &Request) -> Result<Response, Status> {
        let body = request.body.clone().ok_or_else(|| Status::bad_request("a body is required"))?;
        check_type(kind, &body)?;
        if object::name(&body) != request.name {
            return Err(Status::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                object::name(&body),
                request.name
            )));
        }
        let (key, current) = self.current(kind, request)?;
        if object::meta(&body, "resourceVersion").is_empty() && kind.is_custom() {
            let problem = "Invalid value: 0: must be specified for an update";
            return Err(Status::invalid(kind, &request.name, "metadata.resourceVersion", problem));
        }
        self.replace(kind, &key, &current, body, request)
    }

    pub(super) fn patch(&mut self, kind: &Kind, request: &Request) -> Result<Response, Status> {
        let body = request.body.clone().ok_or_else(|| Status::bad_request("a body is required"))?;
        if request.patch == Some(PatchType::Apply) {
            return self.apply(kind, request, &body);
        }
        let (key, current) = self.current(kind, request)?;
        let mut candidate = Value::clone(&current);
        match request.patch {
            Some(PatchType::Json) => object::json_patch(&mut candidate, &body).map_err(|why| {
                Status::new(422, "Invalid", format!("the server rejected our request: {why}"))
            })?,
            Some(PatchType::Strategic) if kind.is_custom() => {
                return Err(Status::unsupported_media_type("application/strategic-merge-patch+json"));
            }
            _ => object::merge(&mut candidate, &body),
        }
        self.replace(kind, &key, &current, candidate, request)
    }

    /// Server-side apply, always as if forced: what is sent is merged (lists are one field), what
    /// this manager sent last time and no longer sends is removed.
    fn apply(&mut self, kind: &Kind, request: &Request, body: &Value) -> Result<Response, Status> {
        let manager = Manager::of(request);
        if manager.name.is_empty() {
            return Err(Status::bad_request("fieldManager: Required value: is required for apply patch"));
        }
        check_type(kind, body)?;
        let key = key_of(kind, &request.namespace, &request.name);
        let memory = (Arc::new(key.clone()), format!("{}/{}", manager.name, request.subresource));
        let response = match self.objects.get(&key).cloned() {
            None if !request.subresource.is_empty() => return Err(Status::not_found(kind, &request.name)),
            None => {
                let wanted = object::uid(body);
                if !wanted.is_empty() {
                    let why = format!(
                        "uid mismatch: the provided object specified uid {wanted}, and no existing object was found"
                    );
                    return Err(Status::conflict(kind, &request.name, &why));
                }
                let mut object = body.clone();
                object["metadata"]["name"] = json!(request.name);
                let created = self.insert(kind, &request.namespace, object, &manager)?;
                Response { code: 201, ..Response::ok(shown(&created, request)) }
            }
            Some(current) => {
                let mut candidate = Value::clone(&current);
                if let Some(before) = self.applied.get(&memory) {
                    object::prune(&mut candidate, before, body);
                }
                object::merge(&mut candidate, body);
                self.replace(kind, &key, &current, candidate, request)?
            }
        };
        self.applied.insert(memory, Arc::new(body.clone()));
        Ok(response)
    }

    fn current(&self, kind: &Kind, request: &Request) -> Result<(Key, Arc<Value>), Status> {
        let key = key_of(kind, &request.namespace, &request.name);
        let current =
            self.objects.get(&key).cloned().ok_or_else(|| Status::not_found(kind, &request.name))?;
        Ok((key, current))
    }

    /// The end of every update and patch: preconditions, what may change, generation, finalizers.
    fn replace(
        &mut self,
        kind: &Kind,
        key: &Key,
        current: &Arc<Value>,
        candidate: Value,
        request: &Request,
    ) -> Result<Response, Status> {
        check_preconditions(kind, current, &candidate)?;
        let mut next = permitted(kind, current, candidate, &request.subresource);
        if request.subresource.is_empty() {
            builtin::validate(kind, &next)?;
            builtin::validate_update(kind, current, &next)?;
        }
        let manager = Manager::of(request);
        // Applying for the first time is a change by itself; other writers sign what they change.
        if next != **current || manager.applies {
            manager.sign(kind, &mut next);
        }
        if next == **current {
            return Ok(Response::ok(shown(current, request)));
        }
        if kind.status && differs_outside_status(current, &next) {
            let generation = current["metadata"]["generation"].as_i64().unwrap_or_default();
            next["metadata"]["generation"] = json!(generation + 1);
        }
        let released = object::is_deleting(&next)
            && object::finalizers(&next).is_empty()
            && next["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or_default() == 0;
        let stored = self.commit(key, if released { None } else { Some(next) });
        Ok(Response::ok(shown(&stored, request)))
    }
}

/// Who writes, for `managedFields`; without a name nothing is noted.
pub(super) struct Manager {
    name: String,
    applies: bool,
    subresource: String,
}

impl Manager {
    pub(super) fn of(request: &Request) -> Self {
        Self {
            name: request.query("fieldManager").to_owned(),
            applies: request.patch == Some(PatchType::Apply),
            subresource: request.subresource.clone(),
        }
    }

    pub(super) fn nobody() -> Self {
        Self { name: String::new(), applies: false, subresource: String::new() }
    }

    /// Notes the manager, without fields or time: enough to be seen, and equal when repeated.
    fn sign(&self, kind: &Kind, object: &mut Value) {
        if self.name.is_empty() {
            return;
        }
        let mut entry = json!({
            "manager": self.name, "operation": if self.applies { "Apply" } else { "Update" },
            "apiVersion": kind.api_version(), "fieldsType": "FieldsV1", "fieldsV1": {},
        });
        if !self.subresource.is_empty() {
            entry["subresource"] = json!(self.subresource);
        }
        let mut entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        if !entries.contains(&entry) {
            entries.push(entry);
            object["metadata"]["managedFields"] = Value::Array(entries);
        }
    }
}

fn check_type(kind: &Kind, object: &Value) -> Result<(), Status> {
    let (version, name) = (&object["apiVersion"], &object["kind"]);
    if !object.is_object() {
        return Err(Status::bad_request("the body is not an object"));
    }
    let expected = kind.api_version();
    if version.as_str().is_some_and(|v| v != expected) {
        return Err(Status::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({expected})",
            version.as_str().unwrap_or_default(),
        )));
    }
    if name.as_str().is_some_and(|n| n != kind.kind) {
        let got = name.as_str().unwrap_or_default();
        return Err(Status::bad_request(format!("{got} cannot be handled as a {}", kind.kind)));
    }
    Ok(())
}

/// A `resourceVersion` or `uid` in a written object is a condition on the stored one.
fn check_preconditions(kind: &Kind, current: &Value, candidate: &Value) -> Result<(), Status> {
    let name = object::name(current);
    let (wanted, uid) = (object::uid(candidate), object::uid(current));
    if !wanted.is_empty() && wanted != uid {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}");
        return Err(Status::conflict(kind, name, &why));
    }
    let wanted = object::meta(candidate, "resourceVersion");
    if !wanted.is_empty() && wanted != object::meta(current, "resourceVersion") {
        return Err(Status::modified(kind, name));
    }
    Ok(())
}

/// The candidate without the changes this endpoint ignores.
fn permitted(kind: &Kind, current: &Value, candidate: Value, subresource: &str) -> Value {
    if subresource == "status" {
        let mut next = current.clone();
        object::set_or_remove(&mut next, "status", candidate["status"].clone());
        return next;
    }
    let mut next = candidate;
    for field in FIXED.into_iter().chain(["managedFields"]) {
        object::set_or_remove(&mut next["metadata"], field, current["metadata"][field].clone());
    }
    next["apiVersion"] = current["apiVersion"].clone();
    next["kind"] = current["kind"].clone();
    if kind.status {
        object::set_or_remove(&mut next, "status", current["status"].clone());
    }
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let value = next["metadata"][field].clone();
        object::set_or_remove(&mut next["metadata"], field, value);
    }
    next
}

fn differs_outside_status(a: &Value, b: &Value) -> bool {
    let rest = |object: &Value| {
        let mut rest = object.clone();
        object::set_or_remove(&mut rest, "status", Value::Null);
        object::set_or_remove(&mut rest, "metadata", Value::Null);
        rest
    };
    rest(a) != rest(b)
}
