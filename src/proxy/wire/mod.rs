//! RSocket 1.0 on the wire: frames, their bytes, the length before each on TCP, and fragments put together.
//!
//! Own code, since no library fits: what is read here comes from anybody in the network, so no length is believed, no
//! frame is a reason to end a connection, and memory grows only with bytes that arrived.

pub mod codec;
pub mod deframe;
pub mod frame;
pub mod reassembly;

pub use codec::{Malformed, decode, encode};
pub use deframe::{Deframer, Piece, enframe};
pub use frame::{Frame, Payload, Setup, error};
pub use reassembly::Reassembly;
