//! This network namespace's addresses, routes and stacked devices, as the routing lint wants them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    net::IpAddr,
    thread,
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use ipnet::IpNet;
use rtnetlink::{
    Handle,
    packet_route::{
        AddressFamily,
        address::AddressAttribute,
        route::{
            RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop, RouteNextHopFlags,
            RouteType,
        },
    },
};

use super::{
    error::{Error, While},
    interfaces::{self, Device},
};
use crate::policy::{
    lint::{InterfaceAddress, Route, System},
    model::{Policy, Port},
};

/// VLAN tags a port can have.
const TAGS: usize = 2;

/// The system, seen from where the policy's interfaces are; `None` if none of them exists in this namespace, because
/// its routes then say nothing about the policy.
///
/// # Errors
/// Netlink does not answer.
pub fn around(policy: &Policy) -> Result<Option<System>, Error> {
    let named: BTreeSet<&str> =
        policy.nets.iter().flat_map(|net| &net.ports).map(|port| port.interface.as_str()).collect();
    on_netlink(async |handle| {
        let devices = interfaces::list().await?;
        if !devices.values().any(|device| named.contains(device.name.as_str())) {
            return Ok(None);
        }
        Ok(Some(System {
            addresses: addresses(&handle, &devices).await?,
            routes: routes(&handle, &devices).await?,
            carriers: carriers(&devices, &named),
        }))
    })
}

/// The interfaces that have an address, and those they stand on: the ports of a bridge, the device under a VLAN.
///
/// # Errors
/// Netlink does not answer.
pub fn holders(address: IpAddr) -> Result<Vec<String>, Error> {
    on_netlink(async |handle| {
        let devices = interfaces::list().await?;
        let found = addresses(&handle, &devices).await?;
        let with: BTreeSet<&str> =
            found.iter().filter(|found| found.address == address).map(|found| found.interface.as_str()).collect();
        let mut holders: BTreeSet<u32> =
            devices.iter().filter(|(_, device)| with.contains(device.name.as_str())).map(|(index, _)| *index).collect();
        // A VLAN device on a bridge on a VLAN device, at most.
        for _ in 0..=TAGS {
            let under = |holder: &u32| {
                let ports = devices.iter().filter(move |(_, device)| device.port_of == Some(*holder));
                let lower = devices.get(holder).and_then(|device| device.vlan_of);
                ports.map(|(index, _)| *index).chain(lower).collect::<Vec<_>>()
            };
            holders.extend(holders.iter().flat_map(under).collect::<Vec<_>>());
        }
        Ok(holders.into_iter().map(|index| name(&devices, index)).collect())
    })
}

/// Runs netlink questions to their end, whether or not the caller has a runtime: on a thread of its own, which stands
/// in the caller's network namespace.
pub(super) fn on_netlink<T, F>(ask: impl FnOnce(Handle) -> F + Send) -> Result<T, Error>
where
    T: Send,
    F: Future<Output = Result<T, Error>>,
{
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().doing("start netlink")?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().doing("open rtnetlink")?;
            tokio::spawn(connection);
            ask(handle).await
        })
    };
    thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err(Error::new("ask netlink", "the thread that asks was lost")))
}

fn name(devices: &BTreeMap<u32, Device>, index: u32) -> String {
    devices.get(&index).map_or_else(|| format!("#{index}"), |device| device.name.clone())
}

async fn addresses(handle: &Handle, devices: &BTreeMap<u32, Device>) -> Result<Vec<InterfaceAddress>, Error> {
    let mut messages = handle.address().get().execute();
    let mut found = Vec::new();
    while let Some(message) = messages.try_next().await.doing("list the addresses")? {
        // On a point-to-point link `Address` is the other end.
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let address = local.or_else(|| {
            message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
        });
        if let Some(address) = address {
            found.push(InterfaceAddress { interface: name(devices, message.header.index), address });
        }
    }
    Ok(found)
}

