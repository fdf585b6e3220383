//! `build`: the BPF objects, then the agent with the object inside.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
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
    companion(profile)
}

/// `sekimori-cut`, static: it must start where nothing else does.
fn companion(profile: Profile) -> Result<()> {
    let host = host()?;
    let folder = target().join("static");
    let mut build = cargo();
    build.args(["build", "-p", "sekimori-cut", "--target", &host, "--target-dir"]).arg(&folder);
    build.env("RUSTFLAGS", "-C target-feature=+crt-static");
    run_command(profile.apply(&mut build))?;
    let (built, kept) = (folder.join(&host).join(profile.folder()).join("sekimori-cut"), profile.agent());
    keep(&built, &kept.with_file_name("sekimori-cut"))?;
    make_executable(&kept.with_file_name("sekimori-cut"))
}

fn make_executable(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).with_context(|| path.display().to_string())
}

/// The target that rustc builds for by itself.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc -vV")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).context("rustc does not name its host")
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
