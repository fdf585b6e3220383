//! `build`: the BPF objects, then the agent with the object inside.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    toolchain::{TARGET, Toolchain},
    workspace::{bpf_object, bpf_target, cargo, ruler_object, run as run_command, target},
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

/// The BPF objects: the product's, which the agent embeds, and the ruler's.
pub(crate) fn bpf() -> Result<()> {
    let toolchain = Toolchain::find_or_install()?;
    let names = ["sekimori-bpf", "sekimori-ruler"];
    run_command(toolchain.cargo_build().args(["-p", "sekimori-ebpf", "--bin", names[0], "--bin", names[1]]))?;
    for (name, object) in names.into_iter().zip([bpf_object(), ruler_object()]) {
        keep(&bpf_target().join(TARGET).join("release").join(name), &object)?;
    }
    Ok(())
}

/// Copies an object only when its contents changed, so that an unchanged data plane rebuilds nothing.
fn keep(built: &Path, object: &Path) -> Result<()> {
    let new = fs::read(built).with_context(|| format!("the build left no {}", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::write(object, new).with_context(|| format!("could not write {}", object.display()))
}
