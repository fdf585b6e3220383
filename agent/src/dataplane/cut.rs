//! Writing the cut-off: closing before opening, so that no moment is more open than both the old and the new state.
//!
//! [`close`] adds and [`open`] takes away; [`write()`] is both. Each cut prefix and MAC has as its value the slot under which
//! what it refuses counts; a slot given anew begins at nothing.

use std::{collections::HashSet, net::Ipv6Addr};

use aya::{maps::PerCpuValues, util::nr_cpus};
use ipnet::IpNet;
use sekimori_ebpf::abi::{CUT_ANY_MAC, CUT_ANY_NET, CUT_ANY_PREFIX, CutWord, MAX_CUT_SLOTS, MAX_NETS, Refused};

use super::{
    CutTables,
    error::{Error, While},
    maps::{Addr, CutMaps, gone, mapped_prefix, prefix_key},
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
        let used: HashSet<u32> = prefixes.chain(self.macs.iter().map(|(_, slot)| *slot)).collect();
        (1..MAX_CUT_SLOTS).filter(move |slot| !used.contains(slot))
    }
}

fn flags(cut: &CutTables) -> u32 {
    let any = |empty: bool, flag: u32| if empty { 0 } else { flag };
    any(cut.nets.is_empty(), CUT_ANY_NET)
        | any(cut.prefixes.is_empty(), CUT_ANY_PREFIX)
        | any(cut.macs.is_empty(), CUT_ANY_MAC)
}

/// Replaces what is cut: new objects first, then old ones go.
pub fn write(maps: &mut CutMaps, cut: &CutTables) -> Result<(), Error> {
    close(maps, cut)?;
    open(maps, cut)
}

/// What of this is not listed yet; of prefixes and MACs, of which one look does not tell, all.
pub fn lacking(maps: &CutMaps, cut: &CutTables) -> Result<CutTables, Error> {
    let word = maps.word.get(&0, 0).doing("read the cut-off word")?;
    let mut new = CutTables { all: if word.all < cut.all { cut.all } else { 0 }, nets: Vec::new(), ..cut.clone() };
    for net in &cut.nets {
        if maps.nets.get(&u32::from(*net), 0).doing("read a cut network")? == 0 {
            new.nets.push(*net);
        }
    }
    Ok(new)
}

/// Adds what is cut and lifts nothing. When it returns, every packet that is judged from then on meets all of it.
pub fn close(maps: &mut CutMaps, cut: &CutTables) -> Result<(), Error> {
    for net in &cut.nets {
        maps.nets.set(u32::from(*net), 1, 0).doing("cut a network")?;
    }
    if !cut.prefixes.is_empty() || !cut.macs.is_empty() {
        add_listed(maps, cut)?;
    }
    let old = maps.word.get(&0, 0).doing("read the cut-off word")?;
    let word = CutWord { all: cut.all.max(old.all), any: flags(cut) | old.any };
    maps.word.set(0, word, 0).doing("write the cut-off word")
}

fn add_listed(maps: &mut CutMaps, cut: &CutTables) -> Result<(), Error> {
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
    let wanted: Vec<_> = cut.prefixes.iter().map(|prefix| mapped_prefix(*prefix)).collect();
    // A short IPv6 prefix holds the IPv4-mapped range only by notation: unless IPv4 itself is cut, it stays open.
    if !wanted.contains(&IPV4_RANGE) && !listed.prefixes.iter().any(|(key, _)| *key == IPV4_RANGE) {
        let (length, mapped) = IPV4_RANGE;
        maps.prefixes.insert(&prefix_key(length, mapped), 0, 0).doing("keep IPv4 apart from IPv6")?;
    }
    for key in wanted {
        if !listed.prefixes.iter().any(|(its, slot)| *its == key && *slot != 0) {
            let slot = slot(maps)?;
            maps.prefixes.insert(&prefix_key(key.0, key.1), slot, 0).doing("cut a prefix")?;
        }
    }
    for mac in &cut.macs {
        if !listed.macs.iter().any(|(its, _)| its == mac) {
            let slot = slot(maps)?;
            maps.macs.insert(mac, slot, 0).doing("cut a MAC")?;
        }
    }
    Ok(())
}

/// Lifts everything but this.
pub fn open(maps: &mut CutMaps, cut: &CutTables) -> Result<(), Error> {
    let old = maps.word.get(&0, 0).doing("read the cut-off word")?;
    // Nothing old may open while it is still listed: the flags hold until the tables are clean.
    maps.word.set(0, CutWord { all: cut.all, any: flags(cut) | old.any }, 0).doing("write the cut-off word")?;
    if old.any & CUT_ANY_NET != 0 {
        for net in 0..MAX_NETS {
            if !cut.nets.iter().any(|n| u32::from(*n) == net)
                && maps.nets.get(&net, 0).doing("read a cut network")? != 0
            {
                maps.nets.set(net, 0, 0).doing("restore a network")?;
            }
        }
    }
    let listed = Listed::read(maps)?;
    let wanted: HashSet<_> = cut.prefixes.iter().map(|prefix| mapped_prefix(*prefix)).collect();
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
        if !cut.macs.contains(&mac) {
            gone(maps.macs.remove(&mac)).doing("restore a MAC")?;
        }
    }
    maps.word.set(0, CutWord { all: cut.all, any: flags(cut) }, 0).doing("write the cut-off word")
}

/// What the tables say is cut, whatever anybody's notes say: what is listed and looked for.
pub fn read(maps: &CutMaps) -> Result<CutTables, Error> {
    let word = maps.word.get(&0, 0).doing("read the cut-off word")?;
    let mut found = CutTables { all: word.all, ..CutTables::default() };
    let looked_for = |flag: u32| word.any & flag != 0;
    for net in 0..MAX_NETS {
        if looked_for(CUT_ANY_NET) && maps.nets.get(&net, 0).doing("read a cut network")? != 0 {
            found.nets.extend(u16::try_from(net));
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
            found.prefixes.push(prefix.doing("read the cut prefixes")?);
        }
    }
    found.macs.extend(listed.macs.iter().filter(|_| looked_for(CUT_ANY_MAC)).map(|(mac, _)| *mac));
    found.prefixes.sort_unstable();
    found.macs.sort_unstable();
    Ok(found)
}

/// What was refused to these prefixes and MACs, since they are cut.
pub fn refused(maps: &CutMaps, prefixes: &[IpNet], macs: &[[u8; 6]]) -> Result<Refused, Error> {
    let listed = Listed::read(maps)?;
    let wanted: HashSet<_> = prefixes.iter().map(|prefix| mapped_prefix(*prefix)).collect();
    let prefixes = listed.prefixes.iter().filter(|(key, _)| wanted.contains(key)).map(|(_, slot)| *slot);
    let macs = listed.macs.iter().filter(|(mac, _)| macs.contains(mac)).map(|(_, slot)| *slot);
    let mut sum = Refused::default();
    for slot in prefixes.chain(macs).filter(|slot| (1..MAX_CUT_SLOTS).contains(slot)) {
        for one in maps.refused.get(&slot, 0).doing("read what was refused")?.iter() {
            sum.packets += one.packets;
            sum.bytes += one.bytes;
        }
    }
    Ok(sum)
}
