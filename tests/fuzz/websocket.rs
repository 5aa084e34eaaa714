//! The upgrade and the messages after it, over a real pair of sockets.
//!
//! The first byte of an input says whether the rest comes after a right upgrade (even), and then whether it is one message
//! after the other, each a byte of opcode and flags and a byte of length, masked here (divisible by 4).

use millrace::proxy::intake::Door;
use millrace::proxy::server::transport::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, timeout};

use crate::engine::{Target, fuzz, hash, size};
use crate::seeds;

const LIMIT: usize = 64 << 10;
const UPGRADE: &[u8] = b"GET /rsocket HTTP/1.1\r\nHost: p\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn websocket() {
    let mut seeds = vec![[&[1], UPGRADE].concat(), b"\x00\x89\x02hi\x8a\x00\x88\x02\x03\xe8".to_vec()];
    for conversation in seeds::conversations() {
        let short = conversation.iter().filter(|frame| frame.len() < 126);
        let messages =
            short.flat_map(|frame| [&[0x82, frame.len().to_le_bytes()[0]], frame.as_slice()].concat());
        seeds.push([vec![0], messages.collect()].concat());
    }
    seeds.push(b"\x00\x02\x03abc\x80\x03def\x81\x04text".to_vec());
    seeds.push(b"\x02\x82\x7f\x00\x00\x00\x00\x01\x00\x00\x00abcd".to_vec());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let run = |input: &[u8]| runtime.block_on(run(&listener, input));
    fuzz(Target { name: "websocket", seeds, words: WORDS, longest: 4 << 10, run });
}

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"GET ",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"Connection: keep-alive, Upgrade\r\n",
    b"Upgrade: websocket\r\n",
    b"Sec-WebSocket-Version: 12\r\n",
    b"Sec-WebSocket-Key: ",
    b"Sec-WebSocket-Protocol: x\r\n",
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n",
    b"Content-Length: 5\r\n",
    b"\x02\x01",
    b"\x80\x01",
    b"\x82\x01",
    b"\xc2\x01",
    b"\x81\x01",
    b"\x88\x00",
    b"\x89\x7d",
    b"\x8a\x00",
    b"\x83\x00",
    b"\x82\xfe\xff\xff",
    b"\x82\xff\x00\x00\x00\x00\x7f\xff\xff\xff",
];

/// What goes over the wire after the upgrade, if there is a right one.
fn wire(input: &[u8]) -> (bool, Vec<u8>) {
    let (&how, mut rest) = input.split_first().unwrap_or((&1, &[]));
    if how % 4 != 0 {
        return (how % 2 == 0, rest.to_vec());
    }
    let mut out = Vec::new();
    while let [opcode, length, others @ ..] = rest {
        let (payload, others) = others.split_at(usize::from(length % 126).min(others.len()));
        // Zeros as a mask leave the payload as it is.
        out.extend_from_slice(&[*opcode, 0x80 | payload.len().to_le_bytes()[0], 0, 0, 0, 0]);
        out.extend_from_slice(payload);
        rest = others;
    }
    (true, out)
}

async fn run(listener: &TcpListener, input: &[u8]) -> u64 {
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let all = async { tokio::join!(talk(client, wire(input)), serve(server)) };
    let (answered, mut kinds) = timeout(Duration::from_secs(5), all).await.expect("no end");
    kinds.truncate(4);
    hash((kinds, size(answered)))
}

/// The client: how many bytes it was answered.
async fn talk(client: TcpStream, (upgrade, bytes): (bool, Vec<u8>)) -> usize {
    let (mut answers, mut client) = client.into_split();
    let mut answer = Vec::new();
    if upgrade {
        client.write_all(UPGRADE).await.unwrap();
        // Who sends more before the answer is refused.
        while !answer.ends_with(b"\r\n\r\n") {
            assert!(answers.read_buf(&mut answer).await.unwrap() > 0, "no upgrade");
        }
    }
    let writer = async move {
        // The other side may have ended already.
        let _ = client.write_all(&bytes).await;
        let _ = client.shutdown().await;
    };
    let reader = async move {
        let _ = answers.read_to_end(&mut answer).await;
        answer.len()
    };
    tokio::join!(writer, reader).1
}

/// As a connection does, until the client ends.
async fn serve(stream: TcpStream) -> Vec<u64> {
    let mut transport = match Transport::open(stream, Door::Websocket, LIMIT).await {
        Ok(transport) => transport,
        Err(error) => return vec![hash(std::mem::discriminant(&error))],
    };
    let mut kinds = Vec::new();
    while let Some(frames) = transport.read().await {
        for frame in frames {
            kinds.push(match frame {
                Ok(frame) => 2 + hash(std::mem::discriminant(&frame)) % 1000,
                Err(bad) => hash(bad.what),
            });
        }
    }
    transport.close().await;
    kinds
}
