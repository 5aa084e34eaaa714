//! What applications expose, and what the proxy makes of it: many bodies in, one exposition out. Pure.
//!
//! ```text
//! text ─> parse ─> build ─> Body ─┐
//! text ─> parse ─> build ─> Body ─┼─> merge ─> write
//! protobuf ─> text …              ┘
//! ```
//!
//! The rules, in one place:
//! - An invalid line is dropped alone and counted. Of a series that a body has twice, the first stays.
//! - A sample belongs to the declared family that it fits; else it is an untyped family of its own.
//! - Timestamps and exemplars of a body are dropped: every sample carries the time its body was taken.
//! - Bodies that disagree about a family's type: most bodies win. Where one of the types is a histogram or a summary, or
//!   where one of a histogram's or summary's series names is a family of its own elsewhere, each series name becomes an
//!   untyped family: nothing is renamed, nothing is lost.
//! - Bodies without identity may collide: of the same series the newest body's stays.

pub mod build;
mod filter;
pub mod identity;
pub mod merge;
pub mod model;
pub mod parse;
pub mod protobuf;
mod rows;
mod strict;
pub mod task_filters;
mod write;

#[cfg(test)]
mod tests;

pub use build::{Built, Report, Task, build};
pub use filter::Filter;
pub use identity::{Identity, Labels};
pub use merge::{Exposed, Format, Merge};
pub use model::{Body, Interner};
pub use task_filters::TaskFilters;
