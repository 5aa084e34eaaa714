//! An application's RSocket client, as the Java one behaves, without an application. What it sends is sealed by another
//! implementation of the cipher than the proxy's.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::cipher::{AES_128, PaddedBlockEncryptingKey, UnboundCipherKey};
use bytes::{Bytes, BytesMut};
use millrace::proxy::wire::{Deframer, Frame, Payload, Piece, decode, enframe};
use rsa::pkcs8::DecodePublicKey;
use rsa::rand_core::OsRng;
use rsa::{Oaep, RsaPublicKey};
use sha1::Sha1;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

pub use super::setup::setup;

/// The same for all: nobody listens here.
pub const AES: [u8; 16] = [7; 16];

/// Compresses and encrypts texts for the proxy whose public key it got (DER). The AES key is always the same, and so is
/// what RSA makes of it: thousands of bodies are sealed in no time.
#[derive(Clone, Debug)]
pub struct Sealer {
    wrapped: Bytes,
}

impl Sealer {
    /// Wraps the AES key.
    pub fn new(key: &[u8]) -> Self {
        let key = RsaPublicKey::from_public_key_der(key).unwrap();
        let padding = Oaep::new_with_mgf_hash::<Sha256, Sha1>();
        Self { wrapped: key.encrypt(&mut OsRng, padding, &AES).unwrap().into() }
    }

    /// A payload as clients send it.
    pub fn seal(&self, text: &str) -> Payload {
        let mut data = snap::raw::Encoder::new().compress_vec(text.as_bytes()).unwrap();
        let cipher = UnboundCipherKey::new(&AES_128, &AES).unwrap();
        PaddedBlockEncryptingKey::ecb_pkcs7(cipher).unwrap().encrypt(&mut data).unwrap();
        Payload { metadata: Some(self.wrapped.clone()), data: data.into() }
    }
}

/// Compresses and encrypts one text.
pub fn seal(key: &[u8], text: &str) -> Payload {
    Sealer::new(key).seal(text)
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    deframer: Deframer,
    waiting: VecDeque<Frame>,
    /// The next of its own streams.
    stream_id: u32,
    /// The proxy's public key, DER.
    pub key: Bytes,
}

impl Client {
    /// Connects and waits for the key.
    pub async fn connect(to: SocketAddr) -> Result<Self, String> {
        Self::connect_from(Ipv4Addr::UNSPECIFIED, to).await
    }

    /// The same from an address of its own: any of 127.0.0.0/8 may be used.
    pub async fn connect_from(from: Ipv4Addr, to: SocketAddr) -> Result<Self, String> {
        let socket = TcpSocket::new_v4().map_err(|e| e.to_string())?;
        socket.bind((from, 0).into()).map_err(|e| format!("{from}: {e}"))?;
        let stream = socket.connect(to).await.map_err(|e| format!("{to}: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let deframer = Deframer::new(1 << 24);
        let waiting = VecDeque::new();
        let mut client = Self { stream, deframer, waiting, stream_id: 1, key: Bytes::new() };
        client.send(&setup()).await?;
        loop {
            if let Frame::RequestFnf { payload, .. } = client.next().await? {
                client.key = payload.data;
                return Ok(client);
            }
        }
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &Frame) -> Result<(), String> {
        let mut bytes = BytesMut::new();
        enframe(frame, &mut bytes);
        self.stream.write_all(&bytes).await.map_err(|e| format!("cannot send: {e}"))
    }

    /// The next frame of the proxy.
    pub async fn next(&mut self) -> Result<Frame, String> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Ok(frame);
            }
            let length = self.stream.read(&mut buffer).await.map_err(|e| format!("cannot read: {e}"))?;
            if length == 0 {
                return Err("the proxy closed the connection".to_owned());
            }
            let mut input = &buffer[..length];
            while let Some(piece) = self.deframer.next(&mut input) {
                let Piece::Frame(bytes) = piece else { return Err("a frame over the limit".to_owned()) };
                self.waiting.push_back(decode(bytes).map_err(|bad| bad.to_string())?);
            }
        }
    }

    /// Waits for the next pull and answers it; KEEPALIVEs on the way are echoed.
    pub async fn answer_pull(&mut self, sealed: &Payload) -> Result<(), String> {
        loop {
            match self.next().await? {
                Frame::RequestResponse { stream, .. } => return self.answer(stream, sealed).await,
                Frame::Keepalive { respond: true, data, .. } => {
                    self.send(&Frame::Keepalive { respond: false, position: 0, data }).await?;
                }
                _ => {}
            }
        }
    }

    /// Answers the pull on `stream`.
    pub async fn answer(&mut self, stream: u32, sealed: &Payload) -> Result<(), String> {
        let payload = sealed.clone();
        self.send(&Frame::Payload { stream, follows: false, complete: true, next: true, payload }).await
    }

    /// The final push, by request-response: returns when it is acknowledged. Pulls on the way stay unanswered, as an
    /// application that ends leaves them.
    pub async fn push(&mut self, sealed: &Payload) -> Result<(), String> {
        let (payload, id) = (sealed.clone(), self.stream_id);
        self.stream_id += 2;
        self.send(&Frame::RequestResponse { stream: id, follows: false, payload }).await?;
        let answer = async {
            loop {
                match self.next().await? {
                    Frame::Payload { stream, .. } if stream == id => return Ok(()),
                    Frame::Error { stream, text, .. } if stream == id => {
                        return Err(String::from_utf8_lossy(&text).into_owned());
                    }
                    _ => {}
                }
            }
        };
        // As long as the Java client waits.
        let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
        answer.unwrap_or_else(|_| Err("not acknowledged within 5 s".to_owned()))
    }

    /// Ends in order, without a word, as rsocket-java 1.1.3 does.
    pub async fn close(mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The socket, for what a client should not do.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}
