//! The state folder: the revisions applied, which one is in force, and what else must survive a reboot.
//!
//! `current.json` is the revision in force, `pending.json` one that is being switched to, `detached.json` says
//! that the gate was opened on purpose, `revisions/N/files` holds the policy files of revision N as they were.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{
    api::report::Detached,
    cutoff::Request,
    policy::members::Members,
    record::{RevisionRef, durable},
};

/// The revision in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Current {
    /// Number and hash.
    pub revision: RevisionRef,
    /// Generation it has in the data plane.
    pub generation: u32,
    /// When it was applied, RFC 3339.
    pub applied_at: String,
    /// What the compiler made of it; another value after an upgrade means that it must be staged again.
    pub layout: String,
    /// Guarded interfaces and their ids, so that they can be closed even if the policy cannot be read.
    pub interfaces: Vec<(String, u16)>,
    /// The entry (file or folder) inside `revisions/N/files`.
    pub entry: PathBuf,
    /// The folder it was applied from, where the lists of others are delivered; absent in what earlier versions kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

/// What only matters until the next boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// The boot it belongs to.
    pub boot_id: String,
    /// `CLOCK_BOOTTIME` nanoseconds until which running connections are adopted.
    pub adopt_until: u64,
}

/// A file of the state folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct Error {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl Error {
    /// Whoever worked on `path` is gone.
    pub fn thread(path: &Path) -> Self {
        Self { path: path.to_path_buf(), source: io::Error::other("a thread panicked") }
    }
}

/// The kept copy of a policy.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// What to load, inside the revision's folder.
    pub entry: PathBuf,
    /// Every file has in the copy the very name by which it was read: no link led elsewhere.
    pub as_named: bool,
}

/// Bytes copied at a time.
const COPY_CHUNK: usize = 256 << 10;

/// The state folder.
#[derive(Debug, Clone)]
pub struct State {
    folder: PathBuf,
}

/// What is in force, and the same again: without it a reboot would leave the gate open.
const CURRENT: &str = "current.json";
const COPY: &str = "current.copy.json";

impl State {
    /// In this folder, which exists.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The revision in force, if one ever was.
    pub fn current(&self) -> Result<Option<Current>, Error> {
        match (self.read(CURRENT), self.read(COPY)) {
            (Err(_) | Ok(None), Ok(Some(copy))) => Ok(Some(copy)),
            (read, _) => read,
        }
    }

    /// Why [`Self::current`] says what the copy says; `None`: it does not.
    pub fn damaged(&self) -> Option<String> {
        match (self.read::<Current>(CURRENT), self.read::<Current>(COPY)) {
            (Err(error), Ok(Some(_))) => Some(error.to_string()),
            (Ok(None), Ok(Some(_))) => Some(format!("{}: it is gone", self.path(CURRENT).display())),
            _ => None,
        }
    }

    /// Another revision is in force.
    pub fn set_current(&self, current: &Current) -> Result<(), Error> {
        self.write(CURRENT, current)?;
        self.remove("pending.json")?;
        self.write(COPY, current)
    }

    /// A switch is about to happen; after a crash this says to what.
    pub fn set_pending(&self, next: &Current) -> Result<(), Error> {
        self.write("pending.json", next)
    }

    /// The switch that was about to happen when the agent last stopped.
    pub fn pending(&self) -> Result<Option<Current>, Error> {
        self.read("pending.json")
    }

    /// The switch did not happen.
    pub fn drop_pending(&self) -> Result<(), Error> {
        self.remove("pending.json")
    }

    /// Whether the gate was opened on purpose.
    pub fn detached(&self) -> Result<Option<Detached>, Error> {
        self.read("detached.json")
    }

    /// The gate is opened on purpose, or (`None`) closed again.
    pub fn set_detached(&self, detached: Option<&Detached>) -> Result<(), Error> {
        match detached {
            Some(detached) => self.write("detached.json", detached),
            None => self.remove("detached.json"),
        }
    }

    /// When a cut-off was last rehearsed.
    pub fn drilled(&self) -> Result<Option<Timestamp>, Error> {
        self.read("drill.json")
    }

    /// It was rehearsed.
    pub fn set_drilled(&self, at: Timestamp) -> Result<(), Error> {
        self.write("drill.json", &at)
    }

    /// Restorations that wait for a second person.
    pub fn requests(&self) -> Result<Vec<Request>, Error> {
        Ok(self.read("restore-requests.json")?.unwrap_or_default())
    }

