//! The clock (law 6): windows are laid out in `CLOCK_BOOTTIME`; a wall clock that stands before a time already
//! seen keeps timed rules closed until it has passed that time again.

use std::{fs, io, path::PathBuf, sync::LazyLock, time::Duration};

use jiff::{SignedDuration, Timestamp};
use nix::{
    sys::{
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
    time::{ClockId as Clock, clock_gettime},
};
use sekimori_ebpf::abi::Schedule;
use tokio::sync::mpsc;

use super::state::boot_id;
use crate::{cutoff::Now, record::durable};

/// A step back smaller than this is a correction, not a way to reopen a rule.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(1);
/// How often the latest time seen is written to disk while it advances.
const PERSIST_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// RFC 3339, UTC, whole seconds: for people.
pub fn seconds(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// What all clocks say.
pub fn all() -> Now {
    // Read once: it never changes, and a cut-off asks before it falls.
    static BOOT: LazyLock<String> = LazyLock::new(boot_id);
    Now { wall: Timestamp::now(), boot: BOOT.clone(), since_boot: boottime_ns() }
}

/// Nanoseconds since boot, sleep included.
pub fn boottime_ns() -> u64 {
    clock_gettime(Clock::CLOCK_BOOTTIME).map_or(0, nanoseconds)
}

fn nanoseconds(time: TimeSpec) -> u64 {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec()).unwrap_or(0))
}

/// The latest wall time ever seen, kept across reboots.
#[derive(Debug)]
pub struct HighWater {
    path: PathBuf,
    seen: Timestamp,
    kept: Timestamp,
}

impl HighWater {
    /// What was kept; a file that cannot be read is an error the caller reports, and counts as nothing seen.
    pub fn open(path: PathBuf) -> (Self, Option<io::Error>) {
        let (seen, error) = match fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(seen) => (seen, None),
                Err(error) => (Timestamp::UNIX_EPOCH, Some(io::Error::other(error))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Timestamp::UNIX_EPOCH, None),
            Err(error) => (Timestamp::UNIX_EPOCH, Some(error)),
        };
        (Self { path, seen, kept: seen }, error)
    }

    /// How far `now` is behind the latest time seen; zero if it is not. Advances and, now and then, keeps it.
    pub fn observe(&mut self, now: Timestamp) -> io::Result<Duration> {
        let behind = self.behind(now);
        if !behind.is_zero() {
            return Ok(behind);
        }
        self.seen = self.seen.max(now);
        if self.seen.duration_since(self.kept) >= PERSIST_EVERY {
            self.keep()?;
        }
        Ok(behind)
    }

    /// How far `now` is behind, without noting it.
    pub fn behind(&self, now: Timestamp) -> Duration {
        let behind = self.seen.duration_since(now);
        if behind <= TOLERANCE { Duration::ZERO } else { behind.unsigned_abs() }
    }

    /// `now`, or the latest time seen if the clock is behind it: what was due then is due.
    pub fn latest(&self, now: Timestamp) -> Timestamp {
        if self.behind(now).is_zero() { now } else { self.seen }
    }

    /// Takes `now` as right although a later time was seen.
    pub fn accept(&mut self, now: Timestamp) -> io::Result<()> {
        self.seen = now;
        self.keep()
    }

    /// Writes the latest time seen.
    pub fn keep(&mut self) -> io::Result<()> {
        durable::write(&self.path, self.seen.to_string().as_bytes())?;
        self.kept = self.seen;
        Ok(())
    }
}

/// Cuts off what lies before `reopen` (`CLOCK_BOOTTIME` nanoseconds): the instant at which a clock that is behind
/// will have caught up. The data plane then reopens on time even if the agent is dead.
pub fn close_until(schedules: &mut [Schedule], reopen: u64) {
    for schedule in schedules {
        let mut kept = 0;
        let count = (schedule.count as usize).min(schedule.windows.len());
        for index in 0..count {
            let mut window = schedule.windows[index];
            window.open = window.open.max(reopen);
            if window.open < window.close {
                schedule.windows[kept] = window;
                kept += 1;
            }
        }
        for window in &mut schedule.windows[kept..] {
            *window = sekimori_ebpf::abi::Window::default();
        }
        schedule.count = u32::try_from(kept).unwrap_or(0);
    }
}

