//! What a launch has to do with its namespace's monitoring: whether it takes part, how long it waits for the proxy,
//! whether its metrics arrived, and where they are shown.

use std::time::Duration;

use super::arrival::Arrival;
use super::status::awaits_proxy;
use super::{LaunchPlan, LaunchSnapshot, TOGETHER, rest};
use crate::api::TaskLaunchStatus;
use crate::api::conditions::Draft;
use crate::api::seen::annotation_of;
use crate::api::task_definition::MetricsMode;
use crate::inject::exporters::{Offer, percent_encoded};
use crate::names::{annotation, condition, reason};

/// What a dashboard shows before and after a run: the samples of a short one stand at its edges.
pub(super) const AROUND_MS: i64 = 60_000;

/// What the launch takes of what is offered.
pub(super) fn offer(s: &LaunchSnapshot) -> Option<&Offer> {
    let definition = s.definition.as_ref()?.spec.as_result().ok()?;
    s.offer.as_ref().filter(|offer| match definition.metrics.mode {
        MetricsMode::Enabled => true,
        MetricsMode::Inherit => offer.by_default,
        MetricsMode::Disabled => false,
    })
}

/// The plan of a launch that still waits for its proxy; `None` where it may begin (contract L10).
pub(super) fn await_proxy(s: &LaunchSnapshot) -> Option<LaunchPlan> {
    let offer = offer(s).filter(|offer| !offer.proxy_ready)?;
    let created = s.launch.metadata.creation_timestamp.as_ref()?.0;
    let patience = patience(s, offer);
    let left = rest(patience, created, s.now);
    if left.is_zero() {
        return None;
    }
    // Nobody wants to read of a wait that is over at once.
    let together = rest(TOGETHER, created, s.now);
    if !together.is_zero() {
        return Some(LaunchPlan::wait(together.min(left)));
    }
    let sentence = format!(
        "waits up to {} s for the metrics proxy of TaskMonitoring {}; runs without if it does not come",
        patience.as_secs(),
        offer.stack
    );
    Some(LaunchPlan { next: Some(left), ..awaits_proxy(s, &sentence) })
}

/// Waiting for metrics must never be why a launch misses its start deadline.
fn patience(s: &LaunchSnapshot, offer: &Offer) -> Duration {
    match u64::try_from(s.start_deadline_seconds()) {
        Ok(seconds) if seconds > 0 => offer.patience.min(Duration::from_secs(seconds) / 2),
        _ => offer.patience,
    }
}

/// The stack that the run's metrics go to, and whether what arrives there can be seen. From the Job where there is
/// one: what it was made with is what its container has.
pub(super) fn stack(s: &LaunchSnapshot) -> Option<(&str, bool)> {
    match s.owned_job() {
        Some(job) => {
            let stack = annotation_of(&job.metadata, annotation::MONITORING)?;
            Some((stack, annotation_of(&job.metadata, annotation::OBSERVABLE) == Some("true")))
        }
        None => offer(s).map(|offer| (offer.stack.as_str(), offer.observable)),
    }
}

/// The condition of a launch that ends; `None` where it must be asked for first. `killed`: how it was, if that was early.
pub(super) fn received(s: &LaunchSnapshot, started: bool, killed: Option<&str>) -> Option<Draft> {
    let say = |status, reason, message: String| {
        Some(Draft { type_: condition::METRICS_RECEIVED, status, reason, message })
    };
    match stack(s) {
        None => say(None, reason::NOT_MONITORED, not_monitored(s)),
        Some(_) if !started => say(Some(false), reason::NEVER_STARTED, "the task never ran".to_owned()),
        Some((stack, false)) => say(None, reason::NOT_OBSERVABLE, not_observable(stack)),
        Some((stack, true)) => {
            let arrival = s.evidence.arrival.as_ref()?;
            let (status, reason, message) = told(arrival, stack, killed);
            say(status, reason, message)
        }
    }
}

fn not_monitored(s: &LaunchSnapshot) -> String {
    match &s.offer {
        None => "no TaskMonitoring collects this namespace's metrics".to_owned(),
        Some(offer) => format!(
            "TaskMonitoring {} does not collect this task's metrics: the definition's spec.metrics.mode decides, else its own",
            offer.stack
        ),
    }
}

fn not_observable(stack: &str) -> String {
    format!(
        "the metrics of TaskMonitoring {stack} go where the operator cannot look: only a managed proxy tells what arrived"
    )
}

fn told(arrival: &Arrival, stack: &str, killed: Option<&str>) -> (Option<bool>, &'static str, String) {
    match arrival {
        Arrival::Received { door, series, pushed: true } => {
            (Some(true), reason::RECEIVED, format!("{series} series through {door}"))
        }
        Arrival::Received { door, series, pushed: false } => (
            Some(true),
            reason::RECEIVED,
            format!(
                "the application ended without a last push: its last snapshot with {series} series through {door} is kept"
            ),
        ),
        Arrival::NoBody { .. } if let Some(how) = killed => (Some(false), reason::NO_BODY, silenced(how)),
        Arrival::NoBody { connected: true } => (
            Some(false),
            reason::NO_BODY,
            "its client connected and never sent: is it version 1.5.0 or later, and does the application close its context when it ends? See docs/troubleshooting.md".to_owned(),
        ),
        Arrival::NoBody { connected: false } => (
            Some(false),
            reason::NO_BODY,
            "the proxy never heard of this run: is a client or exporter on the class path? Spring Boot 3.3 and later need Boot's Pushgateway export or the client as a bean: see docs/troubleshooting.md".to_owned(),
        ),
        Arrival::Unreachable(why) => (None, reason::PROXY_UNREACHABLE, why.clone()),
        Arrival::NotObservable => (None, reason::NOT_OBSERVABLE, not_observable(stack)),
    }
}

fn silenced(how: &str) -> String {
    format!(
        "it was killed ({how}) before anything of it was pulled, and sent nothing at its end: let SIGTERM close the application's context, and give it time (runPolicy.terminationGracePeriodSeconds); a run that dies at once leaves only what was pulled before, every 10 s. See docs/troubleshooting.md"
    )
}

/// The dashboard of a run that has started, up to `to` (in Grafana's words). With the variables of SCDF's dashboard.
pub(super) fn dashboard_url(s: &LaunchSnapshot, status: &TaskLaunchStatus, to: &str) -> Option<String> {
    stack(s)?;
    let grafana = s.offer.as_ref()?.grafana.as_deref()?;
    let task = annotation_of(&s.owned_job()?.metadata, annotation::TASK_NAME)?;
    let from = status.start_time.as_ref()?.0.as_millisecond().saturating_sub(AROUND_MS);
    Some(format!(
        "{grafana}/d/scdf-tasks/tasks?var-task_namespace={}&var-task_name={}&var-task_execution_id={}&from={from}&to={to}",
        percent_encoded(s.owner().namespace),
        percent_encoded(task),
        status.execution_id?,
    ))
}
