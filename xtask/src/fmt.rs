//! `fmt`: format the sources.

use anyhow::Result;

use crate::workspace::{cargo, run as run_command};

/// Rewrites what is not in rustfmt's default style.
pub(crate) fn run() -> Result<()> {
    run_command(cargo().args(["fmt", "--all"]))
}
