//! One connection of an application, decided: frames, times and results in, effects out. No socket, no clock.
//!
//! A client that is closed or refused comes back at once and without end: 631 times in 8 s were measured. So nothing
//! that a client sends is a reason to close; what must be refused is refused late.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::wire::reassembly::Outcome;
use super::wire::{Frame, Malformed, Payload, Reassembly, Setup, error};

/// What holds for every connection.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// From one pull to the next, give or take a tenth.
    pub pull_interval: Duration,
    /// So long an answer is waited for.
    pub pull_deadline: Duration,
    /// So long the first frame is waited for.
    pub setup_wait: Duration,
    /// A refused client is held for this time to twice it.
    pub hold: Duration,
    /// Bytes of one payload, as sent, and of all fragments of a connection together.
    pub payload_limit: usize,
    /// Pushes of one connection that may wait for the disk at the same time.
    pub pushes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pull_interval: Duration::from_secs(10),
            pull_deadline: Duration::from_secs(5),
            // As rsocket-java's server.
            setup_wait: Duration::from_mins(1),
            hold: Duration::from_secs(5),
            payload_limit: 4 << 20,
            pushes_max: 8,
        }
    }
}

/// What a connection wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this.
    Send(Frame),
    /// Open this body and keep it as the last known one.
    Live(Payload),
    /// Open this body, keep it as the final one, and tell [`Session::on_stored`] of it.
    Final {
        /// The sealed body.
        payload: Payload,
        /// The stream that waits for an answer.
        answer: Option<u32>,
    },
    /// Count and log this.
    Note(Note),
    /// End the connection, after what is to be sent was sent.
    Close,
}

/// What is worth counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Note {
    /// The first frame was right; the key is on its way.
    Opened,
    /// An answer came in time.
    PullAnswered,
    /// None came in time.
    PullTimedOut,
    /// The client could not answer.
    PullFailed,
    /// An answer that nobody waits for any more.
    PullLate,
    /// More pushes at once than are taken.
    PushRejected,
    /// A payload over the limit.
    Oversize,
    /// Bytes that are no frame.
    Malformed,
    /// A frame that means nothing here.
    Ignored,
    /// A kind of request that is not served.
    Unserved,
    /// The first frame was wrong.
    Refused,
    /// No first frame came.
    NoSetup,
    /// The client said that it ends.
    Ending,
    /// Nothing was heard for the client's own limit.
    Expired,
}

#[derive(Debug)]
enum Phase {
    New,
    Open,
    Refused { code: u32, text: String },
    Closed,
}

#[derive(Clone, Copy, Debug)]
struct Pull {
    stream: u32,
    deadline: Instant,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    key: Bytes,
    phase: Phase,
    random: u64,
    next_stream: u32,
    parts: Reassembly,
    pull: Option<Pull>,
    next_pull: Instant,
    /// While it is new or refused: when this ends.
    due: Instant,
    heard: Instant,
    asked_for_life: bool,
    keepalive: Duration,
    lifetime: Duration,
    /// Pushes on their way to the disk, and whether their answer is still wanted.
    answers: BTreeMap<u32, bool>,
    unanswered: usize,
    /// Ends when the last push is answered.
    ending: bool,
}

/// Longest and shortest that a client's own times are believed.
const KEEPALIVE: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(1)];
const LIFETIME: [Duration; 2] = [Duration::from_secs(10), Duration::from_mins(10)];

impl Session {
    /// A connection that was accepted at `now`. `key` is told to the client; `random` spreads the pulls of many.
    pub fn new(settings: Settings, key: Bytes, random: u64, now: Instant) -> Self {
        Self {
            settings,
            key,
            phase: Phase::New,
            random,
            next_stream: 2,
            parts: Reassembly::new(settings.payload_limit),
            pull: None,
            next_pull: now,
            due: now + settings.setup_wait,
            heard: now,
            asked_for_life: false,
            keepalive: Duration::from_secs(20),
            lifetime: Duration::from_secs(90),
            answers: BTreeMap::new(),
            unanswered: 0,
            ending: false,
        }
    }

    /// The next frame of the client.
    pub fn on_frame(&mut self, now: Instant, frame: Frame) -> Vec<Effect> {
        self.hear(now);
        match self.phase {
            Phase::New => self.first(now, frame),
            Phase::Open => self.further(now, frame),
            Phase::Refused { .. } | Phase::Closed => Vec::new(),
        }
    }

