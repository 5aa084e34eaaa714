//! Readers that take a response, and those that do not.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const SCRAPER: ScraperId = 7;

/// The proxy's end of a connection, the reader's, and a body on its way.
async fn connection() -> (Watched, TcpStream, Arc<Deliveries>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let reader = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let (pending, body) = (Arc::new(Pending::default()), Arc::new(Deliveries::default()));
    pending.made(Delivery { scraper: SCRAPER, bodies: vec![body.clone()] });
    (Watched::new(stream, pending), reader, body)
}

const RESPONSE: &[u8] = b"HTTP/1.0 200 OK\r\n\r\na 1\n";

/// Writes a response and ends the connection, as hyper does.
async fn respond(mut watched: Watched) -> io::Result<()> {
    watched.write_all(RESPONSE).await?;
    watched.flush().await?;
    watched.shutdown().await
}

#[tokio::test]
async fn a_reader_that_reads_all_and_closes_has_the_body() {
    let (watched, mut reader, body) = connection().await;
    let responding = tokio::spawn(respond(watched));
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, RESPONSE);
    assert!(body.seen_by().is_empty(), "it has not closed yet");
    drop(reader);
    responding.await.unwrap().unwrap();
    assert_eq!(body.seen_by(), [SCRAPER]);
}

#[tokio::test]
async fn a_reader_that_resets_after_the_head_does_not_have_the_body() {
    let (watched, mut reader, body) = connection().await;
    let responding = tokio::spawn(respond(watched));
    let mut head = [0; 19];
    reader.read_exact(&mut head).await.unwrap();
    // The whole response is in the kernel, and our end is closed.
    while reader.peek(&mut [0; 64]).await.unwrap() < RESPONSE.len() - head.len() {}
    reader.set_zero_linger().unwrap();
    drop(reader);
    assert_eq!(responding.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(body.seen_by().is_empty());
}

#[tokio::test]
async fn a_reader_that_never_closes_is_not_waited_for_without_end() {
    let (watched, reader, body) = connection().await;
    let begin = Instant::now();
    tokio::time::pause();
    respond(watched).await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), READERS_END.as_secs());
    assert!(body.seen_by().is_empty());
    drop(reader);
}

#[tokio::test]
async fn a_reader_that_goes_on_sending_is_not_waited_for_without_end() {
    let (watched, mut reader, body) = connection().await;
    let sending = tokio::spawn(async move { while reader.write_all(&[0; 4096]).await.is_ok() {} });
    respond(watched).await.unwrap();
    assert!(body.seen_by().is_empty());
    sending.await.unwrap();
}

#[tokio::test]
async fn who_waits_for_nothing_is_let_go_at_once() {
    let (watched, _reader, _) = connection().await;
    watched.pending.lost();
    respond(watched).await.unwrap();
}

/// Writes much more than the kernel keeps, and returns why that ended.
async fn write_much(mut watched: Watched) -> Option<Late> {
    let error = watched.write_all(&vec![0; 64 << 20]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    error.get_ref()?.downcast_ref().copied()
}

#[tokio::test]
async fn a_reader_that_takes_a_little_now_and_then_has_so_long_for_the_whole() {
    let (watched, mut reader, body) = connection().await;
    let begin = Instant::now();
    let _on_its_way = watched.pending.begin(begin + Duration::from_millis(500));
    let trickle = tokio::spawn(async move {
        while reader.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
            sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(write_much(watched).await, Some(Late::Slow));
    assert!(begin.elapsed() < STALL / 4);
    assert!(body.seen_by().is_empty());
    trickle.abort();
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_given_up_earlier() {
    let (watched, _reader, body) = connection().await;
    let begin = Instant::now();
    let _on_its_way = watched.pending.begin(begin + STALL * 2);
    tokio::time::pause();
    assert_eq!(write_much(watched).await, Some(Late::Stalled));
    assert!(begin.elapsed() >= STALL);
    assert!(body.seen_by().is_empty());
}

#[tokio::test]
async fn what_was_taken_whole_leaves_no_time_to_the_next_response() {
    let (mut watched, _reader, _) = connection().await;
    let response = watched.pending.begin(Instant::now() + STALL);
    watched.write_all(RESPONSE).await.unwrap();
    watched.flush().await.unwrap();
    assert!(watched.pending.response().until.is_some(), "more of it comes");
    drop(response);
    watched.flush().await.unwrap();
    assert_eq!(watched.pending.response().until, None);
}
