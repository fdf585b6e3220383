//! The guard: detectors that err put a whole office in quarantine within seconds. They may do so with a few hosts; then a
//! person has to look.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::incident::Outcome;

/// How many hosts detectors may put in quarantine, and within which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// So many.
    pub hosts: u32,
    /// In any span of this length.
    pub within: Duration,
}

impl Default for Limit {
    /// More than the machines of one outbreak that is caught early, fewer than an office.
    fn default() -> Self {
        Self { hosts: 5, within: Duration::from_secs(600) }
    }
}

/// Hosts about which is remembered that a quarantine was asked for.
const ASKED: usize = 4_096;
/// A quarantine that did not work is tried again after so long, nanoseconds.
const AGAIN: u64 = 60_000_000_000;

/// What to do about a host that a detector wants in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Put it there.
    Ask,
    /// Nothing: what there is to say was said.
    Wait,
    /// Nothing, and say loudly that a person must decide.
    HoldBack,
}

/// See the module documentation. Times are `CLOCK_BOOTTIME` nanoseconds: setting the wall clock lets nobody through.
#[derive(Debug, Default)]
pub struct Guard {
    placed: VecDeque<u64>,
    /// When somebody was last held back.
    held_back: Option<u64>,
    /// By host: what became of its quarantine, and when.
    asked: HashMap<String, (Outcome, u64)>,
}

impl Guard {
    /// What to do about a host that is not in quarantine. `episode`: what was said counts as said for so long.
    pub fn decide(&mut self, host: &str, limit: Limit, episode: Duration, now: u64) -> Decision {
        let before = self.asked.get(host).copied();
        let recently = |span: u64| before.is_some_and(|(_, at)| now.saturating_sub(at) < span);
        let episode = nanoseconds(episode);
        match before {
            Some((Outcome::Refused, _)) if recently(episode) => return Decision::Wait,
            Some((Outcome::Failed, _)) if recently(AGAIN) => return Decision::Wait,
            _ => {}
        }
        let within = nanoseconds(limit.within);
        self.placed.retain(|at| now.saturating_sub(*at) < within);
        if self.placed.len() < limit.hosts as usize {
            return Decision::Ask;
        }
        self.held_back = Some(now);
        let told = matches!(before, Some((Outcome::HeldBack, _))) && recently(episode);
        if told { Decision::Wait } else { Decision::HoldBack }
    }

    /// What became of it.
    pub fn answered(&mut self, host: &str, outcome: Outcome, now: u64) {
        if outcome == Outcome::Done {
            self.placed(now);
        }
        if self.asked.len() >= ASKED {
            // Whoever is forgotten is asked about, and told of, once more.
            self.asked.clear();
        }
        self.asked.insert(host.to_owned(), (outcome, now));
    }

    /// What became of this host's quarantine when it was last asked for.
    pub fn answer(&self, host: &str) -> Option<Outcome> {
        self.asked.get(host).map(|(outcome, _)| *outcome)
    }

    /// A detector put a host in quarantine at this time.
    pub fn placed(&mut self, at: u64) {
        self.placed.push_back(at);
    }

    /// Somebody was held back within the limit's time.
    pub fn holds(&self, limit: Limit, now: u64) -> bool {
        self.held_back.is_some_and(|at| now.saturating_sub(at) < nanoseconds(limit.within))
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const EPISODE: Duration = Duration::from_secs(600);

    #[test]
    fn so_many_in_any_span_and_no_more() {
        let limit = Limit { hosts: 2, within: Duration::from_secs(10) };
        let mut guard = Guard::default();
        let mut number = 0;
        let mut place = |at: u64| {
            number += 1;
            let host = format!("192.0.2.{number}");
            let decision = guard.decide(&host, limit, EPISODE, at * SECOND);
            if decision == Decision::Ask {
                guard.answered(&host, Outcome::Done, at * SECOND);
            }
            decision == Decision::Ask
        };
        assert_eq!([0, 1, 2, 9, 10, 10, 11, 12].map(&mut place), [true, true, false, false, true, false, true, false]);
        assert!(guard.holds(limit, 21 * SECOND) && !guard.holds(limit, 22 * SECOND));
        let none = Limit { hosts: 0, within: Duration::from_secs(1) };
        assert_eq!(Guard::default().decide("pc", none, EPISODE, 0), Decision::HoldBack);
    }

    #[test]
    fn a_person_is_told_once_an_episode_and_what_failed_is_tried_again() {
        let limit = Limit { hosts: 1, within: Duration::from_secs(10_000) };
        let mut guard = Guard::default();
        guard.answered("critical", Outcome::Refused, 0);
        assert_eq!(guard.decide("critical", limit, EPISODE, 599 * SECOND), Decision::Wait);
        assert_eq!(guard.decide("critical", limit, EPISODE, 600 * SECOND), Decision::Ask);
        guard.answered("broken", Outcome::Failed, 0);
        assert_eq!(guard.decide("broken", limit, EPISODE, 59 * SECOND), Decision::Wait);
        assert_eq!(guard.decide("broken", limit, EPISODE, 60 * SECOND), Decision::Ask);
        guard.answered("first", Outcome::Done, 0);
        assert_eq!(guard.decide("second", limit, EPISODE, 0), Decision::HoldBack);
        guard.answered("second", Outcome::HeldBack, 0);
        assert_eq!(guard.decide("second", limit, EPISODE, SECOND), Decision::Wait);
        assert_eq!(guard.decide("second", limit, EPISODE, 600 * SECOND), Decision::HoldBack);
        // The time is over: there is room again, and it is taken at once.
        assert_eq!(guard.decide("second", limit, EPISODE, 10_000 * SECOND), Decision::Ask);
        // Somebody released it, and it goes on.
        assert_eq!(guard.decide("first", limit, EPISODE, 10_000 * SECOND), Decision::Ask);
    }

    #[test]
    fn memory_is_bounded_whoever_sends() {
        let mut guard = Guard::default();
        for n in 0..3 * ASKED {
            guard.answered(&n.to_string(), Outcome::Refused, 0);
        }
        assert!(guard.asked.len() <= ASKED);
    }
}
