//! Two ends of a conversation that a rule might permit, and where they are.

use std::net::IpAddr;

use sekimori::policy::addresses::Addresses;
use sekimori::policy::model::{Mac, Place, Policy, Port, Rule, Service};

use super::{
    policy::{PORTS, address_in, router_mac},
    rng::Rng,
};
use crate::oracle::identity::owner;

/// The initiator's wish.
#[derive(Debug, Clone)]
pub struct Ends {
    /// Where the initiator is.
    pub from: Place,
    /// Where the other end is.
    pub to: Place,
    /// Initiator's address.
    pub src: IpAddr,
    /// Address asked for.
    pub dst: IpAddr,
    /// Initiator's MAC, as seen at its interface.
    pub mac: Mac,
    /// MAC beyond the other interface.
    pub far_mac: Mac,
    /// Initiator's interface; meaningless for the box.
    pub near: Port,
    /// Interface by which the other end is reached.
    pub beyond: Port,
    /// Where a published server really is.
    pub server: Option<(IpAddr, Option<u16>)>,
    /// Service asked for.
    pub service: Service,
    /// Source port or echo identifier.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
}

/// Any MAC of the box.
pub const BOX_MAC: Mac = Mac([0x02, 0, 0, 0xbb, 0, 1]);

/// Somewhere an address may come from.
fn address(rng: &mut Rng, policy: &Policy, place: Place, v6: Option<bool>) -> IpAddr {
    let odd = [
        "8.8.8.8",
        "1.2.3.4",
        "10.1.2.3",
        "2600::1",
        "2001:db8:77::1",
        "127.0.0.1",
        "169.254.1.1",
        "fe80::5",
        "240.0.0.1",
        "ff02::fb",
        "224.0.0.251",
        "255.255.255.255",
        "0.0.0.0",
        "::",
        "::1",
        "2002::1",
        "64:ff9b::1",
        "fec0::1",
        "::ffff:1.2.3.4",
        "::1.2.3.4",
        "0.1.2.3",
    ];
    for _ in 0..12 {
        let candidate = match place {
            _ if rng.chance(4) => rng.pick(&odd).parse().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::BROADCAST)),
            Place::Box => match rng.maybe(&policy.box_addresses) {
                Some(addr) => *addr,
                None => continue,
            },
            Place::Net(index) => {
                let net = &policy.nets[index];
                let registered: Vec<IpAddr> = policy
                    .devices
                    .iter()
                    .filter(|device| device.net == index)
                    .flat_map(|device| device.addresses.clone())
                    .collect();
                match rng.below(3) {
                    0 if !registered.is_empty() => *rng.pick(&registered),
                    _ => match rng.maybe(&net.prefixes) {
                        Some(prefix) => {
                            let prefix = *prefix;
                            address_in(rng, &prefix)
                        }
                        None => rng
                            .pick(&["8.8.8.8", "9.9.9.9", "2600::1", "2600::2"])
                            .parse()
                            .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::BROADCAST)),
                    },
                }
            }
        };
        if v6.is_none_or(|v6| candidate.is_ipv6() == v6) {
            return candidate;
        }
    }
    let any = if v6.unwrap_or(false) { "2600::99" } else { "8.8.4.4" };
    any.parse().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::BROADCAST))
}

/// A MAC that might speak for this address here.
pub fn mac_for(rng: &mut Rng, policy: &Policy, net: usize, addr: IpAddr) -> Mac {
    let here: Vec<Mac> = policy.devices.iter().filter(|device| device.net == net).map(|device| device.mac).collect();
    let bound = policy.devices.iter().find(|device| device.addresses.contains(&addr)).map(|device| device.mac);
    match rng.below(20) {
        0 => router_mac(net, 0),
        1 => rng.maybe(&here).copied().unwrap_or(Mac([2, 0, 0, 0, 0, 9])),
        2 => Mac([2, 0, 0, 0, 0, rng.below(3) as u8]),
        _ => {
            let routers = &policy.nets[net].routers;
            bound
                .or_else(|| rng.maybe(&here).copied().filter(|_| rng.chance(60)))
                .or_else(|| rng.maybe(routers).copied())
                .unwrap_or(Mac([2, 0, 0, 0, 0, 7]))
        }
    }
}

fn port_of(rng: &mut Rng, policy: &Policy, place: Place) -> Port {
    let index = match place {
        Place::Net(index) => index,
        Place::Box => rng.below(policy.nets.len()),
    };
    rng.pick(&policy.nets[index].ports).clone()
}

