//! `lint`: what must hold before anything is run.

use anyhow::{Context as _, Result};

use crate::{
    build,
    workspace::{bpf_object, cargo, run as run_command},
};

const COMPONENTS: &str = "if cargo does not know the command: `rustup component add rustfmt clippy`";

/// Both.
pub(crate) fn run() -> Result<()> {
    format()?;
    if !bpf_object().exists() {
        // The agent embeds it, and clippy compiles the agent.
        build::bpf()?;
    }
    clippy()
}

/// rustfmt has nothing to change.
pub(crate) fn format() -> Result<()> {
    run_command(cargo().args(["fmt", "--all", "--check"])).context(COMPONENTS)
}

/// clippy has nothing to say, tests included.
pub(crate) fn clippy() -> Result<()> {
    run_command(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])).context(COMPONENTS)
}
