//! One connection: what its session decides is done here.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::room::{NoRoom, Room, Share};
use super::transport::{Incoming, Transport, is_late};
use super::{LEAVE, Shared, Stage, until};
use crate::proxy::crypto::OpenError;
use crate::proxy::crypto::pool::Urgency;
use crate::proxy::intake::{Body, Intake, IntakeError, Origin, Pushed};
use crate::proxy::metrics::{Outcome, PullEnd};
use crate::proxy::session::{Effect, Note, Session};
use crate::proxy::wire::{Frame, Payload};

/// Times are looked at so often: pulls that are due come together.
const TICK: Duration = Duration::from_millis(500);

/// A push is stored, or is not.
struct Done {
    answer: Option<u32>,
    bytes: usize,
    result: Result<(), String>,
}

/// An answer that is opened and kept.
struct Opening {
    bytes: usize,
    done: oneshot::Receiver<()>,
}

struct Connection<I> {
    shared: Arc<Shared<I>>,
    origin: Origin,
    pushes: JoinSet<Done>,
    /// The last answer: behind many others, answers must not pile up.
    opening: Option<Opening>,
    /// Bytes of that answer and of the pushes.
    in_work: usize,
    share: Share,
    /// The client is known to the intake.
    known: bool,
    /// When the pull that is not answered yet was sent.
    asked: Option<Instant>,
}

/// Serves the connection until it ends. Returns when all that it brought is stored.
pub async fn run<I: Intake>(shared: &Arc<Shared<I>>, mut transport: Transport, origin: Origin) {
    let mut connection = Connection {
        shared: shared.clone(),
        origin,
        pushes: JoinSet::new(),
        opening: None,
        in_work: 0,
        share: Share::default(),
        known: false,
        asked: None,
    };
    // Any mixture that differs from one connection to the next does.
    let random = shared.seed ^ origin.id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut session = Session::new(shared.settings.session, shared.keys.public(), random, Instant::now());
    if connection.converse(&mut session, &mut transport).await.is_break() {
        Box::pin(transport.close()).await;
    }
    session.on_closed();
    connection.pull_ended(PullEnd::Closed);
    while connection.pushes.join_next().await.is_some() {}
    let _ = opened(&mut connection.opening).await;
    if connection.known {
        // Its own memory, that only the end of a connection needs.
        Box::pin(shared.intake.closed(origin, (shared.clock.0)())).await;
        shared.metrics.connected(false);
    }
}

impl<I> Shared<I> {
    /// The next moment at which connections look at the time. All look at the same: what many do right after each other
    /// takes less CPU time than what each wakes a cold core for (`docs/performance.md`).
    fn together(&self, timer: Instant) -> Instant {
        let since = timer.saturating_duration_since(self.began).as_millis();
        let late = TICK.as_millis() - since % TICK.as_millis();
        timer + Duration::from_millis(u64::try_from(late).unwrap_or_default())
    }
}

impl<I: Intake> Connection<I> {
    /// Breaks when it is for us to close.
    async fn converse(&mut self, session: &mut Session, transport: &mut Transport) -> ControlFlow<()> {
        let mut stage = self.shared.stage.clone();
        let pause = LEAVE.mul_f64(f64::from(u8::try_from(self.origin.id % 256).unwrap_or_default()) / 256.0);
        let leave = async move {
            until(&mut stage, Stage::Ended).await;
            sleep(pause).await;
        };
        tokio::pin!(leave);
        while let Some(timer) = session.next_timer() {
            let held = self.in_work + session.held();
            let effects = tokio::select! {
                incoming = received(&mut self.share, &self.shared.room, held, transport) => match incoming {
                    Ok(Some(frames)) => frames.into_iter().flat_map(|f| self.heard(session, f)).collect(),
                    Ok(None) => return ControlFlow::Continue(()),
                    Err(NoRoom) => {
                        self.no_room();
                        return ControlFlow::Break(());
                    }
                },
                bytes = opened(&mut self.opening), if self.opening.is_some() => {
                    self.in_work -= bytes;
                    continue;
                }
                Some(done) = self.pushes.join_next() => match done {
                    Ok(Done { answer, bytes, result }) => {
                        self.in_work -= bytes;
                        session.on_stored(answer, result)
                    }
                    Err(error) => {
                        tracing::error!(%error, "work on a push ended early");
                        return ControlFlow::Break(());
                    }
                },
                () = sleep_until(self.shared.together(timer).into()) => session.on_timer(Instant::now()),
                () = &mut leave => return ControlFlow::Break(()),
            };
            self.carry_out(effects, transport).await?;
        }
        ControlFlow::Break(())
    }

