//! When a cut lifts itself.
//!
//! A span (`--for 2h`) is measured by the clock that nobody sets (`CLOCK_BOOTTIME`) as long as the kernel runs that it was said
//! to: a wall clock set forward ends no cut early, one set back keeps none for longer. After a reboot, and for an instant
//! (`--until`), the wall clock is all there is.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What all clocks say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Now {
    /// The wall clock.
    pub wall: Timestamp,
    /// Names this boot of the kernel.
    pub boot: String,
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub since_boot: u64,
}

/// An end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum End {
    /// At an instant.
    At(Timestamp),
    /// After a span.
    After {
        /// By the wall clock as it was then.
        at: Timestamp,
        /// The boot it was said in.
        boot: String,
        /// `CLOCK_BOOTTIME` of that boot, nanoseconds.
        since_boot: u64,
    },
}

impl End {
    /// So long from now; `None` if that is beyond all calendars.
    pub fn after(span: Duration, now: &Now) -> Option<Self> {
        let at = now.wall.checked_add(SignedDuration::try_from(span).ok()?).ok()?;
        let since_boot = now.since_boot.checked_add(u64::try_from(span.as_nanos()).ok()?)?;
        Some(Self::After { at, boot: now.boot.clone(), since_boot })
    }

    /// How long from now; negative if it is over.
    pub fn left(&self, now: &Now) -> SignedDuration {
        match self {
            Self::After { boot, since_boot, .. } if *boot == now.boot => {
                SignedDuration::from_nanos_i128(i128::from(*since_boot) - i128::from(now.since_boot))
            }
            Self::At(at) | Self::After { at, .. } => at.duration_since(now.wall),
        }
    }

    /// What the wall clock will say then if nobody sets it.
    pub fn wall(&self, now: &Now) -> Timestamp {
        now.wall.checked_add(self.left(now)).unwrap_or(Timestamp::MAX)
    }

    /// The later one.
    pub fn later(self, other: Self, now: &Now) -> Self {
        if self.left(now) < other.left(now) { other } else { self }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;

    fn now(wall: &str, boot: &str, seconds: u64) -> Now {
        Now { wall: wall.parse().unwrap(), boot: boot.into(), since_boot: seconds * 1_000_000_000 }
    }

    #[test]
    fn a_span_is_the_same_whoever_sets_the_clock_until_the_next_boot() {
        let then = now("2026-11-29T10:00:00Z", "a", 500);
        let end = End::after(Duration::from_secs(2 * HOUR), &then).unwrap();
        let hour = SignedDuration::from_hours(1);
        for wall in ["2026-11-29T11:00:00Z", "2026-11-30T11:00:00Z", "2026-11-28T11:00:00Z"] {
            let later = now(wall, "a", 500 + HOUR);
            assert_eq!(end.left(&later), hour, "{wall}");
            assert_eq!(end.wall(&later), later.wall.checked_add(hour).unwrap(), "{wall}");
        }
        assert_eq!(end.left(&now("2026-11-29T11:30:00Z", "b", 20)), SignedDuration::from_mins(30));
        assert!(end.left(&now("2026-11-28T11:00:00Z", "a", 500 + 3 * HOUR)).is_negative());
    }

    #[test]
    fn the_later_one_by_what_is_left() {
        let then = now("2026-11-29T10:00:00Z", "a", 500);
        let span = End::after(Duration::from_secs(2 * HOUR), &then).unwrap();
        let instant = End::At("2026-11-29T11:30:00Z".parse().unwrap());
        assert_eq!(span.clone().later(instant.clone(), &then), span);
        assert_eq!(instant.clone().later(span.clone(), &then), span);
        // The clock was set back: the instant is far away now.
        let back = now("2026-11-28T10:00:00Z", "a", 600);
        assert_eq!(span.later(instant.clone(), &back), instant);
    }

    /// Instants are kept as they always were.
    #[test]
    fn both_forms_come_back_from_disk() {
        let then = now("2026-11-29T10:00:00Z", "a", 500);
        let span = End::after(Duration::from_secs(60), &then).unwrap();
        let instant: End = serde_json::from_str("\"2026-11-29T11:30:00Z\"").unwrap();
        assert_eq!(instant, End::At("2026-11-29T11:30:00Z".parse().unwrap()));
        for end in [span, instant] {
            let text = serde_json::to_string(&end).unwrap();
            assert_eq!(serde_json::from_str::<End>(&text).unwrap(), end, "{text}");
        }
    }
}
