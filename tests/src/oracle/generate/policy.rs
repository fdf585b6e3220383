//! Random valid policies, small and full of edges.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use jiff::{Timestamp, ToSpan, civil::date};
use sekimori::policy::addresses::{Addresses, Group};
use sekimori::policy::model::{
    Builtin, Device, DeviceMode, External, Hours, L2Control, Limits, Mac, Net, NetBuiltin, NetKind, Party, Place,
    Policy, Port, Published, Rate, Restoring, Rule, Service,
};

use super::rng::Rng;

const PREFIXES: &[&str] = &[
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.128/25",
    "10.1.2.200/32",
    "172.16.0.0/20",
    "192.168.10.0/24",
    "192.168.10.64/26",
    "192.168.10.96/31",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "203.0.113.128/30",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "2001:db8:1:2::/64",
    "2001:db8:1:2:8000::/65",
    "2001:db8:2::/64",
    "2001:db8:ff::/48",
    "2001:db8:ff::10/128",
];

/// The instant around which policies place their ends: a Friday morning in Tokyo.
pub fn base() -> Timestamp {
    Timestamp::UNIX_EPOCH.saturating_add(1_795_140_000.seconds()).unwrap_or_default()
}

fn prefix(text: &str) -> IpNet {
    text.parse().unwrap_or_default()
}

/// An address of the prefix: its ends and their neighbours more often than the middle.
pub fn address_in(rng: &mut Rng, net: &IpNet) -> IpAddr {
    let bits = rng.bits();
    match net {
        IpNet::V4(net) => {
            let (low, high) = (u32::from(net.network()), u32::from(net.broadcast()));
            let size = u64::from(high - low) + 1;
            let value = match rng.below(8) {
                0 => low,
                1 => high,
                2 => low.saturating_add(1).min(high),
                3 => high.saturating_sub(1).max(low),
                _ => low + (bits % size.min(40)) as u32,
            };
            IpAddr::V4(value.into())
        }
        IpNet::V6(net) => {
            let (low, high) = (u128::from(net.network()), u128::from(net.broadcast()));
            let span = high - low;
            let value = match rng.below(8) {
                0 => low,
                1 => high,
                2 => low + span.min(1),
                3 => high - span.min(1),
                _ => low + u128::from(bits % 40).min(span),
            };
            IpAddr::V6(value.into())
        }
    }
}

/// A policy nobody would write and everybody may.
pub fn policy(rng: &mut Rng) -> Policy {
    let mut nets = nets(rng);
    let prefixes: Vec<IpNet> = nets.iter().flat_map(|net| net.prefixes.clone()).collect();
    let mut box_addresses: Vec<IpAddr> = Vec::new();
    for prefix in &prefixes {
        if rng.chance(40) {
            let addr = address_in(rng, prefix);
            if !box_addresses.contains(&addr) {
                box_addresses.push(addr);
            }
        }
    }
    let devices = devices(rng, &nets, &box_addresses);
    for (index, net) in nets.iter_mut().enumerate() {
        if rng.chance(40) {
            net.routers = (0..=rng.below(2)).map(|n| router_mac(index, n)).collect();
        }
    }
    let hours = (0..rng.below(4)).map(|index| hours(rng, index)).collect::<Vec<_>>();
    let mut policy = Policy {
        organisation: "oracle".into(),
        timezone: jiff::tz::TimeZone::get("Asia/Tokyo").unwrap_or(jiff::tz::TimeZone::UTC),
        holidays: if rng.chance(30) { vec![date(2026, 11, 20)] } else { vec![date(2026, 11, 23)] },
        box_addresses,
        nets,
        devices,
        hours,
        rules: Vec::new(),
        alert_receivers: Vec::new(),
        detection: None,
        threat_lists: Vec::new(),
        services: std::collections::BTreeMap::new(),
        restoring: Restoring::default(),
        builtin: builtin(rng),
        tests: Vec::new(),
        files: Vec::new(),
        digests: Vec::new(),
        groups: Vec::new(),
        hash: [0; 32],
    };
    policy.groups = groups(rng);
    policy.rules = rules(rng, &policy);
    for byte in &mut policy.hash {
        *byte = rng.bits() as u8;
    }
    policy
}

/// Another revision: other permissions, or other devices, routers and addresses; nets keep their interfaces.
pub fn revised(rng: &mut Rng, policy: &Policy) -> Policy {
    let mut next = policy.clone();
    if rng.chance(40) {
        reregister(rng, &mut next);
    } else if rng.chance(60) && !next.rules.is_empty() {
        let gone = rng.below(next.rules.len());
        next.rules.remove(gone);
    } else {
        next.rules = rules(rng, &next);
    }
    for rule in &mut next.rules {
        if rng.chance(30) {
            rule.limits = limits(rng);
        }
    }
    if rng.chance(30) {
        next.builtin = builtin(rng);
    }
    next.hash[0] = next.hash[0].wrapping_add(1);
    next
}

