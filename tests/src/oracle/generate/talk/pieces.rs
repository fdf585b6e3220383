//! Datagrams in fragments, some missing, some twice.

use jiff::ToSpan;
use sekimori::policy::model::{Place, Service};

use super::{
    super::{
        build::{Ip, Segment, icmp, tcp, udp},
        ends::ends,
    },
    Talker, proto_of, word,
};
use crate::oracle::{Origin, transport::flag};

impl Talker<'_> {
    /// A datagram in fragments, some missing, some twice.
    pub(super) fn pieces(&mut self) {
        let ends = ends(self.rng, &self.policy);
        let six = ends.src.is_ipv6();
        let (control, group) = (self.rng.chance(4), self.rng.chance(50));
        let whole = match ends.service {
            _ if control && six => icmp(*self.rng.pick(&[130, 143, 135]), 0, [0; 4], &[1; 88]),
            _ if control && group => vec![0x16; 96],
            _ if control => udp(68, 67, 88),
            Service::Udp(..) => udp(ends.sport, ends.dport, 88),
            Service::Tcp(..) => tcp(&Segment {
                sport: ends.sport,
                dport: ends.dport,
                seq: 7,
                ack: 0,
                flags: flag::SYN,
                data: 0,
                scale: None,
            }),
            Service::Icmp(kind, _) | Service::Icmpv6(kind, _) => icmp(kind, 0, word(ends.sport), &[1; 88]),
            Service::Protocol(_) => vec![7; 96],
        };
        let id = self.rng.below(4) as u16 + if self.rng.chance(70) { 1000 + self.number as u16 } else { 0 };
        let mut at = 0;
        let first = *self.rng.pick(&[8usize, 16, 24, 32]);
        let mut cuts = Vec::new();
        while at < whole.len() {
            let len = if at == 0 { first } else { *self.rng.pick(&[8usize, 16, 32, 96]) };
            let end = (at + len).min(whole.len());
            cuts.push((at, end));
            at = end;
        }
        if self.rng.chance(15) && cuts.len() > 1 {
            let again = *self.rng.pick(&cuts);
            cuts.push(again);
        }
        if self.rng.chance(15) {
            let at = self.rng.below(20) * 8;
            cuts.push((at, at + *self.rng.pick(&[0usize, 4, 8, 16])));
        }
        if self.rng.chance(25) {
            self.rng.shuffle(&mut cuts);
        }
        if self.rng.chance(5) {
            cuts.push((65_528, 65_528 + 16));
        }
        if self.rng.chance(20) {
            let behind = usize::from(!cuts.is_empty());
            cuts.splice(behind..behind, (0..6).map(|n| (200 + n * 32, 208 + n * 32)));
        }
        for (start, end) in cuts {
            let more = if self.rng.chance(4) { self.rng.chance(50) } else { end != whole.len() };
            let mut bytes: Vec<u8> = whole.get(start..end).map(<[u8]>::to_vec).unwrap_or_default();
            bytes.resize(end - start, 3);
            let proto = match (control, six) {
                (false, _) => proto_of(ends.service),
                (true, true) => 58,
                (true, false) if group => 2,
                (true, false) => 17,
            };
            let mut ip = Ip::new(ends.src, ends.dst, proto);
            if six {
                let mut body = vec![0];
                body.extend((start as u16 | u16::from(more)).to_be_bytes());
                body.extend([0, 0]);
                body.extend(id.to_be_bytes());
                if self.rng.chance(5) {
                    ip.extensions.push((60, vec![0, 1, 4, 0, 0, 0, 0]));
                }
                ip.extensions.push((44, body));
                if self.rng.chance(2) {
                    ip.extensions.push((44, vec![0; 7]));
                }
            } else {
                ip.id = id;
                ip.fragment = (start / 8) as u16 | if more { 0x2000 } else { 0 };
            }
            if self.rng.chance(3) {
                self.clock = self.clock.saturating_add(35.seconds()).unwrap_or(self.clock);
            }
            match (ends.from, ends.to) {
                (Place::Box, _) => self.leave(&ends.beyond, ends.far_mac, &ip, &bytes, Origin::Box),
                (_, Place::Box) => {
                    self.enter(&ends.near, ends.mac, &ip, &bytes);
                }
                _ => {
                    let event = self.enter(&ends.near, ends.mac, &ip, &bytes);
                    self.leave(&ends.beyond, ends.far_mac, &ip, &bytes, Origin::Guarded { event });
                }
            }
            if start == 0 && !self.passed && self.rng.chance(75) {
                return;
            }
        }
    }
}
