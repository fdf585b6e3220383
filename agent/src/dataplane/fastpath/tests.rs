//! The decision over recorded states of a system.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    facts::{Bridge, Device, Facts, Family, Vlan},
    judge::{Asked, NDO_XMIT, REDIRECT, objections},
    kernel,
    reason::{Reason, Way},
    wall::{Hook, hooks},
};

const LAN: u32 = 2;
const WAN: u32 = 3;
const TRUNK: u32 = 4;
const BRIDGE: u32 = 5;
const PORT: u32 = 6;

fn card(name: &str) -> Device {
    let routed = Family { addressed: true, forwarding: true };
    Device {
        name: name.to_owned(),
        families: [routed, routed],
        xdp_features: Some(1 | REDIRECT | NDO_XMIT),
        ..Device::default()
    }
}

fn of_kind(name: &str, kind: &str) -> Device {
    Device { kind: Some(kind.to_owned()), ..card(name) }
}

/// Two routed cards, a trunk with a VLAN device, a bridge with a port.
fn town() -> Facts {
    let vlan = Vlan { id: 10, customer: true, priorities: false };
    let devices = BTreeMap::from([
        (1, Device { families: [Family::default(); 2], ..card("lo") }),
        (LAN, of_kind("lan0", "veth")),
        (WAN, card("wan0")),
        (TRUNK, Device { families: [Family::default(); 2], ..card("trunk0") }),
        (7, Device { lower: Some(TRUNK), vlan: Some(vlan), ..of_kind("trunk0.10", "vlan") }),
        (BRIDGE, Device { bridge: Some(Bridge::default()), ..of_kind("br0", "bridge") }),
        (PORT, Device { master: Some(BRIDGE), families: [Family::default(); 2], ..card("p0") }),
    ]);
    Facts { devices, ..Facts::default() }
}

fn asked(ifindex: u32) -> Asked {
    Asked { ifindex, attached: true, native: true, wanted: true }
}

fn reasons(facts: &Facts, ifindex: u32) -> Vec<(Reason, Way)> {
    objections(facts, asked(ifindex)).iter().map(|one| (one.reason, one.way)).collect()
}

fn device(facts: &mut Facts, index: u32) -> &mut Device {
    facts.devices.get_mut(&index).unwrap()
}

fn add(facts: &mut Facts, device: Device) {
    facts.devices.insert(90, device);
}

#[test]
fn nothing_speaks_against_a_plain_town() {
    for interface in [LAN, WAN, TRUNK, PORT] {
        assert_eq!(objections(&town(), asked(interface)), []);
    }
}

/// A change that forbids, on which interface, and why.
type Change = (fn(&mut Facts), u32, Reason, Way);

