//! Stacks: what is known of one, and how a plan for one is carried out.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::response::Status;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use super::Cluster;
use super::apply::{delete_params, ignore, status_patch};
use super::cache::{Cache, Cached, Name, SeenPart};
use super::error::{Error, api_status};
use crate::api::seen::{SeenMonitoring, label_of};
use crate::api::task_monitoring::Mode;
use crate::inject::exporters::Offer;
use crate::monitoring::diff::is_as_wanted;
use crate::monitoring::external;
use crate::monitoring::object::{Kind, Object, Part};
use crate::monitoring::offer::{offer, port};
use crate::monitoring::select::{Acceptance, Candidate, accept, choose};
use crate::monitoring::{Answer, Gone, Installation, Outcome, StackMemory, StackPlan, StackSnapshot};
use crate::names::{MANAGER, label};

/// Bytes of a generated password: more than anybody can guess.
const PASSWORD_BYTES: usize = 24;

/// What stacks of all scopes have in common.
#[derive(Clone, Default)]
pub struct Monitoring {
    /// The operator's settings.
    pub installation: Arc<Installation>,
    /// The caches of all scopes: a stack for the whole cluster may be in another one.
    pub caches: Vec<Cache>,
    memories: Arc<Mutex<HashMap<Name, (String, StackMemory)>>>,
}

impl Monitoring {
    /// For these scopes.
    pub fn new(installation: Installation, caches: Vec<Cache>) -> Self {
        Self { installation: Arc::new(installation), caches, memories: Arc::default() }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let of = |cache: &Cache| cache.lock().stacks.all().map(|(n, s)| candidate(n, s)).collect::<Vec<_>>();
        self.caches.iter().flat_map(of).collect()
    }

    /// What the stack that watches `namespace` offers.
    pub fn offer(&self, namespace: &str) -> Option<Offer> {
        let all = self.candidates();
        let chosen = choose(namespace, &all, &self.installation.cluster_scope_namespaces)?;
        let name = Name::new(chosen.namespace.as_str(), chosen.name.as_str());
        self.caches.iter().find_map(|cache| {
            let seen = cache.lock();
            let (_, stack) = seen.stacks.all().find(|(n, _)| **n == name)?;
            let spec = stack.spec.as_result().ok()?;
            Some(offer(&name.name, &name.namespace, spec, seen.stacks.ready_proxies(&name)))
        })
    }

    fn memory(&self, name: &Name, uid: &str) -> StackMemory {
        let all = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(name).filter(|(whose, _)| whose == uid).map(|(_, memory)| memory.clone()).unwrap_or_default()
    }

    fn remember(&self, name: &Name, uid: &str, key: (Kind, String), answer: Answer) {
        let mut memory = self.memory(name, uid);
        memory.answers.insert(key, answer);
        let mut all = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.clone(), (uid.to_owned(), memory));
    }

    fn forget(&self, name: &Name) {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

fn candidate(name: &Name, stack: &SeenMonitoring) -> Candidate {
    Candidate {
        created: stack.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |t| t.0),
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        cluster: stack.spec.as_result().is_ok_and(|spec| Candidate::is_cluster(spec.scope)),
        going: stack.metadata.deletion_timestamp.is_some(),
    }
}

