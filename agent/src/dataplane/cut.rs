//! Writing the cut-off: closing before opening, so that no moment is more open than both the old and the new state.
//!
//! [`close`] adds, [`stage`] lets what is on a list pass cuts that are restored in stages, and [`open`] takes away; [`write()`]
//! is all three. Each cut prefix and MAC has as its value the slot under which what it refused counts; a slot given anew begins
//! at nothing.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv6Addr},
};

use aya::{maps::PerCpuValues, util::nr_cpus};
use ipnet::IpNet;
use sekimori_ebpf::abi::{
    CUT_ALL_STAGED, CUT_ANY_MAC, CUT_ANY_NET, CUT_ANY_PREFIX, CUT_ANY_STAGED, CUT_STAGED, CUT_WHOLE, CutWord,
    MAX_CUT_SLOTS, MAX_NETS, MAX_STAGED, MAX_STAGED_SERVICES, Refused, SLOT_STAGED, Stage, StagedService,
    quarantine_mac,
};

use super::{
    CutTables, StageList, StagedCut,
    error::{Error, While},
    maps::{Addr, CutMaps, gone, mapped, mapped_prefix, prefix_key},
};

/// `::ffff:0:0/96`.
const IPV4_RANGE: (u32, Addr) = (96, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);

/// What is cut, as the maps write it.
#[derive(Debug, Default)]
struct Listed {
    /// With their slots.
    prefixes: Vec<((u32, Addr), u32)>,
    macs: Vec<([u8; 6], u32)>,
}

impl Listed {
    fn read(maps: &CutMaps) -> Result<Self, Error> {
        let mut listed = Self::default();
        for entry in maps.prefixes.iter() {
            let (key, slot) = entry.doing("read the cut prefixes")?;
            listed.prefixes.push(((key.prefix_len(), key.data()), slot));
        }
        for entry in maps.macs.iter() {
            listed.macs.push(entry.doing("read the cut MACs")?);
        }
        Ok(listed)
    }

    /// Slots nobody counts under.
    fn free(&self) -> impl Iterator<Item = u32> + use<> {
        let prefixes = self.prefixes.iter().map(|(_, slot)| *slot);
        let all = prefixes.chain(self.macs.iter().map(|(_, slot)| *slot));
        let used: HashSet<u32> = all.map(|slot| slot & !SLOT_STAGED).collect();
        (1..MAX_CUT_SLOTS).filter(move |slot| !used.contains(slot))
    }
}

fn flags(cut: &CutTables) -> u32 {
    let any = |empty: bool, flag: u32| if empty { 0 } else { flag };
    let staged = &cut.staged;
    any(cut.nets.is_empty() && staged.nets.is_empty(), CUT_ANY_NET)
        | any(cut.prefixes.is_empty() && staged.prefixes.is_empty(), CUT_ANY_PREFIX)
        | any(cut.macs.is_empty() && staged.macs.is_empty(), CUT_ANY_MAC)
        | any(staged.is_empty(), CUT_ANY_STAGED)
}

/// Both as [`CutWord::all`]; what is cut whole beats what is restored in stages.
fn all_of(whole: u32, staged: bool) -> u32 {
    if whole == 0 && staged { CUT_ALL_STAGED } else { whole }
}

/// Their other way round.
fn parts_of(all: u32) -> (u32, bool) {
    if all == CUT_ALL_STAGED { (0, true) } else { (all, false) }
}

/// Replaces what is cut: new objects first, then old ones go.
pub fn write(maps: &mut CutMaps, cut: &CutTables) -> Result<(), Error> {
    close(maps, cut)?;
    stage(maps, cut)?;
    open(maps, cut)
}

/// What of this is not listed yet; of prefixes and MACs, of which one look does not tell, all.
pub fn lacking(maps: &CutMaps, cut: &CutTables) -> Result<CutTables, Error> {
    let (whole, _) = parts_of(maps.word.get(&0, 0).doing("read the cut-off word")?.all);
    let mut new = CutTables { all: if whole < cut.all { cut.all } else { 0 }, nets: Vec::new(), ..cut.clone() };
    for net in &cut.nets {
        if maps.nets.get(&u32::from(*net), 0).doing("read a cut network")? != CUT_WHOLE {
            new.nets.push(*net);
        }
    }
    Ok(new)
}

