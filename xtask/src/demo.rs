//! `demo`: build what it needs, then hand over to the demonstration itself.

use std::process::Command;

use anyhow::Result;

use crate::{
    build::{self, Profile},
    setup,
    workspace::{cargo, require_root, root, run as run_command, target},
};

/// Runs the demonstration; `flag` is handed on to it.
pub(crate) fn run(flag: Option<&str>) -> Result<()> {
    require_root("demo")?;
    if flag != Some("--stop") {
        setup::run(setup::Extent::Demo)?;
        build::run(Profile::Dev)?;
    }
    run_command(cargo().args(["build", "--quiet", "-p", "sekimori-tests", "--bin", "demo"]))?;
    let mut demo = Command::new(target().join("debug/demo"));
    run_command(demo.args(flag).env("SEKIMORI_BIN", Profile::Dev.agent()).current_dir(root()))
}
