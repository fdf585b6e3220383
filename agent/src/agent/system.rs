//! The box's own addresses and routes, for the lints that hold a policy against them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        address::AddressAttribute,
        link::{InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage},
        route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType},
    },
};

use crate::policy::{
    lint::{InterfaceAddress, Route, System},
    model::Port,
};

/// One link: its name, its bridge, and the lower device and VLAN it stands on.
#[derive(Debug, Default)]
struct Link {
    name: String,
    bridge: bool,
    port_of: Option<u32>,
    vlan: Option<(u32, u16)>,
}

/// Reads them from this network namespace.
///
/// # Errors
/// What netlink refused.
pub async fn read() -> Result<System, rtnetlink::Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|_| rtnetlink::Error::RequestFailed)?;
    let task = tokio::spawn(connection);
    let system = read_by(&handle).await;
    task.abort();
    system
}

async fn read_by(handle: &Handle) -> Result<System, rtnetlink::Error> {
    let mut links = BTreeMap::new();
    let mut messages = handle.link().get().execute();
    while let Some(message) = messages.try_next().await? {
        links.insert(message.header.index, link(message));
    }
    let mut system = System { carriers: carriers(&links), ..System::default() };
    let name = |index: u32| links.get(&index).map(|link| link.name.clone());
    let mut messages = handle.address().get().execute();
    while let Some(message) = messages.try_next().await? {
        // `Local` is the box's end where there is a peer, `Address` elsewhere.
        let own = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let any = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
        if let (Some(address), Some(interface)) = (own.or(any), name(message.header.index)) {
            system.addresses.push(InterfaceAddress { interface, address });
        }
    }
    for request in [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()] {
        let mut messages = handle.route().get(request).execute();
        while let Some(message) = messages.try_next().await? {
            system
                .routes
                .extend(routes(&message).map(|(prefix, index)| Route { prefix, interface: index.and_then(name) }));
        }
    }
    Ok(system)
}

fn link(message: LinkMessage) -> Link {
    let mut link = Link::default();
    let (mut lower, mut id) = (None, None);
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Link(index) => lower = Some(index),
            LinkAttribute::Controller(index) if index != 0 => link.port_of = Some(index),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(InfoKind::Bridge) => link.bridge = true,
                        LinkInfo::Data(InfoData::Vlan(infos)) => {
                            id = infos.iter().find_map(|info| match info {
                                InfoVlan::Id(id) => Some(*id),
                                _ => None,
                            });
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    link.vlan = lower.zip(id);
    link
}

/// What bridges and VLAN devices stand on, one VLAN device deep (two make QinQ).
fn carriers(links: &BTreeMap<u32, Link>) -> Vec<(String, Vec<Port>)> {
    let port = |index: u32, outer: u16, inner: u16| {
        links.get(&index).map(|link| Port { interface: link.name.clone(), outer, inner })
    };
    links
        .iter()
        .filter_map(|(index, link)| {
            if link.bridge {
                let ports = links.iter().filter(|(_, port)| port.port_of == Some(*index));
                return Some((link.name.clone(), ports.filter_map(|(lower, _)| port(*lower, 0, 0)).collect()));
            }
            let (lower, id) = link.vlan?;
            let below = match links.get(&lower).and_then(|lower| lower.vlan) {
                Some((lowest, outer)) => port(lowest, outer, id),
                None => port(lower, id, 0),
            };
            Some((link.name.clone(), below.into_iter().collect()))
        })
        .collect()
}

/// Prefix and interface of each next hop of a route of the main table; no interface where the kernel discards.
fn routes(message: &RouteMessage) -> impl Iterator<Item = (IpNet, Option<u32>)> {
    let header = &message.header;
    let (mut table, mut destination, mut hops) = (u32::from(header.table), None, Vec::new());
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = Some(IpAddr::V4(*address)),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => destination = Some(IpAddr::V6(*address)),
            RouteAttribute::Oif(index) => hops.push(Some(*index)),
            RouteAttribute::MultiPath(paths) => hops.extend(paths.iter().map(|path| Some(path.interface_index))),
            _ => {}
        }
    }
    let any = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    match header.kind {
        RouteType::Unicast => {}
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => hops = vec![None],
        _ => hops.clear(),
    }
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        hops.clear();
    }
    let prefix = IpNet::new(destination.unwrap_or(any), header.destination_prefix_length).ok();
    // Link-local and multicast routes exist on every interface and say nothing about a policy.
    let prefix = prefix.filter(|prefix| match prefix.addr() {
        IpAddr::V4(address) => !address.is_link_local() && !address.is_multicast(),
        IpAddr::V6(address) => !address.is_unicast_link_local() && !address.is_multicast(),
    });
    prefix.into_iter().flat_map(move |prefix| std::mem::take(&mut hops).into_iter().map(move |hop| (prefix, hop)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Link {
        Link { name: name.into(), ..Link::default() }
    }

    #[test]
    fn bridges_and_vlans_stand_on_ports() {
        let links = BTreeMap::from([
            (1, Link { port_of: Some(3), ..named("lan0") }),
            (2, Link { port_of: Some(3), ..named("lan1") }),
            (3, Link { bridge: true, ..named("br0") }),
            (4, Link { vlan: Some((1, 10)), ..named("lan0.10") }),
            (5, Link { vlan: Some((4, 20)), ..named("lan0.10.20") }),
        ]);
        let port = |name: &str, outer, inner| Port { interface: name.into(), outer, inner };
        assert_eq!(
            carriers(&links),
            [
                ("br0".to_owned(), vec![port("lan0", 0, 0), port("lan1", 0, 0)]),
                ("lan0.10".to_owned(), vec![port("lan0", 10, 0)]),
                ("lan0.10.20".to_owned(), vec![port("lan0", 10, 20)]),
            ]
        );
    }

    #[test]
    fn only_the_main_table_counts() {
        let route = |table: u8, kind| {
            let mut message = RouteMessage::default();
            message.header.address_family = AddressFamily::Inet;
            message.header.table = table;
            message.header.kind = kind;
            message.header.destination_prefix_length = 24;
            message.attributes =
                vec![RouteAttribute::Destination(RouteAddress::Inet([203, 0, 113, 0].into())), RouteAttribute::Oif(7)];
            routes(&message).collect::<Vec<_>>()
        };
        let prefix = IpNet::new(IpAddr::from([203, 0, 113, 0]), 24).unwrap_or_default();
        assert_eq!(route(254, RouteType::Unicast), [(prefix, Some(7))]);
        assert_eq!(route(254, RouteType::BlackHole), [(prefix, None)]);
        assert!(route(255, RouteType::Local).is_empty());
        assert!(route(100, RouteType::Unicast).is_empty());
    }
}
