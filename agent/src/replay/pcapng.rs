//! pcapng (draft-ietf-opsawg-pcapng): sections, interfaces, enhanced, simple and obsolete packet blocks; others are
//! passed over without being kept.

use std::io::Read;

use super::{
    capture::{ETHERNET, PACKET_LIMIT, Packet},
    fault::Flaw,
    source::Source,
};

/// Section header block; reads the same in both byte orders.
pub(super) const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const OPTION_TSRESOL: u16 = 9;
const OPTION_TSOFFSET: u16 = 14;

/// Largest block that is kept while it is read: a packet and its options.
const KEPT_LIMIT: u64 = PACKET_LIMIT as u64 + (1 << 20);
/// Interfaces kept of one section.
const INTERFACES: usize = 65_536;

/// What is known so far.
pub(super) struct Pcapng {
    big: bool,
    interfaces: Vec<Interface>,
    block: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Interface {
    link: u16,
    snaplen: u32,
    resolution: u8,
    /// Seconds.
    offset: i64,
}

impl Pcapng {
    /// The first section; its block type has been read.
    pub(super) fn open(source: &mut Source<impl Read>) -> Result<Self, Flaw> {
        let mut new = Self { big: false, interfaces: Vec::new(), block: Vec::new() };
        let length = source.array::<4>()?;
        new.section(source, length)?;
        Ok(new)
    }

    /// The next packet; `good` follows the end of the last whole block.
    pub(super) fn next(
        &mut self,
        source: &mut Source<impl Read>,
        packet: &mut Packet,
        good: &mut u64,
    ) -> Result<bool, Flaw> {
        loop {
            *good = source.offset();
            let Some(head) = source.record::<8>()? else {
                return Ok(false);
            };
            let kind = self.word(&head, 0);
            let raw_length = [head[4], head[5], head[6], head[7]];
            if kind == SECTION {
                self.section(source, raw_length)?;
                continue;
            }
            let length = u64::from(self.word(&raw_length, 0));
            if length < 12 || length % 4 != 0 {
                return Err(Flaw::BlockLength { length });
            }
            match kind {
                INTERFACE | OBSOLETE_PACKET | SIMPLE_PACKET | ENHANCED_PACKET => {
                    if length > KEPT_LIMIT {
                        return Err(Flaw::PacketLength { length, limit: KEPT_LIMIT });
                    }
                    let mut block = std::mem::take(&mut self.block);
                    source.bytes(length as usize - 12, &mut block)?;
                    self.trailer(source, length)?;
                    let is_packet = self.known(kind, &block, packet)?;
                    self.block = block;
                    if is_packet {
                        return Ok(true);
                    }
                }
                _ => {
                    source.skip(length - 12)?;
                    self.trailer(source, length)?;
                }
            }
        }
    }

    /// A section header after its type and length: byte order, and no interfaces any more.
    fn section(&mut self, source: &mut Source<impl Read>, raw_length: [u8; 4]) -> Result<(), Flaw> {
        let mark = source.array::<4>()?;
        self.big = match (u32::from_be_bytes(mark), u32::from_le_bytes(mark)) {
            (BYTE_ORDER, _) => true,
            (_, BYTE_ORDER) => false,
            _ => return Err(Flaw::ByteOrder),
        };
        let length = u64::from(self.word(&raw_length, 0));
        if length < 28 || length % 4 != 0 {
            return Err(Flaw::BlockLength { length });
        }
        let version = source.array::<4>()?;
        let major = self.half(&version, 0);
        if major != 1 {
            return Err(Flaw::Version { major });
        }
        source.skip(length - 20)?;
        self.trailer(source, length)?;
        self.interfaces.clear();
        Ok(())
    }

    fn trailer(&self, source: &mut Source<impl Read>, head: u64) -> Result<(), Flaw> {
        let tail = u64::from(self.word(&source.array::<4>()?, 0));
        if tail == head { Ok(()) } else { Err(Flaw::BlockTrailer { head, tail }) }
    }

