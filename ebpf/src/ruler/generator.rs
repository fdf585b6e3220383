//! Writes one frame after another and sends it by a veth. Run by `BPF_PROG_TEST_RUN` with live frames, whose pages come
//! back as the receiver left them: every byte is written again.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    btf_maps::{Array, PerCpuArray},
    helpers::{bpf_ktime_get_ns, bpf_redirect},
    macros::{btf_map, xdp},
    programs::XdpContext,
};

use crate::plan::{FRAME, FROM_PEER, FROM_SERVICE, NO_PORTS, NO_SUM, PEERS, Plan, SHORTEST, SIX, TABLES, TAGGED, TCP};

#[btf_map]
pub(crate) static PLAN: Array<Plan, 1> = Array::new();
#[btf_map]
pub(crate) static PEERS4: Array<u64, { (PEERS * TABLES) as usize }> = Array::new();
#[btf_map]
pub(crate) static PEERS6: Array<[u32; 4], { (PEERS * TABLES) as usize }> = Array::new();
/// Number of this CPU's next packet.
#[btf_map]
pub(crate) static NEXT: PerCpuArray<u64, 1> = PerCpuArray::new();

/// When this CPU's next packet is due, where they are paced.
#[btf_map]
pub(crate) static DUE: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Readings of the clock until a paced packet goes in any case.
const PATIENCE: usize = 1000;
/// What a sender that was held up makes up for, ns.
const CATCH_UP: u64 = 5_000_000;

/// Waits for this packet's turn. In the kernel, because each test run sets up and takes down more than a burst costs.
#[inline(always)]
fn wait(gap: u32) {
    let Some(due) = DUE.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's own; takes nothing.
    let (turn, now) = unsafe { (*due, bpf_ktime_get_ns()) };
    let turn = if turn + CATCH_UP < now { now } else { turn };
    for _ in 0..PATIENCE {
        // SAFETY: takes nothing.
        if unsafe { bpf_ktime_get_ns() } >= turn {
            break;
        }
    }
    // SAFETY: as above.
    unsafe { *due = turn + u64::from(gap) };
}

#[xdp]
pub(crate) fn ruler_send(ctx: XdpContext) -> u32 {
    let md: *mut xdp_md = ctx.ctx;
    let (Some(plan), Some(next)) = (PLAN.get(0), NEXT.get_ptr_mut(0)) else { return xdp_action::XDP_ABORTED };
    if plan.gap != 0 {
        wait(plan.gap);
    }
    // SAFETY: this CPU's own number; a test run is not preempted by another on its CPU within a packet.
    let number = unsafe {
        let number = *next as u32;
        *next = if number + 1 >= plan.flows { 0 } else { u64::from(number + 1) };
        number
    };
    // SAFETY: `md` is the context the kernel passed.
    let (data, end) = unsafe { ((*md).data as usize, (*md).data_end as usize) };
    let written = if data + FRAME <= end {
        copy::<{ FRAME / 8 }>(data, plan);
        if plan.flags & SIX != 0 {
            match plan.flags & TAGGED != 0 {
                true => six::<18>(data, plan, number),
                false => six::<14>(data, plan, number),
            }
        } else {
            match plan.flags & TAGGED != 0 {
                true => four::<18>(data, plan, number),
                false => four::<14>(data, plan, number),
            }
        }
    } else if data + SHORTEST <= end {
        copy::<{ SHORTEST / 8 }>(data, plan);
        // SAFETY: bytes 56 to 60 are below the end of the packet.
        unsafe { put(data + 56, plan.frame[7] as u32) };
        four::<14>(data, plan, number)
    } else {
        false
    };
    if !written {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: no pointers.
    unsafe { bpf_redirect(plan.out, 0) as u32 }
}

#[inline(always)]
fn copy<const WORDS: usize>(data: usize, plan: &Plan) {
    for word in 0..WORDS {
        // SAFETY: the caller compared the end of the last word with the end of the packet.
        unsafe { put(data + word * 8, plan.frame[word]) };
    }
}

/// # Safety
/// `at` and what follows of a `T` are inside the packet.
#[inline(always)]
unsafe fn put<T>(at: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { core::ptr::write_unaligned(at as *mut T, value) };
}

#[inline(always)]
fn client(plan: &Plan, number: u32) -> u32 {
    (plan.client + (number & plan.client_mask) + ((number >> 20) << 12)).to_be()
}

/// Client port and service port, as on the wire.
#[inline(always)]
fn ports(plan: &Plan, number: u32) -> (u16, u16) {
    let port = plan.port + ((number >> 5) & 0x7fff);
    ((port as u16).to_be(), plan.services[(number & 7) as usize])
}

/// Source and destination port.
#[inline(always)]
fn ordered(plan: &Plan, number: u32) -> (u16, u16) {
    let (own, service) = ports(plan, number);
    if plan.flags & FROM_SERVICE != 0 { (service, own) } else { (own, service) }
}

#[inline(always)]
fn folded(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[inline(always)]
fn transport(at: usize, plan: &Plan, number: u32, addresses: u64) {
    if plan.flags & NO_PORTS != 0 {
        return;
    }
    let (source, destination) = ordered(plan, number);
    // SAFETY: at most 18 + 40 + 18 bytes into a frame of at least 80, or 14 + 20 + 18 into one of at least 60.
    unsafe {
        put(at, source);
        put(at + 2, destination);
        if plan.flags & NO_SUM == 0 {
            let sum = folded(u64::from(plan.l4_sum) + addresses + u64::from(source) + u64::from(destination));
            if plan.flags & TCP != 0 { put(at + 16, sum) } else { put(at + 6, sum) }
        }
    }
}

#[inline(always)]
fn four<const L3: usize>(data: usize, plan: &Plan, number: u32) -> bool {
    let Some(peer) = PEERS4.get(plan.table + (number & (PEERS - 1))) else { return false };
    let (peer, own) = (*peer as u32, client(plan, number));
    let (source, destination) = if plan.flags & FROM_PEER != 0 { (peer, own) } else { (own, peer) };
    let addresses = u64::from(source) + u64::from(destination);
    // SAFETY: bytes 10 to 20 of the IP header, which ends below byte 60.
    unsafe {
        put(data + L3 + 10, folded(u64::from(plan.ip_sum) + addresses));
        put(data + L3 + 12, source);
        put(data + L3 + 16, destination);
    }
    transport(data + L3 + 20, plan, number, addresses);
    true
}

#[inline(always)]
fn six<const L3: usize>(data: usize, plan: &Plan, number: u32) -> bool {
    let Some(peer) = PEERS6.get(plan.table + (number & (PEERS - 1))) else { return false };
    let own = [plan.client_net[0], plan.client_net[1], plan.client_net[2], client(plan, number)];
    let (source, destination) = if plan.flags & FROM_PEER != 0 { (*peer, own) } else { (own, *peer) };
    let mut addresses = 0;
    for word in 0..4 {
        addresses += u64::from(source[word]) + u64::from(destination[word]);
        // SAFETY: bytes 8 to 40 of the IPv6 header, which ends below byte 80.
        unsafe {
            put(data + L3 + 8 + word * 4, source[word]);
            put(data + L3 + 24 + word * 4, destination[word]);
        }
    }
    transport(data + L3 + 40, plan, number, addresses);
    true
}
