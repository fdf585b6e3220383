//! Writing what inside hosts are watched for: thresholds by zone and exemptions under the parity of their generation, traps
//! and threat lists beside them.
//!
//! Traps have no parity: new ones are there just before the switch and old ones go just after it. What this blurs is whether
//! an attempt within these milliseconds is called a trap contact, not what is permitted.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv6Addr,
};

use aya::maps::{IterableMap as _, MapData, MapError, lpm_trie::Key};
use ipnet::IpNet;
use jiff::Timestamp;
use sekimori_ebpf::{
    abi::MAX_NETS,
    detect::abi::{
        ExemptKey, Host, HostKey, MAX_HOSTS, MAX_STRANGERS, MAX_THREATS, WATCHED, WATCHED_THREATS, Watched, block,
        watched_index,
    },
};

use super::{
    Fill, batch,
    error::{Error, While},
    maps::{Addr, WatchMaps, gone, mapped_prefix, prefix_key},
    read,
};
use crate::compile::detection::Watching;

/// `::ffff:0:0/96`.
const IPV4_RANGE: (Addr, u32) = (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0).octets(), 96);
/// An update of what is there only (linux/bpf.h).
const BPF_EXIST: u64 = 2;
/// On no list, in the trie of threats.
const NO_LIST: u32 = 0;

/// What an update of the threat lists did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Entries that are new or on another list now.
    pub added: usize,
    /// Entries that went.
    pub removed: usize,
    /// Entries there are.
    pub total: usize,
}

/// Under which keys hosts may have a state.
fn keys(hosts: &[Addr]) -> impl Iterator<Item = HostKey> {
    hosts.iter().flat_map(|addr| (0..MAX_NETS).map(|net| HostKey { addr: *addr, net }))
}

fn state(map: &aya::maps::HashMap<MapData, HostKey, Host>, key: &HostKey) -> Result<Option<Host>, Error> {
    match map.get(key, 0) {
        Ok(host) => Ok(Some(host)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error).doing("read a watched host"),
    }
}

/// Which blocks of a host are lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifted {
    /// All.
    Everything,
    /// What holds until the agent has placed a quarantine.
    StandIn,
}

/// A prefix (address and length) and the list it is on.
type Threat = ((Addr, u32), u32);

/// See the module documentation.
pub struct Watch {
    maps: WatchMaps,
    /// What the tables in force say; `None`: another agent staged them, and nobody has said yet.
    watching: Option<Watching>,
    /// There is something on threat lists.
    threatened: bool,
    /// What is on them, sorted; `None`: only the kernel knows.
    threats: Option<Vec<Threat>>,
}

impl Watch {
    /// Over what is there already.
    pub fn new(maps: WatchMaps) -> Self {
        let threatened = maps.threats.keys().next().is_some();
        Self { maps, watching: None, threatened, threats: None }
    }

    /// Remembers what the tables in force say.
    pub fn know(&mut self, watching: &Watching) {
        self.watching = Some(watching.clone());
    }

    /// Writes the thresholds and exemptions of a generation that is about to be switched to, and reads the thresholds back.
    /// The number of entries is returned.
    pub fn stage(&mut self, watching: &Watching, generation: u32, now: Timestamp) -> Result<u64, Error> {
        let zones: HashMap<u16, &Watched> = watching.zones.iter().map(|(net, watched)| (*net, watched)).collect();
        for net in 0..MAX_NETS as u16 {
            let watched = self.flagged(zones.get(&net).copied().unwrap_or(&Watched::NOTHING));
            let index = watched_index(generation, net);
            self.maps.watched.set(index, watched, 0).doing("write what is watched for")?;
            if self.maps.watched.get(&index, 0).doing("read back what is watched for")? != watched {
                return Err(Error::new("verify what is watched for", "an entry reads back differently"));
            }
        }
        for trap in &watching.traps {
            self.maps.traps.insert(trap, 1, 0).doing("write a trap")?;
        }
        let exempt = self.write_exempt(watching, generation, now)?;
        Ok(zones.len() as u64 + watching.traps.len() as u64 + exempt)
    }

    /// Brings what changes without a switch up to date under the generation in force: exemptions that are over at `now` go,
    /// and traps that only an earlier policy had.
    pub fn refresh(&mut self, generation: u32, now: Timestamp) -> Result<(), Error> {
        let Some(watching) = self.watching.take() else { return Ok(()) };
        let written = self.write_exempt(&watching, generation, now).and_then(|_| self.drop_traps(&watching));
        self.watching = Some(watching);
        written
    }

    fn drop_traps(&mut self, watching: &Watching) -> Result<(), Error> {
        let kept: HashSet<&Addr> = watching.traps.iter().collect();
        let listed: Vec<Addr> = self.maps.traps.keys().filter_map(Result::ok).collect();
        for trap in listed.iter().filter(|trap| !kept.contains(trap)) {
            gone(self.maps.traps.remove(trap)).doing("remove a trap")?;
        }
        Ok(())
    }

