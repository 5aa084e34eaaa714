//! What can go wrong, and when: rules that match requests and say what happens to them.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    request::{Request, Verb},
    status::Status,
};

/// What happens to one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Refused with this; nothing is applied.
    Answer(Status),
    /// Applied, and then refused with this: a gateway's timeout.
    AnswerAfter(Status),
    /// The connection breaks before the server saw the request.
    ResetBefore,
    /// The server applied it; the answer is lost.
    ResetAfter,
    /// The answer is 200 and not JSON: a proxy's page.
    Garbage,
    /// No answer, ever; nothing is applied.
    Hang,
    /// The server sees the request this much later (tokio's time).
    Delay(Duration),
    /// A list shows the cluster as it was at this revision, as a server that lags does; ignored by
    /// other requests.
    StaleList(u64),
    /// Something about the stream of a watch; ignored by other requests.
    Watch(WatchFault),
}

/// What happens to a watch. `after` counts the events that still come through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFault {
    /// Ends cleanly, as when a server restarts.
    Cut { after: u64 },
    /// Breaks in the middle of the stream.
    Reset { after: u64 },
    /// Stays open and silent, past its timeout, until thawed.
    Freeze { after: u64 },
    /// An `ERROR` event with 410.
    Gone { after: u64 },
    /// Loses this many events.
    Drop(u64),
    /// Sends this many events twice.
    Duplicate(u64),
    /// Swaps the next two events.
    Reorder,
    /// Sends only the newest of the events that wait on one object.
    Coalesce,
    /// Holds events until they are released.
    Lag,
}

impl Fault {
    pub fn answer(code: u16, reason: &str, message: &str) -> Self {
        Self::Answer(Status::new(code, reason, message))
    }

    /// Every fault of a single request: one row of the fault matrix each. Watches get these too.
    pub fn all() -> Vec<Self> {
        let answer = Self::answer;
        vec![
            Self::ResetBefore,
            Self::ResetAfter,
            answer(409, "Conflict", "Operation cannot be fulfilled: the object has been modified"),
            answer(409, "AlreadyExists", "the object already exists"),
            answer(403, "Forbidden", "the service account cannot do that"),
            answer(
                403,
                "Forbidden",
                "unable to create new content in namespace because it is being terminated",
            ),
            answer(404, "NotFound", "the server could not find the requested resource"),
            answer(410, "Expired", "The resourceVersion for the provided list is too old."),
            answer(422, "Invalid", "the object is invalid: spec: Invalid value"),
            Self::Answer(
                Status::new(429, "TooManyRequests", "the server is overloaded, try again").retry_after(1),
            ),
            answer(500, "InternalError", "Internal error occurred: failed calling webhook"),
            answer(500, "", "etcdserver: mvcc: database space exceeded"),
            Self::Answer(Status::new(503, "ServiceUnavailable", "the server is not ready").retry_after(1)),
            answer(504, "Timeout", "Timeout: request did not complete within the allotted timeout"),
            Self::AnswerAfter(Status::new(
                504,
                "Timeout",
                "Timeout: request did not complete within the allotted timeout",
            )),
            Self::Garbage,
            Self::Hang,
            Self::Delay(Duration::from_secs(2)),
        ]
    }

    /// Every fault of a watch's stream.
    pub fn all_of_watches() -> Vec<Self> {
        let (at_once, later) = (0, 1);
        [
            WatchFault::Cut { after: at_once },
            WatchFault::Cut { after: later },
            WatchFault::Reset { after: at_once },
            WatchFault::Reset { after: later },
            WatchFault::Freeze { after: at_once },
            WatchFault::Freeze { after: later },
            WatchFault::Gone { after: at_once },
            WatchFault::Gone { after: later },
            WatchFault::Drop(1),
            WatchFault::Duplicate(3),
            WatchFault::Reorder,
            WatchFault::Coalesce,
            WatchFault::Lag,
        ]
        .map(Self::Watch)
        .into()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(status) => write!(f, "{} {}", status.code, status.reason),
            Self::AnswerAfter(status) => write!(f, "{} {} after it was applied", status.code, status.reason),
            Self::ResetBefore => f.write_str("reset before"),
            Self::ResetAfter => f.write_str("reset after it was applied"),
            Self::Garbage => f.write_str("garbage"),
            Self::Hang => f.write_str("no answer"),
            Self::Delay(time) => write!(f, "{time:?} late"),
            Self::StaleList(revision) => write!(f, "as of {revision}"),
            Self::Watch(fault) => write!(f, "watch {fault:?}"),
        }
    }
}

