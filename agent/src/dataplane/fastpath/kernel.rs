//! Reading the facts: netlink dumps and files below `/proc`, in the network namespace of the calling thread.

use std::{collections::BTreeMap, fs, path::Path};

use nix::libc;

use super::{
    facts::{Bridge, Device, Facts, Vlan},
    wall::Hook,
};
use crate::dataplane::{
    link,
    seed::{
        self,
        netlink::{self, Request, attribute, attributes, u16_native, u32_native},
    },
};

/// `struct ifinfomsg`.
const IFINFOMSG: usize = 16;
/// Modules of the old ebtables, which leaves no trace that could be asked for a namespace.
const EBTABLES: [&str; 3] = ["ebtable_broute", "ebtable_filter", "ebtable_nat"];

/// Everything but the netfilter rules, which cost more to read and are `hooks`. `ours` are the programs that are ours.
pub(super) fn facts(hooks: Result<Vec<Hook>, String>, ours: &[u32]) -> Facts {
    let mut facts = Facts::default();
    let mut unread = Vec::new();
    let mut note = |what: &str, result: Result<(), seed::Error>| {
        if let Err(error) = result {
            unread.push(format!("{what}: {error}"));
        }
    };
    note("devices", devices(&mut facts.devices));
    note("addresses", addresses(&mut facts.devices));
    note("xdp-features", features(&mut facts.devices));
    note("qdiscs", super::traffic::read(&mut facts.devices));
    note("routing rules", routing_rules(&mut facts.routing_rules));
    note("ipsec", ipsec(&mut facts.ipsec));
    for (index, device) in &mut facts.devices {
        for (family, name) in device.families.iter_mut().zip(["ipv4", "ipv6"]) {
            let file = Path::new("/proc/sys/net").join(name).join("conf").join(&device.name).join("forwarding");
            family.forwarding = fs::read_to_string(file).is_ok_and(|text| text.trim() == "1");
        }
        for (programs, way_out) in [(&mut device.tc_in, false), (&mut device.tc_out, true)] {
            match link::classifiers(*index, way_out) {
                Ok(ids) => programs.extend(
                    ids.iter().filter(|id| !ours.contains(id)).map(|id| format!("{} BPF program {id}", device.name)),
                ),
                // It went while we looked; the next look is on its way.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => unread.push(format!("programs of {}: {error}", device.name)),
            }
        }
    }
    match hooks {
        Ok(hooks) => facts.hooks = hooks,
        Err(why) => unread.push(why),
    }
    legacy(&mut facts);
    facts.unread = unread;
    facts
}

fn dump(protocol: libc::c_int, kind: u16, body: &[u8], each: netlink::Each<'_>) -> Result<(), seed::Error> {
    netlink::dump(&Request { protocol, kind, body, table: "state", module: "for it" }, each)
}

/// A dump over rtnetlink.
pub(super) fn route(kind: u16, body: &[u8], each: &mut dyn FnMut(&[u8])) -> Result<(), seed::Error> {
    dump(libc::NETLINK_ROUTE, kind, body, &mut |_, payload| {
        each(payload);
        Ok(())
    })
}

