//! ICMP errors about conversations.

use std::net::IpAddr;

use sekimori::policy::model::Place;

use super::{
    super::{
        build::{Ip, Segment, icmp, tcp, udp},
        ends::Ends,
    },
    Talker, proto_of,
    translated::Translated,
    word,
};
use crate::oracle::{Origin, transport::flag};

/// Distances of a quoted sequence number from the last one sent.
const QUOTED: &[u32] = &[
    0,
    0,
    0,
    0,
    1 << 29,
    2,
    0u32.wrapping_sub(3),
    0u32.wrapping_sub(16_380),
    0u32.wrapping_sub(16_390),
    0u32.wrapping_sub(32_780),
    0u32.wrapping_sub(65_530),
    0u32.wrapping_sub(65_990),
    0u32.wrapping_sub(66_010),
    0u32.wrapping_sub(131_080),
];

impl Talker<'_> {
    /// An ICMP error from beyond about a packet of the conversation, or from the box.
    pub(super) fn error(&mut self, ends: &Ends, translated: &Translated) {
        let six = ends.src.is_ipv6();
        let proto = proto_of(ends.service);
        let seq = self.last_seq.wrapping_add(*self.rng.pick(QUOTED));
        let quoted = |src: (IpAddr, u16), dst: (IpAddr, u16), len: usize| {
            let bytes = match proto {
                6 => tcp(&Segment { sport: src.1, dport: dst.1, seq, ack: 0, flags: flag::ACK, data: 0, scale: None }),
                17 => udp(src.1, dst.1, 12),
                1 => icmp(8, 0, word(src.1), &[0; 8]),
                58 => icmp(128, 0, word(src.1), &[0; 8]),
                _ => vec![0x5a; 24],
            };
            let mut whole = Ip::new(src.0, dst.0, proto).bytes(&bytes);
            whole.truncate(whole.len().min(if six { 40 } else { 20 } + len));
            whole
        };
        let kinds: &[(u8, u8)] =
            if six { &[(1, 4), (2, 0), (3, 0), (4, 1)] } else { &[(3, 3), (3, 4), (11, 0), (12, 0)] };
        let (kind, code) = *self.rng.pick(kinds);
        let mtu = *self.rng.pick(&[1400u16, 1400, 1280, 1279, 68, 67, 0]);
        let word = [0, 0, mtu.to_be_bytes()[0], mtu.to_be_bytes()[1]];
        let len = *self.rng.pick(&[8usize, 8, 20, 7, 0]);
        let icmp_proto = if six { 58 } else { 1 };
        let near = ((ends.src, ends.sport), (ends.dst, ends.dport));
        let beyond = (translated.src, translated.dst);
        let about = |(src, dst): ((IpAddr, u16), (IpAddr, u16))| icmp(kind, code, word, &quoted(src, dst, len));
        let teller = if self.rng.chance(50) { translated.dst.0 } else { ends.dst };
        match (ends.from, ends.to) {
            (Place::Box, Place::Box) => {}
            (Place::Box, _) => {
                let ip = Ip::new(teller, near.0.0, icmp_proto);
                self.enter(&ends.beyond, ends.far_mac, &ip, &about(near));
            }
            (_, Place::Box) => {
                let ip = Ip::new(near.1.0, near.0.0, icmp_proto);
                self.leave(&ends.near, ends.mac, &ip, &about(near), Origin::Box);
            }
            _ => {
                let ip = Ip::new(teller, beyond.0.0, icmp_proto);
                let event = self.enter(&ends.beyond, ends.far_mac, &ip, &about(beyond));
                let ip = Ip::new(teller, near.0.0, icmp_proto);
                self.leave(&ends.near, ends.mac, &ip, &about(near), Origin::Guarded { event });
            }
        }
    }
}