impl Cluster {
    /// All that is known about a stack; `None` if there is none of that name.
    pub fn observe_stack(&self, name: &Name) -> Option<StackSnapshot> {
        let seen = self.cache.lock();
        let found = seen.stacks.all().find(|(n, _)| *n == name).map(|(_, stack)| stack.clone());
        let Some(stack) = found else {
            drop(seen);
            let elsewhere = |cache: &Cache| cache.lock().stacks.all().any(|(n, _)| n == name);
            if !self.monitoring.caches.iter().any(elsewhere) {
                self.monitoring.forget(name);
                self.facts.forget(&name.to_string());
                self.reach.forget(&name.to_string());
            }
            return None;
        };
        let owned = seen.stacks.parts_of(name);
        let pods = seen.stacks.pods_of(name);
        drop(seen);
        let one = candidate(name, &stack);
        let namespace = (!one.cluster).then_some(name.namespace.as_str());
        let filters = self.monitoring.caches.iter().flat_map(|cache| cache.lock().filters(namespace));
        let filters = filters.collect();
        let allowed = &self.monitoring.installation.cluster_scope_namespaces;
        let acceptance = accept(&one, &self.monitoring.candidates(), allowed);
        let uid = stack.metadata.uid.clone().unwrap_or_default();
        let series_per_run = self.facts.series_per_run(&name.to_string());
        Some(StackSnapshot {
            now: (self.clock)(),
            memory: self.monitoring.memory(name, &uid),
            installation: self.monitoring.installation.clone(),
            stack,
            acceptance,
            owned,
            pods,
            filters,
            series_per_run,
            reached: self.reach.found(&name.to_string()),
        })
    }

    /// Tries to connect to what others run for the stack.
    pub fn try_external(&self, name: &Name, s: &StackSnapshot) {
        let tried = s.acceptance == Acceptance::Accepted && s.installation.check_external;
        let spec = s.stack.spec.as_result().ok().filter(|_| tried);
        let addresses = spec.map(|spec| external::all(&name.namespace, spec)).unwrap_or_default();
        if addresses.is_empty() {
            return self.reach.forget(&name.to_string());
        }
        let generation = s.stack.metadata.generation.unwrap_or_default();
        self.reach.follow(&name.to_string(), generation, addresses);
    }

    /// Follows what arrives in the stack's proxies.
    pub fn follow_facts(&self, name: &Name, s: &StackSnapshot) {
        let is_managed = s.stack.spec.as_result().is_ok_and(|spec| spec.proxy.mode == Mode::Managed);
        if s.acceptance != Acceptance::Accepted || !is_managed {
            return self.facts.forget(&name.to_string());
        }
        // One that is being ended takes metrics, and answers, until it is gone.
        let proxies = s.pods.iter().filter(|pod| {
            label_of(&pod.metadata, label::APP_COMPONENT) == Some(Part::Proxy.name())
                && !matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"))
        });
        let port = u16::try_from(port::HTTP).unwrap_or_default();
        let addresses = proxies.filter_map(|pod| Some(SocketAddr::new(pod.status.pod_ip?, port)));
        self.facts.follow(&name.to_string(), &addresses.collect::<Vec<_>>());
    }

