//! Packets with headers that seldom occur: IPv4 options, IPv6 extension headers, odd ICMP types.

use sekimori::policy::model::Place;

use super::{
    super::{
        build::{Ip, icmp, udp},
        ends::ends,
    },
    Talker,
};
use crate::oracle::Origin;

/// Protocols, among them what IANA counts as IPv6 extension headers, and their neighbours.
const ODD: &[u8] = &[
    6, 6, 17, 17, 1, 58, 58, 50, 47, 47, 0, 42, 43, 44, 46, 51, 52, 59, 60, 61, 134, 135, 136, 138, 139, 140, 141, 252,
    253, 254, 255,
];

impl Talker<'_> {
    /// One such packet, at an end of a conversation a rule may permit.
    pub(super) fn odd(&mut self) {
        let ends = ends(self.rng, &self.policy);
        let six = ends.src.is_ipv6();
        let (proto, payload) = match self.rng.below(3) {
            0 => {
                let kinds: &[u8] = if six {
                    &[1, 100, 127, 128, 129, 133, 137, 138, 139, 140, 141, 142, 143, 144, 147, 148, 149, 150, 160, 200]
                } else {
                    &[0, 3, 4, 5, 6, 8, 9, 10, 11, 13, 14, 15, 17, 18, 30, 40]
                };
                let (kind, code) = (*self.rng.pick(kinds), u8::from(self.rng.chance(10)));
                (if six != self.rng.chance(4) { 58 } else { 1 }, icmp(kind, code, [0, 7, 0, 1], &[0; 24]))
            }
            1 => (*self.rng.pick(ODD), vec![3; self.rng.below(24)]),
            _ => (17, udp(ends.sport, ends.dport, 10)),
        };
        let mut ip = Ip::new(ends.src, ends.dst, proto);
        if six {
            for _ in 0..self.rng.below(5) {
                let kind = *self.rng.pick(&[0u8, 60, 60, 60, 44, 43, 51, 59]);
                let mut body = vec![0, 1, 4, 0, 0, 0, 0];
                match kind {
                    44 => body = vec![0; 7],
                    _ if self.rng.chance(20) => {
                        body[0] = 1;
                        body.extend([1, 6, 0, 0, 0, 0, 0, 0]);
                    }
                    _ if self.rng.chance(5) => body[0] = 200,
                    _ => {}
                }
                ip.extensions.push((kind, body));
            }
        } else if self.rng.chance(50) {
            let options: &[&[u8]] = &[&[1, 1, 1, 0], &[0x94, 4, 0, 0], &[0x83, 3, 4, 0], &[7, 7, 4, 0, 0, 0, 0, 0]];
            ip.options = self.rng.pick(options).to_vec();
        }
        match ends.from {
            Place::Box => self.leave(&ends.beyond, ends.far_mac, &ip, &payload, Origin::Box),
            Place::Net(_) => {
                let event = self.enter(&ends.near, ends.mac, &ip, &payload);
                if self.passed && ends.to != Place::Box {
                    self.leave(&ends.beyond, ends.far_mac, &ip, &payload, Origin::Guarded { event });
                }
            }
        }
    }
}
