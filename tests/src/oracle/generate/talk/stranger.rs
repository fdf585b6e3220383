//! Packets from addresses that rules name, almost name, or do not name at all, with headers at the edge of what is
//! ordinary.

use std::net::IpAddr;

use ipnet::IpNet;
use sekimori::policy::addresses::Addresses;
use sekimori::policy::model::{Mac, Port, Rule};

use super::{
    super::{
        build::{Ip, Segment, ether, tcp, udp},
        ends::{BOX_MAC, mac_for},
        policy::address_in,
        rng::Rng,
        spoil::mend,
    },
    Talker,
};
use crate::oracle::{Way, listed::is_listed, transport::flag};

/// Around the first multicast address of either family.
const FAR: [&[&str]; 2] = [
    &[
        "198.51.100.9",
        "8.8.8.8",
        "223.255.255.255",
        "224.0.0.0",
        "239.1.1.1",
        "255.255.255.255",
        "240.0.0.1",
        "0.0.0.0",
    ],
    &["2001:db8:1::9", "2600::1", "feff:ffff::1", "ff00::", "ff02::1", "ff02::1:2", "fe80::1", "::1"],
];
/// Port pairs, DHCP's among them, and those one away.
const PAIRS: &[(u16, u16)] = &[
    (68, 67),
    (67, 68),
    (546, 547),
    (547, 546),
    (68, 68),
    (67, 67),
    (546, 546),
    (547, 547),
    (68, 66),
    (69, 67),
    (0, 443),
    (40_000, 443),
    (40_000, 0),
];

/// The addresses next to a prefix and in it.
fn around(rng: &mut Rng, net: &IpNet) -> IpAddr {
    let shift = |addr: IpAddr, by: i8| match addr {
        IpAddr::V4(addr) => IpAddr::V4(u32::from(addr).wrapping_add_signed(by.into()).into()),
        IpAddr::V6(addr) => IpAddr::V6(u128::from(addr).wrapping_add_signed(by.into()).into()),
    };
    match rng.below(4) {
        0 => shift(net.network(), -1),
        1 => shift(net.broadcast(), 1),
        _ => address_in(rng, net),
    }
}

impl Talker<'_> {
    /// An address worth asking about at this net.
    fn source(&mut self, net: usize) -> IpAddr {
        let policy = &self.policy;
        let places: Vec<IpNet> = policy.nets.iter().flat_map(|net| net.prefixes.clone()).collect();
        let named = |from: bool| -> Vec<IpNet> {
            let party = |rule: &Rule| {
                let party = if from { &rule.from } else { &rule.to };
                party.prefixes.iter().flat_map(Addresses::iter).collect::<Vec<_>>()
            };
            policy.rules.iter().flat_map(party).collect()
        };
        let servers: Vec<IpAddr> = policy
            .rules
            .iter()
            .filter_map(|rule| rule.published.as_ref())
            .flat_map(|published| [published.public, published.address])
            .collect();
        let rng = &mut *self.rng;
        let prefix = |rng: &mut Rng, prefixes: &[IpNet]| {
            let found = rng.maybe(prefixes).copied();
            found.map(|found| around(rng, &found))
        };
        let found = match rng.below(12) {
            0 | 1 => prefix(rng, &named(true)),
            2 | 3 => prefix(rng, &named(false)),
            4 => rng.maybe(&servers).copied(),
            5 => rng.maybe(&policy.box_addresses).copied(),
            6 => prefix(rng, &places),
            7 => rng.pick(&["8.8.8.8", "1.1.1.1", "2600::7", "fe80::7", "127.0.0.1", "::", "0.0.0.0"]).parse().ok(),
            _ => prefix(rng, &policy.nets[net].prefixes),
        };
        found.unwrap_or_else(|| IpAddr::V4(std::net::Ipv4Addr::new(9, 9, 9, 9)))
    }

    /// One such packet, at a way in.
    pub(super) fn stranger(&mut self) {
        let net = self.rng.below(self.policy.nets.len());
        let wanted = self.rng.chance(60);
        let mut src = self.source(net);
        for _ in 0..4 {
            if is_listed(&self.policy, src) != wanted {
                break;
            }
            src = self.source(net);
        }
        let port = self.rng.pick(&self.policy.nets[net].ports).clone();
        let mac = mac_for(self.rng, &self.policy, net, src);
        let frame = self.odd_frame(src, &port, mac);
        let interface = if self.rng.chance(2) { self.any_port().interface } else { port.interface };
        self.emit(frame, Way::In { interface });
    }

    fn odd_frame(&mut self, src: IpAddr, port: &Port, mac: Mac) -> Vec<u8> {
        let six = src.is_ipv6();
        let rng = &mut *self.rng;
        let own: Vec<IpAddr> = self.policy.box_addresses.iter().copied().filter(|addr| addr.is_ipv6() == six).collect();
        let far = FAR[usize::from(six)];
        let dst = match rng.below(6) {
            0 => rng.maybe(&own).copied(),
            1 => rng.pick(far).parse().ok(),
            2 if rng.chance(20) => Some(src),
            _ => None,
        };
        let dst = dst.or_else(|| far[0].parse().ok()).unwrap_or(src);
        let (sport, dport) = if rng.chance(50) { (40_000, 443) } else { *rng.pick(PAIRS) };
        let flags = if rng.chance(80) { flag::SYN } else { rng.bits() as u8 };
        let segment = Segment { sport, dport, seq: 9, ack: 0, flags, data: 0, scale: None };
        let (proto, bytes) = match rng.below(10) {
            0 => (*rng.pick(&[1u8, 58, 47, 132, 16, 18, 5, 7]), vec![8; 16]),
            1..=4 => (6, tcp(&segment)),
            _ => (17, udp(sport, dport, 12)),
        };
        let mut ip = Ip::new(src, dst, proto);
        if rng.chance(25) {
            ip.fragment = *rng.pick(&[0x4000u16, 0x8000, 0xc000, 0x2000, 0x0001, 0x1000, 0x00ff, 0x0100, 0x6000]);
        }
        if !six && rng.chance(8) {
            ip.options = vec![1, 1, 1, 0];
        }
        if six && rng.chance(8) {
            ip.extensions.push((*rng.pick(&[0u8, 60, 43, 6, 17]), vec![0, 1, 4, 0, 0, 0, 0]));
        }
        let mut body = ip.bytes(&bytes);
        bend(rng, six, &mut body);
        let kind = if rng.chance(3) { *rng.pick(&[0x0800u16, 0x86dd, 0x0806, 0x0801]) } else { ip.kind() };
        let mut frame = ether(BOX_MAC, mac, port, kind, &body);
        if rng.chance(50) {
            mend(&mut frame);
        }
        frame
    }
}

/// Sometimes cuts an IP packet short or changes a field of its header.
pub(super) fn bend(rng: &mut Rng, six: bool, body: &mut Vec<u8>) {
    let least = if six { 48 } else { 28 };
    match rng.below(14) {
        0 => body.truncate(least - 1),
        1 => body.truncate(least),
        2 => body.truncate(*rng.pick(&[0usize, 1, 19, 20, 39, 40, 44])),
        3 => body[0] = *rng.pick(&[0x44u8, 0x46, 0x4f, 0x55, 0x65, 0x05, 0x45, 0x60, 0x6f, 0x70]),
        4 => {
            let value = rng.bits() as u8;
            let at = if six { *rng.pick(&[1usize, 4, 5, 6, 7]) } else { *rng.pick(&[1usize, 2, 3, 6, 8, 10, 11]) };
            body[at] = value;
        }
        _ => {}
    }
}
