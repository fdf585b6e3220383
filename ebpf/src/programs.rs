//! Entry points: XDP in, TCX ingress (metadata to mark), TCX egress out.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_fib_lookup as FibLookup, xdp_action, xdp_md},
    helpers::{
        bpf_fib_lookup, bpf_redirect, bpf_skb_pull_data, bpf_xdp_adjust_head, bpf_xdp_adjust_meta, bpf_xdp_adjust_tail,
        bpf_xdp_get_buff_len,
    },
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use sekimori_ebpf::{
    abi::{DIR_IN, DIR_OUT, IFACE_VLAN, OUT_BRIDGED, SETTING_NO_METADATA},
    bytes::opaque,
    decide::{self, fast, quarantine},
    detect, mark,
    packet::Packet,
    parse::parse,
    reason::Reason,
    tables::Tables as _,
};

use crate::{
    context::Window,
    count::{boot_clock, budget, count, count_out, recent_clock, unsampled},
    maps::{IFACES, Maps, PRIVATE_CONTEXT, PRIVATE_RESULT, SCRATCH_IN, SCRATCH_OUT, SETTINGS, Scratch, private},
    watch,
};

/// Ends the classifier chain with a drop (`TCX_DROP`).
const TCX_DROP: i32 = 2;
/// Lets the next classifier see the packet (`TCX_NEXT`).
const TCX_NEXT: i32 = -1;
/// Readable bytes we ask for on the way out: two tags, IPv6, six small extension headers, TCP with options, a quoted packet.
const PULL: u32 = 256;
/// Frames to port 53 that are no longer hold no more than a plain question.
const LONG_QUESTION: u32 = 14 + 20 + 68;
/// "SKMR": tells our metadata from another program's.
const META_MAGIC: u32 = 0x534b_4d52;

/// What XDP hands to TCX ingress in front of the packet.
#[repr(C)]
struct Meta {
    magic: u32,
    mark: u32,
}

/// The way in.
#[xdp(frags)]
pub(crate) fn sekimori_in(ctx: XdpContext) -> u32 {
    let (Some(scratch), Some(budget)) = (SCRATCH_IN.get_ptr_mut(0), budget()) else {
        return xdp_action::XDP_DROP;
    };
    // SAFETY: this CPU's own scratch; softirqs do not nest.
    let scratch = unsafe { &mut *scratch };
    let md: *mut xdp_md = ctx.ctx;
    // SAFETY: `md` is the context the kernel passed.
    let ifindex = unsafe { (*md).ingress_ifindex };
    let wire = bpf_buff_len(md);
    let packet = &mut scratch.packet;
    packet.direction = DIR_IN;
    packet.segments = 1;
    packet.ifindex = ifindex;
    packet.len = wire;
    if private() {
        let Some(said) = PRIVATE_CONTEXT.get(0) else {
            return xdp_action::XDP_DROP;
        };
        packet.now = said.now;
        packet.ifindex = said.ifindex;
        packet.len = if said.len > wire { said.len } else { wire };
    } else {
        packet.now = recent_clock(budget);
    }
    let mut reason = glance(md, scratch);
    if reason == fast::IPV6 {
        reason = glance_v6(md, scratch);
    }
    let packet = &mut scratch.packet;
    if (reason == Reason::Unlisted as u32 || reason == Reason::NoRule as u32) && !private() {
        if !watch::looked_at(packet) && unsampled(packet, reason, budget) {
            return xdp_action::XDP_DROP;
        }
        // To be sampled: the event wants every field.
        reason = fast::ASK;
    } else if reason >= Reason::NoPolicy as u32 && !private() {
        // What tracking refused: likewise.
        reason = fast::ASK;
    } else if packet.dport == 53 && packet.len > LONG_QUESTION && watch::watched(packet) {
        // Detectors weigh the questions of a conversation under way too.
        reason = fast::ASK;
    }
    if reason == fast::ASK {
        packet.came_from = 0;
        packet.mark = 0;
        packet.out_mode = 0;
        if !private() {
            packet.now = boot_clock();
        }
        parse_in(md, scratch);
        reason = judge_in(scratch);
        if detect::attempts(&scratch.packet, reason) && watch::watched(&scratch.packet) {
            reason = watch::attempt(md, scratch, reason);
            if reason >= Reason::NoPolicy as u32 && scratch.packet.out_opened != 0 {
                unopen(scratch);
            }
        }
    }
    conclude(scratch, reason);
    if reason >= Reason::NoPolicy as u32 {
        if watch::wanted(&scratch.packet) {
            watch::capture_in(md, scratch, reason);
        }
        return xdp_action::XDP_DROP;
    }
    if scratch.packet.out_mode != 0 {
        let action = forward(md, scratch);
        if action != xdp_action::XDP_PASS {
            return action;
        }
    }
    hand_over(md, scratch.packet.out_mark);
    xdp_action::XDP_PASS
}

