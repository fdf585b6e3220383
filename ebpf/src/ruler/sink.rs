//! Counts what a gateway forwarded, and drops everything.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    btf_maps::{Array, PerCpuArray},
    helpers::bpf_ktime_get_ns,
    macros::{btf_map, xdp},
    programs::XdpContext,
};

use crate::plan::{Arrived, HOPS, SINKS};

#[btf_map]
pub(crate) static ARRIVED: PerCpuArray<Arrived, { SINKS as usize }> = PerCpuArray::new();
/// Not 0: stamp arrivals.
#[btf_map]
pub(crate) static STAMPING: Array<u64, 1> = Array::new();

#[xdp]
pub(crate) fn ruler_sink(ctx: XdpContext) -> u32 {
    let md: *mut xdp_md = ctx.ctx;
    // SAFETY: `md` is the context the kernel passed.
    let (data, end, ifindex) = unsafe { ((*md).data as usize, (*md).data_end as usize, (*md).ingress_ifindex) };
    if data + 42 <= end
        && forwarded(data)
        && let Some(arrived) = ARRIVED.get_ptr_mut(ifindex & (SINKS - 1))
    {
        // SAFETY: this CPU's own slot; softirqs do not nest.
        unsafe { (*arrived).packets += 1 };
        if STAMPING.get(0).is_some_and(|on| *on != 0) {
            // SAFETY: as above; the helper takes nothing.
            unsafe { (*arrived).last = bpf_ktime_get_ns() };
        }
    }
    xdp_action::XDP_DROP
}

/// Whether one router passed it on: the gateway's own neighbour discovery, errors and reports have other hop limits.
#[inline(always)]
fn forwarded(data: usize) -> bool {
    match byte::<12>(data) {
        0x81 => hops::<18>(data, byte::<17>(data)),
        _ => hops::<14>(data, byte::<13>(data)),
    }
}

#[inline(always)]
fn hops<const L3: usize>(data: usize, kind: u8) -> bool {
    // SAFETY: below byte 42, which the caller compared with the end of the packet.
    let (four, six) = unsafe { (*((data + L3 + 8) as *const u8), *((data + L3 + 7) as *const u8)) };
    match kind {
        0x00 => four == HOPS - 1,
        0xdd => six == HOPS - 1,
        _ => false,
    }
}

#[inline(always)]
fn byte<const AT: usize>(data: usize) -> u8 {
    // SAFETY: as above.
    unsafe { *((data + AT) as *const u8) }
}
