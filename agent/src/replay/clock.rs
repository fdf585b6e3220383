//! The capture's times as the data plane's clock: nanoseconds since 1970 stand for nanoseconds since boot.
//!
//! The programs only ever compare such numbers, so any monotone mapping gives the verdicts the box would have given,
//! and this one lets schedules be laid out on the same scale.

use jiff::Timestamp;

/// Schedules are laid out again when this much time has passed; they reach some days ahead.
const LAY_OUT_EVERY: u64 = 6 * 3600 * 1_000_000_000;
/// The programs take 0 for "never": time begins a second later.
const EARLIEST: u64 = 1_000_000_000;

/// The clock of one replay.
#[derive(Debug)]
pub(super) struct Clock {
    fixed: Option<u64>,
    now: Option<u64>,
    laid_out: Option<u64>,
}

/// The time one packet is judged at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tick {
    /// For the programs.
    pub(super) now: u64,
    /// Nanoseconds by which the capture's clock is behind a time already seen: the later one counts.
    pub(super) behind: u64,
    /// The capture gives no time for this packet: the last one counts.
    pub(super) unknown: bool,
    /// Lay out the schedules from here before judging.
    pub(super) lay_out: Option<Timestamp>,
}

impl Clock {
    pub(super) fn new(at: Option<Timestamp>) -> Self {
        let fixed = at.map(|at| u64::try_from(at.as_nanosecond()).unwrap_or_default());
        Self { fixed, now: None, laid_out: None }
    }

    pub(super) fn tick(&mut self, time: Option<u64>) -> Tick {
        let wanted = self.fixed.or(time).map(|time| time.max(EARLIEST));
        let before = self.now.unwrap_or(EARLIEST);
        let now = match (wanted, self.now) {
            (Some(wanted), Some(before)) => wanted.max(before),
            (Some(wanted), None) => wanted,
            (None, _) => before,
        };
        self.now = Some(now);
        let due = self.laid_out.is_none_or(|last| now - last >= LAY_OUT_EVERY);
        if due {
            self.laid_out = Some(now);
        }
        Tick {
            now,
            behind: wanted.map_or(0, |wanted| now - wanted),
            unknown: wanted.is_none(),
            lay_out: due.then(|| timestamp(now)),
        }
    }
}

/// The instant that `nanoseconds` since 1970 are.
pub(super) fn timestamp(nanoseconds: u64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600 * 1_000_000_000;

    #[test]
    fn a_clock_that_steps_back_stands_still_and_says_so() {
        let mut clock = Clock::new(None);
        assert_eq!(clock.tick(Some(100 * HOUR)).now, 100 * HOUR);
        let back = clock.tick(Some(99 * HOUR));
        assert_eq!((back.now, back.behind), (100 * HOUR, HOUR));
        let on = clock.tick(Some(100 * HOUR + 1));
        assert_eq!((on.now, on.behind), (100 * HOUR + 1, 0));
    }

    #[test]
    fn schedules_are_laid_out_at_first_and_every_six_hours() {
        let mut clock = Clock::new(None);
        let at = |tick: Tick| tick.lay_out.map(|at| at.as_nanosecond() as u64);
        assert_eq!(at(clock.tick(Some(10 * HOUR))), Some(10 * HOUR));
        assert_eq!(at(clock.tick(Some(16 * HOUR - 1))), None);
        assert_eq!(at(clock.tick(Some(16 * HOUR))), Some(16 * HOUR));
        assert_eq!(at(clock.tick(Some(u64::MAX))), Some(u64::MAX));
    }

    #[test]
    fn a_given_instant_overrides_the_captures_times() {
        let mut clock = Clock::new(Timestamp::from_second(1_800_000_000).ok());
        for time in [Some(5), None, Some(u64::MAX)] {
            let tick = clock.tick(time);
            assert_eq!((tick.now, tick.behind, tick.unknown), (1_800_000_000_000_000_000, 0, false));
        }
    }

    #[test]
    fn a_packet_without_a_time_takes_the_last_one() {
        let mut clock = Clock::new(None);
        assert_eq!(clock.tick(None).now, EARLIEST);
        clock.tick(Some(HOUR));
        let tick = clock.tick(None);
        assert_eq!((tick.now, tick.unknown), (HOUR, true));
    }
}
