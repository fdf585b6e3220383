//! The way out (TCX egress).

use crate::{
    abi::{
        BUILTIN_ICMP_ERRORS, BUILTIN_RESETS, IFACE_DERIVED, IFACE_GUARDED, NET_BOX, NET_FLAG_DHCP_CLIENT,
        NET_FLAG_RA_CLIENT, ROLE_BOX_OUT, ROLE_INITIATOR, ROLE_RESPONDER, RULE_PUBLISHED, RULE_WORDS, SIDE_SEEN,
        STATE_CLOSED, STATE_CLOSING, STATE_ESTABLISHED, STATE_OPENING, View, proto, service_index,
    },
    decide::{
        converse::{OWN, QUOTED, Work},
        cut, flow,
        ingress::{passes, to_many},
        local, place, quarantine,
    },
    mark,
    packet::{CLASS_ICMP_ERROR, CLASS_PLAIN, FRAG_FIRST, FRAG_LATER, Packet, ethertype, tcp},
    reason::Reason,
    tables::Tables,
};

/// Where a packet on its way out came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Box,
    Guarded,
    Unguarded,
}

/// Judges a parsed packet that leaves by a guarded interface; `packet.mark` is the unshifted mark. Returns the reason's
/// number.
#[inline(always)]
pub fn egress<T: Tables>(tables: &T, packet: &mut Packet, work: &mut Work) -> u32 {
    let reason = judge(tables, packet, work);
    cut::named(packet, reason)
}

#[inline(always)]
fn judge<T: Tables>(tables: &T, packet: &mut Packet, work: &mut Work) -> u32 {
    let origin = origin(tables, packet);
    let active = tables.in_force();
    packet.generation = active.generation;
    if origin == Origin::Guarded
        && mark::kind(packet.mark) != mark::KIND_NONE
        && active.base > 1
        && packet.generation & 1 != mark::parity(packet.mark)
    {
        // A switch fell between the way in and the way out: finish by the tables it was judged by.
        packet.generation = active.base - 1;
    }
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

    let control = local::link_control(packet, builtin, origin != Origin::Box);
    if control != local::NOT_LOCAL && control != Reason::Builtin as u32 {
        return control;
    }
    if packet.l3_error != 0 {
        return packet.l3_error;
    }
    if origin == Origin::Unguarded {
        return Reason::UnguardedSource as u32;
    }
    if origin == Origin::Guarded && mark::kind(packet.mark) == mark::KIND_NONE {
        return Reason::NotJudged as u32;
    }
    let verdict = tables.cut_off(packet);
    if verdict != 0 {
        return verdict;
    }
    quarantine::note(tables, packet);
    if control != local::NOT_LOCAL {
        return control;
    }
    if origin == Origin::Guarded && mark::kind(packet.mark) == mark::KIND_LOCAL {
        return if local::bridged_control(packet) { Reason::Builtin as u32 } else { Reason::NotJudged as u32 };
    }
    if origin == Origin::Box {
        if packet.ethertype == ethertype::ARP {
            return Reason::Builtin as u32;
        }
        if packet.class != CLASS_PLAIN && packet.class != CLASS_ICMP_ERROR {
            let verdict = local::control_out(packet, builtin, net_flags);
            if verdict != local::NOT_LOCAL {
                return verdict;
            }
        }
    }
    if to_many(tables, packet) {
        return Reason::Multicast as u32;
    }
    if packet.frag == FRAG_LATER {
        return tables.later_fragment(packet);
    }
    let reason = leave(tables, packet, work, builtin, net_flags, origin);
    if packet.frag == FRAG_FIRST && passes(reason) {
        let verdict = tables.first_fragment(packet);
        if verdict != 0 {
            return verdict;
        }
    }
    reason
}

