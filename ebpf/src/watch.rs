//! Between the programs and the detectors: when they are asked, what they report, and the packets that prove it.

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    cty::{c_long, c_void},
    helpers::{bpf_skb_load_bytes, bpf_xdp_load_bytes},
};
use sekimori_ebpf::{
    abi::DIR_IN,
    atomic,
    bytes::opaque,
    detect::{
        self, Sight,
        abi::{Detection, KEPT as KEPT_PACKETS, KEPT_BYTES, Kept, Wanted, watched_index},
    },
    packet::Packet,
};

use crate::{
    count::budget,
    maps::{CAPTURED, DETECTIONS, KEPT, KEPT_NEXT, Maps, SIGHT, Scratch, WANTED, WATCHED, private},
    steps,
};

/// Whether detectors look at the packet's zone.
#[inline(always)]
pub(crate) fn watched(packet: &Packet) -> bool {
    !private() && WATCHED.get(watched_index(packet.generation, packet.net)).is_some_and(|watched| watched.flags != 0)
}

/// Whether anybody wants to see dropped packets now.
#[inline(always)]
pub(crate) fn wanted(packet: &Packet) -> bool {
    !private() && WANTED.get(0).is_some_and(|wanted| wanted.until > packet.now)
}

/// Whether a packet to be dropped at a glance is to be looked at instead.
#[inline(always)]
pub(crate) fn looked_at(packet: &Packet) -> bool {
    watched(packet) || wanted(packet)
}

/// Asks the detectors, reports what they saw, keeps the packet. Returns the reason it leaves with.
#[inline(never)]
pub(crate) fn attempt(md: *mut xdp_md, scratch: &mut Scratch, reason: u32) -> u32 {
    let Some(sight) = SIGHT.get_ptr_mut(0) else { return reason };
    // SAFETY: this CPU's own; softirqs do not nest.
    let sight = unsafe { &mut *sight };
    let reason = detect::attempt(&Maps, &scratch.packet, sight, reason);
    if sight.keep != 0 {
        keep(md, &scratch.packet, sight, reason);
    }
    if sight.tell != 0 {
        report(&scratch.packet, sight, reason);
    }
    reason
}

/// Tells the detectors of an answer on its way to an inside host.
#[inline(never)]
pub(crate) fn heard(scratch: &mut Scratch) -> u32 {
    match SIGHT.get_ptr_mut(0) {
        Some(sight) => steps::sekimori_heard(&raw const scratch.packet, sight),
        None => 0,
    }
}

#[inline(never)]
fn report(packet: &Packet, sight: &Sight, reason: u32) -> u32 {
    let Some(mut entry) = DETECTIONS.reserve(0) else {
        // Said under the same metric as other events that found no room.
        if let Some(budget) = budget() {
            budget.lost += 1;
        }
        return 0;
    };
    entry.write(Detection {
        time: packet.now,
        host: sight.host.addr,
        src: packet.src,
        dst: packet.dst,
        mac: packet.src_mac,
        net: packet.net,
        ifindex: packet.ifindex,
        detector: sight.detector,
        action: sight.action,
        hits: sight.hits,
        value: sight.value,
        reason,
        generation: packet.generation,
        slot: packet.out_slot,
        device: packet.device,
        sport: packet.sport,
        dport: packet.dport,
        vlan: packet.outer,
        proto: packet.proto,
        tcp_flags: packet.tcp_flags,
        refused: sight.refused,
        until: sight.until,
        ethertype: packet.ethertype,
        still: sight.still as u8,
        pad: [0; 5],
    });
    entry.submit(0);
    1
}

