//! What can be seen of a frame without judging it: enough to say where it belongs. Anything may be missing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::policy::model::Mac;

/// EtherTypes of VLAN tags.
pub(super) const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// A frame at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sight {
    pub(super) dst_mac: Option<Mac>,
    pub(crate) src_mac: Option<Mac>,
    /// Outer and inner VLAN id, 0 where there is none.
    pub(super) tags: (u16, u16),
    /// Bytes all tags take, however many there are.
    pub(super) tag_bytes: usize,
    pub(super) ethertype: u16,
    /// Addresses of IPv4 and IPv6; of ARP the sender's and the target's.
    pub(crate) ends: Option<(IpAddr, IpAddr)>,
    pub(super) proto: Option<u8>,
    /// A fragment, first or later.
    pub(super) fragment: bool,
    /// Where the IP header begins.
    pub(super) l3: usize,
    /// Where the transport header begins, if this packet has one.
    pub(super) l4: Option<usize>,
    /// TCP and UDP ports; ICMP: type and code.
    pub(super) ports: Option<(u16, u16)>,
}

impl Sight {
    pub(crate) fn of(frame: &[u8]) -> Self {
        let mut sight =
            Self { dst_mac: bytes(frame, 0).map(Mac), src_mac: bytes(frame, 6).map(Mac), ..Self::default() };
        let mut at = 12;
        let mut ids = Vec::new();
        while let Some(kind) = half(frame, at) {
            if !TAGS.contains(&kind) {
                sight.ethertype = kind;
                break;
            }
            ids.push(half(frame, at + 2).unwrap_or_default() & 0x0fff);
            at += 4;
        }
        sight.tag_bytes = ids.len() * 4;
        // An id of 0 is a priority, not a VLAN.
        ids.retain(|id| *id != 0);
        sight.tags = (ids.first().copied().unwrap_or_default(), ids.get(1).copied().unwrap_or_default());
        sight.l3 = at + 2;
        match sight.ethertype {
            ARP => sight.arp(frame),
            IPV4 => sight.ipv4(frame),
            IPV6 => sight.ipv6(frame),
            _ => {}
        }
        if let (Some(l4), Some(TCP | UDP)) = (sight.l4, sight.proto) {
            sight.ports = half(frame, l4).zip(half(frame, l4 + 2));
        }
        if let (Some(l4), Some(ICMP | ICMPV6)) = (sight.l4, sight.proto) {
            sight.ports = bytes::<2>(frame, l4).map(|[kind, code]| (kind.into(), code.into()));
        }
        sight
    }

    fn arp(&mut self, frame: &[u8]) {
        let address = |at| bytes::<4>(frame, at).map(|a| IpAddr::V4(Ipv4Addr::from(a)));
        self.ends = address(self.l3 + 14).zip(address(self.l3 + 24));
    }

    fn ipv4(&mut self, frame: &[u8]) {
        let address = |at| bytes::<4>(frame, at).map(|a| IpAddr::V4(Ipv4Addr::from(a)));
        self.ends = address(self.l3 + 12).zip(address(self.l3 + 16));
        self.proto = frame.get(self.l3 + 9).copied();
        let Some(fragment) = half(frame, self.l3 + 6) else {
            return;
        };
        self.fragment = fragment & 0x3fff != 0;
        if fragment & 0x1fff == 0 {
            self.l4 = frame.get(self.l3).map(|first| self.l3 + usize::from(first & 0x0f) * 4);
        }
    }

    fn ipv6(&mut self, frame: &[u8]) {
        let address = |at| bytes::<16>(frame, at).map(|a| IpAddr::V6(Ipv6Addr::from(a)));
        self.ends = address(self.l3 + 8).zip(address(self.l3 + 24));
        let Some(mut next) = frame.get(self.l3 + 6).copied() else {
            return;
        };
        let mut at = self.l3 + 40;
        for _ in 0..8 {
            match next {
                0 | 43 | 60 => {
                    let Some([following, length]) = bytes::<2>(frame, at) else {
                        return;
                    };
                    next = following;
                    at += (usize::from(length) + 1) * 8;
                }
                44 => {
                    let (Some(following), Some(offset)) = (frame.get(at), half(frame, at + 2)) else {
                        return;
                    };
                    next = *following;
                    at += 8;
                    self.fragment |= offset & 0xfff9 != 0;
                    if offset & 0xfff8 != 0 {
                        self.proto = Some(next);
                        return;
                    }
                }
                _ => break,
            }
        }
        self.proto = Some(next);
        self.l4 = Some(at);
    }

    /// `tcp 192.168.10.17:40000 > 203.0.113.5:443`, or what there is to say.
    pub(crate) fn line(&self) -> String {
        let name = match (self.ethertype, self.proto) {
            (ARP, _) => "arp".to_owned(),
            (_, Some(TCP)) => "tcp".to_owned(),
            (_, Some(UDP)) => "udp".to_owned(),
            (_, Some(ICMP)) => "icmp".to_owned(),
            (_, Some(ICMPV6)) => "icmpv6".to_owned(),
            (_, Some(other)) => format!("proto {other}"),
            (0, _) if self.src_mac.is_none() => return "-".to_owned(),
            (kind, _) => format!("ethertype 0x{kind:04x}"),
        };
        let Some((src, dst)) = self.ends else {
            return name;
        };
        match (self.proto, self.ports) {
            (Some(TCP | UDP), Some((sport, dport))) => {
                let end = |address, port| std::net::SocketAddr::new(address, port);
                format!("{name} {} > {}", end(src, sport), end(dst, dport))
            }
            (_, Some((kind, code))) => format!("{name} {src} > {dst} {kind}/{code}"),
            _ if self.fragment => format!("{name} {src} > {dst} (fragment)"),
            _ => format!("{name} {src} > {dst}"),
        }
    }
}

/// The 16-bit number at `at`, network order.
pub(super) fn half(frame: &[u8], at: usize) -> Option<u16> {
    bytes(frame, at).map(u16::from_be_bytes)
}

/// The `N` bytes at `at`.
pub(super) fn bytes<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at.checked_add(N)?)?.try_into().ok()
}
