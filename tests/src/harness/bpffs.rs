//! A folder on the BPF file system that goes when its owner does.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};

/// Where the BPF file system is mounted.
pub const ROOT: &str = "/sys/fs/bpf";

/// `/sys/fs/bpf/sk-<pid>-<number>`.
#[derive(Debug)]
pub struct PinFolder(PathBuf);

impl PinFolder {
    /// Creates an empty one.
    pub fn new() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(ROOT).join(format!("sk-{}-{number}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("creating {} (`mount -t bpf bpf {ROOT}`?)", path.display()))?;
        Ok(Self(path))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PinFolder {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes a folder with everything pinned in it.
pub(super) fn remove(path: &Path) {
    // What is already gone is what we want.
    fs::remove_dir_all(path).ok();
}
