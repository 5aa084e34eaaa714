//! Answers read, facts remembered, and proxies that behave as none should. The real proxy: `tests/it/facts.rs`.

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::answer::{Answer, line, newest_body, silence};
use super::known::RUNS_MAX;
use super::stream::{LINE_MAX, Lines};
use super::*;

const STACK: &str = "a/monitoring";

fn run(pod: Option<&str>) -> Run<'_> {
    let address = Some([10, 0, 0, 7].into());
    Run { stack: STACK, execution_id: 42, pod, address, started: None, ended: None }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn body(second: i64, standing: Standing, series: usize) -> Body {
    Body { at: at(second), standing, series, door: "push".to_owned() }
}

/// An attempt as the proxy tells it: when its snapshot and its push were taken, and whether it is connected.
fn attempt(pod: &str, snapshot: Option<i64>, push: Option<i64>, connected: bool, series: usize) -> Value {
    let time = |second: i64| at(second).to_string();
    json!({
        "externalExecutionId": pod, "connected": connected, "peer": "10.0.0.7:1", "connectedSince": time(0),
        "door": "push", "lastSnapshot": snapshot.map(time), "finalPush": push.map(time),
        "snapshotOnly": !connected && push.is_none(), "deleted": true, "series": series, "bytes": 1, "seenBy": []
    })
}

fn answer(status: u16, value: &Value) -> Answer {
    Answer { status, text: value.to_string().into_bytes() }
}

fn of_attempts(attempts: &[Value]) -> Answer {
    answer(200, &json!({ "executionId": "42", "attempts": attempts }))
}

#[test]
fn how_final_a_body_is() {
    for (snapshot, push, connected, expected) in [
        (None, Some(3), false, Some((3, Standing::Pushed))),
        (None, Some(3), true, Some((3, Standing::Pushed))),
        (Some(2), Some(3), true, Some((3, Standing::Pushed))),
        // It pushed and lived on.
        (Some(4), Some(3), true, Some((4, Standing::Live))),
        (Some(4), Some(3), false, Some((4, Standing::Pushed))),
        (Some(2), None, true, Some((2, Standing::Live))),
        (Some(2), None, false, Some((2, Standing::Snapshot))),
        (None, None, true, None),
    ] {
        let one = of_attempts(&[attempt("p", snapshot, push, connected, 5)]);
        let found = newest_body(&one, &run(Some("p"))).unwrap();
        let found = found.map(|body| (body.at, body.standing));
        assert_eq!(
            found,
            expected.map(|(s, standing)| (at(s), standing)),
            "{snapshot:?} {push:?} {connected}"
        );
    }
}

#[test]
fn the_newest_body_of_the_pod_or_of_nobody_known_counts() {
    let all = of_attempts(&[
        attempt("p", None, Some(2), false, 5),
        attempt("other", None, Some(9), false, 9),
        attempt("", None, Some(3), false, 7),
        attempt("p", None, Some(4), false, 0),
    ]);
    let series = |pod| newest_body(&all, &run(pod)).unwrap().map(|body| body.series);
    assert_eq!((series(Some("p")), series(Some("other")), series(Some("q"))), (Some(7), Some(9), Some(7)));
    assert_eq!(series(None), Some(9));
    assert_eq!(newest_body(&of_attempts(&[]), &run(None)), Ok(None));
}

#[test]
fn what_is_no_answer_of_a_proxy_is_an_error() {
    let unknown = answer(404, &json!({ "message": "no metrics of it" }));
    assert_eq!(newest_body(&unknown, &run(None)), Ok(None));
    for (status, value, told) in [
        (404, json!("not found"), "cannot be read"),
        (200, json!({ "attempts": [{ "door": 1 }] }), "cannot be read"),
        (200, json!([]), "cannot be read"),
        (503, json!({}), "not ready"),
        (302, json!({}), "302"),
    ] {
        let error = newest_body(&answer(status, &value), &run(None)).unwrap_err();
        assert!(error.contains(told), "{error}");
    }
    assert!(silence(&answer(404, &json!({})), &run(None)).unwrap_err().contains("404"));
}