/// Adds what is cut whole and lifts nothing. When it returns, every packet that is judged from then on meets all of it.
pub fn close(maps: &mut CutMaps, cut: &CutTables) -> Result<(), Error> {
    for net in &cut.nets {
        maps.nets.set(u32::from(*net), CUT_WHOLE, 0).doing("cut a network")?;
    }
    list(maps, &cut.prefixes, &cut.macs, 0)?;
    let old = maps.word.get(&0, 0).doing("read the cut-off word")?;
    let (whole, staged) = parts_of(old.all);
    let word = CutWord { all: all_of(cut.all.max(whole), staged), any: flags(cut) & !CUT_ANY_STAGED | old.any };
    maps.word.set(0, word, 0).doing("write the cut-off word")
}

/// Lists prefixes and MACs under a slot each: a new one, or the one they have; `sign`: 0, or [`SLOT_STAGED`].
fn list(maps: &mut CutMaps, prefixes: &[IpNet], macs: &[[u8; 6]], sign: u32) -> Result<(), Error> {
    if prefixes.is_empty() && macs.is_empty() {
        return Ok(());
    }
    let listed = Listed::read(maps)?;
    let mut free = listed.free();
    let mut slot = |maps: &mut CutMaps| match free.next() {
        Some(slot) => {
            let zero = vec![Refused::default(); nr_cpus().map_err(|(_, error)| error).doing("count the CPUs")?];
            let zero: PerCpuValues<Refused> = zero.try_into().doing("forget what was refused")?;
            maps.refused.set(slot, zero, 0).doing("forget what was refused").map(|()| slot)
        }
        // More than have counters: no such slot counts anything.
        None => Ok(MAX_CUT_SLOTS),
    };
    let wanted: Vec<_> = prefixes.iter().map(|prefix| mapped_prefix(*prefix)).collect();
    // A short IPv6 prefix holds the IPv4-mapped range only by notation: unless IPv4 itself is cut, it stays open.
    if !wanted.contains(&IPV4_RANGE) && !listed.prefixes.iter().any(|(key, _)| *key == IPV4_RANGE) {
        let (length, mapped) = IPV4_RANGE;
        maps.prefixes.insert(&prefix_key(length, mapped), 0, 0).doing("keep IPv4 apart from IPv6")?;
    }
    // The longest prefix decides: one that is restored in stages must not speak for a wider one that is cut whole.
    let inside = |key: &(u32, Addr)| {
        let net = u128::from_be_bytes(key.1);
        let within = |(length, addr): &(u32, Addr)| {
            let same = u128::from_be_bytes(*addr) ^ net;
            *length <= key.0 && (*length == 0 || same >> (128 - *length) == 0)
        };
        wanted.iter().any(within)
    };
    for (key, slot) in listed.prefixes.iter().filter(|(key, slot)| sign == 0 && slot & SLOT_STAGED != 0 && inside(key))
    {
        maps.prefixes.insert(&prefix_key(key.0, key.1), slot & !SLOT_STAGED, 0).doing("cut a prefix")?;
    }
    for key in wanted {
        let known = listed.prefixes.iter().find(|(its, slot)| *its == key && *slot != 0).map(|(_, slot)| *slot);
        let number = known.map_or_else(|| slot(maps), |known| Ok(known & !SLOT_STAGED))?;
        if known != Some(number | sign) {
            maps.prefixes.insert(&prefix_key(key.0, key.1), number | sign, 0).doing("cut a prefix")?;
        }
    }
    for mac in macs {
        let known = listed.macs.iter().find(|(its, _)| its == mac).map(|(_, slot)| *slot);
        let number = known.map_or_else(|| slot(maps), |known| Ok(known & !SLOT_STAGED))?;
        if known != Some(number | sign) {
            maps.macs.insert(mac, number | sign, 0).doing("cut a MAC")?;
        }
    }
    Ok(())
}