/// Who is who changes, and nothing else: what was found out about a sender before holds no longer.
fn reregister(rng: &mut Rng, policy: &mut Policy) {
    for _ in 0..=rng.below(3) {
        let index = rng.below(policy.devices.len());
        match rng.below(6) {
            0 => {
                let net = rng.below(policy.nets.len());
                policy.nets[net].routers =
                    if rng.chance(50) { Vec::new() } else { vec![router_mac(net, rng.below(2))] };
            }
            1 => {
                let net = rng.below(policy.nets.len());
                if let NetKind::Zone { devices } = &mut policy.nets[net].kind {
                    *devices = *rng.pick(&[DeviceMode::Registered, DeviceMode::Known, DeviceMode::Any]);
                }
            }
            2 if index < policy.devices.len() => policy.devices[index].until = end(rng, 80),
            3 if index < policy.devices.len() => policy.devices[index].addresses.clear(),
            4 if index < policy.devices.len() => {
                let (net, mac) = (policy.devices[index].net, Mac([0x02, 0, 0, 0x11, rng.below(2) as u8, index as u8]));
                if !policy.devices.iter().any(|device| device.net == net && device.mac == mac) {
                    policy.devices[index].mac = mac;
                }
            }
            _ => {
                let found = rng.maybe(&policy.nets).and_then(|net| net.prefixes.first()).copied();
                let Some(addr) = found.map(|prefix| address_in(rng, &prefix)) else { continue };
                let registered = policy.devices.iter().any(|device| device.addresses.contains(&addr));
                let serves = |rule: &Rule| rule.published.as_ref().is_some_and(|published| published.address == addr);
                if !registered && !policy.box_addresses.contains(&addr) && !policy.rules.iter().any(serves) {
                    policy.box_addresses.push(addr);
                }
            }
        }
    }
}

/// MAC of router `n` of a net.
pub fn router_mac(net: usize, n: usize) -> Mac {
    Mac([0x02, 0, 0, 0x99, net as u8, n as u8])
}

fn nets(rng: &mut Rng) -> Vec<Net> {
    let count = 2 + rng.below(4);
    let mut pool: Vec<&str> = PREFIXES.to_vec();
    rng.shuffle(&mut pool);
    let default = if rng.chance(70) { Some(1) } else { None };
    let mut out = Vec::new();
    for index in 0..count {
        let zone = index == 0 || (index > 1 && rng.chance(60));
        let interface = if index > 1 && rng.chance(30) { "if0".to_owned() } else { format!("if{index}") };
        let (outer, inner) = match rng.below(6) {
            _ if interface == "if0" && index > 0 => (100 + index as u16, 0),
            0 => (10 + index as u16, 0),
            1 => (20 + index as u16, 5),
            _ => (0, 0),
        };
        let mut ports = vec![Port { interface: interface.clone(), outer, inner }];
        if rng.chance(30) {
            ports.push(Port { interface: interface.clone(), outer: 200 + index as u16, inner: 7 * (index as u16 % 2) });
        }
        if rng.chance(20) {
            ports.push(Port { interface: format!("second{index}"), outer: 0, inner: 0 });
        }
        let take = if default == Some(index) { rng.below(3) } else { 1 + rng.below(4) };
        let prefixes = pool.split_off(pool.len().saturating_sub(take)).iter().map(|text| prefix(text)).collect();
        let kind = if zone {
            NetKind::Zone { devices: *rng.pick(&[DeviceMode::Registered, DeviceMode::Known, DeviceMode::Any]) }
        } else {
            NetKind::External(External::default())
        };
        out.push(Net {
            name: format!("net{index}"),
            kind,
            ports,
            prefixes,
            is_default: default == Some(index),
            routers: Vec::new(),
            builtin: NetBuiltin {
                dhcp_server: zone && rng.chance(50),
                dhcp_client: !zone && rng.chance(50),
                ra_client: !zone && rng.chance(50),
                ra_server: zone && rng.chance(50),
            },
        });
    }
    out
}

