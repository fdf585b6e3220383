//! psad, the port scan attack detector: it reads what iptables logs and blocks by itself. Set as strictly as it goes: every new
//! conversation is logged, it looks each second (five as it comes), and five packets are enough.
//!
//! Measured where it is installed: its package brings a mail server along, which a benchmark has no business to install.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use jiff::Zoned;
use sekimori_tests::harness::{netns::Ns, tool};
use tempfile::TempDir;

/// The kernel logs what namespaces other than the first one want logged only if this is 1.
const LOG_OF_ALL: &str = "/proc/sys/net/netfilter/nf_log_all_netns";
/// It reads its signatures first.
const START: Duration = Duration::from_secs(60);
const COMMAND: Duration = Duration::from_secs(10);
/// How often the kernel's log is read.
const LOOK: Duration = Duration::from_millis(20);
/// It looks each second; a block is in force within this if there is to be one.
const BLOCKED: Duration = Duration::from_secs(5);

/// One that watches a gateway; ends when dropped.
pub(crate) struct Psad {
    ns: Ns,
    process: Child,
    stop: Arc<AtomicBool>,
    logger: Option<JoinHandle<Result<()>>>,
    _folder: TempDir,
}

/// While it lives the kernel logs for every namespace; then as before.
pub(crate) struct HeardByAll(String);

impl HeardByAll {
    pub(crate) fn set() -> Result<Self> {
        let before = fs::read_to_string(LOG_OF_ALL).with_context(|| format!("reading {LOG_OF_ALL}"))?;
        fs::write(LOG_OF_ALL, "1").with_context(|| format!("writing {LOG_OF_ALL}"))?;
        Ok(Self(before))
    }
}

impl Drop for HeardByAll {
    fn drop(&mut self) {
        if let Err(error) = fs::write(LOG_OF_ALL, &self.0) {
            eprintln!("{LOG_OF_ALL} stays 1: {error}");
        }
    }
}

/// Whether there is one.
pub(crate) fn installed() -> bool {
    tool::find(Path::new("psad")).is_absolute()
}

impl Psad {
    /// A gateway with iptables that lets out what comes from `inside` (a prefix behind `lan0`), logs it, and psad beside it.
    /// [`HeardByAll`] must live meanwhile.
    pub(crate) fn start(ns: &Ns, inside: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("DROP-{}:", NUMBER.fetch_add(1, Ordering::Relaxed));
        for rule in [
            "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT".to_owned(),
            format!("-i lan0 -j LOG --log-level 7 --log-tcp-options --log-prefix {prefix}"),
            "-m conntrack --ctstate INVALID -j DROP".into(),
            format!("-i lan0 ! -s {inside} -j DROP"),
            "-i lan0 -j ACCEPT".into(),
        ] {
            iptables(ns, &format!("-A FORWARD {rule}"))?;
        }
        let folder = tempfile::Builder::new().prefix("sk-psad-").tempdir()?;
        let (messages, said) = (folder.path().join("messages"), folder.path().join("said"));
        File::create(&messages)?;
        let config = configure(folder.path(), &messages)?;
        let stop = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&stop);
        let mut kernel = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
        kernel.seek(SeekFrom::End(0))?;
        let logger = thread::spawn(move || log(kernel, &messages, &prefix, &ending));
        let mut command = ns.command("psad");
        command.args(["--debug", "--no-daemon", "--no-whois", "--no-rdns", "-O"]).arg(config);
        let out = File::create(&said)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let process = command.spawn().context("starting psad")?;
        let psad = Self { ns: ns.clone(), process, stop, logger: Some(logger), _folder: folder };
        tool::until("psad to watch", START, || {
            Ok(fs::read_to_string(&said)?.contains("MAIN: number of new packets").then_some(()))
        })?;
        Ok(psad)
    }

    /// What it came to.
    pub(crate) fn said(&self) -> &'static str {
        let blocked = tool::until("a block", BLOCKED, || {
            let rules = iptables(&self.ns, "-S")?;
            Ok(rules.contains("-A PSAD_BLOCK_FORWARD -s").then_some(()))
        });
        if blocked.is_ok() { "blocked in the end" } else { "not blocked" }
    }
}

impl Drop for Psad {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.process.kill().ok();
        self.process.wait().ok();
        self.stop.store(true, Ordering::Release);
        if let Some(logger) = self.logger.take()
            && let Ok(Err(error)) = logger.join()
        {
            eprintln!("psad read no more: {error:#}");
        }
    }
}

/// The old iptables: psad cannot read its own chains through the new one.
fn iptables(ns: &Ns, arguments: &str) -> Result<String> {
    let mut command = ns.command("iptables-legacy");
    command.arg("-w").args(arguments.split_whitespace());
    Ok(tool::must(&mut command, COMMAND)?.out)
}

fn configure(folder: &Path, messages: &Path) -> Result<PathBuf> {
    for name in ["run", "fifo", "errs"] {
        fs::create_dir(folder.join(name))?;
    }
    let (here, messages) = (folder.display(), messages.display());
    let iptables = tool::find(Path::new("iptables-legacy"));
    let text = format!(
        "HOSTNAME gate;
ENABLE_AUTO_IDS Y;
AUTO_IDS_DANGER_LEVEL 1;
PORT_RANGE_SCAN_THRESHOLD 0;
CHECK_INTERVAL 1;
ALERTING_METHODS noemail;
AUTO_DETECT_JOURNALCTL N;
ENABLE_FW_MSG_READ_CMD N;
ENABLE_SYSLOG_FILE Y;
IPT_SYSLOG_FILE {messages};
ENABLE_INTF_LOCAL_NETS N;
ENABLE_FW_LOGGING_CHECK N;
IPTABLES_PREREQ_CHECK 0;
PSAD_DIR {here};
PSAD_RUN_DIR {here}/run;
PSAD_FIFO_DIR {here}/fifo;
iptablesCmd {};
",
        iptables.display()
    );
    let path = folder.join("psad.conf");
    fs::write(&path, text)?;
    Ok(path)
}

/// Does what a syslog daemon does: the kernel's lines with this prefix, in the usual form.
fn log(mut kernel: File, messages: &Path, prefix: &str, stop: &AtomicBool) -> Result<()> {
    let mut messages = OpenOptions::new().append(true).open(messages)?;
    let mut record = [0; 8192];
    while !stop.load(Ordering::Acquire) {
        let length = match kernel.read(&mut record) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(LOOK);
                continue;
            }
            // What was overwritten before it was read is lost, as it is for a syslog daemon.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => continue,
            Err(error) => return Err(error).context("reading the kernel's log"),
        };
        let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default()).into_owned();
        let (_, text) = text.split_once(';').ok_or_else(|| anyhow!("a record without text: {text}"))?;
        let line = text.lines().next().unwrap_or_default();
        if let Some(rest) = line.strip_prefix(prefix) {
            writeln!(messages, "{} gate kernel: [1.0] DROP {rest}", Zoned::now().strftime("%b %e %H:%M:%S"))?;
        }
    }
    Ok(())
}