/// Lets what is on the list pass the cuts that are restored in stages. What leaves the list goes first, what comes to it last.
pub fn stage(maps: &mut CutMaps, cut: &CutTables) -> Result<(), Error> {
    let StagedCut { all, nets, prefixes, macs, list: wanted } = &cut.staged;
    let hosts = hosts(wanted);
    if hosts.len() > MAX_STAGED as usize {
        let what = format!("{} addresses and MACs, the limit is {MAX_STAGED}", hosts.len());
        return Err(Error::new("restore in stages", what));
    }
    let services = services(wanted)?;
    let mut listed = HashSet::new();
    for key in maps.listed.keys() {
        listed.insert(key.doing("read what is restored first")?);
    }
    for key in listed.difference(&hosts) {
        gone(maps.listed.remove(key)).doing("take a host off the list")?;
    }
    let old = maps.stage.get(&0, 0).doing("read what is restored first")?;
    let mut both = old;
    for service in both.services.iter_mut().filter(|service| !services.services.contains(service)) {
        *service = StagedService::NONE;
    }
    if both != old {
        maps.stage.set(0, both, 0).doing("take a service off the list")?;
    }
    // The way in looks for the list before anything is let through for being on it.
    let word = maps.word.get(&0, 0).doing("read the cut-off word")?;
    let (whole, _) = parts_of(word.all);
    if !cut.staged.is_empty() {
        let word = CutWord { all: word.all, any: word.any | CUT_ANY_STAGED };
        maps.word.set(0, word, 0).doing("write the cut-off word")?;
    }
    for net in nets {
        maps.nets.set(u32::from(*net), CUT_STAGED, 0).doing("restore a network in stages")?;
    }
    self::list(maps, prefixes, macs, SLOT_STAGED)?;
    if !cut.staged.is_empty() {
        let all = if *all { CUT_ALL_STAGED } else { all_of(whole, false) };
        maps.word.set(0, CutWord { all, any: word.any | flags(cut) }, 0).doing("write the cut-off word")?;
    }
    for key in hosts.difference(&listed) {
        maps.listed.insert(key, 1, 0).doing("put a host on the list")?;
    }
    if both != services {
        maps.stage.set(0, services, 0).doing("put a service on the list")?;
    }
    Ok(())
}

fn hosts(list: &StageList) -> HashSet<Addr> {
    list.addresses.iter().map(|address| mapped(*address)).chain(list.macs.iter().map(quarantine_mac)).collect()
}

fn services(list: &StageList) -> Result<Stage, Error> {
    if list.services.len() > MAX_STAGED_SERVICES {
        let what = format!("{} ranges of ports, the limit is {MAX_STAGED_SERVICES}", list.services.len());
        return Err(Error::new("restore in stages", what));
    }
    let mut stage = Stage::EMPTY;
    for (service, (first, last)) in stage.services.iter_mut().zip(&list.services) {
        *service = StagedService { first: *first, more: last.saturating_sub(*first) };
    }
    Ok(stage)
}

/// Lifts everything but this.
pub fn open(maps: &mut CutMaps, cut: &CutTables) -> Result<(), Error> {
    let old = maps.word.get(&0, 0).doing("read the cut-off word")?;
    let all = all_of(cut.all, cut.staged.all);
    // Nothing old may open while it is still listed: the flags hold until the tables are clean.
    maps.word.set(0, CutWord { all, any: flags(cut) | old.any }, 0).doing("write the cut-off word")?;
    if old.any & CUT_ANY_NET != 0 {
        for net in 0..MAX_NETS {
            let wanted = |nets: &[u16]| nets.iter().any(|n| u32::from(*n) == net);
            if !wanted(&cut.nets)
                && !wanted(&cut.staged.nets)
                && maps.nets.get(&net, 0).doing("read a cut network")? != 0
            {
                maps.nets.set(net, 0, 0).doing("restore a network")?;
            }
        }
    }
    let listed = Listed::read(maps)?;
    let wanted: HashSet<_> =
        cut.prefixes.iter().chain(&cut.staged.prefixes).map(|prefix| mapped_prefix(*prefix)).collect();
    for (key, slot) in listed.prefixes {
        if key == IPV4_RANGE && !wanted.contains(&key) {
            // Still there for short IPv6 prefixes.
            if slot != 0 {
                maps.prefixes.insert(&prefix_key(key.0, key.1), 0, 0).doing("restore IPv4")?;
            }
        } else if !wanted.contains(&key) {
            gone(maps.prefixes.remove(&prefix_key(key.0, key.1))).doing("restore a prefix")?;
        }
    }
    for (mac, _) in listed.macs {
        if !cut.macs.contains(&mac) && !cut.staged.macs.contains(&mac) {
            gone(maps.macs.remove(&mac)).doing("restore a MAC")?;
        }
    }
    maps.word.set(0, CutWord { all, any: flags(cut) }, 0).doing("write the cut-off word")
}

