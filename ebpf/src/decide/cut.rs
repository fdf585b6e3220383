//! The cut-off: beats everything but the management path.

use crate::{
    abi::{CUT_ANY_MAC, CUT_ANY_NET, CUT_ANY_PREFIX, DIR_IN, MAX_MANAGEMENT, NET_BOX, proto},
    packet::Packet,
    reason::Reason,
    tables::{Addr, Tables},
};

/// A reason number to drop by, or 0. One word is read when nothing is cut.
#[inline(always)]
pub fn cut<T: Tables>(tables: &T, packet: &Packet) -> u32 {
    let word = tables.cut();
    if word.all == 0 && word.any == 0 {
        return 0;
    }
    let reason = if word.all != 0 {
        Reason::CutAll as u32
    } else if word.any & CUT_ANY_NET != 0 && tables.cut_net(packet.net) {
        Reason::CutNetwork as u32
    } else if (word.any & CUT_ANY_PREFIX != 0 && (tables.cut_addr(&packet.src) || tables.cut_addr(&packet.dst)))
        || (word.any & CUT_ANY_MAC != 0 && tables.cut_mac(&mac(packet)))
    {
        Reason::CutHost as u32
    } else {
        0
    };
    if reason != 0 && word.all != 2 && managed(tables, packet) {
        return 0;
    }
    reason
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