/// Tells when somebody sets the wall clock: a thread waits on a timer that such a step cancels. It ends when the
/// receiver is gone and the clock is set once more, or with the process.
pub fn watch_steps() -> io::Result<mpsc::Receiver<()>> {
    let timer = TimerFd::new(ClockId::CLOCK_REALTIME, TimerFlags::TFD_CLOEXEC)?;
    arm(&timer)?;
    let (sender, receiver) = mpsc::channel(4);
    std::thread::Builder::new().name("clock-steps".into()).spawn(move || {
        // `wait` returns when the timer expires and when it is cancelled; either way the clock is looked at anew.
        while timer.wait().and_then(|()| arm(&timer)).is_ok() {
            if let Err(mpsc::error::TrySendError::Closed(())) = sender.try_send(()) {
                return;
            }
        }
        tracing::error!("the clock is no longer watched for steps; schedules are still refreshed every hour");
    })?;
    Ok(receiver)
}

/// A year ahead; cancelled when the clock is set discontinuously (`timerfd_create(2)`).
fn arm(timer: &TimerFd) -> nix::Result<()> {
    let now = clock_gettime(Clock::CLOCK_REALTIME)?;
    let later = TimeSpec::new(now.tv_sec() + 365 * 86_400, 0);
    timer.set(
        Expiration::OneShot(later),
        TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET,
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use sekimori_ebpf::abi::{SCHEDULE_WINDOWS, Window};

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_clock_that_went_back_is_behind_until_it_passes_the_mark_across_a_reboot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clock");
        let (mut high, error) = HighWater::open(path.clone());
        assert!(error.is_none());
        assert_eq!(high.observe(at("2026-11-22T12:00:00Z")).unwrap(), Duration::ZERO);
        assert_eq!(high.observe(at("2026-11-22T11:59:59.5Z")).unwrap(), Duration::ZERO, "a correction");
        drop(high);
        let (mut high, _) = HighWater::open(path.clone());
        assert_eq!(high.observe(at("2026-11-22T11:00:00Z")).unwrap(), Duration::from_secs(3600));
        assert_eq!(high.observe(at("2026-11-22T11:59:00Z")).unwrap(), Duration::from_secs(60));
        assert_eq!(high.latest(at("2026-11-22T11:59:00Z")), at("2026-11-22T12:00:00Z"));
        assert_eq!(high.latest(at("2026-11-22T12:00:01Z")), at("2026-11-22T12:00:01Z"));
        assert_eq!(high.observe(at("2026-11-22T12:00:01Z")).unwrap(), Duration::ZERO);
        high.accept(at("2020-01-01T00:00:00Z")).unwrap();
        assert_eq!(HighWater::open(path.clone()).0.behind(at("2020-01-01T00:00:00Z")), Duration::ZERO);
        fs::write(&path, "yesterday").unwrap();
        assert!(HighWater::open(path).1.is_some());
    }

    #[test]
    fn windows_are_closed_until_the_clock_caught_up() {
        let mut windows = [Window::default(); SCHEDULE_WINDOWS];
        windows[0] = Window { open: 10, close: 20 };
        windows[1] = Window { open: 30, close: 40 };
        windows[2] = Window { open: 50, close: u64::MAX };
        let mut schedules = [Schedule { count: 3, pad: 0, windows }];
        close_until(&mut schedules, 35);
        assert_eq!(schedules[0].count, 2);
        assert_eq!(schedules[0].windows[0], Window { open: 35, close: 40 });
        assert_eq!(schedules[0].windows[1], Window { open: 50, close: u64::MAX });
        assert_eq!(schedules[0].windows[2], Window::default());
    }

    #[test]
    fn boottime_runs() {
        let first = boottime_ns();
        assert!(first > 0 && boottime_ns() >= first);
    }
}
