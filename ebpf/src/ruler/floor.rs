//! The least a program can do: drop, or forward without a question.

use aya_ebpf::{
    bindings::{bpf_fib_lookup as Lookup, xdp_action, xdp_md},
    helpers::{bpf_fib_lookup, bpf_redirect},
    macros::xdp,
    programs::XdpContext,
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const FOUND: i64 = 0;

#[xdp]
pub(crate) fn ruler_drop(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Routing lookup, hop count, MAC addresses, redirect.
#[xdp]
pub(crate) fn ruler_forward(ctx: XdpContext) -> u32 {
    let md: *mut xdp_md = ctx.ctx;
    // SAFETY: `md` is the context the kernel passed.
    let (data, end) = unsafe { ((*md).data as usize, (*md).data_end as usize) };
    if data + 54 > end {
        return xdp_action::XDP_PASS;
    }
    // SAFETY: all zeroes is a valid value of this plain struct.
    let mut lookup: Lookup = unsafe { core::mem::zeroed() };
    // SAFETY: everything read is below byte 54, which was compared with the end of the packet.
    unsafe {
        lookup.ifindex = (*md).ingress_ifindex;
        match get::<[u8; 2]>(data + 12) {
            [0x08, 0x00] => {
                lookup.family = AF_INET;
                lookup.l4_protocol = get(data + 23);
                lookup.__bindgen_anon_1.tot_len = u16::from_be(get(data + 16));
                lookup.__bindgen_anon_3.ipv4_src = get(data + 26);
                lookup.__bindgen_anon_4.ipv4_dst = get(data + 30);
            }
            [0x86, 0xdd] => {
                lookup.family = AF_INET6;
                lookup.l4_protocol = get(data + 20);
                lookup.__bindgen_anon_1.tot_len = u16::from_be(get(data + 18)) + 40;
                lookup.__bindgen_anon_3.ipv6_src = get(data + 22);
                lookup.__bindgen_anon_4.ipv6_dst = get(data + 38);
            }
            _ => return xdp_action::XDP_PASS,
        }
        let found = bpf_fib_lookup(md.cast(), &raw mut lookup, size_of::<Lookup>() as i32, 0);
        if i64::from(found) != FOUND {
            return xdp_action::XDP_PASS;
        }
        if lookup.family == AF_INET {
            // RFC 1624: the hop count is the high byte of its word.
            let sum = u32::from(get::<u16>(data + 24)) + u32::from(0x0100u16.to_be());
            put(data + 24, (sum + (sum >> 16)) as u16);
            put(data + 22, get::<u8>(data + 22) - 1);
        } else {
            put(data + 21, get::<u8>(data + 21) - 1);
        }
        put(data, lookup.dmac);
        put(data + 6, lookup.smac);
        bpf_redirect(lookup.ifindex, 0) as u32
    }
}

#[inline(always)]
unsafe fn get<T: Copy>(at: usize) -> T {
    // SAFETY: the caller keeps inside the packet.
    unsafe { core::ptr::read_unaligned(at as *const T) }
}

#[inline(always)]
unsafe fn put<T>(at: usize, value: T) {
    // SAFETY: as above.
    unsafe { core::ptr::write_unaligned(at as *mut T, value) };
}
