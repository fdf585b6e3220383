//! A network namespace that goes when its owner does.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Once,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

use super::tool;

const FOLDER: &str = "/run/netns";
/// What every name of ours starts with: `sk-<pid>-<number>-<label>`.
const PREFIX: &str = "sk-";

/// A network namespace, bound to `/run/netns/<name>` so that `nsenter --net=` reaches it. A clone is the same one; it
/// goes with the last.
#[derive(Debug, Clone)]
pub struct Ns(Arc<Bound>);

#[derive(Debug)]
struct Bound {
    name: String,
    path: PathBuf,
    handle: File,
}

impl Ns {
    /// Creates one. The loopback is up; IPv6 addresses are usable at once; nothing is forwarded; no reverse path
    /// filter second-guesses the code under test.
    pub fn new(label: &str) -> Result<Self> {
        static SWEEP: Once = Once::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        SWEEP.call_once(sweep);

        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{label}", std::process::id());
        let path = Path::new(FOLDER).join(&name);
        fs::create_dir_all(FOLDER).with_context(|| format!("creating {FOLDER} (are you root?)"))?;
        File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let bind = || -> Result<()> {
            unshare(CloneFlags::CLONE_NEWNET).context("creating a network namespace (are you root?)")?;
            mount(Some("/proc/thread-self/ns/net"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .with_context(|| format!("binding the namespace to {}", path.display()))
        };
        if let Err(error) = in_thread(bind) {
            fs::remove_file(&path).ok();
            return Err(error);
        }
        let handle = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        let ns = Self(Arc::new(Bound { name, path, handle }));
        for scope in ["all", "default"] {
            ns.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
            ns.sysctl(&format!("net/ipv6/conf/{scope}/accept_ra"), "0")?;
            ns.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
        }
        super::link::up(&ns, "lo")?;
        Ok(ns)
    }

    /// The name below `/run/netns`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// `/run/netns/<name>`.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Runs `work` on a thread inside the namespace. A socket opened there stays there, whichever thread uses it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_thread(|| {
            setns(&self.0.handle, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering {}", self.0.name))?;
            work()
        })
    }

    /// A command that will run inside the namespace. Mounts stay as they are, so that it sees the BPF file system
    /// (`ip netns exec` would hide it).
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(tool::find(program.as_ref()));
        // The clone keeps the descriptor open for as long as the command may be started.
        let ns = self.clone();
        // SAFETY: `setns` is a plain system call, allowed between fork and exec.
        unsafe {
            command.pre_exec(move || Ok(setns(&ns, CloneFlags::CLONE_NEWNET)?));
        }
        command
    }

    /// Writes below `/proc/sys`, as seen from inside.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.run(|| {
            let file = Path::new("/proc/sys").join(key);
            fs::write(&file, value).with_context(|| format!("writing {value} to {}", file.display()))
        })
    }

    /// Turns the namespace into a router for both families.
    pub fn forward(&self) -> Result<()> {
        self.sysctl("net/ipv4/ip_forward", "1")?;
        self.sysctl("net/ipv6/conf/all/forwarding", "1")
    }
}

impl AsFd for Ns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.handle.as_fd()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(work).join())
        .map_err(|_| anyhow!("the thread inside the namespace panicked; its message is above"))?
}

fn remove(path: &Path) {
    // Nothing useful can be done about a failure here; the next run sweeps again.
    umount2(path, MntFlags::MNT_DETACH).ok();
    fs::remove_file(path).ok();
}

/// Removes what runs that were killed left behind.
fn sweep() {
    for path in orphans(Path::new(FOLDER)) {
        remove(&path);
    }
    for path in orphans(Path::new(super::bpffs::ROOT)) {
        super::bpffs::remove(&path);
    }
}

/// Entries named `sk-<pid>-…` whose process is gone.
fn orphans(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let owner =
                name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
            owner
                .and_then(|pid| pid.parse::<u32>().ok())
                .is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        })
        .map(|entry| entry.path())
        .collect()
}
