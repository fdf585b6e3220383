//! Packets from their fields: right unless a test makes them wrong, checksums included.

use std::net::IpAddr;

use super::{
    frame::Frame,
    townhall::{Host, MacAddr},
};

/// TCP flag bits as on the wire.
pub mod flag {
    #![expect(missing_docs, reason = "their names are the RFC's")]
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const PSH: u8 = 8;
    pub const ACK: u8 = 16;
    pub const URG: u8 = 32;
}

/// IPv4 header bit: more fragments follow.
pub const MORE: u16 = 0x2000;
/// IPv4 header bit that is always clear.
pub const RESERVED: u16 = 0x8000;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const FRAGMENT: u8 = 44;

/// An IP packet in an Ethernet frame. Change the fields, then take [`Self::frame`].
#[derive(Debug, Clone)]
pub struct Packet {
    /// Source and destination MAC.
    pub macs: (MacAddr, MacAddr),
    /// VLAN tags, outermost first: EtherType and control information.
    pub tags: Vec<(u16, u16)>,
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Identification, of fragments in IPv6.
    pub id: u16,
    /// IPv4: flags and offset as on the wire.
    pub fragment: u16,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers: kind, and the bytes behind the next-header byte.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// IP protocol.
    pub proto: u8,
    /// What the IP header carries.
    pub body: Vec<u8>,
}

impl Packet {
    /// Any protocol; `macs` are source and destination.
    pub fn raw(
        macs: (MacAddr, MacAddr),
        src: impl Into<IpAddr>,
        dst: impl Into<IpAddr>,
        proto: u8,
        body: &[u8],
    ) -> Self {
        Self {
            macs,
            tags: Vec::new(),
            src: src.into(),
            dst: dst.into(),
            ttl: 64,
            id: 7,
            fragment: 0,
            options: Vec::new(),
            extensions: Vec::new(),
            proto,
            body: body.to_vec(),
        }
    }

    /// UDP between `(address, port)`s.
    pub fn udp(
        macs: (MacAddr, MacAddr),
        src: (impl Into<IpAddr>, u16),
        dst: (impl Into<IpAddr>, u16),
        data: &[u8],
    ) -> Self {
        let mut body = [src.1.to_be_bytes(), dst.1.to_be_bytes()].concat();
        body.extend(length(8 + data.len()).to_be_bytes());
        body.extend([0, 0]);
        body.extend(data);
        Self::raw(macs, src.0, dst.0, UDP, &body).summed(6)
    }

    /// TCP without options, a window of 64,240.
    pub fn tcp(
        macs: (MacAddr, MacAddr),
        src: (impl Into<IpAddr>, u16),
        dst: (impl Into<IpAddr>, u16),
        (flags, seq, ack): (u8, u32, u32),
        data: &[u8],
    ) -> Self {
        let mut body = [src.1.to_be_bytes(), dst.1.to_be_bytes()].concat();
        body.extend(seq.to_be_bytes());
        body.extend(ack.to_be_bytes());
        body.extend([0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
        body.extend(data);
        Self::raw(macs, src.0, dst.0, TCP, &body).summed(16)
    }

    /// ICMP or ICMPv6, by the family: type and code, the word behind the checksum, the rest.
    pub fn icmp(
        macs: (MacAddr, MacAddr),
        src: impl Into<IpAddr>,
        dst: impl Into<IpAddr>,
        kind: (u8, u8),
        word: u32,
        rest: &[u8],
    ) -> Self {
        let src = src.into();
        let mut body = vec![kind.0, kind.1, 0, 0];
        body.extend(word.to_be_bytes());
        body.extend(rest);
        let proto = if src.is_ipv4() { ICMP } else { ICMPV6 };
        Self::raw(macs, src, dst, proto, &body).summed(2)
    }

    /// An echo request.
    pub fn ping(
        macs: (MacAddr, MacAddr),
        src: impl Into<IpAddr>,
        dst: impl Into<IpAddr>,
        id: u16,
        data: &[u8],
    ) -> Self {
        let src = src.into();
        let kind = if src.is_ipv4() { 8 } else { 128 };
        Self::icmp(macs, src, dst, (kind, 0), u32::from(id) << 16 | 1, data)
    }

    /// With another TTL or hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// With one more tag, inside those it has.
    #[must_use]
    pub fn tag(mut self, kind: u16, vlan: u16) -> Self {
        self.tags.push((kind, vlan));
        self
    }

    /// Puts the transport checksum in its place.
    #[must_use]
    fn summed(mut self, at: usize) -> Self {
        let mut sum = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) if self.proto != ICMP => add(add(0, &src.octets()), &dst.octets()),
            (IpAddr::V6(src), IpAddr::V6(dst)) => add(add(0, &src.octets()), &dst.octets()),
            _ => 0,
        };
        if self.proto != ICMP {
            sum += u32::from(self.proto) + u32::from(length(self.body.len()));
        }
        let sum = !fold(add(sum, &self.body));
        if let Some(place) = self.body.get_mut(at..at + 2) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
        self
    }

