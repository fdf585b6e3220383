//! What must be true before the agent touches anything, each with what to do if it is not.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

/// First kernel with TCX.
pub const KERNEL: (u32, u32) = (6, 6);

/// The machine is not ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not root.
    #[error(
        "root is needed (uid {uid}): loading BPF programs and nftables rules takes CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN; use sudo"
    )]
    NotRoot {
        /// Who runs it.
        uid: u32,
    },
    /// Too old.
    #[error("kernel {found} is older than {}.{} (TCX is missing); on Debian 12: apt install -t bookworm-backports linux-image-amd64, then reboot", KERNEL.0, KERNEL.1)]
    Kernel {
        /// The release as the kernel gives it.
        found: String,
    },
    /// No bpffs.
    #[error(
        "{path} is not on a bpffs; mount one: mount -t bpf bpf /sys/fs/bpf (and use nsenter --net instead of `ip netns exec`, which hides it)"
    )]
    Bpffs {
        /// The folder that should be one.
        path: PathBuf,
    },
    /// Another agent.
    #[error("another agent or command works on {path}; stop it, or name another instance with --config")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A folder or file.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Root.
pub fn root() -> Result<(), Error> {
    let uid = nix::unistd::geteuid();
    if uid.is_root() { Ok(()) } else { Err(Error::NotRoot { uid: uid.as_raw() }) }
}

/// New enough.
pub fn kernel() -> Result<(), Error> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if new_enough(&release) { Ok(()) } else { Err(Error::Kernel { found: release.trim().to_owned() }) }
}

fn new_enough(release: &str) -> bool {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    version >= KERNEL
}

/// The parent of the pin folder (or its nearest existing ancestor) is on a bpffs.
pub fn bpffs(pins: &Path) -> Result<(), Error> {
    let mut folder = pins;
    while !folder.exists() {
        match folder.parent() {
            Some(parent) => folder = parent,
            None => break,
        }
    }
    match statfs(folder) {
        Ok(stat) if stat.filesystem_type() == BPF_FS_MAGIC => Ok(()),
        _ => Err(Error::Bpffs { path: folder.to_path_buf() }),
    }
}

/// The state folder, private.
pub fn state_folder(path: &Path) -> Result<(), Error> {
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
    // A disk that went read-only has it as it was, and must not keep a cut from taking effect.
    if fs::metadata(path).map_err(io)?.permissions().mode() & 0o7777 == 0o700 {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(io)
}

/// How often a lock that somebody has is tried again.
const LOOK: Duration = Duration::from_millis(20);

/// Held as long as somebody may change the instance; the kernel lets go of it when the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes the lock of the state folder as soon as whoever has it lets go, or says after `patience` that somebody has it.
    /// Blocks the thread.
    pub fn wait(state: &Path, patience: Duration) -> Result<Self, Error> {
        let deadline = Instant::now() + patience;
        loop {
            match Self::take(state) {
                Err(Error::Locked { .. }) if Instant::now() < deadline => thread::sleep(LOOK),
                taken => return taken,
            }
        }
    }

    /// Takes the lock of the state folder, or says that somebody has it.
    pub fn take(state: &Path) -> Result<Self, Error> {
        let path = state.join("lock");
        let io = |source| Error::Io { path: path.clone(), source };
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = match file {
            // Whoever can read it can hold it as well.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(&path),
            other => other,
        };
        let file = file.map_err(io)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(Error::Locked { path }),
            Err((_, errno)) => Err(io(errno.into())),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn kernels() {
        for good in ["6.6.0", "6.12.1-amd64", "6.18.44-fc-v595\n", "7.0"] {
            assert!(new_enough(good), "{good}");
        }
        for bad in ["6.5.99", "5.15.0-91-generic", "6.1.0-18-amd64", "", "x"] {
            assert!(!new_enough(bad), "{bad}");
        }
    }

    #[test]
    fn one_holder_at_a_time_and_a_private_folder() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/b");
        state_folder(&state).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
        let held = Lock::take(&state).unwrap();
        assert!(matches!(Lock::take(&state), Err(Error::Locked { .. })));
        let short = Duration::from_millis(50);
        assert!(matches!(Lock::wait(&state, short), Err(Error::Locked { .. })));
        let waiting = {
            let state = state.clone();
            thread::spawn(move || Lock::wait(&state, Duration::from_secs(10)).is_ok())
        };
        thread::sleep(short);
        drop(held);
        assert!(waiting.join().unwrap());
        assert!(Lock::take(&state).is_ok());
    }

    #[test]
    fn a_plain_folder_is_no_bpffs() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(bpffs(&dir.path().join("x/y")), Err(Error::Bpffs { .. })));
    }
}