#[test]
fn a_silent_connection_counts_in_the_time_of_its_pod() {
    let connection = |since: i64, ended: Option<i64>, silent: bool| {
        let ended = ended.map(|ended| at(ended).to_string());
        json!({ "peer": "10.0.0.7:1", "connectedSince": at(since).to_string(), "ended": ended, "silent": silent })
    };
    let mut run = run(None);
    let check = |run: &Run<'_>, connections: &[Value]| {
        silence(&answer(200, &json!({ "connections": connections })), run).unwrap()
    };
    assert_eq!(check(&run, &[connection(0, Some(1), true)]), Silence::Ended);
    (run.started, run.ended) = (Some(at(100)), Some(at(200)));
    for (connections, expected) in [
        (&[][..], Silence::None),
        (&[connection(150, Some(160), true)], Silence::Ended),
        (&[connection(150, None, true)], Silence::Open),
        (&[connection(150, None, false)], Silence::None),
        // Another pod's, before and after.
        (&[connection(90, None, true)], Silence::None),
        (&[connection(210, None, true)], Silence::None),
        // Clocks differ.
        (&[connection(96, Some(97), true), connection(204, None, true)], Silence::Open),
    ] {
        assert_eq!(check(&run, connections), expected, "{connections:?}");
    }
    (run.started, run.ended) = (Some(Timestamp::MIN), Some(Timestamp::MAX));
    assert_eq!(
        check(&run, &[connection(0, None, true), json!({"connectedSince": "", "silent": true})]),
        Silence::Open
    );
}

#[test]
fn the_newest_facts_are_remembered_and_no_more() {
    let mut known = Known::default();
    assert_eq!(known.series_per_run(), None);
    known.tell(0, "first", body(0, Standing::Pushed, 900));
    for id in 1..=i64::try_from(RUNS_MAX).unwrap() {
        known.tell(id, "p", body(id, Standing::Live, 10));
        // Told again, it is not one more.
        known.tell(id, "p", body(id, Standing::Pushed, 11));
    }
    let of = |known: &Known, id, pod| known.of(&Run { execution_id: id, ..run(pod) });
    assert_eq!(of(&known, 0, None), None);
    assert_eq!(of(&known, 1, Some("p")), Some(body(1, Standing::Pushed, 11)));
    assert_eq!(of(&known, 1, Some("q")), None);
    assert_eq!(known.series_per_run(), Some(11), "not of those long ago");
    // What another replica knows is older.
    known.tell(1, "p", body(0, Standing::Pushed, 99));
    assert_eq!(of(&known, 1, None).unwrap().series, 11);
    known.tell(1, "", body(2, Standing::Pushed, 12));
    assert_eq!(of(&known, 1, Some("p")).unwrap().series, 12);
}

