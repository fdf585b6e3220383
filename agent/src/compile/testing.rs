//! Policies for tests, built directly: short names for what the YAML would say.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use crate::policy::addresses::{Addresses, Group};
use crate::policy::model::{
    Builtin, Device, DeviceMode, External, Hours, L2Control, Limits, Mac, Net, NetBuiltin, NetKind, Party, Place,
    Policy, Port, Published, Restoring, Rule, Service,
};

/// A repeatable stream of numbers (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn nets(texts: &[&str]) -> Vec<ipnet::IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn policy() -> Policy {
    Policy {
        organisation: String::new(),
        timezone: jiff::tz::TimeZone::UTC,
        holidays: Vec::new(),
        box_addresses: Vec::new(),
        nets: Vec::new(),
        devices: Vec::new(),
        hours: Vec::new(),
        groups: Vec::new(),
        rules: Vec::new(),
        alert_receivers: Vec::new(),
        detection: None,
        threat_lists: Vec::new(),
        services: std::collections::BTreeMap::new(),
        restoring: Restoring::default(),
        builtin: Builtin {
            arp: true,
            ndp: true,
            mld: true,
            icmp_errors: true,
            resets: true,
            vrrp: false,
            stp: L2Control::Drop,
            lacp: L2Control::Local,
            lldp: L2Control::Forward,
        },
        tests: Vec::new(),
        files: Vec::new(),
        digests: Vec::new(),
        hash: [7; 32],
    }
}

fn net(name: &str, kind: NetKind, interface: &str, prefixes: &[&str]) -> Net {
    Net {
        name: name.to_owned(),
        kind,
        ports: vec![Port { interface: interface.to_owned(), outer: 0, inner: 0 }],
        prefixes: nets(prefixes),
        is_default: false,
        routers: Vec::new(),
        builtin: NetBuiltin::default(),
    }
}

pub(crate) fn zone(name: &str, mode: DeviceMode, interface: &str, prefixes: &[&str]) -> Net {
    net(name, NetKind::Zone { devices: mode }, interface, prefixes)
}

pub(crate) fn external(name: &str, interface: &str, prefixes: &[&str]) -> Net {
    net(name, NetKind::External(External { survey: BTreeMap::new(), ..External::default() }), interface, prefixes)
}

pub(crate) fn device(name: &str, net: usize, mac: [u8; 6], addresses: &[&str]) -> Device {
    Device {
        name: name.to_owned(),
        net,
        mac: Mac(mac),
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        owner: String::new(),
        until: None,
        critical: false,
    }
}

pub(crate) fn party(place: &[Place]) -> Party {
    Party { place: place.to_vec(), prefixes: None, devices: None }
}

pub(crate) fn rule(id: &str, from: Party, to: Party, services: &[Service]) -> Rule {
    Rule {
        id: id.to_owned(),
        from,
        to,
        services: services.to_vec(),
        hours: None,
        until: None,
        purpose: String::new(),
        owner: String::new(),
        log: false,
        limits: Limits::default(),
        quarantined: false,
        published: None,
    }
}

pub(crate) fn publish(id: &str, from: Party, public: &str, services: &[Service], server: Published) -> Rule {
    let public: IpAddr = ip(public);
    let to = Party { place: Vec::new(), prefixes: Some(vec![public.into()].into()), devices: None };
    Rule { published: Some(server), ..rule(id, from, to, services) }
}

pub(crate) fn hours(name: &str, spans: &[(u8, u16, u16)], closed_on_holidays: bool) -> Hours {
    Hours { name: name.to_owned(), spans: spans.to_vec(), closed_on_holidays }
}

const ADDRESSES: [&str; 18] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.1.1",
    "10.0.1.129",
    "10.1.0.1",
    "10.255.255.254",
    "192.0.2.1",
    "192.0.2.200",
    "198.51.100.7",
    "203.0.113.9",
    "2001:db8::1",
    "2001:db8::2",
    "2001:db8:1::1",
    "2001:db8:1:2::3",
    "2001:db9::1",
    "2400::1",
    "fe80::1",
    "febf::2",
];
const PREFIXES: [&str; 24] = [
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.0.0.0/24",
    "10.0.1.0/24",
    "10.0.1.128/25",
    "10.0.0.1/32",
    "10.0.1.129/32",
    "10.1.0.0/16",
    "192.0.2.0/24",
    "192.0.2.128/25",
    "192.0.2.200/31",
    "198.51.100.0/24",
    "0.0.0.0/0",
    "128.0.0.0/1",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "2001:db8:1:2::/64",
    "2001:db8::1/128",
    "2001:db8::2/128",
    "2000::/3",
    "::/0",
    "2400::/12",
    "fe80::1/128",
    "fe00::/8",
];

