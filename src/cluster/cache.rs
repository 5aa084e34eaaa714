//! What the watches have seen, with the look-ups that decisions need. Everything is found by name or by range,
//! so that a decision costs the same with ten launches and with ten thousand.

mod active;
mod namesakes;
mod past;
mod stacks;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

use crate::api::seen::{JobStatus, SeenDefinition, SeenJob, SeenLaunch, SeenPod, label_of};
use crate::api::{Phase, conditions};
use crate::launch::retention::Finished;
use crate::names::{condition, job_name, label};
use active::Active;
pub use active::Counts;
use namesakes::Namesakes;
pub use stacks::{SeenPart, Stacks};

/// Namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The namespace.
    pub namespace: String,
    /// The name in it.
    pub name: String,
}

impl Name {
    /// Name `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    fn of(object: &impl Resource) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }

    fn sibling(&self, name: &str) -> Self {
        Self::new(self.namespace.as_str(), name)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What is to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A launch.
    Launch(Name),
    /// A definition.
    Definition(Name),
    /// The finished launches of a definition.
    History(Name),
    /// A stack.
    Stack(Name),
}

impl Key {
    /// How long it may wait. Launches that end in one second are counted once: history leaves each of them alone for
    /// longer anyway.
    pub fn pause(&self) -> Duration {
        if matches!(self, Self::History(_)) { Duration::from_secs(1) } else { Duration::ZERO }
    }
}

/// Objects of one kind. After a relist, what is no longer listed counts as deleted, and what did not change does
/// not count as touched.
#[derive(Debug)]
pub(crate) struct Objects<T> {
    by_name: BTreeMap<Name, Arc<T>>,
    listed: Option<BTreeSet<Name>>,
    synced: bool,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self { by_name: BTreeMap::new(), listed: None, synced: false }
    }
}

/// An object that came, changed or went.
struct Touched<T> {
    name: Name,
    old: Option<Arc<T>>,
    new: Option<Arc<T>>,
}

impl<T: Resource<DynamicType = ()>> Objects<T> {
    fn take(&mut self, event: Event<T>) -> Vec<Touched<T>> {
        match event {
            Event::Init => {
                self.listed = Some(BTreeSet::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let name = Name::of(&object);
                self.listed.get_or_insert_default().insert(name.clone());
                self.put(name, object).into_iter().collect()
            }
            Event::Apply(object) => self.put(Name::of(&object), object).into_iter().collect(),
            Event::Delete(object) => self.remove(Name::of(&object)).into_iter().collect(),
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<Name> = self.by_name.keys().filter(|n| !listed.contains(n)).cloned().collect();
                self.synced = true;
                gone.into_iter().filter_map(|name| self.remove(name)).collect()
            }
        }
    }

    /// What was seen already is not seen again, nor is what is older: a watch that falls behind our own writes
    /// ([`Seen::wrote`]) must not make a finished launch look unfinished.
    fn put(&mut self, name: Name, object: T) -> Option<Touched<T>> {
        let old = self.by_name.get(&name).cloned();
        if old.as_ref().is_some_and(|old| !is_newer(object.meta(), old.meta())) {
            return None;
        }
        let new = Arc::new(object);
        self.by_name.insert(name.clone(), new.clone());
        Some(Touched { name, old, new: Some(new) })
    }

    fn remove(&mut self, name: Name) -> Option<Touched<T>> {
        let old = self.by_name.remove(&name)?;
        Some(Touched { name, old: Some(old), new: None })
    }
}

/// Everything seen in one scope (a namespace, or the whole cluster), with its indexes.
#[derive(Debug, Default)]
pub struct Seen {
    pub(crate) launches: Objects<SeenLaunch>,
    pub(crate) definitions: Objects<SeenDefinition>,
    pub(crate) jobs: Objects<SeenJob>,
    pub(crate) pods: Objects<SeenPod>,
    /// Stacks, and what they are made of.
    pub(crate) stacks: Stacks,
    /// Unfinished launches by definition.
    unfinished: BTreeMap<Name, BTreeSet<Name>>,
    /// Unfinished launches by the parent that they name.
    children: BTreeMap<Name, BTreeSet<Name>>,
    /// Finished launches that history limits count, by definition: succeeded, and others.
    finished: BTreeMap<Name, [BTreeSet<Finished>; 2]>,
    /// Last state of deleted pods of unfinished launches: their exit code may be needed yet.
    gone_pods: BTreeMap<Name, Vec<Arc<SeenPod>>>,
    phase_changes: BTreeMap<Phase, i64>,
    active: Active,
    /// Definitions that give the same task name.
    namesakes: Namesakes,
}