    /// The IP packet alone, as an ICMP error quotes it.
    pub fn bytes(&self) -> Vec<u8> {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header = 20 + self.options.len();
                let mut out = vec![0x40 | u8::try_from(header / 4).unwrap_or(15), 0];
                out.extend(length(header + self.body.len()).to_be_bytes());
                out.extend(self.id.to_be_bytes());
                out.extend(self.fragment.to_be_bytes());
                out.extend([self.ttl, self.proto, 0, 0]);
                out.extend(src.octets());
                out.extend(dst.octets());
                out.extend(&self.options);
                let sum = !fold(add(0, &out));
                out.splice(10..12, sum.to_be_bytes());
                out.extend(&self.body);
                out
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let kinds: Vec<u8> = self.extensions.iter().map(|(kind, _)| *kind).chain([self.proto]).collect();
                let mut chain = Vec::new();
                for ((_, body), next) in self.extensions.iter().zip(kinds.iter().skip(1)) {
                    chain.push(*next);
                    chain.extend(body);
                }
                let mut out = vec![0x60, 0, 0, 0];
                out.extend(length(chain.len() + self.body.len()).to_be_bytes());
                out.extend(kinds.first());
                out.push(self.ttl);
                out.extend(src.octets());
                out.extend(dst.octets());
                out.extend(chain);
                out.extend(&self.body);
                out
            }
            _ => Vec::new(),
        }
    }

    /// The whole frame.
    pub fn frame(&self) -> Frame {
        let kind: u16 = if self.src.is_ipv4() { 0x0800 } else { 0x86dd };
        ethernet(self.macs, &self.tags, kind, &self.bytes())
    }

    /// This packet cut: a fragment for each `from..to` of what the IP header carries, in this order. The one that
    /// reaches the end says so.
    pub fn cut(&self, pieces: &[(usize, usize)]) -> Vec<Frame> {
        pieces
            .iter()
            .map(|(from, to)| {
                let mut piece = self.clone();
                piece.body = self.body.get(*from..*to).unwrap_or_default().to_vec();
                piece.place(*from, *to < self.body.len());
                piece.frame()
            })
            .collect()
    }

    /// Makes it a fragment at this offset, a multiple of eight.
    pub fn place(&mut self, from: usize, more: bool) {
        let eights = length(from / 8);
        if self.src.is_ipv4() {
            self.fragment = eights | if more { MORE } else { 0 };
        } else {
            let mut body = vec![0];
            body.extend((eights << 3 | u16::from(more)).to_be_bytes());
            body.extend(u32::from(self.id).to_be_bytes());
            self.extensions.push((FRAGMENT, body));
        }
    }
}

/// From a host to the gateway: its MACs in sending order.
pub fn inwards(host: &Host) -> (MacAddr, MacAddr) {
    (host.mac, host.side.mac)
}

/// Any Ethernet frame.
pub fn ethernet(macs: (MacAddr, MacAddr), tags: &[(u16, u16)], kind: u16, payload: &[u8]) -> Frame {
    let mut out = [macs.1, macs.0].concat();
    for (tag, control) in tags {
        out.extend(tag.to_be_bytes());
        out.extend(control.to_be_bytes());
    }
    out.extend(kind.to_be_bytes());
    out.extend(payload);
    Frame(out)
}

/// An ARP frame: operation, sender and target as (MAC, address).
pub fn arp(
    macs: (MacAddr, MacAddr),
    operation: u16,
    sender: (MacAddr, std::net::Ipv4Addr),
    target: (MacAddr, std::net::Ipv4Addr),
) -> Frame {
    let mut body = vec![0, 1, 8, 0, 6, 4];
    body.extend(operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        body.extend(mac);
        body.extend(address.octets());
    }
    ethernet(macs, &[], 0x0806, &body)
}

fn length(of: usize) -> u16 {
    u16::try_from(of).unwrap_or(u16::MAX)
}

fn add(sum: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(sum, |sum, pair| match pair {
        [high, low] => sum + u32::from(u16::from_be_bytes([*high, *low])),
        [high] => sum + (u32::from(*high) << 8),
        _ => sum,
    })
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    u16::try_from((once & 0xffff) + (once >> 16)).unwrap_or(u16::MAX)
}
