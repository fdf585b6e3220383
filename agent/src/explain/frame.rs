//! The first packet of a conversation as bytes, from what an administrator writes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sekimori_ebpf::{
    abi::proto,
    packet::{ethertype, tcp},
};

use crate::policy::model::{L4Spec, PacketSpec};

/// Layer 2 of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Source MAC.
    pub src: [u8; 6],
    /// Destination MAC.
    pub dst: [u8; 6],
    /// Outer VLAN id, 0 for none.
    pub outer: u16,
    /// Inner VLAN id, 0 for none.
    pub inner: u16,
}

/// Where source and destination are of different families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixedFamilies;

const TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;
/// Identifier of an echo request.
const ECHO: [u8; 4] = [0x53, 0x4b, 0, 1];

/// Builds the frame, checksums included. TCP is a bare SYN; neighbour discovery and VRRP get the hop limit of 255
/// that they demand.
///
/// # Errors
/// The addresses are of different families.
pub fn build(link: &Link, spec: &PacketSpec) -> Result<Vec<u8>, MixedFamilies> {
    let mut frame = Vec::with_capacity(128);
    frame.extend(link.dst);
    frame.extend(link.src);
    let tag = |frame: &mut Vec<u8>, kind: u16, id: u16| {
        frame.extend(kind.to_be_bytes());
        frame.extend(id.to_be_bytes());
    };
    if link.inner != 0 {
        tag(&mut frame, SERVICE_TAG, link.outer);
        tag(&mut frame, TAG, link.inner);
    } else if link.outer != 0 {
        tag(&mut frame, TAG, link.outer);
    }
    match (spec.src, spec.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            frame.extend(ethertype::IPV4.to_be_bytes());
            ipv4(&mut frame, src, dst, &spec.l4);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            frame.extend(ethertype::IPV6.to_be_bytes());
            ipv6(&mut frame, src, dst, &spec.l4);
        }
        _ => return Err(MixedFamilies),
    }
    Ok(frame)
}

/// The IP protocol of a packet of this family.
fn protocol(l4: &L4Spec, v6: bool) -> u8 {
    match *l4 {
        L4Spec::Tcp { .. } => proto::TCP,
        L4Spec::Udp { .. } => proto::UDP,
        L4Spec::Icmp { .. } if v6 => proto::ICMPV6,
        L4Spec::Icmp { .. } => proto::ICMP,
        L4Spec::Protocol(number) => number,
    }
}

/// Protocols that prove by their hop limit that no router forwarded them.
fn ttl(l4: &L4Spec, v6: bool) -> u8 {
    match *l4 {
        L4Spec::Icmp { kind: 133..=136, .. } if v6 => 255,
        L4Spec::Protocol(proto::VRRP) => 255,
        _ => 64,
    }
}

fn ipv4(frame: &mut Vec<u8>, src: Ipv4Addr, dst: Ipv4Addr, l4: &L4Spec) {
    let number = protocol(l4, false);
    let mut pseudo = Vec::from(src.octets());
    pseudo.extend(dst.octets());
    pseudo.extend([0, number]);
    let transport = transport(l4, IpAddr::V4(dst), &pseudo);
    let mut header = vec![0x45, 0];
    header.extend((20 + transport.len() as u16).to_be_bytes());
    header.extend([0, 1, 0x40, 0, ttl(l4, false), number, 0, 0]);
    header.extend(src.octets());
    header.extend(dst.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(header);
    frame.extend(transport);
}

fn ipv6(frame: &mut Vec<u8>, src: Ipv6Addr, dst: Ipv6Addr, l4: &L4Spec) {
    let number = protocol(l4, true);
    let mut pseudo = Vec::from(src.octets());
    pseudo.extend(dst.octets());
    pseudo.extend([0, number]);
    let transport = transport(l4, IpAddr::V6(dst), &pseudo);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((transport.len() as u16).to_be_bytes());
    frame.extend([number, ttl(l4, true)]);
    frame.extend(src.octets());
    frame.extend(dst.octets());
    frame.extend(transport);
}

/// The transport header. `pseudo` is the pseudo-header but for the length, which follows from the result.
fn transport(l4: &L4Spec, dst: IpAddr, pseudo: &[u8]) -> Vec<u8> {
    let (mut bytes, sum_at, pseudo) = match *l4 {
        L4Spec::Tcp { sport, dport } => {
            let mut bytes = Vec::from(sport.to_be_bytes());
            bytes.extend(dport.to_be_bytes());
            bytes.extend(0x534b_0000u32.to_be_bytes());
            bytes.extend([0, 0, 0, 0, 5 << 4, tcp::SYN]);
            bytes.extend(64_240u16.to_be_bytes());
            bytes.extend([0, 0, 0, 0]);
            (bytes, 16, pseudo)
        }
        L4Spec::Udp { sport, dport } => {
            let mut bytes = Vec::from(sport.to_be_bytes());
            bytes.extend(dport.to_be_bytes());
            bytes.extend(12u16.to_be_bytes());
            bytes.extend([0, 0, 0, 0, 0, 0]);
            (bytes, 6, pseudo)
        }
        L4Spec::Icmp { kind, code } => {
            let mut bytes = vec![kind, code, 0, 0];
            bytes.extend(ECHO);
            let v6 = match dst {
                IpAddr::V4(_) => None,
                IpAddr::V6(dst) => Some(dst),
            };
            if let (133..=136, Some(target)) = (kind, v6) {
                bytes[4..8].fill(0);
                bytes.extend(target.octets());
            }
            // ICMP has no pseudo-header, ICMPv6 has (RFC 4443 §2.3).
            (bytes, 2, if v6.is_some() { pseudo } else { &[] })
        }
        L4Spec::Protocol(_) => return vec![0; 20],
    };
    let length = if pseudo.is_empty() { [0, 0] } else { (bytes.len() as u16).to_be_bytes() };
    let mut sum = checksum(&[pseudo, &length, &bytes]);
    // A UDP checksum of 0 means "none" (RFC 768).
    if sum == 0 && matches!(l4, L4Spec::Udp { .. }) {
        sum = 0xffff;
    }
    bytes[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// RFC 1071 over pieces of even length.
fn checksum(pieces: &[&[u8]]) -> u16 {
    let words = pieces.iter().flat_map(|piece| piece.chunks_exact(2));
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
