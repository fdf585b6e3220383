//! Who sent it: does the source live on this side, and is it the device it says it is.

use crate::{
    abi::{
        DEVICE_HAS_ADDRESSES, MAC_ROUTER, MacKey, NET_BOX, NET_FLAG_KNOWN, NET_FLAG_REGISTERED, NET_FLAG_ROUTERS,
        NET_FLAG_ZONE,
    },
    packet::Packet,
    parse::link_local,
    reason::Reason,
    tables::{Addr, Tables},
};

/// Checks `addr` as used by the packet's source MAC and sets `packet.device`. A reason number to drop by, or 0.
#[inline(always)]
pub fn identity<T: Tables>(tables: &T, packet: &mut Packet, addr: &Addr) -> u32 {
    let generation = packet.generation;
    let local = link_local(addr);
    if !local {
        let entry = tables.addr(generation, addr);
        if entry.is_null() {
            return Reason::Internal as u32;
        }
        // SAFETY: not null, so the table vouches for it until the decision returns.
        let owner = unsafe { (*entry).owner };
        if owner == NET_BOX {
            return Reason::OwnAddress as u32;
        }
        if owner != packet.net {
            return Reason::SpoofedSource as u32;
        }
    }
    let net = tables.net(generation, packet.net);
    if net.is_null() {
        return Reason::Internal as u32;
    }
    // SAFETY: as above.
    let net = unsafe { *net };
    let key = MacKey { mac: packet.src_mac, net: packet.net };
    let mac = tables.mac(generation, &key);
    let (mac_device, router) = if mac.is_null() {
        (0, false)
    } else {
        // SAFETY: as above.
        let mac = unsafe { *mac };
        (mac.device, mac.flags & MAC_ROUTER != 0)
    };
    if net.flags & NET_FLAG_ZONE == 0 {
        if net.flags & NET_FLAG_ROUTERS != 0 && !router {
            return Reason::UnknownRouter as u32;
        }
        return 0;
    }
    let bound = tables.binding(generation, addr);
    let strict = net.flags & (NET_FLAG_REGISTERED | NET_FLAG_KNOWN) != 0;
    let device = if router {
        bound
    } else {
        if bound != 0 && bound != mac_device {
            return Reason::MacMismatch as u32;
        }
        if mac_device == 0 && strict {
            return Reason::UnknownDevice as u32;
        }
        mac_device
    };
    if device == 0 {
        return 0;
    }
    let entry = tables.device(generation, device);
    if entry.is_null() {
        return Reason::Internal as u32;
    }
    // SAFETY: as above.
    let entry = unsafe { *entry };
    let elsewhere = entry.flags & DEVICE_HAS_ADDRESSES != 0 && bound == 0 && !local && !router;
    if elsewhere && net.flags & NET_FLAG_REGISTERED != 0 {
        return Reason::MacMismatch as u32;
    }
    if entry.schedule != 0 && tables.open_until(generation, entry.schedule, packet.now) == 0 {
        if strict {
            return Reason::DeviceExpired as u32;
        }
        return 0;
    }
    packet.device = device;
    0
}

/// The device a view's initiator is now, on the way out towards it: by the destination MAC, or behind a router by
/// address. 0 for none.
#[inline(always)]
pub fn device_towards<T: Tables>(tables: &T, packet: &Packet) -> u32 {
    let key = MacKey { mac: packet.dst_mac, net: packet.net };
    let mac = tables.mac(packet.generation, &key);
    let device = if mac.is_null() {
        0
    } else {
        // SAFETY: not null, so the table vouches for it until the decision returns.
        let mac = unsafe { *mac };
        if mac.flags & MAC_ROUTER != 0 { tables.binding(packet.generation, &packet.dst) } else { mac.device }
    };
    if device == 0 {
        return 0;
    }
    let entry = tables.device(packet.generation, device);
    if entry.is_null() {
        return 0;
    }
    // SAFETY: as above.
    let schedule = unsafe { (*entry).schedule };
    if schedule != 0 && tables.open_until(packet.generation, schedule, packet.now) == 0 {
        return 0;
    }
    device
}
