//! Where things are, and how a command is run.

use std::{
    ffi::OsStr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// The clone's top folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where the BPF build keeps its own files: its compiler differs from the agent's, and sharing one folder would
/// rebuild both whenever either runs.
pub(crate) fn bpf_target() -> PathBuf {
    target().join("bpf")
}

/// The object the agent embeds.
pub(crate) fn bpf_object() -> PathBuf {
    bpf_target().join("sekimori.bpf.o")
}

/// The object with the benchmark's own programs.
pub(crate) fn ruler_object() -> PathBuf {
    bpf_target().join("sekimori-ruler.bpf.o")
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Tools built or unpacked for this user; outlives the clone, so that a second clone is quick.
pub(crate) fn tools() -> Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => {
            PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set: set one of them")?)
                .join(".cache")
        }
    };
    Ok(cache.join("sekimori/tools"))
}

/// Whether this process may administer the machine.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// Stops with what to type instead, unless root.
pub(crate) fn require_root(verb: &str) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    bail!(
        "`cargo xtask {verb}` needs root: it creates network namespaces and loads BPF programs.\n\
         It touches nothing outside its own namespaces. Run:\n\n    \
         sudo --preserve-env=HOME,PATH env \"PATH=$PATH\" cargo xtask {verb}"
    )
}

/// The file `name` in PATH, in the system folders an ordinary PATH leaves out, or among our own tools.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .chain(tools().ok().map(|tools| tools.join("bin")))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// A cargo command in the clone, without what an outer cargo put into the environment.
pub(crate) fn cargo() -> Command {
    // Not $CARGO: that is one toolchain's cargo, which does not understand `+nightly`.
    let mut command = Command::new("cargo");
    command.current_dir(root());
    for name in ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        // The agent's build script looks below the clone's own target folder only.
        command.env("SEKIMORI_BPF_OBJECT", bpf_object());
    }
    command
}

/// Runs to the end with our output; an error says what was run.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("could not start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Standard output, if the command exists and succeeds.
pub(crate) fn output_of(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as somebody would type it.
pub(crate) fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
