//! Slow scans: an inside host that looks for others so seldom that the data plane has forgotten one attempt when it makes the
//! next (`nmap -T0`: one in five minutes).
//!
//! The method is that of the fast ones, the random walk of Jung, Paxson, Berger and Balakrishnan ("Fast portscan detection using
//! sequential hypothesis testing", 2004), over flow records: a first contact that nobody answers is a step up, one that is answered
//! a step down, never further than two below zero. It differs in two things. The walk comes down by itself only one step in three
//! hours; and there is one for each service that a host looks for (the same port of many addresses) and one for each address it
//! looks at (many ports), not one for the whole host: what a browser does all day must not make up for what a scanner does beside it.
//!
//! Memory is bounded: the walks that were quiet longest make room.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
};

use super::recent::Recent;

/// Walks that are followed, about 5 MB.
const WALKS: usize = 20_000;
/// Contacts remembered of each: whoever is tried again counts once.
const CONTACTS: usize = 32;
/// The walk comes down by a step in so many milliseconds: eight attempts a day are nobody's scan.
const STEP: i64 = 3 * 3_600_000;
/// Where the walk stops going down.
const FLOOR: i64 = -2;

/// Who tried to reach whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// The inside host.
    pub host: IpAddr,
    /// The address it tried.
    pub peer: IpAddr,
    /// The port there, 0 where there is none.
    pub port: u16,
    /// IP protocol.
    pub proto: u8,
}

/// What was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Search {
    /// One service, at many addresses.
    Service {
        /// Who looks.
        host: IpAddr,
        /// IP protocol.
        proto: u8,
        /// Port.
        port: u16,
    },
    /// Many services of one address.
    Address {
        /// Who looks.
        host: IpAddr,
        /// At whom.
        peer: IpAddr,
    },
}

#[derive(Debug, Default)]
struct Walk {
    height: i64,
    /// From when on it comes down, milliseconds of Unix time.
    since: i64,
    /// Hashes of contacts, and whether each was answered; the oldest first.
    known: VecDeque<(u32, bool)>,
}

impl Walk {
    /// A contact; true if the walk has arrived at `limit`, whereupon it starts again.
    fn step(&mut self, contact: u32, answered: bool, now: i64, limit: i64) -> bool {
        let down = now.saturating_sub(self.since) / STEP;
        if self.height <= 0 {
            self.since = now;
        } else if down > 0 {
            self.height = self.height.saturating_sub(down).max(0);
            self.since = self.since.saturating_add(down.saturating_mul(STEP));
        }
        match self.known.iter_mut().find(|(known, _)| *known == contact) {
            // It was there after all: what was counted against it is taken back.
            Some((_, before)) if answered && !*before => {
                *before = true;
                self.height -= 2;
            }
            Some(_) => {}
            None => {
                if self.known.len() >= CONTACTS {
                    self.known.pop_front();
                }
                self.known.push_back((contact, answered));
                self.height += if answered { -1 } else { 1 };
            }
        }
        self.height = self.height.max(FLOOR);
        let arrived = self.height >= limit;
        if arrived {
            self.height = 0;
        }
        arrived
    }
}

/// All walks under way.
#[derive(Debug)]
pub struct Searches {
    walks: Recent<Search, Walk>,
    /// Hashes that nobody outside can steer.
    secret: RandomState,
}

impl Default for Searches {
    fn default() -> Self {
        Self { walks: Recent::new(WALKS), secret: RandomState::new() }
    }
}

impl Searches {
    /// Notes how a contact went at `now` (milliseconds of Unix time). What its host is found to look for, if one of the two walks
    /// has come to `limit` failures.
    pub fn note(&mut self, contact: Contact, answered: bool, now: i64, limit: u32) -> Option<Search> {
        let Contact { host, peer, port, proto } = contact;
        let mut found = None;
        for search in [Search::Address { host, peer }, Search::Service { host, proto, port }] {
            let number = match search {
                Search::Service { .. } => self.secret.hash_one(peer),
                Search::Address { .. } => self.secret.hash_one((proto, port)),
            };
            // The lower half is as good a hash as the whole.
            let number = (number & u64::from(u32::MAX)) as u32;
            if self.walks.touch(search, now).step(number, answered, now, i64::from(limit.max(1))) {
                found = Some(search);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const MINUTE: i64 = 60_000;
    const START: i64 = 1_800_000_000_000;
    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 10, 17));

    fn to(peer: u32, port: u16) -> Contact {
        Contact { host: HOST, peer: IpAddr::V4(Ipv4Addr::from(0xc633_6400 + peer)), port, proto: 6 }
    }

    /// `nmap -T0`, beside a browser that is answered all the time.
    #[test]
    fn one_attempt_in_five_minutes_is_found_at_the_eighth() {
        let mut searches = Searches::default();
        let mut found = Vec::new();
        for turn in 0..12_u32 {
            let now = START + i64::from(turn) * 5 * MINUTE;
            for site in 0..20 {
                assert_eq!(searches.note(to(10_000 + turn * 20 + site, 443), true, now, 8), None);
            }
            found.extend(searches.note(to(turn, 22), false, now, 8).map(|search| (turn, search)));
        }
        assert_eq!(found, [(7, Search::Service { host: HOST, proto: 6, port: 22 })]);
    }

    #[test]
    fn many_ports_of_one_address_are_found_too() {
        let mut searches = Searches::default();
        let found: Vec<_> = (0..8_u16)
            .filter_map(|turn| searches.note(to(1, 1_000 + turn), false, START + i64::from(turn) * 15 * MINUTE, 8))
            .collect();
        assert_eq!(found, [Search::Address { host: HOST, peer: to(1, 0).peer }]);
    }

    /// A dead server that a program asks for all day, a few more of them, and what comes back later.
    #[test]
    fn the_same_few_that_do_not_answer_are_no_scan() {
        let mut searches = Searches::default();
        for turn in 0..2_000_u32 {
            let now = START + i64::from(turn) * MINUTE;
            assert_eq!(searches.note(to(turn % 7, 9_100), false, now, 8), None, "{turn}");
        }
        for peer in 0..7 {
            assert_eq!(searches.note(to(peer, 9_100), true, START + 2_000 * MINUTE, 8), None);
        }
        for peer in 7..14 {
            assert_eq!(searches.note(to(peer, 9_100), false, START + 2_001 * MINUTE, 8), None);
        }
    }

    /// Seven new ones a day go on for ever; a tenth of all that fails among what is answered does, too.
    #[test]
    fn what_fails_now_and_then_is_no_scan() {
        let mut searches = Searches::default();
        for turn in 0..100_u32 {
            let now = START + i64::from(turn) * 24 * 60 / 7 * MINUTE;
            assert_eq!(searches.note(to(turn, 123), false, now, 8), None, "{turn}");
        }
        for turn in 0..10_000_u32 {
            let now = START + i64::from(turn) * MINUTE;
            assert_eq!(searches.note(to(turn, 443), turn % 10 != 0, now, 8), None, "{turn}");
        }
    }
}
