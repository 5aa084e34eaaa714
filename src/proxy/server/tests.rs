use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;
use crate::proxy::captures::{hex, vectors};
use crate::proxy::crypto::tests::{seal, test_key};
use crate::proxy::intake::{Body, IntakeError, Pushed};
use crate::proxy::wire::{Frame, Payload, decode, enframe};

/// What the store was told, in words; the disk is as slow as the test wants.
#[derive(Clone, Default)]
struct Recorder {
    told: Arc<Mutex<Vec<String>>>,
    news: Arc<tokio::sync::Notify>,
    slow: Arc<AtomicBool>,
    disk: Arc<tokio::sync::Notify>,
    full: Arc<AtomicBool>,
}

impl Recorder {
    fn tell(&self, what: String) {
        self.told.lock().unwrap().push(what);
        self.news.notify_waiters();
    }

    async fn wait_for(&self, what: &str) {
        loop {
            let news = self.news.notified();
            if self.told.lock().unwrap().iter().any(|told| told.contains(what)) {
                return;
            }
            news.await;
        }
    }

    fn count(&self, what: &str) -> usize {
        self.told.lock().unwrap().iter().filter(|told| told.contains(what)).count()
    }
}

impl Intake for Recorder {
    fn connected(&self, origin: Origin) {
        self.tell(format!("{} connected", origin.id));
    }

    fn live_body(&self, body: Body) {
        self.tell(format!("{} live {}", body.origin.id, body.text));
    }

    type Ready = Body;

    fn read(&self, body: Body) -> Result<Body, IntakeError> {
        Ok(body)
    }

    async fn final_push(&self, body: Body) -> Result<Pushed, IntakeError> {
        if self.slow.load(Ordering::SeqCst) {
            self.tell(format!("{} arrived", body.origin.id));
            self.disk.notified().await;
        }
        if self.full.load(Ordering::SeqCst) {
            return Err(IntakeError::Full("the disk is full".to_owned()));
        }
        self.tell(format!("{} final {}", body.origin.id, body.text));
        Ok(Pushed::Stored)
    }

    async fn closed(&self, origin: Origin, _: Timestamp) {
        self.tell(format!("{} closed", origin.id));
    }
}

struct Proxy {
    tcp: SocketAddr,
    websocket: SocketAddr,
    store: Recorder,
    stage: watch::Sender<Stage>,
    server: JoinHandle<std::io::Result<()>>,
    keys: Arc<KeyPair>,
}

async fn start(settings: Settings) -> Proxy {
    let listener = || TcpListener::bind("127.0.0.1:0");
    let (tcp, websocket) = (listener().await.unwrap(), listener().await.unwrap());
    let (at, websocket_at) = (tcp.local_addr().unwrap(), websocket.local_addr().unwrap());
    let (store, (stage, stages)) = (Recorder::default(), watch::channel(Stage::Serving));
    let keys = Arc::new(test_key());
    let parts = Parts {
        intake: store.clone(),
        keys: keys.clone(),
        settings,
        clock: Arc::new(|| Timestamp::UNIX_EPOCH),
        metrics: Arc::default(),
        ids: Arc::new(AtomicU64::new(1)),
        seed: 1,
    };
    let server = tokio::spawn(serve(tcp, websocket, parts, stages));
    Proxy { tcp: at, websocket: websocket_at, store, stage, server, keys }
}

/// A client over TCP.
struct Client(TcpStream);

impl Client {
    /// Connects, and sends nothing.
    async fn silent(proxy: &Proxy) -> Self {
        Self(TcpStream::connect(proxy.tcp).await.unwrap())
    }

    /// Connects as a real client does, and has the key.
    async fn new(proxy: &Proxy) -> Self {
        let mut client = Self::silent(proxy).await;
        client.send(recorded("SETUP")).await;
        let Frame::RequestFnf { stream: 2, payload, .. } = client.next().await else { panic!("no key") };
        assert_eq!(payload.data, proxy.keys.public());
        assert!(matches!(client.next().await, Frame::RequestResponse { stream: 4, .. }));
        client
    }

    async fn send(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        enframe(&frame, &mut bytes);
        self.0.write_all(&bytes).await.unwrap();
    }

    async fn next(&mut self) -> Frame {
        self.try_next().await.expect("the connection ended")
    }

