//! Steps of the decision as global BPF functions: the kernel verifies each once, on its own, with arguments it assumes
//! nothing about, instead of once for every path that leads to it.
//!
//! Their arguments are numbers and pointers to plain structs, which the kernel checks for null and size at each call.

use sekimori_ebpf::{
    abi::{Seat, View, ViewKey},
    classify::{self, v4, v6},
    decide::{
        converse::{self, Work},
        cut, egress, fast, fragment, identity, limit, local, quarantine, rules, staged,
    },
    detect::{self, Sight},
    packet::Packet,
    reason::Reason,
    tables::Addr,
};

use crate::maps::Maps;

/// Which rule permits it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_judge(work: *mut Work) -> u32 {
    // SAFETY: the kernel checked the pointer at the call, or it is null.
    let Some(work) = (unsafe { work.as_mut() }) else {
        return Reason::Internal as u32;
    };
    let Work { question, answer, cursor, .. } = work;
    rules::judge(&Maps, question, answer, cursor);
    0
}

/// What a conversation's packet gets.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_converse(
    packet: *mut Packet,
    work: *mut Work,
    found: *mut View,
    what: u32,
    opens: u32,
) -> u32 {
    // SAFETY: as above.
    let (Some(packet), Some(work)) = (unsafe { (packet.as_mut(), work.as_mut()) }) else {
        return Reason::Internal as u32;
    };
    // SAFETY: null, or a view the kernel checked at the call.
    unsafe { converse::converse(&Maps, packet, work, found, what, opens as u8) }
}

/// The way out in the initiator's direction.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_forward(packet: *mut Packet, work: *mut Work, found: *mut View) -> u32 {
    // SAFETY: as above.
    let (Some(packet), Some(work)) = (unsafe { (packet.as_mut(), work.as_mut()) }) else {
        return Reason::Internal as u32;
    };
    // SAFETY: as above.
    unsafe { egress::forward(&Maps, packet, work, found) }
}

/// What the way out teaches the way in.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_link(packet: *const Packet, near: *mut View, role: u32) -> u32 {
    // SAFETY: as above.
    if let (Some(packet), Some(near)) = unsafe { (packet.as_ref(), near.as_mut()) } {
        fast::link(&Maps, packet, near, role as u8);
    }
    0
}

/// The next rule all six classes satisfy.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_next_match(cursor: *mut rules::Cursor) -> u32 {
    // SAFETY: as above.
    let Some(cursor) = (unsafe { cursor.as_mut() }) else { return rules::BROKEN };
    rules::next_match(&Maps, cursor)
}

/// When a schedule that is open now closes.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_open_until(generation: u32, schedule: u32, now: u64) -> u64 {
    rules::open_until(&Maps, generation, schedule, now)
}

/// Who sent it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_identity(packet: *mut Packet, addr: *const Addr) -> u32 {
    // SAFETY: as above.
    let (Some(packet), Some(addr)) = (unsafe { (packet.as_mut(), addr.as_ref()) }) else {
        return Reason::Internal as u32;
    };
    identity::identity(&Maps, packet, addr)
}

/// TCP tracking.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_track(view: *mut View, packet: *const Packet, side: u32) -> u32 {
    // SAFETY: as above.
    let (Some(view), Some(packet)) = (unsafe { (view.as_mut(), packet.as_ref()) }) else {
        return Reason::Internal as u32;
    };
    sekimori_ebpf::tcp::track(view, packet, side)
}

/// Later fragments.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_later(packet: *mut Packet) -> u32 {
    // SAFETY: as above.
    let Some(packet) = (unsafe { packet.as_mut() }) else {
        return Reason::Internal as u32;
    };
    fragment::later(&Maps, packet)
}

/// First fragments that passed.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_first(packet: *const Packet) -> u32 {
    // SAFETY: as above.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return Reason::Internal as u32 };
    fragment::first(&Maps, packet)
}

/// The cut-off, once something is cut.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_cut(packet: *mut Packet) -> u32 {
    // SAFETY: as above.
    let Some(packet) = (unsafe { packet.as_mut() }) else {
        return Reason::Internal as u32;
    };
    cut::cut(&Maps, packet)
}

/// Whether a conversation that meets a cut restored in stages is on the list.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_unlisted(
    packet: *mut Packet,
    key: *const ViewKey,
    net: u32,
    rule: u32,
    port: u32,
) -> u32 {
    // SAFETY: as above.
    let (Some(packet), Some(key)) = (unsafe { (packet.as_mut(), key.as_ref()) }) else {
        return Reason::Internal as u32;
    };
    staged::refused(&Maps, packet, key, net as u16, rule as u16, port as u16)
}

