//! The files of a list: one, or those of a folder, and how to tell that they changed.

use std::{
    fs::{File, Metadata},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use super::guard::{Limit, Refused};
use crate::policy::lists::{Folder, Refused as NotOpened};

/// Files a folder may hold.
const MAX_FILES: usize = 128;
/// Ends of names that a download under way has.
const UNFINISHED: [&str; 4] = ["~", ".new", ".part", ".tmp"];

/// Tells one state of a file from another without reading it: path, inode, size, modification and change time.
pub(super) type Mark = (PathBuf, u64, u64, i64, i64, i64, i64);

/// One file, open.
#[derive(Debug)]
pub(super) struct Opened {
    /// As people know it.
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) mark: Mark,
}

impl Opened {
    fn new(path: PathBuf, file: File, data: &Metadata) -> Self {
        let mark = mark(&path, data);
        Self { path, file, mark }
    }

    /// Whether it is what it was when it was opened.
    pub(super) fn same(&self) -> bool {
        self.file.metadata().is_ok_and(|data| mark(&self.path, &data) == self.mark)
    }

    /// When it was written: seconds since 1970.
    pub(super) fn written(&self) -> i64 {
        self.mark.3
    }
}

fn mark(path: &Path, data: &Metadata) -> Mark {
    let (modified, changed) = ((data.mtime(), data.mtime_nsec()), (data.ctime(), data.ctime_nsec()));
    (path.to_path_buf(), data.ino(), data.len(), modified.0, modified.1, changed.0, changed.1)
}

/// The folder in which a policy's paths begin: the policy itself, or the one it is in.
pub fn folder_of(policy: &Path) -> PathBuf {
    if policy.is_dir() { policy.to_path_buf() } else { policy.parent().unwrap_or(Path::new(".")).to_path_buf() }
}

/// Opens what a policy names, inside its folder.
pub(super) fn beneath(folder: &Path, path: &Path) -> Result<Vec<Opened>, Refused> {
    let shown = folder.join(path);
    let root = Folder::open(folder)
        .map_err(|error| Refused::Unreadable { file: folder.to_path_buf(), why: error.to_string() })?;
    let open = |relative: &Path| {
        let file = folder.join(relative);
        root.any(relative).map_err(|refused| match refused {
            NotOpened::Outside => Refused::Outside { file },
            NotOpened::Io(error) => Refused::Unreadable { file, why: error.to_string() },
        })
    };
    gather(open, path, &shown)
}

/// Opens what somebody names on the command line.
pub(super) fn anywhere(path: &Path) -> Result<Vec<Opened>, Refused> {
    let open = |path: &Path| {
        // Looked at before it is opened: a FIFO would keep us waiting.
        let data = path.metadata().and_then(|data| {
            let fit = data.is_file() || data.is_dir();
            if fit { Ok(()) } else { Err(std::io::Error::other("neither a file nor a folder")) }
        });
        data.and_then(|()| File::open(path))
            .map_err(|error| Refused::Unreadable { file: path.to_path_buf(), why: error.to_string() })
    };
    gather(open, path, path)
}

fn gather(open: impl Fn(&Path) -> Result<File, Refused>, path: &Path, shown: &Path) -> Result<Vec<Opened>, Refused> {
    let unreadable =
        |file: &Path, error: std::io::Error| Refused::Unreadable { file: file.to_path_buf(), why: error.to_string() };
    let first = open(path)?;
    let data = first.metadata().map_err(|error| unreadable(shown, error))?;
    if data.is_file() {
        return Ok(vec![Opened::new(shown.to_path_buf(), first, &data)]);
    }
    // The folder that was opened, whatever its name leads to by now.
    let entries = std::fs::read_dir(format!("/proc/self/fd/{}", first.as_raw_fd()));
    let mut names = Vec::new();
    for entry in entries.map_err(|error| unreadable(shown, error))? {
        let name = entry.map_err(|error| unreadable(shown, error))?.file_name();
        let text = name.to_string_lossy();
        if !text.starts_with('.') && !UNFINISHED.iter().any(|end| text.ends_with(end)) {
            names.push(name);
        }
        if names.len() > MAX_FILES {
            return Err(Refused::TooLarge { file: shown.to_path_buf(), limit: Limit::Files(MAX_FILES) });
        }
    }
    names.sort();
    let mut files = Vec::new();
    for name in names {
        let file = open(&path.join(&name))?;
        let shown = shown.join(&name);
        let data = file.metadata().map_err(|error| unreadable(&shown, error))?;
        if data.is_file() {
            files.push(Opened::new(shown, file, &data));
        }
    }
    if files.is_empty() { Err(Refused::NoFiles { folder: shown.to_path_buf() }) } else { Ok(files) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{fs, io::Write, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_folder_is_its_finished_files() {
        let dir = tempfile::tempdir().unwrap();
        let lists = dir.path().join("lists");
        fs::create_dir_all(lists.join("sub")).unwrap();
        assert_eq!(beneath(dir.path(), Path::new("lists")).unwrap_err().code(), "no_files");
        for name in ["b.txt", "a.txt", ".hidden", "c.txt.part", "d~"] {
            fs::write(lists.join(name), "192.0.2.1\n").unwrap();
        }
        let found = beneath(dir.path(), Path::new("lists")).unwrap();
        let names: Vec<_> = found.iter().map(|file| file.path.strip_prefix(dir.path()).unwrap().to_owned()).collect();
        assert_eq!(names, [Path::new("lists/a.txt"), Path::new("lists/b.txt")]);
        assert_eq!(anywhere(&lists).unwrap().len(), 2);
        assert_eq!(anywhere(&lists.join("a.txt")).unwrap().len(), 1);
    }

    #[test]
    fn nothing_outside_the_folder_is_opened() {
        let (outside, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("x"), "192.0.2.1").unwrap();
        symlink(outside.path().join("x"), dir.path().join("link")).unwrap();
        symlink(outside.path(), dir.path().join("folder")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let code =
            |path: &str| beneath(dir.path(), Path::new(path)).map_or_else(|refused| refused.code(), |_| "opened");
        for (path, expected) in [
            ("link", "outside"),
            ("folder", "outside"),
            ("../x", "outside"),
            ("absent", "unreadable"),
            ("fifo", "unreadable"),
        ] {
            assert_eq!(code(path), expected, "{path}");
        }
        assert_eq!(anywhere(&dir.path().join("fifo")).unwrap_err().code(), "unreadable");
    }

    #[test]
    fn a_file_that_grows_is_another() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("l"), "192.0.2.1\n").unwrap();
        let [opened] = &beneath(dir.path(), Path::new("l")).unwrap()[..] else { unreachable!() };
        assert!(opened.same());
        fs::File::options().append(true).open(dir.path().join("l")).unwrap().write_all(b"192.0.2.2\n").unwrap();
        assert!(!opened.same());
    }
}
