//! What the streams of a stack's proxies told, as much of it as fits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Run;
use super::answer::Body;

/// Runs of a stack that are remembered, about 5 MB: some minutes of the most that a cluster can launch. Of a run that
/// is forgotten the proxies are asked.
pub const RUNS_MAX: usize = 20_000;
/// Newest runs of which the one with the most series is told.
const LATELY: usize = 1000;

/// Execution id and pod; no pod if it is not told.
type Key = (i64, Arc<str>);

/// The newest body of each run, whichever replica told it. That a body was received stays true when a proxy lets it
/// go, or starts over: nothing is taken out for that, and what is told again changes nothing.
#[derive(Debug, Default)]
pub struct Known {
    bodies: BTreeMap<Key, Body>,
    /// Keys in the order in which they came.
    order: VecDeque<Key>,
}

impl Known {
    /// A fact.
    pub fn tell(&mut self, id: i64, pod: &str, body: Body) {
        let key: Key = (id, pod.into());
        if let Some(known) = self.bodies.get_mut(&key) {
            if *known < body {
                *known = body;
            }
            return;
        }
        if self.order.len() >= RUNS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.bodies.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.bodies.insert(key, body);
    }

    /// The newest body of a run.
    pub fn of(&self, run: &Run<'_>) -> Option<Body> {
        let of_execution = self.bodies.range((run.execution_id, Arc::from(""))..);
        let of_execution = of_execution.take_while(|((id, _), _)| *id == run.execution_id);
        let of_run = of_execution
            .filter(|((_, pod), _)| pod.is_empty() || run.pod.is_none_or(|wanted| wanted == &**pod));
        of_run.map(|(_, body)| body).max().cloned()
    }

    /// The most series that one of the newest runs has.
    pub fn series_per_run(&self) -> Option<usize> {
        let newest = self.order.iter().rev().take(LATELY);
        newest.filter_map(|key| self.bodies.get(key)).map(|body| body.series).max()
    }
}