    /// Makes the exemptions under a parity those that hold at `now`.
    fn write_exempt(&mut self, watching: &Watching, generation: u32, now: Timestamp) -> Result<u64, Error> {
        let parity = generation & 1;
        let wanted = watching.exempt_at(now);
        let mut listed: HashMap<Addr, u64> = HashMap::new();
        for entry in self.maps.exempt.iter() {
            let (key, mask) = entry.doing("read the exemptions")?;
            if key.parity == parity {
                listed.insert(key.addr, mask);
            }
        }
        for addr in listed.keys().filter(|addr| !wanted.contains_key(*addr)) {
            gone(self.maps.exempt.remove(&ExemptKey { addr: *addr, parity })).doing("end an exemption")?;
        }
        for (addr, mask) in &wanted {
            if listed.get(addr) != Some(mask) {
                self.maps.exempt.insert(ExemptKey { addr: *addr, parity }, mask, 0).doing("write an exemption")?;
            }
        }
        Ok(wanted.len() as u64)
    }

    /// Replaces what is on threat lists, writing only what changed: what is new first, then what is no longer on any goes.
    /// A prefix on several lists counts as on the first of them.
    pub fn threats(&mut self, generation: u32, prefixes: &[(IpNet, u32)]) -> Result<Written, Error> {
        let wanted = wanted(prefixes)?;
        let listed = match self.threats.take() {
            Some(listed) => listed,
            None => self.listed()?,
        };
        let (new, old) = difference(&listed, &wanted);
        let keys: Vec<Key<Addr>> = new.iter().map(|((addr, length), _)| prefix_key(*length, *addr)).collect();
        let values: Vec<u32> = new.iter().map(|(_, list)| *list).collect();
        // Both rooms together may be too small: what goes makes room first then, at the price of a moment without it.
        let crowded = listed.len() + new.len() > MAX_THREATS as usize;
        if crowded {
            self.remove(&old)?;
        }
        batch::update(self.maps.threats.map(), "the threat lists", &keys, &values)?;
        if !crowded {
            self.remove(&old)?;
        }
        let written = Written { added: new.len(), removed: old.len(), total: wanted.len() };
        self.threatened = !wanted.is_empty();
        self.threats = Some(wanted);
        if generation != 0 {
            self.flag(generation)?;
        }
        Ok(written)
    }

    /// Forgets hosts that nobody has heard of for `idle` nanoseconds and that nothing blocks, so that others find room. How many.
    pub fn forget_idle(&mut self, now: u64, idle: u64) -> Result<usize, Error> {
        let mut gone_by = Vec::new();
        batch::each::<HostKey, Host>(self.maps.hosts.map(), "the watched hosts", |key, host| {
            if now.saturating_sub(host.seen) > idle && host.blocks.iter().all(|until| *until <= now) {
                gone_by.push(*key);
            }
        })?;
        for key in &gone_by {
            gone(self.maps.hosts.remove(key)).doing("forget a watched host")?;
        }
        Ok(gone_by.len())
    }

    /// Ends what detectors block these for, in all zones: everything they do, or only what stands in for a quarantine. What the
    /// programs write into a state meanwhile may be lost: a few counts.
    pub fn lift(&mut self, hosts: &[Addr], lifted: Lifted, now: u64) -> Result<(), Error> {
        for key in keys(hosts) {
            for map in [&mut self.maps.hosts, &mut self.maps.strangers] {
                let Some(mut host) = state(map, &key)? else { continue };
                let blocks = match lifted {
                    Lifted::Everything => &mut host.blocks[..],
                    Lifted::StandIn => std::slice::from_mut(&mut host.blocks[block::ALL]),
                };
                if blocks.iter().any(|until| *until > now) {
                    blocks.fill(0);
                    gone(map.insert(key, host, BPF_EXIST)).doing("lift the blocks of a host")?;
                }
            }
        }
        Ok(())
    }

