//! Everything a developer or a curious administrator runs from a clone, one file a verb.

mod bench;
mod build;
mod demo;
mod fmt;
mod kernel;
mod lint;
mod packages;
mod setup;
mod test;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask VERB

  demo [--keep|--stop] a town hall with its five networks, guarded, on this machine
                       --keep: leave it running and print how to use it; --stop: end that
  test [FILTER]        formatting, lints, unit tests, behaviour on real packets
  bench [--quick] [--resume] [--compare OLD.json] [CELL]
                       speed beside what else one could use; --quick: under five minutes, fewer sizes and rounds;
                       CELL: only cells whose names start so; --resume: not again what an interrupted or noisy run of the
                       same commit finished; --compare: what differs from an earlier report
  build [--release]    the BPF object, then the agent with the object inside
  setup [--check]      install what building and testing need; --check: only say what is missing
  fmt                  format the sources
  lint                 rustfmt --check and clippy, warnings are errors

demo, test and bench run setup and build first.";

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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["setup"] => setup::run(setup::Extent::Everything),
        ["setup", "--check"] => setup::check(),
        ["build"] => build::run(build::Profile::Dev),
        ["build", "--release"] => build::run(build::Profile::Release),
        ["test"] => test::run(None),
        ["test", filter] if !filter.starts_with('-') => test::run(Some(filter)),
        ["demo"] => demo::run(None),
        ["demo", flag @ ("--keep" | "--stop")] => demo::run(Some(flag)),
        ["bench", arguments @ ..] => bench::run(arguments),
        ["fmt"] => fmt::run(),
        ["lint"] => lint::run(),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        other => bail!("no such verb: {}\n\n{USAGE}", other.join(" ")),
    }
}
