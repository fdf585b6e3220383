//! Schedules: from hours and end dates to absolute windows in the data plane's clock.
//!
//! The data plane knows neither time zones nor calendars; it compares `CLOCK_BOOTTIME` with windows written ahead.
//! The agent writes them anew at least once a day and whenever the wall clock is set. Without an agent the
//! windows last for [`HORIZON_DAYS`] (or [`SCHEDULE_WINDOWS`] windows, whichever ends first); past that a timed
//! rule is closed.

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, DateTime},
    tz::{Offset, TimeZone},
};
use nix::time::{ClockId, clock_gettime};
use sekimori_ebpf::abi::{SCHEDULE_WINDOWS, Schedule, Window};

use crate::policy::model::{Hours, HoursIndex, Policy};

/// Days the windows reach ahead: two weeks of office hours fit the 16 windows even with a break at noon on
/// most days, and it is longer than any holiday during which nobody looks at a dead agent.
pub const HORIZON_DAYS: i64 = 14;

/// What a schedule means, before it is laid out on a clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Weekly hours; `None` is always open.
    pub hours: Option<usize>,
    /// Closed from this instant on.
    pub until: Option<jiff::Timestamp>,
}

/// One instant on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Wall clock.
    pub wall: Timestamp,
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub boottime_ns: u64,
}

impl Clock {
    /// Now, on both.
    ///
    /// # Errors
    /// The kernel does not have the clock.
    pub fn now() -> nix::Result<Self> {
        let boot = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
        let wall = Timestamp::now();
        let boottime_ns =
            u64::try_from(boot.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(boot.tv_nsec()).unwrap_or(0);
        Ok(Self { wall, boottime_ns })
    }

    /// A wall instant on the boot clock; before boot is 0, past its end `u64::MAX`.
    pub fn boottime(&self, at: Timestamp) -> u64 {
        let ahead = at.as_nanosecond() - self.wall.as_nanosecond();
        u64::try_from((i128::from(self.boottime_ns) + ahead).max(0)).unwrap_or(u64::MAX)
    }
}

/// The windows of every plan, in their order. A plan with nothing left to open has none: it is closed.
pub fn windows(plans: &[Plan], policy: &Policy, clock: Clock) -> Vec<Schedule> {
    // Many plans share hours and differ in their end only.
    let mut spans: Vec<Option<Vec<Span>>> = vec![None; policy.hours.len()];
    plans.iter().map(|plan| lay_out(plan, policy, clock, &mut spans)).collect()
}

/// An open stretch of time: first instant in, first instant out.
type Span = (Timestamp, Timestamp);

fn lay_out(plan: &Plan, policy: &Policy, clock: Clock, spans: &mut [Option<Vec<Span>>]) -> Schedule {
    let mut schedule = Schedule::default();
    let end = plan.until.map_or(u64::MAX, |until| clock.boottime(until));
    let mut push = |open: u64, close: u64| {
        let close = close.min(end);
        let count = schedule.count as usize;
        if close > open && close > clock.boottime_ns && count < SCHEDULE_WINDOWS {
            schedule.windows[count] = Window { open, close };
            schedule.count += 1;
        }
    };
    match plan.hours {
        None => push(0, u64::MAX),
        Some(index) => {
            let open = spans[index].get_or_insert_with(|| open_spans(index, policy, clock.wall));
            for &(from, to) in open.iter() {
                push(clock.boottime(from), clock.boottime(to));
            }
        }
    }
    schedule
}

/// When `hours` are open from yesterday to the horizon, ascending, merged where they touch.
///
/// The wall clock's offset is constant between two transitions of the time zone. Each such stretch is laid out
/// by itself, so that a skipped hour opens nothing and a repeated one opens twice, minute by minute as the
/// clock on the wall shows.
fn open_spans(index: HoursIndex, policy: &Policy, now: Timestamp) -> Vec<Span> {
    let hours = &policy.hours[index];
    let start = now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN);
    let horizon = now.checked_add(SignedDuration::from_hours(24 * HORIZON_DAYS)).unwrap_or(Timestamp::MAX);
    let mut merged: Vec<Span> = Vec::new();
    for (begin, end, offset) in stretches(&policy.timezone, start, horizon) {
        let mut day = offset.to_datetime(begin).date();
        let last = offset.to_datetime(end).date();
        while day <= last {
            for (open, close) in day_spans(hours, policy, day, offset) {
                let (open, close) = (open.max(begin), close.min(end));
                if open >= close {
                    continue;
                }
                match merged.last_mut() {
                    Some(before) if before.1 >= open => before.1 = before.1.max(close),
                    _ => merged.push((open, close)),
                }
            }
            let Ok(next) = day.tomorrow() else { break };
            day = next;
        }
    }
    merged
}

/// The stretches of constant offset between two instants.
fn stretches(zone: &TimeZone, start: Timestamp, end: Timestamp) -> Vec<(Timestamp, Timestamp, Offset)> {
    let mut stretches = Vec::new();
    let mut begin = start;
    for transition in zone.following(start).take_while(|transition| transition.timestamp() < end) {
        stretches.push((begin, transition.timestamp(), zone.to_offset(begin)));
        begin = transition.timestamp();
    }
    stretches.push((begin, end, zone.to_offset(begin)));
    stretches
}

/// The spans of one calendar day at one offset, ascending.
fn day_spans(hours: &Hours, policy: &Policy, day: Date, offset: Offset) -> Vec<Span> {
    if hours.closed_on_holidays && policy.holidays.contains(&day) {
        return Vec::new();
    }
    let weekday = day.weekday().to_monday_zero_offset() as u8;
    let instant = |minute: u16| {
        DateTime::from(day)
            .checked_add(SignedDuration::from_mins(i64::from(minute)))
            .ok()
            .and_then(|local| offset.to_timestamp(local).ok())
    };
    let mut spans: Vec<Span> = hours
        .spans
        .iter()
        .filter(|(on, _, _)| *on == weekday)
        .filter_map(|&(_, from, to)| Some((instant(from)?, instant(to)?)))
        .collect();
    spans.sort_unstable();
    spans
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
