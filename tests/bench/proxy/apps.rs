//! Many simulated applications in this process: each has a connection, answers every pull with its next body, and
//! echoes KEEPALIVEs.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use millrace::proxy::wire::{Deframer, Frame, Payload, Piece, decode, enframe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::client::{Sealer, setup};
use crate::support::{check, eventually};
use crate::texts;

/// Connections from one address; a few thousand more and its ports are used up.
const OF_ONE_ADDRESS: usize = 4000;

/// Makes the bodies of an application for a proxy with this public key.
pub type Bodies = Arc<dyn Fn(usize, &Bytes) -> Vec<Payload> + Send + Sync>;

/// Real ones, of so many scrapes, which are sent in turns.
pub fn real(series: usize, scrapes: usize) -> Bodies {
    Arc::new(move |app, key| {
        let sealer = Sealer::new(key);
        (0..scrapes).map(|round| sealer.seal(&texts::text(app, round, series))).collect()
    })
}

/// Ones that were made before.
pub fn made(bodies: Vec<Vec<Payload>>) -> Bodies {
    Arc::new(move |app, _| bodies[app].clone())
}

#[derive(Default)]
struct Counts {
    keys: AtomicUsize,
    answered: AtomicUsize,
    closed: AtomicUsize,
    last_key: Mutex<Option<Instant>>,
}

/// Connected applications; gone when dropped.
pub struct Apps {
    counts: Arc<Counts>,
    number: usize,
    _tasks: JoinSet<()>,
}

impl Apps {
    /// Begins to connect them; of those that wait for their key there are `at_once`.
    pub fn connect(to: SocketAddr, apps: Range<usize>, at_once: usize, bodies: &Bodies) -> Self {
        let (counts, turns) = (Arc::new(Counts::default()), Arc::new(Semaphore::new(at_once)));
        let (mut tasks, number) = (JoinSet::new(), apps.len());
        for (i, app) in apps.enumerate() {
            let (counts, turns, bodies) = (counts.clone(), turns.clone(), bodies.clone());
            let from = Ipv4Addr::new(127, 0, 1, u8::try_from(i / OF_ONE_ADDRESS).unwrap());
            tasks.spawn(async move {
                let turn = turns.acquire_owned().await.unwrap();
                let served = async {
                    let mut connection = Connection::open(from, to).await?;
                    let key = connection.key().await?;
                    *counts.last_key.lock().unwrap() = Some(Instant::now());
                    counts.keys.fetch_add(1, Relaxed);
                    let bodies = bodies(app, &key);
                    drop(turn);
                    connection.serve(&bodies, &counts.answered).await
                };
                if let Err(why) = served.await {
                    eprintln!("application {app}: {why}");
                }
                counts.closed.fetch_add(1, Relaxed);
            });
        }
        Self { counts, number, _tasks: tasks }
    }

    /// Waits until each has its key, and tells when the last one got it.
    pub async fn keys(&self, seconds: u64) -> Instant {
        eventually(seconds, "every application has a key", async || {
            let keys = self.counts.keys.load(Relaxed);
            check(keys == self.number, (keys, self.number))
        })
        .await;
        self.counts.last_key.lock().unwrap().unwrap()
    }

    /// Waits until each has answered so many pulls, seen over all.
    pub async fn answered(&self, seconds: u64, pulls: usize) {
        eventually(seconds, "every application was pulled", async || {
            let answered = self.counts.answered.load(Relaxed);
            check(answered >= self.number * pulls, answered)
        })
        .await;
    }

    /// Pulls that were answered, by all together.
    pub fn pulls(&self) -> usize {
        self.counts.answered.load(Relaxed)
    }

    /// How many they are.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Connections that the proxy ended.
    pub fn closed(&self) -> usize {
        self.counts.closed.load(Relaxed)
    }
}

struct Connection {
    stream: TcpStream,
    deframer: Deframer,
    buffer: Vec<u8>,
    /// What was read and not yet looked at.
    read: Range<usize>,
}

impl Connection {
    async fn open(from: Ipv4Addr, to: SocketAddr) -> Result<Self, String> {
        let opened = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind((from, 0).into())?;
            let stream = socket.connect(to).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = opened.await.map_err(|error: std::io::Error| format!("cannot connect: {error}"))?;
        Ok(Self { stream, deframer: Deframer::new(1 << 24), buffer: vec![0; 1 << 10], read: 0..0 })
    }

    async fn key(&mut self) -> Result<Bytes, String> {
        self.send(&setup()).await?;
        loop {
            if let Frame::RequestFnf { payload, .. } = self.next().await? {
                return Ok(payload.data);
            }
        }
    }

    async fn serve(&mut self, bodies: &[Payload], answered: &AtomicUsize) -> Result<(), String> {
        for payload in bodies.iter().cycle() {
            let stream = loop {
                match self.next().await? {
                    Frame::RequestResponse { stream, .. } => break stream,
                    Frame::Keepalive { respond: true, data, .. } => {
                        self.send(&Frame::Keepalive { respond: false, position: 0, data }).await?;
                    }
                    _ => {}
                }
            };
            let payload = payload.clone();
            self.send(&Frame::Payload { stream, follows: false, complete: true, next: true, payload })
                .await?;
            answered.fetch_add(1, Relaxed);
        }
        Err("it has nothing to answer".to_owned())
    }

    async fn send(&mut self, frame: &Frame) -> Result<(), String> {
        let mut bytes = BytesMut::new();
        enframe(frame, &mut bytes);
        self.stream.write_all(&bytes).await.map_err(|e| format!("cannot send: {e}"))
    }

    async fn next(&mut self) -> Result<Frame, String> {
        loop {
            let mut input = &self.buffer[self.read.clone()];
            let piece = self.deframer.next(&mut input);
            self.read.start = self.read.end - input.len();
            match piece {
                Some(Piece::Frame(bytes)) => return decode(bytes).map_err(|bad| bad.to_string()),
                Some(Piece::Oversize { .. }) => return Err("a frame over the limit".to_owned()),
                None => {}
            }
            let length = self.stream.read(&mut self.buffer).await.map_err(|e| format!("cannot read: {e}"))?;
            if length == 0 {
                return Err("the proxy closed the connection".to_owned());
            }
            self.read = 0..length;
        }
    }
}
