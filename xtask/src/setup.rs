//! `setup`: from a fresh machine to one that builds, demonstrates and tests.

use anyhow::Result;

use crate::{
    kernel,
    packages::{self, BENCH_TOOLS, DEMO_TOOLS, TEST_TOOLS, UNPACKED_TOOLS},
    toolchain::{self, Toolchain},
    workspace::is_root,
};

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What the demonstration needs.
    Demo,
    /// That and what the tests need.
    Everything,
    /// What the benchmark needs: its peers, and what it measures them with.
    Bench,
}

/// Installs what is missing, saying so first; then checks the kernel.
pub(crate) fn run(extent: Extent) -> Result<()> {
    let mut tools = DEMO_TOOLS.to_vec();
    if extent != Extent::Demo {
        tools.extend(TEST_TOOLS);
    }
    if extent == Extent::Bench {
        tools.extend(BENCH_TOOLS);
    }
    packages::install(&packages::missing_tools(&tools), "running on real packets")?;
    if extent == Extent::Everything {
        packages::unpack(UNPACKED_TOOLS)?;
    }
    let toolchain = Toolchain::find_or_install()?;
    println!("BPF toolchain: {}", toolchain.describe());
    kernel::mount_bpffs()?;
    kernel::require()
}

/// Says what `run` would do and what the kernel lacks; installs nothing.
pub(crate) fn check() -> Result<()> {
    let mut lines: Vec<_> = packages::missing_tools(&[DEMO_TOOLS, TEST_TOOLS, UNPACKED_TOOLS].concat())
        .into_iter()
        .map(|package| format!("package {package}"))
        .chain(toolchain::missing())
        .map(|thing| format!("would install {thing}"))
        .collect();
    lines.extend(kernel::missing());
    if !is_root() {
        lines.push("not root: namespaces, the BPF file system and nftables were not tried".into());
    }
    if let Some(toolchain) = Toolchain::find() {
        println!("BPF toolchain: {}", toolchain.describe());
    }
    if lines.is_empty() {
        println!("Nothing is missing.");
        return Ok(());
    }
    anyhow::bail!("not ready:\n  - {}", lines.join("\n  - "))
}
