//! Zones, networks and what lives in them: ports, MACs, registered terminals and their addresses.

use std::collections::BTreeMap;

use sekimori_ebpf::abi::{
    DEVICE_HAS_ADDRESSES, DeviceEntry, MAC_ROUTER, MAX_NETS, MacEntry, MacKey, NET_BOX, NET_FLAG_DHCP_CLIENT,
    NET_FLAG_DHCP_SERVER, NET_FLAG_KNOWN, NET_FLAG_LIVE, NET_FLAG_RA_CLIENT, NET_FLAG_RA_SERVER, NET_FLAG_REGISTERED,
    NET_FLAG_ROUTERS, NET_FLAG_ZONE, NetEntry, PortKey,
};

use super::{
    error::{CompileError, named},
    prefixes::address,
    registry::Kind,
    rules::Plans,
    sets::{Full, Sets},
};
use crate::policy::model::{DeviceMode, Net, NetKind, Party, Place, Policy};

/// The nets, by stable id.
///
/// A published server's rule is in every `to_set`, the box's and id 0's (nobody's addresses) included: its
/// public address decides, wherever that lives.
pub(super) fn table(policy: &Policy, net_ids: &[u16], sets: &mut Sets) -> Result<Vec<NetEntry>, CompileError> {
    let mut from: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    let mut to: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    let id = |place: &Place| match *place {
        Place::Box => NET_BOX,
        Place::Net(index) => net_ids[index],
    };
    let mut published = Vec::new();
    for (index, rule) in policy.rules.iter().enumerate() {
        let list = |party: &Party, lists: &mut BTreeMap<u16, Vec<usize>>| {
            for place in &party.place {
                lists.entry(id(place)).or_default().push(index);
            }
        };
        list(&rule.from, &mut from);
        if rule.published.is_some() {
            published.push(index);
        } else {
            list(&rule.to, &mut to);
        }
    }

    let mut sets_of = |net: u16, at: &str| -> Result<(u16, u16), CompileError> {
        let full = |Full| CompileError::Sets { at: at.to_owned() };
        let rules = |lists: &BTreeMap<u16, Vec<usize>>| lists.get(&net).cloned().unwrap_or_default();
        let from_set = sets.of(rules(&from)).map_err(full)?;
        let to_set = sets.of(rules(&to).into_iter().chain(published.iter().copied())).map_err(full)?;
        Ok((from_set, to_set))
    };
    let nobody = sets_of(0, "addresses that live nowhere")?;
    let unused = NetEntry { flags: 0, from_set: 0, to_set: nobody.1 };
    let mut nets = vec![unused; MAX_NETS as usize];
    for (net, &id) in policy.nets.iter().zip(net_ids) {
        let (from_set, to_set) = sets_of(id, &named(Kind::Net, &net.name))?;
        nets[usize::from(id)] = NetEntry { flags: flags(net), from_set, to_set };
    }
    let (from_set, to_set) = sets_of(NET_BOX, "the box")?;
    nets[usize::from(NET_BOX)] = NetEntry { flags: NET_FLAG_LIVE, from_set, to_set };
    Ok(nets)
}

fn flags(net: &Net) -> u32 {
    let kind = match net.kind {
        NetKind::Zone { devices: DeviceMode::Registered } => NET_FLAG_ZONE | NET_FLAG_REGISTERED,
        NetKind::Zone { devices: DeviceMode::Known } => NET_FLAG_ZONE | NET_FLAG_KNOWN,
        NetKind::Zone { devices: DeviceMode::Any } => NET_FLAG_ZONE,
        NetKind::External(_) => 0,
    };
    let set = |on: bool, flag: u32| if on { flag } else { 0 };
    NET_FLAG_LIVE
        | kind
        | set(!net.routers.is_empty(), NET_FLAG_ROUTERS)
        | set(net.builtin.dhcp_server, NET_FLAG_DHCP_SERVER)
        | set(net.builtin.dhcp_client, NET_FLAG_DHCP_CLIENT)
        | set(net.builtin.ra_client, NET_FLAG_RA_CLIENT)
        | set(net.builtin.ra_server, NET_FLAG_RA_SERVER)
}

