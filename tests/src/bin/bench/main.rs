//! The ruler: Sekimori and what a user would pick instead, side by side on the same packets, one core, in-kernel clock.
//!
//! Started by `cargo xtask bench`. Ratios are the result and nanoseconds the context; figures of different runs are
//! not comparable.

mod bench;
mod cell;
mod conntrack;
mod gateway;
mod lists;
mod opening;
mod options;
mod plan;
mod process;
mod random;
mod ruler;
mod sampling;
mod stage;
mod subject;
mod table;
mod traffic;

use std::process::ExitCode;

use anyhow::Result;

use crate::options::Options;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    bench::run(&options)?;
    Ok(())
}
