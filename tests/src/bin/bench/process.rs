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
    /// Peak resident memory, KiB, as seen every 2 ms.
    pub(crate) peak_kib: u64,
}

/// Waits for a child; `None` at the deadline.
pub(crate) fn wait(child: &Child, deadline: Instant) -> Result<Option<End>> {
    let pid = i32::try_from(child.id())?;
    let ours = std::fs::read_link("/proc/self/exe")?;
    let mut peak_kib = 0;
    loop {
        // Asked of the process while it runs: what `wait4` says of it begins with the memory of the process that forked it.
        if std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program != ours) {
            peak_kib = status_kib(child.id(), "VmHWM").unwrap_or(peak_kib);
        }
        let mut status = 0;
        // SAFETY: our own child, and a place of the right type to write to.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
        if waited < 0 {
            return Err(std::io::Error::last_os_error()).context("waiting for a child");
        }
        if waited == pid {
            let success = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            return Ok(Some(End { success, peak_kib }));
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

/// CPU time a process has used, all threads.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    // Nanoseconds; `stat` counts in hundredths of a second only. Threads that ended are not in it: an idle agent ends none.
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        total += text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// Memory of the BPF maps that a process holds open, KiB.
pub(crate) fn map_kib(pid: u32) -> Result<u64> {
    let mut seen = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))?.flatten() {
        // A descriptor may be closed meanwhile.
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        let field = |name: &str| -> Option<u64> {
            text.lines().find_map(|line| line.strip_prefix(name)?.trim_start_matches(':').trim().parse().ok())
        };
        if let (Some(id), Some(bytes)) = (field("map_id"), field("memlock")) {
            seen.insert(id, bytes / 1024);
        }
    }
    Ok(seen.values().sum())
}
