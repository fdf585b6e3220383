//! From facts to objections: a pure function. An interface without an objection may be used.

use std::collections::BTreeSet;

use super::{
    facts::{Device, Facts},
    reason::{Objection, Reason, Way},
};

/// `NETDEV_XDP_ACT_REDIRECT`, `include/uapi/linux/netdev.h`.
pub(super) const REDIRECT: u64 = 2;
/// `NETDEV_XDP_ACT_NDO_XMIT`.
pub(super) const NDO_XMIT: u64 = 4;
/// Kinds of device that are cards, or behave as one.
const CARDS: [&str; 3] = ["veth", "tun", "netdevsim"];

/// A guarded interface.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Kernel index; 0 if it does not exist.
    pub ifindex: u32,
    /// Our programs are on all its hooks.
    pub attached: bool,
    /// XDP runs in the driver.
    pub native: bool,
    /// The configuration permits the fast path here.
    pub wanted: bool,
}

/// Everything that speaks against an interface, sorted, each once.
pub fn objections(facts: &Facts, asked: Asked) -> Vec<Objection> {
    let mut found = BTreeSet::new();
    let mut say = |reason, about: &str, way| {
        found.insert(Objection::new(reason, about, way));
    };
    if !asked.wanted {
        say(Reason::Configured, "", Way::Both);
    }
    let device = facts.devices.get(&asked.ifindex).filter(|_| asked.ifindex != 0 && asked.attached);
    let Some(device) = device else {
        say(Reason::NotAttached, "", Way::Both);
        return found.into_iter().collect();
    };
    if !asked.native {
        say(Reason::GenericXdp, "", Way::Both);
    }
    match device.xdp_features {
        None => say(Reason::Unknown, "xdp-features", Way::Both),
        Some(features) => {
            if features & REDIRECT == 0 {
                say(Reason::NoRedirect, "", Way::In);
            }
            if features & NDO_XMIT == 0 {
                say(Reason::NoTransmit, "", Way::Out);
            }
        }
    }
    if let Some(kind) = device.kind.as_deref().filter(|kind| !CARDS.contains(kind)) {
        say(Reason::DeviceKind, kind, Way::Both);
    }
    let stack = stack(facts, asked.ifindex);
    bridge(facts, device, &mut say);
    for index in &stack {
        let Some(above) = facts.devices.get(index) else { continue };
        above_or_itself(above, &mut say);
        if *index != asked.ifindex {
            stands_on(facts, asked.ifindex, above, &mut say);
        }
    }
    let bridged = device.master.is_some();
    let names = || stack.iter().filter_map(|index| facts.devices.get(index)).map(|device| device.name.as_str());
    for hook in facts.hooks.iter().filter(|hook| (bridged || !hook.bridge) && hook.concerns(names())) {
        say(if hook.nat { Reason::Nat } else { Reason::Netfilter }, &hook.chain, hook.way);
    }
    for table in &facts.legacy {
        say(Reason::LegacyTables, table, Way::Both);
    }
    for module in facts.ebtables.iter().filter(|_| bridged) {
        say(Reason::LegacyTables, module, Way::Both);
    }
    for rule in &facts.routing_rules {
        say(Reason::RoutingRule, rule, Way::Both);
    }
    if facts.ipsec != 0 {
        say(Reason::Ipsec, "", Way::Both);
    }
    for unread in &facts.unread {
        say(Reason::Unknown, unread, Way::Both);
    }
    found.into_iter().collect()
}

/// The bridge a port belongs to, and the port's own settings.
fn bridge(facts: &Facts, device: &Device, say: &mut impl FnMut(Reason, &str, Way)) {
    let Some(master) = device.master else { return };
    let Some(above) = facts.devices.get(&master) else {
        return say(Reason::Unknown, &format!("#{master}"), Way::Both);
    };
    match above.bridge {
        None => say(Reason::UpperDevice, &named(above), Way::Both),
        Some(bridge) => {
            if bridge.stp {
                say(Reason::BridgeStp, &above.name, Way::Both);
            }
            if bridge.vlan_filtering {
                say(Reason::BridgeVlans, &above.name, Way::Both);
            }
            for setting in &device.port_settings {
                say(Reason::BridgePort, setting, Way::Both);
            }
        }
    }
}

/// What acts on packets of a device: that of the interface, or of one above it through which the slow way leads.
fn above_or_itself(device: &Device, say: &mut impl FnMut(Reason, &str, Way)) {
    for what in &device.tc_in {
        say(Reason::TrafficControl, what, Way::In);
    }
    for what in &device.tc_out {
        say(Reason::TrafficControl, what, Way::Out);
    }
    for what in &device.shaping {
        say(Reason::Shaping, &format!("{} {what}", device.name), Way::Out);
    }
    for (family, name) in device.families.iter().zip(["ipv4", "ipv6"]) {
        // Without an address nobody routes through it in that family.
        if family.addressed && !family.forwarding {
            say(Reason::NotForwarding, &format!("{name} {}", device.name), Way::Both);
        }
    }
}

/// A device above the interface: only VLAN devices on it, and its bridge with VLAN devices on that, are understood.
fn stands_on(facts: &Facts, port: u32, above: &Device, say: &mut impl FnMut(Reason, &str, Way)) {
    let is_master = facts.devices.get(&port).is_some_and(|device| device.master.is_some())
        && above.bridge.is_some()
        && above.master.is_none();
    let plain = above.vlan.is_some_and(|vlan| vlan.customer && !vlan.priorities && (1..4095).contains(&vlan.id));
    let vlan = above.kind.as_deref() == Some("vlan") && plain && above.master.is_none();
    if !is_master && !vlan {
        say(Reason::UpperDevice, &named(above), Way::Both);
    }
}

fn named(device: &Device) -> String {
    format!("{} ({})", device.name, device.kind.as_deref().unwrap_or("?"))
}

/// The interface and every device above it.
fn stack(facts: &Facts, port: u32) -> BTreeSet<u32> {
    let mut stack = BTreeSet::from([port]);
    loop {
        let before = stack.len();
        for (index, device) in &facts.devices {
            // A veth's "lower" is its peer, and a port's master is above it.
            let on = device.lower.filter(|_| !matches!(device.kind.as_deref(), Some("veth" | "tun")));
            if on.is_some_and(|lower| stack.contains(&lower)) {
                stack.insert(*index);
            }
            if let Some(master) = device.master.filter(|_| stack.contains(index)) {
                stack.insert(master);
            }
        }
        if stack.len() == before {
            return stack;
        }
    }
}
