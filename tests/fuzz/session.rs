//! A session and any order of frames, times and results: it never closes early, answers nothing twice, and holds no more
//! than it may.
//!
//! An input is a list of events: a byte that says which, then what it needs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace::proxy::session::{Effect, Note, Session, Settings};
use millrace::proxy::wire::{Frame, Malformed, Payload, decode};

use crate::engine::{Target, fuzz, hash, size};
use crate::seeds;
use crate::setup::setup;

const LIMIT: usize = 500;
const PUSHES_MAX: usize = 3;

#[test]
fn session() {
    let mut seeds = Vec::new();
    for conversation in seeds::conversations() {
        let short = conversation.iter().filter(|frame| frame.len() < 256);
        seeds.push(
            short.flat_map(|frame| [&[0, frame.len().to_le_bytes()[0]], frame.as_slice()].concat()).collect(),
        );
    }
    seeds.extend(EVENTS.iter().map(|event| [b"\x01", *event].concat()));
    seeds.push([&[1], EVENTS.concat().as_slice()].concat());
    fuzz(Target { name: "session", seeds, words: EVENTS, longest: 2 << 10, run });
}

/// One of each event.
const EVENTS: &[&[u8]] = &[
    b"\x01",
    b"\x02\x10",
    b"\x03\x01\x00\x10",
    b"\x03\x01\x01\x10",
    b"\x04\x01\x00\x10",
    b"\x05\x01\x01\x10",
    b"\x05\x01\x00\x10",
    b"\x06\x00\x01",
    b"\x06\xff\xff",
    b"\x07\x00\x01",
    b"\x07\x00\x00",
    b"\x08\x01",
    b"\x09\x00\x01",
    b"\x09\x00\x02",
    b"\x0a\x01\x04",
    b"\x0b",
    b"\x0c\x01",
];

/// A session beside what is known about it from outside.
struct Model {
    session: Session,
    now: Instant,
    began: Instant,
    heard: Instant,
    refused: Option<Instant>,
    /// Frames after which it may close at once.
    said_goodbye: bool,
    open: bool,
    closed: bool,
    /// Requests of the client, and how many of them are not answered.
    asked: BTreeMap<u32, usize>,
    pushes: Vec<Option<u32>>,
    pull: u32,
    kinds: Vec<u64>,
}

fn run(input: &[u8]) -> u64 {
    let now = Instant::now();
    let settings = Settings { payload_limit: LIMIT, pushes_max: PUSHES_MAX, ..Settings::default() };
    let mut model = Model {
        session: Session::new(settings, Bytes::from_static(b"key"), 7, now),
        now,
        began: now,
        heard: now,
        refused: None,
        said_goodbye: false,
        open: false,
        closed: false,
        asked: BTreeMap::new(),
        pushes: Vec::new(),
        pull: 0,
        kinds: Vec::new(),
    };
    let mut rest = input;
    while let Some(event) = byte(&mut rest) {
        model.event(event, &mut rest);
    }
    // All that it holds, printed: at most four characters for a byte.
    let held = format!("{:?}", model.session).len();
    assert!(held < 4 * LIMIT + 8000, "{held}");
    model.kinds.dedup();
    model.kinds.truncate(6);
    hash((model.kinds, model.closed, size(held)))
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, others) = rest.split_first()?;
    *rest = others;
    Some(*first)
}

fn payload(length: u8) -> Payload {
    Payload {
        metadata: length.is_multiple_of(2).then(|| vec![1; 9].into()),
        data: vec![2; length.into()].into(),
    }
}

impl Model {
    fn event(&mut self, event: u8, rest: &mut &[u8]) {
        let mut next = || byte(rest).unwrap_or_default();
        match event % 13 {
            0 => {
                let length = usize::from(next()).min(rest.len());
                let (bytes, others) = rest.split_at(length);
                *rest = others;
                match decode(Bytes::copy_from_slice(bytes)) {
                    Ok(frame) => self.frame(frame),
                    Err(bad) => self.malformed(bad),
                }
            }
            1 => self.frame(setup()),
            2 => {
                let payload = payload(next());
                let stream = self.pull;
                self.frame(Frame::Payload { stream, follows: false, complete: true, next: true, payload });
            }
            3 => {
                let (stream, follows, payload) = (next().into(), next() % 2 == 1, payload(next()));
                self.frame(Frame::RequestResponse { stream, follows, payload });
            }
            4 => {
                let (stream, follows, payload) = (next().into(), next() % 2 == 1, payload(next()));
                self.frame(Frame::RequestFnf { stream, follows, payload });
            }
            5 => {
                let (stream, follows, payload) = (next().into(), next() % 2 == 1, payload(next()));
                self.frame(Frame::Payload { stream, follows, complete: !follows, next: true, payload });
            }
            6 => {
                let wait = Duration::from_millis(u64::from(u16::from_le_bytes([next(), next()])) * 4);
                self.pass(wait);
            }
            7 => {
                let (which, ok) = (usize::from(next()), next() % 2 == 1);
                self.stored(which, ok);
            }
            8 => self.frame(Frame::Cancel { stream: next().into() }),
            9 => {
                let (stream, code) = (next().into(), 0x100 | u32::from(next()));
                self.frame(Frame::error(stream, code, "Disposed"));
            }
            10 => {
                let (stream, kind) = (next().into(), next());
                self.malformed(Malformed { stream, kind, what: "the end" });
            }
            11 => {
                self.frame(Frame::Keepalive { respond: true, position: 0, data: Bytes::from_static(b"x") });
            }
            _ => {
                let frame = Frame::RequestStream {
                    stream: next().into(),
                    follows: false,
                    initial: 1,
                    payload: Payload::default(),
                };
                self.frame(frame);
            }
        }
    }