/// Ends for a random rule, or for none; seldom an address that talks to itself.
pub fn ends(rng: &mut Rng, policy: &Policy) -> Ends {
    let mut found = candidate(rng, policy);
    for _ in 0..6 {
        if found.src != found.dst || rng.chance(5) {
            break;
        }
        found = candidate(rng, policy);
    }
    found
}

fn candidate(rng: &mut Rng, policy: &Policy) -> Ends {
    let rule = rng.maybe(&policy.rules).cloned();
    let rule = rule.filter(|_| rng.chance(85));
    let places: Vec<Place> = (0..policy.nets.len()).map(Place::Net).chain([Place::Box]).collect();
    let from = match &rule {
        Some(rule) => *rng.pick(&rule.from.place),
        None => *rng.pick(&places),
    };
    let to = match &rule {
        Some(Rule { published: Some(published), .. }) => Place::Net(published.net),
        Some(rule) => *rng.pick(&rule.to.place),
        None => *rng.pick(&places),
    };
    let service = match &rule {
        Some(rule) if rng.chance(90) => *rng.pick(&rule.services),
        _ => *rng.pick(&[
            Service::Tcp(443, 443),
            Service::Udp(53, 53),
            Service::Icmp(8, None),
            Service::Icmpv6(128, None),
            Service::Protocol(47),
            Service::Icmp(3, None),
        ]),
    };
    let must_v6 = match service {
        Service::Icmp(..) => Some(false),
        Service::Icmpv6(..) => Some(true),
        _ => rule.as_ref().and_then(|rule| rule.published.as_ref()).map(|published| published.public.is_ipv6()),
    };
    let src = side(rng, policy, from, rule.as_ref().and_then(|rule| rule.from.prefixes.as_ref()), must_v6);
    let src = match rule.as_ref().and_then(|rule| rule.from.devices.as_ref()) {
        Some(devices) if rng.chance(80) => {
            let device = &policy.devices[*rng.pick(devices)];
            rng.maybe(&device.addresses)
                .copied()
                .filter(|addr| must_v6.is_none_or(|v6| v6 == addr.is_ipv6()))
                .unwrap_or(src)
        }
        _ => src,
    };
    let dst = side(rng, policy, to, rule.as_ref().and_then(|rule| rule.to.prefixes.as_ref()), Some(src.is_ipv6()));
    let server = rule
        .and_then(|rule| rule.published)
        .filter(|published| published.address.is_ipv6() == src.is_ipv6())
        .map(|published| (published.address, published.port));
    let (low, high) = match service {
        Service::Tcp(low, high) | Service::Udp(low, high) => (low, high),
        _ => (0, 0),
    };
    let dport = match rng.below(10) {
        0 => low.saturating_sub(1),
        1 => high.saturating_add(1),
        2 => *rng.pick(PORTS),
        3 | 4 => high,
        _ => low,
    };
    let mac = match from {
        Place::Net(index) => mac_for(rng, policy, index, src),
        Place::Box => BOX_MAC,
    };
    let far_mac = match to {
        Place::Net(index) => mac_for(rng, policy, index, server.map_or(dst, |server| server.0)),
        Place::Box => BOX_MAC,
    };
    let near = port_of(rng, policy, from);
    let wrong = rng.chance(5);
    let leaves_by = if wrong { *rng.pick(&places) } else { to };
    let beyond = port_of(rng, policy, leaves_by);
    let sport = 1024 + rng.below(40_000) as u16;
    Ends { from, to, src, dst, mac, far_mac, near, beyond, server, service, sport, dport }
}

fn side(rng: &mut Rng, policy: &Policy, place: Place, prefixes: Option<&Addresses>, v6: Option<bool>) -> IpAddr {
    let written: Option<Vec<ipnet::IpNet>> = prefixes.map(|prefixes| prefixes.iter().collect());
    for _ in 0..12 {
        let candidate = match written.as_deref().and_then(|prefixes| rng.maybe(prefixes)) {
            Some(prefix) if rng.chance(80) => {
                let prefix = *prefix;
                address_in(rng, &prefix)
            }
            _ => address(rng, policy, place, v6),
        };
        if v6.is_none_or(|v6| candidate.is_ipv6() == v6) && (rng.chance(5) || owner(policy, candidate) == Some(place)) {
            return candidate;
        }
    }
    address(rng, policy, place, v6)
}
