//! Beacons: an inside host that calls one address outside at regular times, as malware does that asks for orders.
//!
//! The method is that of RITA (Active Countermeasures): of the times between the beginnings of flows from a host to one service
//! outside, the spread around the median (median absolute deviation) and the skew (Bowley's) are both small. It needs a dozen
//! calls, and sees periods from ten seconds to a day; a jitter of a fifth of the period still counts as regular.
//!
//! Memory is bounded: the pairs that were quiet longest make room.

use std::{net::IpAddr, time::Duration};

use jiff::Timestamp;

use super::recent::Recent;

/// Pairs of host and service that are followed.
const PAIRS: usize = 50_000;
/// Calls remembered of each.
const CALLS: usize = 24;
/// Calls that it takes.
const ENOUGH: usize = 12;
/// The shortest and the longest period told apart from chatter and from habit.
const PERIODS: (f64, f64) = (10.0, 86_400.0);
/// Deviation from the median, as part of it.
const DEVIATION: f64 = 0.2;
/// Bowley's skew, from -1 to 1.
const SKEW: f64 = 0.3;

/// Who calls whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// The inside host.
    pub host: IpAddr,
    /// The address outside.
    pub peer: IpAddr,
    /// Its port.
    pub port: u16,
    /// IP protocol.
    pub proto: u8,
}

/// A pair that calls regularly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beacon {
    /// Who.
    pub pair: Pair,
    /// The median time between calls.
    pub period: Duration,
    /// The median deviation from it, as part of it.
    pub deviation: f64,
    /// Calls it was found in.
    pub calls: usize,
}

#[derive(Debug, Default)]
struct Calls {
    /// Seconds, ascending.
    times: Vec<f64>,
    /// It was reported, and no less regular since.
    told: bool,
}

/// The pairs under watch.
#[derive(Debug)]
pub struct Beacons {
    pairs: Recent<Pair, Calls>,
}

impl Default for Beacons {
    fn default() -> Self {
        Self { pairs: Recent::new(PAIRS) }
    }
}

impl Beacons {
    /// Notes that a flow of this pair began, and says so if that makes it a beacon; once, until it becomes irregular.
    pub fn note(&mut self, pair: Pair, began: Timestamp) -> Option<Beacon> {
        let seconds = began.as_duration().as_secs_f64();
        let calls = self.pairs.touch(pair, began.as_microsecond());
        // Flows begun together are one call: a browser opens several. A clock that steps back begins nothing.
        if calls.times.last().is_some_and(|last| seconds - last < 1.0) {
            return None;
        }
        calls.times.push(seconds);
        if calls.times.len() > CALLS {
            calls.times.remove(0);
        }
        let found = regular(&calls.times);
        let told = std::mem::replace(&mut calls.told, found.is_some());
        let (period, deviation) = found?;
        let calls = calls.times.len();
        (!told).then(|| Beacon { pair, period: Duration::from_secs_f64(period), deviation, calls })
    }
}

/// The period and its deviation, if these times are regular.
fn regular(times: &[f64]) -> Option<(f64, f64)> {
    if times.len() < ENOUGH {
        return None;
    }
    let mut gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_by(f64::total_cmp);
    let [low, period, high] = [0.25, 0.5, 0.75].map(|part| quantile(&gaps, part));
    if !(PERIODS.0..=PERIODS.1).contains(&period) {
        return None;
    }
    let mut off: Vec<f64> = gaps.iter().map(|gap| (gap - period).abs()).collect();
    off.sort_by(f64::total_cmp);
    let deviation = quantile(&off, 0.5) / period;
    let spread = high - low;
    // Where the quartiles are within a hundredth of each other, their skew is noise.
    let skew = if spread < period / 100.0 { 0.0 } else { (high + low - 2.0 * period) / spread };
    // A long silence among regular calls is a lid that was closed; several are no regularity.
    let gaps_off = gaps.iter().filter(|gap| (*gap - period).abs() > period / 2.0).count();
    let fits =
        deviation <= DEVIATION && (skew.abs() <= SKEW || deviation <= DEVIATION / 4.0) && gaps_off * 5 <= gaps.len();
    fits.then_some((period, deviation))
}

/// Of sorted values, by linear interpolation.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = part * (sorted.len().saturating_sub(1)) as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(low), Some(high)) => low + (high - low) * (at - at.floor()),
        _ => 0.0,
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;

    const PAIR: Pair = Pair {
        host: IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 10, 17)),
        peer: IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 66)),
        port: 443,
        proto: 6,
    };

    /// A generator of our own: tests must not depend on luck.
    struct Dice(u64);
    impl Dice {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    fn times(gaps: impl IntoIterator<Item = f64>) -> Vec<Timestamp> {
        let mut now = 1_800_000_000.0;
        gaps.into_iter()
            .map(|gap| {
                now += gap;
                Timestamp::from_microsecond((now * 1e6).round() as i64).expect("a time")
            })
            .collect()
    }

    fn found(times: &[Timestamp]) -> Vec<Beacon> {
        let mut beacons = Beacons::default();
        times.iter().filter_map(|time| beacons.note(PAIR, *time)).collect()
    }

    #[test]
    fn a_slow_beacon_with_jitter_is_found_once() {
        for (period, jitter) in [(10.0, 0.0), (60.0, 0.1), (300.0, 0.2), (3_600.0, 0.15), (43_200.0, 0.05)] {
            let mut dice = Dice(period as u64);
            let gaps: Vec<f64> = (0..40).map(|_| period * (1.0 + jitter * (2.0 * dice.next() - 1.0))).collect();
            let found = found(&times(gaps));
            assert!(!found.is_empty(), "{period} s, {jitter}");
            let off = (found[0].period.as_secs_f64() - period).abs() / period;
            assert!(off < 0.15, "{period}: {found:?}");
            assert!(found[0].calls <= 16, "{period}: after {} calls", found[0].calls);
        }
    }

    /// A person at a browser: bursts, pauses, lunch.
    #[test]
    fn people_are_no_beacons() {
        for seed in 0..300 {
            let mut dice = Dice(seed);
            let gaps = (0..200).map(|_| -120.0 * (1.0 - dice.next()).ln()).collect::<Vec<_>>();
            let found = found(&times(gaps));
            assert!(found.is_empty(), "seed {seed}: {found:?}");
        }
    }

    #[test]
    fn flows_begun_together_are_one_call() {
        let gaps = (0..120).map(|turn| if turn % 6 == 0 { 60.0 } else { 0.01 });
        assert_eq!(found(&times(gaps)).len(), 1);
    }
}