    /// Bytes of the client that are no frame, or too many of them.
    pub fn on_malformed(&mut self, now: Instant, bad: Malformed) -> Vec<Effect> {
        self.hear(now);
        let mut effects = vec![Effect::Note(Note::Malformed)];
        match self.phase {
            Phase::Open => {}
            Phase::New | Phase::Refused { .. } => return effects,
            // What came behind the end is nobody's.
            Phase::Closed => return Vec::new(),
        }
        if self.pull.is_some_and(|pull| pull.stream == bad.stream) {
            self.pull_ended();
            effects.push(Effect::Note(Note::PullFailed));
        }
        if bad.wants_answer() && is_clients(bad.stream) && !self.answers.contains_key(&bad.stream) {
            self.parts.forget(bad.stream);
            effects.push(Effect::Send(Frame::error(bad.stream, error::INVALID, bad.to_string())));
        }
        effects
    }

    /// A push is on disk, or is not.
    pub fn on_stored(&mut self, answer: Option<u32>, result: Result<(), String>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let wanted = match answer {
            Some(stream) => self.answers.remove(&stream).unwrap_or_default().then_some(stream),
            None => {
                self.unanswered = self.unanswered.saturating_sub(1);
                None
            }
        };
        if matches!(self.phase, Phase::Closed) {
            return effects;
        }
        if let Some(stream) = wanted {
            effects.push(Effect::Send(match result {
                Ok(()) => Frame::acknowledgement(stream),
                Err(text) => Frame::error(stream, error::APPLICATION_ERROR, text),
            }));
        }
        self.end_if_done(&mut effects);
        effects
    }

    /// The time that [`Self::next_timer`] told is there.
    pub fn on_timer(&mut self, now: Instant) -> Vec<Effect> {
        match &self.phase {
            Phase::New if now >= self.due => {
                let text = "SETUP or RESUME frame must be received before any others";
                self.close(Some(Note::NoSetup), error::INVALID_SETUP, text.to_owned())
            }
            Phase::Refused { code, text } if now >= self.due => {
                let (code, text) = (*code, text.clone());
                self.close(None, code, text)
            }
            Phase::Open => self.watch(now),
            _ => Vec::new(),
        }
    }

    /// When [`Self::on_timer`] wants to be called; never for a closed connection.
    pub fn next_timer(&self) -> Option<Instant> {
        match self.phase {
            Phase::New | Phase::Refused { .. } => Some(self.due),
            Phase::Open => {
                let life = if self.asked_for_life { self.expiry() } else { self.question() };
                Some(match self.pull {
                    Some(pull) => life.min(pull.deadline),
                    None if self.ending => life,
                    None => life.min(self.next_pull),
                })
            }
            Phase::Closed => None,
        }
    }

    /// Bytes of fragments whose rest has not come.
    pub const fn held(&self) -> usize {
        self.parts.held()
    }

    /// The connection is gone: nothing more can be sent. Pushes on their way go on.
    pub fn on_closed(&mut self) {
        self.phase = Phase::Closed;
        self.pull = None;
        self.parts = Reassembly::new(0);
    }

    fn hear(&mut self, now: Instant) {
        (self.heard, self.asked_for_life) = (now, false);
    }

    fn first(&mut self, now: Instant, frame: Frame) -> Vec<Effect> {
        let setup = match frame {
            Frame::Setup(setup) => setup,
            Frame::Resume { .. } => {
                return self.refuse(now, error::REJECTED_RESUME, "resume not supported");
            }
            _ => {
                let text = "SETUP or RESUME frame must be received before any others";
                return self.refuse(now, error::INVALID_SETUP, text);
            }
        };
        // Words and codes of rsocket-java's server.
        match setup.as_ref() {
            Setup { version: (major, minor), .. } if (*major, *minor) != (1, 0) => {
                let text = format!("Unsupported version: {major}.{minor}");
                return self.refuse(now, error::INVALID_SETUP, &text);
            }
            Setup { resume_token: Some(_), .. } => {
                return self.refuse(now, error::UNSUPPORTED_SETUP, "resume not supported");
            }
            Setup { lease: true, .. } => {
                return self.refuse(now, error::INVALID_SETUP, "lease is not supported");
            }
            _ => {}
        }
        self.phase = Phase::Open;
        let time = |ms: u32, [min, max]: [Duration; 2]| Duration::from_millis(ms.into()).clamp(min, max);
        self.keepalive = time(setup.keepalive_ms, KEEPALIVE);
        self.lifetime = time(setup.lifetime_ms, LIFETIME);
        // The client starts its application only when it has a key, and pushes nothing without.
        let stream = self.take_stream();
        let key = Frame::RequestFnf { stream, follows: false, payload: Payload::of(self.key.clone()) };
        let mut effects = vec![Effect::Note(Note::Opened), Effect::Send(key)];
        self.pull(now, &mut effects);
        // Many that came together are not pulled together for ever.
        self.next_pull = now + self.settings.pull_interval.mul_f64(0.5 + self.chance());
        effects
    }

