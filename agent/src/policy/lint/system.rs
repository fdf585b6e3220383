//! W005, W014, W019: the policy against the live system, given as plain data.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::{
    diagnostic::{Sink, Span},
    model::{Net, NetIndex, Policy, Port},
    problem::Problem,
    spans::Spans,
};

/// The box's addresses and routes at one time.
#[derive(Debug, Clone, Default)]
pub struct System {
    /// Addresses of all interfaces.
    pub addresses: Vec<InterfaceAddress>,
    /// The main routing table, both families.
    pub routes: Vec<Route>,
    /// Ports below an interface that is not itself guarded: a VLAN device's (`lan0.10` → lan0 with VLAN 10), a
    /// bridge's. An interface that is not listed is its own untagged port.
    pub carriers: Vec<(String, Vec<Port>)>,
}

/// An address of an interface.
#[derive(Debug, Clone)]
pub struct InterfaceAddress {
    /// Kernel name.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
}

/// A route.
#[derive(Debug, Clone)]
pub struct Route {
    /// Destination, host bits zero.
    pub prefix: IpNet,
    /// Kernel name of the interface it leaves by; `None`: the kernel discards (blackhole, unreachable).
    pub interface: Option<String>,
}

pub(super) fn lint(policy: &Policy, spans: &Spans, system: &System, sink: &mut Sink) {
    addresses(policy, spans, system, sink);
    for (index, (net, at)) in policy.nets.iter().zip(&spans.nets).enumerate() {
        for (prefix, at) in net.prefixes.iter().zip(&at.prefixes) {
            routes(policy, index, *prefix, *at, system, sink);
        }
        if let Some(at) = at.default {
            default_route(net, at, system, sink);
        }
    }
}

/// W014, W019.
fn addresses(policy: &Policy, spans: &Spans, system: &System, sink: &mut Sink) {
    for (address, at) in policy.box_addresses.iter().zip(&spans.box_addresses) {
        if !system.addresses.iter().any(|live| live.address == *address) {
            let problem = Problem::BoxAddressNotLive { address: address.to_string() };
            sink.report(*at, &problem).text(&address.to_string());
        }
    }
    for live in &system.addresses {
        let local = match live.address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
        };
        if !local && !policy.box_addresses.contains(&live.address) {
            let address = live.address.to_string();
            let problem = Problem::BoxAddressNotListed { address: address.clone(), interface: live.interface.clone() };
            sink.report(spans.box_at, &problem).text(&address);
        }
    }
}

/// Every route into `prefix`, and the one around it, must leave by a port of its net.
fn routes(policy: &Policy, index: NetIndex, prefix: IpNet, at: Span, system: &System, sink: &mut Sink) {
    let net = &policy.nets[index];
    let around = system.routes.iter().filter(|route| route.prefix.contains(&prefix));
    let best = around.max_by_key(|route| route.prefix.prefix_len());
    let inside = system.routes.iter().filter(|route| {
        route.prefix != prefix && prefix.contains(&route.prefix) && owner(policy, route.prefix) == Some(index)
    });
    let wrong = match best {
        None => Some("no route".to_owned()),
        Some(route) => contradicts(net, route, system),
    };
    let wrong = wrong
        .or_else(|| inside.filter(|route| !own_host(policy, route)).find_map(|route| contradicts(net, route, system)));
    if let Some(route) = wrong {
        report(net, &prefix.to_string(), route, at, sink);
    }
}

/// The kernel keeps a host route to each of the box's own addresses on some interface.
fn own_host(policy: &Policy, route: &Route) -> bool {
    policy.box_addresses.iter().any(|address| IpNet::from(*address) == route.prefix)
}

fn default_route(net: &Net, at: Span, system: &System, sink: &mut Sink) {
    let defaults: Vec<&Route> = system.routes.iter().filter(|route| route.prefix.prefix_len() == 0).collect();
    if defaults.is_empty() {
        report(net, "default", "no route".to_owned(), at, sink);
    } else if let Some(route) = defaults.into_iter().find_map(|route| contradicts(net, route, system)) {
        report(net, "default", route, at, sink);
    }
}

fn report(net: &Net, prefix: &str, route: String, at: Span, sink: &mut Sink) {
    let problem = Problem::RouteContradicts { prefix: prefix.to_owned(), net: net.name.clone(), route };
    sink.report(at, &problem).text(prefix);
}

/// What a route says, if it is not by a port of this net.
fn contradicts(net: &Net, route: &Route, system: &System) -> Option<String> {
    let Some(interface) = &route.interface else {
        return Some(format!("{} discard", route.prefix));
    };
    let carriers = system.carriers.iter().find(|(name, _)| name == interface).map(|(_, ports)| ports.as_slice());
    let fits = match carriers {
        Some(ports) => ports.iter().any(|port| net.ports.contains(port)),
        None => net.ports.iter().any(|port| port.interface == *interface && port.outer == 0),
    };
    (!fits).then(|| format!("{} dev {interface}", route.prefix))
}

/// The net whose prefix is the longest around `prefix`.
fn owner(policy: &Policy, prefix: IpNet) -> Option<NetIndex> {
    let nets = policy.nets.iter().enumerate();
    let holding = nets.flat_map(|(index, net)| net.prefixes.iter().map(move |p| (index, p)));
    holding.filter(|(_, p)| p.contains(&prefix)).max_by_key(|(_, p)| p.prefix_len()).map(|(index, _)| index)
}
