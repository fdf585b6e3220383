//! The glance: what most packets need, from the frame's first bytes and as few tables as can be.
//!
//! It judges only what it can judge completely and exactly as the long way would; everything else it leaves to the long
//! way ([`ASK`]). For flows that cross the box untranslated it also says where the kernel sent their packets a moment ago,
//! so that the way in may send this one there itself.

use crate::{
    abi::{
        ADDR_LISTED, ADDR_OPENS, AddrEntry, IFACE_FAST_IN, IFACE_FAST_OUT, IFACE_VLAN, OUT_BRIDGED, OUT_ROUTED, Place,
        ROLE_INITIATOR, ROLE_RESPONDER, STATE_ESTABLISHED, View, ViewKey, ViewKey4, proto, tick, timeout,
    },
    bytes::{Bytes, be16, be32, half, mac_at, mac_number, word},
    classify,
    decide::{converse::marked, flow, quarantine},
    mark,
    packet::{FRAG_NONE, NO_SCALE, Packet, ethertype, tcp},
    parse::{is_v4, ordinary_v4, ordinary_v6},
    reason::Reason,
    tables::Tables,
};

/// The glance decides nothing: parse and judge the long way.
pub const ASK: u32 = 0;

/// A flow goes the slow way out at least this often, in [`tick`]s: that keeps neighbours, bridges and the view at the other
/// interface awake.
pub const SLOW_EVERY: u32 = 20;
/// The same across a bridge, where only the kernel knows which port a MAC lives behind.
pub const SLOW_EVERY_BRIDGED: u32 = 1;

/// The frame is IPv6, for [`glance_v6`].
pub const IPV6: u32 = u32::MAX;

/// Judges a frame that came in by a guarded interface, if a glance is enough. The caller has set `now`, `ifindex`, `len` and
/// `segments`. Returns the reason's number, [`IPV6`], or [`ASK`]; then only `packet.glanced` means anything.
#[inline(always)]
pub fn glance<T: Tables, B: Bytes>(tables: &T, bytes: &B, packet: &mut Packet) -> u32 {
    packet.glanced = 0;
    packet.out_mode = 0;
    let Some(ethernet) = bytes.at::<14>(0) else { return ASK };
    let macs = macs(ethernet);
    if macs.from & 1 != 0 || macs.from == 0 {
        return ASK;
    }
    let kind = be16::<12, 14>(ethernet);
    if kind == ethertype::IPV4 {
        return v4::<14, T, B>(tables, bytes, packet, macs, 0);
    }
    if kind == ethertype::IPV6 {
        return IPV6;
    }
    if kind != 0x8100 {
        return ASK;
    }
    let Some(tag) = bytes.at::<4>(14) else { return ASK };
    let outer = be16::<0, 4>(tag) & 0xfff;
    let kind = be16::<2, 4>(tag);
    if outer == 0 {
        return ASK;
    }
    if kind == ethertype::IPV4 {
        return v4::<18, T, B>(tables, bytes, packet, macs, outer);
    }
    if kind == ethertype::IPV6 { IPV6 } else { ASK }
}

/// The rest of [`glance`] where that said [`IPV6`]: apart, because its addresses need more of the kernel's small stack.
#[inline(always)]
pub fn glance_v6<T: Tables, B: Bytes>(tables: &T, bytes: &B, packet: &mut Packet) -> u32 {
    let Some(ethernet) = bytes.at::<14>(0) else { return ASK };
    let macs = macs(ethernet);
    if be16::<12, 14>(ethernet) == ethertype::IPV6 {
        return v6::<14, T, B>(tables, bytes, packet, macs, 0);
    }
    let Some(tag) = bytes.at::<4>(14) else { return ASK };
    v6::<18, T, B>(tables, bytes, packet, macs, be16::<0, 4>(tag) & 0xfff)
}

#[inline(always)]
fn macs(ethernet: &[u8; 14]) -> Macs {
    Macs { to: mac_at::<0, 4, 14>(ethernet), from: mac_at::<6, 10, 14>(ethernet) }
}

