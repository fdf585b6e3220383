//! Writing who is in quarantine: like the cut-off, closing before opening.

use std::{collections::HashMap, net::IpAddr};

use aya::{maps::MapError, util::nr_cpus};
use sekimori_ebpf::abi::{MAX_QUARANTINED, MAX_QUARANTINES, Quarantine, Refused, quarantine_mac};

use super::{
    error::{Error, While},
    maps::{Addr, Maps, mapped},
};

/// One host in quarantine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// 1 to [`MAX_QUARANTINES`]; what is refused counts under it.
    pub slot: u16,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its MACs.
    pub macs: Vec<[u8; 6]>,
}

impl Host {
    fn keys(&self) -> impl Iterator<Item = Addr> + '_ {
        self.addresses.iter().map(|address| mapped(*address)).chain(self.macs.iter().map(quarantine_mac))
    }
}

/// Replaces who is in quarantine. Newcomers are added exactly, then for the glance; then who is released goes.
pub fn write(maps: &mut Maps, hosts: &[Host]) -> Result<(), Error> {
    let mut wanted: HashMap<Addr, u32> = HashMap::new();
    let mut filter = Quarantine::EMPTY;
    for host in hosts {
        if host.slot == 0 || u32::from(host.slot) > MAX_QUARANTINES {
            return Err(Error::new("put a host in quarantine", format!("no slot {}", host.slot)));
        }
        for key in host.keys() {
            filter.add(&key);
            wanted.entry(key).or_insert(u32::from(host.slot));
        }
    }
    if wanted.len() > MAX_QUARANTINED as usize {
        let what = format!("{} addresses and MACs, the limit is {MAX_QUARANTINED}", wanted.len());
        return Err(Error::new("put a host in quarantine", what));
    }
    let mut listed: HashMap<Addr, u32> = HashMap::new();
    for entry in maps.quarantined.iter() {
        let (key, slot) = entry.doing("read the quarantine")?;
        listed.insert(key, slot);
    }
    for host in hosts {
        // A slot given anew begins at nothing.
        if !listed.values().any(|slot| *slot == u32::from(host.slot)) {
            let zero = vec![Refused::default(); nr_cpus().map_err(|(_, error)| error).doing("count the CPUs")?];
            let zero = zero.try_into().doing("forget what was refused")?;
            maps.quarantine_refused.set(u32::from(host.slot), zero, 0).doing("forget what was refused")?;
        }
    }
    for (key, slot) in &wanted {
        if listed.get(key) != Some(slot) {
            maps.quarantined.insert(key, slot, 0).doing("put a host in quarantine")?;
        }
    }
    // Nobody old may be let go at a glance while the exact table still has them.
    let old = maps.quarantine.get(&0, 0).doing("read the quarantine's filter")?;
    let mut both = filter;
    both.any |= old.any;
    both.filter.iter_mut().zip(&old.filter).for_each(|(word, old)| *word |= old);
    maps.quarantine.set(0, both, 0).doing("write the quarantine's filter")?;
    for key in listed.keys().filter(|key| !wanted.contains_key(*key)) {
        match maps.quarantined.remove(key) {
            Err(MapError::KeyNotFound) => Ok(()),
            other => other,
        }
        .doing("release a host from quarantine")?;
    }
    maps.quarantine.set(0, filter, 0).doing("write the quarantine's filter")
}

/// Who is in quarantine as the tables say, by slot.
pub fn read(maps: &Maps) -> Result<Vec<Host>, Error> {
    let mut hosts: HashMap<u16, Host> = HashMap::new();
    for entry in maps.quarantined.iter() {
        let (key, slot) = entry.doing("read the quarantine")?;
        let slot = u16::try_from(slot).unwrap_or(0);
        let host = hosts.entry(slot).or_insert_with(|| Host { slot, ..Host::default() });
        match key {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, mac @ ..] => host.macs.push(mac),
            address => {
                let address = std::net::Ipv6Addr::from(address);
                host.addresses.push(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4));
            }
        }
    }
    let mut hosts: Vec<Host> = hosts.into_values().collect();
    for host in &mut hosts {
        host.addresses.sort_unstable();
        host.macs.sort_unstable();
    }
    hosts.sort_unstable_by_key(|host| host.slot);
    Ok(hosts)
}

/// What was refused to the host with this slot, since it has it.
pub fn refused(maps: &Maps, slot: u16) -> Result<Refused, Error> {
    let values = maps.quarantine_refused.get(&u32::from(slot), 0).doing("read what was refused")?;
    let sum =
        |sum: Refused, one: &Refused| Refused { packets: sum.packets + one.packets, bytes: sum.bytes + one.bytes };
    Ok(values.iter().fold(Refused::default(), sum))
}
