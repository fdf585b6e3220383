//! The mark of a packet whose way in could hand nothing over (a driver without metadata): looked up a second time, from
//! the views that the way in has just made or used.

use crate::{
    abi::{CUT_ANY_STAGED, DIR_IN, IFACE_GUARDED, NET_BOX, NET_NONE, ROLE_INITIATOR, ViewKey},
    decide::{converse::marked, flow, fragment, place, staged},
    mark,
    packet::{CLASS_ICMP_ERROR, CLASS_PLAIN, FRAG_LATER, Packet, ethertype},
    tables::Tables,
};

/// The unshifted mark, or [`mark::KIND_NONE`]: then the way out refuses the packet. One-way ICMP has no view and is not
/// found, which is why such drivers cannot forward it.
#[inline(always)]
pub fn remark<T: Tables>(tables: &T, packet: &mut Packet) -> u32 {
    packet.generation = tables.active();
    packet.direction = DIR_IN;
    if place(tables, packet, IFACE_GUARDED) != 0 || packet.l3_error != 0 {
        return mark::KIND_NONE;
    }
    let local = mark::encode(mark::KIND_LOCAL, packet.generation, NET_BOX, 0);
    if packet.ethertype != ethertype::IPV4 && packet.ethertype != ethertype::IPV6 {
        return local;
    }
    if packet.frag == FRAG_LATER {
        return fragment::mark_of(tables, packet);
    }
    let mut key = ViewKey::default();
    if packet.class == CLASS_ICMP_ERROR {
        flow::key_quoted(packet, true, &mut key);
    } else {
        flow::key_in(packet, &mut key);
    }
    let view = flow::live(tables, &key, packet.now);
    if view.is_null() {
        // A control protocol that passed without a view is a built-in; anything else is unknown.
        return if packet.class == CLASS_PLAIN || packet.class == CLASS_ICMP_ERROR { mark::KIND_NONE } else { local };
    }
    // SAFETY: not null, so the table vouches for it until the decision returns.
    let view = unsafe { &*view };
    if view.net == NET_NONE {
        return mark::KIND_NONE;
    }
    let mark = marked(packet.generation, view.role, DIR_IN, view.net, view.rule);
    if view.role == ROLE_INITIATOR && tables.cut().any & CUT_ANY_STAGED != 0 && tables.cut_off(packet) == 0 {
        let port = staged::port(packet, &key, false);
        // What the way in refused does not come here; whether it found it on the list it could not say.
        let _refused = tables.unlisted(packet, &key, view.net, view.rule, port);
        return staged::signed(packet, mark);
    }
    mark
}