    /// A block that is kept; true if it was a packet.
    fn known(&mut self, kind: u32, block: &[u8], packet: &mut Packet) -> Result<bool, Flaw> {
        let short = |wanted: usize| {
            if block.len() < wanted { Err(Flaw::BlockLength { length: block.len() as u64 + 12 }) } else { Ok(()) }
        };
        let (number, ticks, captured, wire, data) = match kind {
            INTERFACE => {
                short(8)?;
                self.interface(block)?;
                return Ok(false);
            }
            SIMPLE_PACKET => {
                short(4)?;
                let wire = self.word(block, 0);
                let snaplen = self.interfaces.first().map_or(0, |interface| interface.snaplen);
                let data = block.get(4..).unwrap_or_default();
                let limit = if snaplen == 0 { wire } else { wire.min(snaplen) };
                (0, None, limit.min(data.len() as u32), wire, data)
            }
            _ => {
                short(20)?;
                let number = match kind {
                    OBSOLETE_PACKET => self.half(block, 0).into(),
                    _ => self.word(block, 0),
                };
                let ticks = u64::from(self.word(block, 4)) << 32 | u64::from(self.word(block, 8));
                let data = block.get(20..).unwrap_or_default();
                (number, Some(ticks), self.word(block, 12), self.word(block, 16), data)
            }
        };
        let interface = *self.interfaces.get(number as usize).ok_or(Flaw::NoInterface { number })?;
        if interface.link != ETHERNET {
            return Err(Flaw::LinkType { number: interface.link });
        }
        let data = match data.get(..captured as usize) {
            Some(data) if captured <= PACKET_LIMIT => data,
            _ => {
                return Err(Flaw::PacketLength {
                    length: captured.into(),
                    limit: PACKET_LIMIT.min(data.len() as u32).into(),
                });
            }
        };
        packet.data.clear();
        packet.data.extend_from_slice(data);
        packet.time = ticks.map(|ticks| interface.nanoseconds(ticks));
        packet.wire = wire;
        Ok(true)
    }

    fn interface(&mut self, block: &[u8]) -> Result<(), Flaw> {
        if self.interfaces.len() == INTERFACES {
            return Err(Flaw::TooManyInterfaces);
        }
        let mut interface =
            Interface { link: self.half(block, 0), snaplen: self.word(block, 4), resolution: 6, offset: 0 };
        let mut options = block.get(8..).unwrap_or_default();
        while options.len() >= 4 {
            let (code, length) = (self.half(options, 0), usize::from(self.half(options, 2)));
            let Some(value) = options.get(4..4 + length) else {
                break;
            };
            match (code, value) {
                (0, _) => break,
                (OPTION_TSRESOL, [resolution]) => interface.resolution = *resolution,
                (OPTION_TSOFFSET, &[a, b, c, d, e, f, g, h]) => {
                    let bytes = [a, b, c, d, e, f, g, h];
                    interface.offset = if self.big { i64::from_be_bytes(bytes) } else { i64::from_le_bytes(bytes) };
                }
                _ => {}
            }
            options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        }
        self.interfaces.push(interface);
        Ok(())
    }

    /// The 32-bit number at `at`; 0 past the end.
    fn word(&self, bytes: &[u8], at: usize) -> u32 {
        let word = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        if self.big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
    }

    fn half(&self, bytes: &[u8], at: usize) -> u16 {
        let half = bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        if self.big { u16::from_be_bytes(half) } else { u16::from_le_bytes(half) }
    }
}

impl Interface {
    /// Nanoseconds since 1970 (not before, and not past 2554, where 64 bits end).
    fn nanoseconds(self, ticks: u64) -> u64 {
        let exponent = u32::from(self.resolution & 0x7f);
        let scaled = u128::from(ticks) * 1_000_000_000;
        let nanoseconds = if self.resolution & 0x80 != 0 {
            scaled >> exponent
        } else {
            10u128.checked_pow(exponent).map_or(0, |unit| scaled / unit)
        };
        let shifted = (nanoseconds as i128).saturating_add(i128::from(self.offset) * 1_000_000_000);
        u64::try_from(shifted.max(0)).unwrap_or(u64::MAX)
    }
}
