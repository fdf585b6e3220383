//! Work that a disk may keep for ever, done by a process of its own: whoever is waited for is not kept with it.

use std::{
    io,
    time::{Duration, Instant},
};

/// How long a disk is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(2);

/// Does it, or says that it takes too long; then it may still be done later.
///
/// # Errors
/// What `work` says, as an error number where it has one; [`io::ErrorKind::TimedOut`].
pub(super) fn aside(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    // SAFETY: no argument. The child runs `work` and ends; whoever calls this has no other thread whose locks it could find held.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    if child == 0 {
        // Whoever reads what its parent says would wait for it as well: a shell, `ssh`.
        for descriptor in 0..=2 {
            // SAFETY: nothing in this process speaks any more.
            unsafe { libc::close(descriptor) };
        }
        let code = work().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
        // SAFETY: ends this process without what its parent's exit would do twice (buffers, hooks).
        unsafe { libc::_exit(code) };
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut status = 0;
        // SAFETY: our own child, and a place for its status.
        let ended = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
        if ended == child {
            return match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
                (true, 0) => Ok(()),
                (true, code) => Err(io::Error::from_raw_os_error(code)),
                (false, _) => Err(io::Error::other("ended by a signal")),
            };
        }
        if ended < 0 {
            return Err(io::Error::last_os_error());
        }
        if Instant::now() >= deadline {
            let why = format!("the disk has not answered for {} s", PATIENCE.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_is_what_the_work_says_and_it_does_not_wait_for_ever() {
        assert!(aside(|| Ok(())).is_ok());
        let full = aside(|| Err(io::Error::from_raw_os_error(libc::ENOSPC)));
        assert_eq!(full.err().and_then(|error| error.raw_os_error()), Some(libc::ENOSPC));
        assert!(aside(|| Err(io::Error::other("x"))).is_err());
        let began = Instant::now();
        let slow = aside(|| {
            std::thread::sleep(PATIENCE * 3);
            Ok(())
        });
        assert_eq!(slow.err().map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
        assert!(began.elapsed() < PATIENCE * 2);
    }
}
