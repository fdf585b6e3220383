//! When a timed permission is open.

use jiff::{Timestamp, ToSpan, civil::Date};
use sekimori::policy::model::{Hours, Policy, Rule};

/// The answer for one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Not now.
    Closed,
    /// Open, without an end.
    Always,
    /// Open until this instant, which is closed.
    Until(Timestamp),
}

/// Days looked ahead for the end of an opening that runs past midnight.
const AHEAD: i64 = 9;

/// Whether the rule is open.
pub fn open(policy: &Policy, rule: &Rule, now: Timestamp) -> Open {
    if rule.until.is_some_and(|until| now >= until) {
        return Open::Closed;
    }
    let weekly = match rule.hours {
        None => Open::Always,
        Some(index) => week(policy, &policy.hours[index], now),
    };
    match (weekly, rule.until) {
        (Open::Closed, _) => Open::Closed,
        (Open::Always, None) => Open::Always,
        (Open::Always, Some(until)) => Open::Until(until),
        (Open::Until(end), until) => Open::Until(until.map_or(end, |until| until.min(end))),
    }
}

fn week(policy: &Policy, hours: &Hours, now: Timestamp) -> Open {
    let today = now.to_zoned(policy.timezone.clone()).date();
    let mut openings = Vec::new();
    for ahead in 0..=AHEAD {
        let Ok(date) = today.checked_add(ahead.days()) else {
            continue;
        };
        if hours.closed_on_holidays && policy.holidays.contains(&date) {
            continue;
        }
        for (weekday, from, to) in &hours.spans {
            if i8::try_from(*weekday) == Ok(date.weekday().to_monday_zero_offset())
                && let (Some(open), Some(close)) = (instant(policy, date, *from), instant(policy, date, *to))
            {
                openings.push((open, close));
            }
        }
    }
    openings.sort();
    let mut end = None;
    for (open, close) in openings {
        match end {
            None if open <= now && now < close => end = Some(close),
            Some(so_far) if open <= so_far => end = Some(close.max(so_far)),
            _ => {}
        }
    }
    end.map_or(Open::Closed, Open::Until)
}

fn instant(policy: &Policy, date: Date, minute: u16) -> Option<Timestamp> {
    let minutes = i64::from(minute);
    let date = if minute == 1440 { date.tomorrow().ok()? } else { date };
    let clock = date.at(i8::try_from(minutes / 60 % 24).ok()?, i8::try_from(minutes % 60).ok()?, 0, 0);
    clock.to_zoned(policy.timezone.clone()).ok().map(|zoned| zoned.timestamp())
}
