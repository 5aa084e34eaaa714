//! What arrived from which run: a client of the metrics proxies' facts (`docs/adr/0008-facts.md`).
//!
//! ```text
//! every replica ─ stream of facts ─> known (bounded) ─┐
//!                                                     ├─> arrived?
//! every replica <─ one question, where that is not enough ─┘
//! ```
//!
//! It knows proxies by their addresses and nothing of Kubernetes.

mod answer;
mod known;
pub mod reach;
mod request;
mod stream;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout_at};

use self::answer::{Body, Silence, Standing};
use self::known::Known;
use self::request::{Connection, Task};
use self::stream::Pace;

/// First pause before everybody is asked once more; it doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// A proxy makes the last snapshot of a dead connection final within milliseconds; one that restarts takes half a second.
const PAUSE_MOST: Duration = Duration::from_millis(400);
/// Where one replica has a push, the others are waited for so long: one that hangs does not delay every launch.
const OTHERS: Duration = Duration::from_millis(250);

/// A run, as it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The stack whose proxies it was to send to, `namespace/name`.
    pub stack: &'a str,
    /// Its execution id.
    pub execution_id: i64,
    /// Its pod; without it any attempt of the execution counts.
    pub pod: Option<&'a str>,
    /// The pod's address, to find connections that never said whose they are.
    pub address: Option<IpAddr>,
    /// When the pod began: a connection of its address before that was another pod's.
    pub started: Option<Timestamp>,
    /// When it ended; likewise.
    pub ended: Option<Timestamp>,
}

/// Whether a run's metrics arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A proxy keeps them: the newest body of all replicas.
    Received {
        /// Through which door it came.
        door: String,
        /// Series in it.
        series: usize,
        /// False if the application ended without a last push and its last snapshot was kept.
        pushed: bool,
    },
    /// Every replica answered, and none has a body.
    NoBody {
        /// Whether the pod connected and never sent anything.
        connected: bool,
    },
    /// Not every replica answered in time, and none that did has the run: which, and why.
    Unreachable(String),
    /// The stack is not followed.
    NotObservable,
}

impl From<Body> for Arrival {
    fn from(body: Body) -> Self {
        Self::Received { pushed: body.standing == Standing::Pushed, door: body.door, series: body.series }
    }
}

/// Facts of all stacks. A handle: clones are the same. What it follows ends with the last of them.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    stacks: Arc<Mutex<BTreeMap<String, Stack>>>,
}

/// One stack's proxies.
#[derive(Debug, Default)]
struct Stack {
    replicas: BTreeMap<SocketAddr, Replica>,
    /// Since when there is none.
    alone: Option<Instant>,
    known: Arc<Mutex<Known>>,
}

/// Since when a replica has no stream; none while it has one.
type Away = Arc<Mutex<Option<Instant>>>;

#[derive(Debug)]
struct Replica {
    /// Dropping it ends it.
    _stream: Task,
    away: Away,
}

impl Replica {
    fn follow(replica: SocketAddr, known: Arc<Mutex<Known>>) -> Self {
        let away = Arc::new(Mutex::new(Some(Instant::now())));
        let stream = stream::follow(replica, known, away.clone(), Pace::default());
        Self { _stream: Task::new(tokio::spawn(stream)), away }
    }
}