/// On names, e.g. "the launch's second Job".
pub type NameMatch = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Which requests a fault hits. What is not said matches all.
#[derive(Clone)]
pub struct Rule {
    client: Option<String>,
    verbs: Vec<Verb>,
    plural: Option<String>,
    subresource: Option<String>,
    name: Option<NameMatch>,
    skip: u64,
    times: u64,
    fault: Fault,
    seen: u64,
    fired: u64,
}

impl Rule {
    /// Hits every request once, until narrowed.
    pub fn new(fault: Fault) -> Self {
        Self {
            client: None,
            verbs: Vec::new(),
            plural: None,
            subresource: None,
            name: None,
            skip: 0,
            times: 1,
            fault,
            seen: 0,
            fired: 0,
        }
    }

    /// A fault of the next request of this verb on this plural, the main resource or a subresource.
    pub fn on(verb: Verb, plural: &str, fault: Fault) -> Self {
        Self { verbs: vec![verb], plural: Some(plural.to_owned()), ..Self::new(fault) }
    }

    /// The same, for the next watch of a plural.
    pub fn watch(plural: &str, fault: WatchFault) -> Self {
        Self::on(Verb::Watch, plural, Fault::Watch(fault))
    }

    #[must_use]
    pub fn by(mut self, client: &str) -> Self {
        self.client = Some(client.to_owned());
        self
    }

    /// Any create, update, patch or delete: "between the second and the third write".
    pub fn on_writes(fault: Fault) -> Self {
        let verbs = Verb::ALL.into_iter().filter(|verb| verb.is_write()).collect();
        Self { verbs, ..Self::new(fault) }
    }

    #[must_use]
    pub fn verb(mut self, verb: Verb) -> Self {
        self.verbs = vec![verb];
        self
    }

    #[must_use]
    pub fn plural(mut self, plural: &str) -> Self {
        self.plural = Some(plural.to_owned());
        self
    }

    /// Only this subresource; `""` is the main resource alone.
    #[must_use]
    pub fn subresource(mut self, subresource: &str) -> Self {
        self.subresource = Some(subresource.to_owned());
        self
    }

    #[must_use]
    pub fn named(self, name: &str) -> Self {
        let name = name.to_owned();
        self.name_where(move |n| n == name)
    }

    #[must_use]
    pub fn name_where(mut self, matches: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.name = Some(Arc::new(matches));
        self
    }

    /// From the `n`th matching request on, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.skip = n.saturating_sub(1);
        self
    }

    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    #[must_use]
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    fn matches(&self, request: &Request) -> bool {
        let apt = match self.fault {
            Fault::Watch(_) => request.verb == Verb::Watch,
            Fault::StaleList(_) => request.verb == Verb::List,
            _ => true,
        };
        apt && self.client.as_ref().is_none_or(|c| *c == request.client)
            && (self.verbs.is_empty() || self.verbs.contains(&request.verb))
            && self.plural.as_ref().is_none_or(|p| request.is_on(p))
            && self.subresource.as_ref().is_none_or(|s| *s == request.subresource)
            && self.name.as_ref().is_none_or(|n| n(request_name(request)))
    }
}

/// A create names its object in the body.
fn request_name(request: &Request) -> &str {
    let in_body = request.body.as_ref().map_or("", super::object::name);
    if request.name.is_empty() { in_body } else { &request.name }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} on {:?} {:?}, fired {} of {}",
            self.fault, self.verbs, self.plural, self.fired, self.times
        )
    }
}

/// A rule that was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId(usize);

/// The rules in force, in the order they were given. Counters only: same requests, same faults.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
}

impl Faults {
    pub fn inject(&mut self, rule: Rule) -> RuleId {
        self.rules.push(rule);
        RuleId(self.rules.len() - 1)
    }

    /// Ends all rules; their ids stay valid.
    pub fn clear(&mut self) {
        self.rules.iter_mut().for_each(|rule| rule.times = 0);
    }

    /// How often a rule hit. A test that injects a fault checks that it did.
    pub fn fired(&self, id: RuleId) -> u64 {
        self.rules.get(id.0).map_or(0, |rule| rule.fired)
    }

    /// The delay and the first other fault for a request.
    pub fn pick(&mut self, request: &Request) -> (Duration, Option<Fault>) {
        let (mut delay, mut fault) = (Duration::ZERO, None);
        for rule in self.rules.iter_mut().filter(|rule| rule.matches(request)) {
            rule.seen += 1;
            if rule.seen <= rule.skip || rule.fired >= rule.times {
                continue;
            }
            match rule.fault.clone() {
                Fault::Delay(time) => delay += time,
                other if fault.is_none() => fault = Some(other),
                _ => continue,
            }
            rule.fired += 1;
        }
        (delay, fault)
    }
}
