//! The counters of a revision when it ended, one file each, tied to the record by their hash (law 5).

use std::{fs, io, os::unix::fs::DirBuilderExt, path::Path};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{durable, entry::SnapshotRef, room::hex};

/// Writes `counters` as JSON into `folder` (created 0700) under a name that begins with `stem`.
pub fn write(folder: &Path, stem: &str, counters: &impl Serialize) -> io::Result<SnapshotRef> {
    if !folder.exists() {
        fs::DirBuilder::new().mode(0o700).create(folder)?;
        durable::sync_parent(folder)?;
    }
    let bytes = serde_json::to_vec(counters)?;
    let sha256 = hex(&Sha256::digest(&bytes));
    let file = format!("{stem}-{}.json", &sha256[..12]);
    durable::write(&folder.join(&file), &bytes)?;
    Ok(SnapshotRef { file, sha256 })
}
