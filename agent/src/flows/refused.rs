//! From sampled drops to records: who was refused what, how often, in stretches of some minutes.
//!
//! The data plane counts every drop exactly and samples some. What is sampled is attributed here, as long as there are places; the
//! rest (beyond the sampling rate, lost on the way, without a place) is the difference to the exact counters, and is recorded
//! as refused packets of others.

use std::collections::HashMap;

use sekimori_ebpf::{
    abi::{DIR_OUT, Event, MacKey, proto},
    reason::{Reason, Verdict},
};

use super::{
    record::{Addr, Kind, Record},
    walk::Names,
};

/// Hosts, peers and ports told apart in one stretch: a scan must not fill the disk.
const PLACES: usize = 4_096;
/// How long a stretch is, `CLOCK_BOOTTIME` nanoseconds.
const STRETCH: u64 = 300_000_000_000;

/// What refused packets of one record have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    host: Addr,
    peer: Addr,
    port: u16,
    vlan: u16,
    slot: u32,
    proto: u8,
    class: Class,
}

/// What the exact counters tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class {
    /// Zone or network of the interface.
    pub net: u16,
    /// Reason number.
    pub reason: u8,
    /// On the way out.
    pub outwards: bool,
}

#[derive(Debug, Clone, Copy)]
struct Tally {
    first: u64,
    last: u64,
    mac: [u8; 6],
    count: u64,
    /// What its record says so far.
    said: u64,
}

/// The stretch under way.
#[derive(Debug, Default)]
pub struct Refusals {
    keys: HashMap<Key, Tally>,
    /// Packets of each class that have a place.
    placed: HashMap<Class, u64>,
    /// The exact counters when the stretch began; `None` until they were read once.
    base: Option<HashMap<Class, u64>>,
    began: u64,
    /// What `Others` records of this stretch say so far.
    others: HashMap<Class, u64>,
    /// Of all stretches: packets that no record attributes.
    unattributed: u64,
}

impl Refusals {
    /// Takes note of a sampled drop; anything else is left alone.
    pub fn note(&mut self, event: &Event) {
        let Ok(reason) = u8::try_from(event.reason) else { return };
        if Reason::from_number(event.reason).is_some_and(|reason| reason.verdict() == Verdict::Pass) {
            return;
        }
        let class = Class { net: event.net, reason, outwards: u32::from(event.direction) == DIR_OUT };
        let port = if matches!(event.proto, proto::TCP | proto::UDP) { event.dport } else { 0 };
        let key = Key {
            host: event.src,
            peer: event.dst,
            port,
            vlan: event.vlan,
            slot: event.slot,
            proto: event.proto,
            class,
        };
        let room = self.keys.len() < PLACES;
        let tally = match self.keys.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) if room => {
                free.insert(Tally { first: event.time, last: event.time, mac: event.mac, count: 0, said: 0 })
            }
            std::collections::hash_map::Entry::Vacant(_) => return,
        };
        tally.last = tally.last.max(event.time);
        tally.first = tally.first.min(event.time);
        tally.count += 1;
        *self.placed.entry(class).or_default() += 1;
    }

    /// Records of what changed since the last call. `exact`: the counters of drops, read before the events that were noted;
    /// `now`: `CLOCK_BOOTTIME` nanoseconds; `offset`: as in [`super::format::Walk`].
    pub fn take(
        &mut self,
        exact: &HashMap<Class, u64>,
        now: u64,
        offset: i64,
        names: &Names,
        sink: &mut dyn FnMut(Record),
    ) {
        let wall = |at: u64| i64::try_from(at / 1_000_000).unwrap_or(0).saturating_add(offset);
        let Some(base) = &self.base else {
            self.begin(exact, now);
            return;
        };
        for (key, tally) in self.keys.iter_mut().filter(|(_, tally)| tally.count > tally.said) {
            tally.said = tally.count;
            sink(record(key, tally, &wall, names));
        }
        let mut classes: Vec<_> = exact.iter().collect();
        classes.sort();
        for (class, count) in classes {
            let since = since(base, class, *count);
            let others = since.saturating_sub(self.placed.get(class).copied().unwrap_or(0));
            let said = self.others.entry(*class).or_default();
            if others > *said {
                self.unattributed += others - *said;
                *said = others;
                let zero = [0; 16];
                let key = Key { host: zero, peer: zero, port: 0, vlan: 0, slot: 0, proto: 0, class: *class };
                let tally = Tally { first: self.began, last: now, mac: [0; 6], count: others, said: 0 };
                sink(Record { kind: Kind::Others, ..record(&key, &tally, &wall, names) });
            }
        }
        if now.saturating_sub(self.began) >= STRETCH {
            self.begin(exact, now);
        }
    }

    /// Another stretch begins: what was recorded of this one is not added to any more.
    pub fn begin(&mut self, exact: &HashMap<Class, u64>, now: u64) {
        // Events that came after the counters were read have their packets in the next stretch.
        let early = |(class, placed): (&Class, &u64)| {
            let counted = exact.get(class).copied().unwrap_or(0);
            let before = self.base.as_ref().map_or(*placed, |base| since(base, class, counted));
            Some((*class, placed.checked_sub(before).filter(|early| *early > 0)?))
        };
        self.placed = self.placed.iter().filter_map(early).collect();
        self.keys.retain(|_, tally| tally.count > tally.said);
        for tally in self.keys.values_mut().filter(|tally| tally.said > 0) {
            (tally.first, tally.count, tally.said) = (tally.last, tally.count - tally.said, 0);
        }
        self.others.clear();
        self.base = Some(exact.clone());
        self.began = now;
    }

    /// Refused packets that no record attributes to anybody, since the agent started.
    pub fn unattributed(&self) -> u64 {
        self.unattributed
    }
}

