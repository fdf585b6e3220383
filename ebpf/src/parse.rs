//! From bytes to a [`Packet`]: layers 2 to 4 and everything that is wrong with a packet on its own.
//!
//! `docs/ARCHITECTURE.md`, steps 1, 2 and 4 to 7. Nothing here asks a table; the first error of layer 2 and the first
//! above it are kept apart, because the decision looks up the interface's network between them.

use crate::{
    abi::proto,
    bytes::{Bytes, MAX_OFFSET, u16_at},
    packet::{
        CLASS_DHCP_REPLY, CLASS_DHCP_REQUEST, CLASS_ICMP_ERROR, CLASS_MLD, CLASS_NDP, CLASS_PLAIN, CLASS_VRRP,
        FRAG_FIRST, FRAG_LATER, FRAG_NONE, NO_SCALE, Packet, ethertype, tcp,
    },
    reason::Reason,
    tables::Addr,
};

/// Extension headers an IPv6 packet may have.
pub const MAX_EXTENSIONS: usize = 6;

const NO_ERROR: u32 = 0;

/// Parses a frame. `tag` is a VLAN id that the kernel took out of the bytes already, 0 for none.
///
/// The caller has set `now`, `ifindex`, `came_from`, `mark`, `direction`, `len` and `segments`.
#[inline(always)]
pub fn parse<B: Bytes>(bytes: &B, tag: u16, packet: &mut Packet) {
    packet.l2_error = NO_ERROR;
    packet.l3_error = NO_ERROR;
    packet.outer = 0;
    packet.inner = 0;
    packet.ethertype = 0;
    packet.family = 0;
    packet.proto = 0;
    packet.frag = FRAG_NONE;
    packet.frag_more = 0;
    packet.class = CLASS_PLAIN;
    packet.extensions = 0;
    packet.quoted_proto = 0;
    packet.tcp_flags = 0;
    packet.icmp_type = 0;
    packet.icmp_code = 0;
    packet.sport = 0;
    packet.dport = 0;
    packet.src = [0; 16];
    packet.dst = [0; 16];
    packet.ordinary = 0;

    let offset = match link_layer(bytes, tag, packet) {
        Ok(offset) => offset,
        Err(reason) => {
            packet.l2_error = reason;
            return;
        }
    };
    let result = if packet.ethertype == ethertype::IPV4 {
        ipv4(bytes, offset, packet)
    } else if packet.ethertype == ethertype::IPV6 {
        ipv6(bytes, offset, packet)
    } else if packet.ethertype == ethertype::ARP {
        arp(bytes, offset, packet)
    } else {
        Ok(())
    };
    if let Err(reason) = result {
        packet.l3_error = reason;
    }
}

/// Reason numbers, because an enum in a signature gives debug information the kernel refuses.
type Checked<T> = Result<T, u32>;

#[inline(always)]
const fn no(reason: Reason) -> u32 {
    reason as u32
}

#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    ethertype == 0x8100 || ethertype == 0x88a8 || ethertype == 0x9100
}

#[inline(always)]
fn link_layer<B: Bytes>(bytes: &B, tag: u16, packet: &mut Packet) -> Checked<usize> {
    let Some(dst) = bytes.get::<6>(0) else {
        return Err(no(Reason::Truncated));
    };
    let Some(src) = bytes.get::<6>(6) else {
        return Err(no(Reason::Truncated));
    };
    let Some(mut kind) = u16_at(bytes, 12) else {
        return Err(no(Reason::Truncated));
    };
    packet.dst_mac = dst;
    packet.src_mac = src;
    if src[0] & 1 != 0 || src == [0; 6] {
        return Err(no(Reason::BadSourceMac));
    }
    let mut offset = 14;
    let mut depth = 0;
    if tag != 0 {
        packet.outer = tag & 0xfff;
        depth = 1;
    }
    let mut turn = 0;
    while turn < 2 {
        turn += 1;
        if !is_tag(kind) || depth == 2 {
            break;
        }
        let Some(tci) = u16_at(bytes, offset) else {
            return Err(no(Reason::Truncated));
        };
        let Some(next) = u16_at(bytes, offset + 2) else {
            return Err(no(Reason::Truncated));
        };
        if depth == 0 {
            packet.outer = tci & 0xfff;
        } else {
            packet.inner = tci & 0xfff;
        }
        depth += 1;
        kind = next;
        offset += 4;
    }
    if is_tag(kind) {
        return Err(no(Reason::VlanTooDeep));
    }
    // A priority tag (id 0) in front of a real one says nothing about the VLAN.
    if packet.outer == 0 {
        packet.outer = packet.inner;
        packet.inner = 0;
    }
    packet.ethertype = kind;
    Ok(offset)
}

