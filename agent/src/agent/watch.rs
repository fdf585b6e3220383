//! Has the policy on disk changed? Only reported: it takes effect by `apply`.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{keeper::Live, memory, rooms};
use crate::{
    api::report::{FileState, PolicyFile},
    cli::text::Lang,
    record::room::hex,
};

/// Cheap marks of all files that make up a policy: path, inode, size, modification and change time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks(Vec<(PathBuf, u64, u64, i64, i64, i64, i64)>);

/// Compares the policy on disk with the revision in force when its marks change.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    /// Files of the last version that could be read: list files live outside the folder's listing.
    files: Vec<PathBuf>,
    last: Option<(Marks, String)>,
}

impl Watch {
    /// Of the configured policy.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), files: Vec::new(), last: None }
    }

    /// The new comparison, if there is reason for one since the last call. Reads the policy then.
    pub fn look(&mut self, live: Option<&Live>) -> Option<PolicyFile> {
        let in_force = live.map_or_else(String::new, |live| live.current.revision.hash.clone());
        let now = (self.marks(), in_force);
        if self.last.as_ref() == Some(&now) {
            return None;
        }
        let state = if now.0.0.is_empty() {
            FileState::Missing
        } else {
            match rooms::load(&self.path, Lang::En).0 {
                Some(read) => {
                    self.files.clone_from(&read.policy.files);
                    if hex(&read.policy.hash) == now.1 { FileState::Same } else { FileState::Changed }
                }
                None => FileState::Invalid,
            }
        };
        memory::give_back();
        // The list files may only be known now.
        self.last = Some((self.marks(), now.1));
        Some(PolicyFile { path: self.path.clone(), state })
    }

    fn marks(&self) -> Marks {
        let mut paths: BTreeSet<PathBuf> = self.files.iter().cloned().collect();
        if let Ok(entries) = fs::read_dir(&self.path) {
            paths.extend(entries.flatten().map(|entry| entry.path()).filter(|path| is_yaml(path)));
        } else {
            paths.insert(self.path.clone());
        }
        let marks = paths.into_iter().filter_map(|path| {
            let data = fs::metadata(&path).ok()?;
            Some((path, data.ino(), data.len(), data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec()))
        });
        Marks(marks.collect())
    }
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn looks_once_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(&dir.path().join("p"));
        assert_eq!(watch.look(None).unwrap().state, FileState::Missing);
        assert_eq!(watch.look(None), None);
        fs::create_dir(dir.path().join("p")).unwrap();
        fs::write(dir.path().join("p/a.yaml"), "nonsense: [").unwrap();
        assert_eq!(watch.look(None).unwrap().state, FileState::Invalid);
        assert_eq!(watch.look(None), None);
        fs::write(dir.path().join("p/notes.txt"), "x").unwrap();
        assert_eq!(watch.look(None), None);
        fs::write(dir.path().join("p/b.yml"), "x").unwrap();
        assert!(watch.look(None).is_some());
        fs::remove_dir_all(dir.path().join("p")).unwrap();
        assert_eq!(watch.look(None).unwrap().state, FileState::Missing);
    }
}