fn devices(rng: &mut Rng, nets: &[Net], taken: &[IpAddr]) -> Vec<Device> {
    let mut used: BTreeSet<IpAddr> = taken.iter().copied().collect();
    let mut out = Vec::new();
    for (net, zone) in nets.iter().enumerate().filter(|(_, net)| matches!(net.kind, NetKind::Zone { .. })) {
        for n in 0..rng.below(5) {
            let mut addresses = Vec::new();
            for _ in 0..rng.below(3) {
                let prefix = *rng.pick(&zone.prefixes);
                let addr = address_in(rng, &prefix);
                if used.insert(addr) {
                    addresses.push(addr);
                }
            }
            out.push(Device {
                name: format!("dev{net}-{n}"),
                net,
                mac: Mac([0x02, 0, 0, 0x10, if rng.chance(10) { 0 } else { net as u8 }, n as u8]),
                addresses,
                owner: String::new(),
                until: end(rng, 30),
                critical: false,
            });
        }
    }
    let mut seen = BTreeSet::new();
    out.retain(|device: &Device| seen.insert((device.net, device.mac)));
    out
}

fn end(rng: &mut Rng, percent: usize) -> Option<Timestamp> {
    if !rng.chance(percent) {
        return None;
    }
    let offset = *rng.pick(&[-86_400i64, -60, 30, 95, 600, 40_000, 400_000]);
    base().checked_add(offset.seconds()).ok()
}

fn hours(rng: &mut Rng, index: usize) -> Hours {
    let mut spans = Vec::new();
    for day in 0..7u8 {
        if rng.chance(70) {
            let shape: &[(u16, u16)] = match rng.below(5) {
                0 => &[(0, 1440)],
                1 => &[(510, 1035)],
                2 => &[(480, 720), (780, 1439)],
                3 => &[(0, 300), (1320, 1440)],
                _ => &[(660, 661)],
            };
            spans.extend(shape.iter().map(|(from, to)| (day, *from, *to)));
        }
    }
    Hours { name: format!("hours{index}"), spans, closed_on_holidays: rng.chance(50) }
}

fn builtin(rng: &mut Rng) -> Builtin {
    let control = |rng: &mut Rng| *rng.pick(&[L2Control::Drop, L2Control::Local, L2Control::Forward]);
    Builtin {
        arp: rng.chance(90),
        ndp: rng.chance(90),
        mld: rng.chance(60),
        icmp_errors: rng.chance(85),
        resets: rng.chance(70),
        vrrp: rng.chance(50),
        stp: control(rng),
        lacp: control(rng),
        lldp: control(rng),
    }
}

/// Ports rules and packets like.
pub const PORTS: &[u16] = &[1, 22, 53, 67, 68, 80, 443, 546, 547, 1023, 1024, 8000, 8010, 65_534, 65_535];

fn service(rng: &mut Rng) -> Service {
    let range = |rng: &mut Rng| {
        let low = *rng.pick(PORTS);
        let high = if rng.chance(60) { low } else { low.saturating_add(rng.below(2_000) as u16) };
        (low, high)
    };
    match rng.below(9) {
        0..=2 => {
            let (low, high) = range(rng);
            Service::Tcp(low, high)
        }
        3 | 4 => {
            let (low, high) = range(rng);
            Service::Udp(low, high)
        }
        5 => Service::Icmp(8, None),
        6 => Service::Icmpv6(128, if rng.chance(50) { Some(0) } else { None }),
        7 => Service::Icmp(*rng.pick(&[8, 13]), Some(0)),
        _ => Service::Protocol(*rng.pick(&[47, 50, 4, 41, 89])),
    }
}

fn some_prefixes(rng: &mut Rng) -> Option<Vec<IpNet>> {
    if rng.chance(50) {
        return None;
    }
    let mut out = Vec::new();
    for _ in 0..=rng.below(3) {
        let wide: IpNet = prefix(rng.pick::<&str>(PREFIXES));
        let addr = address_in(rng, &wide);
        let most = if addr.is_ipv4() { 32 } else { 128 };
        let len = *rng.pick(&[wide.prefix_len(), most, most - 1, (wide.prefix_len() + 2).min(most), 0]);
        if let Ok(net) = IpNet::new(addr, len) {
            out.push(net.trunc());
        }
    }
    out.dedup();
    Some(out)
}

fn groups(rng: &mut Rng) -> Vec<Arc<Group>> {
    let group = |(number, list): (usize, Vec<IpNet>)| {
        Arc::new(Group { name: format!("g{number}"), prefixes: Arc::new(list.into_iter().collect()) })
    };
    (0..rng.below(3)).filter_map(|_| some_prefixes(rng)).enumerate().map(group).collect()
}

/// Written in place, or by groups that other rules name too.
fn some_addresses(rng: &mut Rng, policy: &Policy) -> Option<Addresses> {
    let mut addresses = Addresses::from(some_prefixes(rng)?);
    if rng.chance(40) {
        addresses.groups = policy.groups.iter().filter(|_| rng.chance(50)).cloned().collect();
    }
    Some(addresses)
}