/// RFC 826 over Ethernet and IPv4.
#[inline(always)]
fn arp<B: Bytes>(bytes: &B, offset: usize, packet: &mut Packet) -> Checked<()> {
    let Some(head) = bytes.get::<8>(offset) else {
        return Err(no(Reason::Arp));
    };
    let Some(sender) = bytes.get::<6>(offset + 8) else {
        return Err(no(Reason::Arp));
    };
    let Some(source) = bytes.get::<4>(offset + 14) else {
        return Err(no(Reason::Arp));
    };
    let Some(target) = bytes.get::<4>(offset + 24) else {
        return Err(no(Reason::Arp));
    };
    if head[0..6] != [0, 1, 8, 0, 6, 4] || head[6] != 0 || head[7] == 0 || head[7] > 2 {
        return Err(no(Reason::Arp));
    }
    if sender != packet.src_mac {
        return Err(no(Reason::Arp));
    }
    packet.arp_op = head[7];
    packet.src = mapped(source);
    packet.dst = mapped(target);
    let martian =
        source[0] == 127 || source[0] >= 224 || source[..2] == [169, 254] || (source[0] == 0 && source != [0; 4]);
    if martian || (source == [0; 4] && head[7] != 1) {
        return Err(no(Reason::Arp));
    }
    Ok(())
}