#[test]
fn lines_come_out_of_pieces_and_none_is_long() {
    let text = b"one\n\ntwo\nthree";
    for size in 1..=text.len() {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for piece in text.chunks(size) {
            lines
                .add(piece, |line| {
                    found.push(String::from_utf8(line.to_vec()).unwrap());
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(found, ["one", "", "two"]);
    }
    let piece = vec![b'x'; LINE_MAX / 2];
    let mut lines = Lines::default();
    lines.add(&piece, |_| Ok(())).unwrap();
    lines.add(&piece, |_| Ok(())).unwrap();
    assert!(lines.add(b"x", |_| Ok(())).unwrap_err().contains("more than 65536 bytes"));
}

#[test]
fn facts_of_others_and_what_is_too_long_are_left_out() {
    let fact = |id: &Value, pod: &str| {
        let attempt = attempt(pod, None, Some(1), false, 1);
        let text = json!({ "cursor": "e-1", "executionId": id, "attempt": attempt }).to_string();
        line(text.as_bytes()).unwrap().fact()
    };
    assert!(fact(&json!("42"), "p").is_some_and(|(id, pod, _)| id == 42 && pod == "p"));
    assert!(fact(&json!("42"), &"p".repeat(254)).is_none());
    assert!(fact(&json!("uuid"), "p").is_none() && fact(&json!(42), "p").is_none());
    assert!(line(b"{\"cursor\":\"e-1\",\"reset\":true}").unwrap().fact().is_none());
    for wrong in ["{}", "", "{\"cursor\":\"e 1\"}", "{\"cursor\":\"\\n\"}", "\u{FFFD}"] {
        assert!(line(wrong.as_bytes()).is_err(), "{wrong}");
    }
    let long = json!({ "cursor": "1".repeat(129) }).to_string();
    assert!(line(long.as_bytes()).is_err());
}

proptest! {
    #[test]
    fn foreign_bytes_do_no_harm(text in proptest::collection::vec(any::<u8>(), 0..200), status in 100..600u16) {
        let _ = line(&text).map(answer::Line::fact);
        let answer = Answer { status, text };
        let _ = (newest_body(&answer, &run(None)), silence(&answer, &run(None)));
    }

    #[test]
    fn changed_answers_do_no_harm(at in 0..400usize, byte in any::<u8>()) {
        let mut answer = of_attempts(&[attempt("p", Some(1), Some(2), true, 3)]);
        let at = at % answer.text.len();
        answer.text[at] = byte;
        if let Ok(Some(body)) = newest_body(&answer, &run(None)) {
            prop_assert!(body.series > 0);
        }
    }
}

/// A server that answers each request with what `reply` makes of its path, and then holds the connection, or does not.
async fn server(reply: impl Fn(&str) -> (String, bool) + Clone + Send + 'static) -> SocketAddr {
    async fn serve(mut stream: TcpStream, reply: impl Fn(&str) -> (String, bool)) {
        let mut request = Vec::new();
        while stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {
            if !request.ends_with(b"\r\n\r\n") {
                continue;
            }
            let text = String::from_utf8(std::mem::take(&mut request)).unwrap();
            let (text, holds) = reply(text.split(' ').nth(1).unwrap());
            if stream.write_all(text.as_bytes()).await.is_err() || !holds {
                return;
            }
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, reply.clone()));
        }
    });
    address
}

