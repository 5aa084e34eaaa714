//! Stacks, what they are made of, and their pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, TypeMeta};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use serde_json::Value;

use super::{Cached, Key, Name, Objects, Seen, Touched};
use crate::api::seen::{SeenMonitoring, SeenStackPod, label_of};
use crate::monitoring::object::{Kind, Part, as_kept};
use crate::names::label;

/// Stacks, and what they are made of.
#[derive(Debug, Default)]
pub struct Stacks {
    /// Whether this operator looks after stacks at all.
    pub(crate) on: bool,
    pub(super) by_name: Objects<SeenMonitoring>,
    pub(super) pods: Objects<SeenStackPod>,
    pub(super) parts: BTreeMap<Kind, Objects<SeenPart>>,
}

/// An object of a stack: what is compared with what it should be.
#[derive(Debug)]
pub struct SeenPart {
    metadata: ObjectMeta,
    value: Arc<Value>,
}

impl SeenPart {
    /// Without `managedFields`, which are half of it, with long texts of ConfigMaps abridged, and with its kind, which items of a
    /// list do not say.
    pub fn new(kind: Kind, mut object: DynamicObject) -> Self {
        object.metadata.managed_fields = None;
        object.types = Some(TypeMeta { api_version: kind.api_version(), kind: kind.name().to_owned() });
        let mut value = serde_json::to_value(&object).unwrap_or_default();
        as_kept(kind, &mut value);
        Self { metadata: object.metadata, value: Arc::new(value) }
    }
}

impl Resource for SeenPart {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        "".into()
    }
    fn group((): &()) -> std::borrow::Cow<'_, str> {
        "".into()
    }
    fn version((): &()) -> std::borrow::Cow<'_, str> {
        "".into()
    }
    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        "".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

fn stack_of(meta: &ObjectMeta) -> Option<Name> {
    Some(Name::new(meta.namespace.as_deref()?, label_of(meta, label::MONITORING)?))
}

impl Cached for SeenMonitoring {
    /// Which stack counts depends on the others.
    fn take(seen: &mut Seen, event: Event<Self>) -> Vec<Key> {
        let touched = seen.stacks.by_name.take(event);
        if touched.is_empty() {
            return Vec::new();
        }
        let gone = touched.iter().filter(|t| t.new.is_none()).map(|t| Key::Stack(t.name.clone()));
        let news = |t: &Touched<Self>| match (&t.old, &t.new) {
            (Some(old), Some(new)) => {
                old.spec != new.spec || old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
            }
            _ => true,
        };
        let mut keys: Vec<Key> = gone.collect();
        if touched.iter().any(news) {
            keys.extend(seen.stacks.all_keys());
            keys.extend(seen.waiting_launches());
        } else {
            keys.extend(touched.iter().map(|t| Key::Stack(t.name.clone())));
        }
        keys
    }
}

impl Cached for SeenStackPod {
    fn take(seen: &mut Seen, event: Event<Self>) -> Vec<Key> {
        let touched = seen.stacks.pods.take(event);
        let mut keys = Vec::new();
        for t in &touched {
            let Some(pod) = t.new.as_ref().or(t.old.as_ref()) else { continue };
            keys.extend(stack_of(&pod.metadata).map(Key::Stack));
            let ready = |pod: &Option<Arc<Self>>| pod.as_ref().is_some_and(|pod| is_ready_proxy(pod));
            if ready(&t.new) && !ready(&t.old) {
                keys.extend(seen.waiting_launches());
            }
        }
        keys
    }
}

/// Whether a pod is a proxy that takes metrics.
pub(super) fn is_ready_proxy(pod: &SeenStackPod) -> bool {
    let containers = &pod.status.container_statuses;
    label_of(&pod.metadata, label::APP_COMPONENT) == Some(Part::Proxy.name())
        && pod.metadata.deletion_timestamp.is_none()
        && !containers.is_empty()
        && containers.iter().all(|c| c.ready)
}

impl Stacks {
    pub(super) fn is_synced(&self) -> bool {
        let parts = || Kind::WATCHED.iter().all(|kind| self.parts.get(kind).is_some_and(|p| p.synced));
        !self.on || self.by_name.synced && self.pods.synced && parts()
    }

    pub(super) fn all_keys(&self) -> Vec<Key> {
        self.by_name.by_name.keys().cloned().map(Key::Stack).collect()
    }

    /// Takes an event of an object of that kind.
    pub fn take_part(&mut self, kind: Kind, event: Event<SeenPart>) -> Vec<Key> {
        let touched = self.parts.entry(kind).or_default().take(event);
        let stacks = touched.iter().filter_map(|t| stack_of(t.new.as_ref().or(t.old.as_ref())?.meta()));
        stacks.map(Key::Stack).collect()
    }

    /// All stacks.
    pub fn all(&self) -> impl Iterator<Item = (&Name, &Arc<SeenMonitoring>)> {
        self.by_name.by_name.iter()
    }

    /// The pods of a stack.
    pub fn pods_of(&self, stack: &Name) -> Vec<Arc<SeenStackPod>> {
        let of_it = |pod: &&Arc<SeenStackPod>| stack_of(&pod.metadata).as_ref() == Some(stack);
        self.pods.by_name.values().filter(of_it).cloned().collect()
    }

    /// The proxies of a stack that take metrics.
    pub fn ready_proxies(&self, stack: &Name) -> usize {
        self.pods_of(stack).iter().filter(|pod| is_ready_proxy(pod)).count()
    }

    /// What is there of a stack: by kind and name.
    pub fn parts_of(&self, stack: &Name) -> BTreeMap<(Kind, String), Arc<Value>> {
        let of_it = |part: &&Arc<SeenPart>| stack_of(&part.metadata).as_ref() == Some(stack);
        let parts = self.parts.iter().flat_map(|(kind, objects)| {
            objects.by_name.values().filter(of_it).map(|part| ((*kind, part.name_any()), part.value.clone()))
        });
        parts.collect()
    }
}

impl Seen {
    /// Launches that have no Job yet: a stack may let them go on.
    fn waiting_launches(&self) -> Vec<Key> {
        let all = self.unfinished.values().flatten();
        let waits = |name: &&Name| {
            let launch = self.launches.by_name.get(*name);
            launch.is_some_and(|l| l.status.as_result().is_ok_and(|s| s.job_name.is_none()))
        };
        all.filter(waits).cloned().map(Key::Launch).collect()
    }
}
