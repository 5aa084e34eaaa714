//! Where the peers are. `tests/proxy/peers` prints these variables.

use std::path::PathBuf;

/// A peer's path, from the variable that tells it.
#[allow(clippy::disallowed_methods, reason = "peers are built by a script, which tells where they are")]
pub fn peer(variable: &str) -> PathBuf {
    let path = std::env::var(variable);
    path.unwrap_or_else(|_| panic!("{variable} is not set: `make proxy`, or export $(tests/proxy/peers)"))
        .into()
}
