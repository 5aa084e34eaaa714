//! What a test does to the cluster itself: never refused, never recorded, no faults.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    kind::Kind,
    object::{self, Key},
    status::Status,
    store::{Store, key_of},
};

impl Store {
    /// Serves another kind, as after installing its CRD.
    pub fn register(&mut self, kind: Kind) {
        self.unregister(&kind.resource());
        Arc::make_mut(&mut self.kinds).push(kind);
    }

    /// Stops serving a kind: watches end, requests get 404. Its objects come back with it.
    pub fn unregister(&mut self, plural: &str) {
        Arc::make_mut(&mut self.kinds).retain(|k| !k.is_called(plural));
    }

    pub fn add_namespace(&mut self, name: &str) {
        self.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    }

    /// Begins the deletion of a namespace and leaves it there: creates get 403 until [`Store::gc`].
    pub fn terminate_namespace(&mut self, name: &str) {
        let key = Key { resource: "namespaces".to_owned(), namespace: String::new(), name: name.to_owned() };
        self.mark_deleted(&key, "Background", None);
    }

    /// Turns the garbage collector on (after every write) or off (only [`Store::gc`]).
    pub fn set_gc_automatic(&mut self, automatic: bool) {
        self.gc_automatic = automatic;
    }

    /// Adds a check on creates of a plural. Checks run before validation and existence.
    pub fn on_create(
        &mut self,
        plural: &str,
        check: impl Fn(&Value) -> Result<(), Status> + Send + Sync + 'static,
    ) {
        self.admission.push((plural.to_owned(), Arc::new(check)));
    }

    pub fn clear_admission(&mut self) {
        self.admission.clear();
    }

    /// The kind a plural names. Panics on one that is not served: that is a mistake in the test.
    pub fn kind(&self, plural: &str) -> Kind {
        let found = self.kinds.iter().find(|k| k.is_called(plural));
        found.unwrap_or_else(|| panic!("no kind {plural} is registered")).clone()
    }

    pub(super) fn kind_of_object(&self, object: &Value) -> Kind {
        let (version, kind) = (&object["apiVersion"], &object["kind"]);
        let found = self.kinds.iter().find(|k| *version == k.api_version() && *kind == k.kind);
        found.unwrap_or_else(|| panic!("no kind {version} {kind} is registered")).clone()
    }

    pub fn key(&self, plural: &str, namespace: &str, name: &str) -> Key {
        key_of(&self.kind(plural), namespace, name)
    }

    /// Stores an object as given, **status included**: creates it (uid, times and generation are
    /// filled in) or replaces it. Nothing is validated, so an undecodable object can be put too.
    pub fn put(&mut self, object: &Value) -> Arc<Value> {
        let kind = self.kind_of_object(object);
        let namespace = object::namespace(object).to_owned();
        let namespace =
            if kind.namespaced && namespace.is_empty() { "default".to_owned() } else { namespace };
        let key = key_of(&kind, &namespace, object::name(object));
        if self.objects.contains_key(&key) {
            return self.edit_key(&key, |stored| {
                for (field, value) in
                    object.as_object().into_iter().flatten().filter(|(f, _)| *f != "metadata")
                {
                    stored[field] = value.clone();
                }
                object::merge(&mut stored["metadata"], &object["metadata"]);
            });
        }
        let mut bare = object.clone();
        object::set_or_remove(&mut bare["metadata"], "resourceVersion", Value::Null);
        self.name_new(&kind, &namespace, &mut bare)
            .unwrap_or_else(|why| panic!("cannot put {object}: {}", why.message));
        self.stamp_new(&kind, &namespace, &mut bare);
        let mut created = bare;
        if !object["status"].is_null() {
            created["status"] = object["status"].clone();
        }
        if !object["metadata"]["creationTimestamp"].is_null() {
            created["metadata"]["creationTimestamp"] = object["metadata"]["creationTimestamp"].clone();
        }
        let key = Key { name: object::name(&created).to_owned(), ..key };
        self.commit(&key, Some(created))
    }

    /// Changes any part of an object. `None` when it does not exist.
    pub fn edit(
        &mut self,
        plural: &str,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Option<Arc<Value>> {
        let key = self.key(plural, namespace, name);
        self.objects.contains_key(&key).then(|| self.edit_key(&key, change))
    }

    pub(super) fn edit_key(&mut self, key: &Key, change: impl FnOnce(&mut Value)) -> Arc<Value> {
        let Some(current) = self.objects.get(key).cloned() else {
            return Arc::default();
        };
        let mut next = Value::clone(&current);
        change(&mut next);
        if next == *current {
            return current;
        }
        if next["spec"] != current["spec"]
            && let Some(generation) = next["metadata"]["generation"].as_i64()
        {
            next["metadata"]["generation"] = json!(generation + 1);
        }
        self.commit(key, Some(next))
    }

    /// Removes an object whatever holds it; its dependents follow when the collector is automatic.
    pub fn remove(&mut self, plural: &str, namespace: &str, name: &str) {
        let key = self.key(plural, namespace, name);
        self.commit(&key, None);
        if self.gc_automatic {
            self.gc();
        }
    }

    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.objects.get(&self.key(plural, namespace, name)).map(AsRef::as_ref)
    }

    /// All objects of a kind, by namespace and name.
    pub fn all(&self, plural: &str) -> Vec<&Value> {
        let resource = self.kind(plural).resource();
        self.objects.iter().filter(|(key, _)| key.resource == resource).map(|(_, o)| o.as_ref()).collect()
    }
}
