//! Zones and networks: ports, prefixes, routers.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;
use sekimori_ebpf::abi::NET_LAST;

use super::{
    super::{
        decode::{At, NonEmpty},
        diagnostic::{Sink, Span},
        document::{File, Network, Zone},
        model::{External, Mac, Net, NetBuiltin, NetIndex, NetKind, Place, Port},
        problem::Problem,
        spans::{NetSpans, Spans},
        words::{Beyond, Interface, Vlan},
    },
    merge, names,
};

/// Zones and networks with their indexes.
pub(super) struct Nets {
    pub(super) list: Vec<Net>,
    /// Every name; `None` if what it names could not be read.
    names: HashMap<String, Option<NetIndex>>,
    order: Vec<String>,
    owners: HashMap<IpNet, NetIndex>,
    /// Prefix lengths in use, longest first, by family.
    lengths: [BTreeSet<u8>; 2],
    default: Option<NetIndex>,
    /// Routers by MAC and net.
    routers: HashMap<(Mac, NetIndex), Span>,
}

pub(super) fn nets(document: &File, spans: &mut Spans, sink: &mut Sink) -> Nets {
    let mut nets = Nets {
        list: Vec::new(),
        names: HashMap::new(),
        order: Vec::new(),
        owners: HashMap::new(),
        lengths: [BTreeSet::new(), BTreeSet::new()],
        default: None,
        routers: HashMap::new(),
    };
    let mut ports = HashMap::new();
    let mut first = HashMap::new();
    for (name, zone) in &document.zones.0 {
        first.insert(name.value.0.clone(), name.at);
        let zone = zone.as_ref().map(|zone| nets.zone(&name.value.0, zone, sink));
        nets.add(&name.value.0, name.at, zone, &mut ports, spans, sink);
    }
    for (name, network) in &document.networks.0 {
        if let Some(zone) = first.get(&name.value.0) {
            merge::taken(sink, name, "zone", *zone);
            continue;
        }
        let network = network.as_ref().map(|network| nets.network(&name.value.0, network, sink));
        nets.add(&name.value.0, name.at, network, &mut ports, spans, sink);
    }
    nets
}

/// A net before it has an index.
struct Draft {
    net: Net,
    ports: Vec<(Port, Span)>,
    prefixes: Vec<(IpNet, Span)>,
    default: Option<Span>,
    routers: Vec<At<Mac>>,
    survey: Option<Span>,
}

impl Nets {
    fn zone(&self, name: &str, zone: &Zone, _: &mut Sink) -> Draft {
        let builtin =
            NetBuiltin { dhcp_server: zone.dhcp.is_some(), ra_server: zone.ra.is_some(), ..NetBuiltin::default() };
        Draft {
            net: blank(name, NetKind::Zone { devices: zone.devices.value }, builtin),
            ports: ports(&zone.interfaces, zone.vlans.as_ref()),
            prefixes: zone.prefixes.0.iter().map(|prefix| (prefix.value.0, prefix.at)).collect(),
            default: None,
            routers: zone.routers.clone(),
            survey: None,
        }
    }

    fn network(&self, name: &str, network: &Network, sink: &mut Sink) -> Draft {
        let survey = &network.survey;
        let record = [
            ("date", survey.date.value.to_string()),
            ("surveyor", survey.surveyor.value.0.clone()),
            ("topology", survey.topology.value.0.clone()),
            ("devices", survey.devices.value.0.clone()),
            ("security", survey.security.value.0.clone()),
            ("impact", survey.impact.value.0.clone()),
        ];
        let external = External {
            owner: network.owner.value.0.clone(),
            line: network.line.value.0.clone(),
            survey: record.into_iter().map(|(field, text)| (field.to_owned(), text)).collect(),
        };
        let builtin = NetBuiltin {
            dhcp_client: network.dhcp.is_some(),
            ra_client: network.ra.is_some(),
            ..NetBuiltin::default()
        };
        if let (Some(ra), true) = (&network.ra, network.routers.is_empty()) {
            sink.report(ra.at, &Problem::RaNeedsRouters).text("client");
        }
        let mut draft = Draft {
            net: blank(name, NetKind::External(external), builtin),
            ports: ports(&network.interfaces, network.vlans.as_ref()),
            prefixes: Vec::new(),
            default: None,
            routers: network.routers.clone(),
            survey: Some(survey.date.at),
        };
        for prefix in &network.prefixes.0 {
            match prefix.value {
                Beyond::Default => draft.default = Some(prefix.at),
                Beyond::Prefix(net) => draft.prefixes.push((net, prefix.at)),
            }
        }
        draft
    }

