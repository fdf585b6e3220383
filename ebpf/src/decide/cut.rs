//! The cut-off: beats everything but the management path.

use crate::{
    abi::{
        CUT_ALL_STAGED, CUT_ANY_MAC, CUT_ANY_NET, CUT_ANY_PREFIX, CUT_ANY_STAGED, CUT_STAGED, DIR_IN, MAC_ROUTER,
        MAX_MANAGEMENT, MacKey, NET_BOX, SLOT_STAGED, proto,
    },
    decide::{local, staged},
    packet::{CLASS_NDP, Packet, ethertype},
    reason::Reason,
    tables::{Addr, Tables},
};

/// ICMPv6 types (RFC 4861, 4.3 and 4.4).
const NEIGHBOUR_SOLICIT: u8 = 135;
const NEIGHBOUR_ADVERT: u8 = 136;

/// A reason number to drop by, or 0. One word is read when nothing is cut. Notes in the packet which slot refuses it, that
/// only the management path lets it through, or that it meets a cut that is restored in stages ([`staged`]).
#[inline(always)]
pub fn cut<T: Tables>(tables: &T, packet: &mut Packet) -> u32 {
    let word = tables.cut();
    if word.all == 0 && word.any == 0 {
        return 0;
    }
    let mut slot = 0;
    let mut reason = 0;
    // Of cuts that are restored in stages; what is cut whole beats them. Without the flag nothing is: whoever cuts by hand takes
    // it away.
    let stages = word.any & CUT_ANY_STAGED != 0;
    let mut stage = 0;
    if word.all == CUT_ALL_STAGED && stages {
        stage = Reason::CutAll as u32;
    } else if word.all != 0 {
        reason = Reason::CutAll as u32;
    }
    if reason == 0 && word.any & CUT_ANY_NET != 0 {
        let net = tables.cut_net(packet.net);
        if net == CUT_STAGED && stages {
            stage = Reason::CutNetwork as u32;
        } else if net != 0 {
            reason = Reason::CutNetwork as u32;
        }
    }
    if reason == 0 {
        if word.any & CUT_ANY_PREFIX != 0 {
            slot = tables.cut_addr(&packet.src);
            if !whole(slot) {
                slot = stricter(slot, tables.cut_addr(&packet.dst));
            }
        }
        if !whole(slot) && word.any & CUT_ANY_MAC != 0 {
            slot = stricter(slot, tables.cut_mac(&mac(packet)));
        }
        if whole(slot) || slot != 0 && !stages {
            reason = Reason::CutHost as u32;
        } else if slot != 0 {
            stage = Reason::CutHost as u32;
        }
    }
    packet.cut = slot & !SLOT_STAGED;
    if reason | stage != 0 && word.all != 2 && (managed(tables, packet) || finds_management(tables, packet)) {
        packet.by_management = 1;
        return 0;
    }
    if reason != 0 {
        return reason;
    }
    if stage != 0 {
        packet.staged = stage as u8;
    } else if stages {
        packet.staged = staged::ELSEWHERE;
    }
    0
}

/// Whether a prefix or MAC with this slot is cut whole.
#[inline(always)]
const fn whole(slot: u32) -> bool {
    slot != 0 && slot & SLOT_STAGED == 0
}

/// The slot that is cut whole, if one of both is; else one that is restored in stages.
#[inline(always)]
const fn stricter(one: u32, other: u32) -> u32 {
    if whole(other) || one == 0 { other } else { one }
}

/// The reason of a packet that passed, with the management path named where it alone let the packet through a cut: what is
/// counted as passing a cut object otherwise must stand still.
#[inline(always)]
pub fn named(packet: &Packet, reason: u32) -> u32 {
    if packet.by_management != 0 && reason < Reason::NoPolicy as u32 { Reason::Management as u32 } else { reason }
}

/// The MAC on the interface's side.
#[inline(always)]
fn mac(packet: &Packet) -> [u8; 6] {
    if packet.direction == DIR_IN { packet.src_mac } else { packet.dst_mac }
}

/// Whether the packet travels a management path, in either direction.
#[inline(always)]
pub fn managed<T: Tables>(tables: &T, packet: &Packet) -> bool {
    if packet.proto != proto::TCP {
        return false;
    }
    let (peer, own, port) = if packet.direction == DIR_IN {
        (&packet.src, &packet.dst, packet.dport)
    } else {
        (&packet.dst, &packet.src, packet.sport)
    };
    // The way to the box, not through it.
    let entry = tables.addr(packet.generation, own);
    // SAFETY: not null, so the table vouches for it until the decision returns.
    if entry.is_null() || unsafe { (*entry).owner } != NET_BOX {
        return false;
    }
    let mut index = 0;
    while index < MAX_MANAGEMENT as u32 {
        let entry = tables.management(index);
        index += 1;
        if entry.is_null() {
            return false;
        }
        // SAFETY: not null, so the table vouches for it until the decision returns.
        let entry = unsafe { &*entry };
        if entry.used == 0 {
            return false;
        }
        if entry.iface == packet.iface && entry.port == port && within(peer, &entry.addr, &entry.mask) {
            return true;
        }
    }
    false
}

/// Whether the packet is how the box and a management path's far end, or a listed router before it, find each other's MAC:
/// without it the path would last as long as a neighbour entry does. Only on an interface with a management path.
#[inline(always)]
fn finds_management<T: Tables>(tables: &T, packet: &Packet) -> bool {
    let arp = packet.ethertype == ethertype::ARP;
    let asks = packet.icmp_type == NEIGHBOUR_SOLICIT;
    let discovery = packet.class == CLASS_NDP && (asks || packet.icmp_type == NEIGHBOUR_ADVERT);
    if !(arp || discovery && local::well_formed(packet)) {
        return false;
    }
    let coming = packet.direction == DIR_IN;
    // Who lives beyond the interface, and who here.
    let (peer, own) = if arp {
        if coming { (&packet.src, &packet.dst) } else { (&packet.dst, &packet.src) }
    } else if asks {
        if coming { (&packet.src, &packet.target) } else { (&packet.target, &packet.src) }
    } else if coming {
        (&packet.target, &packet.dst)
    } else {
        (&packet.dst, &packet.target)
    };
    let entry = tables.addr(packet.generation, own);
    // SAFETY: not null, so the table vouches for it until the decision returns.
    if entry.is_null() || unsafe { (*entry).owner } != NET_BOX {
        return false;
    }
    let listed = tables.mac(packet.generation, &MacKey { mac: mac(packet), net: packet.net });
    // SAFETY: as above.
    let router = !listed.is_null() && unsafe { (*listed).flags & MAC_ROUTER != 0 };
    let mut index = 0;
    while index < MAX_MANAGEMENT as u32 {
        let entry = tables.management(index);
        index += 1;
        if entry.is_null() {
            return false;
        }
        // SAFETY: as above.
        let entry = unsafe { &*entry };
        if entry.used == 0 {
            return false;
        }
        if entry.iface == packet.iface && (router || within(peer, &entry.addr, &entry.mask)) {
            return true;
        }
    }
    false
}

#[inline(always)]
fn within(addr: &Addr, network: &Addr, mask: &Addr) -> bool {
    let mut i = 0;
    let mut difference = 0;
    while i < 16 {
        difference |= (addr[i] & mask[i]) ^ network[i];
        i += 1;
    }
    difference == 0
}
