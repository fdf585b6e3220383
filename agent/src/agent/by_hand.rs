//! Notes that `sekimori-cut` leaves: it cuts without the agent, and the agent takes over.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::keeper::Caller;
use crate::{
    api::roles::{self, Peer},
    cli::text::Lang,
    cutoff::Object,
    record::Origin,
};

/// Longest file of notes that is read.
const MAX_BYTES: u64 = 1 << 20;

/// One note.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Note {
    /// Why.
    pub(super) reason: String,
    uid: u32,
    pid: i32,
    objects: Vec<String>,
}

impl Note {
    /// Whether it is about this object.
    pub(super) fn names(&self, object: &Object) -> bool {
        self.objects.iter().filter_map(|words| object_of(words)).any(|its| its.is(object))
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

/// Whether somebody left one.
pub(super) fn any(state: &Path) -> bool {
    path(state).exists()
}

/// All of them that can be read; the cut itself is in the tables.
pub(super) fn read(state: &Path) -> Vec<Note> {
    let mut text = String::new();
    let read = fs::File::open(path(state)).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(%error, "the notes of sekimori-cut cannot be read");
        }
        _ => {}
    }
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// They are taken over.
pub(super) fn remove(state: &Path) {
    match fs::remove_file(path(state)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(%error, "the notes of sekimori-cut cannot be removed");
        }
        _ => {}
    }
}
