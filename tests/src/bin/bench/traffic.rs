//! Kinds of traffic: what the frames say, from which side they come, what should become of them.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use crate::{
    gateway::{Gateway, LAN_MAC, LAN_ROUTER, SERVER4, WAN_MAC, WAN_ROUTER},
    lists::Place,
    plan::{FRAME, FROM_PEER, FROM_SERVICE, HOPS, NO_PORTS, NO_SUM, Plan, SIX, TAGGED, TCP},
};

/// The ports that the policies permit.
pub(crate) const SERVICES: [u16; 8] = [53, 80, 123, 443, 853, 993, 5060, 8080];
/// VLAN of tagged traffic.
pub(crate) const VLAN: u16 = 20;
/// First client port.
const CLIENT_PORT: u32 = 16_384;
/// First client of opened flows, behind the inside router.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 0);
/// Sequence numbers of the client's and the server's first byte; every later packet lies inside both windows.
const SEQUENCE: (u32, u32) = (1_000, 5_000);

/// What is to become of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It must not arrive.
    Drop,
    /// It must arrive on the other side.
    Forward,
}

/// TCP packets of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Segment {
    Syn,
    SynAck,
    Ack,
}

/// A kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Name of its cell.
    pub(crate) name: &'static str,
    /// Where the peer lies as seen from the policy.
    pub(crate) place: Place,
    pub(crate) fate: Fate,
    pub(crate) six: bool,
    pub(crate) tcp: bool,
    pub(crate) tagged: bool,
    /// A later fragment, of no datagram anybody saw the first of.
    pub(crate) fragment: bool,
    /// Live flows; 0 for traffic that belongs to none.
    pub(crate) flows: u32,
    /// Every packet opens a flow.
    pub(crate) new: bool,
}

/// The direction of one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From inside by `lan0`.
    Out,
    /// From outside by `wan0`.
    In,
}

const BASE: Kind = Kind {
    name: "",
    place: Place::Listed,
    fate: Fate::Forward,
    six: false,
    tcp: false,
    tagged: false,
    fragment: false,
    flows: 0,
    new: false,
};

/// Packets from addresses anywhere, to a server inside.
pub(crate) const FAR: Kind = Kind { name: "drop far miss", place: Place::Far, fate: Fate::Drop, ..BASE };
/// Packets from addresses beside listed prefixes, to a server inside.
pub(crate) const NEAR: Kind = Kind { name: "drop near miss", place: Place::Near, fate: Fate::Drop, ..BASE };
/// Later fragments without a first.
pub(crate) const FRAGMENTS: Kind = Kind { name: "drop fragments", fragment: true, ..FAR };
/// One established flow.
pub(crate) const ONE: Kind = Kind { name: "forward udp", flows: 1, ..BASE };
/// Ten thousand.
pub(crate) const TEN_K: Kind = Kind { flows: 10_000, ..ONE };
/// A million.
pub(crate) const MILLION: Kind = Kind { flows: 1_000_000, ..ONE };
/// Ten thousand TCP connections.
pub(crate) const TEN_K_TCP: Kind = Kind { name: "forward tcp", tcp: true, ..TEN_K };
/// First packets only.
pub(crate) const NEW: Kind = Kind { name: "new flows", new: true, flows: u32::MAX, ..BASE };

impl Kind {
    /// The same in IPv6.
    pub(crate) const fn six(self) -> Self {
        Self { six: true, ..self }
    }

    /// The same with a VLAN tag.
    pub(crate) const fn tagged(self) -> Self {
        Self { tagged: true, ..self }
    }

    /// The way measured packets go.
    pub(crate) fn way(self) -> Way {
        match self.fate {
            Fate::Drop => Way::In,
            Fate::Forward => Way::Out,
        }
    }

    /// Packets until the first one comes again.
    pub(crate) fn period(self) -> u32 {
        if self.flows > 0 { self.flows } else { 1 << 20 }
    }

