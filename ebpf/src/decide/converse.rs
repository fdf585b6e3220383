//! Steps 14 and 15 and their mirror: the view decides, or the rules do and open one.

use crate::{
    abi::{
        DIR_IN, NET_BOX, ROLE_BOX_IN, ROLE_BOX_OUT, ROLE_INITIATOR, ROLE_RESPONDER, RULE_LOG, STATE_ESTABLISHED,
        STATE_OPENING, View, ViewKey, proto,
    },
    decide::{
        flow,
        identity::device_towards,
        limit, quarantine,
        rules::{self, Answer, Cursor, Question},
        staged,
    },
    detect, mark,
    packet::{Packet, tcp},
    reason::Reason,
    tables::Tables,
};

/// Room for what does not fit on the kernel's stack.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Work {
    /// The view's key.
    pub key: ViewKey,
    /// The rules' question.
    pub question: Question,
    /// The rules' answer.
    pub answer: Answer,
    /// The walk through the rules.
    pub cursor: Cursor,
    /// A view about to be inserted.
    pub view: View,
}

/// The packet is no error and its key is its own.
pub const OWN: u32 = 0;
/// The packet is an ICMP error and `work.key` is the quoted packet's.
pub const QUOTED: u32 = 1;

/// Judges a packet by its view, or by the rules. `what`: [`OWN`] or [`QUOTED`]. `opens`: the role of a view it may open here,
/// 0 if it may open none; then, without a view, it has no flow. `found`: the live view of `work.key`, or null.
///
/// # Safety
/// `found` is null, or readable and writable until the decision returns.
#[inline(always)]
pub unsafe fn converse<T: Tables>(
    tables: &T,
    packet: &mut Packet,
    work: &mut Work,
    found: *mut View,
    what: u32,
    opens: u8,
) -> u32 {
    let refused = Reason::NoFlow as u32;
    let mut role = 0;
    if !found.is_null() {
        // SAFETY: not null, so the table vouches for it until the decision returns.
        let view = unsafe { &mut *found };
        let again = what == OWN
            && packet.proto == proto::TCP
            && side_of(view.role, packet.direction) == 0
            && crate::tcp::restarts(view, packet);
        // A box-opened view cannot stand where another conversation now has its translated tuple.
        let usurped = view.role == ROLE_BOX_OUT && packet.came_from != 0 && packet.direction != DIR_IN;
        if !again && !usurped {
            role = view.role;
        }
    }
    if what == QUOTED && role == 0 {
        return Reason::IcmpUnrelated as u32;
    }
    if role == ROLE_RESPONDER && packet.direction == DIR_IN {
        // SAFETY: a role was read from it above.
        return proven_reply(tables, packet, &work.key, unsafe { &mut *found }, what);
    }
    if role == ROLE_RESPONDER {
        // Only a forward mark leads out here; the caller has dealt with it.
        return refused;
    }

    let mut stale = false;
    let mut adopting = false;
    if role != 0 {
        // SAFETY: as above.
        let view = unsafe { &*found };
        stale = view.generation != packet.generation
            || packet.now >= view.deadline
            || quarantine::refused(tables, packet, view.rule, view.slot) != 0;
    } else {
        if packet.proto == proto::TCP {
            adopting = adoptable(tables, packet);
        }
        if opens == 0 && !adopting {
            return refused;
        }
        if flow::echo_reply(packet) {
            return Reason::NoFlow as u32;
        }
        if packet.proto == proto::TCP && !adopting {
            let verdict = opening_segment(packet);
            if verdict != 0 {
                return verdict;
            }
        }
    }

    let mut acting = if role != 0 { role } else { opens };
    let mut swapped = false;
    if role == 0 || stale {
        // A way out that may open nothing is asked only the swapped question.
        if acting == 0 {
            acting = ROLE_INITIATOR;
            swapped = true;
        }
        let device = if acting == ROLE_BOX_OUT {
            0
        } else if packet.direction == DIR_IN {
            packet.device
        } else {
            device_towards(tables, packet)
        };
        let echo = role != 0 || flow::conversational(packet);
        flow::question(&mut work.question, &work.key, acting, packet, device, echo);
        let mut turn = 0;
        while turn < 2 {
            turn += 1;
            tables.judge(work);
            if work.answer.reason == Reason::Rule as u32 || !adopting || swapped {
                break;
            }
            swapped = true;
            swap(tables, &work.key, acting, packet, &mut work.question);
        }
        if work.answer.reason != Reason::Rule as u32 {
            let unanswered =
                work.answer.reason == Reason::NoRule as u32 || work.answer.reason == Reason::RuleClosed as u32;
            if packet.quarantine != 0 && unanswered {
                // The view stays: what has not timed out when the host is released goes on.
                packet.out_rule = 0;
                return Reason::Quarantined as u32;
            }
            packet.out_rule =
                if work.answer.reason == Reason::RuleClosed as u32 { work.answer.rule as u32 + 1 } else { 0 };
            if role == 0 {
                return work.answer.reason;
            }
            tables.view_remove(&work.key, true);
            tables.view_remove(&work.key, false);
            return Reason::FlowEnded as u32;
        }
    }
    if packet.staged != 0 {
        let refused = unlisted(tables, packet, work, found, acting, role == 0 || stale);
        if refused != 0 {
            return refused;
        }
    }
    if stale && role == ROLE_BOX_OUT && work.answer.net != packet.net {
        return Reason::WrongWay as u32;
    }

    if role == 0 {
        return open(tables, packet, work, opens, adopting, swapped);
    }
    // SAFETY: as above.
    let view = unsafe { &mut *found };
    if stale {
        flow::permit(view, &work.answer, packet);
    }
    carry(tables, packet, &work.key, view, what)
}

