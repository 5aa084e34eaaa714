//! Definitions that give their tasks the same name. A run's metrics carry that name and not its definition's, so of
//! these only the oldest can say which metrics are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::{Name, Seen, Touched};
use crate::api::seen::SeenDefinition;
use crate::monitoring::TaskFilter;

/// Definitions by their tasks' names.
#[derive(Debug, Default)]
pub(crate) struct Namesakes {
    /// Namespace and task to definitions, the oldest first; between equals the name decides.
    by_task: BTreeMap<Name, BTreeSet<(Timestamp, String)>>,
}

/// What a definition says about its task's metrics, also if that is nothing.
fn filter_of(name: &Name, definition: &SeenDefinition) -> Option<TaskFilter> {
    let spec = definition.spec.as_result().ok()?;
    Some(TaskFilter {
        namespace: name.namespace.clone(),
        task: spec.task_name.clone().unwrap_or_else(|| name.name.clone()),
        keep: spec.metrics.keep.clone(),
        drop: spec.metrics.drop.clone(),
        definition: name.name.clone(),
    })
}

fn says_nothing(filter: &TaskFilter) -> bool {
    filter.keep.is_empty() && filter.drop.is_empty()
}

fn task_of(filter: &TaskFilter) -> Name {
    Name::new(filter.namespace.as_str(), filter.task.as_str())
}

/// Whom a change of a definition concerns besides itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Concerned {
    /// Definitions of the same task name, before or after.
    pub others: Vec<Name>,
    /// Whether what the proxies filter may be different now.
    pub stacks: bool,
}

impl Namesakes {
    pub(super) fn touch(&mut self, t: &Touched<SeenDefinition>) -> Concerned {
        let of = |d: &Option<Arc<SeenDefinition>>| {
            let definition = d.as_ref()?;
            let created = definition.metadata.creation_timestamp.as_ref();
            Some((filter_of(&t.name, definition)?, created.map_or(Timestamp::MAX, |t| t.0)))
        };
        let (old, new) = (of(&t.old), of(&t.new));
        if old == new {
            return Concerned::default();
        }
        let mut concerned = Concerned::default();
        for (filter, created) in old.iter().chain(&new) {
            concerned.stacks |= !says_nothing(filter);
            let entry = (*created, t.name.name.clone());
            let all = self.by_task.entry(task_of(filter)).or_default();
            all.remove(&entry);
            concerned.others.extend(all.iter().map(|(_, name)| t.name.sibling(name)));
        }
        concerned.stacks |= !concerned.others.is_empty();
        if let Some((filter, created)) = &new {
            let all = self.by_task.entry(task_of(filter)).or_default();
            all.insert((*created, t.name.name.clone()));
        }
        for task in old.iter().map(|(filter, _)| task_of(filter)) {
            if self.by_task.get(&task).is_some_and(BTreeSet::is_empty) {
                self.by_task.remove(&task);
            }
        }
        concerned
    }

    fn oldest(&self, task: &Name) -> Option<Name> {
        let (_, name) = self.by_task.get(task)?.first()?;
        Some(task.sibling(name))
    }
}

impl Seen {
    /// What the definitions of this scope say about their tasks' metrics; of `namespace` only, if one is given.
    pub fn filters(&self, namespace: Option<&str>) -> Vec<TaskFilter> {
        let tasks = self.namesakes.by_task.keys();
        let of_it = tasks.filter(|task| namespace.is_none_or(|n| n == task.namespace));
        let oldest = of_it.filter_map(|task| self.namesakes.oldest(task));
        let filters = oldest.filter_map(|name| filter_of(&name, self.definitions.by_name.get(&name)?));
        filters.filter(|filter| !says_nothing(filter)).collect()
    }

    /// The task's name and the older definition that gives it too, where that one's patterns count instead of this
    /// one's and are different.
    pub fn outranked(&self, definition: &Name) -> Option<(String, String)> {
        let filter = |name: &Name| filter_of(name, self.definitions.by_name.get(name)?);
        let own = filter(definition)?;
        let oldest = filter(&self.namesakes.oldest(&task_of(&own))?)?;
        let same = (&oldest.keep, &oldest.drop) == (&own.keep, &own.drop);
        (!same).then_some((own.task, oldest.definition))
    }
}