const CHANGES: &[Change] = &[
    (|f| f.legacy.push("ip filter".into()), LAN, Reason::LegacyTables, Way::Both),
    (|f| f.ebtables.push("ebtable_filter".into()), PORT, Reason::LegacyTables, Way::Both),
    (|f| f.routing_rules.push("ip rule 100".into()), LAN, Reason::RoutingRule, Way::Both),
    (|f| f.ipsec = 1, WAN, Reason::Ipsec, Way::Both),
    (|f| f.unread.push("devices: no answer".into()), WAN, Reason::Unknown, Way::Both),
    (|f| device(f, LAN).xdp_features = None, LAN, Reason::Unknown, Way::Both),
    (|f| device(f, LAN).xdp_features = Some(1 | REDIRECT), LAN, Reason::NoTransmit, Way::Out),
    (|f| device(f, LAN).xdp_features = Some(1 | NDO_XMIT), LAN, Reason::NoRedirect, Way::In),
    (|f| device(f, LAN).kind = Some("bond".into()), LAN, Reason::DeviceKind, Way::Both),
    (|f| device(f, LAN).tc_in.push("lan0 clsact".into()), LAN, Reason::TrafficControl, Way::In),
    (|f| device(f, LAN).tc_out.push("lan0 clsact".into()), LAN, Reason::TrafficControl, Way::Out),
    (|f| device(f, 7).tc_out.push("trunk0.10 clsact".into()), TRUNK, Reason::TrafficControl, Way::Out),
    (|f| device(f, BRIDGE).tc_in.push("br0 clsact".into()), PORT, Reason::TrafficControl, Way::In),
    (|f| device(f, WAN).shaping.push("tbf".into()), WAN, Reason::Shaping, Way::Out),
    (|f| device(f, 7).shaping.push("htb".into()), TRUNK, Reason::Shaping, Way::Out),
    (|f| device(f, LAN).families[0].forwarding = false, LAN, Reason::NotForwarding, Way::Both),
    (|f| device(f, LAN).families[1].forwarding = false, LAN, Reason::NotForwarding, Way::Both),
    (|f| device(f, 7).families[0].forwarding = false, TRUNK, Reason::NotForwarding, Way::Both),
    (
        |f| device(f, BRIDGE).bridge = Some(Bridge { stp: true, ..Bridge::default() }),
        PORT,
        Reason::BridgeStp,
        Way::Both,
    ),
    (
        |f| device(f, BRIDGE).bridge = Some(Bridge { vlan_filtering: true, ..Bridge::default() }),
        PORT,
        Reason::BridgeVlans,
        Way::Both,
    ),
    (|f| device(f, PORT).port_settings.push("hairpin"), PORT, Reason::BridgePort, Way::Both),
    (|f| device(f, PORT).master = Some(77), PORT, Reason::Unknown, Way::Both),
    (|f| device(f, BRIDGE).master = Some(WAN), PORT, Reason::UpperDevice, Way::Both),
    (|f| device(f, 7).vlan.as_mut().unwrap().customer = false, TRUNK, Reason::UpperDevice, Way::Both),
    (|f| device(f, 7).vlan.as_mut().unwrap().priorities = true, TRUNK, Reason::UpperDevice, Way::Both),
    (|f| device(f, 7).master = Some(BRIDGE), TRUNK, Reason::UpperDevice, Way::Both),
    (|f| add(f, Device { lower: Some(WAN), ..of_kind("mv0", "macvlan") }), WAN, Reason::UpperDevice, Way::Both),
    (|f| add(f, Device { lower: Some(WAN), ..of_kind("iv0", "ipvlan") }), WAN, Reason::UpperDevice, Way::Both),
    (
        |f| {
            add(f, of_kind("bond0", "bond"));
            device(f, WAN).master = Some(90);
        },
        WAN,
        Reason::UpperDevice,
        Way::Both,
    ),
];

#[test]
fn any_single_fact_that_forbids_is_enough_and_is_named() {
    for (number, (change, interface, reason, way)) in CHANGES.iter().enumerate() {
        let mut facts = town();
        change(&mut facts);
        let found = reasons(&facts, *interface);
        assert!(found.contains(&(*reason, *way)), "change {number}: {found:?} lacks {reason:?}");
    }
}

#[test]
fn no_fact_makes_up_for_another() {
    for (number, (first, interface, _, way)) in CHANGES.iter().enumerate() {
        for (other, (second, ..)) in CHANGES.iter().enumerate() {
            let mut facts = town();
            // Some replace what another changed: those come last, and count.
            second(&mut facts);
            first(&mut facts);
            let found = reasons(&facts, *interface);
            let forbidden = |is: fn(Way) -> bool| !is(*way) || found.iter().any(|(_, way)| is(*way));
            assert!(forbidden(Way::forbids_in) && forbidden(Way::forbids_out), "{other} opens {number}: {found:?}");
        }
    }
}

#[test]
fn what_is_not_wanted_or_not_attached_is_not_used() {
    for (change, reason) in [
        (Asked { wanted: false, ..asked(LAN) }, Reason::Configured),
        (Asked { attached: false, ..asked(LAN) }, Reason::NotAttached),
        (Asked { ifindex: 0, ..asked(LAN) }, Reason::NotAttached),
        (Asked { ifindex: 99, ..asked(LAN) }, Reason::NotAttached),
        (Asked { native: false, ..asked(LAN) }, Reason::GenericXdp),
    ] {
        let found = objections(&town(), change);
        assert!(found.iter().any(|one| one.reason == reason && one.way == Way::Both), "{reason:?}: {found:?}");
    }
}

#[test]
fn what_concerns_others_forbids_nothing_here() {
    let mut facts = town();
    device(&mut facts, WAN).shaping.push("tbf".into());
    device(&mut facts, WAN).tc_in.push("wan0 clsact".into());
    facts.ebtables.push("ebtable_nat".into());
    // A veth names its peer as what it stands on.
    facts.devices.insert(91, Device { lower: Some(LAN), ..of_kind("peer", "veth") });
    device(&mut facts, 91).shaping.push("tbf".into());
    // In a family without addresses nobody routes.
    device(&mut facts, LAN).families[1] = Family { addressed: false, forwarding: false };
    assert_eq!(objections(&facts, asked(LAN)), []);
}

