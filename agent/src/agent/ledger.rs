//! The agent's hold on the record: it survives a record that cannot be opened, and counts what it could not write.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use crate::record::{Action, Draft, Entry, Origin, Outcome, Room, Torn};

/// Below this much free space nothing but a cut-off is done: its line might not fit any more.
const MIN_FREE: u64 = 64 * 1024;
/// Most actions that are named when lines can be written again.
const MAX_LOST: usize = 50;

/// See the module documentation.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    room: Option<Room>,
    failures: u64,
    /// What could not be written since a line last could.
    lost: Vec<String>,
}

impl Ledger {
    /// Opens the record of a state folder; a torn last line is handed out once.
    pub fn open(path: &Path) -> (Self, Result<Option<Torn>, String>) {
        let mut ledger = Self { path: path.to_path_buf(), room: None, failures: 0, lost: Vec::new() };
        let torn = ledger.reopen();
        (ledger, torn)
    }

    fn reopen(&mut self) -> Result<Option<Torn>, String> {
        match Room::open(&self.path) {
            Ok((room, torn)) => {
                self.room = Some(room);
                Ok(torn)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes one line; an error is also logged and counted, and the next line that can be written says what is missing.
    pub fn append(&mut self, draft: Draft) -> Result<Entry, String> {
        let told = format!("{:?} {}", draft.action, draft.objects.join(", "));
        let lost = std::mem::take(&mut self.lost);
        if !lost.is_empty() {
            let message = format!("could not be recorded: {}", lost.join("; "));
            let result = Outcome { ok: false, message };
            let missing = Draft::new(draft.actor.clone(), Origin::Agent, Action::Unrecorded, result);
            if let Err(why) = self.append_one(missing) {
                self.lost = lost;
                self.lose(told);
                return Err(why);
            }
        }
        let written = self.append_one(draft);
        if written.is_err() {
            self.lose(told);
        }
        written
    }

    fn lose(&mut self, what: String) {
        if self.lost.len() < MAX_LOST {
            self.lost.push(what);
        }
    }

    fn append_one(&mut self, draft: Draft) -> Result<Entry, String> {
        let opened = if self.room.is_none() { self.reopen().map(drop) } else { Ok(()) };
        let written = opened.and_then(|()| match &mut self.room {
            Some(room) => room.append(draft).map_err(|error| error.to_string()),
            None => Err(format!("the record {} is not open", self.path.display())),
        });
        if let Err(why) = &written {
            self.failures += 1;
            tracing::error!("{why}");
        }
        written
    }

    /// Whether a line can be expected to fit; asked before anything that may wait.
    pub fn ready(&mut self) -> Result<(), String> {
        if self.room.is_none() {
            self.reopen()?;
        }
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        match statvfs(folder) {
            Ok(stat) if stat.blocks_available().saturating_mul(stat.fragment_size()) < MIN_FREE => {
                Err(format!("the file system of {} is full; make room, nothing was done", self.path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Whether somebody else touched the record since this was last asked.
    pub fn disturbed(&mut self) -> bool {
        self.room.as_mut().is_some_and(|room| room.disturbed() || !room.in_place())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of the last line.
    pub fn last(&self) -> u64 {
        self.room.as_ref().map_or(0, Room::last)
    }

    /// Lines that could not be written.
    pub fn failures(&self) -> u64 {
        self.failures
    }
}