    fn heard(&self, session: &mut Session, incoming: Incoming) -> Vec<Effect> {
        match incoming {
            Ok(frame) => session.on_frame(Instant::now(), frame),
            Err(bad) => {
                if let Some(left_out) = self.shared.flood.lets("not a frame", Instant::now()) {
                    tracing::info!(peer = %self.origin.peer, %bad, left_out, "not a frame");
                }
                session.on_malformed(Instant::now(), bad)
            }
        }
    }

    async fn carry_out(&mut self, effects: Vec<Effect>, transport: &mut Transport) -> ControlFlow<()> {
        let (mut frames, mut close) = (Vec::new(), false);
        for effect in effects {
            match effect {
                Effect::Send(frame) => {
                    self.sends(&frame);
                    frames.push(frame);
                }
                Effect::Live(payload) => self.pulled(payload),
                Effect::Final { payload, answer } => self.pushed(payload, answer),
                Effect::Note(note) => self.note(note),
                Effect::Close => close = true,
            }
        }
        let sent = frames.is_empty() || self.write(transport, &frames).await;
        if close || !sent { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn no_room(&self) {
        self.shared.metrics.event("no_room");
        if let Some(left_out) = self.shared.flood.lets("no room", Instant::now()) {
            tracing::warn!(
                peer = %self.origin.peer,
                left_out,
                "too much is sent at the same time: a connection that waited for room is ended"
            );
        }
    }

    /// Whether it was taken.
    async fn write(&self, transport: &mut Transport, frames: &[Frame]) -> bool {
        let Err(error) = transport.write(frames).await else { return true };
        if is_late(&error) {
            self.shared.metrics.event("stalled");
            if let Some(left_out) = self.shared.flood.lets("stalled", Instant::now()) {
                tracing::info!(peer = %self.origin.peer, left_out, "a client takes nothing any more");
            }
        }
        false
    }

    fn sends(&mut self, frame: &Frame) {
        match frame {
            Frame::RequestResponse { .. } => self.asked = Some(Instant::now()),
            Frame::RequestFnf { .. } => self.shared.metrics.key_sent(),
            _ => {}
        }
    }

    /// No body came of the last pull, if there is one.
    fn pull_ended(&mut self, end: PullEnd) {
        if let Some(asked) = self.asked.take() {
            self.shared.metrics.answered(end, asked.elapsed());
            self.shared.metrics.scraped(end, asked.elapsed());
        }
    }

    fn note(&mut self, note: Note) {
        self.shared.metrics.note(note);
        match note {
            Note::PullTimedOut => self.pull_ended(PullEnd::TimedOut),
            Note::PullFailed => self.pull_ended(PullEnd::Failed),
            _ => {}
        }
        match note {
            Note::Opened => {
                self.known = true;
                self.shared.metrics.connected(true);
                self.shared.intake.connected(self.origin);
            }
            // The first was logged with its bytes.
            Note::PullAnswered | Note::Ending | Note::Malformed => {}
            _ => {
                if let Some(left_out) = self.shared.flood.lets("noted", Instant::now()) {
                    let (peer, door) = (self.origin.peer, self.origin.door.name());
                    tracing::info!(%peer, door, what = ?note, left_out, "noted");
                }
            }
        }
    }

    fn body(&self, text: String, taken_at: jiff::Timestamp) -> Body {
        Body { origin: self.origin, taken_at, text }
    }

    fn pulled(&mut self, payload: Payload) {
        let (shared, asked) = (self.shared.clone(), self.asked.take());
        if let Some(asked) = asked {
            shared.metrics.answered(PullEnd::Kept, asked.elapsed());
        }
        if self.opening.is_some() {
            return shared.metrics.pull(Outcome::skipped);
        }
        let (done, opening) = oneshot::channel();
        let bytes = payload.size();
        self.opening = Some(Opening { bytes, done: opening });
        self.in_work += bytes;
        let start = Instant::now();
        let body = self.body(String::new(), (shared.clock.0)());
        // Reading the text is work as well: it stays on the pool's thread, and the threads of the sockets stay free.
        self.shared.pool.open(Urgency::Pull, payload, move |text| {
            shared.metrics.opened(&text, start.elapsed());
            let end = match text {
                Ok(text) => {
                    shared.metrics.pull(Outcome::success);
                    shared.intake.live_body(Body { text, ..body });
                    PullEnd::Kept
                }
                Err(error) => {
                    shared.metrics.pull(Outcome::unreadable);
                    if let Some(left_out) = shared.flood.lets("unreadable answer", Instant::now()) {
                        tracing::warn!(peer = %body.origin.peer, %error, left_out, "an answer cannot be read");
                    }
                    PullEnd::Unreadable
                }
            };
            if let Some(asked) = asked {
                shared.metrics.scraped(end, asked.elapsed());
            }
            // Who waited may be gone.
            let _ = done.send(());
        });
    }

    fn pushed(&mut self, payload: Payload, answer: Option<u32>) {
        let (shared, arrived) = (self.shared.clone(), Instant::now());
        let (body, bytes) = (self.body(String::new(), (shared.clock.0)()), payload.size());
        self.in_work += bytes;
        self.pushes.spawn(async move {
            let Origin { peer, door, .. } = body.origin;
            let (outcome, result) = match read(&shared, payload, body).await {
                Err(NotRead::Sealed(error)) => (Outcome::unreadable, Err(error.to_string())),
                Err(NotRead::Body(error)) => (Outcome::refused, Err(error.to_string())),
                Ok(ready) => match shared.intake.final_push(ready).await {
                    Ok(Pushed::Stored) => (Outcome::success, Ok(())),
                    Ok(Pushed::Empty) => (Outcome::empty, Ok(())),
                    Err(error) => (Outcome::refused, Err(error.to_string())),
                },
            };
            shared.metrics.push(door, outcome, arrived.elapsed());
            match &result {
                Ok(()) => tracing::debug!(%peer, door = door.name(), "a final push is kept"),
                Err(error) => {
                    if let Some(left_out) = shared.flood.lets("push not kept", Instant::now()) {
                        tracing::warn!(%peer, error, left_out, "a final push is not kept");
                    }
                }
            }
            Done { answer, bytes, result }
        });
    }
}

/// Reads when there is room for what may come.
async fn received(
    share: &mut Share,
    room: &Room,
    held: usize,
    transport: &mut Transport,
) -> Result<Option<Vec<Incoming>>, NoRoom> {
    share.fit(held + transport.held(), room).await?;
    Ok(transport.read().await)
}

/// Returns when the last answer is kept, or is known to be none; how large it was.
async fn opened(opening: &mut Option<Opening>) -> usize {
    let Some(last) = opening else { return 0 };
    // Dropped without a word by work that ended early.
    let _ = (&mut last.done).await;
    opening.take().map_or(0, |last| last.bytes)
}

/// Why a push was not read.
enum NotRead {
    Sealed(OpenError),
    Body(IntakeError),
}

/// Opens and reads a push, on a thread of the pool: its text has no place in memory while it waits for the disk.
async fn read<I: Intake>(shared: &Arc<Shared<I>>, payload: Payload, body: Body) -> Result<I::Ready, NotRead> {
    let (start, (sender, receiver)) = (Instant::now(), oneshot::channel());
    let work = shared.clone();
    shared.pool.open(Urgency::Push, payload, move |text| {
        work.metrics.opened(&text, start.elapsed());
        let ready = match text {
            Ok(text) => work.intake.read(Body { text, ..body }).map_err(NotRead::Body),
            Err(error) => Err(NotRead::Sealed(error)),
        };
        // Who waited may be gone.
        let _ = sender.send(ready);
    });
    // The pool lives as long as this and drops nothing; work that ended early sends nothing.
    receiver.await.unwrap_or(Err(NotRead::Sealed(OpenError::Cipher)))
}
