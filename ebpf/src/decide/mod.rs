//! The judgement: `docs/ARCHITECTURE.md`, step by step, over a parsed [`Packet`] and the [`Tables`].

pub mod converse;
pub mod cut;
pub mod egress;
pub mod fast;
pub mod flow;
pub mod fragment;
pub mod identity;
pub mod ingress;
pub mod limit;
pub mod local;
pub mod quarantine;
pub mod remark;

pub mod rules;
pub mod staged;

use crate::{abi::PortKey, bytes::Bytes, packet::Packet, reason::Reason, tables::Tables};

pub use egress::egress;
pub use ingress::ingress;

/// Judges a frame that came in by a guarded interface: a glance, and where that is not enough the long way. The caller has
/// set `now`, `ifindex`, `direction`, `len` and `segments`. Returns the reason's number.
pub fn way_in<T: Tables, B: Bytes>(tables: &T, bytes: &B, packet: &mut Packet, work: &mut converse::Work) -> u32 {
    let mut reason = fast::glance(tables, bytes, packet);
    if reason == fast::IPV6 {
        reason = fast::glance_v6(tables, bytes, packet);
    }
    if reason != fast::ASK {
        return reason;
    }
    packet.out_mode = 0;
    crate::parse::parse(bytes, 0, packet);
    ingress(tables, packet, work)
}

/// Reads the generation and finds the packet's zone or network. A reason number to drop by, or 0.
#[inline(always)]
fn place<T: Tables>(tables: &T, packet: &mut Packet, guarded: u16) -> u32 {
    packet.net = 0;
    packet.iface = 0;
    packet.device = 0;
    packet.quarantine = 0;
    packet.by_management = 0;
    packet.contact = 0;
    packet.staged = 0;
    packet.cut = 0;
    packet.out_slot = 0;
    packet.out_rule = 0;
    packet.out_mark = 0;
    packet.out_side = 0;
    packet.out_opened = 0;
    if packet.generation == 0 {
        return Reason::NoPolicy as u32;
    }
    let iface = tables.iface(packet.ifindex);
    if iface.is_null() {
        return Reason::UnknownInterface as u32;
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let iface = unsafe { *iface };
    if iface.flags & guarded == 0 {
        return Reason::UnknownInterface as u32;
    }
    packet.iface = iface.id;
    if packet.l2_error != 0 {
        return packet.l2_error;
    }
    let key = PortKey { iface: iface.id, outer: packet.outer, inner: packet.inner, pad: 0 };
    packet.net = tables.port(packet.generation, &key);
    if packet.net == 0 {
        return Reason::UnknownVlan as u32;
    }
    0
}