#[inline(always)]
fn origin<T: Tables>(tables: &T, packet: &Packet) -> Origin {
    if packet.came_from == 0 {
        return Origin::Box;
    }
    let iface = tables.iface(packet.came_from);
    if iface.is_null() {
        return Origin::Unguarded;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let flags = unsafe { (*iface).flags };
    if flags & (IFACE_GUARDED | IFACE_DERIVED) != 0 { Origin::Guarded } else { Origin::Unguarded }
}

#[inline(always)]
fn leave<T: Tables>(
    tables: &T,
    packet: &mut Packet,
    work: &mut Work,
    builtin: u32,
    net_flags: u32,
    origin: Origin,
) -> u32 {
    let from_box = origin == Origin::Box;
    let mut what = OWN;
    flow::key_out(packet, &mut work.key);
    if packet.class == CLASS_ICMP_ERROR {
        if builtin & BUILTIN_ICMP_ERRORS == 0 || packet.quoted_proto == 0 || packet.quoted_src != packet.dst {
            return Reason::IcmpUnrelated as u32;
        }
        // The quoted packet came in here.
        flow::key_quoted(packet, false, &mut work.key);
        what = QUOTED;
    }

    let found = flow::live(tables, &work.key, packet.now);
    let mut role = 0;
    if !found.is_null() {
        // SAFETY: not null, so the table vouches for it until the decision returns.
        role = unsafe { (*found).role };
    }
    if what == QUOTED && role == ROLE_RESPONDER {
        // An error about a reply, from the initiator's side or from the box.
        return related(tables, packet, work, found);
    }
    let outwards = role == 0 || role == ROLE_RESPONDER || (role == ROLE_BOX_OUT && !from_box);
    if what == OWN && !from_box && outwards && mark::kind(packet.mark) == mark::KIND_FORWARD {
        return tables.forward(packet, work, found);
    }
    if from_box && what == OWN && role != 0 && packet.tcp_flags & tcp::RST != 0 && packet.proto == proto::TCP {
        let own = role == ROLE_BOX_OUT || role == crate::abi::ROLE_BOX_IN;
        if !own {
            return if builtin & BUILTIN_RESETS != 0 {
                related(tables, packet, work, found)
            } else {
                Reason::NoFlow as u32
            };
        }
    }
    if from_box && what == OWN && (role == ROLE_RESPONDER || role == ROLE_INITIATOR) {
        // The box speaking for one end of somebody else's conversation.
        return Reason::NoFlow as u32;
    }
    if from_box && what == OWN && role == 0 && !own_source(tables, packet, net_flags) {
        // A container on a guarded port looks like the box, but for its address.
        return Reason::SpoofedSource as u32;
    }
    let opens = if from_box && what == OWN { ROLE_BOX_OUT } else { 0 };
    tables.converse(packet, work, found, what, opens)
}

/// About the conversation of a view that judges nothing itself.
#[inline(always)]
fn related<T: Tables>(tables: &T, packet: &mut Packet, work: &Work, view: *const View) -> u32 {
    // SAFETY: the caller read its role, so the table vouches for it until the decision returns.
    let (rule, slot, role) = unsafe { ((*view).rule, (*view).slot, (*view).role) };
    let mut refused = quarantine::refused(tables, packet, rule, slot);
    if refused == 0 {
        refused = tables.leaves_listed(packet, &work.key, role == ROLE_RESPONDER);
    }
    if refused != 0 { refused } else { Reason::Related as u32 }
}

/// Whether the source is one of the box's addresses, or, where an outside network hands them out, one of that network.
#[inline(always)]
fn own_source<T: Tables>(tables: &T, packet: &Packet, net_flags: u32) -> bool {
    let entry = tables.addr(packet.generation, &packet.src);
    if entry.is_null() {
        return false;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let owner = unsafe { (*entry).owner };
    let lent = if packet.family == 4 { NET_FLAG_DHCP_CLIENT } else { NET_FLAG_RA_CLIENT | NET_FLAG_DHCP_CLIENT };
    owner == NET_BOX || (owner == packet.net && net_flags & lent != 0)
}

/// Whether the packet's destination port is one of the rule's services.
#[inline(always)]
fn served<T: Tables>(tables: &T, packet: &Packet, rule: u16) -> bool {
    let service = tables.service(packet.generation, service_index(packet.proto, packet.dport));
    let set = tables.set(packet.generation, service);
    if set.is_null() {
        return false;
    }
    let word = crate::bytes::opaque((rule >> 6) as usize) & (RULE_WORDS - 1);
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let word = unsafe { (&(*set).words)[word] };
    (word >> (rule & 63)) & 1 != 0
}

/// In the initiator's direction: the right network, the right server, and the responder's view.
///
/// # Safety
/// `found` is null, or readable and writable until the decision returns.
#[inline(always)]
pub unsafe fn forward<T: Tables>(tables: &T, packet: &mut Packet, work: &mut Work, found: *mut View) -> u32 {
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let role = if found.is_null() { 0 } else { unsafe { (*found).role } };
    if mark::net(packet.mark) != packet.net {
        return Reason::WrongWay as u32;
    }
    let number = mark::rule(packet.mark);
    let rule = tables.rule(packet.generation, number);
    if rule.is_null() {
        return Reason::Internal as u32;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let rule = unsafe { &*rule };
    if rule.flags & RULE_PUBLISHED != 0 {
        let port = if rule.real_port == 0 { served(tables, packet, number) } else { rule.real_port == packet.dport };
        if rule.real_addr != packet.dst || !port {
            return Reason::WrongServer as u32;
        }
    }
    let refused = quarantine::refused(tables, packet, number, rule.slot as u16);
    if refused != 0 {
        return refused;
    }
    let refused = tables.leaves_listed(packet, &work.key, true);
    if refused != 0 {
        return refused;
    }
    if !flow::conversational(packet) {
        return Reason::Flow as u32;
    }
    let f = packet.tcp_flags;
    if role == ROLE_RESPONDER {
        // SAFETY: a role was read from it, so it is not null.
        let view = unsafe { &mut *found };
        let restart = packet.proto == proto::TCP
            && f & (tcp::SYN | tcp::ACK) == tcp::SYN
            && (view.state == STATE_CLOSED || view.state == STATE_CLOSING);
        if !restart {
            view.rule = number;
            view.slot = rule.slot as u16;
            view.generation = packet.generation;
            if packet.proto == proto::TCP {
                if view.state == STATE_OPENING && f & tcp::SYN == 0 && view.tcp[1].flags & SIDE_SEEN != 0 {
                    view.state = STATE_ESTABLISHED;
                    view.seen = packet.now;
                    flow::promote(tables, &work.key, view);
                    return Reason::Flow as u32;
                }
                if view.state == STATE_ESTABLISHED && f & (tcp::FIN | tcp::RST) != 0 {
                    view.state = STATE_CLOSING;
                }
            }
            flow::touch(view, packet.now);
            tables.link(packet, view, ROLE_INITIATOR);
            return Reason::Flow as u32;
        }
    }
    let midstream = packet.proto == proto::TCP && f & tcp::SYN == 0;
    flow::fresh(&mut work.view, ROLE_RESPONDER, packet);
    work.view.rule = number;
    work.view.slot = rule.slot as u16;
    work.view.net = packet.net;
    if midstream {
        // The way in has judged the flow: it was adopted, or it moved here from another line of the same network.
        work.view.state = STATE_ESTABLISHED;
    }
    tables.view_remove(&work.key, !midstream);
    if !tables.view_insert(&work.key, &work.view, midstream) {
        return Reason::TableFull as u32;
    }
    Reason::Flow as u32
}