/// The same on the way out, where nothing is judged.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_leaves_listed(packet: *mut Packet, key: *const ViewKey, to_peer: u32) -> u32 {
    // SAFETY: as above.
    let (Some(packet), Some(key)) = (unsafe { (packet.as_mut(), key.as_ref()) }) else {
        return Reason::Internal as u32;
    };
    staged::leaving(&Maps, packet, key, to_peer != 0)
}

/// Which quarantine the packet is in, once anybody is in one.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_quarantine(packet: *const Packet) -> u32 {
    // SAFETY: as above. Without a packet there is no host: the slot of none has no rule either.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    quarantine::find(&Maps, packet)
}

/// Built-in protocols coming in.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_control(packet: *mut Packet, builtin: u32, net: u32) -> u32 {
    // SAFETY: as above.
    let Some(packet) = (unsafe { packet.as_mut() }) else {
        return Reason::Internal as u32;
    };
    local::control_in(&Maps, packet, builtin, net)
}

/// What the overlay says of an address.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_overlaid(generation: u32, high: u64, low: u64) -> u32 {
    classify::overlaid(&Maps, generation, high, low)
}

/// The class of an IPv4 address whose first step did not tell.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_class_further(generation: u32, addr: u32, step: u32) -> u32 {
    v4::further(&Maps, generation, addr, step)
}

/// The class of an IPv6 address.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_class6(generation: u32, high: u64, low: u64) -> u32 {
    v6::class(&Maps, generation, high, low)
}

/// One node of its tree: where it looks within a node must not become part of what the kernel knows of the loop around.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_class6_step(generation: u32, value: u32, key: u64, choice: u32) -> u32 {
    v6::step(&Maps, generation, value, key, choice)
}

/// What a rule limits.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_admit(work: *const Work, now: u64, what: u32) -> u32 {
    // SAFETY: as above.
    let Some(work) = (unsafe { work.as_ref() }) else { return Reason::Internal as u32 };
    limit::admit(&Maps, work, now, what)
}

/// A place for a conversation.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_claim(work: *const Work, now: u64, most: u32, per_host: u32) -> u32 {
    // SAFETY: as above.
    let Some(work) = (unsafe { work.as_ref() }) else { return 0 };
    limit::claim(&Maps, work, now, most, per_host)
}

/// Whether the rates let one more begin.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_paces(work: *const Work, now: u64, take: u32) -> u32 {
    // SAFETY: as above.
    let Some(work) = (unsafe { work.as_ref() }) else { return 0 };
    limit::paces(&Maps, work, now, take) as u32
}

/// The view of an admitted conversation.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_enter(work: *const Work, what: u32) -> u32 {
    // SAFETY: as above.
    let Some(work) = (unsafe { work.as_ref() }) else { return 0 };
    limit::enter(&Maps, work, what) as u32
}

/// One place for a conversation.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_sit(work: *const Work, now: u64, number: u32, index: u32, per_host: u32) -> u32 {
    // SAFETY: as above.
    let Some(work) = (unsafe { work.as_ref() }) else { return u32::MAX };
    limit::sit(&Maps, work, now, number, index, per_host)
}

/// Whether a place is held.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_held(place: *const Seat, key: *const ViewKey, now: u64) -> u32 {
    // SAFETY: as above.
    let (Some(place), Some(key)) = (unsafe { (place.as_ref(), key.as_ref()) }) else { return 1 };
    limit::held(&Maps, place, key, now)
}

/// What the detectors make of a packet that came in.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_look(packet: *const Packet, sight: *mut Sight, reason: u32) -> u32 {
    // SAFETY: as above.
    let (Some(packet), Some(sight)) = (unsafe { (packet.as_ref(), sight.as_mut()) }) else { return reason };
    detect::look(&Maps, packet, sight, reason)
}

/// Whose state a packet belongs to.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_whose(packet: *const Packet, sight: *mut Sight, reason: u32) -> u32 {
    // SAFETY: as above.
    let (Some(packet), Some(sight)) = (unsafe { (packet.as_ref(), sight.as_mut()) }) else { return 0 };
    detect::host::whose(&Maps, packet, sight, reason)
}

/// Which state somebody gets who has none.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_newcomer(packet: *const Packet, sight: *mut Sight, whose: u32) -> u32 {
    // SAFETY: as above.
    if let (Some(packet), Some(sight)) = unsafe { (packet.as_ref(), sight.as_mut()) } {
        detect::host::newcomer(&Maps, packet, sight, whose);
    }
    0
}

/// What an answer tells them.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn sekimori_heard(packet: *const Packet, sight: *mut Sight) -> u32 {
    // SAFETY: as above.
    if let (Some(packet), Some(sight)) = unsafe { (packet.as_ref(), sight.as_mut()) } {
        detect::heard(&Maps, packet, sight);
    }
    0
}
