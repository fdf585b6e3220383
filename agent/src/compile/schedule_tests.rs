#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::compile::testing::{Random, hours, policy};

const SECOND: u64 = 1_000_000_000;

fn clock(wall: &str) -> Clock {
    // Ten days after boot, so that windows of yesterday have an instant of their own.
    Clock { wall: wall.parse().unwrap(), boottime_ns: 864_000 * SECOND }
}

fn zoned(zone: &str) -> Policy {
    Policy { timezone: TimeZone::get(zone).unwrap(), ..policy() }
}

/// Whether a plan is open, by looking at the clock on the wall.
fn naive(plan: &Plan, policy: &Policy, at: Timestamp) -> bool {
    if plan.until.is_some_and(|until| at >= until) {
        return false;
    }
    let Some(index) = plan.hours else { return true };
    let local = at.to_zoned(policy.timezone.clone()).datetime();
    let hours = &policy.hours[index];
    if hours.closed_on_holidays && policy.holidays.contains(&local.date()) {
        return false;
    }
    let weekday = local.date().weekday().to_monday_zero_offset() as u8;
    let minute = local.hour() as u16 * 60 + local.minute() as u16;
    hours.spans.iter().any(|&(day, from, to)| day == weekday && from <= minute && minute < to)
}

fn open(schedule: &Schedule, boottime: u64) -> bool {
    let windows = &schedule.windows[..schedule.count as usize];
    windows.iter().any(|window| window.open <= boottime && boottime < window.close)
}

fn well_formed(schedule: &Schedule) {
    let count = schedule.count as usize;
    for window in &schedule.windows[..count] {
        assert!(window.open < window.close, "{window:?}");
    }
    for pair in schedule.windows[..count].windows(2) {
        assert!(pair[0].close < pair[1].open, "touching windows end flows: {pair:?}");
    }
    assert!(schedule.windows[count..].iter().all(|window| *window == Window::default()));
}

/// Compares every minute from now to the horizon, or to the last of 16 windows, with the naive evaluator.
fn agrees(plan: &Plan, policy: &Policy, clock: Clock, context: &str) {
    let schedule = windows(std::slice::from_ref(plan), policy, clock)[0];
    well_formed(&schedule);
    let full = schedule.count as usize == SCHEDULE_WINDOWS;
    let last = schedule.windows[SCHEDULE_WINDOWS - 1].close;
    for minute in 0..HORIZON_DAYS as u64 * 1440 {
        let at = clock.wall + SignedDuration::from_mins(minute as i64);
        let boottime = clock.boottime_ns + minute * 60 * SECOND;
        if full && boottime >= last {
            assert!(!open(&schedule, boottime));
            continue;
        }
        assert_eq!(open(&schedule, boottime), naive(plan, policy, at), "{context}: {plan:?} at {at}");
    }
}

#[test]
fn random_hours_agree_with_the_clock_on_the_wall() {
    // Both directions of summer time, half-hour shifts, no shifts, and dates around them.
    let zones = ["Asia/Tokyo", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"];
    let days = ["2026-03-20", "2026-10-20", "2026-03-01", "2026-10-30", "2026-04-01", "2026-12-27"];
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut policy = zoned(zones[seed as usize % zones.len()]);
        let start: Timestamp = format!("{}T00:00:00Z", random.pick(&days)).parse().unwrap();
        let wall = start + SignedDuration::from_mins(random.below(3 * 1440) as i64);
        let spans: Vec<(u8, u16, u16)> = (0..random.below(9))
            .map(|_| {
                let from = *random.pick(&[0, 60, 90, 119, 120, 150, 510, 1035, 1439]);
                let to = *random.pick(&[1440, 180, 150, 121, 720, 1035]);
                (random.below(7) as u8, from.min(to - 1), to)
            })
            .collect();
        policy.hours = vec![hours("h", &spans, random.chance(50))];
        let date = wall.to_zoned(policy.timezone.clone()).date();
        policy.holidays = (0..random.below(4)).map(|day| date + jiff::Span::new().days(day as i64 * 2)).collect();
        let until = random.chance(30).then(|| wall + SignedDuration::from_mins(random.below(9 * 1440) as i64));
        let clock = Clock { wall, boottime_ns: 864_000 * SECOND };
        agrees(&Plan { hours: Some(0), until }, &policy, clock, &format!("seed {seed}"));
    }
}

