//! Waiting for a child and what it used.

use std::{
    process::Child,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// How a child ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) success: bool,
    /// Peak resident memory, KiB.
    pub(crate) peak_kib: u64,
}

/// Waits for a child; `None` at the deadline.
pub(crate) fn wait(child: &Child, deadline: Instant) -> Result<Option<End>> {
    let pid = i32::try_from(child.id())?;
    loop {
        let mut status = 0;
        // SAFETY: all zeroes is a valid value of this plain struct.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: our own child, and two places of the right types to write to.
        let waited = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) };
        if waited < 0 {
            return Err(std::io::Error::last_os_error()).context("waiting for a child");
        }
        if waited == pid {
            let success = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            return Ok(Some(End { success, peak_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0) }));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A figure of `/proc/<pid>/status` in KiB.
pub(crate) fn status_kib(pid: u32, field: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("/proc/{pid}/status has no {field}"))
}
