//! Counting and sampling: every verdict counts, some become events, lost events count too.

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns};
use sekimori_ebpf::{
    abi::{Budget, DIR_IN, DIR_OUT, Event, counter_index},
    packet::Packet,
    reason::Reason,
};

use crate::maps::{BUDGET, COUNTERS, CUT_REFUSED, EVENTS, QUARANTINE_REFUSED, RULE_COUNTERS, SETTINGS};

/// Counts a verdict, and samples it if it is a drop or opens a flow that its rule wants logged.
#[inline(always)]
pub(crate) fn count(packet: &Packet, reason: u32) {
    let segments = packet.segments as u64;
    let bytes = packet.len as u64;
    if let Some(counter) = COUNTERS.get_ptr_mut(counter_index(packet.net, packet.direction, reason & 127)) {
        // SAFETY: this CPU's own slot, and programs on one CPU do not nest.
        let counter = unsafe { &mut *counter };
        counter.packets += segments;
        counter.bytes += bytes;
        counter.last = packet.now;
    }
    if reason == Reason::Quarantined as u32 {
        if let Some(refused) = QUARANTINE_REFUSED.get_ptr_mut(packet.quarantine as u32) {
            // SAFETY: as above.
            let refused = unsafe { &mut *refused };
            refused.packets += segments;
            refused.bytes += bytes;
        }
    }
    if reason == Reason::CutHost as u32 {
        if let Some(refused) = CUT_REFUSED.get_ptr_mut(packet.cut) {
            // SAFETY: as above.
            let refused = unsafe { &mut *refused };
            refused.packets += segments;
            refused.bytes += bytes;
        }
    }
    let dropped = reason >= Reason::NoPolicy as u32;
    if !dropped && packet.out_side != 0 && packet.out_slot != 0 {
        if let Some(counter) = RULE_COUNTERS.get_ptr_mut(packet.out_slot - 1) {
            // SAFETY: as above.
            let counter = unsafe { &mut *counter };
            if packet.out_side == 1 {
                counter.packets += segments;
                counter.bytes += bytes;
            } else {
                counter.reply_packets += segments;
                counter.reply_bytes += bytes;
            }
            if packet.out_opened != 0 {
                counter.flows += 1;
            }
            counter.last = packet.now;
        }
    }
    if dropped || packet.out_opened == 2 {
        sample(packet, reason);
    }
}

/// The way out of a packet that the way in forwards, `len` bytes of it; for an answer that is where its rule counts it.
#[inline(always)]
pub(crate) fn count_out(packet: &Packet, len: u32) {
    if packet.out_side == 0 && packet.out_slot != 0 {
        if let Some(counter) = RULE_COUNTERS.get_ptr_mut(packet.out_slot - 1) {
            // SAFETY: as in `count`.
            let counter = unsafe { &mut *counter };
            counter.reply_packets += packet.segments as u64;
            counter.reply_bytes += len as u64;
            counter.last = packet.now;
        }
    }
    let index = counter_index(packet.out_net, DIR_OUT, Reason::Flow as u32);
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: as in `count`.
        let counter = unsafe { &mut *counter };
        counter.packets += packet.segments as u64;
        counter.bytes += len as u64;
        counter.last = packet.now;
    }
}

/// This CPU's events and clock.
#[inline(always)]
pub(crate) fn budget() -> Option<&'static mut Budget> {
    // SAFETY: this CPU's own entry, and programs on one CPU do not nest.
    BUDGET.get_ptr_mut(0).map(|budget| unsafe { &mut *budget })
}

/// Counts a packet dropped at a glance, unless there is room to sample it: then false.
#[inline(always)]
pub(crate) fn unsampled(packet: &Packet, reason: u32, budget: &mut Budget) -> bool {
    if budget.used < budget.rate || budget.second != packet.now >> 30 {
        return false;
    }
    let Some(counter) = COUNTERS.get_ptr_mut(counter_index(packet.net, DIR_IN, reason & 127)) else { return false };
    // SAFETY: as in `count`.
    let counter = unsafe { &mut *counter };
    counter.packets += 1;
    counter.bytes += packet.len as u64;
    counter.last = packet.now;
    budget.lost += 1;
    true
}

/// `CLOCK_BOOTTIME` as of the last tick of the kernel's timer: a few milliseconds behind at most, and most of the price of
/// a clock saved.
#[inline(always)]
pub(crate) fn recent_clock(budget: &mut Budget) -> u64 {
    // SAFETY: no arguments, no preconditions.
    let jiffies = unsafe { bpf_jiffies64() };
    if budget.jiffies != jiffies {
        budget.jiffies = jiffies;
        budget.now = boot_clock();
    }
    budget.now
}

/// `CLOCK_BOOTTIME`, nanoseconds.
#[inline(always)]
pub(crate) fn boot_clock() -> u64 {
    // SAFETY: no arguments, no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}

#[inline(always)]
fn sample(packet: &Packet, reason: u32) {
    if !within_budget(packet.now) {
        return lost();
    }
    let Some(mut entry) = EVENTS.reserve(0) else {
        return lost();
    };
    entry.write(Event {
        time: packet.now,
        src: packet.src,
        dst: packet.dst,
        sport: packet.sport,
        dport: packet.dport,
        ifindex: packet.ifindex,
        net: packet.net,
        vlan: packet.outer,
        mac: packet.src_mac,
        ethertype: packet.ethertype,
        reason,
        generation: packet.generation,
        slot: packet.out_slot,
        len: packet.len,
        proto: packet.proto,
        direction: packet.direction as u8,
        pad: [0; 10],
    });
    entry.submit(0);
}

#[inline(always)]
fn lost() {
    if let Some(budget) = budget() {
        budget.lost += 1;
    }
}

/// At most `event_rate` events a second and CPU.
#[inline(always)]
fn within_budget(now: u64) -> bool {
    let (Some(budget), Some(settings)) = (budget(), SETTINGS.get(0)) else { return false };
    // A shift stands for the division: 2^30 ns is a second to 7 %.
    let second = now >> 30;
    if budget.second != second {
        budget.second = second;
        budget.used = 0;
    }
    budget.rate = settings.event_rate as u64;
    if budget.used >= budget.rate {
        return false;
    }
    budget.used += 1;
    true
}
