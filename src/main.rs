//! Parses and dispatches; everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    millrace::cli::main()
}
