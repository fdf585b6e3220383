//! Views: keys, lifetimes, and what a hit means.

use crate::{
    abi::{
        NET_BOX, ROLE_BOX_OUT, STATE_CLOSED, STATE_CLOSING, STATE_ESTABLISHED, STATE_OPENING, Settings, View, ViewKey,
        proto, timeout,
    },
    decide::rules::{Answer, Question},
    packet::Packet,
    tables::Tables,
};

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// Where a key's conversation runs, and in what protocol.
#[inline(always)]
fn here(key: &mut ViewKey, packet: &Packet, protocol: u8) {
    key.iface = packet.iface;
    key.outer = packet.outer;
    key.inner = packet.inner;
    key.proto = protocol;
    key.pad = 0;
}

/// Writes the key of a packet coming in: its source is the peer. In place, like its siblings: a copy would take a good part of
/// the kernel's stack.
#[inline(always)]
pub fn key_in(packet: &Packet, key: &mut ViewKey) {
    key.peer = packet.src;
    key.far = packet.dst;
    key.peer_port = port(packet, packet.sport);
    key.far_port = port(packet, packet.dport);
    here(key, packet, packet.proto);
}

/// Writes the key of a packet going out: its destination is the peer.
#[inline(always)]
pub fn key_out(packet: &Packet, key: &mut ViewKey) {
    key.peer = packet.dst;
    key.far = packet.src;
    key.peer_port = port(packet, packet.dport);
    key.far_port = port(packet, packet.sport);
    here(key, packet, packet.proto);
}

/// Protocols without ports have flows of their addresses alone.
#[inline(always)]
fn port(packet: &Packet, port: u16) -> u16 {
    match packet.proto {
        proto::TCP | proto::UDP | proto::ICMP | proto::ICMPV6 => port,
        _ => 0,
    }
}

/// Writes the key under which the packet an ICMP error quotes is known at this interface. `sent_to_peer`: the quoted packet
/// went out here; else it came in here.
#[inline(always)]
pub fn key_quoted(packet: &Packet, sent_to_peer: bool, key: &mut ViewKey) {
    if sent_to_peer {
        key.peer = packet.quoted_dst;
        key.far = packet.quoted_src;
        key.peer_port = packet.quoted_dport;
        key.far_port = packet.quoted_sport;
    } else {
        key.peer = packet.quoted_src;
        key.far = packet.quoted_dst;
        key.peer_port = packet.quoted_sport;
        key.far_port = packet.quoted_dport;
    }
    here(key, packet, packet.quoted_proto);
}

/// Whether packets of this protocol and type open views at all: ICMP other than echo is one-way.
#[inline(always)]
pub fn conversational(packet: &Packet) -> bool {
    match packet.proto {
        proto::ICMP => packet.icmp_type == 8 || packet.icmp_type == 0,
        proto::ICMPV6 => packet.icmp_type == 128 || packet.icmp_type == 129,
        _ => true,
    }
}

/// An echo reply, which never opens anything.
#[inline(always)]
pub fn echo_reply(packet: &Packet) -> bool {
    (packet.proto == proto::ICMP && packet.icmp_type == 0) || (packet.proto == proto::ICMPV6 && packet.icmp_type == 129)
}

/// Idle limit of a view in its state, nanoseconds.
#[inline(always)]
pub fn idle_limit(view: &View, protocol: u8, settings: &Settings) -> u64 {
    let index = match protocol {
        proto::TCP => match view.state {
            STATE_OPENING => timeout::TCP_OPENING,
            STATE_ESTABLISHED => timeout::TCP_ESTABLISHED,
            STATE_CLOSING => timeout::TCP_CLOSING,
            STATE_CLOSED => timeout::TCP_CLOSED,
            _ => timeout::TCP_CLOSED,
        },
        proto::UDP => {
            if view.state == STATE_OPENING {
                timeout::UDP_ONEWAY
            } else {
                timeout::UDP_STREAM
            }
        }
        proto::ICMP | proto::ICMPV6 => timeout::ICMP,
        _ => timeout::OTHER,
    };
    settings.timeouts[index] as u64 * SECOND
}

/// The live view with this key, or null.
#[inline(always)]
pub fn live<T: Tables>(tables: &T, key: &ViewKey, now: u64) -> *mut View {
    let view = tables.view(key);
    if view.is_null() {
        return core::ptr::null_mut();
    }
    let settings = tables.settings();
    if settings.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: neither is null, so the tables vouch for them until the decision returns.
    let (v, settings) = unsafe { (&*view, &*settings) };
    if now.saturating_sub(v.seen) > idle_limit(v, key.proto, settings) {
        return core::ptr::null_mut();
    }
    view
}

/// Notes that the view is in use; written at most once a second, to keep a shared cache line quiet.
#[inline(always)]
pub fn touch(view: &mut View, now: u64) {
    if now.saturating_sub(view.seen) > SECOND {
        view.seen = now;
    }
}

/// Moves a view from the opening to the established room.
#[inline(always)]
pub fn promote<T: Tables>(tables: &T, key: &ViewKey, view: &View) {
    // A copy on the stack would cost a quarter of it; the table copies from the entry itself.
    if tables.view_insert(key, view, true) {
        tables.view_remove(key, false);
    }
}

/// The rules' question about the flow with this key, from its initiator's side. `echo`: an ICMP flow, which an echo
/// request opened; else ICMP is asked by the packet's own type.
#[inline(always)]
pub fn question(question: &mut Question, key: &ViewKey, role: u8, packet: &Packet, device: u32, echo: bool) {
    question.now = packet.now;
    question.generation = packet.generation;
    question.proto = key.proto;
    question.quarantined = (packet.quarantine != 0) as u8;
    question.pad = [0; 2];
    question.device = device;
    if role == ROLE_BOX_OUT {
        question.from = NET_BOX;
        question.src = key.far;
        question.dst = key.peer;
        question.port = key.peer_port;
    } else {
        question.from = packet.net;
        question.src = key.peer;
        question.dst = key.far;
        question.port = key.far_port;
    }
    if key.proto == proto::ICMP {
        question.port = if echo { 8 << 8 } else { packet.dport };
    } else if key.proto == proto::ICMPV6 {
        question.port = if echo { 128 << 8 } else { packet.dport };
    }
}

/// Takes over a judgement.
#[inline(always)]
pub fn permit(view: &mut View, answer: &Answer, packet: &Packet) {
    view.generation = packet.generation;
    view.rule = answer.rule;
    view.slot = answer.slot;
    view.net = answer.net;
    view.deadline = answer.deadline;
    view.device = packet.device;
}

/// A new view that a packet opens.
#[inline(always)]
pub fn fresh(view: &mut View, role: u8, packet: &Packet) {
    view.seen = packet.now;
    view.opened = packet.now;
    view.deadline = u64::MAX;
    view.generation = packet.generation;
    view.mac_generation = 0;
    view.out_generation = 0;
    view.out_epoch = 0;
    view.out_ifindex = 0;
    view.slow_at = 0;
    view.device = 0;
    view.rule = 0;
    view.slot = 0;
    view.net = 0;
    view.out_net = 0;
    view.out_tag = 0;
    view.out_iface = 0;
    view.role = role;
    view.state = STATE_OPENING;
    view.out_mode = 0;
    view.mac = [0; 6];
    view.linked_at = 0;
    view.out_mac = [0; 6];
    view.pad = [0; 6];
    view.tcp = Default::default();
    view.knock = 0;
    view.knock_window = 0;
    view.knock_scale = 0;
}
