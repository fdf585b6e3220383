//! A town hall behind its barrier gate, live: five networks as namespaces, real clients, real packets.
//!
//! Started by `cargo xtask demo`. Every claim on the screen is checked: a step that does not go as the policy says
//! ends the demonstration with an error.

mod emergency;
mod evidence;
mod infected;
mod keep;
mod machines;
mod stage;
mod steps;
mod tell;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{stage::Stage, tell::Teller};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        [] => perform(&Teller::new()).and_then(Stage::end),
        ["--keep"] => keep::start(),
        ["--stop"] => keep::stop(),
        [keep::HOLD] => keep::hold(),
        other => usage(other),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The whole demonstration; the stage it was played on, still standing.
fn perform(teller: &Teller) -> Result<Stage> {
    let mut stage = Stage::build(teller)?;
    steps::all(teller, &mut stage)?;
    Ok(stage)
}

fn usage(arguments: &[&str]) -> Result<()> {
    bail!("not understood: {}\nusage: demo [--keep | --stop]", arguments.join(" "))
}