pub(crate) fn random_prefix(random: &mut Random) -> ipnet::IpNet {
    random.pick(&PREFIXES).parse().unwrap()
}

pub(crate) fn random_address(random: &mut Random) -> IpAddr {
    ip(random.pick::<&str>(&ADDRESSES))
}

fn random_prefixes(random: &mut Random) -> Vec<ipnet::IpNet> {
    (0..random.below(5)).map(|_| random.pick(&PREFIXES).parse().unwrap()).collect()
}

pub(crate) fn random_service(random: &mut Random) -> Service {
    let port = *random.pick(&[1u16, 53, 80, 443, 8000, 65535]);
    match random.below(8) {
        0 => Service::Tcp(port, port),
        1 => Service::Udp(port, port),
        2 => Service::Tcp(1, port),
        3 => Service::Udp(port, 65535),
        4 => Service::Icmp(8, random.chance(50).then_some(0)),
        5 => Service::Icmpv6(128, random.chance(50).then_some(0)),
        6 => Service::Protocol(*random.pick(&[0, 47, 50, 255])),
        _ => Service::Tcp(port.saturating_sub(5).max(1), port),
    }
}

/// Written in place, by groups that other rules name too, or both.
fn random_addresses(random: &mut Random, groups: &[Arc<Group>]) -> Addresses {
    let mut addresses = Addresses::from(if random.chance(60) { random_prefixes(random) } else { Vec::new() });
    addresses.groups = groups.iter().filter(|_| random.chance(40)).cloned().collect();
    addresses
}

fn random_party(random: &mut Random, policy: &Policy, devices: bool) -> Party {
    let mut place: Vec<Place> = (0..policy.nets.len()).filter(|_| random.chance(50)).map(Place::Net).collect();
    if random.chance(30) {
        place.push(Place::Box);
    }
    let named = devices && random.chance(30);
    Party {
        place,
        prefixes: random.chance(60).then(|| random_addresses(random, &policy.groups)),
        devices: named.then(|| (0..policy.devices.len()).filter(|_| random.chance(50)).collect()),
    }
}

/// A small policy full of overlaps. Every rule and device is distinct; nets never share a prefix.
pub(crate) fn random_policy(random: &mut Random) -> Policy {
    let mut policy = policy();
    let mut free: Vec<&'static str> = PREFIXES.to_vec();
    for index in 0..1 + random.below(4) as usize {
        let own: Vec<&'static str> =
            (0..random.below(4)).map(|_| free.swap_remove(random.below(free.len() as u64) as usize)).collect();
        let (name, interface) = (format!("n{index}"), format!("if{index}"));
        policy.nets.push(if random.chance(60) {
            zone(&name, *random.pick(&[DeviceMode::Any, DeviceMode::Known]), &interface, &own)
        } else {
            external(&name, &interface, &own)
        });
    }
    if random.chance(60) {
        policy.nets[0].is_default = true;
    }
    policy.box_addresses = (0..random.below(3)).map(|_| random_address(random)).collect();
    for index in 0..random.below(4) as u8 {
        let net = random.below(policy.nets.len() as u64) as usize;
        policy.devices.push(device(&format!("d{index}"), net, [2, 0, 0, 0, 0, index], &[]));
    }
    for index in 0..random.below(4) {
        let prefixes = Arc::new(random_prefixes(random).into_iter().collect());
        policy.groups.push(Arc::new(Group { name: format!("g{index}"), prefixes }));
    }
    policy.hours = vec![hours("never", &[], false)];
    for index in 0..random.below(12) {
        let from = random_party(random, &policy, true);
        let services: Vec<Service> = (0..1 + random.below(3)).map(|_| random_service(random)).collect();
        let id = format!("r{index}");
        let mut made = if random.chance(20) {
            let public: &str = random.pick::<&str>(&ADDRESSES);
            let net = random.below(policy.nets.len() as u64) as usize;
            publish(
                &id,
                from,
                public,
                &services,
                Published { public: ip(public), net, address: ip(public), port: None },
            )
        } else {
            rule(&id, from, random_party(random, &policy, false), &services)
        };
        made.hours = random.chance(20).then_some(0);
        policy.rules.push(made);
    }
    policy
}
