//! Launches that have not ended, by definition and phase, oldest first: how many there are and which is the oldest costs
//! the same with ten and with ten thousand.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Name, definition_of, phase_of};
use crate::api::Phase;
use crate::api::seen::SeenLaunch;

/// Number of launches and since when the oldest is, by phase.
pub type Counts = BTreeMap<Phase, (usize, Timestamp)>;

/// The index.
#[derive(Debug, Default)]
pub(super) struct Active {
    by_definition: BTreeMap<Name, BTreeMap<Phase, BTreeSet<(Timestamp, Name)>>>,
    changed: BTreeSet<Name>,
}

impl Active {
    pub(super) fn add(&mut self, name: &Name, launch: &SeenLaunch) {
        let Some((definition, phase, since)) = place_of(name, launch) else { return };
        let phases = self.by_definition.entry(definition.clone()).or_default();
        phases.entry(phase).or_default().insert((since, name.clone()));
        self.changed.insert(definition);
    }

    pub(super) fn remove(&mut self, name: &Name, launch: &SeenLaunch) {
        let Some((definition, phase, since)) = place_of(name, launch) else { return };
        if let Some(phases) = self.by_definition.get_mut(&definition) {
            if let Some(launches) = phases.get_mut(&phase) {
                launches.remove(&(since, name.clone()));
            }
            phases.retain(|_, launches| !launches.is_empty());
            if phases.is_empty() {
                self.by_definition.remove(&definition);
            }
        }
        self.changed.insert(definition);
    }

    /// The definition itself came, changed or went.
    pub(super) fn touch(&mut self, definition: &Name) {
        self.changed.insert(definition.clone());
    }

    /// Definitions of which something changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> BTreeSet<Name> {
        std::mem::take(&mut self.changed)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.by_definition.is_empty()
    }

    pub(super) fn counts(&self, definition: &Name) -> Counts {
        let phases = self.by_definition.get(definition).into_iter().flatten();
        phases.filter_map(|(phase, launches)| Some((*phase, (launches.len(), launches.first()?.0)))).collect()
    }
}

/// Where a launch stands in the index; nowhere when it has ended.
fn place_of(name: &Name, launch: &SeenLaunch) -> Option<(Name, Phase, Timestamp)> {
    if launch.final_phase().is_some() {
        return None;
    }
    let phase = phase_of(launch);
    let started = launch.status.as_result().ok().and_then(|status| status.start_time.as_ref());
    let created = launch.metadata.creation_timestamp.as_ref();
    let since = if phase == Phase::Pending { created } else { started.or(created) };
    Some((definition_of(name, launch)?, phase, since.map_or(Timestamp::UNIX_EPOCH, |time| time.0)))
}
