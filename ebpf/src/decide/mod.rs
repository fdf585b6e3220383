//! The judgement: `docs/ARCHITECTURE.md`, step by step, over a parsed [`Packet`] and the [`Tables`].

pub mod converse;
pub mod cut;
pub mod egress;
pub mod flow;
pub mod fragment;
pub mod identity;
pub mod ingress;
pub mod local;
pub mod remark;

pub mod rules;

use crate::{abi::PortKey, packet::Packet, reason::Reason, tables::Tables};

pub use egress::egress;
pub use ingress::ingress;

/// Reads the generation and finds the packet's zone or network. A reason number to drop by, or 0.
#[inline(always)]
fn place<T: Tables>(tables: &T, packet: &mut Packet, guarded: u16) -> u32 {
    packet.net = 0;
    packet.iface = 0;
    packet.device = 0;
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