/// The frame's addresses, as [`mac_at`].
#[derive(Clone, Copy)]
struct Macs {
    to: u64,
    from: u64,
}

/// What both families ask first: the tables in force, nothing cut, and where this is. Null: ask the long way.
#[inline(always)]
fn place<T: Tables>(tables: &T, packet: &mut Packet, outer: u16) -> *mut Place {
    let cut = tables.cut();
    let active = tables.in_force();
    let place = tables.place(packet.ifindex, outer);
    if cut.all | cut.any != 0 || active.generation == 0 || place.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let found = unsafe { &*place };
    if found.ifindex != packet.ifindex || found.base != active.base || found.outer != outer {
        return core::ptr::null_mut();
    }
    packet.generation = active.generation;
    packet.net = found.net;
    packet.iface = found.iface;
    packet.routed = found.routed;
    packet.outer = outer;
    place
}

#[inline(always)]
fn v4<const AT: usize, T: Tables, B: Bytes>(tables: &T, bytes: &B, packet: &mut Packet, macs: Macs, outer: u16) -> u32 {
    let Some(head) = bytes.at::<20>(AT) else { return ASK };
    let Some(transport) = bytes.at::<8>(AT + 20) else { return ASK };
    if !ordinary_v4(head[0], [head[6], head[7]], head[9], head[16], be32::<0, 8>(transport)) {
        return ASK;
    }
    let place = place(tables, packet, outer);
    if place.is_null() {
        return ASK;
    }
    let (src, dst) = (word::<12, 20>(head), word::<16, 20>(head));
    let class = classify::class4(tables, packet.generation, u32::from_be(src));
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let place = unsafe { &mut *place };
    let known = (place.base as u64) << 32 | class as u64;
    if place.unlisted == known {
        packet.out_rule = 0;
        return Reason::Unlisted as u32;
    }
    let business = business(tables, packet, classify::class(tables, packet.generation, class));
    if business & ADDR_LISTED == 0 {
        if (place.unlisted >> 32) as u32 != place.base {
            // Once under each base: most of a flood is of one class, and the line stays unwritten.
            place.unlisted = known;
        }
        packet.out_rule = 0;
        return Reason::Unlisted as u32;
    }
    packet.proto = head[9];
    packet.sport = be16::<0, 8>(transport);
    packet.dport = be16::<2, 8>(transport);
    let key = ViewKey4 {
        peer: src,
        far: dst,
        peer_port: packet.sport,
        far_port: packet.dport,
        iface: packet.iface,
        outer,
        inner: 0,
        proto: packet.proto,
        pad: 0,
    };
    let view = tables.established4(&key);
    if view.is_null() {
        if business & ADDR_OPENS == 0 && !tables.opening4(&key) && !adopting(tables, packet.now) {
            packet.out_rule = 0;
            return Reason::NoRule as u32;
        }
        packet.glanced = (business & ADDR_OPENS != 0) as u8;
        return ASK;
    }
    let total = be16::<2, 20>(head) as u32;
    packet.ttl = head[8];
    let sound = total >= 28
        && total + AT as u32 <= packet.len
        && sums_up(head)
        && transport_fits(bytes.at::<20>(AT + 20), transport, total - 20, packet);
    if !sound || quarantine::suspect4(tables, src, dst, [macs.from, macs.to]) {
        return ASK;
    }
    // SAFETY: as above.
    let view = unsafe { &mut *view };
    let unfinished = unfinished(packet, src as u64 + dst as u64, total - 20);
    let reason = follow(tables, packet, view, place, macs);
    if unfinished {
        packet.out_mode = 0;
    }
    if packet.out_mode != 0 && view.role == ROLE_RESPONDER && packet.proto == proto::TCP {
        let key = ViewKey4 {
            peer: dst,
            far: src,
            peer_port: packet.dport,
            far_port: packet.sport,
            iface: view.out_iface,
            outer: view.out_tag,
            inner: 0,
            proto: proto::TCP,
            pad: 0,
        };
        return judged_there(tables, packet, tables.established4(&key));
    }
    reason
}

