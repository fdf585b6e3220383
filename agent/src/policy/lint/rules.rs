//! W003, W008, W009, W020: rules that limit too little.

use super::{
    super::{
        addresses::Addresses,
        diagnostic::Sink,
        model::{DeviceMode, NetKind, Party, Place, Policy, Service},
        problem::Problem,
        spans::Spans,
    },
    at_rule,
};

/// A port range wider than this is no limit worth the name.
const WIDE: u16 = 1024;

pub(super) fn lint(policy: &Policy, spans: &Spans, sink: &mut Sink) {
    for (rule, at) in policy.rules.iter().zip(&spans.rules) {
        let from_anywhere = anywhere(policy, &rule.from);
        let to_anywhere = rule.published.is_none() && anywhere(policy, &rule.to);
        let wide = rule.services.iter().any(|service| ports(service).is_some_and(|(from, to)| to - from >= WIDE));
        let whole = rule.services.iter().any(|service| matches!(ports(service), Some((1, u16::MAX))));
        if whole {
            at_rule(sink, at.services, &rule.id, &Problem::NoPort { rule: rule.id.clone() });
        }
        if wide && (from_anywhere || to_anywhere) {
            at_rule(sink, at.id, &rule.id, &Problem::AnyAny { rule: rule.id.clone() });
        }
        let wherever = rule.to.prefixes.is_none() && !rule.to.place.contains(&Place::Box);
        if rule.quarantined && rule.published.is_none() && (wherever || to_anywhere) {
            at_rule(sink, at.id, &rule.id, &Problem::QuarantineWide { rule: rule.id.clone() });
        }
        // A zone that registers its devices names their MACs; one with `devices: any` does not.
        let nobody = from_anywhere || unregistered(policy, &rule.from);
        let to_box = rule.to.place.contains(&Place::Box) && rule.published.is_none();
        if (nobody && to_anywhere) || (from_anywhere && to_box) {
            at_rule(sink, at.from.at, &rule.id, &Problem::NoAddressNorMac { rule: rule.id.clone() });
        }
    }
}

fn ports(service: &Service) -> Option<(u16, u16)> {
    match service {
        Service::Tcp(from, to) | Service::Udp(from, to) => Some((*from, *to)),
        _ => None,
    }
}

/// The default network without a condition on addresses (one on everything is none).
fn anywhere(policy: &Policy, party: &Party) -> bool {
    let everything = |prefixes: &Addresses| {
        prefixes
            .sets()
            .any(|set| set.v4.get(0).is_some_and(|(_, len)| len == 0) || set.v6.get(0).is_some_and(|(_, len)| len == 0))
    };
    let limited = party.prefixes.as_ref().is_some_and(|prefixes| !everything(prefixes));
    let default = |place: &Place| matches!(place, Place::Net(net) if policy.nets[*net].is_default);
    !limited && party.devices.is_none() && party.place.iter().any(default)
}

fn unregistered(policy: &Policy, party: &Party) -> bool {
    let any = |place: &Place| {
        let Place::Net(net) = place else { return false };
        matches!(policy.nets[*net].kind, NetKind::Zone { devices: DeviceMode::Any })
    };
    party.prefixes.is_none() && party.devices.is_none() && party.place.iter().any(any)
}
