//! Frames as they look elsewhere: with another VLAN tag, another source MAC, another address and port.

use std::net::IpAddr;

use super::sight::{Sight, TCP, UDP, half};
use crate::policy::model::{Mac, Port};

/// Replaces all tags by the port's. The caller has seen that the frame has at most two.
pub(super) fn retag(frame: &mut Vec<u8>, sight: &Sight, port: &Port) {
    let mut tags = Vec::with_capacity(8);
    if port.outer != 0 {
        tags.extend_from_slice(if port.inner != 0 { &[0x88, 0xa8] } else { &[0x81, 0x00] });
        tags.extend_from_slice(&port.outer.to_be_bytes());
    }
    if port.inner != 0 {
        tags.extend_from_slice(&[0x81, 0x00]);
        tags.extend_from_slice(&port.inner.to_be_bytes());
    }
    let end = 12 + sight.tag_bytes;
    if frame.len() >= end {
        frame.splice(12..end, tags);
    }
}

/// Replaces the source MAC.
pub(super) fn set_source_mac(frame: &mut [u8], mac: Mac) {
    if let Some(field) = frame.get_mut(6..12) {
        field.copy_from_slice(&mac.0);
    }
}

/// Which end of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Destination,
}

/// Replaces an address and a port, and mends the checksums, as NAT does. False, and nothing done, if the frame is no
/// whole TCP or UDP packet of that family.
pub(super) fn translate(frame: &mut [u8], sight: &Sight, end: End, address: IpAddr, port: u16) -> bool {
    let (Some((src, _)), Some(l4), false) = (sight.ends, sight.l4, sight.fragment) else {
        return false;
    };
    let checksum = match sight.proto {
        Some(TCP) => l4 + 16,
        Some(UDP) => l4 + 6,
        _ => return false,
    };
    if src.is_ipv4() != address.is_ipv4() || frame.len() < checksum + 2 {
        return false;
    }
    // RFC 768: a UDP checksum of 0 over IPv4 says that there is none.
    let summed = !(sight.proto == Some(UDP) && src.is_ipv4() && half(frame, checksum) == Some(0));
    let far = usize::from(end == End::Destination);
    let (new, at) = match address {
        IpAddr::V4(v4) => (v4.octets().to_vec(), sight.l3 + 12 + 4 * far),
        IpAddr::V6(v6) => (v6.octets().to_vec(), sight.l3 + 8 + 16 * far),
    };
    let mut writes: Vec<(usize, [u8; 2])> =
        new.chunks_exact(2).enumerate().map(|(i, pair)| (at + 2 * i, [pair[0], pair[1]])).collect();
    let addresses = writes.len();
    writes.push((l4 + 2 * far, port.to_be_bytes()));
    for (number, (at, new)) in writes.into_iter().enumerate() {
        let Some(field) = frame.get_mut(at..at + 2) else {
            return false;
        };
        let old = [field[0], field[1]];
        field.copy_from_slice(&new);
        if summed {
            mend(frame, checksum, old, new);
        }
        if src.is_ipv4() && number < addresses {
            mend(frame, sight.l3 + 10, old, new);
        }
    }
    true
}

/// RFC 1624: `HC' = ~(~HC + ~m + m')`.
fn mend(frame: &mut [u8], checksum: usize, old: [u8; 2], new: [u8; 2]) {
    let Some(field) = frame.get_mut(checksum..checksum + 2) else {
        return;
    };
    let sum = u32::from(!u16::from_be_bytes([field[0], field[1]]))
        + u32::from(!u16::from_be_bytes(old))
        + u32::from(u16::from_be_bytes(new));
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    field.copy_from_slice(&(!(folded as u16)).to_be_bytes());
}
