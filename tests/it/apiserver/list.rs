//! Lists: paged, at one revision.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    kind::Kind,
    object::Key,
    request::{Request, Response},
    selector::Selector,
    status::Status,
    store::{Store, shown},
};

impl Store {
    pub(super) fn list(&self, kind: &Kind, request: &Request) -> Result<Response, Status> {
        let selector = Selector::parse(kind, request.query("labelSelector"), request.query("fieldSelector"))?;
        let (revision, after) = self.list_revision(request)?;
        let all = self.objects_at(kind, revision).ok_or_else(Status::continue_expired)?;
        let wanted = all.into_iter().filter(|(key, object)| {
            (request.namespace.is_empty() || key.namespace == request.namespace)
                && after.as_ref().is_none_or(|after| (&key.namespace, &key.name) > (&after.0, &after.1))
                && selector.takes(object)
        });
        let wanted: Vec<(Arc<Key>, Arc<Value>)> = wanted.collect();
        let limit = request.query("limit").parse().ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if let (true, Some((last, _))) = (wanted.len() > limit, wanted.get(limit.saturating_sub(1))) {
            metadata["continue"] = json!(format!("{revision}:{}/{}", last.namespace, last.name));
            if selector.is_empty() {
                metadata["remainingItemCount"] = json!(wanted.len() - limit);
            }
        }
        let items: Vec<Value> =
            wanted.iter().take(limit).map(|(_, object)| item(kind, object, request)).collect();
        Ok(Response::ok(envelope(kind, request, &metadata, &items)))
    }

    /// The revision to show, and the last object of the page before.
    fn list_revision(&self, request: &Request) -> Result<(u64, Option<(String, String)>), Status> {
        if let Some((revision, last)) = request.query("continue").split_once(':') {
            let (namespace, name) = last.split_once('/').unwrap_or(("", last));
            let revision = revision.parse().map_err(|_| Status::bad_request("continue key is not valid"))?;
            return Ok((revision, Some((namespace.to_owned(), name.to_owned()))));
        }
        let asked = request.query("resourceVersion").parse().unwrap_or_default();
        if asked > self.revision {
            return Err(Status::too_large(asked, self.revision));
        }
        let exact = request.query("resourceVersionMatch") == "Exact";
        Ok((if exact { asked } else { self.revision }, None))
    }

    /// All objects of a kind as they were; `None` when that revision is compacted.
    pub fn objects_at(&self, kind: &Kind, revision: u64) -> Option<BTreeMap<Arc<Key>, Arc<Value>>> {
        if revision < self.compacted {
            return None;
        }
        let resource = kind.resource();
        let now = self.objects.iter().filter(|(key, _)| key.resource == resource);
        let mut objects: BTreeMap<Arc<Key>, Arc<Value>> =
            now.map(|(k, o)| (Arc::clone(k), Arc::clone(o))).collect();
        let later = self.log.iter().rev().take_while(|change| change.revision > revision);
        for change in later.filter(|change| change.key.resource == resource) {
            match &change.old {
                Some(old) => objects.insert(Arc::clone(&change.key), Arc::clone(old)),
                None => objects.remove(&change.key),
            };
        }
        Some(objects)
    }
}

/// Items of built-in kinds carry no `apiVersion` and `kind`; those of custom kinds do.
fn item(kind: &Kind, object: &Value, request: &Request) -> Value {
    let mut item = shown(object, request);
    if !kind.is_custom()
        && !request.metadata_only
        && let Some(fields) = item.as_object_mut()
    {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    item
}

fn envelope(kind: &Kind, request: &Request, metadata: &Value, items: &[Value]) -> Value {
    let (version, name) = if request.metadata_only {
        ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned())
    } else {
        (kind.api_version(), format!("{}List", kind.kind))
    };
    json!({"apiVersion": version, "kind": name, "metadata": metadata, "items": items})
}
