//! The way in (XDP).

use crate::{
    abi::{ADDR_BROADCAST, BUILTIN_ICMP_ERRORS, IFACE_GUARDED, NET_BOX, ROLE_INITIATOR},
    decide::{
        converse::{OWN, QUOTED, Work},
        fast, flow, local, place,
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
    let cut = tables.cut();
    if packet.ordinary != 0 && packet.glanced == 0 && cut.all | cut.any == 0 {
        let src = packet.src;
        if fast::unlisted(tables, packet, &src) {
            return Reason::Unlisted as u32;
        }
    }
    if packet.l3_error != 0 {
        return packet.l3_error;
    }
    let verdict = tables.cut_off(packet);
    if verdict != 0 {
        return verdict;
    }
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
    if packet.frag == FRAG_FIRST && passes(reason) {
        let verdict = tables.first_fragment(packet);
        if verdict != 0 {
            return verdict;
        }
    }
    reason
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