/// (interface, tags) → net id, ascending. `interfaces` are the stable ids by name.
pub(super) fn ports(policy: &Policy, net_ids: &[u16], interfaces: &BTreeMap<&str, u16>) -> Vec<(PortKey, u16)> {
    let mut ports: Vec<(PortKey, u16)> = policy
        .nets
        .iter()
        .zip(net_ids)
        .flat_map(|(net, &id)| {
            net.ports.iter().filter_map(move |port| {
                let iface = *interfaces.get(port.interface.as_str())?;
                Some((PortKey { iface, outer: port.outer, inner: port.inner, pad: 0 }, id))
            })
        })
        .collect();
    ports.sort_unstable_by_key(|(key, _)| (key.iface, key.outer, key.inner));
    ports
}

/// Who speaks with which MAC: terminals and routers. One that is both carries both.
pub(super) fn macs(policy: &Policy, net_ids: &[u16], devices: &[u32]) -> Vec<(MacKey, MacEntry)> {
    let mut macs: BTreeMap<([u8; 6], u16), MacEntry> = BTreeMap::new();
    for (device, &number) in policy.devices.iter().zip(devices) {
        macs.entry((device.mac.0, net_ids[device.net])).or_default().device = number;
    }
    for (net, &id) in policy.nets.iter().zip(net_ids) {
        for router in &net.routers {
            macs.entry((router.0, id)).or_default().flags |= MAC_ROUTER;
        }
    }
    macs.into_iter().map(|((mac, net), entry)| (MacKey { mac, net }, entry)).collect()
}

/// Registered address → device number.
pub(super) fn bindings(policy: &Policy, devices: &[u32]) -> Vec<([u8; 16], u32)> {
    let addresses = policy.devices.iter().zip(devices);
    addresses.flat_map(|(device, &number)| device.addresses.iter().map(move |&addr| (address(addr), number))).collect()
}

/// The devices by number, and their names. A number whose device is in no policy any more satisfies no rule.
pub(super) fn devices(
    policy: &Policy,
    net_ids: &[u16],
    numbers: &[u32],
    plans: &mut Plans,
    sets: &mut Sets,
) -> Result<(Vec<DeviceEntry>, Vec<String>), CompileError> {
    let mut own: Vec<Vec<u16>> = vec![Vec::new(); policy.devices.len()];
    let mut unnamed = Vec::new();
    for (index, rule) in policy.rules.iter().enumerate() {
        let Some(named) = &rule.from.devices else {
            unnamed.push(index);
            continue;
        };
        for &device in named {
            // Named twice in one rule is still one rule.
            if own[device].last() != Some(&(index as u16)) {
                own[device].push(index as u16);
            }
        }
    }
    let base = sets
        .of(unnamed)
        .map_err(|Full| CompileError::Sets { at: "senders that are no registered device".to_owned() })?;
    let count = numbers.iter().max().map_or(1, |&last| last as usize + 1);
    let mut entries = vec![DeviceEntry::default(); count];
    let mut names = vec![String::new(); count];
    entries[0].set = base;
    for ((device, &number), own) in policy.devices.iter().zip(numbers).zip(&own) {
        let at = || named(Kind::Device, &device.name);
        entries[number as usize] = DeviceEntry {
            set: sets.extend(base, own).map_err(|Full| CompileError::Sets { at: at() })?,
            net: net_ids[device.net],
            flags: if device.addresses.is_empty() { 0 } else { DEVICE_HAS_ADDRESSES },
            schedule: plans.number(None, device.until, at)?,
            pad: 0,
        };
        names[number as usize].clone_from(&device.name);
    }
    Ok((entries, names))
}
