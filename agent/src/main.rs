//! The one binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(sekimori::cli::main())
}