impl Stack {
    /// Its replicas as they are to be asked: of those that are away for `patience` nobody need wait for an answer.
    fn round(&self, patience: Duration) -> Round {
        let long = |since: Option<Instant>| since.is_some_and(|since| since.elapsed() >= patience);
        let lost = self.replicas.iter().filter(|(_, replica)| long(*locked(&replica.away)));
        Round {
            replicas: self.replicas.keys().copied().collect(),
            lost: lost.map(|(address, _)| *address).collect(),
            deserted: long(self.alone),
            ..Round::default()
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Facts {
    /// Follows exactly these replicas (address and port of what they let be read) of `stack`. What is no longer named is
    /// let go, but what it told stays known; what is followed already goes on undisturbed. Needs a Tokio runtime.
    pub fn follow(&self, stack: &str, replicas: &[SocketAddr]) {
        let mut stacks = locked(&self.stacks);
        let stack = stacks.entry(stack.to_owned()).or_default();
        stack.replicas.retain(|known, _| replicas.contains(known));
        for replica in replicas {
            let known = &stack.known;
            stack.replicas.entry(*replica).or_insert_with(|| Replica::follow(*replica, known.clone()));
        }
        stack.alone = replicas.is_empty().then(|| stack.alone.unwrap_or_else(Instant::now));
    }

    /// Follows nothing of `stack` any more, and knows nothing of it.
    pub fn forget(&self, stack: &str) {
        locked(&self.stacks).remove(stack);
    }

    /// The largest number of series that one of a stack's newest runs had; none if nothing came yet.
    pub fn series_per_run(&self, stack: &str) -> Option<usize> {
        let known = locked(&self.stacks).get(stack)?.known.clone();
        locked(&known).series_per_run()
    }

    /// Whether a run's metrics arrived. A push that was told is answered at once; everything else is asked of every
    /// replica. What may still change (a living connection, a replica that does not answer) is asked again until
    /// `patience` is over; later than that it never answers. For a replica that has been away for so long already nobody
    /// waits again: it is asked once, in case that it has just come back.
    pub async fn arrived(&self, run: &Run<'_>, patience: Duration) -> Arrival {
        let deadline = Instant::now() + patience;
        let mut pause = PAUSE;
        let mut said = BTreeMap::new();
        loop {
            // Replicas come and go meanwhile.
            let asked = |stack: &Stack| (stack.round(patience), stack.known.clone());
            let stack = locked(&self.stacks).get(run.stack).map(asked);
            let Some((round, known)) = stack else { return Arrival::NotObservable };
            let told = locked(&known).of(run);
            if let Some(pushed) = told.clone().filter(|body| body.standing == Standing::Pushed) {
                return pushed.into();
            }
            // That it lived when it was told is no proof that a proxy keeps it now.
            let told = told.filter(|body| body.standing != Standing::Live);
            let round = Round { body: told, ..round }.ask(run, deadline, &said).await;
            if round.is_settled() || Instant::now() + pause >= deadline {
                return round.into();
            }
            said.extend(round.missing);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MOST);
        }
    }
}

/// What all replicas say together.
#[derive(Debug, Default)]
struct Round {
    body: Option<Body>,
    silence: Silence,
    /// Who is asked.
    replicas: BTreeSet<SocketAddr>,
    /// Who of them has been away for so long that nobody waits for it.
    lost: BTreeSet<SocketAddr>,
    /// Nobody has been there to be asked for as long.
    deserted: bool,
    /// Who did not answer, and why.
    missing: BTreeMap<SocketAddr, String>,
}

impl Round {
    /// Asks them all at the same time. Of one that is broken off at the deadline it counts what it `said` before.
    async fn ask(mut self, run: &Run<'_>, deadline: Instant, said: &BTreeMap<SocketAddr, String>) -> Self {
        let ask = |replica: &SocketAddr| {
            let replica = *replica;
            async move { (replica, ask(replica, run).await) }
        };
        let mut asked: FuturesUnordered<_> = self.replicas.iter().map(ask).collect();
        let (mut waiting, mut until) = (self.replicas.clone(), deadline);
        loop {
            if waiting.is_subset(&self.lost) {
                until = until.min(Instant::now() + OTHERS);
            }
            let Ok(Some((replica, answer))) = timeout_at(until, asked.next()).await else { break };
            waiting.remove(&replica);
            match answer {
                Ok((body, silence)) => {
                    if body.as_ref().is_some_and(|body| body.standing == Standing::Pushed) {
                        until = until.min(Instant::now() + OTHERS);
                    }
                    self.body = self.body.max(body);
                    self.silence = self.silence.max(silence);
                }
                Err(why) => drop(self.missing.insert(replica, why)),
            }
        }
        let why = |replica| said.get(&replica).map_or("no answer in time", String::as_str).to_owned();
        self.missing.extend(waiting.into_iter().map(|replica| (replica, why(replica))));
        self
    }

    /// Whether asking again would not help.
    fn is_settled(&self) -> bool {
        let all_told = if self.replicas.is_empty() {
            self.deserted
        } else {
            self.missing.keys().all(|replica| self.lost.contains(replica))
        };
        match self.body.as_ref().map(|body| body.standing) {
            Some(Standing::Pushed) => true,
            // The application may have come back and pushed elsewhere.
            Some(Standing::Snapshot) => all_told,
            Some(Standing::Live) => false,
            // What a connection still sends has not arrived yet.
            None => all_told && self.silence != Silence::Open,
        }
    }
}

impl From<Round> for Arrival {
    fn from(round: Round) -> Self {
        match round.body {
            Some(body) => body.into(),
            None if round.replicas.is_empty() => Self::Unreachable("none of its proxies is there".to_owned()),
            None if round.missing.is_empty() => Self::NoBody { connected: round.silence != Silence::None },
            None => {
                let each = round.missing.iter().map(|(replica, why)| format!("{replica}: {why}"));
                Self::Unreachable(each.collect::<Vec<_>>().join("; "))
            }
        }
    }
}

/// What one replica knows: the run's newest body, or, if there is none, of its pod's connections.
async fn ask(replica: SocketAddr, run: &Run<'_>) -> Result<(Option<Body>, Silence), String> {
    let mut connection = Connection::open(replica).await?;
    let answer = connection.fetch(&format!("/executions/{}", run.execution_id)).await?;
    let body = answer::newest_body(&answer, run)?;
    let Some(address) = run.address.filter(|_| body.is_none()) else { return Ok((body, Silence::None)) };
    let answer = connection.fetch(&format!("/connections?peer={address}")).await?;
    Ok((None, answer::silence(&answer, run)?))
}
