//! What the generator is told, and what the sink tells. Shared with the driver in user space.

/// Most bytes of a generated frame.
pub(crate) const FRAME: usize = 80;
/// Bytes of the shortest frame on Ethernet, without its checksum.
pub(crate) const SHORTEST: usize = 60;
/// Peers a traffic kind may name; a power of two.
pub(crate) const PEERS: u32 = 1 << 16;
/// Tables of that many peers.
pub(crate) const TABLES: u32 = 3;
/// Slots of the sink; interfaces of the ruler are numbered modulo this.
pub(crate) const SINKS: u32 = 1024;
/// Hop limit (or TTL) of a generated frame; one less where it arrives.
pub(crate) const HOPS: u8 = 64;

/// [`Plan::flags`]: IPv6; otherwise IPv4.
pub(crate) const SIX: u32 = 1;
/// [`Plan::flags`]: one VLAN tag.
pub(crate) const TAGGED: u32 = 1 << 1;
/// [`Plan::flags`]: TCP; otherwise UDP.
pub(crate) const TCP: u32 = 1 << 2;
/// [`Plan::flags`]: the peer is the source and the client the destination.
pub(crate) const FROM_PEER: u32 = 1 << 3;
/// [`Plan::flags`]: the service port is the source port.
pub(crate) const FROM_SERVICE: u32 = 1 << 4;
/// [`Plan::flags`]: write no transport checksum (UDP over IPv4, and fragments).
pub(crate) const NO_SUM: u32 = 1 << 5;
/// [`Plan::flags`]: write no ports: what follows the IP header is payload.
pub(crate) const NO_PORTS: u32 = 1 << 6;

/// One kind of traffic. Packet `i` has peer `table + i % PEERS`, client address `client + (i & client_mask) + hi`, client port
/// `port + (i >> 5 & 0x7fff)` and service port `services[i & 7]`, where `hi` is what 20 bits cannot tell apart; so no two
/// of 2^28 packets share a tuple. Numbers of more than a byte are as on the wire unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Plan {
    /// The frame with addresses, ports and checksums 0.
    pub(crate) frame: [u64; FRAME / 8],
    /// See the constants.
    pub(crate) flags: u32,
    /// Interface to send by.
    pub(crate) out: u32,
    /// Packets until the first one comes again. Host order.
    pub(crate) flows: u32,
    /// First client address: IPv4, or the last word of an IPv6 address. Host order.
    pub(crate) client: u32,
    /// Bits of the packet's number that choose the client. Host order.
    pub(crate) client_mask: u32,
    /// First client port. Host order.
    pub(crate) port: u32,
    /// One's complement sum of the IPv4 header with addresses and checksum 0.
    pub(crate) ip_sum: u32,
    /// The same of pseudo-header, transport header and payload, with addresses, ports and checksum 0.
    pub(crate) l4_sum: u32,
    /// The first three words of IPv6 client addresses.
    pub(crate) client_net: [u32; 3],
    /// Where this kind's peers start in the tables: a multiple of [`PEERS`].
    pub(crate) table: u32,
    /// Nanoseconds from one packet to the next, 0 for as fast as it goes. Host order.
    pub(crate) gap: u32,
    /// Makes the size a multiple of 8.
    pub(crate) reserved: u32,
    /// Service ports.
    pub(crate) services: [u16; 8],
}

/// What arrived at one interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Arrived {
    /// Frames of the generator's that a gateway forwarded.
    pub(crate) packets: u64,
    /// When the last of them came (`CLOCK_MONOTONIC`, ns), where stamping is on.
    pub(crate) last: u64,
}