/// The main table. Of several routes to one prefix only those of the best metric: the others wait for a failure.
async fn routes(handle: &Handle, devices: &BTreeMap<u32, Device>) -> Result<Vec<Route>, Error> {
    let mut found: Vec<(u32, Route)> = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        let mut messages = handle.route().get(question).execute();
        while let Some(message) = messages.next().await {
            read_route(&message.doing("list the routes")?, devices, &mut found);
        }
    }
    let mut best: HashMap<IpNet, u32> = HashMap::new();
    for (metric, route) in &found {
        best.entry(route.prefix).and_modify(|best| *best = (*best).min(*metric)).or_insert(*metric);
    }
    Ok(found.into_iter().filter(|(metric, route)| best[&route.prefix] == *metric).map(|(_, route)| route).collect())
}

fn read_route(message: &RouteMessage, devices: &BTreeMap<u32, Device>, found: &mut Vec<(u32, Route)>) {
    let header = &message.header;
    let mut table = u32::from(header.table);
    let (mut to, mut metric, mut interface, mut hops): (_, _, _, &[RouteNextHop]) = (None, 0, None, &[]);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::MultiPath(all) => hops = all,
            RouteAttribute::Destination(RouteAddress::Inet(address)) => to = Some(IpAddr::V4(*address)),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => to = Some(IpAddr::V6(*address)),
            _ => {}
        }
    }
    let unspecified = match header.address_family {
        AddressFamily::Inet => IpAddr::from([0; 4]),
        AddressFamily::Inet6 => IpAddr::from([0u16; 8]),
        _ => return,
    };
    let idle = header.flags.intersects(RouteFlags::Cloned | RouteFlags::Dead);
    let Ok(prefix) = IpNet::new(to.unwrap_or(unspecified), header.destination_prefix_length) else {
        return;
    };
    // A route for some sources or services only does not say where a prefix lives.
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) || idle || header.source_prefix_length != 0 || header.tos != 0 {
        return;
    }
    let prefix = prefix.trunc();
    match header.kind {
        RouteType::Unicast => {
            let alive = hops.iter().filter(|hop| !hop.flags.contains(RouteNextHopFlags::Dead));
            let ways = alive.map(|hop| hop.interface_index).chain(interface);
            found.extend(ways.map(|way| (metric, Route { prefix, interface: Some(name(devices, way)) })));
        }
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => {
            found.push((metric, Route { prefix, interface: None }));
        }
        _ => {}
    }
}

/// Ports under the VLAN devices and bridges that the policy does not name itself. One that stands on nothing the
/// frames could leave by has an empty list.
fn carriers(devices: &BTreeMap<u32, Device>, named: &BTreeSet<&str>) -> Vec<(String, Vec<Port>)> {
    let stacked = devices.iter().filter(|(_, device)| device.bridge || device.vlan_of.is_some());
    stacked
        .filter(|(_, device)| !named.contains(device.name.as_str()))
        .map(|(index, device)| {
            let mut ports = Vec::new();
            descend(devices, named, *index, &mut Vec::new(), &mut BTreeSet::new(), &mut ports);
            (device.name.clone(), ports)
        })
        .collect()
}

/// Adds the ports below one device, reached with these tags, outermost last. `above` holds the devices on the way,
/// because a VLAN device may lie on a bridge that another VLAN device is a port of.
fn descend(
    devices: &BTreeMap<u32, Device>,
    named: &BTreeSet<&str>,
    index: u32,
    tags: &mut Vec<u16>,
    above: &mut BTreeSet<u32>,
    ports: &mut Vec<Port>,
) {
    let Some(device) = devices.get(&index) else {
        return;
    };
    let is_port = named.contains(device.name.as_str()) || !(device.bridge || device.vlan_of.is_some());
    if is_port {
        if tags.len() <= TAGS {
            let mut outward = tags.iter().rev().copied();
            let (outer, inner) = (outward.next().unwrap_or(0), outward.next().unwrap_or(0));
            ports.push(Port { interface: device.name.clone(), outer, inner });
        }
        return;
    }
    if !above.insert(index) {
        return;
    }
    if device.bridge {
        for (port, _) in devices.iter().filter(|(_, port)| port.port_of == Some(index)) {
            descend(devices, named, *port, tags, above, ports);
        }
    } else if let Some(lower) = device.vlan_of {
        tags.push(device.vlan_id.unwrap_or(0));
        descend(devices, named, lower, tags, above, ports);
        tags.pop();
    }
    above.remove(&index);
}

#[cfg(test)]
#[path = "system_tests.rs"]
mod tests;
