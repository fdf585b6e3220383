//! Which devices of this namespace stand on which: a bridge or VLAN device counts as guarded if every lower port is.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, VlanProtocol};
use sekimori_ebpf::abi::{IFACE_DERIVED, IFACE_VLAN, IfaceEntry};

use super::error::{Error, While};

/// One device.
#[derive(Debug, Clone, Default)]
pub struct Device {
    /// Kernel name.
    pub name: String,
    /// A bridge.
    pub bridge: bool,
    /// A VLAN device on this lower one.
    pub vlan_of: Option<u32>,
    /// The VLAN id of a VLAN device.
    pub vlan_id: Option<u16>,
    /// A VLAN device of 802.1Q.
    pub customer: bool,
    /// Port of this bridge.
    pub port_of: Option<u32>,
}

/// Every device of this network namespace, by kernel index.
pub async fn list() -> Result<BTreeMap<u32, Device>, Error> {
    let (connection, handle, _) = rtnetlink::new_connection().doing("open rtnetlink")?;
    let task = tokio::spawn(connection);
    let mut links = handle.link().get().execute();
    let mut devices = BTreeMap::new();
    while let Some(message) = links.try_next().await.doing("list the interfaces")? {
        let mut device = Device::default();
        let mut lower = None;
        let mut vlan = false;
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => device.name = name,
                LinkAttribute::Link(index) => lower = Some(index),
                LinkAttribute::Controller(index) if index != 0 => device.port_of = Some(index),
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Kind(InfoKind::Bridge) => device.bridge = true,
                            LinkInfo::Kind(InfoKind::Vlan) => vlan = true,
                            LinkInfo::Data(InfoData::Vlan(data)) => {
                                device.customer = data.contains(&InfoVlan::Protocol(VlanProtocol::Ieee8021Q));
                                device.vlan_id = data.iter().find_map(|item| match item {
                                    InfoVlan::Id(id) => Some(*id),
                                    _ => None,
                                });
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        device.vlan_of = lower.filter(|_| vlan);
        devices.insert(message.header.index, device);
    }
    task.abort();
    Ok(devices)
}

/// The devices that stand on guarded ones only, given the guarded ones.
pub fn derived(devices: &BTreeMap<u32, Device>, guarded: &BTreeSet<u32>) -> BTreeSet<u32> {
    let mut derived = BTreeSet::new();
    // A VLAN device may stand on a bridge and the other way round: repeat until nothing new stands.
    loop {
        let before = derived.len();
        for (index, device) in devices {
            let stands = |lower: &u32| guarded.contains(lower) || derived.contains(lower);
            let holds = if device.bridge {
                let mut ports =
                    devices.iter().filter(|(_, port)| port.port_of == Some(*index)).map(|(port, _)| port).peekable();
                ports.peek().is_some() && ports.all(stands)
            } else {
                device.vlan_of.as_ref().is_some_and(stands)
            };
            if holds && !guarded.contains(index) {
                derived.insert(*index);
            }
        }
        if derived.len() == before {
            return derived;
        }
    }
}

/// How the data plane knows a derived device: as one of a guarded port's VLANs, or merely as derived.
pub fn entry(device: Option<&Device>, guarded: &BTreeSet<u32>) -> IfaceEntry {
    let vlan = device.filter(|device| device.customer).and_then(|device| device.vlan_of.zip(device.vlan_id));
    match vlan.filter(|(lower, _)| guarded.contains(lower)) {
        Some((lower, tag)) => IfaceEntry { flags: IFACE_DERIVED | IFACE_VLAN, tag, lower, ..IfaceEntry::default() },
        None => IfaceEntry { flags: IFACE_DERIVED, ..IfaceEntry::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> Device {
        Device { name: name.to_owned(), ..Device::default() }
    }

    #[test]
    fn a_bridge_counts_only_if_every_port_is_guarded() {
        let mut devices = BTreeMap::new();
        devices.insert(1, Device { port_of: Some(3), ..device("p1") });
        devices.insert(2, Device { port_of: Some(3), ..device("p2") });
        devices.insert(3, Device { bridge: true, ..device("br0") });
        devices.insert(4, Device { vlan_of: Some(3), ..device("br0.10") });
        devices.insert(5, Device { bridge: true, ..device("empty") });
        assert!(derived(&devices, &BTreeSet::from([1])).is_empty());
        assert_eq!(derived(&devices, &BTreeSet::from([1, 2])), BTreeSet::from([3, 4]));
    }
}
