//! Frames of the built-in protocols, right and wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sekimori::policy::model::{Mac, Place, Policy, Port};

use super::{
    build::{Ip, arp, ether, icmp, udp},
    ends::{BOX_MAC, mac_for},
    policy::{address_in, router_mac},
    rng::Rng,
};

const EVERYBODY: Mac = Mac([0xff; 6]);

fn addr(rng: &mut Rng, policy: &Policy, net: usize, v6: bool) -> IpAddr {
    let special: &[&str] =
        if v6 { &["fe80::1", "::", "fe80::99", "2600::1"] } else { &["0.0.0.0", "8.8.8.8", "169.254.3.3"] };
    for _ in 0..8 {
        let owned: Vec<IpAddr> = policy
            .devices
            .iter()
            .filter(|device| device.net == net)
            .flat_map(|device| device.addresses.clone())
            .collect();
        let candidate = match rng.below(6) {
            0 => rng.pick(special).parse().ok(),
            1 => rng.maybe(&policy.box_addresses).copied(),
            2 => rng.maybe(&owned).copied(),
            3 => {
                let other = rng.below(policy.nets.len());
                policy.nets[other].prefixes.first().map(|prefix| address_in(rng, prefix))
            }
            _ => rng.maybe(&policy.nets[net].prefixes).copied().map(|prefix| address_in(rng, &prefix)),
        };
        if let Some(candidate) = candidate.filter(|candidate| candidate.is_ipv6() == v6) {
            return candidate;
        }
    }
    if v6 { IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7)) } else { IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)) }
}

fn v4(addr: IpAddr) -> [u8; 4] {
    match addr {
        IpAddr::V4(addr) => addr.octets(),
        IpAddr::V6(_) => [0; 4],
    }
}

fn v6(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V6(addr) => addr.octets(),
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
    }
}

/// A frame of a built-in protocol at this port; `own` makes the box its sender.
pub fn frame(rng: &mut Rng, policy: &Policy, net: usize, port: &Port, own: bool) -> Vec<u8> {
    let mac = |rng: &mut Rng, sender: IpAddr| {
        if own {
            BOX_MAC
        } else if rng.chance(20) {
            router_mac(net, 0)
        } else {
            mac_for(rng, policy, net, sender)
        }
    };
    match rng.below(10) {
        0 | 1 => {
            let (sender, target) = (addr(rng, policy, net, false), addr(rng, policy, net, false));
            let from = mac(rng, sender);
            let said = if rng.chance(5) { Mac([2, 9, 9, 9, 9, 9]) } else { from };
            let operation = *rng.pick(&[1, 1, 1, 2, 2, 3]);
            let mut body = arp(operation, (said, v4(sender)), (Mac([0; 6]), v4(target)));
            if rng.chance(5) {
                body.truncate(27);
            }
            ether(EVERYBODY, from, port, 0x0806, &body)
        }
        2..=4 => discovery(rng, policy, net, port, own, &mac),
        5 => {
            let kind = *rng.pick(&[130u8, 131, 132, 143]);
            let source = *rng.pick(&["fe80::5", "::", "2600::1"]);
            let source = source.parse().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
            let mut ip = Ip::new(source, group("ff02::16"), 58);
            ip.ttl = 1;
            if rng.chance(70) {
                ip.extensions.push((0, vec![0, 5, 2, 0, 0, 1, 0]));
            }
            let from = mac(rng, source);
            ether(Mac([0x33, 0x33, 0, 0, 0, 0x16]), from, port, 0x86dd, &ip.bytes(&icmp(kind, 0, [0; 4], &[0; 16])))
        }
        6 => {
            let source = addr(rng, policy, net, false);
            let mut ip = Ip::new(source, group("224.0.0.22"), 2);
            ip.ttl = 1;
            if rng.chance(50) {
                ip.options = vec![0x94, 4, 0, 0];
            }
            let from = mac(rng, source);
            ether(Mac([1, 0, 0x5e, 0, 0, 0x16]), from, port, 0x0800, &ip.bytes(&[0x22, 0, 0, 0, 0, 0, 0, 0]))
        }
        7 | 8 => dhcp(rng, policy, net, port, own, &mac),
        _ => control(rng, policy, net, port, own, &mac),
    }
}

type MacOf<'a> = &'a dyn Fn(&mut Rng, IpAddr) -> Mac;