    fn further(&mut self, now: Instant, frame: Frame) -> Vec<Effect> {
        let stream = frame.stream();
        match &frame {
            Frame::Payload { .. }
                if !self.parts.has(stream) && self.pull.is_none_or(|pull| pull.stream != stream) =>
            {
                return vec![Effect::Note(Note::PullLate)];
            }
            Frame::RequestResponse { .. } | Frame::RequestFnf { .. } if !is_clients(stream) => {
                return vec![Effect::Note(Note::Ignored)];
            }
            _ => {}
        }
        match self.parts.on_frame(frame) {
            Outcome::Whole(frame) => self.whole(now, frame),
            Outcome::Waiting => Vec::new(),
            Outcome::Oversize { stream, answer } => self.oversize(stream, answer),
        }
    }

    fn whole(&mut self, now: Instant, frame: Frame) -> Vec<Effect> {
        match frame {
            Frame::Keepalive { respond: true, data, .. } => {
                vec![Effect::Send(Frame::Keepalive { respond: false, position: 0, data })]
            }
            Frame::Keepalive { .. } => Vec::new(),
            Frame::Payload { payload, .. } if payload.size() > self.settings.payload_limit => {
                self.oversize(self.pull.map_or(0, |pull| pull.stream), false)
            }
            Frame::Payload { next, payload, .. } => {
                self.pull_ended();
                if !next && payload.size() == 0 {
                    return vec![Effect::Note(Note::PullFailed)];
                }
                vec![Effect::Note(Note::PullAnswered), Effect::Live(payload)]
            }
            Frame::RequestResponse { stream, payload, .. } => self.push(now, Some(stream), payload),
            Frame::RequestFnf { payload, .. } => self.push(now, None, payload),
            Frame::RequestStream { stream, .. } | Frame::RequestChannel { stream, .. } => {
                let mut effects = vec![Effect::Note(Note::Unserved)];
                if is_clients(stream) && !self.answers.contains_key(&stream) {
                    let text = "only request-response and fire-and-forget are served";
                    effects.push(Effect::Send(Frame::error(stream, error::REJECTED, text)));
                }
                effects
            }
            Frame::Cancel { stream } => {
                // It is kept all the same; only nobody waits for the answer.
                if let Some(wanted) = self.answers.get_mut(&stream) {
                    *wanted = false;
                }
                Vec::new()
            }
            Frame::Error { stream, code, .. } => self.error(stream, code),
            _ => vec![Effect::Note(Note::Ignored)],
        }
    }

    fn error(&mut self, stream: u32, code: u32) -> Vec<Effect> {
        if stream == 0 {
            // "Disposed": since 1.1.5 rsocket-java says so, and over websocket waits for our close.
            self.ending = true;
            let mut effects = vec![Effect::Note(Note::Ending)];
            if code == error::CONNECTION_ERROR {
                self.phase = Phase::Closed;
                effects.push(Effect::Close);
            } else {
                self.end_if_done(&mut effects);
            }
            return effects;
        }
        if self.pull.is_some_and(|pull| pull.stream == stream) {
            self.pull_ended();
            return vec![Effect::Note(Note::PullFailed)];
        }
        vec![Effect::Note(Note::Ignored)]
    }

