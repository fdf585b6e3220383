//! W004 and W016: prefixes inside other nets' prefixes, and addresses that cannot be where a rule puts them.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

use super::super::{
    diagnostic::Sink,
    model::{NetIndex, Party, Place, Policy},
    problem::Problem,
    spans::{PartySpans, Spans},
};

pub(super) fn lint(policy: &Policy, spans: &Spans, sink: &mut Sink) {
    let owners = Owners::new(policy);
    for (index, (net, at)) in policy.nets.iter().zip(&spans.nets).enumerate() {
        for (prefix, at) in net.prefixes.iter().zip(&at.prefixes) {
            if let Some((outer, owner)) = owners.around(*prefix).find(|(_, owner)| *owner != index) {
                let problem = Problem::Nested {
                    inner: prefix.to_string(),
                    outer: outer.to_string(),
                    of: policy.nets[owner].name.clone(),
                };
                sink.report(*at, &problem).text(&prefix.to_string());
            }
        }
    }
    for (rule, at) in policy.rules.iter().zip(&spans.rules) {
        party(policy, &owners, &rule.from, &at.from, sink);
        if rule.published.is_none() {
            party(policy, &owners, &rule.to, &at.to, sink);
        }
    }
}

/// The nets' prefixes, to be asked for those around a prefix.
pub(super) struct Owners {
    map: HashMap<IpNet, NetIndex>,
    sorted: Vec<(IpNet, NetIndex)>,
}

impl Owners {
    pub(super) fn new(policy: &Policy) -> Self {
        let nets = policy.nets.iter().enumerate();
        let mut sorted: Vec<_> = nets.flat_map(|(i, net)| net.prefixes.iter().map(move |p| (*p, i))).collect();
        sorted.sort_unstable();
        Self { map: sorted.iter().copied().collect(), sorted }
    }

    /// The net whose prefix an address lives in.
    pub(super) fn owner(&self, address: IpAddr) -> Option<NetIndex> {
        let host = IpNet::from(address);
        self.map.get(&host).copied().or_else(|| self.around(host).next().map(|(_, owner)| owner))
    }

    /// Prefixes that strictly contain `prefix`, longest first.
    fn around(&self, prefix: IpNet) -> impl Iterator<Item = (IpNet, NetIndex)> {
        let up = std::iter::successors(prefix.supernet(), IpNet::supernet);
        up.filter_map(|outer| self.map.get(&outer).map(|owner| (outer, *owner)))
    }

    /// Whether any address of `prefix` could live in one of the nets.
    fn reaches(&self, prefix: IpNet, nets: &[NetIndex], default: bool) -> bool {
        let own = self.map.get(&prefix).copied();
        let holder = own.or_else(|| self.around(prefix).next().map(|(_, owner)| owner));
        match holder {
            Some(owner) if nets.contains(&owner) => return true,
            None if default => return true,
            _ => {}
        }
        let from = self.sorted.partition_point(|(net, _)| *net < prefix);
        self.sorted[from..].iter().take_while(|(net, _)| prefix.contains(net)).any(|(_, owner)| nets.contains(owner))
    }
}

fn party(policy: &Policy, owners: &Owners, party: &Party, at: &PartySpans, sink: &mut Sink) {
    let nets: Vec<NetIndex> = party
        .place
        .iter()
        .filter_map(|place| match place {
            Place::Net(net) => Some(*net),
            Place::Box => None,
        })
        .collect();
    let with_box = party.place.contains(&Place::Box);
    let default = nets.iter().any(|net| policy.nets[*net].is_default);
    for (at, text, prefixes) in &at.addresses {
        let lives = prefixes.iter().any(|prefix| {
            owners.reaches(*prefix, &nets, default)
                || (with_box && policy.box_addresses.iter().any(|address| prefix.contains(address)))
        });
        if !lives {
            let mut names: Vec<&str> = nets.iter().map(|net| policy.nets[*net].name.as_str()).collect();
            if with_box {
                names.push("box");
            }
            let problem = Problem::AddressNotThere { address: text.clone(), place: names.join(", ") };
            sink.report(*at, &problem).text(text);
        }
    }
}