#[inline(always)]
fn bpf_buff_len(md: *mut xdp_md) -> u32 {
    // SAFETY: `md` is the context the kernel passed.
    unsafe { bpf_xdp_get_buff_len(md) as u32 }
}

/// What a detector refuses has opened no conversation, whatever the rules said before.
#[inline(never)]
fn unopen(scratch: &mut Scratch) -> u32 {
    Maps.view_remove(&scratch.work.key, false);
    scratch.packet.out_opened = 0;
    0
}

/// The parse, out of line: its stack is free again when the judgement starts. The context goes in whole, because the
/// verifier follows packet pointers only from there.
#[inline(never)]
fn parse_in(md: *mut xdp_md, scratch: &mut Scratch) -> u32 {
    // Opaque, or the optimiser passes the packet pointers as 32-bit numbers instead of the context.
    let md = opaque(md as usize) as *mut xdp_md;
    // SAFETY: `md` is the context the kernel passed.
    let (data, end) = unsafe { ((*md).data as usize, (*md).data_end as usize) };
    let window = Window { data, end, wire: scratch.packet.len as usize };
    parse(&window, 0, &mut scratch.packet);
    0
}

/// Out of line like the parse, for the stack's sake.
#[inline(never)]
fn glance(md: *mut xdp_md, scratch: &mut Scratch) -> u32 {
    let md = opaque(md as usize) as *mut xdp_md;
    // SAFETY: `md` is the context the kernel passed.
    let (data, end) = unsafe { ((*md).data as usize, (*md).data_end as usize) };
    let window = Window { data, end, wire: scratch.packet.len as usize };
    fast::glance(&Maps, &window, &mut scratch.packet)
}

#[inline(never)]
fn glance_v6(md: *mut xdp_md, scratch: &mut Scratch) -> u32 {
    let md = opaque(md as usize) as *mut xdp_md;
    // SAFETY: `md` is the context the kernel passed.
    let (data, end) = unsafe { ((*md).data as usize, (*md).data_end as usize) };
    let window = Window { data, end, wire: scratch.packet.len as usize };
    fast::glance_v6(&Maps, &window, &mut scratch.packet)
}

