//! Notes that `sekimori-cut` leaves: it cuts without the agent, and the agent takes over.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use self::aside::aside;

use super::keeper::Caller;
use crate::{
    api::{
        protocol::CutoffAsk,
        roles::{self, Peer},
    },
    cli::text::Lang,
    cutoff::Object,
    record::{Origin, durable},
};

#[path = "../../cut/src/aside.rs"]
mod aside;

/// Longest file of notes that is read.
const MAX_BYTES: u64 = 1 << 20;

/// One note.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Note {
    /// Why.
    pub(super) reason: String,
    /// The management path too.
    #[serde(default)]
    pub(super) including_management: bool,
    uid: u32,
    pid: i32,
    objects: Vec<String>,
}

impl Note {
    /// What was cut, as far as it can be understood.
    pub(super) fn objects(&self) -> Vec<Object> {
        self.objects.iter().filter_map(|words| object_of(words)).collect()
    }

    /// Who left it.
    pub(super) fn caller(&self) -> Caller {
        let peer = Peer { uid: self.uid, gid: u32::MAX, pid: self.pid };
        Caller { actor: roles::actor(peer, "operator", None), from: Origin::Cli, lang: Lang::En }
    }
}

fn object_of(words: &str) -> Option<Object> {
    match words.split_once(' ') {
        None if words == "all" => Some(Object::All),
        Some(("network", name)) => Some(Object::Network { name: name.to_owned() }),
        Some(("zone", name)) => Some(Object::Zone { name: name.to_owned() }),
        Some(("host", name)) => Object::host(name).ok(),
        Some(("prefix", name)) => Object::prefix(name).ok(),
        _ => None,
    }
}

fn path(state: &Path) -> PathBuf {
    state.join("cut-by-hand.jsonl")
}

/// The notes being taken over: new ones go to a new file.
fn claimed(state: &Path) -> PathBuf {
    state.join("cut-by-hand.taken.jsonl")
}

/// Whether somebody left one.
pub(super) fn any(state: &Path) -> bool {
    path(state).exists() || claimed(state).exists()
}

/// All of them that can be read; they stay until [`remove`].
pub(super) fn claim(state: &Path) -> Vec<Note> {
    if !claimed(state).exists()
        && let Err(error) = fs::rename(path(state), claimed(state))
    {
        tracing::error!(%error, "the notes of sekimori-cut cannot be taken");
        return Vec::new();
    }
    let mut text = String::new();
    let read = fs::File::open(claimed(state)).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
    if let Err(error) = read {
        tracing::error!(%error, "the notes of sekimori-cut cannot be read");
    }
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Leaves one, as `sekimori-cut` does: by a command that cut and cannot reach the instance.
///
/// # Errors
/// What the disk refuses.
pub fn leave(state: &Path, ask: &CutoffAsk) -> io::Result<()> {
    let objects: Vec<String> = ask.objects.iter().map(ToString::to_string).collect();
    let line = serde_json::json!({
        "reason": ask.reason, "including_management": ask.including_management, "objects": objects,
        "uid": nix::unistd::getuid().as_raw(), "pid": std::process::id(),
    });
    aside(|| {
        let mut file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path(state))?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()?;
        durable::sync_parent(&path(state))
    })
}

/// They are taken over.
pub(super) fn remove(state: &Path) {
    match fs::remove_file(claimed(state)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(%error, "the notes of sekimori-cut cannot be removed");
        }
        _ => {}
    }
}