fn text(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// The kind a qdisc, a filter or a device names itself by.
pub(super) fn kind(attributes: &[u8], number: u16) -> Option<String> {
    attribute(attributes, number).map(text)
}

fn devices(found: &mut BTreeMap<u32, Device>) -> Result<(), seed::Error> {
    route(libc::RTM_GETLINK, &[0; IFINFOMSG], &mut |payload| {
        let (Some(index), Some(rest)) = (u32_native(payload, 4), payload.get(IFINFOMSG..)) else { return };
        found.insert(index, device(rest));
    })
}

/// `IFLA_*` and the nested `IFLA_INFO_*`, `include/uapi/linux/if_link.h`.
pub(super) fn device(rest: &[u8]) -> Device {
    const LINK_NETNSID: u16 = 37;
    let number = |kind| attribute(rest, kind).and_then(|value| u32_native(value, 0)).filter(|number| *number != 0);
    let info = attribute(rest, libc::IFLA_LINKINFO).unwrap_or_default();
    let own = kind(info, libc::IFLA_INFO_KIND);
    let data = attribute(info, libc::IFLA_INFO_DATA).unwrap_or_default();
    let flag = |data: &[u8], kind| attribute(data, kind).and_then(|value| value.first()).is_some_and(|byte| *byte != 0);
    let mut device = Device {
        name: attribute(rest, libc::IFLA_IFNAME).map(text).unwrap_or_default(),
        lower: number(libc::IFLA_LINK).filter(|_| attribute(rest, LINK_NETNSID).is_none()),
        master: number(libc::IFLA_MASTER),
        ..Device::default()
    };
    match own.as_deref() {
        Some("vlan") => {
            // IFLA_VLAN_ID, IFLA_VLAN_EGRESS_QOS, IFLA_VLAN_PROTOCOL.
            let id = attribute(data, 1).and_then(|value| u16_native(value, 0)).unwrap_or(0);
            let protocol = attribute(data, 5).and_then(|value| netlink::u16_net(value, 0));
            let priorities = attribute(data, 3).is_some_and(|value| !value.is_empty());
            device.vlan = Some(Vlan { id, customer: protocol == Some(0x8100), priorities });
        }
        Some("bridge") => {
            // IFLA_BR_STP_STATE, IFLA_BR_VLAN_FILTERING.
            let stp = attribute(data, 5).and_then(|value| u32_native(value, 0)) != Some(0);
            device.bridge = Some(Bridge { stp, vlan_filtering: flag(data, 7) });
        }
        _ => {}
    }
    if kind(info, libc::IFLA_INFO_SLAVE_KIND).as_deref() == Some("bridge") {
        let port = attribute(info, libc::IFLA_INFO_SLAVE_DATA).unwrap_or_default();
        // IFLA_BRPORT_*: MODE, PROXYARP, PROXYARP_WIFI, VLAN_TUNNEL, NEIGH_SUPPRESS, ISOLATED, LOCKED.
        let on = [
            (4, "hairpin"),
            (10, "proxyarp"),
            (12, "proxyarp_wifi"),
            (29, "vlan_tunnel"),
            (32, "neigh_suppress"),
            (33, "isolated"),
            (39, "locked"),
        ];
        device.port_settings.extend(on.iter().filter(|(number, _)| flag(port, *number)).map(|(_, name)| *name));
        if !flag(port, 8) {
            device.port_settings.push("learning off");
        }
    }
    device.kind = own;
    device
}

/// `struct ifaddrmsg`: which devices have addresses that are more than link-local.
fn addresses(found: &mut BTreeMap<u32, Device>) -> Result<(), seed::Error> {
    route(libc::RTM_GETADDR, &[0; 8], &mut |payload| {
        let (Some(family), Some(scope), Some(index)) = (payload.first(), payload.get(3), u32_native(payload, 4)) else {
            return;
        };
        let place = match i32::from(*family) {
            libc::AF_INET => 0,
            libc::AF_INET6 => 1,
            _ => return,
        };
        if *scope < libc::RT_SCOPE_LINK
            && let Some(device) = found.get_mut(&index)
        {
            device.families[place].addressed = true;
        }
    })
}

/// The number of a generic netlink family, and of its multicast group.
pub fn generic(family: &str, group: &str) -> Result<(u16, Option<u32>), seed::Error> {
    // CTRL_CMD_GETFAMILY of the controller, whose number is fixed.
    let mut found = None;
    dump(libc::NETLINK_GENERIC, 16, &[3, 1, 0, 0], &mut |_, payload| {
        let rest = payload.get(4..).unwrap_or_default();
        // CTRL_ATTR_FAMILY_NAME, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_MCAST_GROUPS.
        if kind(rest, 2).as_deref() == Some(family) {
            let groups = attribute(rest, 7).unwrap_or_default();
            let named = attributes(groups).find(|(_, one)| kind(one, 1).as_deref() == Some(group));
            let number = named.and_then(|(_, one)| attribute(one, 2)).and_then(|value| u32_native(value, 0));
            found = attribute(rest, 1).and_then(|value| u16_native(value, 0)).map(|id| (id, number));
        }
        Ok(())
    })?;
    found.ok_or(seed::Error::Malformed { table: "netlink families", what: "the family is not there" })
}

/// `NETDEV_CMD_DEV_GET` of the family `netdev`.
fn features(found: &mut BTreeMap<u32, Device>) -> Result<(), seed::Error> {
    let (family, _) = generic("netdev", "mgmt")?;
    dump(libc::NETLINK_GENERIC, family, &[1, 1, 0, 0], &mut |_, payload| {
        let rest = payload.get(4..).unwrap_or_default();
        // NETDEV_A_DEV_IFINDEX, NETDEV_A_DEV_XDP_FEATURES.
        let index = attribute(rest, 1).and_then(|value| u32_native(value, 0));
        let features = attribute(rest, 3).and_then(|value| netlink::bytes(value, 0)).map(u64::from_ne_bytes);
        if let Some(device) = index.and_then(|index| found.get_mut(&index)) {
            device.xdp_features = features;
        }
        Ok(())
    })
}

fn routing_rules(found: &mut Vec<String>) -> Result<(), seed::Error> {
    for (family, command) in [(libc::AF_INET, "ip rule"), (libc::AF_INET6, "ip -6 rule")] {
        let mut header = [0; 12];
        header[0] = family as u8;
        route(libc::RTM_GETRULE, &header, &mut |payload| {
            found.extend(special_rule(payload).map(|priority| format!("{command} {priority}")));
        })?;
    }
    Ok(())
}

/// The priority of a rule that looks at what a lookup out of XDP does not give: the mark, ports, the tunnel, the type of
/// service, the user. `struct fib_rule_hdr` and `FRA_*`.
pub(super) fn special_rule(payload: &[u8]) -> Option<u32> {
    let (tos, rest) = (*payload.get(3)?, payload.get(12..)?);
    // DST, SRC, IIFNAME, GOTO, PRIORITY, SUPPRESS_IFGROUP, SUPPRESS_PREFIXLEN, TABLE, OIFNAME, PAD, PROTOCOL.
    let plain = |kind| matches!(kind, 1..=4 | 6 | 13..=15 | 17 | 18 | 21);
    // What is there and zero asks for nothing.
    let special = attributes(rest).any(|(kind, value)| !plain(kind) && value.iter().any(|byte| *byte != 0));
    let priority = attribute(rest, 6).and_then(|value| u32_native(value, 0)).unwrap_or(0);
    (special || tos != 0).then_some(priority)
}

fn ipsec(found: &mut usize) -> Result<(), seed::Error> {
    const GETPOLICY: u16 = 0x15;
    const INDEX: usize = 156;
    let listed = dump(libc::NETLINK_XFRM, GETPOLICY, &[0; 64], &mut |_, payload| {
        // From 3 on: of one socket, as IKE daemons have.
        let direction = u32_native(payload, INDEX).map_or(0, |index| index & 7);
        *found += usize::from(direction < 3);
        Ok(())
    });
    match listed {
        Err(error) if error.is_unavailable() => Ok(()),
        other => other,
    }
}

/// The old iptables tell which tables are loaded, and no more.
fn legacy(facts: &mut Facts) {
    for (family, file) in [("ip", "/proc/net/ip_tables_names"), ("ip6", "/proc/net/ip6_tables_names")] {
        match fs::read_to_string(file) {
            Ok(names) => facts.legacy.extend(names.lines().map(|name| format!("{family} {name}"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => facts.unread.push(format!("{file}: {error}")),
        }
    }
    let loaded = EBTABLES.iter().filter(|name| Path::new("/sys/module").join(name).exists());
    facts.ebtables.extend(loaded.map(|name| (*name).to_owned()));
}
