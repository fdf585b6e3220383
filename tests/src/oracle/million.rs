//! A group of a million prefixes, and the oracle made affordable for it: what the group covers is a sorted table of
//! ranges, and the oracle judges by a policy in which the group holds only what the packet's own addresses need.

use std::{fmt::Write as _, net::IpAddr};

use ipnet::IpNet;
use sekimori::policy::{addresses::Addresses, model::Policy};

use super::generate::rng::Rng;

/// Name of the list file.
pub const LIST: &str = "everybody.txt";

/// A small office, a published server, and the Internet as far as the list goes. The rule `half` permits nothing that
/// is sent, and lists half of the addresses: there the rules are asked about those not in the group, elsewhere nobody is.
pub const POLICY: &str = r#"version: 1
organisation: million
timezone: Asia/Tokyo
box: {addresses: [192.168.1.1, 203.0.113.10, "2001:db8:99::2"]}
zones:
  office: {interfaces: [lan0], prefixes: [192.168.1.0/24, "2001:db8:1::/64"], devices: registered}
  dmz: {interfaces: [dmz0], prefixes: [192.168.20.0/24, "2001:db8:20::/64"], devices: any}
networks:
  internet:
    interfaces: [wan0]
    prefixes: default
    routers: ["02:00:00:00:99:01"]
    line: line
    owner: somebody
    survey: {date: 2026-10-01, surveyor: somebody, topology: t, devices: d, security: s, impact: i}
devices:
  pc: {zone: office, mac: "02:00:00:00:01:11", addresses: [192.168.1.11, "2001:db8:1::11"], owner: somebody}
groups:
  everybody: [{file: everybody.txt}]
rules:
  - id: out
    from: office
    to: {network: internet, groups: [everybody]}
    services: [tcp/443]
    purpose: p
    owner: o
  - id: half
    from: office
    to: {network: internet, addresses: [64.0.0.0/2, 2600::/17]}
    services: [tcp/8443]
    purpose: p
    owner: o
publish:
  - id: web
    from: {network: internet, groups: [everybody]}
    address: 203.0.113.10
    services: [tcp/443]
    server: {zone: dmz, address: 192.168.20.10, port: 8443}
    purpose: p
    owner: o
"#;

/// An address as a number: IPv4 in the IPv4-mapped range.
pub fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_ipv6_mapped()),
        IpAddr::V6(addr) => u128::from(addr),
    }
}

/// A number as an address.
pub fn address(number: u128) -> IpAddr {
    IpAddr::V6(number.into()).to_canonical()
}

/// What a group covers, as `first..=last`, sorted and disjoint.
#[derive(Debug)]
pub struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    /// Sorts and merges.
    pub fn of(entries: &[IpNet]) -> Self {
        let mut all: Vec<(u128, u128)> =
            entries.iter().map(|net| (number(net.network()), number(net.broadcast()))).collect();
        all.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::new();
        for (first, last) in all {
            match merged.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// Whether the group covers it.
    pub fn contains(&self, addr: IpAddr) -> bool {
        let wanted = number(addr);
        let behind = self.0.partition_point(|(first, _)| *first <= wanted);
        behind > 0 && self.0[behind - 1].1 >= wanted
    }
}

/// A quarter /24, a quarter /28, half single hosts, uniform over the unicast space; every tenth entry is IPv6, its
/// lengths doubled on from /32.
pub fn entries(rng: &mut Rng, count: usize) -> Vec<IpNet> {
    let mut out = Vec::with_capacity(count);
    while out.len() < count {
        let bits = rng.bits();
        let length = [24, 28, 32, 32][(bits >> 32) as usize % 4];
        let found = if out.len() % 10 == 9 {
            let high = 0x2600u128 << 112 | u128::from(bits as u32) << 64;
            IpNet::new(IpAddr::V6(high.into()), 32 + length)
        } else {
            let addr = std::net::Ipv4Addr::from(bits as u32);
            if matches!(addr.octets()[0], 0 | 10 | 127 | 169 | 172 | 192 | 203 | 224..) {
                continue;
            }
            IpNet::new(IpAddr::V4(addr), length)
        };
        out.extend(found.map(|net| net.trunc()));
    }
    out
}

/// The list file's text.
pub fn list(entries: &[IpNet]) -> String {
    let mut out = String::with_capacity(entries.len() * 20);
    for entry in entries {
        let _ = writeln!(out, "{entry}");
    }
    out
}

/// Entries a side must name to count as a large group.
const LARGE: usize = 100;

/// A policy whose large groups are replaced by the ranges they cover.
#[derive(Debug)]
pub struct Narrowed {
    policy: Policy,
    ranges: Ranges,
}

impl Narrowed {
    /// `entries` are what every large group of this policy was written with.
    pub fn of(policy: &Policy, entries: &[IpNet]) -> Self {
        let mut slim = policy.clone();
        for rule in &mut slim.rules {
            for party in [&mut rule.from, &mut rule.to] {
                if let Some(prefixes) = party.prefixes.as_mut().filter(|prefixes| prefixes.len() > LARGE) {
                    *prefixes = Addresses::default();
                }
            }
        }
        Self { policy: slim, ranges: Ranges::of(entries) }
    }

    /// The policy as far as these addresses are concerned.
    pub fn about(&self, addresses: &[IpAddr]) -> Policy {
        let named: Vec<IpNet> =
            addresses.iter().copied().filter(|addr| self.ranges.contains(*addr)).map(IpNet::from).collect();
        let mut policy = self.policy.clone();
        for rule in &mut policy.rules {
            for party in [&mut rule.from, &mut rule.to] {
                if party.prefixes.as_ref().is_some_and(Addresses::is_empty) {
                    party.prefixes = Some(named.clone().into());
                }
            }
        }
        policy
    }

    /// What the group covers.
    pub fn ranges(&self) -> &Ranges {
        &self.ranges
    }
}
