//! IPv4 and IPv6 headers, extension headers, and what they say about fragments (step 4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sekimori_ebpf::reason::Reason;

use super::frame::{be16, be32};

/// An IP packet, headers read.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// What `payload` holds, by IP protocol number.
    pub proto: u8,
    /// How many IPv6 extension headers there were.
    pub extensions: usize,
    /// Set on real fragments (an atomic one is a whole packet).
    pub fragment: Option<Fragment>,
    /// Behind all IP headers, padding of the frame removed.
    pub payload: Vec<u8>,
    /// From or to a host in quarantine.
    pub quarantined: bool,
}

/// One of several pieces of a datagram.
#[derive(Debug, Clone, Copy)]
pub struct Fragment {
    /// Identification.
    pub id: u32,
    /// First byte's position in the datagram.
    pub offset: usize,
    /// More fragments follow.
    pub more: bool,
    /// Bytes of the datagram it carries (IPv6: everything behind the fragment header).
    pub len: usize,
    /// The protocol that tells datagrams of one identification apart (IPv4 only, RFC 791).
    pub family_proto: u8,
}

impl Packet {
    /// Whether this is IPv6.
    pub fn is_v6(&self) -> bool {
        self.src.is_ipv6()
    }

    /// A fragment without the transport header.
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset > 0)
    }

    /// Reads an IPv4 packet.
    pub fn read_v4(bytes: &[u8]) -> Result<Self, Reason> {
        if bytes.len() < 20 {
            return Err(Reason::Truncated);
        }
        let header = usize::from(bytes[0] & 15) * 4;
        let total = usize::from(be16(bytes, 2));
        let flags = be16(bytes, 6);
        if bytes[0] >> 4 != 4 || header < 20 || total < header || total > bytes.len() {
            return Err(Reason::Ipv4Header);
        }
        let router_alert = bytes[9] == 2 && bytes[20..header] == [0x94, 4, 0, 0];
        if header > 20 && !router_alert {
            return Err(Reason::Ipv4Options);
        }
        if ones_complement(&bytes[..header]) != 0xffff || flags & 0x8000 != 0 {
            return Err(Reason::Ipv4Header);
        }
        let payload = bytes[header..total].to_vec();
        let (offset, more) = (usize::from(flags & 0x1fff) * 8, flags & 0x2000 != 0);
        Ok(Self {
            src: IpAddr::V4(Ipv4Addr::new(bytes[12], bytes[13], bytes[14], bytes[15])),
            dst: IpAddr::V4(Ipv4Addr::new(bytes[16], bytes[17], bytes[18], bytes[19])),
            ttl: bytes[8],
            proto: bytes[9],
            extensions: 0,
            fragment: (offset > 0 || more).then(|| Fragment {
                id: u32::from(be16(bytes, 4)),
                offset,
                more,
                len: payload.len(),
                family_proto: bytes[9],
            }),
            payload,
            quarantined: false,
        })
    }

    /// Reads an IPv6 packet and walks its extension headers.
    pub fn read_v6(bytes: &[u8]) -> Result<Self, Reason> {
        if bytes.len() < 40 {
            return Err(Reason::Truncated);
        }
        let length = usize::from(be16(bytes, 4));
        if bytes[0] >> 4 != 6 || length > bytes.len() - 40 || (length == 0 && bytes[6] == 0) {
            return Err(Reason::Ipv6Header);
        }
        let chain = Chain::walk(bytes[6], &bytes[40..40 + length])?;
        Ok(Self {
            src: v6(&bytes[8..24]),
            dst: v6(&bytes[24..40]),
            ttl: bytes[7],
            proto: chain.proto,
            extensions: chain.headers.len(),
            fragment: chain.fragment,
            payload: chain.payload,
            quarantined: false,
        })
    }
}

/// The extension headers of one packet.
struct Chain {
    headers: Vec<u8>,
    proto: u8,
    fragment: Option<Fragment>,
    payload: Vec<u8>,
}

impl Chain {
    fn walk(first: u8, bytes: &[u8]) -> Result<Self, Reason> {
        let mut chain = Self { headers: Vec::new(), proto: first, fragment: None, payload: bytes.to_vec() };
        loop {
            let seen = |kind: u8| chain.headers.iter().filter(|header| **header == kind).count();
            match chain.proto {
                0 if !chain.headers.is_empty() => return Err(Reason::Ipv6Extension),
                60 if seen(60) == 2 => return Err(Reason::Ipv6Extension),
                43 | 51 | 59 | 135 | 139 | 140 | 253 | 254 => return Err(Reason::Ipv6Extension),
                0 | 44 | 60 => {}
                _ => return Ok(chain),
            }
            if chain.headers.len() == 6 || chain.payload.len() < 8 {
                return Err(Reason::Ipv6Extension);
            }
            if chain.proto == 44 && seen(44) == 1 {
                return Err(Reason::FragmentNested);
            }
            let kind = chain.proto;
            let size = if kind == 44 { 8 } else { (usize::from(chain.payload[1]) + 1) * 8 };
            if chain.payload.len() < size {
                return Err(Reason::Ipv6Extension);
            }
            let header: Vec<u8> = chain.payload.drain(..size).collect();
            chain.headers.push(kind);
            chain.proto = header[0];
            if kind == 44 {
                let word = be16(&header, 2);
                let (offset, more) = (usize::from(word & 0xfff8), word & 1 == 1);
                if offset > 0 || more {
                    let id = be32(&header, 4);
                    chain.fragment = Some(Fragment { id, offset, more, len: chain.payload.len(), family_proto: 0 });
                }
                if offset > 0 {
                    return Ok(chain);
                }
            }
        }
    }
}

fn v6(bytes: &[u8]) -> IpAddr {
    let mut out = [0; 16];
    out.copy_from_slice(bytes);
    IpAddr::V6(Ipv6Addr::from(out))
}

/// The Internet checksum's sum, folded: 0xffff over a header that is right.
pub(crate) fn ones_complement(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
