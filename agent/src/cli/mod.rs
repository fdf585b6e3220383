//! The command line: raw arguments (`args`), meaning (`meaning`), doing (`run`), output in two languages (`render`,
//! `status`, `text`).

pub mod args;
pub mod meaning;
pub mod render;
mod replay;
pub mod run;
mod status;
pub mod text;

use clap::Parser;

/// Runs the command line of this process; its exit code.
pub fn main() -> u8 {
    match meaning::mean(args::Cli::parse()) {
        Ok(order) => run::run(order),
        Err((usage, _)) => {
            eprintln!("sekimori: {usage}");
            2
        }
    }
}
