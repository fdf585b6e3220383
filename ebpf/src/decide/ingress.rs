//! The way in (XDP).

use crate::{
    abi::{ADDR_BROADCAST, ADDR_LISTED, ADDR_OPENS, BUILTIN_ICMP_ERRORS, IFACE_GUARDED, NET_BOX, ROLE_INITIATOR},
    decide::{
        converse::{OWN, QUOTED, Work},
        cut, fast, flow, local, place, quarantine, staged,
    },
    mark,
    packet::{CLASS_ICMP_ERROR, CLASS_PLAIN, FRAG_FIRST, FRAG_LATER, Packet, ethertype},
    reason::Reason,
    tables::Tables,
};

/// Judges a parsed packet that came in by a guarded interface. Returns the reason's number; the packet's `out_` fields
/// carry the rest.
#[inline(always)]
pub fn ingress<T: Tables>(tables: &T, packet: &mut Packet, work: &mut Work) -> u32 {
    let reason = judge(tables, packet, work);
    cut::named(packet, reason)
}

#[inline(always)]
fn judge<T: Tables>(tables: &T, packet: &mut Packet, work: &mut Work) -> u32 {
    packet.generation = tables.active();
    let verdict = place(tables, packet, IFACE_GUARDED);
    if verdict != 0 {
        return verdict;
    }
    let config = tables.config(packet.generation);
    let net = tables.net(packet.generation, packet.net);
    if config.is_null() || net.is_null() {
        return Reason::Internal as u32;
    }
    // SAFETY: neither is null, so the tables vouch for them until the decision returns.
    let (builtin, net_flags) = unsafe { ((*config).builtin, (*net).flags) };

    let control = local::link_control(packet, builtin, false);
    if control != local::NOT_LOCAL && control != Reason::Builtin as u32 {
        return control;
    }
    if packet.ordinary != 0 && packet.glanced == 0 {
        let verdict = without_business(tables, packet, work);
        if verdict != 0 {
            return verdict;
        }
    }
    if packet.l3_error != 0 {
        return packet.l3_error;
    }
    let verdict = tables.cut_off(packet);
    if verdict != 0 {
        return verdict;
    }
    quarantine::note(tables, packet);
    packet.out_mark = mark::encode(mark::KIND_LOCAL, packet.generation, NET_BOX, 0);
    if control != local::NOT_LOCAL {
        return control;
    }
    if packet.ethertype == ethertype::ARP {
        return local::arp_in(tables, packet);
    }
    if packet.class != CLASS_PLAIN && packet.class != CLASS_ICMP_ERROR {
        let verdict = tables.control_in(packet, builtin, net_flags);
        if verdict != local::NOT_LOCAL {
            return verdict;
        }
    }
    packet.out_mark = 0;
    if to_many(tables, packet) {
        return Reason::Multicast as u32;
    }
    let src = packet.src;
    let verdict = tables.identity(packet, &src);
    if verdict != 0 {
        return verdict;
    }
    if packet.frag == FRAG_LATER {
        return tables.later_fragment(packet);
    }
    let what = if packet.class == CLASS_ICMP_ERROR {
        if builtin & BUILTIN_ICMP_ERRORS == 0 || packet.quoted_proto == 0 || packet.quoted_src != packet.dst {
            return Reason::IcmpUnrelated as u32;
        }
        flow::key_quoted(packet, true, &mut work.key);
        QUOTED
    } else {
        flow::key_in(packet, &mut work.key);
        OWN
    };
    let found = flow::live(tables, &work.key, packet.now);
    let reason = tables.converse(packet, work, found, what, ROLE_INITIATOR);
    packet.out_mark = staged::signed(packet, packet.out_mark);
    if packet.frag == FRAG_FIRST && passes(reason) {
        let verdict = tables.first_fragment(packet);
        if verdict != 0 {
            return verdict;
        }
    }
    reason
}

/// Whether an ordinary packet comes from an address that no rule names, or from one that no rule lets begin anything and
/// that answers nothing. A reason number to drop by, or 0.
#[inline(always)]
fn without_business<T: Tables>(tables: &T, packet: &Packet, work: &mut Work) -> u32 {
    let cut = tables.cut();
    if cut.all | cut.any != 0 {
        return 0;
    }
    let flags = fast::business(tables, packet, tables.addr(packet.generation, &packet.src));
    if flags & ADDR_LISTED == 0 {
        return Reason::Unlisted as u32;
    }
    if flags & ADDR_OPENS != 0 || fast::adopting(tables, packet.now) {
        return 0;
    }
    flow::key_in(packet, &mut work.key);
    if flow::live(tables, &work.key, packet.now).is_null() { Reason::NoRule as u32 } else { 0 }
}

/// Whether one of the reasons [`converse`] gives is a passing one.
#[inline(always)]
pub fn passes(reason: u32) -> bool {
    reason < Reason::NoPolicy as u32
}

/// Multicast, limited broadcast, or the directed broadcast address of a configured prefix.
#[inline(always)]
pub fn to_many<T: Tables>(tables: &T, packet: &Packet) -> bool {
    if local::to_many(&packet.dst) {
        return true;
    }
    let entry = tables.addr(packet.generation, &packet.dst);
    if entry.is_null() {
        return false;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    unsafe { (*entry).flags & ADDR_BROADCAST != 0 }
}