/// Last states kept of one launch's deleted pods.
const GONE_PODS: usize = 2;

/// A shared [`Seen`].
#[derive(Clone, Debug, Default)]
pub struct Cache {
    inner: Arc<Mutex<Seen>>,
}

impl Cache {
    /// Locks it. A panic elsewhere cannot leave it half changed in a way that matters: each event is one change.
    pub fn lock(&self) -> MutexGuard<'_, Seen> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A kind that is cached: how an event of it changes what is seen, and what must be looked at again.
pub trait Cached: Resource<DynamicType = ()> + Sized {
    /// Whether it is listed after the launches: then nothing is kept, not even for a moment, of what belongs to
    /// those that are over.
    const AFTER_LAUNCHES: bool = false;

    /// Takes an event in.
    fn take(seen: &mut Seen, event: Event<Self>) -> Vec<Key>;
}

impl Cached for SeenLaunch {
    fn take(seen: &mut Seen, event: Event<Self>) -> Vec<Key> {
        let touched = seen.launches.take(map(event, SeenLaunch::thinned));
        touched.iter().flat_map(|t| seen.index_launch(t)).collect()
    }
}

impl Cached for SeenDefinition {
    fn take(seen: &mut Seen, event: Event<Self>) -> Vec<Key> {
        let touched = seen.definitions.take(event);
        let keys = touched.into_iter().flat_map(|t| {
            seen.active.touch(&t.name);
            let waiting = seen.unfinished.get(&t.name).into_iter().flatten().cloned().map(Key::Launch);
            let itself = [Key::Definition(t.name.clone()), Key::History(t.name.clone())];
            let concerned = seen.namesakes.touch(&t);
            let stacks = if concerned.stacks { seen.stacks.all_keys() } else { Vec::new() };
            let others = concerned.others.into_iter().map(Key::Definition);
            itself.into_iter().chain(waiting).chain(others).chain(stacks).collect::<Vec<_>>()
        });
        keys.collect()
    }
}

impl Cached for SeenJob {
    const AFTER_LAUNCHES: bool = true;

    fn take(seen: &mut Seen, event: Event<Self>) -> Vec<Key> {
        if let Event::Apply(job) | Event::InitApply(job) = &event
            && let Some(name) = seen.of_the_past(job)
        {
            seen.jobs.by_name.remove(&name);
            return Vec::new();
        }
        let touched = seen.jobs.take(event);
        let keys = touched.iter().filter_map(|t| {
            let launch = launch_of(&t.name, t.new.as_ref().or(t.old.as_ref())?.meta())?;
            let children = seen.children.get(&launch).into_iter().flatten().cloned();
            // Whoever made the Job knows that it is there.
            let itself = (!is_just_made(t)).then(|| launch.clone());
            Some(children.chain(itself).map(Key::Launch).collect::<Vec<_>>())
        });
        keys.flatten().collect()
    }
}

impl Cached for SeenPod {
    const AFTER_LAUNCHES: bool = true;

