//! What a door hands to the store: bodies, and how connections begin and end.
//!
//! The order of the calls for one connection: `connected`; any number of `live_body` and of `read` with its `final_push`;
//! `closed`, once, after every `final_push` has returned.

use std::net::SocketAddr;

use jiff::Timestamp;

use super::aside::EndedEarly;

/// How a body came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Door {
    /// RSocket over TCP.
    Tcp,
    /// RSocket over websocket.
    Websocket,
    /// The push API.
    Push,
}

impl Door {
    /// As it is told in facts, metrics and on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Websocket => "websocket",
            Self::Push => "push",
        }
    }
}

/// A connection of an application, or one request of the push door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Never used again while the process lives.
    pub id: u64,
    /// Through which door.
    pub door: Door,
    /// Who: all that a connection tells of itself.
    pub peer: SocketAddr,
    /// When the connection was accepted: the latest start of the application's counters.
    pub since: Timestamp,
}

/// One application's metrics at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Where it came from.
    pub origin: Origin,
    /// When the application handed it out: when it arrived here, before it was decrypted.
    pub taken_at: Timestamp,
    /// Prometheus text 0.0.4, not validated. May be empty.
    pub text: String,
}

/// Why a body was not taken. The words of an error are told to the application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// Not a single valid sample in a text that is not empty.
    #[error("no valid sample: {0}")]
    Invalid(String),
    /// Larger than allowed, or no room left.
    #[error("no room: {0}")]
    Full(String),
    /// The disk fails.
    #[error("cannot store: {0}")]
    Store(String),
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It survives power loss.
    Stored,
    /// It has not a single sample, and changes nothing.
    Empty,
}

impl From<EndedEarly> for IntakeError {
    fn from(error: EndedEarly) -> Self {
        Self::Store(error.to_string())
    }
}

/// The store, as the doors see it.
pub trait Intake: Send + Sync + 'static {
    /// A final body that was read.
    type Ready: Send + 'static;

    /// An application is there.
    fn connected(&self, origin: Origin);

    /// Keeps `body` as the last known one of a living application, instead of its former one.
    fn live_body(&self, body: Body);

    /// Reads a final body: work that is not for the threads of the sockets. Its text is not needed any more.
    fn read(&self, body: Body) -> Result<Self::Ready, IntakeError>;

    /// Keeps what was read as the final body. Returns when it survives power loss: only then is it acknowledged.
    fn final_push(&self, body: Self::Ready) -> impl Future<Output = Result<Pushed, IntakeError>> + Send;

    /// The connection is over. If none of its pushes was taken, its last live body becomes the final one, marked as a
    /// snapshot. Returns when that survives power loss.
    fn closed(&self, origin: Origin, at: Timestamp) -> impl Future<Output = ()> + Send;
}