    fn frame(&mut self, frame: Frame) {
        self.heard = self.now;
        match &frame {
            Frame::RequestResponse { stream, .. }
            | Frame::RequestStream { stream, .. }
            | Frame::RequestChannel { stream, .. } => self.ask(*stream),
            Frame::Error { stream: 0, .. } => self.said_goodbye = true,
            _ => {}
        }
        let effects = self.session.on_frame(self.now, frame);
        self.effects(effects);
    }

    fn malformed(&mut self, bad: Malformed) {
        self.heard = self.now;
        if bad.wants_answer() {
            self.ask(bad.stream);
        }
        let effects = self.session.on_malformed(self.now, bad);
        self.effects(effects);
    }

    fn ask(&mut self, stream: u32) {
        *self.asked.entry(stream).or_default() += 1;
    }

    fn stored(&mut self, which: usize, ok: bool) {
        if self.pushes.is_empty() {
            return;
        }
        let answer = self.pushes.remove(which % self.pushes.len());
        let result = if ok { Ok(()) } else { Err("no room".to_owned()) };
        let effects = self.session.on_stored(answer, result);
        self.effects(effects);
    }

    /// As the server does: the timer is called when it wants to be.
    fn pass(&mut self, wait: Duration) {
        let until = self.now + wait;
        for turn in 0.. {
            assert!(turn < 2000, "a timer that never rests");
            let Some(at) = self.session.next_timer().filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            let effects = self.session.on_timer(self.now);
            self.effects(effects);
        }
        self.now = until;
    }

    fn effects(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            assert!(!self.closed, "{effect:?} after the end");
            match effect {
                Effect::Send(frame) => self.sent(&frame),
                Effect::Live(payload) => {
                    assert!(payload.size() <= LIMIT);
                    self.kinds.push(1);
                }
                Effect::Final { payload, answer } => {
                    assert!(payload.size() <= LIMIT);
                    self.pushes.push(answer);
                    assert!(self.pushes.len() <= PUSHES_MAX, "too many pushes at once");
                    self.kinds.push(2);
                }
                Effect::Note(note) => self.note(note),
                Effect::Close => self.close(),
            }
        }
        assert_eq!(self.session.next_timer().is_none(), self.closed, "closed is who wants no timer");
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Refused => self.refused = Some(self.now),
            Note::Opened => self.open = true,
            _ => {}
        }
        self.kinds.push(10 + hash(note) % 1000);
    }

    fn sent(&mut self, frame: &Frame) {
        let stream = frame.stream();
        match frame {
            Frame::RequestResponse { .. } | Frame::RequestFnf { .. } => {
                assert!(self.open && stream != 0 && stream.is_multiple_of(2), "our stream {stream}");
                self.pull = stream;
            }
            // rsocket-java closes when an odd stream is answered that it did not open.
            Frame::Payload { .. } | Frame::Error { .. } if stream != 0 => {
                let open = self.asked.get_mut(&stream).filter(|open| **open > 0);
                assert!(stream % 2 == 1, "an answer on our stream {stream}");
                *open.unwrap_or_else(|| panic!("{frame:?}: nobody asked")) -= 1;
            }
            Frame::Keepalive { .. } | Frame::Cancel { .. } | Frame::Error { .. } => {}
            other => panic!("never sent: {other:?}"),
        }
        self.kinds.push(2000 + hash(std::mem::discriminant(frame)) % 1000);
    }

    /// Whoever is closed early is back at once, without end.
    fn close(&mut self) {
        let settings = Settings::default();
        let refused = self.refused.is_some_and(|at| self.now >= at + settings.hold);
        let silent = !self.open && self.refused.is_none() && self.now >= self.began + settings.setup_wait;
        let expired = self.open && self.now >= self.heard + Duration::from_secs(10);
        assert!(refused || silent || expired || self.said_goodbye, "closed early");
        self.closed = true;
    }
}