fn group(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::V4(Ipv4Addr::BROADCAST))
}

fn discovery(rng: &mut Rng, policy: &Policy, net: usize, port: &Port, _own: bool, mac: MacOf<'_>) -> Vec<u8> {
    let kind = *rng.pick(&[133u8, 134, 135, 135, 136, 136]);
    let source = match rng.below(4) {
        0 => group("fe80::1"),
        1 => group("::"),
        _ => addr(rng, policy, net, true),
    };
    let target = addr(rng, policy, net, true);
    let destination = if rng.chance(50) { group("ff02::1") } else { addr(rng, policy, net, true) };
    let mut ip = Ip::new(source, destination, 58);
    ip.ttl = if rng.chance(95) { 255 } else { 254 };
    if rng.chance(4) {
        ip.extensions.push((60, vec![0, 1, 4, 0, 0, 0, 0]));
    }
    let code = u8::from(rng.chance(3));
    let len = *rng.pick(&[16usize, 16, 16, 16, 24, 8, 0]);
    let mut rest = v6(target).to_vec();
    rest.resize(len, 0);
    let from = if kind == 134 && rng.chance(70) { router_mac(net, 0) } else { mac(rng, target) };
    ether(Mac([0x33, 0x33, 0, 0, 0, 1]), from, port, 0x86dd, &ip.bytes(&icmp(kind, code, [0; 4], &rest)))
}

fn dhcp(rng: &mut Rng, policy: &Policy, net: usize, port: &Port, own: bool, mac: MacOf<'_>) -> Vec<u8> {
    let six = rng.chance(40);
    let (sport, dport) = match (rng.chance(50), six) {
        (true, false) => (68, 67),
        (false, false) => (67, 68),
        (true, true) => (546, 547),
        (false, true) => (547, 546),
    };
    let own_address = policy.box_addresses.iter().find(|addr| addr.is_ipv6() == six).copied();
    let source = match (rng.below(3), six) {
        (0, false) => group("0.0.0.0"),
        (0 | 1, true) => group("fe80::7"),
        (1, _) if own => own_address.unwrap_or(group("8.8.8.8")),
        _ => addr(rng, policy, net, six),
    };
    let destination = match (rng.below(3), six) {
        (0 | 1, false) => group("255.255.255.255"),
        (0, true) => group("ff02::1:2"),
        (1, true) => group("fe80::8"),
        _ => own_address.unwrap_or_else(|| addr(rng, policy, net, six)),
    };
    let ip = Ip::new(source, destination, 17);
    let from = mac(rng, source);
    ether(EVERYBODY, from, port, ip.kind(), &ip.bytes(&udp(sport, dport, rng.below(30))))
}

fn control(rng: &mut Rng, policy: &Policy, net: usize, port: &Port, own: bool, mac: MacOf<'_>) -> Vec<u8> {
    let source = match policy.box_addresses.iter().find(|addr| addr.is_ipv4()) {
        Some(own_address) if own => *own_address,
        _ => addr(rng, policy, net, false),
    };
    let from = mac(rng, source);
    let stp = Mac([1, 0x80, 0xc2, 0, 0, 0]);
    match rng.below(5) {
        0 => ether(stp, from, port, 0x0026, &[0x42; 38]),
        1 => ether(EVERYBODY, from, port, 0x0026, &[0x42; 38]),
        2 => ether(Mac([1, 0x80, 0xc2, 0, 0, 2]), from, port, 0x8809, &[1; 40]),
        3 => ether(Mac([1, 0x80, 0xc2, 0, 0, 14]), from, port, 0x88cc, &[2; 40]),
        _ => {
            let six = rng.chance(40);
            let source = if six { group("fe80::20") } else { source };
            let from = if own { from } else { router_mac(net, rng.below(2)) };
            let mut ip = Ip::new(source, group(if six { "ff02::12" } else { "224.0.0.18" }), 112);
            ip.ttl = if rng.chance(90) { 255 } else { 64 };
            ether(EVERYBODY, from, port, ip.kind(), &ip.bytes(&[0x31; 12]))
        }
    }
}

/// The net of a place, or any.
pub fn net_of_place(rng: &mut Rng, policy: &Policy, place: Place) -> usize {
    match place {
        Place::Net(index) => index,
        Place::Box => rng.below(policy.nets.len()),
    }
}
