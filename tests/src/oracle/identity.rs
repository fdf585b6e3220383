//! Who owns an address, and who sent the packet (step 12, "Identity").

use std::net::IpAddr;

use jiff::Timestamp;
use sekimori::policy::model::{Device, DeviceMode, Mac, Net, NetKind, Place, Policy, Port};
use sekimori_ebpf::reason::Reason;

use super::sanity::is_link_local_v6;

/// Where an address lives; `None` is nowhere.
pub fn owner(policy: &Policy, addr: IpAddr) -> Option<Place> {
    if policy.box_addresses.contains(&addr) {
        return Some(Place::Box);
    }
    let mut best: Option<(u8, usize)> = None;
    for (index, net) in policy.nets.iter().enumerate() {
        for prefix in net.prefixes.iter().filter(|prefix| prefix.contains(&addr)) {
            if best.is_none_or(|(len, _)| prefix.prefix_len() > len) {
                best = Some((prefix.prefix_len(), index));
            }
        }
    }
    best.map(|(_, index)| index).or_else(|| policy.nets.iter().position(|net| net.is_default)).map(Place::Net)
}

/// The net of an (interface, tags), with its index.
pub fn net_of<'p>(policy: &'p Policy, port: &Port) -> Result<(usize, &'p Net), Reason> {
    let known = policy.nets.iter().any(|net| net.ports.iter().any(|known| known.interface == port.interface));
    if !known {
        return Err(Reason::UnknownInterface);
    }
    policy.nets.iter().enumerate().find(|(_, net)| net.ports.contains(port)).ok_or(Reason::UnknownVlan)
}

/// Whether the net is a zone.
pub fn is_zone(net: &Net) -> bool {
    matches!(net.kind, NetKind::Zone { .. })
}

/// Whether the registration is over.
pub fn is_ended(device: &Device, now: Timestamp) -> bool {
    device.until.is_some_and(|until| now >= until)
}

/// The device that sent this, or why nobody may have.
pub fn identify(
    policy: &Policy,
    net_index: usize,
    mac: Mac,
    src: IpAddr,
    now: Timestamp,
) -> Result<Option<usize>, Reason> {
    let net = &policy.nets[net_index];
    if !is_link_local_v6(src) {
        match owner(policy, src) {
            Some(Place::Box) => return Err(Reason::OwnAddress),
            Some(Place::Net(index)) if index == net_index => {}
            _ => return Err(Reason::SpoofedSource),
        }
    }
    let NetKind::Zone { devices: mode } = net.kind else {
        let stranger = !net.routers.is_empty() && !net.routers.contains(&mac);
        return if stranger { Err(Reason::UnknownRouter) } else { Ok(None) };
    };
    let find = |wanted: &dyn Fn(&Device) -> bool| policy.devices.iter().position(wanted);
    let by_address = find(&|device| device.addresses.contains(&src));
    let by_mac = find(&|device| device.net == net_index && device.mac == mac);
    let lenient = mode == DeviceMode::Any;

    let device = if net.routers.contains(&mac) {
        by_address
    } else {
        if by_address.is_some() && by_address != by_mac {
            return Err(Reason::MacMismatch);
        }
        if by_mac.is_none() && !lenient {
            return Err(Reason::UnknownDevice);
        }
        if let Some(index) = by_mac {
            let addresses = &policy.devices[index].addresses;
            let foreign = !addresses.is_empty() && !addresses.contains(&src) && !is_link_local_v6(src);
            if foreign && mode == DeviceMode::Registered {
                return Err(Reason::MacMismatch);
            }
        }
        by_mac
    };
    match device {
        Some(index) if is_ended(&policy.devices[index], now) => {
            if lenient {
                Ok(None)
            } else {
                Err(Reason::DeviceExpired)
            }
        }
        other => Ok(other),
    }
}

/// The device a packet leaves to, if it is registered still.
pub fn device_towards(policy: &Policy, net: usize, mac: Mac, addr: IpAddr, now: Timestamp) -> Option<usize> {
    let behind_router = policy.nets[net].routers.contains(&mac);
    let fits = |device: &Device| {
        if behind_router { device.addresses.contains(&addr) } else { device.net == net && device.mac == mac }
    };
    policy.devices.iter().position(fits).filter(|index| !is_ended(&policy.devices[*index], now))
}