    /// Whether detectors block one of these now, in any zone.
    pub fn blocks(&self, hosts: &[Addr], now: u64) -> Result<bool, Error> {
        for key in keys(hosts) {
            for map in [&self.maps.hosts, &self.maps.strangers] {
                if state(map, &key)?.is_some_and(|host| host.blocks.iter().any(|until| *until > now)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// How full the tables of hosts are.
    pub fn fill(&self) -> [Fill; 2] {
        let row = |table, map, most| Fill { table, used: read::entries(map, most), capacity: u64::from(most) };
        [row("hosts", &self.maps.hosts, MAX_HOSTS), row("strangers", &self.maps.strangers, MAX_STRANGERS)]
    }

    fn remove(&mut self, old: &[(Addr, u32)]) -> Result<(), Error> {
        old.iter().try_for_each(|(addr, length)| {
            gone(self.maps.threats.remove(&prefix_key(*length, *addr))).doing("take a prefix off the threat lists")
        })
    }

    fn listed(&self) -> Result<Vec<Threat>, Error> {
        let mut listed = Vec::new();
        for entry in self.maps.threats.iter() {
            let (key, list) = entry.doing("read the threat lists")?;
            listed.push(((key.data(), key.prefix_len()), list));
        }
        listed.sort_unstable();
        Ok(listed)
    }

    /// Writes the zones in force again, for the flag. A packet that reads one meanwhile finds all else as it was.
    fn flag(&mut self, generation: u32) -> Result<(), Error> {
        for (net, watched) in self.watching.iter().flat_map(|watching| &watching.zones) {
            let watched = self.flagged(watched);
            self.maps.watched.set(watched_index(generation, *net), watched, 0).doing("write what is watched for")?;
        }
        Ok(())
    }

    fn flagged(&self, watched: &Watched) -> Watched {
        let threats = if self.threatened && watched.flags & WATCHED != 0 { WATCHED_THREATS } else { 0 };
        Watched { flags: watched.flags | threats, ..*watched }
    }
}

/// The entries that say what `prefixes` say, sorted, each prefix once.
fn wanted(prefixes: &[(IpNet, u32)]) -> Result<Vec<Threat>, Error> {
    let mut wanted: Vec<Threat> = Vec::with_capacity(prefixes.len());
    for (prefix, list) in prefixes {
        if *list == NO_LIST {
            return Err(Error::new("write the threat lists", format!("{prefix} is on list 0, which is none")));
        }
        let (length, addr) = mapped_prefix(*prefix);
        wanted.push(((addr, length), *list));
    }
    wanted.sort_unstable();
    wanted.dedup_by_key(|(key, _)| *key);
    // A short IPv6 prefix holds the IPv4-mapped range only by notation.
    let holds = |prefix: &IpNet| match prefix {
        IpNet::V6(v6) => v6.prefix_len() < 96 && v6.contains(&Ipv6Addr::from(IPV4_RANGE.0)),
        IpNet::V4(_) => false,
    };
    if prefixes.iter().any(|(prefix, _)| holds(prefix))
        && let Err(place) = wanted.binary_search_by_key(&IPV4_RANGE, |(key, _)| *key)
    {
        wanted.insert(place, (IPV4_RANGE, NO_LIST));
    }
    if wanted.len() > MAX_THREATS as usize {
        let what = format!("{} prefixes, the limit is {MAX_THREATS}: leave a list out", wanted.len());
        return Err(Error::new("write the threat lists", what));
    }
    Ok(wanted)
}

/// What is new or different in the second, and what is only in the first.
fn difference(listed: &[Threat], wanted: &[Threat]) -> (Vec<Threat>, Vec<(Addr, u32)>) {
    let held = |all: &[Threat], key: &(Addr, u32)| {
        all.binary_search_by_key(key, |(key, _)| *key).ok().and_then(|place| all.get(place).copied())
    };
    let new = wanted.iter().copied().filter(|entry| held(listed, &entry.0) != Some(*entry)).collect();
    let old = listed.iter().map(|(key, _)| *key).filter(|key| held(wanted, key).is_none()).collect();
    (new, old)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn list(texts: &[(&str, u32)]) -> Vec<Threat> {
        let prefixes: Vec<(IpNet, u32)> = texts.iter().map(|(text, list)| (text.parse().unwrap(), *list)).collect();
        wanted(&prefixes).unwrap()
    }

    #[test]
    fn only_what_changed_is_written() {
        let before = list(&[("198.51.100.0/24", 1), ("203.0.113.7/32", 1), ("2001:db8::/32", 2)]);
        let after = list(&[("198.51.100.0/24", 3), ("2001:db8::/32", 2), ("192.0.2.0/24", 1)]);
        let (new, old) = difference(&before, &after);
        assert_eq!(new, list(&[("192.0.2.0/24", 1), ("198.51.100.0/24", 3)]));
        assert_eq!(old, [list(&[("203.0.113.7/32", 1)])[0].0]);
        assert_eq!(difference(&after, &after), (Vec::new(), Vec::new()));
    }

    #[test]
    fn the_first_list_counts_and_ipv6_is_not_ipv4() {
        assert_eq!(list(&[("192.0.2.0/24", 7), ("192.0.2.0/24", 4)]), list(&[("192.0.2.0/24", 4)]));
        let short = list(&[("::/64", 1)]);
        assert_eq!(short.len(), 2);
        assert_eq!(short.iter().find(|(key, _)| *key == IPV4_RANGE), Some(&(IPV4_RANGE, NO_LIST)));
        assert_eq!(list(&[("::/64", 1), ("0.0.0.0/0", 2)]).len(), 2);
        assert!(wanted(&[("192.0.2.0/24".parse().unwrap(), 0)]).is_err());
    }
}
