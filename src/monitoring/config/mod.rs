//! Files that the parts of a stack are configured with.

pub mod prometheus;
