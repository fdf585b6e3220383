//! Writing pcapng: sections of Ethernet packets with nanosecond times and a comment each.
//!
//! Blocks and options as in <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-04.html>, little-endian.

use sekimori_ebpf::detect::abi::KEPT_BYTES;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const ETHERNET: u16 = 1;
/// `opt_comment`, in every block.
const COMMENT: u16 = 1;
const NAME: u16 = 2;
const RESOLUTION: u16 = 9;
const APPLICATION: u16 = 4;
/// Times are in units of 10^-9 s.
const NANOSECONDS: u8 = 9;
/// Options have 16-bit lengths; no comment of ours comes near.
const MAX_OPTION: usize = 16 * 1024;

/// One packet to be written.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Name of the interface it came by.
    pub interface: &'a str,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Bytes on the wire.
    pub wire: u32,
    /// The first of them.
    pub data: &'a [u8],
    /// What to say about it.
    pub comment: &'a str,
}

/// One section being written. Several behind one another are one file.
#[derive(Debug)]
pub struct Section {
    bytes: Vec<u8>,
    interfaces: Vec<String>,
}

impl Section {
    /// With a comment about all of it.
    pub fn new(comment: &str) -> Self {
        let mut body = [&BYTE_ORDER.to_le_bytes()[..], &1u16.to_le_bytes(), &0u16.to_le_bytes(), &[0xff; 8]].concat();
        option(&mut body, COMMENT, comment.as_bytes());
        option(&mut body, APPLICATION, concat!("Sekimori ", env!("CARGO_PKG_VERSION")).as_bytes());
        let mut section = Self { bytes: Vec::new(), interfaces: Vec::new() };
        section.block(SECTION, body);
        section
    }

    /// Adds a packet; its interface is described before the first one that came by it.
    pub fn add(&mut self, packet: Packet<'_>) {
        let interface = self.interface(packet.interface);
        let length = u32::try_from(packet.data.len()).unwrap_or(0);
        let (high, low) = (packet.time >> 32, packet.time & 0xffff_ffff);
        let words = [interface, high as u32, low as u32, length, packet.wire.max(length)];
        let mut body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        body.extend_from_slice(packet.data);
        pad(&mut body);
        option(&mut body, COMMENT, packet.comment.as_bytes());
        self.block(ENHANCED_PACKET, body);
    }

    /// The bytes so far, which are whole blocks; what is added later comes behind them.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    fn interface(&mut self, name: &str) -> u32 {
        if let Some(known) = self.interfaces.iter().position(|known| known == name) {
            return u32::try_from(known).unwrap_or(0);
        }
        let mut body = [&ETHERNET.to_le_bytes()[..], &[0, 0]].concat();
        // The same for all: libpcap refuses a file whose interfaces differ in it.
        body.extend(u32::try_from(KEPT_BYTES).unwrap_or(u32::MAX).to_le_bytes());
        option(&mut body, NAME, name.as_bytes());
        option(&mut body, RESOLUTION, &[NANOSECONDS]);
        self.block(INTERFACE, body);
        self.interfaces.push(name.to_owned());
        u32::try_from(self.interfaces.len() - 1).unwrap_or(0)
    }

    fn block(&mut self, kind: u32, mut body: Vec<u8>) {
        // `opt_endofopt`
        body.extend([0; 4]);
        let length = u32::try_from(body.len() + 12).unwrap_or(0).to_le_bytes();
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(length);
        self.bytes.extend(body);
        self.bytes.extend(length);
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    if value.is_empty() {
        return;
    }
    // Cut where a character ends, so that it stays UTF-8.
    let mut end = value.len().min(MAX_OPTION);
    while end > 0 && end < value.len() && value.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    let value = value.get(..end).unwrap_or_default();
    body.extend(code.to_le_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}
