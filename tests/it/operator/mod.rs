//! The real controllers on the API server in this process: what they write, how often, and what they make of faults.

mod faults;
mod harness;
mod lifecycle;
mod operators;
mod rights;
mod stacks;