/// Writes the packet into the ring of evidence, over the oldest.
#[inline(never)]
fn keep(md: *mut xdp_md, packet: &Packet, sight: &Sight, reason: u32) -> u32 {
    let md = opaque(md as usize) as *mut xdp_md;
    let Some(next) = KEPT_NEXT.get_ptr_mut(0) else { return 0 };
    // SAFETY: a value the kernel just returned, aligned, and written in this way only.
    let number = unsafe { atomic::add(next, 1) } + 1;
    let Some(kept) = KEPT.get_ptr_mut((number.wrapping_sub(1) as u32) & (KEPT_PACKETS - 1)) else { return 0 };
    // SAFETY: a value the kernel just returned; that its number is 0 while it is written tells readers.
    let kept = unsafe { &mut *kept };
    // SAFETY: aligned, as above.
    unsafe { core::ptr::write_volatile(&raw mut kept.number, 0) };
    kept.host = sight.host.addr;
    kept.detector = sight.detector as u16;
    describe(kept, packet, reason);
    // SAFETY: `md` is the context, and `copy` asks for no more than there is room for.
    copy(kept, packet.len, |at, len| unsafe { bpf_xdp_load_bytes(md, 0, at, len) });
    // SAFETY: aligned, as above.
    unsafe { core::ptr::write_volatile(&raw mut kept.number, number) };
    1
}

/// Everything but the bytes.
#[inline(always)]
fn describe(kept: &mut Kept, packet: &Packet, reason: u32) {
    kept.time = packet.now;
    kept.ifindex = packet.ifindex;
    kept.len = packet.len;
    kept.reason = reason;
    kept.slot = packet.out_slot;
    kept.net = packet.net;
}

/// Copies the packet's first bytes by `load`, which is told where to and how many.
#[inline(always)]
fn copy(kept: &mut Kept, len: u32, load: impl Fn(*mut c_void, u32) -> c_long) {
    let at = kept.bytes.as_mut_ptr().cast();
    kept.kept = 0;
    if len as usize >= KEPT_BYTES {
        if load(at, KEPT_BYTES as u32) == 0 {
            kept.kept = KEPT_BYTES as u32;
        }
        return;
    }
    let some = opaque(len as usize) & 0xff;
    if some == 0 || some > KEPT_BYTES {
        return;
    }
    if load(at, some as u32) == 0 {
        kept.kept = some as u32;
    }
}

/// Whether the packet is one of those somebody wants to see.
#[inline(always)]
fn matches(wanted: &Wanted, packet: &Packet, reason: u32) -> bool {
    (wanted.reason == 0 || wanted.reason == reason)
        && (wanted.net == 0 || wanted.net == packet.net as u32)
        && (wanted.proto == 0 || wanted.proto == packet.proto as u32)
        && (wanted.port == 0 || wanted.port == packet.sport as u32 || wanted.port == packet.dport as u32)
        && (wanted.addr == [0; 16] || wanted.addr == packet.src || wanted.addr == packet.dst)
}

/// Shows a packet dropped on its way in to who asked for it.
#[inline(never)]
pub(crate) fn capture_in(md: *mut xdp_md, scratch: &Scratch, reason: u32) -> u32 {
    let md = opaque(md as usize) as *mut xdp_md;
    // SAFETY: as in `keep`.
    capture(&scratch.packet, reason, |at, len| unsafe { bpf_xdp_load_bytes(md, 0, at, len) })
}

/// The same on its way out.
#[inline(never)]
pub(crate) fn capture_out(skb: *mut __sk_buff, scratch: &Scratch, reason: u32) -> u32 {
    let skb = opaque(skb as usize) as *mut __sk_buff;
    // SAFETY: as in `keep`.
    capture(&scratch.packet, reason, |at, len| unsafe { bpf_skb_load_bytes(skb.cast(), 0, at, len) })
}

#[inline(always)]
fn capture(packet: &Packet, reason: u32, load: impl Fn(*mut c_void, u32) -> c_long) -> u32 {
    if !WANTED.get(0).is_some_and(|wanted| matches(wanted, packet, reason)) {
        return 0;
    }
    let Some(mut entry) = CAPTURED.reserve(0) else { return 0 };
    // SAFETY: reserved memory of that size; every field and `kept` bytes are written below, and the rest is zeroed.
    let kept = unsafe { &mut *entry.as_mut_ptr() };
    blank(kept, packet);
    describe(kept, packet, reason);
    copy(kept, packet.len, load);
    entry.submit(0);
    1
}

/// `number` tells the way: 1 in, 2 out.
#[inline(always)]
fn blank(kept: &mut Kept, packet: &Packet) {
    kept.number = if packet.direction == DIR_IN { 1 } else { 2 };
    kept.host = [0; 16];
    kept.detector = 0;
    kept.bytes = [0; KEPT_BYTES];
}
