//! What tests say: define, launch, wait, look.

pub mod chance;
pub mod cluster;
pub mod command;
pub mod evidence;
pub mod manifest;
pub mod operator;
pub mod recorder;
pub mod run;
pub mod scrape;
pub mod space;
pub mod stack;

pub use run::{End, Run};
pub use space::{Space, alone, beside};

/// Task without a JVM.
pub const PLAIN: &str = "localhost/millrace-task-plain:1";
