//! Launches: observe, decide, apply, report.

use super::{Done, report};
use crate::api::task_definition::History;
use crate::cluster::Cluster;
use crate::cluster::cache::{Key, Name};
use crate::cluster::error::Error;
use crate::launch::{self, retention};

/// Look-ups before a decision; each kind is wanted at most once.
const ROUNDS: usize = 8;

/// One launch.
pub(super) async fn reconcile(cluster: &Cluster, name: &Name) -> Result<Done, Error> {
    let mut written = false;
    for _ in 0..ROUNDS {
        let Some(mut snapshot) = cluster.observe_launch(name) else {
            return Ok(Done::settled(written, None));
        };
        let mut plan = launch::decide(&snapshot);
        for _ in 0..ROUNDS {
            let Some(want) = plan.want else { break };
            cluster.look_up(want, name, &mut snapshot).await?;
            plan = launch::decide(&snapshot);
        }
        if plan.want.is_some() {
            return Err(Error::Undecided(ROUNDS));
        }
        let applied = cluster.apply_launch(name, &snapshot, &plan).await?;
        report::launch(cluster, name, &snapshot, &plan, &applied);
        written |= applied.job.is_some() || applied.status_written || plan.stop_job.is_some();
        if !applied.answered {
            // What a run costs is told by its stack.
            let stack = snapshot.evidence.arrival.as_ref().and(snapshot.offer.as_ref());
            let stack = stack.and_then(|offer| offer.stack.split_once('/'));
            let later = stack.map(|(namespace, stack)| Key::Stack(Name::new(namespace, stack)));
            return Ok(Done { keys: applied.keys, later, ..Done::settled(written, plan.next) });
        }
    }
    Err(Error::Undecided(ROUNDS))
}

/// The finished launches of one definition.
pub(super) async fn reconcile_history(cluster: &Cluster, definition: &Name) -> Result<Done, Error> {
    let plan = {
        let seen = cluster.cache.lock();
        let Some([succeeded, failed]) = seen.finished(definition) else {
            return Ok(Done::settled(false, None));
        };
        let own = seen.definition(definition);
        let own = own.as_ref().and_then(|d| d.spec.as_result().ok()).map(|spec| &spec.history);
        // A definition that is gone leaves its launches to the default limits.
        let limits = own.cloned().unwrap_or_else(History::default);
        retention::decide(&limits, succeeded.iter(), failed.iter(), (cluster.clock)())
    };
    for launch in &plan.delete {
        cluster.delete_launch(&definition.namespace, launch).await?;
        cluster.cache.lock().deleted(definition, launch);
        tracing::info!(
            namespace = definition.namespace,
            launch = launch.name,
            definition = definition.name,
            "deleted a finished launch beyond the history limits"
        );
    }
    Ok(Done::settled(!plan.delete.is_empty(), plan.next))
}

/// One definition.
pub(super) async fn reconcile_definition(cluster: &Cluster, name: &Name) -> Result<Done, Error> {
    let Some(definition) = cluster.cache.lock().definition(name) else {
        cluster.metrics.forget_definition(&name.namespace, &name.name);
        return Ok(Done::settled(false, None));
    };
    let outranked = cluster.cache.lock().outranked(name);
    let decided = launch::definition::decide(&definition, outranked.as_ref(), (cluster.clock)());
    let Some((status, warnings)) = decided else {
        return Ok(Done::settled(false, None));
    };
    cluster.apply_definition(name, &definition, &status, &warnings).await?;
    Ok(Done::settled(true, None))
}
