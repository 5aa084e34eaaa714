//! An API server in the test process, driving the real controllers through a real `kube::Client`.
//!
//! ```text
//! kube::Client ─> service (HTTP, delays, streams) ─> server (faults, open watches) ─> Store::handle ─> record
//! ```
//!
//! [`Store`] is the whole cluster as data: synchronous, deterministic, cheap to clone. An explorer
//! of crash points calls [`Store::handle`] and [`Store::next_event`] without tokio, and goes back
//! to a clone; controller tests use [`ApiServer`].
//!
//! Semantics follow the real server as far as a controller can see: revisions, UIDs, generation,
//! preconditions, `/status`, selectors, pages, watches with bookmarks and 410, finalizers, garbage
//! collection, terminating namespaces, and the wording of refusals. Not there: schemas and CEL,
//! authorization (a [`Fault`] plays it), field ownership beyond what each applier sent last, list
//! merging by key (lists are one field), several versions of a kind, `events` as one storage of two
//! groups.

// The server is a product of its own: each test uses a part of it.
#![allow(dead_code, unused_imports, reason = "no single test uses all of it")]
#![allow(clippy::indexing_slicing, reason = "indexing JSON yields null; what is not there is what is tested")]
#![allow(clippy::panic, reason = "a panic is how a test fails")]

mod admin;
mod background;
mod builtin;
mod delete;
mod fault;
mod inner;
mod job;
mod kind;
mod list;
pub mod object;
mod open_watch;
mod pod;
mod record;
mod request;
mod selector;
mod server;
mod service;
mod status;
mod store;
mod watch;
mod watches;
mod write;

#[cfg(test)]
mod tests;

pub use background::{Fate, Running};
pub use fault::{Fault, Rule, RuleId, WatchFault};
pub use job::JobController;
pub use kind::Kind;
pub use object::Key;
pub use open_watch::{OpenWatch, Step};
pub use pod::PodActor;
pub use record::{Entry, Record};
pub use request::{PatchType, Request, Response, Verb};
pub use server::ApiServer;
pub use status::Status;
pub use store::Store;
pub use watch::{Change, Cursor};
pub use watches::Watches;