    fn add(
        &mut self,
        name: &str,
        at: Span,
        draft: Option<Draft>,
        taken: &mut HashMap<Port, NetIndex>,
        spans: &mut Spans,
        sink: &mut Sink,
    ) {
        self.order.push(name.to_owned());
        let Some(mut draft) = draft else {
            self.names.insert(name.to_owned(), None);
            return;
        };
        let index = self.list.len();
        if index == NET_LAST as usize {
            sink.report(at, &Problem::TooMany { what: "zones and networks".into(), limit: NET_LAST.to_string() });
        }
        self.names.insert(name.to_owned(), Some(index));
        for (port, at) in draft.ports {
            match taken.get(&port) {
                None => {
                    taken.insert(port.clone(), index);
                    draft.net.ports.push(port);
                }
                Some(owner) => {
                    let owner = self.list.get(*owner).map_or(name, |net| net.name.as_str()).to_owned();
                    let text = describe(&port);
                    sink.report(at, &Problem::PortTaken { port: text.clone(), owner }).text(&text);
                }
            }
        }
        let mut placed = NetSpans { name: at, default: draft.default, survey: draft.survey, ..NetSpans::default() };
        for (prefix, at) in draft.prefixes {
            match self.owners.get(&prefix) {
                None => {
                    self.owners.insert(prefix, index);
                    self.lengths[usize::from(prefix.addr().is_ipv6())].insert(prefix.prefix_len());
                    draft.net.prefixes.push(prefix);
                    placed.prefixes.push(at);
                }
                Some(owner) => {
                    let owner = self.list.get(*owner).map_or(name, |net| net.name.as_str()).to_owned();
                    let text = prefix.to_string();
                    sink.report(at, &Problem::PrefixTaken { prefix: text.clone(), owner }).text(&text);
                }
            }
        }
        if let Some(at) = draft.default {
            match self.default {
                None => {
                    self.default = Some(index);
                    draft.net.is_default = true;
                }
                Some(owner) => {
                    let owner = self.list[owner].name.clone();
                    sink.report(at, &Problem::DefaultTaken { owner }).text("default");
                }
            }
        }
        for router in draft.routers {
            if self.routers.insert((router.value, index), router.at).is_some() {
                let mac = router.value.to_string();
                sink.report(router.at, &Problem::MacTaken { mac: mac.clone(), owner: name.to_owned() }).text(&mac);
            } else {
                draft.net.routers.push(router.value);
            }
        }
        self.list.push(draft.net);
        spans.nets.push(placed);
    }

    /// The net an address lives in: the longest matching prefix, else the default network.
    pub(super) fn owner(&self, address: IpAddr) -> Option<NetIndex> {
        let lengths = &self.lengths[usize::from(address.is_ipv6())];
        let longest = lengths.iter().rev().find_map(|length| {
            let net = IpNet::new(address, *length).ok()?.trunc();
            self.owners.get(&net).copied()
        });
        longest.or(self.default)
    }

    /// A zone or network by name; `None` if there is none (reported) or it could not be read.
    pub(super) fn find(&self, name: &str, at: Span, sink: &mut Sink) -> Option<NetIndex> {
        match self.names.get(name) {
            Some(index) => *index,
            None => {
                names::unknown(sink, at, "zone or network", name, self.order.iter().map(String::as_str));
                None
            }
        }
    }

    /// A zone, a network or `box`.
    pub(super) fn place(&self, name: &str, at: Span, sink: &mut Sink) -> Option<Place> {
        if name == "box" {
            return Some(Place::Box);
        }
        if !self.names.contains_key(name) {
            let known = self.order.iter().map(String::as_str).chain(["box"]);
            names::unknown(sink, at, "zone or network", name, known);
            return None;
        }
        self.find(name, at, sink).map(Place::Net)
    }

    /// A net of the kind that is needed; another kind is reported.
    pub(super) fn of_kind(&self, name: &str, at: Span, zone: bool, sink: &mut Sink) -> Option<NetIndex> {
        let index = self.find(name, at, sink)?;
        let is_zone = self.is_zone(index);
        if is_zone != zone {
            let word = |zone: bool| if zone { "zone" } else { "network" }.to_owned();
            let problem = Problem::WrongKind { name: name.to_owned(), is: word(is_zone), needed: word(zone) };
            let same: Vec<&str> = self
                .list
                .iter()
                .enumerate()
                .filter(|(i, _)| self.is_zone(*i) == zone)
                .map(|(_, n)| n.name.as_str())
                .collect();
            let report = sink.report(at, &problem).text(name);
            if !same.is_empty() {
                report.expected(super::super::diagnostic::Text::same(same.join(", ")));
            }
            return None;
        }
        Some(index)
    }

    /// Whether a zone or network has this name.
    pub(super) fn named(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Names of zones.
    pub(super) fn zones(&self) -> impl Iterator<Item = &str> {
        let zones = self.list.iter().filter(|net| matches!(net.kind, NetKind::Zone { .. }));
        zones.map(|net| net.name.as_str())
    }

    pub(super) fn is_zone(&self, index: NetIndex) -> bool {
        matches!(self.list.get(index).map(|net| &net.kind), Some(NetKind::Zone { .. }))
    }

    pub(super) fn is_router(&self, mac: Mac, net: NetIndex) -> bool {
        self.routers.contains_key(&(mac, net))
    }

    pub(super) fn name(&self, index: Option<NetIndex>) -> &str {
        index.and_then(|index| self.list.get(index)).map_or("-", |net| net.name.as_str())
    }
}

fn blank(name: &str, kind: NetKind, builtin: NetBuiltin) -> Net {
    Net {
        name: name.to_owned(),
        kind,
        ports: Vec::new(),
        prefixes: Vec::new(),
        is_default: false,
        routers: Vec::new(),
        builtin,
    }
}

/// Every interface with every VLAN.
fn ports(interfaces: &NonEmpty<At<Interface>>, vlans: Option<&NonEmpty<At<Vlan>>>) -> Vec<(Port, Span)> {
    let mut ports = Vec::new();
    for interface in &interfaces.0 {
        let name = || interface.value.0.clone();
        match vlans {
            None => ports.push((Port { interface: name(), outer: 0, inner: 0 }, interface.at)),
            Some(vlans) => ports.extend(vlans.0.iter().map(|vlan| {
                let Vlan { outer, inner } = vlan.value;
                (Port { interface: name(), outer, inner }, vlan.at)
            })),
        }
    }
    ports
}

fn describe(port: &Port) -> String {
    match (port.outer, port.inner) {
        (0, _) => port.interface.clone(),
        (outer, 0) => format!("{} VLAN {outer}", port.interface),
        (outer, inner) => format!("{} VLAN {outer}.{inner}", port.interface),
    }
}
