//! The ruler: Sekimori and what a user would pick instead, side by side on the same packets, one core, in-kernel clock.
//!
//! Started by `cargo xtask bench`. Ratios are the result and nanoseconds the context; figures of different runs are
//! not comparable.

mod apply;
mod attacks;
mod bench;
mod cell;
mod conntrack;
mod cores;
mod cutoff;
mod entry;
mod environment;
mod figure;
mod gateway;
mod goodput;
mod idle;
mod kept;
mod lists;
mod opening;
mod options;
mod plan;
mod process;
mod psad;
mod random;
mod replace;
mod report;
mod ruler;
mod sampling;
mod stage;
mod subject;
mod table;
mod target;
mod traffic;

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, Result};

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
    let (env, outcome) = bench::run(&options)?;
    let targets = target::judge(&outcome);
    println!("\n## Targets\n\n{}", target::render(&targets, outcome.noisy));
    let report = report::json(&env, &outcome, &targets);
    println!("Report: {}", report::write(&report)?.display());
    if let Some(old) = &options.compare {
        println!("{}", report::compare(old, &report)?.join("\n"));
    }
    if outcome.noisy {
        println!(
            "noisy: the floors of too few rounds agree; nothing is judged. `--resume` measures again what was noisy, and only that."
        );
    }
    if options.quick {
        println!("This was --quick: fewer sizes, rounds and samples. {PAGE} is written by a full run only.");
    } else if options.is_full() && !outcome.noisy {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
        std::fs::write(&page, report::page(&env, &outcome, &targets)).with_context(|| format!("writing {PAGE}"))?;
        println!("Wrote {PAGE}.");
    }
    Ok(())
}

/// The published page.
const PAGE: &str = "docs/benchmarks.md";
