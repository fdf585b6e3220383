//! ICMP errors and the packet they quote (step 13).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    frame::{be16, be32},
    ip::Packet,
    transport::{Transport, is_icmp},
};

/// The packet inside an ICMP error.
#[derive(Debug, Clone, Copy)]
pub struct Quote {
    /// Its source.
    pub src: (IpAddr, u16),
    /// Its destination.
    pub dst: (IpAddr, u16),
    /// Its protocol.
    pub proto: u8,
    /// Its sequence number, if it is TCP.
    pub seq: Option<u32>,
}

/// Whether this is one of the ICMP errors.
pub fn is_error(packet: &Packet, transport: &Transport) -> bool {
    match transport {
        Transport::Icmp { kind, .. } if packet.is_v6() => matches!(kind, 1..=4),
        Transport::Icmp { kind, .. } => matches!(kind, 3 | 11 | 12),
        _ => false,
    }
}

/// A "packet too big" that asks for less than the protocol's least MTU.
fn shrinks_too_far(packet: &Packet) -> bool {
    let bytes = &packet.payload;
    match (packet.is_v6(), bytes[0], bytes[1]) {
        (false, 3, 4) => be16(bytes, 6) < 68,
        (true, 2, _) => be32(bytes, 4) < 1280,
        _ => false,
    }
}

/// The quoted packet, if it can be read and belongs to the error at all.
pub fn quote(packet: &Packet) -> Option<Quote> {
    if !is_icmp(packet) || packet.payload.len() < 8 || shrinks_too_far(packet) {
        return None;
    }
    let inner = &packet.payload[8..];
    let (src, dst, proto, transport) = if packet.is_v6() { inner_v6(inner)? } else { inner_v4(inner)? };
    if transport.len() < 8 || src != packet.dst {
        return None;
    }
    let (sport, dport) = match proto {
        6 | 17 => (be16(&transport, 0), be16(&transport, 2)),
        1 | 58 if (proto == 58) == packet.is_v6() => {
            let echo: [u8; 2] = if proto == 1 { [8, 0] } else { [128, 129] };
            if !echo.contains(&transport[0]) {
                return None;
            }
            (be16(&transport, 4), be16(&transport, 4))
        }
        _ => (0, 0),
    };
    let seq = (proto == 6).then(|| be32(&transport, 4));
    Some(Quote { src: (src, sport), dst: (dst, dport), proto, seq })
}

type Inner = (IpAddr, IpAddr, u8, Vec<u8>);

fn inner_v4(bytes: &[u8]) -> Option<Inner> {
    let header = usize::from(bytes.first()? & 15) * 4;
    if bytes[0] >> 4 != 4 || header != 20 || bytes.len() < header || be16(bytes, 6) & 0x1fff != 0 {
        return None;
    }
    let addr = |at: usize| IpAddr::V4(Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]));
    Some((addr(12), addr(16), bytes[9], bytes[header..].to_vec()))
}

fn inner_v6(bytes: &[u8]) -> Option<Inner> {
    if bytes.len() < 40 || bytes[0] >> 4 != 6 {
        return None;
    }
    let addr = |at: usize| {
        let mut out = [0; 16];
        out.copy_from_slice(&bytes[at..at + 16]);
        IpAddr::V6(Ipv6Addr::from(out))
    };
    let extension = [0, 43, 44, 51, 59, 60];
    if extension.contains(&bytes[6]) {
        return None;
    }
    Some((addr(8), addr(24), bytes[6], bytes[40..].to_vec()))
}