    async fn try_next(&mut self) -> Option<Frame> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length[1..]).await.ok()?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame).await.ok()?;
        Some(decode(frame.into()).unwrap())
    }

    /// All that was sent before has been read by the proxy.
    async fn echo(&mut self) {
        let data = Bytes::from_static(b"?");
        self.send(Frame::Keepalive { respond: true, position: 0, data: data.clone() }).await;
        assert_eq!(self.next().await, Frame::Keepalive { respond: false, position: 0, data });
    }
}

/// A frame of the client of Boot 2.7.
fn recorded(what: &str) -> Frame {
    let (_, capture) = vectors().remove(1);
    let frame = capture.frames.into_iter().find(|f| f.dir == "C>P" && f.note.contains(what)).unwrap();
    decode(hex(&frame.hex)).unwrap()
}

fn push(payload: Payload) -> Frame {
    Frame::RequestResponse { stream: 1, follows: false, payload }
}

#[tokio::test]
async fn a_recorded_push_is_acknowledged_after_it_is_stored_and_not_before() {
    let proxy = start(Settings::default()).await;
    proxy.store.slow.store(true, Ordering::SeqCst);
    let mut client = Client::new(&proxy).await;
    client.send(recorded("scrape answer")).await;
    proxy.store.wait_for("1 live # HELP spring_cloud_task").await;
    client.send(recorded("push")).await;
    proxy.store.wait_for("1 arrived").await;
    client.echo().await;
    proxy.store.disk.notify_one();
    assert_eq!(client.next().await, Frame::acknowledgement(1));
    assert_eq!(proxy.store.count("1 final # HELP spring_cloud_task"), 1);
    drop(client);
    proxy.store.wait_for("1 closed").await;
}

#[tokio::test]
async fn a_push_without_answer_is_stored_although_the_client_leaves_at_once() {
    let proxy = start(Settings::default()).await;
    let mut client = Client::new(&proxy).await;
    let payload = seal(&proxy.keys, "a 1\n");
    client.send(Frame::RequestFnf { stream: 1, follows: false, payload }).await;
    drop(client);
    proxy.store.wait_for("1 closed").await;
    assert_eq!(*proxy.store.told.lock().unwrap(), ["1 connected", "1 final a 1\n", "1 closed"]);
}

#[tokio::test]
async fn a_client_that_dies_leaves_its_last_body() {
    let proxy = start(Settings::default()).await;
    let mut client = Client::new(&proxy).await;
    client.send(recorded("scrape answer")).await;
    drop(client);
    proxy.store.wait_for("1 closed").await;
    assert_eq!(proxy.store.count("1 live"), 1, "opened before the end was told");
}

#[tokio::test]
async fn a_push_that_is_not_kept_is_told_and_the_connection_goes_on() {
    let proxy = start(Settings::default()).await;
    let mut client = Client::new(&proxy).await;
    let good = seal(&proxy.keys, "a 1\n");
    for (payload, full, words) in [
        (Payload { metadata: None, ..good.clone() }, false, "not encrypted"),
        (Payload { metadata: Some(vec![1; 256].into()), ..good.clone() }, false, "this proxy's key"),
        (good, true, "the disk is full"),
    ] {
        proxy.store.full.store(full, Ordering::SeqCst);
        client.send(push(payload)).await;
        let Frame::Error { stream: 1, code: 0x201, text } = client.next().await else { panic!() };
        assert!(String::from_utf8_lossy(&text).contains(words), "{text:?}");
    }
    client.echo().await;
}

#[tokio::test]
async fn rubbish_harms_nobody() {
    let settings = Settings::default();
    let limit = settings.session.payload_limit;
    let proxy = start(settings).await;
    let mut good = Client::new(&proxy).await;
    let mut http = Client::silent(&proxy).await;
    http.0.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut rubbish = Client::new(&proxy).await;
    for bytes in
        [hex("000000"), hex("000001 00"), hex("000009 00000001 1100 00ffff"), hex("000006 00000000 f800")]
    {
        rubbish.0.write_all(&bytes).await.unwrap();
    }
    assert!(matches!(rubbish.next().await, Frame::Error { stream: 1, code: 0x204, .. }));
    rubbish.echo().await;
    let length = u32::try_from(limit + (1 << 20)).unwrap().to_be_bytes();
    rubbish.0.write_all(&length[1..]).await.unwrap();
    let mut long = vec![0; limit + (1 << 20)];
    long[3..6].copy_from_slice(&[3, 0x11, 0]);
    rubbish.0.write_all(&long).await.unwrap();
    assert!(matches!(rubbish.next().await, Frame::Error { stream: 3, code: 0x204, .. }));
    rubbish.echo().await;
    good.send(push(seal(&proxy.keys, "a 1\n"))).await;
    assert_eq!(good.next().await, Frame::acknowledgement(1));
}

