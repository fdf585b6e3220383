//! `demo`: build what it needs, then hand over to the demonstration itself.

use anyhow::Result;

use crate::{
    build::{self, Profile},
    setup,
    workspace::{cargo, require_root, run as run_command, target},
};

/// Runs the demonstration; `keep` leaves its namespaces and the agent running.
pub(crate) fn run(keep: bool) -> Result<()> {
    require_root("demo")?;
    setup::run(setup::Extent::Demo)?;
    build::run(Profile::Dev)?;
    run_command(cargo().args(["build", "-p", "sekimori-tests", "--bin", "demo"]))?;
    let mut demo = std::process::Command::new(target().join("debug/demo"));
    demo.env("SEKIMORI_BIN", Profile::Dev.agent()).current_dir(crate::workspace::root());
    if keep {
        demo.arg("--keep");
    }
    run_command(&mut demo)
}