    /// They are these now.
    pub fn set_requests(&self, requests: &[Request]) -> Result<(), Error> {
        if requests.is_empty() {
            self.remove("restore-requests.json")
        } else {
            self.write("restore-requests.json", &requests)
        }
    }

    /// Run-time members of groups.
    pub fn members(&self) -> Result<Members, Error> {
        Ok(self.read("members.json")?.unwrap_or_default())
    }

    /// They are these now.
    pub fn set_members(&self, members: &Members) -> Result<(), Error> {
        self.write("members.json", members)
    }

    /// What was noted during this boot.
    pub fn runtime(&self) -> Runtime {
        let boot_id = boot_id();
        match self.read::<Runtime>("runtime.json") {
            Ok(Some(runtime)) if runtime.boot_id == boot_id => runtime,
            _ => Runtime { boot_id, adopt_until: 0 },
        }
    }

    /// Notes it.
    pub fn set_runtime(&self, runtime: &Runtime) -> Result<(), Error> {
        self.write("runtime.json", runtime)
    }

    /// Where the policy of a saved revision is.
    pub fn revision_entry(&self, current: &Current) -> PathBuf {
        self.revision_folder(current.revision.number).join("files").join(&current.entry)
    }

    fn revision_folder(&self, number: u64) -> PathBuf {
        self.folder.join("revisions").join(number.to_string())
    }

    /// The number the next revision gets: one more than any ever kept or in force.
    pub fn next_number(&self) -> Result<u64, Error> {
        let folder = self.folder.join("revisions");
        let fail = |source| Error { path: folder.clone(), source };
        let mut last = self.current()?.map_or(0, |current| current.revision.number);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(last + 1),
            Err(error) => return Err(fail(error)),
        };
        for entry in entries {
            let name = entry.map_err(fail)?.file_name();
            last = last.max(name.to_str().and_then(|name| name.parse().ok()).unwrap_or(0));
        }
        Ok(last + 1)
    }

    /// Copies `files` of the policy at `source` (a file or a folder), whose contents have these `digests`, into the
    /// folder of revision `number`. Files keep their place relative to the policy's folder.
    pub fn keep_files(
        &self,
        number: u64,
        source: &Path,
        files: &[PathBuf],
        digests: &[[u8; 32]],
    ) -> Result<Kept, Error> {
        let fail = |path: &Path, source| Error { path: path.to_path_buf(), source };
        let whole = fs::canonicalize(source).map_err(|error| fail(source, error))?;
        let folder = whole.is_dir();
        let (base, entry) = if folder {
            (whole.clone(), PathBuf::from("."))
        } else {
            let name = whole.file_name().unwrap_or_default();
            (whole.parent().unwrap_or(Path::new("/")).to_path_buf(), PathBuf::from(name))
        };
        let named_from = if folder { Some(source) } else { source.parent() };
        let mut as_named = true;
        let kept = self.revision_folder(number).join("files");
        make_folder(&kept).map_err(|error| fail(&kept, error))?;
        for (file, digest) in files.iter().zip(digests) {
            let full = fs::canonicalize(file).map_err(|error| fail(file, error))?;
            let inside = full
                .strip_prefix(&base)
                .map_err(|_| fail(file, io::Error::other(format!("outside the policy folder {}", base.display()))))?;
            as_named &= named_from.and_then(|folder| file.strip_prefix(folder).ok()) == Some(inside);
            let target = kept.join(inside);
            if let Some(parent) = target.parent() {
                make_folder(parent).map_err(|error| fail(parent, error))?;
            }
            let copied = copy(&full, &target).and_then(|copied| durable::sync_parent(&target).map(|()| copied));
            if copied.map_err(|error| fail(&target, error))? != *digest {
                return Err(fail(file, io::Error::other("it changed while it was read; apply again")));
            }
        }
        durable::sync_parent(&kept).map_err(|error| fail(&kept, error))?;
        Ok(Kept { entry, as_named })
    }

    /// Forgets the copy of a revision that never came into force.
    pub fn discard_files(&self, number: u64) {
        if let Err(error) = fs::remove_dir_all(self.revision_folder(number)) {
            tracing::warn!(number, %error, "the copy of a refused revision could not be removed");
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(Error { path, source: error.into() }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error { path, source }),
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Error> {
        let path = self.path(name);
        serde_json::to_vec_pretty(value)
            .map_err(io::Error::from)
            .and_then(|bytes| durable::write(&path, &bytes))
            .map_err(|source| Error { path, source })
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Ok(()) => durable::sync_parent(&path).map_err(|source| Error { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(Error { path, source }),
        }
    }
}

/// Copies a file durably; the SHA-256 of what was written.
fn copy(from: &Path, to: &Path) -> io::Result<[u8; 32]> {
    let mut from = fs::File::open(from)?;
    let mut to = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; COPY_CHUNK]);
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        digest.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
    }
    to.sync_all()?;
    Ok(digest.finalize().into())
}

fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Names this boot of the kernel.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn current(number: u64) -> Current {
        Current {
            revision: RevisionRef { number, hash: "ab".into() },
            generation: 3,
            applied_at: "2026-11-22T00:00:00Z".into(),
            layout: "l".into(),
            interfaces: vec![("lan0".into(), 1)],
            entry: ".".into(),
            folder: None,
        }
    }

    fn digest(text: &str) -> [u8; 32] {
        Sha256::digest(text).into()
    }

    #[test]
    fn a_revision_is_kept_with_its_list_files() {
        let dir = tempfile::tempdir().unwrap();
        let policy = dir.path().join("policy");
        fs::create_dir_all(policy.join("lists")).unwrap();
        fs::write(policy.join("a.yaml"), "version: 1").unwrap();
        fs::write(policy.join("lists/cloud.txt"), "203.0.113.0/24").unwrap();
        fs::write(dir.path().join("outside"), "x").unwrap();
        let state = State::new(&dir.path().join("state"));
        let files = [policy.join("a.yaml"), policy.join("lists/cloud.txt")];
        let digests = [digest("version: 1"), digest("203.0.113.0/24")];
        assert_eq!(state.next_number().unwrap(), 1);
        let kept = state.keep_files(1, &policy, &files, &digests).unwrap();
        assert_eq!(kept, Kept { entry: PathBuf::from("."), as_named: true });
        let kept = state.revision_entry(&current(1));
        fs::write(policy.join("a.yaml"), "changed").unwrap();
        assert_eq!(fs::read_to_string(kept.join("a.yaml")).unwrap(), "version: 1");
        assert_eq!(fs::read_to_string(kept.join("lists/cloud.txt")).unwrap(), "203.0.113.0/24");
        assert_eq!(state.next_number().unwrap(), 2);
        assert!(state.keep_files(2, &policy, &files, &digests).is_err(), "another content than was read");
        assert!(state.keep_files(2, &policy, &[dir.path().join("outside")], &[digest("x")]).is_err());
        state.discard_files(2);
        assert_eq!(state.next_number().unwrap(), 2);
        let single = state.keep_files(2, &policy.join("a.yaml"), &files[..1], &[digest("changed")]).unwrap();
        assert_eq!(single, Kept { entry: PathBuf::from("a.yaml"), as_named: true });
    }

    #[test]
    fn a_link_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/b.yaml"), "x").unwrap();
        std::os::unix::fs::symlink("sub/b.yaml", dir.path().join("a.yaml")).unwrap();
        let state = State::new(&dir.path().join("state"));
        let files = [dir.path().join("a.yaml")];
        assert!(!state.keep_files(1, dir.path(), &files, &[digest("x")]).unwrap().as_named);
        assert!(!state.keep_files(2, &files[0], &files, &[digest("x")]).unwrap().as_named);
    }

    #[test]
    fn the_current_revision_survives_and_ends_the_pending_one() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::new(dir.path());
        assert_eq!(state.current().unwrap(), None);
        state.set_pending(&current(4)).unwrap();
        assert_eq!(state.pending().unwrap(), Some(current(4)));
        state.set_current(&current(4)).unwrap();
        assert_eq!(state.pending().unwrap(), None);
        assert_eq!(State::new(dir.path()).current().unwrap(), Some(current(4)));
        assert_eq!(state.next_number().unwrap(), 5);
        assert_eq!(state.damaged(), None);
        for damage in [Some("{"), None] {
            match damage {
                Some(text) => fs::write(dir.path().join(CURRENT), text).unwrap(),
                None => fs::remove_file(dir.path().join(CURRENT)).unwrap(),
            }
            assert!(state.current().unwrap().is_some(), "the copy says it as well");
            assert!(state.damaged().unwrap().contains(CURRENT));
        }
        fs::write(dir.path().join(COPY), "{").unwrap();
        fs::write(dir.path().join(CURRENT), "{").unwrap();
        assert!(state.current().is_err(), "a damaged pointer is not `no revision`");
    }
}
