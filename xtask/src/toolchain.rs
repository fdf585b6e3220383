//! The compiler and linker of the BPF programs: the user's own nightly, or Debian's.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    packages,
    workspace::{bpf_target, cargo, find_program, output_of, run, tools},
};

/// LLVM that Debian's rustc-web is built on; bpf-linker must be built on the same or a newer one.
const LLVM: &str = "22";
/// bpf-linker that goes with it.
const LINKER_VERSION: &str = "0.13.0";
/// Debian's compiler. Its package diverts nothing: it does not disturb a rustup toolchain, which comes first in PATH.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Where Debian puts a precompiled `core` for BPF.
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";
/// Debian's compiler with `core` for BPF, and what bpf-linker links against.
const DEBIAN_PACKAGES: &[&str] = &[
    "rustc-web",
    "libstd-rust-web-dev-bpf",
    "llvm-22-dev",
    "libpolly-22-dev",
    "zlib1g-dev",
    "libzstd-dev",
    // The C++ side of LLVM's headers and the linker driver.
    "g++",
];
/// The BPF target.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// A way to build for BPF.
#[derive(Debug)]
pub(crate) enum Toolchain {
    /// A rustup nightly that has the sources of `core`.
    Nightly {
        /// As rustup names it.
        name: String,
        linker: PathBuf,
    },
    /// Debian's rustc with `core` precompiled.
    Debian { linker: PathBuf },
}

impl Toolchain {
    /// What is there, if it is complete. The user's own nightly comes first.
    pub(crate) fn find() -> Option<Self> {
        Self::find_nightly().or_else(Self::find_debian)
    }

    /// What is there, or Debian's after installing it.
    pub(crate) fn find_or_install() -> Result<Self> {
        if let Some(found) = Self::find() {
            return Ok(found);
        }
        install_debian().context(
            "no toolchain can build the BPF programs. Either let this command install Debian's, or install your own:\n\n    \
             rustup toolchain install nightly --component rust-src\n    cargo install bpf-linker\n",
        )?;
        Self::find_debian()
            .context("the BPF toolchain is still incomplete after installing it; `cargo xtask setup --check` says what is missing")
    }

    fn find_nightly() -> Option<Self> {
        let linker = own_linker()?;
        let listed = output_of("rustup", &["toolchain", "list", "--verbose"])?;
        // A toolchain's name promises nothing: a nightly without rust-src cannot build `core`.
        let name = listed.lines().find_map(|line| {
            let name = line.split_whitespace().next()?;
            let folder = line.split_whitespace().last()?;
            let has_source = Path::new(folder).join("lib/rustlib/src/rust/library/core").is_dir();
            let is_nightly = || {
                output_of(Path::new(folder).join("bin/rustc"), &["--version"])
                    .is_some_and(|version| version.contains("nightly"))
            };
            (has_source && is_nightly()).then(|| name.to_owned())
        })?;
        Some(Self::Nightly { name, linker })
    }

    fn find_debian() -> Option<Self> {
        let complete = Path::new(DEBIAN_RUSTC).is_file() && Path::new(DEBIAN_CORE).is_dir();
        let linker = built_linker().or_else(own_linker)?;
        complete.then_some(Self::Debian { linker })
    }

    /// One line for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Nightly { name, linker } => format!("rustup's {name}, {}", linker.display()),
            Self::Debian { linker } => {
                format!("Debian's rustc ({DEBIAN_RUSTC}), {}", linker.display())
            }
        }
    }

    /// `cargo build` for BPF, without the package arguments.
    pub(crate) fn cargo_build(&self) -> Command {
        let mut command = cargo();
        let linker = match self {
            Self::Nightly { name, linker } => {
                command.arg(format!("+{name}"));
                command.env_remove("RUSTC");
                linker
            }
            Self::Debian { linker } => {
                // aya-ebpf asks for one gated feature.
                command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                linker
            }
        };
        command.args(["build", "--release", "--target", TARGET]);
        if matches!(self, Self::Nightly { .. }) {
            command.args(["-Z", "build-std=core"]);
        }
        command
            .arg("--target-dir")
            .arg(bpf_target())
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
            // BTF comes from debug information; without it map definitions and kernel types are unknown.
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS", "-Cdebuginfo=2 -Clink-arg=--btf")
            // Flags meant for the host would replace the ones above.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTC_WORKSPACE_WRAPPER");
        command
    }
}

/// What `setup` would have to do, for `setup --check`.
pub(crate) fn missing() -> Vec<String> {
    if Toolchain::find().is_some() {
        return Vec::new();
    }
    let mut missing: Vec<_> =
        packages::missing_packages(DEBIAN_PACKAGES).into_iter().map(|name| format!("package {name}")).collect();
    if built_linker().or_else(own_linker).is_none() {
        missing.push(format!("bpf-linker {LINKER_VERSION}"));
    }
    missing
}

fn install_debian() -> Result<()> {
    packages::install(&packages::missing_packages(DEBIAN_PACKAGES), "building BPF programs")?;
    if !Path::new(DEBIAN_CORE).is_dir() {
        bail!("{DEBIAN_CORE} does not exist: this distribution does not ship Rust's core library for BPF");
    }
    if built_linker().is_some() {
        return Ok(());
    }
    let root = tools()?;
    println!("Building bpf-linker {LINKER_VERSION} into {} (once; a minute or two)", root.display());
    run(cargo()
        .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--quiet", "--no-default-features"])
        .args(["--features", &format!("llvm-{LLVM}"), "--root"])
        .arg(&root)
        // Not the clone's: its profile and lints do not concern a tool.
        .current_dir("/")
        .env("LLVM_PREFIX", format!("/usr/lib/llvm-{LLVM}"))
        // Nearly all of its work is done inside LLVM, which comes compiled.
        .envs([
            ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
            ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
            ("CARGO_PROFILE_RELEASE_LTO", "off"),
        ])
        .env_remove("CARGO_TARGET_DIR"))
}

/// The one we built.
fn built_linker() -> Option<PathBuf> {
    let linker = tools().ok()?.join("bin/bpf-linker");
    output_of(&linker, &["--version"]).map(|_| linker)
}

/// The user's own.
fn own_linker() -> Option<PathBuf> {
    let linker = find_program("bpf-linker")?;
    output_of(&linker, &["--version"]).map(|_| linker)
}
