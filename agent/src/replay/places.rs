//! Which interface a packet belongs to: its source's, by the policy's longest prefix.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::sight::Sight;
use crate::policy::model::{Mac, NetIndex, Policy, Port};

/// Who owns an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The box.
    Box,
    /// A zone or network.
    Net(NetIndex),
    /// No net, as there is no default one; or an address that says nothing about its place.
    Nobody,
}

/// The policy's addresses, MACs and ports, arranged for looking up.
pub(super) struct Places<'p> {
    policy: &'p Policy,
    /// Longest first, in the 128-bit space where IPv4 is `::ffff:0:0/96`.
    prefixes: Vec<(u8, HashMap<u128, NetIndex>)>,
    own: HashSet<IpAddr>,
    default: Option<NetIndex>,
    macs: HashMap<Mac, NetIndex>,
    addresses: HashMap<IpAddr, Mac>,
    nowhere: Port,
}

impl<'p> Places<'p> {
    pub(super) fn new(policy: &'p Policy) -> Self {
        let mut by_length: HashMap<u8, HashMap<u128, NetIndex>> = HashMap::new();
        let mut macs = HashMap::new();
        for (index, net) in policy.nets.iter().enumerate() {
            for prefix in &net.prefixes {
                let length = wide_length(prefix);
                by_length.entry(length).or_default().insert(wide(prefix.network()) & mask(length), index);
            }
            macs.extend(net.routers.iter().map(|mac| (*mac, index)));
        }
        macs.extend(policy.devices.iter().map(|device| (device.mac, device.net)));
        let mut prefixes: Vec<_> = by_length.into_iter().collect();
        prefixes.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        Self {
            policy,
            prefixes,
            own: policy.box_addresses.iter().copied().collect(),
            default: policy.nets.iter().position(|net| net.is_default),
            macs,
            addresses: policy
                .devices
                .iter()
                .flat_map(|device| device.addresses.iter().map(|address| (*address, device.mac)))
                .collect(),
            nowhere: Port { interface: String::new(), outer: 0, inner: 0 },
        }
    }

    /// Who owns this address.
    pub(super) fn owner(&self, address: IpAddr) -> Owner {
        if self.own.contains(&address) {
            return Owner::Box;
        }
        self.net(address)
    }

    /// The net an address lies in, whether or not it is the box's.
    pub(super) fn net(&self, address: IpAddr) -> Owner {
        if says_nothing(address) {
            return Owner::Nobody;
        }
        let wide = wide(address);
        let found = self.prefixes.iter().find_map(|(length, nets)| nets.get(&(wide & mask(*length))).copied());
        found.or(self.default).map_or(Owner::Nobody, Owner::Net)
    }

    /// The net where this MAC is a registered device or a router.
    pub(super) fn mac_net(&self, mac: Mac) -> Option<NetIndex> {
        self.macs.get(&mac).copied()
    }

    /// The MAC an original frame from this address has: the device's, or the net's first router's.
    pub(super) fn sender(&self, address: IpAddr, net: NetIndex) -> Option<Mac> {
        let router = || self.policy.nets.get(net).and_then(|net| net.routers.first()).copied();
        self.addresses.get(&address).copied().or_else(router)
    }

    /// The net's port for these tags, or its first, or another than `not` if there is a choice.
    pub(super) fn port(&self, net: NetIndex, tags: (u16, u16), not: Option<&Port>) -> &Port {
        let ports = self.policy.nets.get(net).map(|net| net.ports.as_slice()).unwrap_or_default();
        let mut free = ports.iter().filter(|port| Some(*port) != not);
        let tagged = free.clone().find(|port| (port.outer, port.inner) == tags);
        tagged.or(free.next()).or(ports.first()).unwrap_or(&self.nowhere)
    }

    /// Whether some net is seen with these tags.
    pub(super) fn tags_known(&self, tags: (u16, u16)) -> bool {
        self.ports().any(|port| (port.outer, port.inner) == tags)
    }

    /// The port for a frame that names no place of its own: the tags', else the default network's, else the first.
    pub(super) fn any_port(&self, tags: (u16, u16)) -> &Port {
        let tagged = self.ports().find(|port| tags != (0, 0) && (port.outer, port.inner) == tags);
        let default = || self.default.map(|net| self.port(net, tags, None));
        tagged.or_else(default).or(self.ports().next()).unwrap_or(&self.nowhere)
    }

    /// Where a packet with this source, this MAC and these tags enters; `true` if its source said so.
    pub(super) fn entry(&self, sight: &Sight) -> (&Port, bool) {
        let net = sight.ends.map_or(Owner::Nobody, |(src, _)| self.owner(src));
        if let Owner::Net(net) = net {
            return (self.port(net, sight.tags, None), true);
        }
        if let Some(net) = sight.src_mac.and_then(|mac| self.mac_net(mac)) {
            return (self.port(net, sight.tags, None), true);
        }
        (self.any_port(sight.tags), false)
    }

    fn ports(&self) -> impl Iterator<Item = &Port> {
        self.policy.nets.iter().flat_map(|net| &net.ports)
    }
}

/// Unspecified, link-local, multicast and broadcast addresses live nowhere in particular.
fn says_nothing(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_unspecified() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast(),
    }
}

fn wide(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn wide_length(prefix: &IpNet) -> u8 {
    match prefix {
        IpNet::V4(v4) => 96 + v4.prefix_len(),
        IpNet::V6(v6) => v6.prefix_len(),
    }
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or_default()
}