/// What the tables say is cut, whatever anybody's notes say: what is listed and looked for.
pub fn read(maps: &CutMaps) -> Result<CutTables, Error> {
    let word = maps.word.get(&0, 0).doing("read the cut-off word")?;
    let (all, staged) = parts_of(word.all);
    let mut found = CutTables { all, ..CutTables::default() };
    found.staged.all = staged;
    let looked_for = |flag: u32| word.any & flag != 0;
    for net in 0..MAX_NETS {
        if !looked_for(CUT_ANY_NET) {
            break;
        }
        match maps.nets.get(&net, 0).doing("read a cut network")? {
            0 => {}
            CUT_STAGED => found.staged.nets.extend(u16::try_from(net)),
            _ => found.nets.extend(u16::try_from(net)),
        }
    }
    let listed = Listed::read(maps)?;
    for ((length, addr), slot) in listed.prefixes {
        let addr = Ipv6Addr::from(addr);
        let prefix = match addr.to_ipv4_mapped().filter(|_| length >= 96) {
            Some(v4) => IpNet::new(v4.into(), u8::try_from(length - 96).unwrap_or(32)),
            None => IpNet::new(addr.into(), u8::try_from(length).unwrap_or(128)),
        };
        if slot != 0 && looked_for(CUT_ANY_PREFIX) {
            let kind = if slot & SLOT_STAGED == 0 { &mut found.prefixes } else { &mut found.staged.prefixes };
            kind.push(prefix.doing("read the cut prefixes")?);
        }
    }
    for (mac, slot) in listed.macs.iter().filter(|_| looked_for(CUT_ANY_MAC)) {
        if slot & SLOT_STAGED == 0 { &mut found.macs } else { &mut found.staged.macs }.push(*mac);
    }
    found.prefixes.sort_unstable();
    found.macs.sort_unstable();
    found.staged.prefixes.sort_unstable();
    found.staged.macs.sort_unstable();
    found.staged.list = read_list(maps)?;
    Ok(found)
}

fn read_list(maps: &CutMaps) -> Result<StageList, Error> {
    let mut list = StageList::default();
    for key in maps.listed.keys() {
        match key.doing("read what is restored first")? {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, mac @ ..] => list.macs.push(mac),
            address => {
                let address = Ipv6Addr::from(address);
                list.addresses.push(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4));
            }
        }
    }
    let stage = maps.stage.get(&0, 0).doing("read what is restored first")?;
    // An array begins as zeroes, which no service's number is: protocol 0 is never asked for.
    let used = |service: &&StagedService| **service != StagedService::NONE && service.first != 0;
    list.services = stage.services.iter().filter(used).map(|its| (its.first, its.first + its.more)).collect();
    list.addresses.sort_unstable();
    list.macs.sort_unstable();
    Ok(list)
}

/// What was refused to these prefixes and MACs, since they are cut.
pub fn refused(maps: &CutMaps, prefixes: &[IpNet], macs: &[[u8; 6]]) -> Result<Refused, Error> {
    let listed = Listed::read(maps)?;
    let wanted: HashSet<_> = prefixes.iter().map(|prefix| mapped_prefix(*prefix)).collect();
    let prefixes = listed.prefixes.iter().filter(|(key, _)| wanted.contains(key)).map(|(_, slot)| *slot);
    let macs = listed.macs.iter().filter(|(mac, _)| macs.contains(mac)).map(|(_, slot)| *slot);
    let slots = prefixes.chain(macs).map(|slot| slot & !SLOT_STAGED);
    let mut sum = Refused::default();
    for slot in slots.filter(|slot| (1..MAX_CUT_SLOTS).contains(slot)) {
        for one in maps.refused.get(&slot, 0).doing("read what was refused")?.iter() {
            sum.packets += one.packets;
            sum.bytes += one.bytes;
        }
    }
    Ok(sum)
}