#[tokio::test]
async fn who_is_over_the_limit_waits_and_is_not_closed() {
    let proxy = start(Settings { connections_max: 1, ..Settings::default() }).await;
    let first = Client::new(&proxy).await;
    let mut second = Client::silent(&proxy).await;
    second.send(recorded("SETUP")).await;
    let waiting = tokio::spawn(async move { second.next().await });
    proxy.store.wait_for("1 connected").await;
    assert!(!waiting.is_finished());
    drop(first);
    assert!(matches!(waiting.await.unwrap(), Frame::RequestFnf { stream: 2, .. }));
}

#[tokio::test]
async fn draining_takes_nobody_new_and_serves_who_is_there() {
    let proxy = start(Settings::default()).await;
    let mut client = Client::new(&proxy).await;
    proxy.stage.send_replace(Stage::Draining);
    while TcpStream::connect(proxy.tcp).await.is_ok() {
        tokio::task::yield_now().await;
    }
    client.send(push(seal(&proxy.keys, "a 1\n"))).await;
    assert_eq!(client.next().await, Frame::acknowledgement(1));
    drop(client);
    proxy.server.await.unwrap().unwrap();
    assert_eq!(proxy.store.count("1 closed"), 1);
}

#[tokio::test]
async fn the_end_waits_for_pushes_on_their_way_to_the_disk() {
    let proxy = start(Settings::default()).await;
    let mut client = Client::new(&proxy).await;
    proxy.store.slow.store(true, Ordering::SeqCst);
    client.send(push(seal(&proxy.keys, "a 1\n"))).await;
    proxy.store.wait_for("1 arrived").await;
    proxy.stage.send_replace(Stage::Ended);
    assert_eq!(client.try_next().await, None, "let go");
    proxy.store.disk.notify_one();
    proxy.server.await.unwrap().unwrap();
    let told = proxy.store.told.lock().unwrap().clone();
    assert_eq!(told, ["1 connected", "1 arrived", "1 final a 1\n", "1 closed"]);
}

async fn upgrade(proxy: &Proxy, path: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(proxy.websocket).await.unwrap();
    let (mut client, _) = client_async(format!("ws://localhost{path}"), stream).await.unwrap();
    let mut bytes = BytesMut::new();
    crate::proxy::wire::encode(&recorded("SETUP"), &mut bytes);
    client.send(Message::Binary(bytes.freeze())).await.unwrap();
    for stream in [2, 4] {
        assert_eq!(message(&mut client).await.stream(), stream);
    }
    client
}

async fn message(client: &mut WebSocketStream<TcpStream>) -> Frame {
    decode(client.next().await.unwrap().unwrap().into_data()).unwrap()
}

async fn send(client: &mut WebSocketStream<TcpStream>, frame: Frame) {
    let mut bytes = BytesMut::new();
    crate::proxy::wire::encode(&frame, &mut bytes);
    client.send(Message::Binary(bytes.freeze())).await.unwrap();
}

/// rsocket-java 1.1.3 closes itself; 1.1.5 sends an ERROR frame and waits for our close.
#[tokio::test]
async fn websocket_on_any_path_and_in_both_orders_of_closing() {
    let proxy = start(Settings::default()).await;
    for (path, client_closes) in [("/", true), ("/rsocket?x=1", false)] {
        let mut client = upgrade(&proxy, path).await;
        client.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
        assert!(matches!(client.next().await, Some(Ok(Message::Pong(_)))));
        send(&mut client, recorded("push")).await;
        assert_eq!(message(&mut client).await, Frame::acknowledgement(1));
        if client_closes {
            client.send(Message::Close(None)).await.unwrap();
        } else {
            send(&mut client, Frame::error(0, 0x101, "Disposed")).await;
        }
        assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))), "{path}");
        drop(client);
    }
    proxy.store.wait_for("1 closed").await;
    proxy.store.wait_for("2 closed").await;
    assert_eq!(proxy.store.count("final"), 2);
}

