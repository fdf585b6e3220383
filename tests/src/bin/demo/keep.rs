//! `--keep`: the demonstration stays up, held by a process of its own, until `--stop`.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::fd::AsRawFd as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{SigSet, Signal, kill},
    unistd::{Pid, setsid},
};
use sekimori_tests::harness::tool;

use crate::{
    perform,
    tell::{Teller, text},
};

/// How the holder is started; not for people.
pub(crate) const HOLD: &str = "--hold";
/// Who holds the demonstration.
const PID_FILE: &str = "/run/sekimori-demo.pid";

/// Starts the holder, shows what it says, and returns when the demonstration stands.
pub(crate) fn start() -> Result<()> {
    if let Some(pid) = holder() {
        bail!("a demonstration is already running (process {pid}); end it with `cargo xtask demo --stop`");
    }
    let mut holder = Command::new(std::env::current_exe()?)
        .arg(HOLD)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the process that holds the demonstration")?;
    let output = holder.stdout.take().context("the holder has no output")?;
    for line in BufReader::new(output).lines() {
        println!("{}", line?);
    }
    // Its output ends when it ends, or when everything stands and it detaches from us.
    match holder.try_wait()? {
        Some(status) if !status.success() => bail!("the demonstration ended with {status}"),
        _ => Ok(()),
    }
}

/// Plays, then waits for the signal to end.
pub(crate) fn hold() -> Result<()> {
    setsid().context("leaving the terminal's session")?;
    // Before any thread exists, so that every thread leaves these signals to the wait below.
    let mut ending = SigSet::empty();
    ending.add(Signal::SIGTERM);
    ending.add(Signal::SIGINT);
    ending.thread_block()?;
    fs::write(PID_FILE, std::process::id().to_string()).with_context(|| format!("writing {PID_FILE}"))?;
    let result = play_and_wait(&ending);
    fs::remove_file(PID_FILE).ok();
    result
}

fn play_and_wait(ending: &SigSet) -> Result<()> {
    let teller = Teller::new();
    let stage = perform(&teller)?;
    teller.chapter(&text("It stays up", "このまま動かしておきます"));
    for line in stage.how_to_play()? {
        println!("    {line}");
    }
    teller.remark(&text("End it with:  cargo xtask demo --stop", "終了:  cargo xtask demo --stop"));
    std::io::stdout().flush()?;
    let nowhere = fs::File::options().write(true).open("/dev/null")?;
    for stream in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: both descriptors are open; the standard streams are replaced, not closed.
        if unsafe { libc::dup2(nowhere.as_raw_fd(), stream) } < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
    }
    ending.wait()?;
    stage.end()
}

/// Ends a kept demonstration and waits until it is gone.
pub(crate) fn stop() -> Result<()> {
    let Some(pid) = holder() else {
        println!("No demonstration is running.");
        return Ok(());
    };
    kill(Pid::from_raw(pid), Signal::SIGTERM)?;
    tool::until("the demonstration to end", Duration::from_secs(60), || Ok(holder().is_none().then_some(())))
}

/// The process that holds a demonstration, if one does.
fn holder() -> Option<i32> {
    let pid: i32 = fs::read_to_string(PID_FILE).ok()?.trim().parse().ok()?;
    let command = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).ok()?;
    // The number may belong to somebody else by now.
    command.split(|byte| *byte == 0).any(|word| word == HOLD.as_bytes()).then_some(pid)
}
