//! Follows one replica's stream of facts for as long as it is wanted.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::known::Known;
use super::request::Connection;
use super::{Away, answer, locked};

/// Bytes of a line; those of a proxy have some hundred.
pub const LINE_MAX: usize = 64 << 10;

/// How patient a reader is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A stream without a line for so long is dead.
    pub silence: Duration,
    /// So long a replica may take to begin.
    pub begin: Duration,
    /// From the end of a stream to the next try; it doubles.
    pub pause: Duration,
    /// The longest pause. After a stream that lived longer they begin anew.
    pub pause_most: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            // A proxy without news sends a line every 10 s.
            silence: Duration::from_secs(30),
            begin: Duration::from_secs(5),
            pause: Duration::from_millis(200),
            pause_most: Duration::from_secs(5),
        }
    }
}

/// Reads the replica's stream into `known`, and begins again where it was when that breaks off; `away` tells since when
/// there is none. Never ends by itself.
pub async fn follow(replica: SocketAddr, known: Arc<Mutex<Known>>, away: Away, pace: Pace) {
    let (mut cursor, mut pause) = (String::new(), pace.pause);
    let mut lost = false;
    loop {
        let began = Instant::now();
        let mut heard = false;
        let read = read(replica, pace, &mut cursor, &away, |line| {
            if !heard && lost {
                tracing::info!(%replica, "the proxy tells its facts again");
            }
            heard = true;
            if let Some((id, pod, body)) = line.fact() {
                locked(&known).tell(id, &pod, body);
            }
        });
        let Err(why) = read.await;
        locked(&away).get_or_insert_with(Instant::now);
        // Once for each time that it was well before: a proxy that stays away is no news.
        if heard || !lost {
            tracing::info!(%replica, why, "the stream of a proxy's facts broke off; it is tried again");
        }
        lost = true;
        if began.elapsed() > pace.pause_most {
            pause = pace.pause;
        }
        sleep(pause).await;
        pause = (pause * 2).min(pace.pause_most);
    }
}

/// Reads until the stream ends, and says why it did.
async fn read(
    replica: SocketAddr,
    pace: Pace,
    cursor: &mut String,
    away: &Away,
    mut each: impl FnMut(answer::Line),
) -> Result<std::convert::Infallible, String> {
    let path = format!("/executions?after={cursor}");
    let asking = async {
        let mut connection = Connection::open(replica).await?;
        let response = connection.get(&path).await?;
        Ok::<_, String>((connection, response))
    };
    let begun = timeout(pace.begin, asking).await;
    let (_connection, response) = begun.map_err(|_| "no answer in time".to_owned())??;
    let status = response.status().as_u16();
    if status != 200 {
        if status == 400 {
            // It is no cursor there.
            cursor.clear();
        }
        return Err(format!("it answered with {status}"));
    }
    *locked(away) = None;
    let (mut body, mut lines) = (response.into_body(), Lines::default());
    let mut until = Instant::now() + pace.silence;
    loop {
        let frame = timeout_at(until, body.frame()).await;
        let frame = frame.map_err(|_| format!("silent for {:?}", pace.silence))?;
        let frame = frame.ok_or("it ended")?.map_err(|e| e.to_string())?;
        // Trailers are nothing to us.
        let Ok(data) = frame.into_data() else { continue };
        lines.add(&data, |text| {
            let line = answer::line(text)?;
            // Whatever `reset` says is new stands in the lines that follow, and the cursor is of the new count.
            cursor.clone_from(&line.cursor);
            until = Instant::now() + pace.silence;
            each(line);
            Ok(())
        })?;
    }
}

/// Lines out of pieces.
#[derive(Debug, Default)]
pub struct Lines {
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl Lines {
    /// A piece: calls `each` with every line that is whole with it. An error if a line is too long, and that of `each`.
    pub fn add(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut rest = piece;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            self.push(line)?;
            each(&self.begun)?;
            self.begun.clear();
        }
        self.push(rest)
    }

    fn push(&mut self, part: &[u8]) -> Result<(), String> {
        if self.begun.len() + part.len() > LINE_MAX {
            return Err(format!("a line of its stream has more than {LINE_MAX} bytes"));
        }
        self.begun.extend_from_slice(part);
        Ok(())
    }
}