#[test]
fn midnight_is_no_gap() {
    let mut policy = zoned("Asia/Tokyo");
    // Monday 22:00 to Tuesday 05:00, as the parser splits it.
    policy.hours = vec![hours("night", &[(0, 1320, 1440), (1, 0, 300)], false)];
    let plan = Plan { hours: Some(0), until: None };
    // Monday 23:00 in Tokyo.
    let clock = clock("2026-11-23T14:00:00Z");
    let schedule = windows(&[plan], &policy, clock)[0];
    let first = schedule.windows[0];
    assert_eq!(first.open, clock.boottime_ns - 3600 * SECOND);
    assert_eq!(first.close, clock.boottime_ns + 6 * 3600 * SECOND);
    assert_eq!(schedule.windows[1].open, first.open + 7 * 86_400 * SECOND);
}

#[test]
fn a_repeated_hour_opens_twice_and_a_skipped_one_not_at_all() {
    let mut policy = zoned("Europe/Berlin");
    policy.hours = vec![hours("early", &[(6, 135, 165)], false)];
    let plan = Plan { hours: Some(0), until: None };
    // 2026-10-25 03:00 → 02:00: 02:15-02:45 happens at 00:15Z and at 01:15Z.
    let autumn = windows(std::slice::from_ref(&plan), &policy, clock("2026-10-24T12:00:00Z"))[0];
    assert_eq!(autumn.windows[1].open - autumn.windows[0].open, 3600 * SECOND);
    // 2026-03-29 02:00 → 03:00: next open a week later.
    let at = clock("2026-03-28T12:00:00Z");
    let spring = windows(&[plan], &policy, at)[0];
    assert!(spring.windows[0].open > at.boottime_ns + 7 * 86_400 * SECOND);
}

#[test]
fn an_end_date_alone_is_one_window() {
    let at = clock("2026-11-22T00:00:00Z");
    let plan = |until: &str| Plan { hours: None, until: Some(until.parse().unwrap()) };
    let plans = [
        Plan { hours: None, until: None },
        plan("2026-11-22T00:00:01Z"),
        plan("2026-11-22T00:00:00Z"),
        plan("2026-11-21T00:00:00Z"),
        plan("2000-01-01T00:00:00Z"),
        plan("9999-01-01T00:00:00Z"),
    ];
    let found = windows(&plans, &policy(), at);
    let one = |close: u64| Some(Window { open: 0, close });
    let expected = [one(u64::MAX), one(at.boottime_ns + SECOND), None, None, None, one(u64::MAX)];
    for (schedule, expected) in found.iter().zip(expected) {
        assert_eq!(schedule.windows[..schedule.count as usize].first().copied(), expected);
        assert!(schedule.count <= 1);
    }
}

#[test]
fn always_open_hours_are_one_window_to_the_horizon() {
    let mut policy = zoned("Asia/Tokyo");
    policy.hours = vec![hours("always", &[0, 1, 2, 3, 4, 5, 6].map(|day| (day, 0, 1440)), false)];
    let at = clock("2026-11-22T01:02:03Z");
    let schedule = windows(&[Plan { hours: Some(0), until: None }], &policy, at)[0];
    assert_eq!(schedule.count, 1);
    assert!(schedule.windows[0].open <= at.boottime_ns);
    assert_eq!(schedule.windows[0].close, at.boottime_ns + HORIZON_DAYS as u64 * 86_400 * SECOND);
}

#[test]
fn a_window_from_before_boot_starts_at_zero() {
    let mut policy = zoned("UTC");
    policy.hours = vec![hours("day", &[(6, 0, 1440)], false)];
    let wall = "2026-11-22T12:00:00Z".parse().unwrap();
    let at = Clock { wall, boottime_ns: 60 * SECOND };
    let schedule = windows(&[Plan { hours: Some(0), until: None }], &policy, at)[0];
    assert_eq!(schedule.windows[0], Window { open: 0, close: (43_200 + 60) * SECOND });
}
