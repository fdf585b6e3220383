//! `build`: the BPF object, then the agent with the object inside.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    toolchain::{TARGET, Toolchain},
    workspace::{bpf_object, bpf_target, cargo, run as run_command, target},
};

/// How the agent is built; the BPF object is always optimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build.
    Dev,
    /// What gets installed.
    Release,
}

impl Profile {
    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }

    /// The agent built this way.
    pub(crate) fn agent(self) -> PathBuf {
        target().join(self.folder()).join("sekimori")
    }

    /// Adds the flag cargo wants.
    pub(crate) fn apply(self, command: &mut Command) -> &mut Command {
        if self == Self::Release { command.arg("--release") } else { command }
    }
}

/// Both parts.
pub(crate) fn run(profile: Profile) -> Result<()> {
    bpf()?;
    run_command(profile.apply(cargo().args(["build", "-p", "sekimori", "--bin", "sekimori"])))?;
    println!("Built {}", profile.agent().display());
    Ok(())
}

/// The BPF object. Its file changes only when its contents do, so that an unchanged data plane rebuilds nothing.
pub(crate) fn bpf() -> Result<()> {
    let toolchain = Toolchain::find_or_install()?;
    run_command(toolchain.cargo_build().args(["-p", "sekimori-ebpf", "--bin", "sekimori-bpf"]))?;
    let built = bpf_target().join(TARGET).join("release/sekimori-bpf");
    let object = bpf_object();
    let new = fs::read(&built).with_context(|| format!("the build left no {}", built.display()))?;
    if fs::read(&object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::write(&object, new).with_context(|| format!("could not write {}", object.display()))
}
