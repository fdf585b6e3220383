//! Traffic no administrator names: the built-in set (steps 2, 3, 9 and 10, and their mirror on the way out).

use crate::{
    abi::{
        BUILTIN_ARP, BUILTIN_LACP_SHIFT, BUILTIN_LLDP_SHIFT, BUILTIN_MLD, BUILTIN_NDP, BUILTIN_STP_SHIFT, BUILTIN_VRRP,
        L2_DROP, L2_FORWARD, MAC_ROUTER, MacKey, NET_BOX, NET_FLAG_DHCP_CLIENT, NET_FLAG_DHCP_SERVER,
        NET_FLAG_RA_CLIENT, NET_FLAG_RA_SERVER, NET_FLAG_ROUTERS, NET_FLAG_ZONE,
    },
    packet::{CLASS_DHCP_REPLY, CLASS_DHCP_REQUEST, CLASS_MLD, CLASS_NDP, CLASS_VRRP, FRAG_NONE, Packet, ethertype},
    parse::{is_v4, link_local, unspecified},
    reason::Reason,
    tables::{Addr, Tables},
};

/// The packet is none of these: go on.
pub const NOT_LOCAL: u32 = 0;

/// Bridge control protocols and unknown EtherTypes. [`NOT_LOCAL`] for ARP, IPv4 and IPv6. `forwarding`: on the way out,
/// coming from another guarded port.
#[inline(always)]
pub fn link_control(packet: &Packet, builtin: u32, forwarding: bool) -> u32 {
    let shift = if packet.ethertype < 0x600 && packet.dst_mac == [1, 0x80, 0xc2, 0, 0, 0] {
        BUILTIN_STP_SHIFT
    } else if packet.ethertype == ethertype::SLOW {
        BUILTIN_LACP_SHIFT
    } else if packet.ethertype == ethertype::LLDP {
        BUILTIN_LLDP_SHIFT
    } else if packet.ethertype == ethertype::IPV4 || packet.ethertype == ethertype::IPV6 {
        return NOT_LOCAL;
    } else if packet.ethertype == ethertype::ARP {
        return if builtin & BUILTIN_ARP != 0 { NOT_LOCAL } else { Reason::UnknownEtherType as u32 };
    } else {
        return Reason::UnknownEtherType as u32;
    };
    let choice = (builtin >> shift) & 3;
    if choice == L2_DROP || (forwarding && choice != L2_FORWARD) {
        return Reason::L2Control as u32;
    }
    Reason::Builtin as u32
}

/// ARP coming in.
#[inline(always)]
pub fn arp_in<T: Tables>(tables: &T, packet: &mut Packet) -> u32 {
    // A probe (RFC 5227) has no sender address yet.
    if packet.src[12..16] == [0; 4] {
        return Reason::Builtin as u32;
    }
    let sender = packet.src;
    let verdict = tables.identity(packet, &sender);
    if verdict != 0 { verdict } else { Reason::Builtin as u32 }
}

