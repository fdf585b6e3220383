//! The note for the agent: one line in the state folder, on disk when this returns.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;

use crate::aside::aside;

/// The agent reads and removes it.
const FILE: &str = "cut-by-hand.jsonl";

/// Leaves it.
pub(crate) fn leave(state: &Path, reason: &str, including_management: bool, objects: &[String]) -> io::Result<()> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // SAFETY: no arguments, cannot fail.
    let uid = unsafe { libc::getuid() };
    let reason: String = reason.chars().take(1_000).collect();
    let line = json!({ "time": seconds, "uid": uid, "pid": std::process::id(), "reason": reason,
        "including_management": including_management, "objects": objects });
    aside(|| {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(state.join(FILE))?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()?;
        File::open(state)?.sync_all()
    })
}
