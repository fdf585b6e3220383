//! Writing the cut-off: closing before opening, so that no moment is more open than both the old and the new state.

use std::net::Ipv6Addr;

use aya::maps::MapError;
use ipnet::IpNet;
use sekimori_ebpf::abi::{CUT_ANY_MAC, CUT_ANY_NET, CUT_ANY_PREFIX, CutWord, MAX_NETS};

use super::{
    CutTables,
    error::{Error, While},
    maps::{Maps, mapped_prefix, prefix_key},
};

/// Replaces what is cut. New objects are added, then the word is written, then old objects go.
pub fn write(maps: &mut Maps, cut: &CutTables) -> Result<(), Error> {
    let old = maps.cut.get(&0, 0).doing("read the cut-off word")?;
    for net in &cut.nets {
        maps.cut_nets.set(u32::from(*net), 1, 0).doing("cut a network")?;
    }
    let prefixes: Vec<_> = cut.prefixes.iter().map(|prefix| mapped_prefix(*prefix)).collect();
    for (length, addr) in &prefixes {
        maps.cut_prefixes.insert(&prefix_key(*length, *addr), 1, 0).doing("cut a prefix")?;
    }
    // A short IPv6 prefix holds the IPv4-mapped range only by notation: unless IPv4 itself is cut, it stays open.
    let (length, mapped) = IPV4_RANGE;
    if !prefixes.contains(&IPV4_RANGE) {
        maps.cut_prefixes.insert(&prefix_key(length, mapped), 0, 0).doing("keep IPv4 apart from IPv6")?;
    }
    for mac in &cut.macs {
        maps.cut_macs.insert(mac, 1, 0).doing("cut a MAC")?;
    }
    let mut any = 0;
    if !cut.nets.is_empty() {
        any |= CUT_ANY_NET;
    }
    if !cut.prefixes.is_empty() {
        any |= CUT_ANY_PREFIX;
    }
    if !cut.macs.is_empty() {
        any |= CUT_ANY_MAC;
    }
    // Nothing old may open while it is still listed: both words hold until the tables are clean.
    maps.cut.set(0, CutWord { all: cut.all, any: any | old.any }, 0).doing("write the cut-off word")?;

    for net in 0..MAX_NETS {
        if !cut.nets.iter().any(|n| u32::from(*n) == net)
            && maps.cut_nets.get(&net, 0).doing("read a cut network")? != 0
        {
            maps.cut_nets.set(net, 0, 0).doing("restore a network")?;
        }
    }
    let listed: Vec<_> = maps.cut_prefixes.keys().filter_map(Result::ok).collect();
    for key in listed {
        let kept = (key.prefix_len(), key.data()) == IPV4_RANGE
            || prefixes.iter().any(|(length, addr)| *length == key.prefix_len() && *addr == key.data());
        if !kept {
            gone(maps.cut_prefixes.remove(&key)).doing("restore a prefix")?;
        }
    }
    let listed: Vec<_> = maps.cut_macs.keys().filter_map(Result::ok).collect();
    for mac in listed {
        if !cut.macs.contains(&mac) {
            gone(maps.cut_macs.remove(&mac)).doing("restore a MAC")?;
        }
    }
    maps.cut.set(0, CutWord { all: cut.all, any }, 0).doing("write the cut-off word")
}

/// `::ffff:0:0/96`.
const IPV4_RANGE: (u32, [u8; 16]) = (96, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);

/// What the tables say is cut, whatever anybody's notes say.
pub fn read(maps: &Maps) -> Result<CutTables, Error> {
    let mut found = CutTables { all: maps.cut.get(&0, 0).doing("read the cut-off word")?.all, ..CutTables::default() };
    for net in 0..MAX_NETS {
        if maps.cut_nets.get(&net, 0).doing("read a cut network")? != 0 {
            found.nets.extend(u16::try_from(net));
        }
    }
    for entry in maps.cut_prefixes.iter() {
        let (key, cut) = entry.doing("read the cut prefixes")?;
        let (length, addr) = (key.prefix_len(), Ipv6Addr::from(key.data()));
        let prefix = match addr.to_ipv4_mapped().filter(|_| length >= 96) {
            Some(v4) => IpNet::new(v4.into(), u8::try_from(length - 96).unwrap_or(32)),
            None => IpNet::new(addr.into(), u8::try_from(length).unwrap_or(128)),
        };
        if cut != 0 {
            found.prefixes.push(prefix.doing("read the cut prefixes")?);
        }
    }
    for mac in maps.cut_macs.keys() {
        found.macs.push(mac.doing("read the cut MACs")?);
    }
    Ok(found)
}

fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        other => other,
    }
}
