//! Stacks: observe, decide, apply, tell.

use super::Done;
use crate::cluster::Cluster;
use crate::cluster::cache::Name;
use crate::cluster::error::Error;
use crate::monitoring;

/// A stack is applied, looked at again, and only then spoken of; what the API server changed meanwhile may take a
/// round more.
const ROUNDS: usize = 4;

/// One stack.
pub(super) async fn reconcile(cluster: &Cluster, name: &Name) -> Result<Done, Error> {
    let mut written = false;
    for round in 1..=ROUNDS {
        let Some(snapshot) = cluster.observe_stack(name) else {
            return Ok(Done::settled(written, None));
        };
        cluster.follow_facts(name, &snapshot);
        cluster.try_external(name, &snapshot);
        let plan = monitoring::decide(&snapshot);
        let changes = cluster.apply_stack(name, &snapshot, &plan).await?;
        if changes > 0 {
            written = true;
            tracing::info!(namespace = name.namespace, stack = name.name, changes, "applied the stack");
            if round < ROUNDS {
                continue;
            }
        }
        written |= cluster.write_stack_status(name, &snapshot, &plan).await?;
        return Ok(Done::settled(written, plan.next));
    }
    Ok(Done::settled(written, None))
}