    fn take(seen: &mut Seen, event: Event<Self>) -> Vec<Key> {
        if let Event::Apply(pod) | Event::InitApply(pod) = &event
            && let Some(name) = seen.of_a_past_job(pod)
        {
            seen.pods.by_name.remove(&name);
            return Vec::new();
        }
        let mut keys = Vec::new();
        for t in seen.pods.take(event) {
            let Some(pod) = t.new.as_ref().or(t.old.as_ref()) else {
                continue;
            };
            let Some(launch) = launch_of(&t.name, pod.meta()) else {
                continue;
            };
            let running = seen.launches.by_name.get(&launch).is_some_and(|l| l.final_phase().is_none());
            if t.new.is_none() && running {
                let gone = seen.gone_pods.entry(launch.clone()).or_default();
                gone.push(pod.clone());
                if gone.len() > GONE_PODS {
                    gone.remove(0);
                }
            }
            if running {
                keys.push(Key::Launch(launch));
            }
        }
        keys
    }
}

fn map<T>(event: Event<T>, change: impl FnOnce(T) -> T) -> Event<T> {
    match event {
        Event::Apply(object) => Event::Apply(change(object)),
        Event::InitApply(object) => Event::InitApply(change(object)),
        other => other,
    }
}

/// A Job that says nothing yet and is held back by nobody.
fn is_just_made(t: &Touched<SeenJob>) -> bool {
    let says_nothing = |job: &Arc<SeenJob>| job.status == JobStatus::default() && !job.spec.suspend;
    t.old.is_none() && t.new.as_ref().is_some_and(says_nothing)
}

/// Kubernetes compares the versions of one object as numbers; what is no number is only equal or different.
fn is_newer(new: &ObjectMeta, old: &ObjectMeta) -> bool {
    let version = |meta: &ObjectMeta| meta.resource_version.as_ref()?.parse::<u64>().ok();
    match (version(new), version(old)) {
        (Some(new_version), Some(old_version)) if new.uid == old.uid => new_version > old_version,
        _ => new.resource_version != old.resource_version || new.uid != old.uid,
    }
}

fn launch_of(name: &Name, meta: &ObjectMeta) -> Option<Name> {
    Some(name.sibling(label_of(meta, label::LAUNCH)?))
}

fn definition_of(name: &Name, launch: &SeenLaunch) -> Option<Name> {
    Some(name.sibling(&launch.spec.as_result().ok()?.definition_ref.name))
}

fn parent_of(name: &Name, launch: &SeenLaunch) -> Option<Name> {
    let parent = launch.spec.as_result().ok()?.parent_ref.as_ref()?;
    Some(name.sibling(parent.name.as_deref()?))
}

fn finished_entry(name: &Name, launch: &SeenLaunch) -> Option<(Name, usize, Finished)> {
    let phase = launch.final_phase()?;
    if launch.is_kept() || launch.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = launch.status.as_result().ok()?;
    let end = status.completion_time.as_ref().or(launch.metadata.creation_timestamp.as_ref());
    let at = end.map_or(Timestamp::UNIX_EPOCH, |t| t.0);
    let written = conditions::find(&status.conditions, condition::FINISHED);
    let written = written.map_or(at, |finished| finished.last_transition_time.0);
    let uid = launch.metadata.uid.clone()?;
    let row = usize::from(phase != Phase::Succeeded);
    Some((definition_of(name, launch)?, row, Finished { at, name: name.name.clone(), uid, written }))
}

fn phase_of(launch: &SeenLaunch) -> Phase {
    launch.status.as_result().ok().and_then(|s| s.phase).unwrap_or(Phase::Pending)
}

fn drop_from(index: &mut BTreeMap<Name, BTreeSet<Name>>, at: &Name, launch: &Name) {
    if let Some(set) = index.get_mut(at) {
        set.remove(launch);
        if set.is_empty() {
            index.remove(at);
        }
    }
}

impl Seen {
    /// Whether the launches have been listed once.
    pub fn knows_launches(&self) -> bool {
        self.launches.synced
    }

    /// Whether all kinds have been listed once.
    pub fn is_synced(&self) -> bool {
        self.launches.synced
            && self.definitions.synced
            && self.jobs.synced
            && self.pods.synced
            && self.stacks.is_synced()
    }

    fn index_launch(&mut self, t: &Touched<SeenLaunch>) -> Vec<Key> {
        if let Some(old) = &t.old {
            self.unindex(&t.name, old);
        }
        let mut keys = vec![Key::Launch(t.name.clone())];
        if let Some(new) = &t.new {
            *self.phase_changes.entry(phase_of(new)).or_default() += 1;
            self.active.add(&t.name, new);
            let definition = definition_of(&t.name, new);
            if new.final_phase().is_some() {
                self.gone_pods.remove(&t.name);
                self.forget_run(&t.name, new);
                keys.extend(definition.map(Key::History));
            } else {
                if let Some(definition) = definition {
                    self.unfinished.entry(definition).or_default().insert(t.name.clone());
                }
                if let Some(parent) = parent_of(&t.name, new) {
                    self.children.entry(parent).or_default().insert(t.name.clone());
                }
            }
            if let Some((definition, row, entry)) = finished_entry(&t.name, new) {
                let rows = self.finished.entry(definition).or_default();
                rows.get_mut(row).into_iter().for_each(|set| {
                    set.insert(entry.clone());
                });
            }
        } else {
            self.gone_pods.remove(&t.name);
        }
        keys.extend(self.children.get(&t.name).into_iter().flatten().cloned().map(Key::Launch));
        keys
    }

    fn unindex(&mut self, name: &Name, old: &SeenLaunch) {
        *self.phase_changes.entry(phase_of(old)).or_default() -= 1;
        self.active.remove(name, old);
        if let Some(definition) = definition_of(name, old) {
            drop_from(&mut self.unfinished, &definition, name);
        }
        if let Some(parent) = parent_of(name, old) {
            drop_from(&mut self.children, &parent, name);
        }
        if let Some((definition, row, entry)) = finished_entry(name, old)
            && let Some(rows) = self.finished.get_mut(&definition)
        {
            rows.get_mut(row).map(|set| set.remove(&entry));
            if rows.iter().all(BTreeSet::is_empty) {
                self.finished.remove(&definition);
            }
        }
    }