/// Packets counted since the stretch began. Less than then: other tables, which began at 0.
fn since(base: &HashMap<Class, u64>, class: &Class, count: u64) -> u64 {
    count.checked_sub(base.get(class).copied().unwrap_or(0)).unwrap_or(count)
}

fn record(key: &Key, tally: &Tally, wall: &impl Fn(u64) -> i64, names: &Names) -> Record {
    let none = || std::sync::Arc::<str>::from("");
    let Class { net, reason, outwards } = key.class;
    // On the way out the source is somewhere else, and its MAC is the box's own.
    let number = if outwards {
        names.by_address.get(&key.host)
    } else {
        names.by_mac.get(&MacKey { mac: tally.mac, net }).or_else(|| names.by_address.get(&key.host))
    };
    let (first, last) = (wall(tally.first), wall(tally.last));
    Record {
        kind: Kind::Refused,
        first,
        last: Record::rounded(first, last),
        host: key.host,
        host_port: 0,
        peer: key.peer,
        peer_port: key.port,
        proto: key.proto,
        zone: if outwards { none() } else { names.net(net) },
        network: if outwards { names.net(net) } else { none() },
        interface: none(),
        vlan: key.vlan,
        device: number.map_or_else(none, |number| names.device(*number)),
        rule: key.slot.checked_sub(1).map_or_else(none, |slot| names.rule(slot)),
        reason,
        outwards,
        answered: false,
        count: tally.count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const CLASS: Class = Class { net: 1, reason: Reason::NoRule as u8, outwards: false };

    fn event(host: u8, port: u16, at: u64) -> Event {
        Event {
            time: at * SECOND,
            src: std::net::Ipv4Addr::new(192, 168, 10, host).to_ipv6_mapped().octets(),
            dst: std::net::Ipv4Addr::new(198, 51, 100, 5).to_ipv6_mapped().octets(),
            dport: port,
            proto: proto::TCP,
            net: 1,
            reason: Reason::NoRule as u32,
            ..Event::default()
        }
    }

    fn taken(refusals: &mut Refusals, exact: u64, now: u64) -> Vec<(Kind, u16, u64)> {
        let mut found = Vec::new();
        let mut sink = |record: Record| found.push((record.kind, record.peer_port, record.count));
        refusals.take(&[(CLASS, exact)].into(), now * SECOND, 0, &Names::default(), &mut sink);
        found.sort_by_key(|(kind, port, _)| (*kind as u8, *port));
        found
    }

    #[test]
    fn refused_packets_are_counted_by_host_and_port_in_stretches() {
        let mut refusals = Refusals::default();
        assert_eq!(taken(&mut refusals, 1_000, 100), []);
        (0..3).for_each(|at| refusals.note(&event(17, 22, 101 + at)));
        refusals.note(&event(17, 23, 105));
        assert_eq!(taken(&mut refusals, 1_004, 110), [(Kind::Refused, 22, 3), (Kind::Refused, 23, 1)]);
        assert_eq!(taken(&mut refusals, 1_004, 120), []);
        refusals.note(&event(17, 22, 121));
        // The same record, which replaces what it said before.
        assert_eq!(taken(&mut refusals, 1_005, 130), [(Kind::Refused, 22, 4)]);
        taken(&mut refusals, 1_005, 401);
        refusals.note(&event(17, 22, 402));
        assert_eq!(taken(&mut refusals, 1_006, 410), [(Kind::Refused, 22, 1)]);
        assert_eq!(refusals.unattributed(), 0);
    }

    #[test]
    fn what_has_no_place_and_what_was_not_sampled_is_said() {
        let mut refusals = Refusals::default();
        taken(&mut refusals, 0, 100);
        let ports = u16::try_from(PLACES).unwrap_or(0) + 100;
        (1..=ports).for_each(|port| refusals.note(&event(17, port, 101)));
        let found = taken(&mut refusals, u64::from(ports) + 50, 110);
        assert_eq!(found.len(), PLACES + 1);
        assert_eq!(found.last(), Some(&(Kind::Others, 0, 150)));
        assert_eq!(refusals.unattributed(), 150);
        assert_eq!(taken(&mut refusals, u64::from(ports) + 51, 120), [(Kind::Others, 0, 151)]);
        assert_eq!(refusals.unattributed(), 151);
        // An event that comes before it is counted takes nothing away.
        refusals.note(&event(17, 1, 121));
        assert_eq!(taken(&mut refusals, u64::from(ports) + 51, 130), [(Kind::Refused, 1, 2)]);
    }

    #[test]
    fn an_event_between_two_stretches_is_counted_once() {
        let mut refusals = Refusals::default();
        taken(&mut refusals, 0, 100);
        refusals.note(&event(17, 22, 101));
        // Known before its packet is counted, and recorded at the very end of a stretch.
        assert_eq!(taken(&mut refusals, 0, 401), [(Kind::Refused, 22, 1)]);
        assert_eq!(taken(&mut refusals, 1, 411), []);
        // Noted after the stretch was recorded and before the next begins.
        refusals.note(&event(17, 22, 412));
        assert_eq!(taken(&mut refusals, 2, 413), [(Kind::Refused, 22, 1)]);
        refusals.note(&event(17, 22, 414));
        refusals.begin(&[(CLASS, 2)].into(), 415 * SECOND);
        assert_eq!(taken(&mut refusals, 3, 416), [(Kind::Refused, 22, 1)]);
        assert_eq!(refusals.unattributed(), 0);
    }

    #[test]
    fn what_passed_is_no_refusal() {
        let mut refusals = Refusals::default();
        taken(&mut refusals, 0, 100);
        refusals.note(&Event { reason: Reason::Rule as u32, ..event(17, 80, 101) });
        assert_eq!(taken(&mut refusals, 0, 110), []);
    }
}
