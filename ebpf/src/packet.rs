//! What the parser found in one frame: a flat record that the decision reads and writes.
//!
//! It lives in a per-CPU scratch map in the kernel, because 512 bytes of stack do not hold it.

use crate::tables::Addr;

/// One frame, parsed. Integers in host order, addresses as 16 bytes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Packet {
    /// `CLOCK_BOOTTIME` nanoseconds: the `now` of the decision.
    pub now: u64,
    /// Kernel index of the guarded interface.
    pub ifindex: u32,
    /// Way out only: kernel index of the interface the packet came in by, 0 for the box itself.
    pub came_from: u32,
    /// Way out only: the socket buffer's mark.
    pub mark: u32,
    /// Bytes on the wire.
    pub len: u32,
    /// [`crate::abi::DIR_IN`] or [`crate::abi::DIR_OUT`].
    pub direction: u32,
    /// Packets the kernel merged into this one (1 if none).
    pub segments: u32,
    /// First error of layer 2, as a reason number; 0 for none.
    pub l2_error: u32,
    /// First error above layer 2.
    pub l3_error: u32,
    /// The generation this packet is judged by.
    pub generation: u32,
    /// Position of the transport header.
    pub l4_offset: u32,
    /// Bytes from the transport header to the end of the packet, as IP says.
    pub l4_len: u32,
    /// Source address; ARP: sender.
    pub src: Addr,
    /// Destination address; ARP: target.
    pub dst: Addr,
    /// Neighbour discovery: the target.
    pub target: Addr,
    /// ICMP error: source of the quoted packet.
    pub quoted_src: Addr,
    /// ICMP error: destination of the quoted packet.
    pub quoted_dst: Addr,
    /// ICMP error: TCP sequence number of the quoted packet.
    pub quoted_seq: u32,
    /// ICMP error: source port (echo: identifier) of the quoted packet.
    pub quoted_sport: u16,
    /// ICMP error: destination port (echo: identifier) of the quoted packet.
    pub quoted_dport: u16,
    /// TCP sequence number.
    pub seq: u32,
    /// TCP acknowledgement.
    pub ack: u32,
    /// TCP payload bytes.
    pub payload: u32,
    /// Fragment identification.
    pub frag_id: u32,
    /// Fragment: first byte of this piece in the datagram's payload.
    pub frag_start: u32,
    /// Fragment: bytes of this piece.
    pub frag_len: u32,
    /// TCP window, unscaled.
    pub window: u16,
    /// Source port; echo: identifier.
    pub sport: u16,
    /// Destination port; echo: identifier; other ICMP: `type << 8 | code`.
    pub dport: u16,
    /// EtherType behind the tags, or the 802.3 length.
    pub ethertype: u16,
    /// Outer VLAN id.
    pub outer: u16,
    /// Inner VLAN id.
    pub inner: u16,
    /// Destination MAC.
    pub dst_mac: [u8; 6],
    /// Source MAC.
    pub src_mac: [u8; 6],
    /// Zone or network of (interface, tags).
    pub net: u16,
    /// [`crate::abi::IfaceEntry::id`].
    pub iface: u16,
    /// IP protocol.
    pub proto: u8,
    /// 4, 6, or 0.
    pub family: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// [`FRAG_NONE`], [`FRAG_FIRST`] or [`FRAG_LATER`].
    pub frag: u8,
    /// 1 if more fragments follow.
    pub frag_more: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// TCP window scale option, [`NO_SCALE`] if absent.
    pub scale: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// ICMP error: protocol of the quoted packet, 0 if it could not be read.
    pub quoted_proto: u8,
    /// [`CLASS_PLAIN`] and the others.
    pub class: u8,
    /// IPv6: extension headers were present.
    pub extensions: u8,
    /// ARP operation.
    pub arp_op: u8,
    /// IPv4 or IPv6 without options or extension headers, whole, TCP or UDP but not DHCP, to one receiver: what an
    /// unlisted source is refused for before anything else. 1 if so.
    pub ordinary: u8,
    /// The source was seen to be listed, or to be somebody else's business. 1 if so.
    pub glanced: u8,
    /// Fast path: [`crate::abi::OUT_ROUTED`], [`crate::abi::OUT_BRIDGED`] or 0.
    pub out_mode: u8,
    /// Decision: 1 if only the management path lets it through a cut-off.
    pub by_management: u8,
    /// Decision: what the packet says of an attempt; see [`crate::detect`].
    pub contact: u8,
    /// Decision: what cuts that are restored in stages mean for it; see [`crate::decide::staged`].
    pub staged: u8,
    /// Zero.
    pub pad: u8,
    /// Decision: slot of the quarantine its source, destination or MAC is in; 0 for none.
    pub quarantine: u16,
    /// Fast path: VLAN id to leave with.
    pub out_tag: u16,
    /// Fast path: zone or network to count the way out for.
    pub out_net: u16,
    /// Fast path: the transport checksum, as it lies in the frame.
    pub sum: u16,
    /// Fast path: kernel index of the guarded interface to leave by.
    pub out_ifindex: u32,
    /// Fast path: kernel index of the device the stack would route it as coming from.
    pub routed: u32,

    /// Decision: device that sent the packet.
    pub device: u32,
    /// Decision: stable slot of the rule plus one, 0 for none.
    pub out_slot: u32,
    /// Decision: the mark to hand on, unshifted; see [`crate::mark`].
    pub out_mark: u32,
    /// Decision: 1 if the packet counts in the rule's initiator direction, 2 in the other.
    pub out_side: u32,
    /// Decision: 1 if a flow was opened, 2 if its rule also wants an event.
    pub out_opened: u32,
    /// Decision: index of the rule plus one, 0 for none.
    pub out_rule: u32,
    /// Decision: under which slot a cut host's or prefix's refused packets count; 0 for none.
    pub cut: u32,
    /// Zero.
    pub pad2: u32,
}

/// Not a fragment (or an atomic one).
pub const FRAG_NONE: u8 = 0;
/// Offset 0, more to come.
pub const FRAG_FIRST: u8 = 1;
/// Any other.
pub const FRAG_LATER: u8 = 2;
/// No window scale option.
pub const NO_SCALE: u8 = 0xff;

/// An ordinary packet.
pub const CLASS_PLAIN: u8 = 0;
/// ICMPv6 133-136.
pub const CLASS_NDP: u8 = 1;
/// MLD or IGMP.
pub const CLASS_MLD: u8 = 2;
/// An ICMP error.
pub const CLASS_ICMP_ERROR: u8 = 3;
/// DHCP or DHCPv6, client to server.
pub const CLASS_DHCP_REQUEST: u8 = 4;
/// DHCP or DHCPv6, server to client.
pub const CLASS_DHCP_REPLY: u8 = 5;
/// VRRP.
pub const CLASS_VRRP: u8 = 6;

/// TCP flag bits.
pub mod tcp {
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
}

/// EtherTypes.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// LACP and other slow protocols (IEEE 802.3 annex 57A).
    pub const SLOW: u16 = 0x8809;
    /// LLDP.
    pub const LLDP: u16 = 0x88cc;
}