/// Whether the sender is a router of this zone or network.
#[inline(always)]
pub fn from_router<T: Tables>(tables: &T, packet: &Packet) -> bool {
    let mac = tables.mac(packet.generation, &MacKey { mac: packet.src_mac, net: packet.net });
    if mac.is_null() {
        return false;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    unsafe { (*mac).flags & MAC_ROUTER != 0 }
}

#[inline(always)]
fn owner<T: Tables>(tables: &T, generation: u32, addr: &Addr) -> u16 {
    let entry = tables.addr(generation, addr);
    if entry.is_null() {
        return 0;
    }
    // SAFETY: as above.
    unsafe { (*entry).owner }
}

/// Neighbour discovery, MLD, IGMP, DHCP and VRRP coming in (steps 9 and 10).
#[inline(always)]
pub fn control_in<T: Tables>(tables: &T, packet: &mut Packet, builtin: u32, net: u32) -> u32 {
    let zone = net & NET_FLAG_ZONE != 0;
    match packet.class {
        CLASS_NDP => ndp_in(tables, packet, builtin, net),
        CLASS_MLD => {
            if zone && builtin & BUILTIN_MLD != 0 && packet.frag == FRAG_NONE {
                Reason::Builtin as u32
            } else {
                Reason::Multicast as u32
            }
        }
        CLASS_DHCP_REQUEST if net & NET_FLAG_DHCP_SERVER != 0 => dhcp_request(tables, packet),

        CLASS_DHCP_REPLY if net & NET_FLAG_DHCP_CLIENT != 0 => {
            if net & NET_FLAG_ROUTERS == 0 || from_router(tables, packet) { Reason::Builtin as u32 } else { NOT_LOCAL }
        }
        CLASS_VRRP => {
            if builtin & BUILTIN_VRRP != 0 && vrrp_form(packet) && from_router(tables, packet) {
                Reason::Builtin as u32
            } else {
                NOT_LOCAL
            }
        }
        _ => NOT_LOCAL,
    }
}

#[inline(always)]
fn dhcp_request<T: Tables>(tables: &T, packet: &Packet) -> u32 {
    if packet.family == 6 {
        let servers = packet.dst == [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2];
        return if servers && link_local(&packet.src) { Reason::Builtin as u32 } else { NOT_LOCAL };
    }
    let nobody = packet.src[12..16] == [0; 4];
    let here = nobody || owner(tables, packet.generation, &packet.src) == packet.net;
    let broadcast = packet.dst[12..16] == [0xff; 4];
    if here && (broadcast || owner(tables, packet.generation, &packet.dst) == NET_BOX) {
        return Reason::Builtin as u32;
    }
    NOT_LOCAL
}

#[inline(always)]
fn ndp_in<T: Tables>(tables: &T, packet: &mut Packet, builtin: u32, net: u32) -> u32 {
    let refused = Reason::Ndp as u32;
    if builtin & BUILTIN_NDP == 0 || !well_formed(packet) {
        return refused;
    }
    let src = packet.src;
    let here = !unspecified(&src) && owner(tables, packet.generation, &src) == packet.net;
    match packet.icmp_type {
        134 => {
            let trusted = net & NET_FLAG_RA_CLIENT != 0 && net & NET_FLAG_ZONE == 0 && link_local(&src);
            return if trusted && from_router(tables, packet) { Reason::Builtin as u32 } else { refused };
        }
        133 => {
            let zone = net & NET_FLAG_ZONE != 0;
            if !zone || !(unspecified(&src) || link_local(&src) || here) {
                return refused;
            }
        }
        _ => {
            let target = packet.target;
            let home = owner(tables, packet.generation, &target);
            let question = packet.icmp_type == 135;
            // Across a bridge, what is asked for lives at the other port; only an answer must be about this one.
            if !(question || link_local(&target) || home == packet.net || home == NET_BOX) {
                return refused;
            }
            if !((question && unspecified(&src)) || link_local(&src) || here) {
                return refused;
            }
            if packet.icmp_type == 136 && !link_local(&target) {
                if home == NET_BOX {
                    // Nobody else answers for the box.
                    return Reason::OwnAddress as u32;
                }
                let verdict = tables.identity(packet, &target);
                if verdict != 0 {
                    return verdict;
                }
            }
        }
    }
    if here && !link_local(&src) && !unspecified(&src) {
        let verdict = tables.identity(packet, &src);
        if verdict != 0 {
            return verdict;
        }
    }
    Reason::Builtin as u32
}

/// RFC 4861 §6.1 and §7.1, RFC 6980 (no fragments).
#[inline(always)]
pub fn well_formed(packet: &Packet) -> bool {
    let least = match packet.icmp_type {
        133 => 8,
        134 => 16,
        _ => 24,
    };
    packet.ttl == 255
        && packet.icmp_code == 0
        && packet.frag == FRAG_NONE
        && packet.extensions == 0
        && packet.l4_len >= least
        && (packet.icmp_type < 135 || packet.target[0] != 0xff)
}

/// RFC 9568 §5.1: the group, and a TTL no router has touched.
#[inline(always)]
fn vrrp_form(packet: &Packet) -> bool {
    let group = if packet.family == 4 {
        packet.dst[12..16] == [224, 0, 0, 18]
    } else {
        packet.dst == [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12]
    };
    group && packet.ttl == 255 && packet.frag == FRAG_NONE
}

/// The box's own control traffic going out.
#[inline(always)]
pub fn control_out(packet: &Packet, builtin: u32, net: u32) -> u32 {
    let allowed = match packet.class {
        CLASS_NDP => {
            let fine = builtin & BUILTIN_NDP != 0
                && well_formed(packet)
                && (packet.icmp_type != 134 || net & NET_FLAG_RA_SERVER != 0);
            // No rule lets discovery out that the built-in refuses.
            return if fine { Reason::Builtin as u32 } else { Reason::Ndp as u32 };
        }
        CLASS_MLD => builtin & BUILTIN_MLD != 0,
        CLASS_DHCP_REQUEST => net & NET_FLAG_DHCP_CLIENT != 0,
        CLASS_DHCP_REPLY => net & NET_FLAG_DHCP_SERVER != 0,
        CLASS_VRRP => builtin & BUILTIN_VRRP != 0 && vrrp_form(packet),
        _ => false,
    };
    if allowed { Reason::Builtin as u32 } else { NOT_LOCAL }
}

/// Whether the packet is a control packet that a bridge may pass on once the way in has judged it.
#[inline(always)]
pub fn bridged_control(packet: &Packet) -> bool {
    packet.ethertype == ethertype::ARP
        || packet.class == CLASS_NDP
        || packet.class == CLASS_MLD
        || packet.class == CLASS_DHCP_REQUEST
        || packet.class == CLASS_DHCP_REPLY
        || packet.class == CLASS_VRRP
}

/// Multicast or limited broadcast.
#[inline(always)]
pub fn to_many(addr: &Addr) -> bool {
    if is_v4(addr) { addr[12] & 0xf0 == 0xe0 || addr[12..16] == [0xff; 4] } else { addr[0] == 0xff }
}