fn ruleset(objects: serde_json::Value) -> Vec<Hook> {
    hooks(&json!({ "nftables": objects }), "sekimori")
}

fn chain(family: &str, table: &str, hook: &str, policy: &str) -> serde_json::Value {
    json!({"chain": {"family": family, "table": table, "name": "c", "type": "filter", "hook": hook, "prio": 0, "policy": policy}})
}

fn nft_rule(family: &str, table: &str, expr: serde_json::Value) -> serde_json::Value {
    json!({"rule": {"family": family, "table": table, "chain": "c", "handle": 1, "expr": expr}})
}

fn matched(key: &str, op: &str, right: serde_json::Value) -> serde_json::Value {
    json!({"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}})
}

#[test]
fn chains_that_do_nothing_to_forwarded_packets_do_not_matter() {
    let counter = || json!([{"counter": {"packets": 0, "bytes": 0}}]);
    for objects in [
        json!([chain("ip", "t", "forward", "accept")]),
        json!([chain("ip", "t", "input", "drop"), nft_rule("ip", "t", counter())]),
        json!([chain("inet", "t", "output", "accept"), nft_rule("inet", "t", counter())]),
        json!([chain("arp", "t", "input", "accept"), nft_rule("arp", "t", counter())]),
        json!([chain("inet", "sekimori", "forward", "drop"), nft_rule("inet", "sekimori", counter())]),
        json!([{"chain": {"family": "ip", "table": "t", "name": "c", "handle": 1}}, nft_rule("ip", "t", counter())]),
        // A rule of another family's table of the same name.
        json!([chain("ip", "t", "forward", "accept"), nft_rule("ip6", "t", counter())]),
    ] {
        assert_eq!(ruleset(objects.clone()), [], "{objects}");
    }
    for hook in ["prerouting", "forward", "postrouting", "ingress", "egress", "tomorrow"] {
        for family in ["ip", "ip6", "inet", "netdev", "bridge"] {
            let found = ruleset(json!([chain(family, "t", hook, "accept"), nft_rule(family, "t", counter())]));
            assert_eq!(found.len(), 1, "{family} {hook}");
            let dropping = ruleset(json!([chain(family, "t", hook, "drop")]));
            assert_eq!(dropping.len(), 1, "{family} {hook}");
        }
    }
    // Somebody else's table may be called like ours in a family that is not ours.
    assert_eq!(ruleset(json!([chain("ip", "sekimori", "forward", "drop")])).len(), 1);
}

#[test]
fn a_rule_forbids_only_the_interfaces_it_names_if_it_surely_names_them() {
    let verdict = || json!({"accept": null});
    let of = |expr| ruleset(json!([chain("ip", "t", "forward", "accept"), nft_rule("ip", "t", expr)]));
    let lan = |hooks: Vec<Hook>| {
        let mut facts = town();
        facts.hooks = hooks;
        !objections(&facts, asked(LAN)).is_empty()
    };
    for (expr, meets) in [
        (json!([matched("oifname", "==", json!("wan0")), verdict()]), false),
        (json!([matched("iif", "==", json!("wan0")), verdict()]), false),
        (json!([matched("iifname", "==", json!({"set": ["wan0", "trunk0"]})), verdict()]), false),
        (json!([matched("iifname", "==", json!("la*")), verdict()]), true),
        (json!([matched("iifname", "==", json!({"set": ["wan0", "lan0"]})), verdict()]), true),
        (json!([matched("iifname", "!=", json!("wan0")), verdict()]), true),
        (json!([matched("iifname", "==", json!("@names")), verdict()]), true),
        (json!([matched("iif", "==", json!(9)), verdict()]), true),
        (json!([matched("mark", "==", json!(9)), matched("oif", "==", json!("wan0")), verdict()]), false),
        (json!([{"counter": null}, matched("oif", "==", json!("wan0")), verdict()]), true),
        (json!([{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@x"}}]), true),
        (json!([{"xt": {"type": "match", "name": "physdev"}}, verdict()]), true),
        (json!([verdict()]), true),
    ] {
        assert_eq!(lan(of(expr.clone())), meets, "{expr}");
    }
    // Names of devices above count for the port below.
    let mut facts = town();
    facts.hooks = of(json!([matched("iifname", "==", json!("br0")), verdict()]));
    assert!(!objections(&facts, asked(PORT)).is_empty());
    assert_eq!(objections(&facts, asked(TRUNK)), []);
}

#[test]
fn bridge_tables_concern_bridge_ports_and_device_tables_their_devices() {
    let mut facts = town();
    facts.hooks = ruleset(json!([chain("bridge", "t", "forward", "drop")]));
    assert_eq!(reasons(&facts, PORT), [(Reason::Netfilter, Way::Both)]);
    assert_eq!(reasons(&facts, LAN), []);
    let mut ingress = chain("netdev", "t", "ingress", "drop");
    ingress["chain"]["dev"] = json!(["lan0"]);
    facts.hooks = ruleset(json!([ingress]));
    assert_eq!(reasons(&facts, LAN), [(Reason::Netfilter, Way::In)]);
    assert_eq!(reasons(&facts, WAN), []);
    let mut nat = chain("ip", "t", "postrouting", "accept");
    nat["chain"]["type"] = json!("nat");
    facts.hooks = ruleset(json!([nat, nft_rule("ip", "t", json!([{"masquerade": null}]))]));
    assert_eq!(reasons(&facts, WAN), [(Reason::Nat, Way::Both)]);
}

/// One attribute: its length, its type, its bytes.
fn nla(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn routing_rules_that_look_at_addresses_and_interfaces_are_plain() {
    let rule = |tos: u8, attributes: &[(u16, &[u8])]| {
        let mut payload = vec![2, 0, 0, tos, 0, 0, 0, 1, 0, 0, 0, 0];
        payload.extend(attributes.iter().flat_map(|(kind, value)| nla(*kind, value)));
        kernel::special_rule(&payload)
    };
    let priority: (u16, &[u8]) = (6, &[100, 0, 0, 0]);
    // suppress_prefixlength -1, table, source, protocol: as every rule has them.
    assert_eq!(rule(0, &[priority, (14, &[255; 4]), (15, &[254, 0, 0, 0]), (2, &[10, 0, 0, 1]), (21, &[2])]), None);
    // fwmark, fwmask, ipproto, sport, dport, tunnel, uid, l3mdev, something new.
    for special in [10u16, 16, 22, 23, 24, 12, 20, 19, 25, 40] {
        assert_eq!(rule(0, &[priority, (special, &[7, 0, 0, 0])]), Some(100), "{special}");
        assert_eq!(rule(0, &[priority, (special, &[0; 4])]), None, "{special} and zero");
    }
    assert_eq!(rule(8, &[priority]), Some(100));
}

#[test]
fn devices_are_read_as_the_kernel_writes_them() {
    let info = [nla(1, b"vlan\0"), nla(2, &[nla(1, &10u16.to_ne_bytes()), nla(5, &[0x81, 0])].concat())].concat();
    let found = kernel::device(&[nla(3, b"lan0.10\0"), nla(5, &2u32.to_ne_bytes()), nla(18, &info)].concat());
    assert_eq!(found.name, "lan0.10");
    assert_eq!((found.lower, found.vlan), (Some(2), Some(Vlan { id: 10, customer: true, priorities: false })));
    let port = [nla(4, b"bridge\0"), nla(5, &[nla(4, &[1]), nla(8, &[1]), nla(33, &[1])].concat())].concat();
    let found = kernel::device(&[nla(3, b"p0\0"), nla(10, &5u32.to_ne_bytes()), nla(18, &port)].concat());
    assert_eq!((found.master, found.port_settings), (Some(5), vec!["hairpin", "isolated"]));
    // The other end of a wire into another namespace is not one of ours.
    let away = [nla(3, b"v\0"), nla(5, &9u32.to_ne_bytes()), nla(37, &0i32.to_ne_bytes())].concat();
    assert_eq!(kernel::device(&away).lower, None);
    let stp = |on: u32| [nla(1, b"bridge\0"), nla(2, &nla(5, &on.to_ne_bytes()))].concat();
    for (number, on) in [(0, false), (1, true), (2, true)] {
        let found = kernel::device(&nla(18, &stp(number)));
        assert_eq!(found.bridge.unwrap().stp, on);
    }
}
