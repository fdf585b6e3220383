//! The classic format: both byte orders, micro- and nanoseconds.

use std::io::Read;

use super::{
    capture::{ETHERNET, PACKET_LIMIT, Packet},
    fault::Flaw,
    source::Source,
};

/// What the file header says.
pub(super) struct Pcap {
    big: bool,
    /// Nanoseconds in one unit of the fraction.
    unit: u64,
    /// Bytes of frame check sequence at the end of every frame.
    fcs: u32,
}

impl Pcap {
    /// Reads the rest of the file header.
    pub(super) fn open(magic: [u8; 4], source: &mut Source<impl Read>) -> Result<Self, Flaw> {
        let (big, unit) = match magic {
            [0xd4, 0xc3, 0xb2, 0xa1] => (false, 1000),
            [0xa1, 0xb2, 0xc3, 0xd4] => (true, 1000),
            [0x4d, 0x3c, 0xb2, 0xa1] => (false, 1),
            [0xa1, 0xb2, 0x3c, 0x4d] => (true, 1),
            _ => return Err(Flaw::NotACapture { magic }),
        };
        let header = source.array::<20>()?;
        let half = |at: usize| [header[at], header[at + 1]];
        let major = if big { u16::from_be_bytes(half(0)) } else { u16::from_le_bytes(half(0)) };
        if major != 2 {
            return Err(Flaw::Version { major });
        }
        let link = word(big, [header[16], header[17], header[18], header[19]]);
        // draft-ietf-opsawg-pcap: the type in the low half; bit 26 says that the top 4 bits count FCS half-words.
        let number = (link & 0xffff) as u16;
        if number != ETHERNET {
            return Err(Flaw::LinkType { number });
        }
        let fcs = if link & 1 << 26 != 0 { (link >> 28) * 2 } else { 0 };
        Ok(Self { big, unit, fcs })
    }

    pub(super) fn next(&mut self, source: &mut Source<impl Read>, packet: &mut Packet) -> Result<bool, Flaw> {
        let Some(header) = source.record::<16>()? else {
            return Ok(false);
        };
        let [seconds, fraction, captured, wire] =
            std::array::from_fn(|i| word(self.big, std::array::from_fn(|j| header[4 * i + j])));
        if captured > PACKET_LIMIT {
            return Err(Flaw::PacketLength { length: captured.into(), limit: PACKET_LIMIT.into() });
        }
        source.bytes(captured as usize, &mut packet.data)?;
        packet.time = Some(u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.unit);
        packet.wire = wire;
        // A check sequence is no part of the frame; one whose length contradicts itself is left as it is.
        if self.fcs > 0 && self.fcs <= wire && captured <= wire {
            packet.wire = wire - self.fcs;
            packet.data.truncate(packet.wire as usize);
        }
        Ok(true)
    }
}

fn word(big: bool, bytes: [u8; 4]) -> u32 {
    if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}