#[inline(never)]
fn parse_out(skb: *mut __sk_buff, scratch: &mut Scratch, tag: u32) -> u32 {
    let skb = opaque(skb as usize) as *mut __sk_buff;
    // SAFETY: `skb` is the context the kernel passed.
    let (data, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    let window = Window { data, end, wire: scratch.packet.len as usize };
    parse(&window, tag as u16, &mut scratch.packet);
    0
}

/// Everything after the parse, out of line: it reads maps only, and the verifier follows it better alone.
#[inline(never)]
fn judge_in(scratch: &mut Scratch) -> u32 {
    decide::ingress(&Maps, &mut scratch.packet, &mut scratch.work)
}

#[inline(never)]
fn judge_out(scratch: &mut Scratch) -> u32 {
    let reason = decide::egress(&Maps, &mut scratch.packet, &mut scratch.work);
    conclude(scratch, reason)
}

/// Out of line, because an event takes much of the stack that the judgement needs.
#[inline(never)]
fn conclude(scratch: &Scratch, reason: u32) -> u32 {
    let packet = &scratch.packet;
    count(packet, reason);
    if private() {
        if let Some(result) = PRIVATE_RESULT.get_ptr_mut(0) {
            // SAFETY: a private instance runs one packet at a time.
            unsafe { *result = [reason, packet.out_rule, packet.out_mark, packet.out_slot] };
        }
    }
    reason
}

/// Sends the packet where the kernel sent the last one of its flow, if the kernel would still do so: `XDP_REDIRECT`, or
/// `XDP_PASS` with the packet untouched.
#[inline(never)]
fn forward(md: *mut xdp_md, scratch: &mut Scratch) -> u32 {
    let md = opaque(md as usize) as *mut xdp_md;
    let packet = &scratch.packet;
    let (came, goes) = (packet.outer, packet.out_tag);
    let bridged = packet.out_mode == OUT_BRIDGED;
    // SAFETY: `md` is the context the kernel passed.
    let linear = unsafe { (*md).data_end - (*md).data };
    let mut length = linear;
    if linear != packet.len {
        // In pieces: not every driver sends such frames from XDP, and one that does not loses them.
        return xdp_action::XDP_PASS;
    }
    if !bridged {
        // SAFETY: `FibLookup` is integers and unions of them.
        let mut fib: FibLookup = unsafe { core::mem::zeroed() };
        length = look_up(md, packet, &mut fib);
        if length == 0 || length > linear {
            return xdp_action::XDP_PASS;
        }
        if quarantine::suspect_mac(&Maps, &fib.dmac) {
            // Known by its MAC alone, and who that is comes out here: the way out judges.
            return xdp_action::XDP_PASS;
        }
        if fib.ifindex != packet.out_ifindex {
            // SAFETY: a value the kernel just returned, readable until the program ends.
            let tagged = IFACES.get_ptr(&fib.ifindex).is_some_and(|entry| unsafe {
                (*entry).flags & IFACE_VLAN != 0 && (*entry).lower == packet.out_ifindex && (*entry).tag == goes
            });
            if !tagged {
                return xdp_action::XDP_PASS;
            }
        } else if goes != 0 {
            return xdp_action::XDP_PASS;
        }
        let grow = if came == 0 && goes != 0 {
            -4
        } else if came != 0 && goes == 0 {
            4
        } else {
            0
        };
        // Bytes behind the packet end here, as they would in the kernel.
        let behind = linear.wrapping_sub(length);
        // SAFETY: `md` is the context the kernel passed.
        if behind != 0 && unsafe { bpf_xdp_adjust_tail(md, -(behind as i32)) } != 0 {
            return xdp_action::XDP_PASS;
        }
        // SAFETY: as above.
        if grow != 0 && unsafe { bpf_xdp_adjust_head(md, grow) } != 0 {
            return xdp_action::XDP_PASS;
        }
        if !rewrite(md, packet, &fib) {
            // Cannot be: the same bytes were there a moment ago.
            return xdp_action::XDP_ABORTED;
        }
    }
    count_out(packet, length);
    // SAFETY: no preconditions.
    unsafe { bpf_redirect(packet.out_ifindex, 0) as u32 }
}

/// Asks the kernel where it would route the packet. Returns how long the frame is without bytes behind the packet, or 0 if the
/// kernel would not route it, or not now (no neighbour, too big, ...).
#[inline(always)]
fn look_up(md: *mut xdp_md, packet: &Packet, fib: &mut FibLookup) -> u32 {
    // SAFETY: `md` is the context the kernel passed.
    let (data, end) = unsafe { ((*md).data as usize, (*md).data_end as usize) };
    let ethernet = if packet.outer != 0 { 18 } else { 14 };
    let l3 = data + ethernet;
    if l3 + 20 > end {
        return 0;
    }
    // SAFETY: 20 bytes from `l3` were just compared with the end of the packet.
    let head = unsafe { &*(l3 as *const [u8; 20]) };
    fib.l4_protocol = packet.proto;
    fib.sport = packet.sport.to_be();
    fib.dport = packet.dport.to_be();
    fib.ifindex = packet.routed;
    let ipv6 = head[0] >> 4 == 6;
    let mut length = ethernet as u32;
    if ipv6 {
        if l3 + 40 > end {
            return 0;
        }
        // SAFETY: 40 bytes from `l3` were just compared with the end of the packet.
        let head = unsafe { &*(l3 as *const [u8; 40]) };
        let total = u16::from_be_bytes([head[4], head[5]]).saturating_add(40);
        length += total as u32;
        fib.family = 10;
        fib.__bindgen_anon_1.tot_len = total;
        // SAFETY: any four bytes are an integer.
        unsafe {
            fib.__bindgen_anon_2.flowinfo = core::ptr::read_unaligned(head.as_ptr().cast::<u32>()) & 0xffff_ff0fu32;
            fib.__bindgen_anon_3.ipv6_src = core::ptr::read_unaligned(head.as_ptr().add(8).cast::<[u32; 4]>());
            fib.__bindgen_anon_4.ipv6_dst = core::ptr::read_unaligned(head.as_ptr().add(24).cast::<[u32; 4]>());
        }
    } else {
        let total = u16::from_be_bytes([head[2], head[3]]);
        length += total as u32;
        fib.family = 2;
        fib.__bindgen_anon_1.tot_len = total;
        fib.__bindgen_anon_2.tos = head[1];
        fib.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes([head[12], head[13], head[14], head[15]]);
        fib.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes([head[16], head[17], head[18], head[19]]);
    }
    // SAFETY: `md` is the context the kernel passed, `fib` is as large as said.
    let answer = unsafe { bpf_fib_lookup(md.cast(), fib, size_of::<FibLookup>() as i32, 0) };
    if answer == 0 { length } else { 0 }
}

/// New MACs, tag, and one hop less.
#[inline(always)]
fn rewrite(md: *mut xdp_md, packet: &Packet, fib: &FibLookup) -> bool {
    // SAFETY: `md` is the context the kernel passed; read anew, because the head may have moved.
    let (data, end) = unsafe { ((*md).data as usize, (*md).data_end as usize) };
    let tagged = packet.out_tag != 0;
    let l3 = data + if tagged { 18 } else { 14 };
    if l3 + 20 > end {
        return false;
    }
    // SAFETY: 20 bytes from `l3`, and all before them, were just compared with the end of the packet.
    let head = unsafe { &mut *(l3 as *mut [u8; 20]) };
    let ipv6 = head[0] >> 4 == 6;
    if ipv6 {
        head[7] = head[7].wrapping_sub(1);
    } else {
        head[8] = head[8].wrapping_sub(1);
        // RFC 1624: one less in the upper byte of its word is one more there in the checksum.
        let sum = u16::from_be_bytes([head[10], head[11]]) as u32 + 0x100;
        // Of the two zeroes the one that a sum made anew has.
        let sum = (sum + (sum >= 0xffff) as u32) as u16;
        [head[10], head[11]] = sum.to_be_bytes();
    }
    // SAFETY: as above.
    let ethernet = unsafe { &mut *(data as *mut [u8; 14]) };
    let mut i = 0;
    while i < 6 {
        ethernet[i] = fib.dmac[i];
        ethernet[6 + i] = fib.smac[i];
        i += 1;
    }
    let kind = if ipv6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    if tagged {
        // SAFETY: as above: 18 bytes lie before `l3`.
        let tag = unsafe { &mut *((data + 14) as *mut [u8; 4]) };
        [ethernet[12], ethernet[13]] = [0x81, 0x00];
        [tag[0], tag[1]] = packet.out_tag.to_be_bytes();
        [tag[2], tag[3]] = kind;
    } else {
        [ethernet[12], ethernet[13]] = kind;
    }
    true
}

/// Puts the mark in front of the packet. Where the driver has no room there TCX ingress looks a second time.
#[inline(always)]
fn hand_over(md: *mut xdp_md, mark: u32) {
    if SETTINGS.get(0).is_none_or(|settings| settings.flags & SETTING_NO_METADATA != 0) {
        return;
    }
    // SAFETY: `md` is the context the kernel passed.
    let moved = unsafe { bpf_xdp_adjust_meta(md, -(size_of::<Meta>() as i32)) };
    if moved != 0 {
        return;
    }
    // SAFETY: as above; both pointers are re-read because the call invalidated the old ones.
    let (meta, data) = unsafe { ((*md).data_meta as usize, (*md).data as usize) };
    if meta + size_of::<Meta>() > data {
        return;
    }
    // SAFETY: `meta..meta + 8` was just compared with the start of the packet, and the kernel keeps it 4-aligned.
    unsafe { *(meta as *mut Meta) = Meta { magic: META_MAGIC, mark } };
}

/// Lowest mark bit in use, and the mask of all of them.
#[inline(always)]
fn mark_field() -> (u32, u32) {
    let shift = match SETTINGS.get(0) {
        Some(settings) => settings.mark_shift & 31,
        None => 0,
    };
    (shift, mark::MASK << shift)
}

/// Between XDP and the stack: metadata becomes mark bits.
#[classifier]
pub(crate) fn sekimori_mark(ctx: TcContext) -> i32 {
    let skb: *mut __sk_buff = ctx.skb.skb;
    let (shift, mask) = mark_field();
    // SAFETY: `skb` is the context the kernel passed.
    let (meta, data, old) = unsafe { ((*skb).data_meta as usize, (*skb).data as usize, (*skb).mark) };
    let mut bits = 0;
    let mut handed = false;
    if meta + size_of::<Meta>() <= data {
        // SAFETY: `meta..meta + 8` was just compared with the start of the packet.
        let found = unsafe { &*(meta as *const Meta) };
        if found.magic == META_MAGIC {
            bits = found.mark;
            handed = true;
        }
    }
    if !handed {
        bits = second_look(skb);
    }
    // SAFETY: as above.
    unsafe { (*skb).mark = (old & !mask) | ((bits << shift) & mask) };
    TCX_NEXT
}

/// The mark of a packet that came without metadata.
#[inline(never)]
fn second_look(skb: *mut __sk_buff) -> u32 {
    let skb = opaque(skb as usize) as *mut __sk_buff;
    // XDP is done with its scratch once the packet is here.
    let Some(scratch) = SCRATCH_IN.get_ptr_mut(0) else { return mark::KIND_NONE };
    // SAFETY: this CPU's own scratch; softirqs do not nest.
    let scratch = unsafe { &mut *scratch };
    // SAFETY: `skb` is the context the kernel passed.
    let (len, readable) = unsafe { ((*skb).len, (*skb).data_end - (*skb).data) };
    if readable < PULL && readable < len {
        let want = if len < PULL { len } else { PULL };
        // SAFETY: as above.
        let _short = unsafe { bpf_skb_pull_data(skb, want) };
    }
    let packet = &mut scratch.packet;
    packet.now = boot_clock();
    packet.came_from = 0;
    packet.mark = 0;
    packet.segments = 1;
    packet.len = len;
    // SAFETY: as above.
    unsafe { packet.ifindex = (*skb).ifindex };
    // SAFETY: as above.
    let tag = unsafe { if (*skb).vlan_present != 0 { (*skb).vlan_tci & 0xfff } else { 0 } };
    parse_out(skb, scratch, tag);
    remark(scratch)
}

#[inline(never)]
fn remark(scratch: &mut Scratch) -> u32 {
    decide::remark::remark(&Maps, &mut scratch.packet)
}

/// The way out.
#[classifier]
pub(crate) fn sekimori_out(ctx: TcContext) -> i32 {
    let Some(scratch) = SCRATCH_OUT.get_ptr_mut(0) else {
        return TCX_DROP;
    };
    // SAFETY: this CPU's own scratch; the stack runs classifiers with bottom halves off.
    let scratch = unsafe { &mut *scratch };
    let skb: *mut __sk_buff = ctx.skb.skb;
    // SAFETY: `skb` is the context the kernel passed.
    let (len, readable) = unsafe { ((*skb).len, (*skb).data_end - (*skb).data) };
    if readable < PULL && readable < len {
        let want = if len < PULL { len } else { PULL };
        // SAFETY: as above. On failure the parser sees what is linear and drops what it cannot read.
        let _short = unsafe { bpf_skb_pull_data(skb, want) };
    }
    let (shift, mask) = mark_field();
    let packet = &mut scratch.packet;
    packet.direction = DIR_OUT;
    packet.len = len;
    packet.segments = 1;
    let mut tag = 0;
    if private() {
        let Some(said) = PRIVATE_CONTEXT.get(0) else {
            return TCX_DROP;
        };
        packet.now = said.now;
        packet.len = if said.len > len { said.len } else { len };
        packet.ifindex = said.ifindex;
        packet.came_from = said.came_from;
        packet.mark = said.mark;
    } else {
        packet.now = boot_clock();
        // SAFETY: as above.
        unsafe {
            packet.ifindex = (*skb).ifindex;
            packet.came_from = (*skb).ingress_ifindex;
            packet.mark = ((*skb).mark & mask) >> shift;
            if (*skb).gso_size > 0 && (*skb).gso_segs > 0 {
                packet.segments = (*skb).gso_segs;
            }
            if (*skb).vlan_present != 0 {
                tag = (*skb).vlan_tci & 0xfff;
            }
        }
    }
    parse_out(skb, scratch, tag);
    let reason = judge_out(scratch);
    if scratch.packet.contact >= detect::CONTACT_ANSWERED && watch::watched(&scratch.packet) {
        watch::heard(scratch);
    }
    if reason >= Reason::NoPolicy as u32 {
        if watch::wanted(&scratch.packet) {
            watch::capture_out(skb, scratch, reason);
        }
        return TCX_DROP;
    }
    // SAFETY: as above.
    unsafe { (*skb).mark &= !mask };
    TCX_NEXT
}