    /// Carries a stack's plan out. What the API server refuses is remembered and harms nothing else; an answer that
    /// never came is an error, after everything was tried.
    pub async fn apply_stack(
        &self,
        name: &Name,
        s: &StackSnapshot,
        plan: &StackPlan,
    ) -> Result<usize, Error> {
        let uid = s.stack.metadata.uid.clone().unwrap_or_default();
        let (mut written, mut failed) = (0, None);
        for object in &plan.apply {
            match self.apply_object(name, &uid, object).await {
                Ok((outcome, wrote)) => {
                    let before = self.monitoring.memory(name, &uid).answers.remove(&object.key());
                    let healed = before.is_some_and(|answer| !matches!(answer.outcome, Outcome::Taken(_)));
                    written += usize::from(wrote || healed);
                    let answer = Answer { at: s.now, digest: object.digest().to_owned(), outcome };
                    self.monitoring.remember(name, &uid, object.key(), answer);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        for gone in &plan.delete {
            match self.delete_object(name, gone).await {
                Ok(()) => written += 1,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        for key in &plan.strays {
            match self.sweep(name, &uid, key).await {
                Ok(deleted) => {
                    written += usize::from(deleted);
                    let answer = Answer { at: s.now, digest: String::new(), outcome: Outcome::Absent };
                    self.monitoring.remember(name, &uid, key.clone(), answer);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(written), Err)
    }

    /// Writes what we say about a stack.
    pub async fn write_stack_status(
        &self,
        name: &Name,
        s: &StackSnapshot,
        plan: &StackPlan,
    ) -> Result<bool, Error> {
        let Some(status) = &plan.status else { return Ok(false) };
        let api: Api<SeenMonitoring> = Api::namespaced(self.client.clone(), &name.namespace);
        let over = s.stack.metadata.resource_version.clone().unwrap_or_default();
        let before = s.stack.status.as_result().cloned().unwrap_or_default();
        let patch = status_patch(&over, json!(before), json!(status));
        let result = api.patch_status(&name.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        match result {
            Ok(written) => {
                SeenMonitoring::take(&mut self.cache.lock(), Event::Apply(written));
            }
            Err(e) if api_status(&e).is_some_and(|status| status.code == 404) => return Ok(false),
            Err(e) => return Err(Error::request("patch", format!("status of TaskMonitoring {name}"), e)),
        }
        for warning in &plan.warnings {
            self.events.warn(&s.stack.object_ref(&()), "Monitoring", warning).await;
        }
        Ok(true)
    }

    fn objects(&self, namespace: &str, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource(kind))
    }

    /// One object. A watch tells what is ours; what it does not tell is looked at before it is written, since an apply
    /// would take over what is somebody else's. Whether there is anything new is told too.
    async fn apply_object(&self, stack: &Name, uid: &str, object: &Object) -> Result<(Outcome, bool), Error> {
        let api = self.objects(&stack.namespace, object.kind);
        let what = || format!("{} {}/{}", object.kind.name(), stack.namespace, object.name);
        if object.kind == Kind::Secret {
            let created = outcome(self.create_secret(&api, object).await);
            return created.map(new).map_err(|e| Error::request("create", what(), e));
        }
        let mut is_ours = self.is_ours(stack, uid, object);
        if !is_ours {
            match api.get_opt(&object.name).await {
                Ok(None) => {}
                Ok(Some(found)) if !belongs(&found, stack, uid) => {
                    return Ok(new(Outcome::Foreign(owner_of(&found))));
                }
                Ok(Some(found)) if is_as_wanted(&json!(found), object) => {
                    return Ok((Outcome::Taken(found.resource_version().unwrap_or_default()), false));
                }
                Ok(Some(_)) => is_ours = true,
                Err(e) => return outcome(Err(e)).map(new).map_err(|e| Error::request("get", what(), e)),
            }
        }
        // What is ours is put back also where somebody else has a hand on a field.
        let params = PatchParams { force: is_ours, ..PatchParams::apply(MANAGER) };
        match api.patch(&object.name, &params, &Patch::Apply(&object.body)).await {
            Ok(written) => {
                let version = written.resource_version().unwrap_or_default();
                if object.kind.is_watched() {
                    let event = Event::Apply(SeenPart::new(object.kind, written));
                    self.cache.lock().stacks.take_part(object.kind, event);
                }
                Ok(new(Outcome::Taken(version)))
            }
            Err(e) => outcome(Err(e)).map(new).map_err(|e| Error::request("apply", what(), e)),
        }
    }

    fn is_ours(&self, stack: &Name, uid: &str, object: &Object) -> bool {
        let parts = self.cache.lock().stacks.parts_of(stack);
        parts.get(&object.key()).is_some_and(|live| {
            let found: Result<DynamicObject, _> = serde_json::from_value(live.as_ref().clone());
            found.is_ok_and(|found| belongs(&found, stack, uid))
        })
    }

    /// Made once; what is there already, from before or by the user, is used as it is.
    async fn create_secret(
        &self,
        api: &Api<DynamicObject>,
        object: &Object,
    ) -> Result<DynamicObject, kube::Error> {
        let mut secret: DynamicObject =
            serde_json::from_value(object.body.clone()).map_err(kube::Error::SerdeError)?;
        if let Some(data) = secret.data.get_mut("stringData").and_then(Value::as_object_mut) {
            data.extend(object.random.iter().map(|key| ((*key).to_owned(), json!(password()))));
        }
        match api.create(&PostParams::default(), &secret).await {
            Err(e) if api_status(&e).is_some_and(Status::is_already_exists) => Ok(secret),
            other => other,
        }
    }

    /// Deletes what is the stack's under a name that no watch shows. Whether there was something.
    async fn sweep(&self, stack: &Name, uid: &str, (kind, name): &(Kind, String)) -> Result<bool, Error> {
        let what = || format!("{} {}/{name}", kind.name(), stack.namespace);
        let found = match self.objects(&stack.namespace, *kind).get_opt(name).await {
            Ok(found) => found,
            Err(e) => match api_status(&e).map(|status| status.code) {
                // The cluster does not know the kind.
                Some(404) => None,
                Some(403) => {
                    tracing::warn!(
                        object = what(),
                        "may not look whether it is left from before: delete it by hand"
                    );
                    None
                }
                _ => return Err(Error::request("get", what(), e)),
            },
        };
        let is_ours = |found: &DynamicObject| {
            belongs(found, stack, uid)
                && label_of(&found.metadata, label::MONITORING) == Some(stack.name.as_str())
        };
        let Some(found) = found.filter(is_ours) else { return Ok(false) };
        let gone = Gone { kind: *kind, name: name.clone(), uid: found.uid().unwrap_or_default() };
        self.delete_object(stack, &gone).await?;
        Ok(true)
    }

    async fn delete_object(&self, stack: &Name, gone: &Gone) -> Result<(), Error> {
        let api = self.objects(&stack.namespace, gone.kind);
        let result = api.delete(&gone.name, &delete_params(&gone.uid, None)).await;
        ignore(result, &[404, 409]).map_err(|e| {
            Error::request("delete", format!("{} {}/{}", gone.kind.name(), stack.namespace, gone.name), e)
        })
    }
}

const fn new(outcome: Outcome) -> (Outcome, bool) {
    (outcome, true)
}

/// How the API server calls a kind.
pub fn resource(kind: Kind) -> ApiResource {
    let (group, version, name, plural) = kind.api();
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: kind.api_version(),
        kind: name.to_owned(),
        plural: plural.to_owned(),
    }
}

/// Ours by owner; a volume that is to stay has none and says by its label whose it is.
fn belongs(found: &DynamicObject, stack: &Name, uid: &str) -> bool {
    let owners = found.metadata.owner_references.iter().flatten();
    let by_owner = || owners.clone().any(|owner| owner.uid == uid);
    let is_volume = found.types.as_ref().is_some_and(|t| t.kind == Kind::PersistentVolumeClaim.name());
    let by_label = || label_of(&found.metadata, label::MONITORING) == Some(stack.name.as_str());
    by_owner() || is_volume && owners.clone().next().is_none() && by_label()
}

fn owner_of(found: &DynamicObject) -> String {
    let owner = found.metadata.owner_references.iter().flatten().next();
    owner.map_or_else(|| "somebody".to_owned(), |owner| format!("{} {}", owner.kind, owner.name))
}

/// What an answer means. An error stays one only if it says nothing about the object.
fn outcome(result: Result<DynamicObject, kube::Error>) -> Result<Outcome, kube::Error> {
    match result {
        Ok(written) => Ok(Outcome::Taken(written.resource_version().unwrap_or_default())),
        Err(error) => match api_status(&error).map(|status| (status.code, status)) {
            // The object was asked for by name: what is not found is the kind, or its namespace.
            Some((404, _)) => Ok(Outcome::KindMissing),
            Some((400 | 403 | 413 | 422, status)) => Ok(Outcome::Refused(status.message.clone())),
            _ => Err(error),
        },
    }
}

/// Letters and digits that nobody can guess.
fn password() -> String {
    let mut bytes = [0; PASSWORD_BYTES];
    // Without random numbers there is no TLS either: the process could not have come so far.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        tracing::error!("no random numbers: the password is empty, which Grafana refuses");
        return String::new();
    }
    base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes)
}
