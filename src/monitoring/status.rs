//! What a stack's status says.

use std::time::Duration;

use super::object::{Kind, Object, Part};
use super::offer::{host, port};
use super::{ASK_AGAIN, Outcome, Stack, StackPlan, StackSnapshot, UNWATCHED, diff, health, network, proxy};
use crate::api::TaskMonitoringStatus;
use crate::api::conditions::{Draft, Warning, find, merge};
use crate::api::task_monitoring::{Addresses, Mode, ServiceType};
use crate::names::{condition, reason};

/// The plan's part that tells: status if it differs, warnings, and when to look again. `changing`: something is about
/// to be written.
pub fn told(s: &StackSnapshot, stack: &Stack<'_>, wanted: &[Object], changing: bool) -> StackPlan {
    let mut drafts =
        vec![Draft::new(condition::ACCEPTED, true, reason::ACCEPTED, "this TaskMonitoring counts")];
    let parts: Vec<Draft> =
        Part::ALL.iter().filter_map(|part| health::of(s, stack, *part, wanted, changing)).collect();
    drafts.push(ready(&parts));
    drafts.extend(parts);
    drafts.extend(left_out(stack));
    let mut status = current(s);
    status.conditions.retain(|c| drafts.iter().any(|draft| draft.type_ == c.type_));
    status.addresses = addresses(stack);
    status.open_grafana = open_grafana(stack);
    // A process that has seen no run yet does not take back what its predecessor saw.
    status.series_per_run = s.series_per_run.and_then(in_tens).or(status.series_per_run);
    StackPlan { next: next(s, wanted), ..say(s, status, &drafts) }
}

/// The plan of a stack that does not count: it says why.
pub fn refuse(s: &StackSnapshot, reason: &'static str, sentence: &str) -> StackPlan {
    let no = |type_| Draft::new(type_, false, reason, sentence);
    let mut status = current(s);
    if reason != reason::INVALID_SPEC {
        // Nothing of it is left.
        status = TaskMonitoringStatus { conditions: status.conditions, ..TaskMonitoringStatus::default() };
        status.conditions.retain(|c| c.type_ == condition::ACCEPTED || c.type_ == condition::READY);
    }
    say(s, status, &[no(condition::ACCEPTED), no(condition::READY)])
}

fn current(s: &StackSnapshot) -> TaskMonitoringStatus {
    s.stack.status.as_result().cloned().unwrap_or_default()
}

fn say(s: &StackSnapshot, mut status: TaskMonitoringStatus, drafts: &[Draft]) -> StackPlan {
    let old = current(s);
    let generation = s.stack.metadata.generation;
    status.observed_generation = generation;
    for draft in drafts {
        merge(&mut status.conditions, draft, generation, s.now);
    }
    // `Ready` says again what `Accepted` or a part says: one warning is enough.
    let mut warnings: Vec<Warning> = drafts
        .iter()
        .filter(|draft| draft.type_ != condition::READY && is_bad(draft.reason))
        .filter(|draft| find(&old.conditions, draft.type_).is_none_or(|c| c.reason != draft.reason))
        .map(|draft| Warning { reason: draft.reason.to_owned(), message: draft.message.clone() })
        .collect();
    let status = (status != old).then(|| Box::new(status));
    if status.is_none() {
        warnings.clear();
    }
    StackPlan { status, warnings, ..StackPlan::default() }
}

/// Reasons that people should hear of.
fn is_bad(reason: &str) -> bool {
    ![reason::ACCEPTED, reason::READY, reason::PROGRESSING, reason::EXTERNAL].contains(&reason)
}

/// All parts together: the first that is not ready speaks, but one that waits for people before one that is on its way.
/// What others run and the operator cannot connect to may be well all the same: it says so itself.
fn ready(parts: &[Draft]) -> Draft {
    let is_away = |part: &Draft| part.reason == reason::UNREACHABLE;
    let not = || parts.iter().filter(|part| part.status != Some(true) && !is_away(part));
    let all = if parts.iter().any(is_away) { "all parts that the operator runs" } else { "all parts" };
    match not().find(|part| is_bad(part.reason)).or_else(|| not().next()) {
        None => Draft::new(condition::READY, true, reason::READY, format!("{all} are ready")),
        Some(part) => {
            let sentence = format!("{}: {}", part.type_, part.message);
            Draft::new(condition::READY, false, part.reason, sentence)
        }
    }
}

/// Definitions that are told by name; the rest is counted.
const NAMED: usize = 3;

