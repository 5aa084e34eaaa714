//! Which stacks count, and whose tasks each watches.

use jiff::Timestamp;

use crate::api::task_monitoring::MonitoringScope;
use crate::names::reason;

/// A stack, as far as it matters for choosing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// The oldest wins; between equals the name decides.
    pub created: Timestamp,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether it is for the whole cluster.
    pub cluster: bool,
    /// Whether it is being deleted.
    pub going: bool,
}

impl Candidate {
    /// Whether `scope` is for the whole cluster.
    pub fn is_cluster(scope: MonitoringScope) -> bool {
        scope == MonitoringScope::Cluster
    }
}

/// Whether a stack counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It does.
    Accepted,
    /// Why it does not: a reason and a sentence.
    Refused(&'static str, String),
}

/// Whether `one` of `all` stacks counts, where the namespaces `allowed` may have stacks for the whole cluster.
pub fn accept(one: &Candidate, all: &[Candidate], allowed: &[String]) -> Acceptance {
    if one.cluster && !may_be_cluster(one, allowed) {
        return Acceptance::Refused(
            reason::SCOPE_NOT_ALLOWED,
            format!(
                "scope: Cluster is not allowed in namespace {}: set scope: Namespace, or have the operator's administrator add the namespace to monitoring.clusterScopeNamespaces",
                one.namespace
            ),
        );
    }
    let same = |other: &&Candidate| (&other.namespace, &other.name) != (&one.namespace, &one.name);
    let older = |other: &&Candidate| order(other) < order(one);
    let mut rivals =
        all.iter().filter(same).filter(|o| !o.going && (!o.cluster || may_be_cluster(o, allowed)));
    let rival = rivals.find(|o| {
        let meets = o.namespace == one.namespace || o.cluster && one.cluster;
        meets && older(o)
    });
    match rival {
        None => Acceptance::Accepted,
        Some(rival) => Acceptance::Refused(
            reason::CONFLICT,
            format!(
                "TaskMonitoring {} in namespace {} is older and does the same: delete one of the two",
                rival.name, rival.namespace
            ),
        ),
    }
}

/// The stack that watches the tasks of `namespace`: its own, else the cluster's.
pub fn choose<'a>(namespace: &str, all: &'a [Candidate], allowed: &[String]) -> Option<&'a Candidate> {
    let counts = |c: &&Candidate| !c.going && accept(c, all, allowed) == Acceptance::Accepted;
    let own = all.iter().filter(|c| c.namespace == namespace).find(counts);
    own.or_else(|| all.iter().filter(|c| c.cluster).find(counts))
}

fn may_be_cluster(one: &Candidate, allowed: &[String]) -> bool {
    allowed.contains(&one.namespace)
}

fn order(one: &Candidate) -> (Timestamp, &str, &str) {
    (one.created, &one.namespace, &one.name)
}
