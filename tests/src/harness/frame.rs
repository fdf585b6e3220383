//! A captured frame, and frames to send.

use std::net::IpAddr;

use etherparse::{NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice, UdpHeader};

use super::townhall::MacAddr;

/// A whole Ethernet frame, VLAN tags included.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame(pub Vec<u8>);

impl Frame {
    /// Destination MAC; zeroes if the frame is too short to have one.
    pub fn to_mac(&self) -> MacAddr {
        self.mac_at(0)
    }

    /// Source MAC; zeroes if the frame is too short to have one.
    pub fn from_mac(&self) -> MacAddr {
        self.mac_at(6)
    }

    /// Source and destination, if it is IP.
    pub fn ips(&self) -> Option<(IpAddr, IpAddr)> {
        match SlicedPacket::from_ethernet(&self.0).ok()?.net? {
            NetSlice::Ipv4(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
            NetSlice::Ipv6(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
            NetSlice::Arp(_) => None,
        }
    }

    /// IP protocol of what the headers lead to.
    pub fn protocol(&self) -> Option<u8> {
        let packet = SlicedPacket::from_ethernet(&self.0).ok()?;
        Some(match packet.net? {
            NetSlice::Ipv4(ip) => ip.payload().ip_number.0,
            NetSlice::Ipv6(ip) => ip.payload().ip_number.0,
            NetSlice::Arp(_) => return None,
        })
    }

    /// Source and destination port, if it is TCP or UDP.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match SlicedPacket::from_ethernet(&self.0).ok()?.transport? {
            TransportSlice::Tcp(tcp) => Some((tcp.source_port(), tcp.destination_port())),
            TransportSlice::Udp(udp) => Some((udp.source_port(), udp.destination_port())),
            TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => None,
        }
    }

    /// Whether these bytes occur anywhere.
    pub fn contains(&self, bytes: &[u8]) -> bool {
        !bytes.is_empty() && self.0.windows(bytes.len()).any(|window| window == bytes)
    }

    fn mac_at(&self, offset: usize) -> MacAddr {
        self.0.get(offset..offset + 6).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes {:02x?} > {:02x?}", self.0.len(), self.from_mac(), self.to_mac())?;
        if let Some((src, dst)) = self.ips() {
            write!(f, " {src} > {dst} protocol {:?}", self.protocol())?;
        }
        if let Some((sport, dport)) = self.ports() {
            write!(f, " ports {sport} > {dport}")?;
        }
        Ok(())
    }
}

/// A UDP packet with these ends, checksums right. Mixed families give an empty frame, which no test mistakes for one.
pub fn udp(macs: (MacAddr, MacAddr), src: (IpAddr, u16), dst: (IpAddr, u16), payload: &[u8]) -> Frame {
    let Some(builder) = ip(macs, src.0, dst.0) else {
        return Frame(Vec::new());
    };
    let builder: PacketBuilderStep<UdpHeader> = builder.udp(src.1, dst.1);
    let mut bytes = Vec::with_capacity(builder.size(payload.len()));
    match builder.write(&mut bytes, payload) {
        Ok(()) => Frame(bytes),
        Err(_) => Frame(Vec::new()),
    }
}

/// Ethernet and IP headers to build on; `None` for mixed families. `macs` are source and destination.
pub fn ip(macs: (MacAddr, MacAddr), src: IpAddr, dst: IpAddr) -> Option<PacketBuilderStep<etherparse::IpHeaders>> {
    let ethernet = PacketBuilder::ethernet2(macs.0, macs.1);
    let headers = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header = etherparse::Ipv4Header { time_to_live: 64, ..Default::default() };
            header.source = src.octets();
            header.destination = dst.octets();
            etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default())
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = etherparse::Ipv6Header {
                hop_limit: 64,
                source: src.octets(),
                destination: dst.octets(),
                ..Default::default()
            };
            etherparse::IpHeaders::Ipv6(header, etherparse::Ipv6Extensions::default())
        }
        _ => return None,
    };
    Some(ethernet.ip(headers))
}