/// Whether a permitted conversation meets a cut that is restored in stages and is not on the list: the reason, or 0. `asked`:
/// the rules were, just now; else `found` is the view that permits.
#[inline(always)]
fn unlisted<T: Tables>(
    tables: &T,
    packet: &mut Packet,
    work: &Work,
    found: *const View,
    acting: u8,
    asked: bool,
) -> u32 {
    let (net, rule, port);
    if asked {
        (net, rule, port) = (work.answer.net, work.answer.rule, work.question.port);
    } else {
        // SAFETY: the rules were not asked, because the caller read a role from it.
        (net, rule) = unsafe { ((*found).net, (*found).rule) };
        port = staged::port(packet, &work.key, acting == ROLE_BOX_OUT);
    }
    tables.unlisted(packet, &work.key, net, rule, port)
}

/// 0 if a packet of this direction comes from the view's initiator, else 1.
#[inline(always)]
const fn side_of(role: u8, direction: u32) -> u32 {
    let incoming = direction == DIR_IN;
    let opened_outwards = role == ROLE_BOX_OUT || role == ROLE_RESPONDER;
    (incoming == opened_outwards) as u32
}

/// Whether a mid-stream segment may open a flow now (first attachment).
#[inline(always)]
fn adoptable<T: Tables>(tables: &T, packet: &Packet) -> bool {
    let f = packet.tcp_flags;
    if f & tcp::ACK == 0 || f & (tcp::SYN | tcp::RST) != 0 {
        return false;
    }
    let settings = tables.settings();
    if settings.is_null() {
        return false;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    packet.now < unsafe { (*settings).adopt_until }
}

/// A segment that would open a flow must be a bare SYN (RFC 9293 §3.5).
#[inline(always)]
fn opening_segment(packet: &Packet) -> u32 {
    let f = packet.tcp_flags;
    if f & tcp::SYN == 0 || f & tcp::ACK != 0 {
        return Reason::TcpNotSyn as u32;
    }
    if packet.payload != 0 {
        return Reason::TcpSynData as u32;
    }
    0
}

/// Turns the question around: was this packet the answer to something the rules permit?
#[inline(always)]
fn swap<T: Tables>(tables: &T, key: &ViewKey, acting: u8, packet: &Packet, question: &mut Question) {
    if acting == ROLE_BOX_OUT {
        question.from = packet.net;
        question.src = key.peer;
        question.dst = key.far;
        question.port = key.far_port;
        question.device = device_towards(tables, packet);
        return;
    }
    question.src = key.far;
    question.dst = key.peer;
    question.port = key.peer_port;
    let entry = tables.addr(packet.generation, &key.far);
    if entry.is_null() {
        question.from = 0;
        return;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    question.from = unsafe { (*entry).owner };
    question.device = tables.binding(packet.generation, &key.far);
}

/// A reply to something that was let out here; the initiator's view judges it on its way on.
#[inline(always)]
fn proven_reply<T: Tables>(tables: &T, packet: &mut Packet, key: &ViewKey, view: &mut View, what: u32) -> u32 {
    packet.out_mark = mark::encode(mark::KIND_REPLY, packet.generation, view.net, view.rule);
    // The other view cannot see who answers behind a translated address.
    let refused = quarantine::refused(tables, packet, view.rule, view.slot);
    if refused != 0 {
        return refused;
    }
    if staged::held(packet) {
        // It meets the list where it leaves.
        packet.staged = staged::LISTED;
    }
    if what == QUOTED {
        return Reason::Related as u32;
    }
    identified(tables, view, packet);
    if key.proto == proto::TCP {
        let f = packet.tcp_flags;
        if view.state == STATE_OPENING && f & tcp::SYN != 0 && f & tcp::ACK != 0 {
            view.tcp[1].flags = crate::abi::SIDE_SEEN;
        }
    } else {
        if (key.proto == proto::ICMP || key.proto == proto::ICMPV6) && !flow::echo_reply(packet) {
            return Reason::NoFlow as u32;
        }
        if view.state != STATE_OPENING {
            flow::touch(view, packet.now);
            return Reason::Flow as u32;
        }
        view.state = STATE_ESTABLISHED;
        view.seen = packet.now;
        flow::promote(tables, key, view);
        return Reason::Flow as u32;
    }
    flow::touch(view, packet.now);
    Reason::Flow as u32
}

/// Whether the sending device's registration ends some day.
#[inline(always)]
fn expires<T: Tables>(tables: &T, packet: &Packet) -> bool {
    if packet.device == 0 {
        return false;
    }
    let device = tables.device(packet.generation, packet.device);
    // SAFETY: not null, so the table vouches for it until the decision returns.
    device.is_null() || unsafe { (*device).schedule } != 0
}

/// Opens the view that a permitted first packet (or an adopted one) makes here.
#[inline(always)]
fn open<T: Tables>(tables: &T, packet: &mut Packet, work: &mut Work, opens: u8, adopting: bool, swapped: bool) -> u32 {
    let Work { question, answer, view, .. } = &mut *work;
    let incoming = packet.direction == DIR_IN;
    let role = if incoming {
        if swapped {
            if question.from == NET_BOX { ROLE_BOX_OUT } else { ROLE_RESPONDER }
        } else if rules::for_box(answer) {
            ROLE_BOX_IN
        } else {
            ROLE_INITIATOR
        }
    } else if swapped {
        if opens == ROLE_BOX_OUT { ROLE_BOX_IN } else { ROLE_INITIATOR }
    } else {
        ROLE_BOX_OUT
    };
    // What the box sends, and what a swapped question lets in, must belong to this network.
    let outwards = role == ROLE_BOX_OUT || role == ROLE_RESPONDER;
    if outwards && answer.net != packet.net {
        return Reason::WrongWay as u32;
    }
    if role == ROLE_BOX_IN && !rules::for_box(answer) {
        return Reason::NotJudged as u32;
    }
    packet.out_rule = answer.rule as u32 + 1;
    packet.out_slot = answer.slot as u32 + 1;
    packet.out_side = side_of(role, packet.direction) + 1;
    packet.out_mark = marked(packet.generation, role, packet.direction, answer.net, answer.rule);
    let limited = limit::limited(answer.flags) && role != ROLE_RESPONDER;
    if !flow::conversational(packet) {
        if limited {
            let refused = tables.admit(work, packet.now, limit::ONE_WAY);
            if refused != 0 {
                return refused;
            }
        }
        return Reason::Rule as u32;
    }
    flow::fresh(view, role, packet);
    flow::permit(view, answer, packet);
    if incoming {
        identified(tables, view, packet);
    }
    if packet.proto == proto::TCP {
        if adopting {
            crate::tcp::adopt(view, packet, side_of(role, packet.direction) as usize);
        } else {
            crate::tcp::open(view, packet);
        }
    }
    if limited {
        let what = if adopting { limit::ADOPTS } else { limit::OPENS };
        let refused = tables.admit(work, packet.now, what);
        if refused != 0 {
            return refused;
        }
    } else {
        // A view of this key in the other room is dead or restarted; it must not be found first.
        tables.view_remove(&work.key, !adopting);
        if !tables.view_insert(&work.key, &work.view, adopting) {
            return Reason::TableFull as u32;
        }
    }
    packet.out_opened = if work.answer.flags & RULE_LOG != 0 { 2 } else { 1 };
    if adopting { Reason::Adopted as u32 } else { Reason::Rule as u32 }
}

/// The mark of a packet that passes by a view of this role.
#[inline(always)]
pub fn marked(generation: u32, role: u8, direction: u32, net: u16, rule: u16) -> u32 {
    let kind = if role == ROLE_INITIATOR {
        if direction == DIR_IN { mark::KIND_FORWARD } else { mark::KIND_REPLY }
    } else if role == ROLE_RESPONDER {
        mark::KIND_REPLY
    } else {
        mark::KIND_LOCAL
    };
    mark::encode(kind, generation, net, rule)
}

/// A packet of a flow that is judged here and still permitted.
#[inline(always)]
fn carry<T: Tables>(tables: &T, packet: &mut Packet, key: &ViewKey, view: &mut View, what: u32) -> u32 {
    let side = side_of(view.role, packet.direction);
    packet.out_rule = view.rule as u32 + 1;
    packet.out_slot = view.slot as u32 + 1;
    packet.out_side = side + 1;
    packet.out_mark = marked(packet.generation, view.role, packet.direction, view.net, view.rule);
    note_contact(packet, view, side, what);
    if what == QUOTED {
        // The quoted packet travelled the other way.
        let sent = key.proto != proto::TCP || crate::tcp::may_have_sent(view, side ^ 1, packet.quoted_seq);
        return if sent { Reason::Related as u32 } else { Reason::IcmpUnrelated as u32 };
    }
    let opening = view.state == STATE_OPENING;
    if key.proto == proto::TCP {
        let verdict = tables.track(view, packet, side);
        if verdict != 0 {
            return verdict;
        }
    } else if key.proto == proto::ICMP || key.proto == proto::ICMPV6 {
        if flow::echo_reply(packet) != (side == 1) {
            return Reason::NoFlow as u32;
        }
        view.state = if side == 1 { STATE_ESTABLISHED } else { view.state };
    } else if side == 1 {
        view.state = STATE_ESTABLISHED;
    }
    // A SYN nobody may be left to answer does not keep an old conversation alive.
    let knock = key.proto == proto::TCP && packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN;
    if !knock {
        flow::touch(view, packet.now);
    }
    if packet.direction == DIR_IN {
        identified(tables, view, packet);
    }
    if opening && view.state == STATE_ESTABLISHED {
        view.seen = packet.now;
        flow::promote(tables, key, view);
    } else if packet.direction != DIR_IN && view.role == ROLE_INITIATOR {
        tables.link(packet, view, ROLE_RESPONDER);
    }
    Reason::Flow as u32
}

/// Notes what the packet says of an inside host's attempt, for the detectors.
#[inline(always)]
fn note_contact(packet: &mut Packet, view: &View, side: u32, what: u32) {
    if view.state != STATE_OPENING || view.role != ROLE_INITIATOR {
        return;
    }
    packet.contact = if side == 0 {
        detect::CONTACT_UNANSWERED
    } else if what == QUOTED || packet.proto == proto::TCP && packet.tcp_flags & tcp::RST != 0 {
        detect::CONTACT_REFUSED
    } else {
        detect::CONTACT_ANSWERED
    };
}

/// Remembers that *Identity* let this MAC speak here under this generation. Not of a device whose registration ends: that is
/// asked every time, because the view's deadline need not speak of it.
#[inline(always)]
fn identified<T: Tables>(tables: &T, view: &mut View, packet: &Packet) {
    if (view.mac_generation != packet.generation || view.mac != packet.src_mac) && !expires(tables, packet) {
        view.mac = packet.src_mac;
        view.mac_generation = packet.generation;
    }
}