/// What is said where the patterns of definitions have no room.
fn left_out(stack: &Stack<'_>) -> Option<Draft> {
    if stack.spec.proxy.mode != Mode::Managed {
        return None;
    }
    let all = stack.filters;
    let left_out = all.get(proxy::fitting(all)..).filter(|left_out| !left_out.is_empty())?;
    let named = left_out.iter().take(NAMED).map(|f| format!("{}/{}", f.namespace, f.definition));
    let more = left_out.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let sentence = format!(
        "the patterns of {} of {} definitions have no room in the proxies' configuration and do not count; all metrics of their tasks are kept: {}{more}; shorten metrics.keep and metrics.drop of definitions, or put what all tasks share into spec.metrics here",
        left_out.len(),
        all.len(),
        named.collect::<Vec<_>>().join(", "),
    );
    Some(Draft::new(condition::PATTERNS_APPLIED, false, reason::TOO_MANY_PATTERNS, sentence))
}

/// Rounded up to tens: a few series more or less are no news.
fn in_tens(series: usize) -> Option<i64> {
    i64::try_from(series.div_ceil(10) * 10).ok()
}

/// When to look again: counted from the answers, since events may come all the time.
fn next(s: &StackSnapshot, wanted: &[Object]) -> Option<Duration> {
    let pauses = wanted.iter().filter_map(|object| {
        let answer = s.memory.answers.get(&object.key()).filter(|a| a.digest == object.digest());
        let secret = object.kind == Kind::Secret;
        let pause = match answer.map(|answer| &answer.outcome) {
            Some(Outcome::Foreign(_)) if secret => return None,
            Some(Outcome::Foreign(_) | Outcome::KindMissing | Outcome::Refused(_)) => ASK_AGAIN,
            Some(Outcome::Taken(_) | Outcome::Absent) | None if object.kind.is_watched() || secret => {
                return None;
            }
            Some(Outcome::Taken(_) | Outcome::Absent) | None => UNWATCHED,
        };
        let left = answer.map_or(pause, |answer| diff::left(s, answer, pause));
        // What is due is written now, and answered anew.
        Some(if left.is_zero() { pause } else { left })
    });
    pauses.min()
}

fn addresses(stack: &Stack<'_>) -> Option<Addresses> {
    let spec = stack.spec;
    let managed = |part, asked: Option<i32>, usual| {
        format!("http://{}:{}", host(part, stack.namespace), asked.unwrap_or(usual))
    };
    let addresses = Addresses {
        prometheus: match spec.prometheus.mode {
            Mode::Managed => Some(managed(Part::Prometheus, spec.prometheus.service.port, port::PROMETHEUS)),
            Mode::External => spec.prometheus.external.as_ref().map(|e| e.url.clone()),
            Mode::Disabled => None,
        },
        proxy: match spec.proxy.mode {
            Mode::Managed => Some(network::authority(
                &host(Part::Proxy, stack.namespace),
                spec.proxy.service.port.unwrap_or(port::RSOCKET),
            )),
            Mode::External => spec.proxy.external.as_ref().map(|e| network::authority(&e.host, e.port)),
            Mode::Disabled => None,
        },
        push: match spec.proxy.mode {
            Mode::Managed => Some(managed(Part::Proxy, None, port::PUSH)),
            Mode::External => spec.proxy.external.as_ref().and_then(|e| e.push_url.clone()),
            Mode::Disabled => None,
        },
        grafana: match spec.grafana.mode {
            Mode::Managed => Some(managed(Part::Grafana, spec.grafana.service.port, port::GRAFANA)),
            Mode::External => spec.grafana.external.as_ref().map(|e| e.url.clone()),
            Mode::Disabled => None,
        },
        influxdb: match spec.influxdb.mode {
            Mode::Managed => Some(managed(Part::InfluxDb, spec.influxdb.service.port, port::INFLUXDB)),
            Mode::External => spec.influxdb.external.as_ref().map(|e| e.url.clone()),
            Mode::Disabled => None,
        },
    };
    (addresses != Addresses::default()).then_some(addresses)
}

/// The command that opens Grafana.
fn open_grafana(stack: &Stack<'_>) -> Option<String> {
    let spec = &stack.spec.grafana;
    if spec.mode != Mode::Managed {
        return None;
    }
    let (name, namespace) = (Part::Grafana.name(), stack.namespace);
    Some(match network::type_of(&spec.service, ServiceType::NodePort) {
        ServiceType::NodePort => format!("minikube service --url {name} -n {namespace}"),
        ServiceType::ClusterIP => {
            let number = spec.service.port.unwrap_or(port::GRAFANA);
            format!("kubectl -n {namespace} port-forward service/{name} {}:{number}", port::GRAFANA)
        }
    })
}
