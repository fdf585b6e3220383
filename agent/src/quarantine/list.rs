//! Who is in quarantine, and the tables that becomes.

use std::net::IpAddr;

use jiff::SignedDuration;
use sekimori_ebpf::abi::MAX_QUARANTINES;
use serde::{Deserialize, Serialize};

use crate::{
    cutoff::{
        Covers, End, Now,
        object::{mac_text, read_mac},
    },
    dataplane::quarantine::Host,
    record::Actor,
};

/// A host to be put in quarantine.
#[derive(Debug, Clone)]
pub struct Wish {
    /// As an administrator names it: address, MAC or device.
    pub host: String,
    /// Its addresses and MACs.
    pub covers: Covers,
    /// Why.
    pub reason: String,
    /// By whom.
    pub placed_by: Actor,
    /// Nobody asked: a detector did it, or an alert.
    pub automatic: bool,
    /// When it ends by itself.
    pub until: Option<End>,
}

/// One host in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// As named.
    pub host: String,
    /// Its number in the data plane, the same as long as it is in quarantine.
    pub slot: u16,
    /// What the name stood for; only ever grows.
    pub covers: Covers,
    /// Why.
    pub reason: String,
    /// By whom.
    pub placed_by: Actor,
    /// Nobody asked.
    #[serde(default)]
    pub automatic: bool,
    /// When, RFC 3339 UTC.
    pub placed_at: String,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<End>,
}

/// Whether it is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It was not there.
    New,
    /// It was: with the wider reach, the later end and the newer reason from now on.
    Again,
}

/// No slot is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_QUARANTINES} hosts are in quarantine already, which is the most")]
pub struct Full;

/// All hosts in quarantine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// In the order in which they came.
    pub hosts: Vec<Entry>,
}

impl List {
    /// Adds a host. A second time never loosens the first: without an end it stays without one, and what a person placed
    /// nothing automatic makes its own.
    ///
    /// # Errors
    /// There is no slot left.
    pub fn place(&mut self, wish: Wish, placed_at: String, now: &Now) -> Result<Placed, Full> {
        if let Some(entry) = self.hosts.iter_mut().find(|entry| entry.host == wish.host) {
            entry.covers.widen(&wish.covers);
            entry.until = entry.until.take().zip(wish.until).map(|(one, other)| one.later(other, now));
            if entry.automatic || !wish.automatic {
                entry.automatic = wish.automatic;
                entry.reason = wish.reason;
                entry.placed_by = wish.placed_by;
            }
            return Ok(Placed::Again);
        }
        let slot = self.free_slot().ok_or(Full)?;
        let Wish { host, covers, reason, placed_by, automatic, until } = wish;
        self.hosts.push(Entry { host, slot, covers, reason, placed_by, automatic, placed_at, until });
        Ok(Placed::New)
    }

    fn free_slot(&self) -> Option<u16> {
        (1..=MAX_QUARANTINES as u16).find(|slot| self.hosts.iter().all(|entry| entry.slot != *slot))
    }

    /// Takes out the host with this very name.
    pub fn lift(&mut self, host: &str) -> Option<Entry> {
        let at = self.hosts.iter().position(|entry| entry.host == host)?;
        Some(self.hosts.remove(at))
    }

    /// Takes out those whose time is over.
    pub fn expire(&mut self, now: &Now) -> Vec<Entry> {
        let over = |entry: &Entry| entry.until.as_ref().is_some_and(|end| !end.left(now).is_positive());
        self.hosts.extract_if(.., |entry| over(entry)).collect()
    }

    /// How long until the next one ends by itself; negative if it is late.
    pub fn next_end(&self, now: &Now) -> Option<SignedDuration> {
        self.hosts.iter().filter_map(|entry| Some(entry.until.as_ref()?.left(now))).min()
    }

    /// For the data plane.
    pub fn tables(&self) -> Vec<Host> {
        let host = |entry: &Entry| Host {
            slot: entry.slot,
            addresses: entry.covers.addresses.clone(),
            macs: entry.covers.macs.iter().filter_map(|mac| read_mac(mac)).collect(),
        };
        self.hosts.iter().map(host).collect()
    }

