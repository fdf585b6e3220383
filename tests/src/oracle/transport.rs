//! What the transport header says, where there is a whole one.

use super::{
    frame::{be16, be32},
    ip::Packet,
};

/// TCP flag bits.
pub mod flag {
    /// FIN.
    pub const FIN: u8 = 1;
    /// SYN.
    pub const SYN: u8 = 2;
    /// RST.
    pub const RST: u8 = 4;
    /// PSH.
    pub const PSH: u8 = 8;
    /// ACK.
    pub const ACK: u8 = 16;
    /// URG.
    pub const URG: u8 = 32;
    /// ECE.
    pub const ECE: u8 = 64;
    /// CWR.
    pub const CWR: u8 = 128;
}

/// A transport header.
#[derive(Debug, Clone)]
pub enum Transport {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// The length field.
        length: usize,
    },
    /// ICMP in IPv4 or ICMPv6 in IPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Echo identifier, if it is one.
        id: u16,
    },
    /// Any other protocol.
    Other,
    /// A later fragment, or too short for its header.
    Unread,
}

/// A TCP header.
#[derive(Debug, Clone)]
pub struct Tcp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Header length in bytes.
    pub header: usize,
    /// Flags, the low eight.
    pub flags: u8,
    /// Window field.
    pub window: u16,
    /// Window scale option.
    pub scale: Option<u8>,
    /// Bytes behind the header.
    pub data: usize,
}

impl Tcp {
    /// Whether all of these flags are set.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
    /// SYN alone; the two congestion flags may ride along.
    pub fn is_bare_syn(&self) -> bool {
        self.flags & !(flag::ECE | flag::CWR) == flag::SYN
    }
}

/// Whether the protocol is the ICMP of the packet's family.
pub fn is_icmp(packet: &Packet) -> bool {
    packet.proto == if packet.is_v6() { 58 } else { 1 }
}

/// Bytes a transport header needs at least.
pub fn minimum(proto: u8) -> usize {
    if proto == 6 { 20 } else { 8 }
}

/// Reads the transport header.
pub fn read(packet: &Packet) -> Transport {
    let bytes = &packet.payload;
    if packet.is_later_fragment() {
        return Transport::Unread;
    }
    let known = packet.proto == 6 || packet.proto == 17 || is_icmp(packet);
    if !known {
        return Transport::Other;
    }
    if bytes.len() < minimum(packet.proto) {
        return Transport::Unread;
    }
    match packet.proto {
        6 => {
            let header = usize::from(bytes[12] >> 4) * 4;
            Transport::Tcp(Tcp {
                sport: be16(bytes, 0),
                dport: be16(bytes, 2),
                seq: be32(bytes, 4),
                ack: be32(bytes, 8),
                header,
                flags: bytes[13],
                window: be16(bytes, 14),
                scale: window_scale(bytes.get(20..header).unwrap_or(&[])),
                data: bytes.len().saturating_sub(header),
            })
        }
        17 => Transport::Udp { sport: be16(bytes, 0), dport: be16(bytes, 2), length: usize::from(be16(bytes, 4)) },
        _ => Transport::Icmp { kind: bytes[0], code: bytes[1], id: be16(bytes, 4) },
    }
}

fn window_scale(mut options: &[u8]) -> Option<u8> {
    while let [kind, rest @ ..] = options {
        match (kind, rest) {
            (0, _) => return None,
            (1, rest) => options = rest,
            (3, [3, shift, ..]) => return Some((*shift).min(14)),
            (_, [length, ..]) if *length >= 2 => options = options.get(usize::from(*length)..)?,
            _ => return None,
        }
    }
    None
}