#[inline(always)]
fn v6<const AT: usize, T: Tables, B: Bytes>(tables: &T, bytes: &B, packet: &mut Packet, macs: Macs, outer: u16) -> u32 {
    let (Some(head), Some(src), Some(dst)) = (bytes.at::<8>(AT), bytes.at::<16>(AT + 8), bytes.at::<16>(AT + 24))
    else {
        return ASK;
    };
    let Some(transport) = bytes.at::<8>(AT + 40) else { return ASK };
    if !ordinary_v6(head[0], head[6], dst[0], be32::<0, 8>(transport)) {
        return ASK;
    }
    let place = place(tables, packet, outer);
    if place.is_null() {
        return ASK;
    }
    let business = business(tables, packet, tables.addr(packet.generation, src));
    if business & ADDR_LISTED == 0 {
        packet.out_rule = 0;
        return Reason::Unlisted as u32;
    }
    if is_v4(src) {
        return ASK;
    }
    packet.proto = head[6];
    packet.sport = be16::<0, 8>(transport);
    packet.dport = be16::<2, 8>(transport);
    let mut key = ViewKey {
        peer: *src,
        far: *dst,
        peer_port: packet.sport,
        far_port: packet.dport,
        iface: packet.iface,
        outer,
        inner: 0,
        proto: packet.proto,
        pad: 0,
    };
    let view = tables.established6(&key);
    if view.is_null() {
        if business & ADDR_OPENS == 0 && !tables.opening6(&key) && !adopting(tables, packet.now) {
            packet.out_rule = 0;
            return Reason::NoRule as u32;
        }
        packet.glanced = (business & ADDR_OPENS != 0) as u8;
        return ASK;
    }
    let length = be16::<4, 8>(head) as u32;
    packet.ttl = head[7];
    let sound = length >= 8
        && length + 40 + AT as u32 <= packet.len
        && transport_fits(bytes.at::<20>(AT + 40), transport, length, packet);
    if !sound || quarantine::suspect6(tables, src, dst, [macs.from, macs.to]) {
        return ASK;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let (view, place) = unsafe { (&mut *view, &*place) };
    let ends = word::<0, 16>(&key.peer) as u64
        + word::<4, 16>(&key.peer) as u64
        + word::<8, 16>(&key.peer) as u64
        + word::<12, 16>(&key.peer) as u64
        + word::<0, 16>(&key.far) as u64
        + word::<4, 16>(&key.far) as u64
        + word::<8, 16>(&key.far) as u64
        + word::<12, 16>(&key.far) as u64;
    let unfinished = unfinished(packet, ends, length);
    let reason = follow(tables, packet, view, place, macs);
    if unfinished {
        packet.out_mode = 0;
    }
    if packet.out_mode != 0 && view.role == ROLE_RESPONDER && packet.proto == proto::TCP {
        key.peer = *dst;
        key.far = *src;
        key.peer_port = packet.dport;
        key.far_port = packet.sport;
        key.iface = view.out_iface;
        key.outer = view.out_tag;
        return judged_there(tables, packet, tables.established6(&key));
    }
    reason
}

/// What business rules give a source with this entry: [`ADDR_LISTED`] and [`ADDR_OPENS`]. One that lives elsewhere, or has no
/// entry, is not judged by this.
#[inline(always)]
pub(super) fn business<T: Tables>(_: &T, packet: &Packet, entry: *const AddrEntry) -> u16 {
    if entry.is_null() {
        return ADDR_LISTED | ADDR_OPENS;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let entry = unsafe { &*entry };
    if entry.owner == packet.net { entry.flags } else { ADDR_LISTED | ADDR_OPENS }
}

/// Whether mid-stream packets may open flows now (first attachment).
#[inline(always)]
pub(super) fn adopting<T: Tables>(tables: &T, now: u64) -> bool {
    let settings = tables.settings();
    // SAFETY: not null, so the table vouches for it until the decision returns.
    settings.is_null() || now < unsafe { (*settings).adopt_until }
}

/// RFC 1071 over a header without options.
#[inline(always)]
fn sums_up(head: &[u8; 20]) -> bool {
    let sum = word::<0, 20>(head) as u64
        + word::<4, 20>(head) as u64
        + word::<8, 20>(head) as u64
        + word::<12, 20>(head) as u64
        + word::<16, 20>(head) as u64;
    folded(sum) == 0xffff
}

/// A sum of up to 2³⁰ words of 32 bits as one of 16 bits. One's complement sums do not mind the byte order, nor in what portions
/// they are made.
#[inline(always)]
fn folded(mut sum: u64) -> u64 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

/// Whether the transport checksum is still the sum of the pseudo-header alone (`ends`: that of its addresses), which a sender leaves
/// to its card to complete (`CHECKSUM_PARTIAL`, `include/linux/skbuff.h`). Software links hand over such packets as they are, and
/// what XDP forwards nobody completes any more: the kernel's way does. One in 65,536 packets only looks like it.
#[inline(always)]
fn unfinished(packet: &Packet, ends: u64, len: u32) -> bool {
    let sum = folded(ends + (packet.proto as u16).to_be() as u64 + (len as u16).to_be() as u64);
    packet.sum as u64 == sum
}

/// Whether this is UDP of the right length, or a TCP segment in the middle of a conversation; reads what tracking needs.
#[inline(always)]
fn transport_fits(tcp_head: Option<&[u8; 20]>, head: &[u8; 8], len: u32, packet: &mut Packet) -> bool {
    if packet.proto == proto::UDP {
        packet.sum = half::<6, 8>(head);
        return be16::<4, 8>(head) as u32 == len;
    }
    let Some(h) = tcp_head else { return false };
    let header = ((h[12] >> 4) as u32) * 4;
    let flags = h[13];
    if header < 20 || header > len || flags & (tcp::SYN | tcp::FIN | tcp::RST | tcp::ACK) != tcp::ACK {
        return false;
    }
    packet.sum = half::<16, 20>(h);
    packet.seq = be32::<4, 20>(h);
    packet.ack = be32::<8, 20>(h);
    packet.window = be16::<14, 20>(h);
    packet.tcp_flags = flags;
    packet.payload = len - header;
    packet.scale = NO_SCALE;
    true
}

/// An established view: every condition under which the long way would answer [`Reason::Flow`], or [`ASK`].
#[inline(always)]
fn follow<T: Tables>(tables: &T, packet: &mut Packet, view: &mut View, place: &Place, macs: Macs) -> u32 {
    let settings = tables.settings();
    if settings.is_null() {
        return ASK;
    }
    let limit = if packet.proto == proto::TCP { timeout::TCP_ESTABLISHED } else { timeout::UDP_STREAM };
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let limit = unsafe { (*settings).timeouts[limit] };
    let now = packet.now;
    let generation = packet.generation;
    let held = view.state == STATE_ESTABLISHED
        && view.mac_generation == generation
        && mac_number(&view.mac) == macs.from
        && now < view.deadline
        && now.saturating_sub(view.seen) <= limit as u64 * flow::SECOND;
    if !held {
        return ASK;
    }
    packet.out_rule = 0;
    packet.out_slot = 0;
    packet.out_side = 0;
    packet.out_opened = 0;
    packet.device = view.device;
    if view.role == ROLE_INITIATOR {
        if view.generation != generation {
            return ASK;
        }
        packet.out_rule = view.rule as u32 + 1;
        packet.out_slot = view.slot as u32 + 1;
        packet.out_side = 1;
        packet.out_mark = marked(generation, ROLE_INITIATOR, crate::abi::DIR_IN, view.net, view.rule);
        if packet.proto == proto::TCP {
            let verdict = tables.track(view, packet, 0);
            if verdict != 0 {
                return verdict;
            }
        }
    } else if view.role == ROLE_RESPONDER {
        packet.out_mark = mark::encode(mark::KIND_REPLY, generation, view.net, view.rule);
    } else {
        return ASK;
    }
    flow::touch(view, now);
    let fast = tables.fast();
    let every = if view.out_mode == OUT_BRIDGED { SLOW_EVERY_BRIDGED } else { SLOW_EVERY };
    let known = fast != 0
        && view.out_epoch == fast
        && view.out_generation == generation
        && tick(now).wrapping_sub(view.slow_at) < if limit / 4 < every { limit / 4 } else { every }
        && packet.ttl > 1;
    let meant = if view.out_mode == OUT_BRIDGED {
        macs.to == mac_number(&view.out_mac) && packet.outer == view.out_tag
    } else {
        macs.to == mac_number(&place.mac)
    };
    if known && meant {
        packet.out_mode = view.out_mode;
        // With no side: an answer counts for its rule where it leaves.
        packet.out_slot = view.slot as u32 + 1;
        packet.out_ifindex = view.out_ifindex;
        packet.out_tag = view.out_tag;
        packet.out_net = view.out_net;
    }
    Reason::Flow as u32
}

/// A TCP reply about to be forwarded from here: the initiator's view, at the interface it leaves by, follows it as it would on
/// the way out.
#[inline(always)]
fn judged_there<T: Tables>(tables: &T, packet: &mut Packet, view: *mut View) -> u32 {
    if view.is_null() {
        packet.out_mode = 0;
        return Reason::Flow as u32;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let view = unsafe { &mut *view };
    let held = view.role == ROLE_INITIATOR
        && view.state == STATE_ESTABLISHED
        && view.generation == packet.generation
        && packet.now < view.deadline;
    if !held || tables.track(view, packet, 1) != 0 {
        // The way out says why, and counts it there.
        packet.out_mode = 0;
        return Reason::Flow as u32;
    }
    flow::touch(view, packet.now);
    Reason::Flow as u32
}

/// On the way out, by the slow way, of a packet from a guarded interface: lets the view where it came in know how it left. `near`
/// is the view here; `role` the one expected there.
#[inline(always)]
pub fn link<T: Tables>(tables: &T, packet: &Packet, near: &mut View, role: u8) {
    let fast = tables.fast();
    let at = tick(packet.now);
    if fast == 0 || near.linked_at == at || packet.frag != FRAG_NONE || packet.inner != 0 || packet.came_from == 0 {
        return;
    }
    near.linked_at = at;
    let (came, goes) = (tables.iface(packet.came_from), tables.iface(packet.ifindex));
    if came.is_null() || goes.is_null() {
        return;
    }
    // SAFETY: neither is null, so the table vouches for them until the decision returns.
    let (mut came, goes) = unsafe { (*came, *goes) };
    let mut tag = 0;
    if came.flags & IFACE_VLAN != 0 {
        tag = came.tag;
        let port = tables.iface(came.lower);
        if port.is_null() {
            return;
        }
        // SAFETY: as above.
        came = unsafe { *port };
    }
    if came.flags & IFACE_FAST_IN == 0 || goes.flags & IFACE_FAST_OUT == 0 {
        return;
    }
    let mut key = ViewKey::default();
    flow::key_in(packet, &mut key);
    key.iface = came.id;
    key.outer = tag;
    let mut view = tables.view(&key);
    if view.is_null() && packet.outer != tag {
        // Across a bridge tags stay on.
        key.outer = packet.outer;
        view = tables.view(&key);
    }
    if view.is_null() {
        return;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let view = unsafe { &mut *view };
    if view.role != role || (role == ROLE_INITIATOR && view.net != packet.net) {
        return;
    }
    view.out_mode = if view.mac == packet.src_mac { OUT_BRIDGED } else { OUT_ROUTED };
    view.out_mac = packet.dst_mac;
    view.out_ifindex = packet.ifindex;
    view.out_iface = packet.iface;
    view.out_net = packet.net;
    view.out_tag = packet.outer;
    if role == ROLE_RESPONDER {
        view.deadline = near.deadline;
    }
    view.slow_at = at;
    view.out_epoch = fast;
    view.out_generation = packet.generation;
}