    /// `ipv4` or `ipv6`, `+vlan`.
    pub(crate) fn family(self) -> &'static str {
        match (self.six, self.tagged) {
            (false, false) => "ipv4",
            (true, false) => "ipv6",
            (false, true) => "ipv4+vlan",
            (true, true) => "ipv6+vlan",
        }
    }

    /// The measured packets, for one gateway.
    pub(crate) fn plan(self, gateway: &Gateway) -> Result<Plan> {
        self.pass(gateway, self.way(), Segment::Ack)
    }

    /// Packets of this kind's conversations in a direction.
    pub(crate) fn pass(self, gateway: &Gateway, way: Way, segment: Segment) -> Result<Plan> {
        let answers = way == Way::In && self.fate == Fate::Forward;
        let mut flags = 0;
        for (flag, on) in [
            (SIX, self.six),
            (TAGGED, self.tagged),
            (TCP, self.tcp),
            (FROM_PEER, way == Way::In),
            (FROM_SERVICE, answers),
            (NO_PORTS, self.fragment),
            (NO_SUM, !self.tcp && !self.six),
        ] {
            flags |= if on { flag } else { 0 };
        }
        let (bytes, l3) = self.frame(way, segment)?;
        let mut plan = Plan {
            flags,
            out: if way == Way::In { gateway.wan } else { gateway.lan },
            flows: self.period(),
            client: if self.fate == Fate::Drop { SERVER4.to_bits() } else { CLIENT.to_bits() },
            client_mask: if self.fate == Fate::Drop { 0 } else { 0xfff },
            port: CLIENT_PORT,
            services: SERVICES.map(u16::to_be),
            table: self.place.table(),
            ..Plan::default()
        };
        if self.six {
            let net: Ipv6Addr = "2001:db8:a000::".parse()?;
            for (word, chunk) in plan.client_net.iter_mut().zip(net.octets().chunks_exact(4)) {
                *word = u32::from_ne_bytes(chunk.try_into()?);
            }
            if self.fate == Fate::Drop {
                plan.client = 1;
            }
        }
        for (word, chunk) in plan.frame.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(chunk.try_into()?);
        }
        if !self.six {
            plan.ip_sum = sum(&bytes[l3..l3 + 20]);
        }
        let l4 = l3 + if self.six { 40 } else { 20 };
        let length = usize::from(self.transport_length());
        let protocol = if self.tcp { 6u16 } else { 17 };
        // Pseudo-header: protocol and length; the addresses are added a packet.
        plan.l4_sum =
            sum(&bytes[l4..l4 + length]) + u32::from(protocol.to_be()) + u32::from(self.transport_length().to_be());
        Ok(plan)
    }

    fn transport_length(self) -> u16 {
        if self.tcp { 20 } else { 18 }
    }

    /// The frame with addresses, ports and checksums 0, and where its IP header starts.
    fn frame(self, way: Way, segment: Segment) -> Result<([u8; FRAME], usize)> {
        let mut bytes = Vec::with_capacity(FRAME);
        let (to, from) = match way {
            Way::Out => (LAN_MAC, LAN_ROUTER),
            Way::In => (WAN_MAC, WAN_ROUTER),
        };
        bytes.extend(to);
        bytes.extend(from);
        if self.tagged {
            bytes.extend(0x8100u16.to_be_bytes());
            bytes.extend(VLAN.to_be_bytes());
        }
        bytes.extend(if self.six { 0x86ddu16 } else { 0x0800 }.to_be_bytes());
        let l3 = bytes.len();
        let (length, protocol) = (self.transport_length(), if self.tcp { 6 } else { 17 });
        if self.six {
            bytes.extend([0x60, 0, 0, 0]);
            bytes.extend(length.to_be_bytes());
            bytes.extend([protocol, HOPS]);
            bytes.extend([0; 32]);
        } else {
            let fragment: u16 = if self.fragment { 185 } else { 0 };
            bytes.extend([0x45, 0]);
            bytes.extend((20 + length).to_be_bytes());
            bytes.extend([0, 1]);
            bytes.extend(fragment.to_be_bytes());
            bytes.extend([HOPS, protocol, 0, 0]);
            bytes.extend([0; 8]);
        }
        bytes.extend([0; 4]);
        if self.tcp {
            let (client, server) = SEQUENCE;
            let (sequence, acknowledged, flags) = match (way, segment) {
                (_, Segment::Syn) => (client, 0, 0x02),
                (_, Segment::SynAck) => (server, client + 1, 0x12),
                (Way::Out, Segment::Ack) => (client + 1, server + 1, 0x10),
                (Way::In, Segment::Ack) => (server + 1, client + 1, 0x10),
            };
            bytes.extend(u32::to_be_bytes(sequence));
            bytes.extend(u32::to_be_bytes(acknowledged));
            bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        } else {
            bytes.extend(length.to_be_bytes());
            bytes.extend([0; 2]);
        }
        bytes.resize(FRAME, 0);
        let bytes = bytes.try_into().map_err(|_| anyhow::anyhow!("a frame does not fit"))?;
        Ok((bytes, l3))
    }
}

/// One's complement sum of 16-bit words as they lie in memory.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|pair| u32::from(u16::from_ne_bytes([pair[0], pair[1]]))).sum()
}
