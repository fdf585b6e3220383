//! What the kernel says of this network namespace, as plain data: everything the decision rests on.

use std::collections::BTreeMap;

use super::wall::Hook;

/// A moment's state.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Devices by kernel index.
    pub devices: BTreeMap<u32, Device>,
    /// Somebody else's netfilter rules that forwarded packets meet.
    pub hooks: Vec<Hook>,
    /// Tables of the old iptables that are loaded: `ip filter`.
    pub legacy: Vec<String>,
    /// Modules of the old ebtables that are loaded: `ebtable_filter`.
    pub ebtables: Vec<String>,
    /// Routing rules that look at more than addresses and interfaces: `ip rule 100`.
    pub routing_rules: Vec<String>,
    /// IPsec policies there are.
    pub ipsec: usize,
    /// What could not be read, and why.
    pub unread: Vec<String>,
}

/// One device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// Kernel name.
    pub name: String,
    /// `veth`, `vlan`, `bridge`, …; `None` for a card.
    pub kind: Option<String>,
    /// The device in this namespace it stands on. For a veth, its peer.
    pub lower: Option<u32>,
    /// The device it is a port of.
    pub master: Option<u32>,
    /// Of a VLAN device: an id, as 802.1Q says it.
    pub vlan: Option<Vlan>,
    /// Of a bridge.
    pub bridge: Option<Bridge>,
    /// Settings of a bridge port that are not as they come: their names.
    pub port_settings: Vec<&'static str>,
    /// IPv4 and IPv6.
    pub families: [Family; 2],
    /// `NETDEV_XDP_ACT_*`; `None` if the kernel does not say.
    pub xdp_features: Option<u64>,
    /// Queueing disciplines beside the plain ones.
    pub shaping: Vec<String>,
    /// Somebody else's filters and programs on packets coming in.
    pub tc_in: Vec<String>,
    /// The same on packets going out.
    pub tc_out: Vec<String>,
}

/// One VLAN device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vlan {
    /// VLAN id.
    pub id: u16,
    /// Tagged by 802.1Q, not 802.1ad.
    pub customer: bool,
    /// It writes priorities into the tag.
    pub priorities: bool,
}

/// One bridge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Spanning tree is on.
    pub stp: bool,
    /// VLAN filtering is on.
    pub vlan_filtering: bool,
}

/// A device in one address family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Family {
    /// It has an address by which hosts could route through it.
    pub addressed: bool,
    /// The kernel forwards what comes in by it.
    pub forwarding: bool,
}
