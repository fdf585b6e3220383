//! Frames from fields, right by construction; what is to be wrong is broken afterwards.

use std::net::IpAddr;

use sekimori::policy::model::{Mac, Port};

use super::super::ip::ones_complement;

/// Ethernet with the tags of a port.
pub fn ether(to: Mac, from: Mac, port: &Port, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = [to.0, from.0].concat();
    if port.inner != 0 {
        out.extend([0x88, 0xa8]);
        out.extend(port.outer.to_be_bytes());
        out.extend([0x81, 0x00]);
        out.extend(port.inner.to_be_bytes());
    } else if port.outer != 0 {
        out.extend([0x81, 0x00]);
        out.extend(port.outer.to_be_bytes());
    }
    out.extend(kind.to_be_bytes());
    out.extend(payload);
    out
}

/// Fields of an IP header that a packet may vary.
#[derive(Debug, Clone)]
pub struct Ip {
    /// Source.
    pub src: IpAddr,
    /// Destination, of the same family.
    pub dst: IpAddr,
    /// Protocol of the payload.
    pub proto: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4: flags and offset as on the wire.
    pub fragment: u16,
    /// IPv4 identification.
    pub id: u16,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// IPv6: (header kind, its bytes behind the next-header byte).
    pub extensions: Vec<(u8, Vec<u8>)>,
}

impl Ip {
    /// An ordinary header.
    pub fn new(src: IpAddr, dst: IpAddr, proto: u8) -> Self {
        Self { src, dst, proto, ttl: 64, fragment: 0, id: 1, options: Vec::new(), extensions: Vec::new() }
    }

    /// The EtherType of its family.
    pub fn kind(&self) -> u16 {
        if self.src.is_ipv4() { 0x0800 } else { 0x86dd }
    }

    /// Header and payload.
    pub fn bytes(&self, payload: &[u8]) -> Vec<u8> {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header = 20 + self.options.len();
                let mut out = vec![0x40 | (header / 4) as u8, 0];
                out.extend(((header + payload.len()) as u16).to_be_bytes());
                out.extend(self.id.to_be_bytes());
                out.extend(self.fragment.to_be_bytes());
                out.extend([self.ttl, self.proto, 0, 0]);
                out.extend(src.octets());
                out.extend(dst.octets());
                out.extend(&self.options);
                let sum = !ones_complement(&out);
                out[10..12].copy_from_slice(&sum.to_be_bytes());
                out.extend(payload);
                out
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut chain: Vec<u8> = Vec::new();
                let mut kinds: Vec<u8> = self.extensions.iter().map(|(kind, _)| *kind).collect();
                kinds.push(self.proto);
                for ((_, body), next) in self.extensions.iter().zip(&kinds[1..]) {
                    chain.push(*next);
                    chain.extend(body);
                }
                let mut out = vec![0x60, 0, 0, 0];
                out.extend(((chain.len() + payload.len()) as u16).to_be_bytes());
                out.extend([kinds[0], self.ttl]);
                out.extend(src.octets());
                out.extend(dst.octets());
                out.extend(chain);
                out.extend(payload);
                out
            }
            _ => Vec::new(),
        }
    }
}

/// Fields of a TCP segment.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Bytes of data.
    pub data: usize,
    /// Carries a window scale option.
    pub scale: Option<u8>,
}

/// TCP bytes.
pub fn tcp(segment: &Segment) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(segment.sport.to_be_bytes());
    out.extend(segment.dport.to_be_bytes());
    out.extend(segment.seq.to_be_bytes());
    out.extend(segment.ack.to_be_bytes());
    let words: u8 = if segment.scale.is_some() { 6 } else { 5 };
    out.extend([words << 4, segment.flags, 0x40, 0, 0, 0, 0, 0]);
    if let Some(shift) = segment.scale {
        out.extend([1, 3, 3, shift]);
    }
    out.resize(out.len() + segment.data, b'x');
    out
}

/// UDP bytes.
pub fn udp(sport: u16, dport: u16, data: usize) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(sport.to_be_bytes());
    out.extend(dport.to_be_bytes());
    out.extend(((8 + data) as u16).to_be_bytes());
    out.extend([0, 0]);
    out.resize(8 + data, b'u');
    out
}

/// ICMP or ICMPv6 bytes: type, code, the four bytes behind the checksum, the rest.
pub fn icmp(kind: u8, code: u8, word: [u8; 4], rest: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, code, 0, 0];
    out.extend(word);
    out.extend(rest);
    out
}

/// ARP bytes.
pub fn arp(operation: u16, sender: (Mac, [u8; 4]), target: (Mac, [u8; 4])) -> Vec<u8> {
    let mut out = vec![0, 1, 8, 0, 6, 4];
    out.extend(operation.to_be_bytes());
    out.extend(sender.0.0);
    out.extend(sender.1);
    out.extend(target.0.0);
    out.extend(target.1);
    out
}
