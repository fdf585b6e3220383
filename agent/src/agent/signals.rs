//! Signals, with the process and user that sent them: the record asks who.

use std::io;

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use tokio::sync::mpsc;

/// A signal the agent acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Whether it asks to stop (TERM, INT) rather than to apply (HUP).
    pub stop: bool,
    /// Its name.
    pub name: &'static str,
    /// Sender's user.
    pub uid: u32,
    /// Sender's process.
    pub pid: i32,
}

/// Blocks the signals in this thread and all that it starts later; call before any thread exists.
pub fn block() -> io::Result<SigSet> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGHUP);
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    set.thread_block()?;
    Ok(set)
}

/// Reads blocked signals in a thread of its own, until the receiver is gone.
pub fn watch(set: &SigSet) -> io::Result<mpsc::Receiver<Received>> {
    let descriptor = SignalFd::with_flags(set, SfdFlags::SFD_CLOEXEC)?;
    let (sender, receiver) = mpsc::channel(8);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        loop {
            let info = match descriptor.read_signal() {
                Ok(Some(info)) => info,
                Ok(None) | Err(nix::errno::Errno::EINTR) => continue,
                Err(_) => return,
            };
            let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
            let received = Received {
                stop: signal != Some(Signal::SIGHUP),
                name: signal.map_or("signal", Signal::as_str),
                uid: info.ssi_uid,
                pid: i32::try_from(info.ssi_pid).unwrap_or(0),
            };
            if sender.blocking_send(received).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}