#[tokio::test]
async fn what_is_no_websocket_is_turned_away_and_text_is_not_read() {
    let proxy = start(Settings::default()).await;
    let mut plain = TcpStream::connect(proxy.websocket).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    let mut client = upgrade(&proxy, "/").await;
    client.send(Message::Text("hello".into())).await.unwrap();
    send(&mut client, recorded("push")).await;
    assert_eq!(message(&mut client).await, Frame::acknowledgement(1));
}

/// The Java proxy makes a key pair for each and needs a minute for 900.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_clients_has_its_keys_at_once_and_a_mute_one_delays_nobody() {
    let proxy = Arc::new(start(Settings::default()).await);
    let mute = Client::new(&proxy).await;
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let begin = Instant::now();
    for _ in 0..300 {
        let (proxy, sender) = (proxy.clone(), sender.clone());
        tokio::spawn(async move {
            let client = Client::new(&proxy).await;
            sender.send(client).unwrap();
        });
    }
    let mut clients = Vec::new();
    while clients.len() < 300 {
        clients.push(receiver.recv().await.unwrap());
    }
    println!("300 keys in {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(5), "a client waits no longer");
    drop(mute);
}

/// As much as a payload may have, unreadable.
fn long(stream: u32) -> Frame {
    let data = Bytes::from(vec![7; (4 << 20) - 256]);
    Frame::RequestResponse {
        stream,
        follows: false,
        payload: Payload { metadata: Some(vec![1; 256].into()), data },
    }
}

#[tokio::test]
async fn half_frames_of_many_leave_room_for_others_and_may_be_completed() {
    let proxy = start(Settings::default()).await;
    let mut bytes = BytesMut::new();
    enframe(&long(1), &mut bytes);
    let (most, last) = bytes.split_at(bytes.len() - 1);
    let mut halves = Vec::new();
    for _ in 0..24 {
        let mut client = Client::new(&proxy).await;
        let most = most.to_vec();
        halves.push(tokio::spawn(async move {
            // More than all may have together: not everybody can get rid of it.
            let _ = timeout(Duration::from_secs(2), client.0.write_all(&most)).await;
            client
        }));
    }
    let mut good = Client::new(&proxy).await;
    good.send(push(seal(&proxy.keys, "a 1\n"))).await;
    assert_eq!(good.next().await, Frame::acknowledgement(1));
    let mut all = futures::future::join_all(halves).await;
    drop(all.split_off(12));
    for client in all {
        let mut client = client.unwrap();
        client.0.write_all(last).await.unwrap();
        assert!(matches!(client.next().await, Frame::Error { stream: 1, code: 0x201, .. }));
    }
}

#[tokio::test]
async fn a_long_message_over_websocket_is_read_to_its_end() {
    let proxy = start(Settings::default()).await;
    let mut client = upgrade(&proxy, "/").await;
    send(&mut client, long(1)).await;
    assert!(matches!(message(&mut client).await, Frame::Error { stream: 1, code: 0x201, .. }));
    send(
        &mut client,
        Frame::RequestResponse { stream: 3, follows: false, payload: seal(&proxy.keys, "a 1\n") },
    )
    .await;
    assert_eq!(message(&mut client).await, Frame::acknowledgement(3));
}

#[tokio::test]
async fn who_waits_and_leaves_waits_no_longer() {
    let proxy = start(Settings { connections_max: 1, ..Settings::default() }).await;
    let first = Client::new(&proxy).await;
    let mut second = Client::silent(&proxy).await;
    second.send(recorded("SETUP")).await;
    drop(second);
    let mut third = Client::silent(&proxy).await;
    third.send(recorded("SETUP")).await;
    sleep(LOOK * 3).await;
    drop(first);
    assert!(matches!(third.next().await, Frame::RequestFnf { stream: 2, .. }));
    assert_eq!(proxy.store.count("connected"), 2, "the one who left is not served");
}
