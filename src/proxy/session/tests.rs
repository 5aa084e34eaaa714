use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::proxy::captures::{hex, vectors};
use crate::proxy::wire::decode;

fn settings() -> Settings {
    Settings { payload_limit: 1000, pushes_max: 2, ..Settings::default() }
}

fn setup() -> Frame {
    let (_, capture) = vectors().remove(0);
    decode(hex(&capture.frames[0].hex)).unwrap()
}

fn sealed(n: u8) -> Payload {
    Payload { metadata: Some(vec![n].into()), data: vec![n].into() }
}

fn answer(stream: u32) -> Frame {
    Frame::Payload { stream, follows: false, complete: true, next: true, payload: sealed(7) }
}

fn request(stream: u32) -> Frame {
    Frame::RequestResponse { stream, follows: false, payload: sealed(1) }
}

fn fnf() -> Frame {
    Frame::RequestFnf { stream: 1, follows: false, payload: sealed(1) }
}

fn pull(stream: u32) -> Effect {
    let payload = Payload::of("key".into());
    Effect::Send(Frame::RequestResponse { stream, follows: false, payload })
}

fn last(answer: Option<u32>) -> Effect {
    Effect::Final { payload: sealed(1), answer }
}

fn note(note: Note) -> Effect {
    Effect::Note(note)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn new(now: Instant) -> Session {
    Session::new(settings(), "key".into(), 1, now)
}

/// A session after SETUP; its first pull has stream 4.
fn open(now: Instant) -> Session {
    let mut session = new(now);
    session.on_frame(now, setup());
    session
}

/// Lets time pass up to `until`, calling the timer as the server does.
fn pass(session: &mut Session, until: Instant) -> Vec<Effect> {
    let mut effects = Vec::new();
    for _ in 0..1000 {
        match session.next_timer() {
            Some(at) if at <= until => effects.extend(session.on_timer(at)),
            _ => return effects,
        }
    }
    panic!("a timer that never rests");
}

#[test]
fn the_key_and_the_first_pull_follow_the_setup_at_once() {
    let now = Instant::now();
    let key = Frame::RequestFnf { stream: 2, follows: false, payload: Payload::of("key".into()) };
    assert_eq!(new(now).on_frame(now, setup()), [note(Note::Opened), Effect::Send(key), pull(4)]);
}

#[test]
fn a_wrong_first_frame_is_refused_late_and_then_nothing_is_read() {
    let now = Instant::now();
    let Frame::Setup(good) = setup() else { panic!() };
    let setup = |change: fn(&mut Setup)| {
        let mut setup = good.clone();
        change(&mut setup);
        Frame::Setup(setup)
    };
    let resume = Frame::Resume { version: (1, 0), token: Bytes::new(), received: 0, available: 0 };
    for (frame, code, text) in [
        (setup(|s| s.version = (9, 9)), 0x001, "Unsupported version: 9.9"),
        (setup(|s| s.resume_token = Some(Bytes::new())), 0x002, "resume not supported"),
        (setup(|s| s.lease = true), 0x001, "lease is not supported"),
        (resume, 0x004, "resume not supported"),
        (request(1), 0x001, "SETUP or RESUME frame must be received before any others"),
    ] {
        let mut session = new(now);
        assert_eq!(session.on_frame(now, frame), [note(Note::Refused)]);
        assert_eq!(session.on_frame(now, request(1)), []);
        assert_eq!(pass(&mut session, now + Duration::from_millis(4999)), []);
        let wanted = [Effect::Send(Frame::error(0, code, text)), Effect::Close];
        assert_eq!(pass(&mut session, now + seconds(10)), wanted);
    }
}

#[test]
fn who_says_nothing_is_let_go_after_a_minute() {
    let now = Instant::now();
    let mut session = new(now);
    assert_eq!(pass(&mut session, now + seconds(59)), []);
    let effects = pass(&mut session, now + seconds(60));
    assert_eq!((effects.first(), effects.last()), (Some(&note(Note::NoSetup)), Some(&Effect::Close)));
    assert_eq!(session.next_timer(), None);
}

#[test]
fn a_pull_that_is_not_answered_is_given_up_after_5_s_and_the_next_comes_in_time() {
    let now = Instant::now();
    let mut session = open(now);
    let gone = [Effect::Send(Frame::Cancel { stream: 4 }), note(Note::PullTimedOut)];
    let effects = pass(&mut session, now + seconds(5));
    assert_eq!(effects.get(..2), Some(gone.as_slice()));
    assert_eq!(session.on_frame(now + seconds(5), answer(4)), [note(Note::PullLate)]);
    let later = pass(&mut session, now + seconds(15));
    assert!([&effects[2..], &later].concat().contains(&pull(6)), "{later:?}");
    let good = [note(Note::PullAnswered), Effect::Live(sealed(7))];
    let stream = session.pull.unwrap().stream;
    assert_eq!(session.on_frame(now + seconds(15), answer(stream)), good);
}

#[test]
fn a_client_that_cannot_answer_is_asked_again() {
    let now = Instant::now();
    let mut session = open(now);
    assert_eq!(session.on_frame(now, Frame::error(4, 0x201, "no")), [note(Note::PullFailed)]);
    assert!(pass(&mut session, now + seconds(15)).contains(&pull(6)));
}

#[test]
fn a_push_is_acknowledged_when_it_is_stored_and_refused_when_it_is_not() {
    let now = Instant::now();
    let mut session = open(now);
    assert_eq!(session.on_frame(now, request(1)), [last(Some(1))]);
    assert_eq!(session.on_stored(Some(1), Ok(())), [Effect::Send(Frame::acknowledgement(1))]);
    assert_eq!(session.on_frame(now, request(3)), [last(Some(3))]);
    let error = Effect::Send(Frame::error(3, 0x201, "no room"));
    assert_eq!(session.on_stored(Some(3), Err("no room".into())), [error]);
    assert_eq!(session.on_frame(now, fnf()), [last(None)]);
    assert_eq!(session.on_stored(None, Ok(())), []);
}

#[test]
fn an_answer_made_before_the_push_is_not_taken_after_it() {
    let now = Instant::now();
    let mut session = open(now);
    session.on_frame(now, request(1));
    assert_eq!(session.on_frame(now, answer(4)), [note(Note::PullLate)]);
    assert!(!pass(&mut session, now + seconds(9)).contains(&pull(6)), "the next pull is an interval away");
}

#[test]
fn pushes_beyond_what_is_taken_at_once_are_told() {
    let now = Instant::now();
    let mut session = open(now);
    session.on_frame(now, request(1));
    session.on_frame(now, fnf());
    let error = Effect::Send(Frame::error(3, 0x202, "too many pushes at once"));
    assert_eq!(session.on_frame(now, request(3)), [note(Note::PushRejected), error]);
    session.on_stored(None, Ok(()));
    assert_eq!(session.on_frame(now, request(5)), [last(Some(5))]);
}

#[test]
fn a_payload_over_the_limit_is_told_to_who_waits() {
    let now = Instant::now();
    let large = Payload::of(vec![0; 1001].into());
    let mut session = open(now);
    let push = Frame::RequestResponse { stream: 1, follows: false, payload: large.clone() };
    let error = Effect::Send(Frame::error(1, 0x201, "more than 1000 bytes"));
    assert_eq!(session.on_frame(now, push), [note(Note::Oversize), error]);
    let frame = Frame::Payload { stream: 4, follows: false, complete: true, next: true, payload: large };
    assert_eq!(session.on_frame(now, frame), [note(Note::Oversize), note(Note::PullFailed)]);
}

#[test]
fn a_push_in_fragments_is_one() {
    let now = Instant::now();
    let mut session = open(now);
    let first = Frame::RequestResponse { stream: 1, follows: true, payload: sealed(1) };
    assert_eq!(session.on_frame(now, first), []);
    let rest = Payload::of(vec![2].into());
    let frame = Frame::Payload { stream: 1, follows: false, complete: false, next: true, payload: rest };
    let payload = Payload { metadata: Some(vec![1].into()), data: vec![1, 2].into() };
    assert_eq!(session.on_frame(now, frame), [Effect::Final { payload, answer: Some(1) }]);
}

#[test]
fn what_is_not_served_is_told_and_what_means_nothing_is_ignored() {
    let now = Instant::now();
    let mut session = open(now);
    let payload = Payload::default;
    let stream = Frame::RequestStream { stream: 5, follows: false, initial: 1, payload: payload() };
    let effects = session.on_frame(now, stream);
    assert!(matches!(effects.as_slice(), [_, Effect::Send(Frame::Error { stream: 5, code: 0x202, .. })]));
    for frame in [
        setup(),
        request(8),
        request(0),
        Frame::Lease { ttl_ms: 1, requests: 1, metadata: None },
        Frame::RequestN { stream: 1, n: 1 },
        Frame::MetadataPush { metadata: Bytes::new() },
        Frame::ResumeOk { received: 0 },
        Frame::Extension { stream: 1, ignorable: false, kind: 1, rest: Bytes::new() },
        Frame::Unknown { stream: 1, ignorable: false, kind: 0x3E },
        Frame::error(9, 0x201, "?"),
    ] {
        assert_eq!(session.on_frame(now, frame), [note(Note::Ignored)]);
    }
}

#[test]
fn bytes_that_are_no_frame_harm_only_their_stream() {
    let now = Instant::now();
    let mut session = open(now);
    let bad = decode(hex("00000001 1100 00ffff")).unwrap_err();
    let effects = session.on_malformed(now, bad);
    assert!(matches!(effects.as_slice(), [_, Effect::Send(Frame::Error { stream: 1, code: 0x204, .. })]));
    let bad = decode(hex("00000004 2960 00ffff")).unwrap_err();
    assert_eq!(session.on_malformed(now, bad), [note(Note::Malformed), note(Note::PullFailed)]);
    assert_eq!(session.on_frame(now, request(1)), [last(Some(1))]);
}

#[test]
fn a_silent_client_is_asked_and_then_let_go() {
    let now = Instant::now();
    let mut session = open(now);
    let effects = pass(&mut session, now + seconds(31));
    let question = Frame::Keepalive { respond: true, position: 0, data: Bytes::new() };
    assert!(effects.contains(&Effect::Send(question)), "{effects:?}");
    assert!(!effects.contains(&Effect::Close));
    let effects = pass(&mut session, now + seconds(90));
    assert!(effects.contains(&note(Note::Expired)) && effects.last() == Some(&Effect::Close));
}

#[test]
fn a_client_that_ends_is_closed() {
    let now = Instant::now();
    let mut session = open(now);
    let disposed = Frame::error(0, 0x101, "Disposed");
    assert_eq!(session.on_frame(now, disposed), [note(Note::Ending), Effect::Close]);
    let mut session = open(now);
    session.on_frame(now, request(1));
    assert_eq!(session.on_frame(now, Frame::error(0, 0x102, "")), [note(Note::Ending)]);
    let acknowledged = [Effect::Send(Frame::acknowledgement(1)), Effect::Close];
    assert_eq!(session.on_stored(Some(1), Ok(())), acknowledged);
}

/// What real clients sent, played again: each push is taken and each answer too.
#[test]
fn the_recorded_conversations() {
    for (name, capture) in vectors() {
        let now = Instant::now();
        let mut session = Session::new(Settings::default(), "key".into(), 1, now);
        let mut found = Vec::new();
        for frame in capture.frames.iter().filter(|f| !f.hex.is_empty()) {
            let bytes = hex(&frame.hex);
            if frame.dir == "C>P" {
                found.extend(session.on_frame(now, decode(bytes).unwrap()));
            } else if frame.note.contains("scrape") && session.pull.is_none() {
                let due = session.next_pull;
                pass(&mut session, due);
            } else if frame.note.contains("ack") {
                let sent = session.on_stored(Some(1), Ok(()));
                assert_eq!(sent, [Effect::Send(decode(bytes).unwrap())], "{name}");
            }
        }
        let count = |wanted: fn(&Effect) -> bool| found.iter().filter(|e| wanted(e)).count();
        let recorded = |what| capture.frames.iter().filter(|f| f.note.contains(what)).count();
        assert_eq!(count(|e| matches!(e, Effect::Live(_))), recorded("scrape answer"), "{name}");
        assert_eq!(count(|e| matches!(e, Effect::Final { .. })), recorded("push "), "{name}");
        let odd = [Note::Ignored, Note::Malformed, Note::PullLate, Note::Refused].map(Effect::Note);
        assert!(!found.iter().any(|e| odd.contains(e)), "{name} {found:?}");
    }
}

#[derive(Clone, Debug)]
enum Event {
    Frame(Frame),
    Malformed(Malformed),
    /// The oldest or newest push on its way is done.
    Stored {
        oldest: bool,
        good: bool,
    },
    /// Milliseconds pass.
    Wait(u64),
    Closed,
}

fn event() -> impl Strategy<Value = Event> {
    let stream = || 0..10_u32;
    let small = || any::<u8>().prop_map(sealed);
    let payload = || prop_oneof![8 => small(), 1 => Just(Payload::of(vec![0; 1001].into()))];
    let flag = any::<bool>();
    let frame = prop_oneof![
        2 => Just(setup()),
        4 => (stream(), flag, payload())
            .prop_map(|(stream, follows, payload)| Frame::RequestResponse { stream, follows, payload }),
        2 => (stream(), flag, payload())
            .prop_map(|(stream, follows, payload)| Frame::RequestFnf { stream, follows, payload }),
        4 => (stream(), flag, flag, payload()).prop_map(|(stream, follows, next, payload)| {
            Frame::Payload { stream, follows, complete: !follows, next, payload }
        }),
        1 => stream().prop_map(|stream| Frame::Cancel { stream }),
        1 => (stream(), 0x200..0x204_u32).prop_map(|(stream, code)| Frame::error(stream.max(1), code, "")),
        1 => Just(Frame::error(0, error::CONNECTION_ERROR, "Disposed")),
        1 => (stream(), flag, payload()).prop_map(|(stream, follows, payload)| {
            Frame::RequestStream { stream, follows, initial: 1, payload }
        }),
        2 => flag.prop_map(|respond| Frame::Keepalive { respond, position: 0, data: Bytes::new() }),
        1 => Just(Frame::Resume { version: (1, 0), token: Bytes::new(), received: 0, available: 0 }),
    ];
    prop_oneof![
        12 => frame.prop_map(Event::Frame),
        1 => (stream(), 0..64_u8).prop_map(|(stream, kind)| Event::Malformed(Malformed { stream, kind, what: "x" })),
        4 => any::<(bool, bool)>().prop_map(|(oldest, good)| Event::Stored { oldest, good }),
        4 => (0..20_000_u64).prop_map(Event::Wait),
        1 => Just(Event::Closed),
    ]
}

/// Watches what a session does, and knows only the protocol.
#[derive(Default)]
struct Witness {
    opened: bool,
    closed: bool,
    pull: Option<u32>,
    highest: u32,
    /// Pushes that the server works on.
    stored: Vec<Option<u32>>,
    /// Streams of the client that may be answered.
    asked: BTreeSet<u32>,
}

impl Witness {
    fn see(&mut self, effect: &Effect, cause: &Event) {
        if !matches!(effect, Effect::Note(_)) {
            assert!(!self.closed, "after the end: {effect:?}");
        }
        match effect {
            Effect::Send(Frame::RequestFnf { stream, .. }) => {
                assert!(!self.opened && *stream == 2, "the key goes out once, first");
                (self.opened, self.highest) = (true, 2);
            }
            Effect::Send(Frame::RequestResponse { stream, .. }) => {
                assert!(self.opened && stream % 2 == 0 && *stream > self.highest);
                assert_eq!(self.pull, None, "one pull at a time");
                (self.pull, self.highest) = (Some(*stream), *stream);
            }
            Effect::Send(Frame::Cancel { stream }) => {
                assert_eq!(self.pull.take(), Some(*stream));
                assert!(matches!(cause, Event::Wait(_)));
            }
            Effect::Send(Frame::Keepalive { respond, .. }) => {
                let asked = matches!(cause, Event::Frame(Frame::Keepalive { respond: true, .. }));
                assert_ne!(asked, *respond);
            }
            Effect::Send(Frame::Error { stream: 0, .. }) => assert!(matches!(cause, Event::Wait(_))),
            Effect::Send(Frame::Error { stream, .. } | Frame::Payload { stream, .. }) => {
                assert!(stream % 2 == 1 && self.asked.contains(stream), "nobody asked on {stream}");
            }
            Effect::Send(other) => panic!("{other:?}"),
            Effect::Live(_) => assert_eq!(self.pull.take().map(|_| self.opened), Some(true)),
            Effect::Final { answer, .. } => {
                self.pull = None;
                self.stored.push(*answer);
                assert!(self.stored.len() <= settings().pushes_max);
            }
            Effect::Note(Note::PullFailed) => self.pull = None,
            Effect::Note(_) => {}
            Effect::Close => {
                let ending = matches!(cause, Event::Frame(Frame::Error { stream: 0, .. }));
                assert!(ending || matches!(cause, Event::Wait(_)), "closed early by {cause:?}");
                self.closed = true;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn every_order_of_events_keeps_the_protocol(
        setup_first in prop::bool::weighted(0.8),
        events in prop::collection::vec(event(), 0..60),
        random: u64,
    ) {
        let start = Instant::now();
        let mut now = start;
        let mut session = Session::new(settings(), "key".into(), random, now);
        let mut witness = Witness::default();
        let first = setup_first.then(|| Event::Frame(setup()));
        for event in first.into_iter().chain(events) {
            let effects = match &event {
                Event::Frame(frame) => {
                    if matches!(frame, Frame::RequestResponse { .. } | Frame::RequestStream { .. }) {
                        witness.asked.insert(frame.stream());
                    }
                    session.on_frame(now, frame.clone())
                }
                Event::Malformed(bad) => {
                    if bad.wants_answer() {
                        witness.asked.insert(bad.stream);
                    }
                    session.on_malformed(now, *bad)
                }
                Event::Stored { oldest, good } => {
                    if witness.stored.is_empty() { continue; }
                    let at = if *oldest { 0 } else { witness.stored.len() - 1 };
                    let answer = witness.stored.remove(at);
                    let result = if *good { Ok(()) } else { Err("no".to_owned()) };
                    let answered = session.answers.get(&answer.unwrap_or_default()) == Some(&true);
                    let effects = session.on_stored(answer, result);
                    let sent = effects.iter().filter(|e| matches!(e, Effect::Send(_))).count();
                    prop_assert_eq!(sent, usize::from(answered && !witness.closed), "each push has one answer");
                    effects
                }
                Event::Wait(ms) => {
                    now += Duration::from_millis(*ms);
                    let effects = pass(&mut session, now);
                    prop_assert!(now >= start + settings().hold || !effects.contains(&Effect::Close));
                    effects
                }
                Event::Closed => {
                    session.on_closed();
                    witness.closed = true;
                    continue;
                }
            };
            for effect in &effects {
                witness.see(effect, &event);
            }
            prop_assert!(session.next_timer().is_some() || witness.closed, "it would wait for ever");
        }
    }
}
