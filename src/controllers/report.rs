//! What happened to a launch, told once: a log line, counts, times.

use jiff::Timestamp;

use crate::api::{Phase, conditions};
use crate::cluster::Cluster;
use crate::cluster::apply::{Applied, JobMade};
use crate::cluster::cache::Name;
use crate::launch::{Answer, LaunchPlan, LaunchSnapshot, elapsed};
use crate::names::{condition, reason};
use crate::telemetry::metrics::{End, Received, Run, Step};

/// Tells what a plan did.
pub(super) fn launch(
    cluster: &Cluster,
    name: &Name,
    s: &LaunchSnapshot,
    plan: &LaunchPlan,
    applied: &Applied,
) {
    let definition = s.launch.spec.as_result().map_or("", |spec| spec.definition_ref.name.as_str());
    let job = plan.create_job.as_ref().and_then(|job| job.metadata.name.as_deref()).unwrap_or_default();
    match applied.job {
        Some(JobMade::Created) => {
            let execution_id = s.evidence.execution_id;
            tracing::info!(
                namespace = name.namespace,
                launch = name.name,
                definition,
                job,
                execution_id,
                "made the Job"
            );
            let created = s.launch.metadata.creation_timestamp.as_ref().map(|t| t.0);
            step(cluster, Step::CreatedToJob, created, Some((cluster.clock)()));
        }
        Some(JobMade::Adopted) => {
            tracing::info!(
                namespace = name.namespace,
                launch = name.name,
                definition,
                job,
                "the Job exists already"
            );
        }
        None => {}
    }
    if applied.answered {
        let answer = s.launch.metadata.uid.as_deref().map(|uid| cluster.memories.of(name, uid).answer);
        let why = answer.flatten().map(|answer| match answer {
            Answer::NameTaken(why) | Answer::Invalid(why) | Answer::Refused(_, why) => why,
            Answer::NamespaceGoes(_) => "the namespace is being deleted".to_owned(),
        });
        tracing::warn!(
            namespace = name.namespace,
            launch = name.name,
            definition,
            why,
            "the Job was not made"
        );
    }
    if let Some(stop) = &plan.stop_job {
        tracing::info!(
            namespace = name.namespace,
            launch = name.name,
            definition,
            job = stop.job.name,
            why = stop.why,
            "ending the Job"
        );
    }
    if applied.status_written {
        status(cluster, name, definition, s, plan);
    }
}

fn status(cluster: &Cluster, name: &Name, definition: &str, s: &LaunchSnapshot, plan: &LaunchPlan) {
    let Some(status) = &plan.status else { return };
    let phase = status.phase.unwrap_or(Phase::Pending);
    tracing::info!(
        namespace = name.namespace,
        launch = name.name,
        definition,
        phase = phase.as_str(),
        reason = status.reason,
        message = status.message,
        exit_code = status.exit_code,
        execution_id = status.execution_id,
        pod = status.pod_name,
        "status written"
    );
    let Some(end) = End::of(phase) else { return };
    cluster.memories.forget(name);
    let (start, finish) =
        (status.start_time.as_ref().map(|t| t.0), status.completion_time.as_ref().map(|t| t.0));
    let job = s.job.as_ref().and_then(|job| job.metadata.creation_timestamp.as_ref()).map(|t| t.0);
    step(cluster, Step::JobToRunning, job, start);
    step(cluster, Step::RunningToFinished, start, finish);
    let duration = start.zip(finish).map(|(start, finish)| elapsed(start, finish));
    let run = Run { end, duration, exit_code: status.exit_code };
    let why = status.reason.as_deref().unwrap_or(reason::COMPLETED);
    // Series of a definition that is gone, or never was, would stay for ever.
    let known = cluster.cache.lock().definition(&Name::new(name.namespace.as_str(), definition)).is_some();
    cluster.metrics.ended(known.then_some((name.namespace.as_str(), definition)), run, why);
    let arrived = conditions::find(&status.conditions, condition::METRICS_RECEIVED);
    // A task that never ran has no metrics to miss.
    if let Some(arrived) = arrived.filter(|c| known && c.reason != reason::NEVER_STARTED) {
        let received = match arrived.status.as_str() {
            "True" => Received::Received,
            "False" => Received::Missing,
            _ => Received::Unknown,
        };
        cluster.metrics.arrival(&name.namespace, definition, received);
    }
}

fn step(cluster: &Cluster, step: Step, from: Option<Timestamp>, to: Option<Timestamp>) {
    if let Some((from, to)) = from.zip(to) {
        cluster.metrics.stepped(step, elapsed(from, to));
    }
}
