//! The agent under test: the built program, inside a gateway's namespace.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    bpffs::PinFolder,
    netns::Ns,
    tool::{self, Said},
};

/// Loading and verifying the programs takes most of it, more so while other tests run.
const START: Duration = Duration::from_secs(30);
/// From enforcing to serving metrics.
const METRICS_OPEN: Duration = Duration::from_secs(5);
/// Any single command.
const COMMAND: Duration = Duration::from_secs(30);
/// Where metrics are served, inside the namespace.
pub const METRICS: &str = "127.0.0.1:9464";

/// The agent's configuration, as far as tests change it.
#[derive(Debug, Clone)]
pub struct Config {
    /// The policy: a file or a folder.
    pub policy: PathBuf,
    /// Management paths, in the configuration's own words.
    pub management: Value,
    /// `native`, `generic` or `any`.
    pub xdp: &'static str,
    /// How long running connections are adopted after the first attachment.
    pub adopt_seconds: u32,
    /// Anything else at the top level of the configuration.
    pub extra: Vec<(&'static str, Value)>,
    /// Variables of the process's environment.
    pub environment: Vec<(&'static str, OsString)>,
}

impl Config {
    /// With this policy, native XDP, no management path, no adoption.
    pub fn new(policy: impl Into<PathBuf>) -> Self {
        Self {
            policy: policy.into(),
            management: json!([]),
            xdp: "native",
            adopt_seconds: 0,
            extra: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// One instance, with folders of its own. Dropping it opens the gate and removes everything it pinned.
#[derive(Debug)]
pub struct Agent {
    ns: Ns,
    // Before the folders, which must still exist when the process ends.
    process: Option<Child>,
    folder: TempDir,
    pins: PinFolder,
    environment: Vec<(&'static str, OsString)>,
}

impl Agent {
    /// Starts the agent and waits until it enforces.
    pub fn start(ns: &Ns, config: &Config) -> Result<Self> {
        let mut agent = Self::prepare(ns, config)?;
        agent.spawn()?;
        agent.wait_until_enforcing()?;
        Ok(agent)
    }

    /// Writes the configuration; nothing runs yet.
    pub fn prepare(ns: &Ns, config: &Config) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sk-agent-").tempdir()?;
        let pins = PinFolder::new()?;
        let policy = config.policy.canonicalize().with_context(|| format!("the policy {}", config.policy.display()))?;
        let mut text = json!({
            "instance": "test",
            "policy": policy,
            "state": folder.path().join("state"),
            "bpffs": pins.path().join("sekimori"),
            "socket": folder.path().join("control.sock"),
            "metrics": METRICS,
            "management": config.management,
            "xdp": config.xdp,
            "adopt_seconds": config.adopt_seconds,
            // Many instances run side by side, and kernel memory for tables is paid up front.
            "flows": {"established": 8192, "opening": 2048},
        });
        for (name, value) in &config.extra {
            text[*name] = value.clone();
        }
        // JSON is YAML.
        fs::write(folder.path().join("agent.yaml"), serde_json::to_vec_pretty(&text)?)?;
        Ok(Self { ns: ns.clone(), process: None, folder, pins, environment: config.environment.clone() })
    }

    /// Starts the process without waiting for it.
    pub fn spawn(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = self.ns.command(program()?);
        command
            .args(["agent", "--config"])
            .arg(self.config_path())
            // Its output goes to a file that people read.
            .env("NO_COLOR", "1")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        die_with_this_thread(&mut command);
        self.process = Some(command.spawn().context("starting the agent")?);
        Ok(())
    }

    /// Polls `sekimori status` until it says that every guarded interface is judged.
    pub fn wait_until_enforcing(&mut self) -> Result<()> {
        let waited = tool::until("the agent to enforce", START, || {
            if let Some(child) = &mut self.process
                && let Some(status) = child.try_wait()?
            {
                // The error ends the wait at the deadline only; a dead process will not come back.
                return Ok(Some(Err(status)));
            }
            // A command that finds no agent works on the state itself, and would keep a starting agent from it.
            if UnixStream::connect(self.socket_path()).is_err() {
                return Ok(None);
            }
            let said = self.cli(["status", "--format", "json"])?;
            if said.ok() { Ok(Some(Ok(()))) } else { bail!("status: {:?} {}{}", said.code, said.out, said.err) }
        });
        match waited {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => bail!("the agent ended by itself ({status}); it said:\n{}", self.log()),
            Err(error) => Err(error.context(format!("the agent said:\n{}", self.log()))),
        }
    }

    /// Runs the command line against this instance, in its namespace.
    pub fn cli<'b>(&self, arguments: impl IntoIterator<Item = &'b str>) -> Result<Said> {
        let mut command = self.ns.command(program()?);
        command.args(arguments).env("SEKIMORI_CONFIG", self.config_path()).env("LANG", "C.UTF-8");
        tool::run(&mut command, COMMAND)
    }

    /// The same with `--format json`, parsed; the exit code beside it.
    pub fn json<'b>(&self, arguments: impl IntoIterator<Item = &'b str>) -> Result<(Option<i32>, Value)> {
        let said = self.cli(arguments.into_iter().chain(["--format", "json"]))?;
        let value = serde_json::from_str(&said.out)
            .with_context(|| format!("not JSON: {:?} (stderr: {:?})", said.out, said.err))?;
        Ok((said.code, value))
    }

    /// Puts a policy in force; an error carries what `apply` said.
    pub fn apply(&self, policy: &Path) -> Result<Value> {
        let policy = policy.to_str().context("policy paths of tests are UTF-8")?;
        let said = self.cli(["apply", policy, "--format", "json"])?;
        if !said.ok() {
            bail!("apply {policy}: {:?}\n{}{}", said.code, said.out, said.err);
        }
        serde_json::from_str(&said.out).with_context(|| format!("not JSON: {:?}", said.out))
    }

    /// `kill -9`: what stays enforced is what is pinned.
    pub fn kill9(&mut self) -> Result<()> {
        self.end(Signal::SIGKILL)
    }

    /// Asks the process to end, as a service manager does. The gate stays shut.
    pub fn stop(&mut self) -> Result<()> {
        self.end(Signal::SIGTERM)
    }

    /// Ends the process if it runs, starts a new one on the same state, and waits until it enforces.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.spawn()?;
        self.wait_until_enforcing()
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().context("the agent is not running")?;
        Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
    }

    /// What the metrics address serves. It opens a moment after the control socket does.
    pub fn metrics(&self) -> Result<String> {
        tool::until("metrics", METRICS_OPEN, || self.scrape().map(Some))
    }

    fn scrape(&self) -> Result<String> {
        let mut curl = self.ns.command("curl");
        curl.args(["-sS", "--fail", "--noproxy", "*", "--max-time", "5", &format!("http://{METRICS}/metrics")]);
        Ok(tool::must(&mut curl, COMMAND)?.out)
    }

    /// Everything the processes of this instance wrote.
    pub fn log(&self) -> String {
        fs::read(self.log_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("agent.yaml")
    }

    /// The state folder.
    pub fn state_path(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Where this instance pins.
    pub fn pins_path(&self) -> PathBuf {
        self.pins.path().join("sekimori")
    }

    /// The control socket.
    pub fn socket_path(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("agent.log")
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let Some(mut child) = self.process.take() else { return Ok(()) };
        // It may have ended by itself.
        if child.try_wait()?.is_none() {
            kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        }
        if tool::wait(&mut child, START)?.is_none() && signal != Signal::SIGKILL {
            bail!("the agent did not end within {START:?} of {signal}; it said:\n{}", self.log());
        }
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Errors are shown, not raised: this may run while a failed test unwinds.
        if let Err(error) = self.stop() {
            eprintln!("stopping the agent: {error:#}");
        }
        let anything = fs::read_dir(self.pins.path()).is_ok_and(|mut entries| entries.next().is_some());
        if anything && let Err(error) = self.cli(["detach", "--reason", "end of the test"]) {
            eprintln!("opening the gate: {error:#}");
        }
        if std::thread::panicking() {
            eprintln!("the agent said:\n{}", self.log());
        }
    }
}

/// The built program: `SEKIMORI_BIN`, else the workspace's debug build.
pub fn program() -> Result<PathBuf> {
    let path = std::env::var_os("SEKIMORI_BIN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/sekimori"), PathBuf::from);
    path.canonicalize().with_context(|| format!("{}: run `cargo xtask build` first", path.display()))
}

/// A killed test must not leave an agent behind.
fn die_with_this_thread(command: &mut Command) {
    // SAFETY: `prctl` is a plain system call, allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
}