fn http(status: u16, text: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

/// The beginning of a stream, with these lines.
fn stream_of(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{lines}\r\n", lines.len())
}

fn fact_line(cursor: &str, series: usize) -> String {
    let attempt = attempt("p", None, Some(1), false, series);
    json!({ "cursor": cursor, "executionId": "42", "attempt": attempt }).to_string() + "\n"
}

const QUICK: Pace = Pace {
    silence: Duration::from_millis(100),
    begin: Duration::from_millis(100),
    pause: Duration::from_millis(10),
    pause_most: Duration::from_millis(40),
};

/// Follows a server that ends or spoils its streams, until it was asked so often: the cursors that it was asked with.
async fn asked(
    times: usize,
    reply: impl Fn(&str) -> (String, bool) + Clone + Send + 'static,
) -> (Vec<String>, Arc<Mutex<Known>>) {
    let (asks, mut asked) = mpsc::unbounded_channel();
    let replica = server(move |path: &str| {
        let _ = asks.send(path.to_owned());
        reply(path)
    })
    .await;
    let known = Arc::<Mutex<Known>>::default();
    let _task = Task::new(tokio::spawn(stream::follow(replica, known.clone(), Away::default(), QUICK)));
    let mut cursors = Vec::new();
    for _ in 0..times {
        let path = asked.recv().await.unwrap();
        cursors.push(path.strip_prefix("/executions?after=").unwrap().to_owned());
    }
    (cursors, known)
}

#[tokio::test]
async fn a_silent_stream_is_broken_off_and_taken_up_at_its_cursor() {
    let reply = |path: &str| match path {
        "/executions?after=" => (stream_of(&fact_line("e-1", 7)), true),
        _ => (stream_of("{\"cursor\":\"f-9\",\"reset\":true}\n"), true),
    };
    let (cursors, known) = asked(3, reply).await;
    assert_eq!(cursors, ["", "e-1", "f-9"]);
    assert_eq!(
        locked(&known).of(&run(Some("p"))).map(|body| body.series),
        Some(7),
        "reset takes nothing back"
    );
}

#[tokio::test]
async fn a_spoiled_stream_is_broken_off_and_begun_again() {
    let long = fact_line("e-2", 7).replace('\n', &" ".repeat(LINE_MAX));
    for spoiled in
        [stream_of("}\n"), stream_of(&long), stream_of(""), http(500, ""), "220 mail\r\n".to_owned()]
    {
        let (cursors, known) = asked(3, move |_: &str| (spoiled.clone(), true)).await;
        assert_eq!(cursors, [""; 3]);
        assert_eq!(locked(&known).series_per_run(), None);
    }
    // A cursor that is none there is let go.
    let reply = |path: &str| match path {
        "/executions?after=" => (stream_of(&fact_line("e-1", 7)), false),
        _ => (http(400, "{}"), true),
    };
    assert_eq!(asked(4, reply).await.0, ["", "e-1", "", "e-1"]);
}

/// Replicas that are asked, but followed in vain.
fn facts(replicas: &[SocketAddr]) -> Facts {
    let facts = Facts::default();
    facts.follow(STACK, replicas);
    facts
}

const SHORT: Duration = Duration::from_secs(1);
/// Much later than that is not in time; a machine under load is forgiven.
const LATE: Duration = Duration::from_secs(5);

async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn who_cannot_be_asked_is_named_in_time() {
    let silent = server(|_: &str| (String::new(), true)).await;
    let garbage = server(|_: &str| ("\0\u{1}\u{2}\r\n\r\n".to_owned(), true)).await;
    let stranger = server(|_: &str| (http(404, "<html>"), true)).await;
    let endless = server(|_: &str| (http(200, &"x".repeat(2 << 20)), true)).await;
    for (replica, told) in [
        (nobody().await, "cannot connect"),
        (silent, "no answer in time"),
        (garbage, "no answer"),
        (stranger, "cannot be read"),
        (endless, "breaks off"),
    ] {
        let began = Instant::now();
        let Arrival::Unreachable(why) = facts(&[replica]).arrived(&run(None), SHORT).await else { panic!() };
        assert!(why.contains(&replica.to_string()) && why.contains(told), "{why}");
        assert!(began.elapsed() < LATE);
    }
}

/// While a proxy is away many launches may end: only the first of them waits for it.
#[tokio::test(start_paused = true)]
async fn who_is_known_to_be_away_is_not_waited_for_again() {
    let silent = server(|_: &str| (String::new(), true)).await;
    for (replicas, told) in [
        (vec![nobody().await], "cannot connect"),
        (vec![silent], "no answer in time"),
        (vec![], "none of its proxies is there"),
    ] {
        let facts = facts(&replicas);
        let patience = Duration::from_secs(2);
        for (what, least, most) in [
            ("it may come back", Duration::from_millis(1600), patience),
            ("it is away", Duration::ZERO, OTHERS),
        ] {
            let began = Instant::now();
            let Arrival::Unreachable(why) = facts.arrived(&run(None), patience).await else { panic!() };
            assert!(why.contains(told), "{what}: {why}");
            let passed = began.elapsed();
            assert!(
                passed >= least && passed <= most + Duration::from_millis(10),
                "{told}, {what}: {passed:?}"
            );
            sleep(patience).await;
        }
    }
}

#[tokio::test]
async fn a_replica_that_hangs_does_not_hide_the_body_of_another() {
    let silent = server(|_: &str| (String::new(), true)).await;
    let pushed = |second, series| {
        let text = json!({ "attempts": [attempt("p", None, Some(second), false, series)] }).to_string();
        move |path: &str| match path {
            "/executions/42" => (http(200, &text), true),
            _ => (http(503, ""), true),
        }
    };
    let (newer, older) = (server(pushed(3, 30)).await, server(pushed(2, 20)).await);
    let began = Instant::now();
    let patience = Duration::from_mins(1);
    let arrival = facts(&[silent, older, newer]).arrived(&run(Some("p")), patience).await;
    assert_eq!(arrival, Arrival::Received { door: "push".to_owned(), series: 30, pushed: true });
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_living_body_is_waited_for_beside_a_replica_that_is_away() {
    let asked = Arc::new(Mutex::new(0));
    let reply = move |path: &str| {
        if path != "/executions/42" {
            return (http(503, ""), true);
        }
        *locked(&asked) += 1;
        let push = Some(4).filter(|_| *locked(&asked) > 2);
        let text = json!({ "attempts": [attempt("p", Some(3), push, true, 9)] }).to_string();
        (http(200, &text), true)
    };
    let facts = facts(&[server(reply).await, nobody().await]);
    let patience = Duration::from_secs(5);
    for replica in locked(&facts.stacks).get(STACK).unwrap().replicas.values() {
        *locked(&replica.away) = Instant::now().checked_sub(patience);
    }
    let arrival = facts.arrived(&run(Some("p")), patience).await;
    assert_eq!(arrival, Arrival::Received { door: "push".to_owned(), series: 9, pushed: true });
}

#[tokio::test]
async fn a_living_body_is_waited_for_until_it_is_final_or_the_time_is_over() {
    for (becomes, pushed) in [(None, false), (Some(4), true)] {
        let asked = Arc::new(Mutex::new(0));
        let reply = move |path: &str| {
            if path != "/executions/42" {
                return (http(503, ""), true);
            }
            *locked(&asked) += 1;
            let push = becomes.filter(|_| *locked(&asked) > 2);
            let text = json!({ "attempts": [attempt("p", Some(3), push, true, 9)] }).to_string();
            (http(200, &text), true)
        };
        let patience = if pushed { Duration::from_mins(1) } else { SHORT };
        let arrival = facts(&[server(reply).await]).arrived(&run(Some("p")), patience).await;
        assert_eq!(arrival, Arrival::Received { door: "push".to_owned(), series: 9, pushed });
    }
}

#[tokio::test]
async fn what_is_not_followed_is_not_observable() {
    let facts = facts(&[nobody().await]);
    facts.follow(STACK, &[]);
    let nobody = Arrival::Unreachable("none of its proxies is there".to_owned());
    assert_eq!(facts.arrived(&run(None), SHORT).await, nobody);
    facts.forget(STACK);
    assert_eq!(facts.arrived(&run(None), SHORT).await, Arrival::NotObservable);
    assert_eq!(facts.series_per_run(STACK), None);
}

#[tokio::test]
async fn the_same_replicas_are_followed_on_and_others_let_go() {
    let (begins, mut begun) = mpsc::unbounded_channel();
    let first = server(move |_: &str| {
        begins.send(()).unwrap();
        (stream_of(&fact_line("e-1", 7)), true)
    })
    .await;
    let facts = facts(&[first]);
    begun.recv().await.unwrap();
    while facts.series_per_run(STACK) != Some(7) {
        tokio::task::yield_now().await;
    }
    let second = server(|_: &str| (stream_of(&fact_line("f-1", 8).replace("42", "43")), true)).await;
    facts.follow(STACK, &[first, second]);
    while facts.series_per_run(STACK) != Some(8) {
        tokio::task::yield_now().await;
    }
    assert!(begun.try_recv().is_err(), "its stream went on");
    facts.follow(STACK, &[second]);
    assert!(locked(&facts.stacks).get(STACK).unwrap().replicas.keys().eq([&second]));
    assert_eq!(facts.series_per_run(STACK), Some(8));
}
