//! `bench`: the agent as it is installed, the ruler, its peers; then hand over to the ruler.

use std::process::Command;

use anyhow::Result;

use crate::{
    build::{self, Profile},
    setup,
    workspace::{cargo, require_root, root, ruler_object, run as run_command, target},
};

/// Runs the benchmark; `arguments` are handed on to it.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    require_root("bench")?;
    setup::run(setup::Extent::Bench)?;
    build::run(Profile::Release)?;
    run_command(cargo().args(["build", "--quiet", "--release", "-p", "sekimori-tests", "--bin", "bench"]))?;
    let mut bench = Command::new(target().join("release/bench"));
    run_command(
        bench
            .args(arguments)
            .env("SEKIMORI_BIN", Profile::Release.agent())
            .env("SEKIMORI_RULER", ruler_object())
            .env("SEKIMORI_BENCH", target().join("bench"))
            .current_dir(root()),
    )
}