    fn push(&mut self, now: Instant, answer: Option<u32>, payload: Payload) -> Vec<Effect> {
        if payload.size() > self.settings.payload_limit {
            return self.oversize(answer.unwrap_or_default(), answer.is_some());
        }
        if answer.is_some_and(|stream| self.answers.contains_key(&stream)) {
            return vec![Effect::Note(Note::Ignored)];
        }
        if self.answers.len() + self.unanswered >= self.settings.pushes_max {
            let mut effects = vec![Effect::Note(Note::PushRejected)];
            let error = |stream| Frame::error(stream, error::REJECTED, "too many pushes at once");
            effects.extend(answer.map(|stream| Effect::Send(error(stream))));
            return effects;
        }
        match answer {
            Some(stream) => {
                self.answers.insert(stream, true);
            }
            None => self.unanswered += 1,
        }
        // An answer that was made before the push may still come; it must not count as newer.
        self.pull_ended();
        self.next_pull = self.next_pull.max(now + self.settings.pull_interval);
        vec![Effect::Final { payload, answer }]
    }

    fn oversize(&mut self, stream: u32, answer: bool) -> Vec<Effect> {
        let mut effects = vec![Effect::Note(Note::Oversize)];
        if self.pull.is_some_and(|pull| pull.stream == stream) {
            self.pull_ended();
            effects.push(Effect::Note(Note::PullFailed));
        }
        if answer && !self.answers.contains_key(&stream) {
            let text = format!("more than {} bytes", self.settings.payload_limit);
            effects.push(Effect::Send(Frame::error(stream, error::APPLICATION_ERROR, text)));
        }
        effects
    }

    fn watch(&mut self, now: Instant) -> Vec<Effect> {
        if now >= self.expiry() {
            let text = format!("nothing heard for {} ms", self.lifetime.as_millis());
            return self.close(Some(Note::Expired), error::CONNECTION_ERROR, text);
        }
        let mut effects = Vec::new();
        if let Some(pull) = self.pull.filter(|pull| now >= pull.deadline) {
            self.pull_ended();
            effects.push(Effect::Send(Frame::Cancel { stream: pull.stream }));
            effects.push(Effect::Note(Note::PullTimedOut));
        }
        if self.pull.is_none() && now >= self.next_pull && !self.ending {
            self.pull(now, &mut effects);
        }
        if now >= self.question() && !self.asked_for_life {
            self.asked_for_life = true;
            effects.push(Effect::Send(Frame::Keepalive { respond: true, position: 0, data: Bytes::new() }));
        }
        effects
    }

    fn pull(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let stream = self.take_stream();
        self.pull = Some(Pull { stream, deadline: now + self.settings.pull_deadline });
        self.next_pull = now + self.settings.pull_interval.mul_f64(0.9 + 0.2 * self.chance());
        let payload = Payload::of(self.key.clone());
        effects.push(Effect::Send(Frame::RequestResponse { stream, follows: false, payload }));
    }

    fn pull_ended(&mut self) {
        if let Some(pull) = self.pull.take() {
            self.parts.forget(pull.stream);
        }
    }

    fn refuse(&mut self, now: Instant, code: u32, text: &str) -> Vec<Effect> {
        self.due = now + self.settings.hold.mul_f64(1.0 + self.chance());
        self.phase = Phase::Refused { code, text: text.to_owned() };
        vec![Effect::Note(Note::Refused)]
    }

    fn close(&mut self, note: Option<Note>, code: u32, text: String) -> Vec<Effect> {
        self.on_closed();
        let mut effects: Vec<_> = note.map(Effect::Note).into_iter().collect();
        effects.extend([Effect::Send(Frame::error(0, code, text)), Effect::Close]);
        effects
    }

    fn end_if_done(&mut self, effects: &mut Vec<Effect>) {
        if self.ending && self.answers.is_empty() && self.unanswered == 0 {
            self.phase = Phase::Closed;
            effects.push(Effect::Close);
        }
    }

    /// When a silent client is asked whether it lives: it missed its own time by half.
    fn question(&self) -> Instant {
        self.heard + self.keepalive.mul_f64(1.5).min(self.lifetime / 2)
    }

    fn expiry(&self) -> Instant {
        self.heard + self.lifetime
    }

    /// Even and never 0: the client tells by it whose a stream is.
    fn take_stream(&mut self) -> u32 {
        let stream = self.next_stream;
        self.next_stream = if stream >= 0x7FFF_FFFE { 2 } else { stream + 2 };
        stream
    }

    /// From 0 to 1 (splitmix64).
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let high = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or_default();
        f64::from(high) / f64::from(u32::MAX)
    }
}

const fn is_clients(stream: u32) -> bool {
    stream % 2 == 1
}

#[cfg(test)]
mod tests;
