//! pcap and pcapng as one stream of packets.

use std::io::Read;

use super::{
    fault::{Fault, Flaw},
    pcap::Pcap,
    pcapng::Pcapng,
    source::Source,
};

/// The most bytes of one packet that are read: libpcap's own limit.
pub const PACKET_LIMIT: u32 = 262_144;
/// `LINKTYPE_ETHERNET`.
pub(super) const ETHERNET: u16 = 1;

/// One packet of a capture. Reused from packet to packet.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Packet {
    /// From 1.
    pub number: u64,
    /// Nanoseconds since 1970; `None` where the capture gives none (pcapng simple packets).
    pub time: Option<u64>,
    /// Length on the wire, never below the captured length.
    pub wire: u32,
    /// The captured bytes.
    pub data: Vec<u8>,
}

enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

/// A capture being read.
pub struct Capture<R> {
    source: Source<R>,
    format: Format,
    packets: u64,
    broken: bool,
}

impl<R: Read> Capture<R> {
    /// Reads the file's header.
    ///
    /// # Errors
    /// [`Fault`] with offset 0 if it is no capture, or one of another link type.
    pub fn open(inner: R) -> Result<Self, Fault> {
        let mut source = Source::new(inner);
        let format = Self::format(&mut source).map_err(|flaw| Fault { offset: 0, packets: 0, flaw })?;
        Ok(Self { source, format, packets: 0, broken: false })
    }

    fn format(source: &mut Source<R>) -> Result<Format, Flaw> {
        let Some(magic) = source.record::<4>()? else {
            return Err(Flaw::Empty);
        };
        if magic == super::pcapng::SECTION.to_ne_bytes() {
            return Ok(Format::Pcapng(Pcapng::open(source)?));
        }
        Ok(Format::Pcap(Pcap::open(magic, source)?))
    }

    /// Reads the next packet; false at the end. After an error there is nothing more.
    ///
    /// # Errors
    /// [`Fault`] with the offset of the first byte after the last good record.
    pub fn next(&mut self, packet: &mut Packet) -> Result<bool, Fault> {
        if self.broken {
            return Ok(false);
        }
        let mut good = self.source.offset();
        let read = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.source, packet),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.source, packet, &mut good),
        };
        match read {
            Ok(true) => {
                self.packets += 1;
                packet.number = self.packets;
                packet.wire = packet.wire.max(packet.data.len() as u32);
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(flaw) => {
                self.broken = true;
                Err(Fault { offset: good, packets: self.packets, flaw })
            }
        }
    }
}
