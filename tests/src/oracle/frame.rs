//! Ethernet and its tags.

use sekimori::policy::model::{Mac, Port};
use sekimori_ebpf::reason::Reason;

/// An Ethernet frame, tags removed.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Destination MAC.
    pub to: Mac,
    /// Source MAC.
    pub from: Mac,
    /// Outer VLAN id, 0 for none.
    pub outer: u16,
    /// Inner VLAN id, 0 for none.
    pub inner: u16,
    /// EtherType or 802.3 length behind the tags.
    pub kind: u16,
    /// What follows.
    pub body: Vec<u8>,
}

/// Two bytes in network order; the caller knows that they are there.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Four bytes in network order.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn mac(bytes: &[u8]) -> Mac {
    let mut out = [0; 6];
    out.copy_from_slice(&bytes[..6]);
    Mac(out)
}

impl Frame {
    /// Step 1 as far as the frame alone decides it.
    pub fn read(bytes: &[u8]) -> Result<Self, Reason> {
        if bytes.len() < 14 {
            return Err(Reason::Truncated);
        }
        let (to, from) = (mac(&bytes[0..6]), mac(&bytes[6..12]));
        if from.0[0] & 1 == 1 || from.0 == [0; 6] {
            return Err(Reason::BadSourceMac);
        }
        let mut kind = be16(bytes, 12);
        let mut at = 14;
        let mut tags = Vec::new();
        while [0x8100, 0x88a8, 0x9100].contains(&kind) {
            if tags.len() == 2 {
                return Err(Reason::VlanTooDeep);
            }
            if bytes.len() < at + 4 {
                return Err(Reason::Truncated);
            }
            tags.push(be16(bytes, at) & 0x0fff);
            kind = be16(bytes, at + 2);
            at += 4;
        }
        tags.retain(|tag| *tag != 0);
        Ok(Self {
            to,
            from,
            outer: tags.first().copied().unwrap_or(0),
            inner: tags.get(1).copied().unwrap_or(0),
            kind,
            body: bytes[at..].to_vec(),
        })
    }

    /// The (interface, tags) this frame was seen at.
    pub fn port(&self, interface: &str) -> Port {
        Port { interface: interface.to_owned(), outer: self.outer, inner: self.inner }
    }
}