    /// A launch.
    pub fn launch(&self, name: &Name) -> Option<Arc<SeenLaunch>> {
        self.launches.by_name.get(name).cloned()
    }

    /// A definition.
    pub fn definition(&self, name: &Name) -> Option<Arc<SeenDefinition>> {
        self.definitions.by_name.get(name).cloned()
    }

    /// A Job.
    pub fn job(&self, name: &Name) -> Option<Arc<SeenJob>> {
        self.jobs.by_name.get(name).cloned()
    }

    /// The pods of a Job, deleted ones of an unfinished launch among them, oldest first. The Job controller
    /// names a pod after its Job, so they stand together.
    pub fn pods_of(&self, job: &SeenJob, launch: &Name) -> Vec<Arc<SeenPod>> {
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        let prefix = format!("{}-", job.name_any());
        let from = launch.sibling(&prefix);
        let after = (Bound::Included(&from), Bound::Unbounded);
        let alive = self.pods.by_name.range(after);
        let alive = alive
            .take_while(|(name, _)| name.namespace == launch.namespace && name.name.starts_with(&prefix));
        let gone = self.gone_pods.get(launch).into_iter().flatten();
        let mut pods: Vec<_> =
            gone.chain(alive.map(|(_, pod)| pod)).filter(|pod| owned(pod, uid)).cloned().collect();
        sort_by_age(&mut pods);
        pods
    }

    /// The finished launches of a definition that history limits count: succeeded, others; oldest first.
    pub fn finished(&self, definition: &Name) -> Option<&[BTreeSet<Finished>; 2]> {
        self.finished.get(definition)
    }

    /// A finished launch was deleted: it no longer counts, though its event has yet to arrive.
    pub fn deleted(&mut self, definition: &Name, launch: &Finished) {
        for row in self.finished.get_mut(definition).into_iter().flatten() {
            row.remove(launch);
        }
    }

    /// By how much the number of launches in each phase has changed since this was last asked.
    pub fn take_phase_changes(&mut self) -> BTreeMap<Phase, i64> {
        std::mem::take(&mut self.phase_changes)
    }

    /// Definitions that are there and of which something changed since this was last asked, each with its launches
    /// that have not ended.
    pub fn take_active_changes(&mut self) -> Vec<(Arc<SeenDefinition>, Counts)> {
        let changed = self.active.take_changed().into_iter();
        changed.filter_map(|name| Some((self.definition(&name)?, self.active.counts(&name)))).collect()
    }

    /// The highest execution id on any Job or in any status.
    pub fn highest_execution_id(&self) -> i64 {
        let jobs = self.jobs.by_name.values().filter_map(|job| job.execution_id());
        let launches = self.launches.by_name.values();
        let statuses = launches.filter_map(|launch| launch.status.as_result().ok()?.execution_id);
        // Annotations may be written by others: what leaves no room to count on is not ours.
        jobs.chain(statuses).filter(|id| *id < i64::MAX / 4).max().unwrap_or_default()
    }

    /// Takes in what a status write returned, if nothing newer was seen since: the next decision then does not
    /// depend on when the watch delivers it.
    pub fn wrote(&mut self, written: SeenLaunch, over: &str) -> Vec<Key> {
        let name = Name::of(&written);
        let current = self.launches.by_name.get(&name).and_then(|l| l.metadata.resource_version.clone());
        if current.as_deref() != Some(over) {
            return Vec::new();
        }
        let has_ended = written.final_phase().is_some();
        let job = job_of(&name, &written);
        let mut keys = SeenLaunch::take(self, Event::Apply(written));
        if has_ended && !self.jobs.by_name.contains_key(&job) {
            // Nothing is left to be done for it.
            keys.retain(|key| !matches!(key, Key::Launch(launch) if *launch == name));
        }
        keys
    }
}

/// Name of a launch's Job.
pub(super) fn job_of(name: &Name, launch: &SeenLaunch) -> Name {
    let uid = launch.metadata.uid.as_deref().unwrap_or_default();
    name.sibling(&job_name(&name.name, uid))
}

fn owned(pod: &SeenPod, job_uid: &str) -> bool {
    pod.metadata.owner_references.iter().flatten().any(|owner| owner.uid == job_uid)
}

/// Oldest first; the name decides between pods of the same second.
pub fn sort_by_age(pods: &mut [Arc<SeenPod>]) {
    pods.sort_by_key(|pod| {
        (pod.metadata.creation_timestamp.as_ref().map(|t| t.0), pod.metadata.name.clone())
    });
}

#[cfg(test)]
mod tests;
