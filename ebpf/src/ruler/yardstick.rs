//! A fixed amount of work of the kind a filter does: the unit in which the speed guard counts.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    btf_maps::{Array, HashMap},
    helpers::bpf_ktime_get_ns,
    macros::{btf_map, xdp},
    programs::XdpContext,
};

#[btf_map]
pub(crate) static YARD_SLOTS: Array<u64, 1024> = Array::new();
#[btf_map]
pub(crate) static YARD_FLOWS: HashMap<[u32; 10], u64, 4096> = HashMap::new();

/// Header reads with bounds, one clock, eight array look-ups, three hash look-ups with a key of 40 bytes: neither tied
/// to the product's layouts nor ever to be changed, or the committed ratios lose their meaning.
#[xdp]
pub(crate) fn ruler_yardstick(ctx: XdpContext) -> u32 {
    let md: *mut xdp_md = ctx.ctx;
    // SAFETY: `md` is the context the kernel passed.
    let (data, end) = unsafe { ((*md).data as usize, (*md).data_end as usize) };
    if data + 60 > end {
        return xdp_action::XDP_ABORTED;
    }
    let mut key = [0u32; 10];
    let mut sum = 0u32;
    for word in 0..10 {
        // SAFETY: below byte 60, which was compared with the end of the packet.
        let read = unsafe { core::ptr::read_unaligned((data + 14 + word * 4) as *const u32) };
        key[word] = read;
        sum = sum.wrapping_mul(31).wrapping_add(read);
    }
    // SAFETY: takes nothing.
    let mut seen = unsafe { bpf_ktime_get_ns() };
    for turn in 0..8 {
        sum = sum.rotate_left(7) ^ turn;
        // The next look-up waits for this one, as a filter's tables wait for one another.
        if let Some(value) = YARD_SLOTS.get(sum & 1023) {
            sum = sum.wrapping_add(*value as u32);
        }
    }
    for turn in 0..3 {
        key[9] ^= turn;
        if let Some(value) = YARD_FLOWS.get_ptr(&key) {
            // SAFETY: the kernel's value, readable until the program ends.
            seen = seen.wrapping_add(unsafe { *value });
        }
    }
    // Nothing above may be optimised away, and nothing comes of it.
    if seen == 0 && sum == 0 { xdp_action::XDP_ABORTED } else { xdp_action::XDP_DROP }
}