    /// What `found` in the data plane has and this list does not: it is taken into the list. `placed_by` and `placed_at`
    /// say who found it and when. Whether there was anything.
    pub fn adopt(&mut self, found: &[Host], placed_by: &Actor, placed_at: &str) -> bool {
        let known = self.tables();
        let missing = |address: &IpAddr| !known.iter().any(|host| host.addresses.contains(address));
        let missing_mac = |mac: &[u8; 6]| !known.iter().any(|host| host.macs.contains(mac));
        let mut adopted = false;
        for host in found {
            let addresses: Vec<IpAddr> = host.addresses.iter().copied().filter(|address| missing(address)).collect();
            let macs: Vec<[u8; 6]> = host.macs.iter().copied().filter(|mac| missing_mac(mac)).collect();
            if addresses.is_empty() && macs.is_empty() {
                continue;
            }
            adopted = true;
            let covers = Covers::new(addresses, macs);
            if let Some(entry) = self.hosts.iter_mut().find(|entry| entry.slot == host.slot) {
                entry.covers.widen(&covers);
                continue;
            }
            let first = covers.addresses.first().map(IpAddr::to_string);
            self.hosts.push(Entry {
                host: first.or_else(|| host.macs.first().map(|mac| mac_text(*mac))).unwrap_or_default(),
                slot: host.slot,
                covers,
                reason: "in force without a note on disk".to_owned(),
                placed_by: placed_by.clone(),
                automatic: false,
                placed_at: placed_at.to_owned(),
                until: None,
            });
        }
        adopted
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::agent::keeper::Caller;

    fn at(second: i64) -> Now {
        Now { wall: Timestamp::from_second(second).unwrap(), ..Now::default() }
    }

    fn wish(host: &str, address: &str, until: Option<i64>, automatic: bool) -> Wish {
        Wish {
            host: host.into(),
            covers: Covers::new(vec![address.parse().unwrap()], [[2, 0, 0, 0, 0, 1]]),
            reason: if automatic { "a scan".into() } else { "a call".into() },
            placed_by: Caller::agent().actor,
            automatic,
            until: until.map(|second| End::At(Timestamp::from_second(second).unwrap())),
        }
    }

    #[test]
    fn a_second_time_never_loosens_the_first() {
        let mut list = List::default();
        assert_eq!(list.place(wish("pc", "192.0.2.1", Some(100), true), String::new(), &at(0)), Ok(Placed::New));
        assert_eq!(list.place(wish("pc", "192.0.2.2", Some(50), true), String::new(), &at(0)), Ok(Placed::Again));
        assert_eq!(list.hosts[0].until.as_ref().unwrap().wall(&at(0)).as_second(), 100);
        assert_eq!(list.hosts[0].covers.addresses.len(), 2);
        list.place(wish("pc", "192.0.2.1", None, false), String::new(), &at(0)).unwrap();
        list.place(wish("pc", "192.0.2.1", Some(200), true), String::new(), &at(0)).unwrap();
        assert_eq!((&list.hosts[0].until, list.hosts[0].automatic), (&None, false));
        assert_eq!(list.hosts[0].reason, "a call");
    }

    #[test]
    fn slots_are_kept_and_given_again() {
        let mut list = List::default();
        for n in 1..=3 {
            list.place(wish(&format!("pc-{n}"), &format!("192.0.2.{n}"), None, false), String::new(), &at(0)).unwrap();
        }
        list.lift("pc-2").unwrap();
        list.place(wish("pc-4", "192.0.2.4", None, false), String::new(), &at(0)).unwrap();
        assert_eq!(list.hosts.iter().map(|entry| entry.slot).collect::<Vec<_>>(), [1, 3, 2]);
        for n in 4..=MAX_QUARANTINES {
            list.place(wish(&format!("more-{n}"), "192.0.2.9", None, false), String::new(), &at(0)).unwrap();
        }
        assert_eq!(list.place(wish("one-more", "192.0.2.9", None, false), String::new(), &at(0)), Err(Full));
    }

    #[test]
    fn those_whose_time_is_over_go() {
        let mut list = List::default();
        list.place(wish("short", "192.0.2.1", Some(100), true), String::new(), &at(0)).unwrap();
        list.place(wish("long", "192.0.2.2", Some(200), true), String::new(), &at(0)).unwrap();
        list.place(wish("for-good", "192.0.2.3", None, true), String::new(), &at(0)).unwrap();
        let gone = list.expire(&at(100));
        assert_eq!(gone.iter().map(|entry| entry.host.as_str()).collect::<Vec<_>>(), ["short"]);
        assert_eq!(list.next_end(&at(100)), Some(SignedDuration::from_secs(100)));
    }

    #[test]
    fn what_the_tables_know_and_the_disk_does_not_stays() {
        let mut list = List::default();
        list.place(wish("pc", "192.0.2.1", None, false), String::new(), &at(0)).unwrap();
        let mut found = list.tables();
        assert!(!list.adopt(&found, &Caller::agent().actor, "now"));
        found[0].addresses.push("192.0.2.7".parse().unwrap());
        found.push(Host { slot: 9, addresses: Vec::new(), macs: vec![[2, 0, 0, 0, 0, 9]] });
        assert!(list.adopt(&found, &Caller::agent().actor, "now"));
        assert_eq!(list.hosts[0].covers.addresses.len(), 2);
        assert_eq!((list.hosts[1].host.as_str(), list.hosts[1].slot), ("02:00:00:00:00:09", 9));
        let mut again = list.tables();
        again.iter_mut().for_each(|host| host.addresses.sort_unstable());
        assert_eq!(again, found);
    }
}