/// `::ffff:a.b.c.d`.
#[inline(always)]
pub fn mapped(v4: [u8; 4]) -> Addr {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

#[inline(always)]
fn ipv4<B: Bytes>(bytes: &B, offset: usize, packet: &mut Packet) -> Checked<()> {
    let Some(head) = bytes.get::<20>(offset) else {
        return Err(no(Reason::Truncated));
    };
    if let Some(ports) = bytes.get::<8>(offset + 20)
        && ordinary_v4(
            head[0],
            [head[6], head[7]],
            head[9],
            head[16],
            u32::from_be_bytes([ports[0], ports[1], ports[2], ports[3]]),
        )
    {
        packet.ordinary = 1;
        packet.proto = head[9];
        packet.src = mapped([head[12], head[13], head[14], head[15]]);
        packet.dst = mapped([head[16], head[17], head[18], head[19]]);
        packet.sport = u16::from_be_bytes([ports[0], ports[1]]);
        packet.dport = u16::from_be_bytes([ports[2], ports[3]]);
    }
    let header = ((head[0] & 0xf) as usize) * 4;
    let total = u16::from_be_bytes([head[2], head[3]]) as usize;
    if head[0] >> 4 != 4 || header < 20 || total < header || total > bytes.wire_len() - offset {
        return Err(no(Reason::Ipv4Header));
    }
    let protocol = head[9];
    let mut sum: u32 = 0;
    let mut i = 0;
    while i < 20 {
        sum += u16::from_be_bytes([head[i], head[i + 1]]) as u32;
        i += 2;
    }
    if header != 20 {
        // Router alert is how IGMP is sent (RFC 2236 §2); nothing else needs an option.
        let alert = bytes.get::<4>(offset + 20);
        if header != 24 || protocol != proto::IGMP || alert != Some([0x94, 4, 0, 0]) {
            return Err(no(Reason::Ipv4Options));
        }
        sum += 0x9404;
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    let fragment = u16::from_be_bytes([head[6], head[7]]);
    if sum != 0xffff || fragment & 0x8000 != 0 {
        return Err(no(Reason::Ipv4Header));
    }
    packet.family = 4;
    packet.proto = protocol;
    packet.ttl = head[8];
    packet.src = mapped([head[12], head[13], head[14], head[15]]);
    packet.dst = mapped([head[16], head[17], head[18], head[19]]);
    packet.l4_offset = (offset + header) as u32;
    packet.l4_len = (total - header) as u32;
    addresses_v4(packet)?;
    let start = ((fragment & 0x1fff) as u32) * 8;
    let more = fragment & 0x2000 != 0;
    if start != 0 || more {
        packet.frag_id = u16::from_be_bytes([head[4], head[5]]) as u32;
        fragment_piece(packet, start, more)?;
    }
    transport(bytes, offset + header, packet)
}

/// Whether the ports (source in the upper half) are these two, in either order.
#[inline(always)]
const fn between(ports: u32, client: u32, server: u32) -> bool {
    ports == client << 16 | server || ports == server << 16 | client
}

/// [`Packet::ordinary`] of an IPv4 packet: first byte, the field of flags and offset, protocol, the destination's first byte,
/// and the four bytes behind the header.
#[inline(always)]
pub const fn ordinary_v4(first: u8, fragment: [u8; 2], protocol: u8, to: u8, ports: u32) -> bool {
    first == 0x45
        && fragment[0] & 0xbf == 0
        && fragment[1] == 0
        && to < 224
        && (protocol == proto::TCP || (protocol == proto::UDP && !between(ports, 68, 67)))
}

/// [`Packet::ordinary`] of an IPv6 packet: first byte, next header, the destination's first byte, and the four bytes behind
/// the header.
#[inline(always)]
pub const fn ordinary_v6(first: u8, next: u8, to: u8, ports: u32) -> bool {
    first >> 4 == 6 && to != 0xff && (next == proto::TCP || (next == proto::UDP && !between(ports, 546, 547)))
}

/// Addresses that must not appear on a wire (RFC 6890; `docs/ARCHITECTURE.md` step 5).
#[inline(always)]
fn addresses_v4(packet: &mut Packet) -> Checked<()> {
    let s = [packet.src[12], packet.src[13], packet.src[14], packet.src[15]];
    let d = [packet.dst[12], packet.dst[13], packet.dst[14], packet.dst[15]];
    let broadcast = d == [0xff; 4];
    // 0.0.0.0 asks for an address: whether it really is DHCP is seen behind the transport header.
    let asking = s == [0; 4] && broadcast && packet.proto == proto::UDP;
    let bad_source = (s[0] == 0 && !asking) || s[0] == 127 || s[0] >= 224 || (s[0] == 169 && s[1] == 254);
    let bad_destination = d[0] == 0 || d[0] == 127 || (d[0] >= 240 && !broadcast) || (d[0] == 169 && d[1] == 254);
    if bad_source || bad_destination {
        return Err(no(Reason::Martian));
    }
    if s == d {
        return Err(no(Reason::Land));
    }
    Ok(())
}

#[inline(always)]
fn ipv6<B: Bytes>(bytes: &B, offset: usize, packet: &mut Packet) -> Checked<()> {
    let Some(head) = bytes.get::<8>(offset) else {
        return Err(no(Reason::Truncated));
    };
    let Some(src) = bytes.get::<16>(offset + 8) else {
        return Err(no(Reason::Truncated));
    };
    let Some(dst) = bytes.get::<16>(offset + 24) else {
        return Err(no(Reason::Truncated));
    };
    if let Some(ports) = bytes.get::<8>(offset + 40)
        && ordinary_v6(head[0], head[6], dst[0], u32::from_be_bytes([ports[0], ports[1], ports[2], ports[3]]))
    {
        packet.ordinary = 1;
        packet.proto = head[6];
        packet.src = src;
        packet.dst = dst;
        packet.sport = u16::from_be_bytes([ports[0], ports[1]]);
        packet.dport = u16::from_be_bytes([ports[2], ports[3]]);
    }
    let length = u16::from_be_bytes([head[4], head[5]]) as usize;
    if head[0] >> 4 != 6 || length + 40 > bytes.wire_len() - offset || (length == 0 && head[6] == 0) {
        return Err(no(Reason::Ipv6Header));
    }
    packet.family = 6;
    packet.ttl = head[7];
    packet.src = src;
    packet.dst = dst;
    let end = offset + 40 + length;

    let mut next = head[6];
    let mut at = offset + 40;
    let mut destination_options = 0;
    let mut fragmented = false;
    let mut piece_start = 0u32;
    let mut piece_more = false;
    let mut done = false;
    let mut turn = 0;
    while turn <= MAX_EXTENSIONS {
        turn += 1;
        let hop_by_hop = next == 0;
        let destination = next == 60;
        let fragment = next == 44;
        if !(hop_by_hop || destination || fragment) {
            done = true;
            break;
        }
        // A later fragment holds nothing of the chain any more.
        if fragmented && piece_start != 0 {
            done = true;
            break;
        }
        if turn > MAX_EXTENSIONS {
            break;
        }
        let Some(h) = bytes.get::<8>(at) else {
            return Err(no(Reason::Ipv6Extension));
        };
        let size = if fragment { 8 } else { (h[1] as usize + 1) * 8 };
        if at + size > end {
            return Err(no(Reason::Ipv6Extension));
        }
        if hop_by_hop && turn != 1 {
            return Err(no(Reason::Ipv6Extension));
        }
        if destination {
            destination_options += 1;
            if destination_options > 2 {
                return Err(no(Reason::Ipv6Extension));
            }
        }
        if fragment {
            if fragmented {
                return Err(no(Reason::FragmentNested));
            }
            fragmented = true;
            let field = u16::from_be_bytes([h[2], h[3]]);
            piece_start = (field & 0xfff8) as u32;
            piece_more = field & 1 != 0;
            packet.frag_id = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
        }
        packet.extensions = 1;
        next = h[0];
        at += size;
        if at > MAX_OFFSET {
            return Err(no(Reason::Ipv6Extension));
        }
    }
    // Routing (43), authentication (51), no next header (59), mobility (135), HIP (139), shim6 (140), experiments (253, 254).
    let forbidden = matches!(next, 43 | 51 | 59 | 135 | 139 | 140 | 253 | 254);
    if !done || (forbidden && piece_start == 0) {
        return Err(no(Reason::Ipv6Extension));
    }
    packet.proto = next;
    packet.l4_offset = at as u32;
    packet.l4_len = (end - at) as u32;
    addresses_v6(packet)?;
    if fragmented && (piece_start != 0 || piece_more) {
        fragment_piece(packet, piece_start, piece_more)?;
    }
    transport(bytes, at, packet)
}

#[inline(always)]
fn addresses_v6(packet: &mut Packet) -> Checked<()> {
    let s = &packet.src;
    let d = &packet.dst;
    if bad_v6(s) || bad_v6(d) || s[0] == 0xff || unspecified(d) {
        return Err(no(Reason::Martian));
    }
    if s == d {
        return Err(no(Reason::Land));
    }
    Ok(())
}

/// `::`.
#[inline(always)]
pub fn unspecified(a: &Addr) -> bool {
    *a == [0; 16]
}

/// fe80::/10.
#[inline(always)]
pub fn link_local(a: &Addr) -> bool {
    a[0] == 0xfe && a[1] & 0xc0 == 0x80
}

/// An IPv4 address in its 16-byte form.
#[inline(always)]
pub fn is_v4(a: &Addr) -> bool {
    a[0..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
}

/// Never on a wire, in either place: loopback, mapped and compatible, 6to4, NAT64, site-local. `::` is judged later.
#[inline(always)]
fn bad_v6(a: &Addr) -> bool {
    let low = a[0..10] == [0; 10];
    let embedded = low && ((a[10] == 0xff && a[11] == 0xff) || (a[10] == 0 && a[11] == 0 && a[12..16] != [0; 4]));
    let six_to_four = a[0] == 0x20 && a[1] == 0x02;
    let nat64 = a[0..12] == [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];
    let site_local = a[0] == 0xfe && a[1] & 0xc0 == 0xc0;
    embedded || six_to_four || nat64 || site_local
}

/// Records a piece of a datagram; RFC 1858, RFC 3128, RFC 8200 §4.5.
#[inline(always)]
fn fragment_piece(packet: &mut Packet, start: u32, more: bool) -> Checked<()> {
    packet.frag = if start == 0 { FRAG_FIRST } else { FRAG_LATER };
    packet.frag_more = more as u8;
    packet.frag_start = start;
    packet.frag_len = packet.l4_len;
    if packet.l4_len == 0 || (more && !packet.l4_len.is_multiple_of(8)) {
        return Err(no(Reason::FragmentTiny));
    }
    if start + packet.l4_len > 65_535 {
        return Err(no(Reason::FragmentBounds));
    }
    Ok(())
}

#[inline(always)]
fn transport<B: Bytes>(bytes: &B, at: usize, packet: &mut Packet) -> Checked<()> {
    if packet.frag == FRAG_LATER {
        // Its ports are somebody's payload. A source that is only fine in a control protocol is not fine here.
        return uncontrolled(packet);
    }
    let need = match packet.proto {
        proto::TCP => 20,
        _ => 8,
    };
    if packet.frag == FRAG_FIRST && packet.l4_len < need {
        return Err(no(Reason::FragmentTiny));
    }
    match packet.proto {
        proto::TCP => tcp_header(bytes, at, packet)?,
        proto::UDP => udp_header(bytes, at, packet)?,
        proto::ICMP if packet.family == 4 => icmp_header(bytes, at, packet)?,
        proto::ICMPV6 if packet.family == 6 => icmp_header(bytes, at, packet)?,
        // ICMP of the other family is nothing anybody sends.
        proto::ICMP | proto::ICMPV6 => return Err(no(Reason::L4Header)),
        proto::IGMP if packet.family == 4 => packet.class = CLASS_MLD,
        proto::VRRP => packet.class = CLASS_VRRP,
        _ => {}
    }
    uncontrolled(packet)
}

/// Addresses that only control protocols may use: `::`, link-local, and 0.0.0.0 of a DHCP client.
#[inline(always)]
fn uncontrolled(packet: &Packet) -> Checked<()> {
    let class = if packet.frag == FRAG_LATER { CLASS_PLAIN } else { packet.class };
    if packet.family == 4 {
        if packet.src[12..16] == [0; 4] && class != CLASS_DHCP_REQUEST {
            return Err(no(Reason::Martian));
        }
        return Ok(());
    }
    if unspecified(&packet.src) && class != CLASS_NDP && class != CLASS_MLD {
        return Err(no(Reason::Martian));
    }
    let local = link_local(&packet.src) || link_local(&packet.dst);
    if local && (class == CLASS_PLAIN || class == CLASS_ICMP_ERROR) {
        return Err(no(Reason::Martian));
    }
    Ok(())
}

#[inline(always)]
fn tcp_header<B: Bytes>(bytes: &B, at: usize, packet: &mut Packet) -> Checked<()> {
    let Some(h) = bytes.get::<20>(at) else {
        return Err(no(Reason::L4Header));
    };
    let header = ((h[12] >> 4) as u32) * 4;
    if packet.l4_len < 20 || header < 20 || header > packet.l4_len {
        return Err(no(Reason::L4Header));
    }
    packet.sport = u16::from_be_bytes([h[0], h[1]]);
    packet.dport = u16::from_be_bytes([h[2], h[3]]);
    packet.seq = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
    packet.ack = u32::from_be_bytes([h[8], h[9], h[10], h[11]]);
    packet.window = u16::from_be_bytes([h[14], h[15]]);
    packet.tcp_flags = h[13];
    packet.payload = packet.l4_len - header;
    packet.scale = NO_SCALE;
    if packet.sport == 0 || packet.dport == 0 {
        return Err(no(Reason::PortZero));
    }
    let f = h[13];
    let syn = f & tcp::SYN != 0;
    let fin = f & tcp::FIN != 0;
    let rst = f & tcp::RST != 0;
    let ack = f & tcp::ACK != 0;
    let impossible = f & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == 0
        || (syn && (fin || rst))
        || (fin && rst)
        || (fin && !ack)
        || (f & (tcp::URG | tcp::PSH) != 0 && !ack && !rst);
    if impossible {
        return Err(no(Reason::TcpFlags));
    }
    if syn && header > 20 {
        packet.scale = window_scale(bytes, at + 20, (header - 20) as usize);
    }
    Ok(())
}

/// The window scale option of a SYN (RFC 7323 §2.2), capped at 14.
#[inline(always)]
fn window_scale<B: Bytes>(bytes: &B, at: usize, len: usize) -> u8 {
    let mut i = 0;
    let mut turn = 0;
    while turn < 12 {
        turn += 1;
        if i >= len {
            return NO_SCALE;
        }
        let Some([kind]) = bytes.get::<1>(at + i) else {
            return NO_SCALE;
        };
        if kind == 0 {
            return NO_SCALE;
        }
        if kind == 1 {
            i += 1;
            continue;
        }
        let Some([size]) = bytes.get::<1>(at + i + 1) else {
            return NO_SCALE;
        };
        if kind == 3 {
            if size != 3 || i + 3 > len {
                return NO_SCALE;
            }
            let Some([shift]) = bytes.get::<1>(at + i + 2) else {
                return NO_SCALE;
            };
            return if shift > 14 { 14 } else { shift };
        }
        if size < 2 {
            return NO_SCALE;
        }
        i += (size & 0x3f) as usize;
    }
    NO_SCALE
}

#[inline(always)]
fn udp_header<B: Bytes>(bytes: &B, at: usize, packet: &mut Packet) -> Checked<()> {
    let Some(h) = bytes.get::<8>(at) else {
        return Err(no(Reason::L4Header));
    };
    let length = u16::from_be_bytes([h[4], h[5]]) as u32;
    // Also where the kernel merged datagrams: it then writes the whole length (udp_gro_complete, udp_send_skb).
    let lies = packet.frag == FRAG_NONE && length != packet.l4_len;
    if packet.l4_len < 8 || length < 8 || lies {
        return Err(no(Reason::L4Header));
    }
    packet.sport = u16::from_be_bytes([h[0], h[1]]);
    packet.dport = u16::from_be_bytes([h[2], h[3]]);
    if packet.sport == 0 || packet.dport == 0 {
        return Err(no(Reason::PortZero));
    }
    let (client, server) = if packet.family == 4 { (68, 67) } else { (546, 547) };
    if packet.frag == FRAG_NONE {
        if packet.sport == client && packet.dport == server {
            packet.class = CLASS_DHCP_REQUEST;
        } else if packet.sport == server && packet.dport == client {
            packet.class = CLASS_DHCP_REPLY;
        }
    }
    Ok(())
}

#[inline(always)]
fn icmp_header<B: Bytes>(bytes: &B, at: usize, packet: &mut Packet) -> Checked<()> {
    let Some(h) = bytes.get::<8>(at) else {
        return Err(no(Reason::L4Header));
    };
    if packet.l4_len < 8 {
        return Err(no(Reason::L4Header));
    }
    packet.icmp_type = h[0];
    packet.icmp_code = h[1];
    let v4 = packet.family == 4;
    let never = if v4 {
        matches!(h[0], 4 | 5 | 9 | 10 | 17 | 18)
    } else {
        // Redirect, router renumbering, node information, inverse discovery, mobile prefixes, certification paths.
        matches!(h[0], 137..=142 | 144..=149)
    };
    if never {
        return Err(no(Reason::IcmpType));
    }
    let echo = if v4 { h[0] == 8 || h[0] == 0 } else { h[0] == 128 || h[0] == 129 };
    if echo && h[1] != 0 {
        return Err(no(Reason::IcmpType));
    }
    if echo {
        packet.sport = u16::from_be_bytes([h[4], h[5]]);
        packet.dport = packet.sport;
        return Ok(());
    }
    packet.dport = u16::from_be_bytes([h[0], h[1]]);
    if !v4 && matches!(h[0], 133..=136) {
        packet.class = CLASS_NDP;
        if let Some(target) = bytes.get::<16>(at + 8) {
            packet.target = target;
        } else {
            packet.target = [0; 16];
        }
    } else if !v4 && matches!(h[0], 130..=132 | 143) {
        packet.class = CLASS_MLD;
    } else if (v4 && matches!(h[0], 3 | 11 | 12)) || (!v4 && matches!(h[0], 1..=4)) {
        packet.class = CLASS_ICMP_ERROR;
        if packet.frag == FRAG_NONE {
            let too_big = if v4 { h[0] == 3 && h[1] == 4 } else { h[0] == 2 };
            let mtu = u32::from_be_bytes(if v4 { [0, 0, h[6], h[7]] } else { [h[4], h[5], h[6], h[7]] });
            // A path MTU below what every link must carry is an attack (RFC 791, RFC 8200 §5).
            if !too_big || mtu >= if v4 { 68 } else { 1280 } {
                quoted(bytes, at + 8, packet);
            }
        }
    }
    Ok(())
}

/// Reads the packet an ICMP error quotes; leaves `quoted_proto` at 0 if it is not one we could have let out.
#[inline(always)]
fn quoted<B: Bytes>(bytes: &B, at: usize, packet: &mut Packet) {
    let protocol;
    let l4;
    if packet.family == 4 {
        let Some(h) = bytes.get::<20>(at) else { return };
        let fragment = u16::from_be_bytes([h[6], h[7]]);
        if h[0] != 0x45 || fragment & 0x1fff != 0 || packet.l4_len < 8 + 28 {
            return;
        }
        protocol = h[9];
        packet.quoted_src = mapped([h[12], h[13], h[14], h[15]]);
        packet.quoted_dst = mapped([h[16], h[17], h[18], h[19]]);
        l4 = at + 20;
    } else {
        let Some(h) = bytes.get::<8>(at) else { return };
        let Some(src) = bytes.get::<16>(at + 8) else {
            return;
        };
        let Some(dst) = bytes.get::<16>(at + 24) else {
            return;
        };
        if h[0] >> 4 != 6 || packet.l4_len < 8 + 48 {
            return;
        }
        protocol = h[6];
        packet.quoted_src = src;
        packet.quoted_dst = dst;
        l4 = at + 40;
    }
    let Some(h) = bytes.get::<8>(l4) else { return };
    match protocol {
        proto::TCP | proto::UDP => {
            packet.quoted_sport = u16::from_be_bytes([h[0], h[1]]);
            packet.quoted_dport = u16::from_be_bytes([h[2], h[3]]);
            packet.quoted_seq = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
        }
        proto::ICMP | proto::ICMPV6 => {
            let echo = if packet.family == 4 { h[0] == 8 || h[0] == 0 } else { h[0] == 128 || h[0] == 129 };
            // Never an error about an error (RFC 1122 §3.2.2, RFC 4443 §2.4 e).
            if !echo {
                return;
            }
            packet.quoted_sport = u16::from_be_bytes([h[4], h[5]]);
            packet.quoted_dport = packet.quoted_sport;
        }
        _ => {
            packet.quoted_sport = 0;
            packet.quoted_dport = 0;
        }
    }
    packet.quoted_proto = protocol;
}