fn rules(rng: &mut Rng, policy: &Policy) -> Vec<Rule> {
    let zones: Vec<usize> =
        (0..policy.nets.len()).filter(|index| matches!(policy.nets[*index].kind, NetKind::Zone { .. })).collect();
    let externals: Vec<usize> = (0..policy.nets.len()).filter(|index| !zones.contains(index)).collect();
    let mut out = Vec::new();
    for number in 0..rng.below(13) {
        let mut rule =
            if rng.chance(20) { published(rng, policy, &zones) } else { plain(rng, policy, &zones, &externals) };
        rule.id = format!("r{number}-{}", rng.below(1000));
        out.push(rule);
    }
    out
}

fn subset(rng: &mut Rng, from: &[Place]) -> Vec<Place> {
    let mut out: Vec<Place> = from.iter().filter(|_| rng.chance(50)).copied().collect();
    if out.is_empty() {
        out.extend(rng.maybe(from));
    }
    out
}

fn plain(rng: &mut Rng, policy: &Policy, zones: &[usize], externals: &[usize]) -> Rule {
    let all: Vec<Place> = (0..policy.nets.len()).map(Place::Net).chain([Place::Box]).collect();
    let inner: Vec<Place> = zones.iter().copied().map(Place::Net).chain([Place::Box]).collect();
    let outer: Vec<Place> = externals.iter().copied().map(Place::Net).collect();
    let (from, to) = if rng.chance(15) && !outer.is_empty() {
        (subset(rng, &outer), vec![Place::Box])
    } else {
        (subset(rng, &inner), subset(rng, &all))
    };
    let devices = if rng.chance(20) && !policy.devices.is_empty() {
        Some((0..=rng.below(2)).map(|_| rng.below(policy.devices.len())).collect())
    } else {
        None
    };
    Rule {
        id: String::new(),
        from: Party { place: from, prefixes: some_addresses(rng, policy), devices },
        to: Party { place: to, prefixes: some_addresses(rng, policy), devices: None },
        services: (0..=rng.below(4)).map(|_| service(rng)).collect(),
        hours: if rng.chance(25) && !policy.hours.is_empty() { Some(rng.below(policy.hours.len())) } else { None },
        until: end(rng, 15),
        purpose: String::new(),
        owner: String::new(),
        log: rng.chance(30),
        limits: limits(rng),
        quarantined: rng.chance(30),
        published: None,
    }
}

/// Small enough to be reached by a handful of conversations, a second or a day apart.
fn limits(rng: &mut Rng) -> Limits {
    let mut limits = Limits::default();
    if rng.chance(60) {
        return limits;
    }
    let count = |rng: &mut Rng| rng.chance(50).then(|| 1 + rng.below(4) as u32);
    limits.flows = count(rng);
    limits.flows_per_host = count(rng);
    let rate = |rng: &mut Rng| {
        let cost = *rng.pick(&[1, 333_333_334, 2_000_000_000, 20_000_000_000, 3_600_000_000_000]);
        rng.chance(40).then(|| Rate { cost, burst: 1 + rng.below(3) as u32 })
    };
    limits.new = rate(rng);
    limits.new_per_host = rate(rng);
    limits
}

fn published(rng: &mut Rng, policy: &Policy, zones: &[usize]) -> Rule {
    let zone = *rng.pick(zones);
    let inside = *rng.pick(&policy.nets[zone].prefixes);
    let address = address_in(rng, &inside);
    let v6 = address.is_ipv6();
    let candidates: Vec<IpAddr> = policy.box_addresses.iter().copied().filter(|addr| addr.is_ipv6() == v6).collect();
    let public = match rng.maybe(&candidates) {
        Some(addr) if rng.chance(60) => *addr,
        _ if rng.chance(30) => address,
        _ => address_in(rng, &prefix(if v6 { "2001:db8:ff::/48" } else { "203.0.113.0/24" })),
    };
    let single = *rng.pick(PORTS);
    let port = rng.chance(50).then(|| *rng.pick(&[8443, 8080, single]));
    let tcp = rng.chance(70);
    let services = vec![if tcp { Service::Tcp(single, single) } else { Service::Udp(single, single) }];
    let mut rule = plain(rng, policy, zones, &[]);
    rule.from.place = subset(rng, &(0..policy.nets.len()).map(Place::Net).collect::<Vec<_>>());
    rule.to = Party { place: vec![Place::Net(zone)], prefixes: Some(vec![IpNet::from(public)].into()), devices: None };
    rule.services = services;
    rule.published = Some(Published { public, net: zone, address, port });
    rule
}
