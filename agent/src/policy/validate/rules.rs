//! Rules and published servers.

use std::collections::HashMap;

use ipnet::IpNet;
use sekimori_ebpf::abi::MAX_RULES;

use super::{
    super::{
        catalogue,
        decode::At,
        diagnostic::{Sink, Span},
        document::{self, File},
        model::{Limits, Party, Place, Published, Rule, Service},
        problem::Problem,
        spans::{PartySpans, RuleSpans, Spans},
        words::Ident,
    },
    Context, end, merge, names,
    parties::{self, End, Resolved},
};

/// Rules in document order, then published servers in theirs.
pub(super) fn rules(document: &File, context: &mut Context, spans: &mut Spans, sink: &mut Sink) -> Vec<Rule> {
    let mut seen: HashMap<String, Span> = HashMap::new();
    let mut rules = Vec::new();
    let ids = document.rules.iter().map(|rule| &rule.id).chain(document.publish.iter().map(|publish| &publish.id));
    for (count, id) in ids.enumerate() {
        if count == MAX_RULES {
            sink.report(id.at, &Problem::TooMany { what: "rules".into(), limit: MAX_RULES.to_string() });
            // Resolving what will be refused anyway could cost much.
            return rules;
        }
        unique(id, &mut seen, sink);
    }
    for rule in &document.rules {
        if let Some((rule, placed)) = ordinary(rule, context, sink) {
            rules.push(rule);
            spans.rules.push(placed);
        }
    }
    for publish in &document.publish {
        if let Some((rule, placed)) = published(publish, context, sink) {
            rules.push(rule);
            spans.rules.push(placed);
        }
    }
    rules
}

fn unique(id: &At<Ident>, seen: &mut HashMap<String, Span>, sink: &mut Sink) {
    match seen.get(&id.value.0) {
        Some(first) => merge::taken(sink, id, "rule", *first),
        None => {
            seen.insert(id.value.0.clone(), id.at);
        }
    }
}

fn ordinary(rule: &document::Rule, context: &mut Context, sink: &mut Sink) -> Option<(Rule, RuleSpans)> {
    let from = parties::resolve(&rule.from, End::From, context, sink);
    let to = parties::resolve(&rule.to, End::To, context, sink);
    let services = context.services.of_rule(&rule.services.0, &mut context.budget, sink);
    let hours = context.hours.find(rule.hours.as_ref(), sink);
    let (from, to) = (from?, to?);
    directions(&from, &to, context, sink);
    families(&from.party, &to.party, &services, rule.to.at(), context, sink);
    let placed = RuleSpans {
        id: rule.id.at,
        from: from.spans,
        to: to.spans,
        services: rule.services.0.first().map(|word| word.at).unwrap_or_default(),
        until: rule.until.as_ref().map(|until| until.at),
    };
    let rule = Rule {
        id: rule.id.value.0.clone(),
        from: from.party,
        to: to.party,
        services,
        hours,
        until: end(rule.until.as_ref(), &context.timezone),
        purpose: rule.purpose.value.0.clone(),
        owner: rule.owner.value.0.clone(),
        log: rule.log.as_ref().is_some_and(|log| log.value),
        limits: limits(rule.limits.as_ref(), sink),
        quarantined: rule.quarantined.as_ref().is_some_and(|answer| answer.value.0),
        published: None,
    };
    Some((rule, placed))
}

/// From outside inwards only by `publish`; never through the box from one external network to another.
fn directions(from: &Resolved, to: &Resolved, context: &Context, sink: &mut Sink) {
    for source in &from.party.place {
        for (target, at) in to.party.place.iter().zip(&to.places) {
            let problem = match (source, target) {
                (Place::Box, Place::Box) => Problem::BoxToBox,
                (Place::Net(a), Place::Net(b)) if !context.nets.is_zone(*a) => {
                    let (from, to) = (context.nets.name(Some(*a)).to_owned(), context.nets.name(Some(*b)).to_owned());
                    if context.nets.is_zone(*b) {
                        Problem::InboundNeedsPublish { from, to }
                    } else {
                        Problem::NetworkToNetwork { from, to }
                    }
                }
                _ => continue,
            };
            sink.report(*at, &problem);
            return;
        }
    }
}

/// IPv4 and IPv6 addresses an end can have.
fn family(party: &Party, context: &Context) -> (bool, bool) {
    let of = |prefixes: &mut dyn Iterator<Item = bool>| {
        let mut seen = (false, false);
        for v4 in prefixes {
            if v4 { seen.0 = true } else { seen.1 = true }
        }
        seen
    };
    if let Some(prefixes) = &party.prefixes {
        let has = |v4: bool| prefixes.sets().any(|set| if v4 { !set.v4.is_empty() } else { !set.v6.is_empty() });
        return (has(true), has(false));
    }
    let mut seen = (false, false);
    for place in &party.place {
        let found = match place {
            Place::Box => of(&mut context.box_addresses.iter().map(|address| address.is_ipv4())),
            Place::Net(net) if context.nets.list[*net].is_default => (true, true),
            Place::Net(net) => of(&mut context.nets.list[*net].prefixes.iter().map(|prefix| prefix.addr().is_ipv4())),
        };
        seen = (seen.0 || found.0, seen.1 || found.1);
    }
    seen
}

fn families(from: &Party, to: &Party, services: &[Service], at: Span, context: &Context, sink: &mut Sink) {
    let (a, b) = (family(from, context), family(to, context));
    let both = (a.0 && b.0, a.1 && b.1);
    // An end without any address was reported, or is a box without a `box` section.
    if a == (false, false) || b == (false, false) || services.is_empty() {
        return;
    }
    let fits = |service: &Service| match service {
        Service::Icmp(..) => both.0,
        Service::Icmpv6(..) => both.1,
        _ => both.0 || both.1,
    };
    let word = |(v4, _): (bool, bool)| if v4 { "IPv4" } else { "IPv6" };
    if both == (false, false) {
        let why = format!("{} → {}", word(a), word(b));
        sink.report(at, &Problem::FamilyMismatch { why });
    } else if !services.iter().any(fits) {
        let why = services.first().map(|service| format!("{} / {}", catalogue::describe(*service), word(both)));
        sink.report(at, &Problem::FamilyMismatch { why: why.unwrap_or_default() });
    }
}

fn published(publish: &document::Publish, context: &mut Context, sink: &mut Sink) -> Option<(Rule, RuleSpans)> {
    let from = parties::resolve(&publish.from, End::From, context, sink);
    let services = context.services.of_rule(&publish.services.0, &mut context.budget, sink);
    let services_at = publish.services.0.first().map(|word| word.at).unwrap_or_default();
    for service in &services {
        if !matches!(service, Service::Tcp(..) | Service::Udp(..)) {
            let service = catalogue::describe(*service);
            sink.report(services_at, &Problem::PublishService { service: service.clone() }).text(&service);
            break;
        }
    }
    let hours = context.hours.find(publish.hours.as_ref(), sink);
    let net = context.nets.of_kind(&publish.server.zone.value.0, publish.server.zone.at, true, sink);
    let (public, real) = (publish.address.value.0, publish.server.address.value.0);
    if public.is_ipv4() != real.is_ipv4() {
        let problem = Problem::MixedFamilies { text: format!("{public} → {real}") };
        sink.report(publish.server.address.at, &problem).text(&real.to_string());
    }
    if context.box_addresses.contains(&real) {
        sink.report(publish.server.address.at, &Problem::ServerIsBox { address: real.to_string() });
    }
    let port = real_port(publish, &services, sink);
    let (from, net) = (from?, net?);
    let owner = context.nets.owner(real);
    if owner != Some(net) && !context.box_addresses.contains(&real) {
        let problem = Problem::AddressElsewhere {
            address: real.to_string(),
            net: context.nets.name(Some(net)).to_owned(),
            owner: context.nets.name(owner).to_owned(),
        };
        sink.report(publish.server.address.at, &problem).text(&real.to_string());
    }
    for (place, at) in from.party.place.iter().zip(&from.places) {
        if *place == Place::Box {
            let problem = Problem::WrongKind { name: "box".into(), is: "box".into(), needed: "network".into() };
            sink.report(*at, &problem).text("box");
        }
    }
    let to = Party { place: vec![Place::Net(net)], prefixes: Some(vec![IpNet::from(public)].into()), devices: None };
    families(&from.party, &to, &services, publish.address.at, context, sink);
    let placed = RuleSpans {
        id: publish.id.at,
        from: from.spans,
        to: PartySpans { at: publish.address.at, addresses: Vec::new() },
        services: services_at,
        until: publish.until.as_ref().map(|until| until.at),
    };
    let rule = Rule {
        id: publish.id.value.0.clone(),
        from: from.party,
        to,
        services,
        hours,
        until: end(publish.until.as_ref(), &context.timezone),
        purpose: publish.purpose.value.0.clone(),
        owner: publish.owner.value.0.clone(),
        log: publish.log.as_ref().is_some_and(|log| log.value),
        limits: limits(publish.limits.as_ref(), sink),
        quarantined: publish.quarantined.as_ref().is_some_and(|answer| answer.value.0),
        published: Some(Published { public, net, address: real, port }),
    };
    Some((rule, placed))
}

/// What is not given is not limited.
fn limits(given: Option<&document::Limits>, sink: &mut Sink) -> Limits {
    let Some(given) = given else { return Limits::default() };
    let limits = Limits {
        flows: given.flows.as_ref().map(|count| count.value.0),
        flows_per_host: given.flows_per_host.as_ref().map(|count| count.value.0),
        new: given.new.as_ref().map(|rate| rate.value.0),
        new_per_host: given.new_per_host.as_ref().map(|rate| rate.value.0),
    };
    // A value that could not be read is missing here, and was reported.
    if limits == Limits::default() && sink.errors() == 0 {
        sink.report(given.span, &Problem::LimitsNothing);
    }
    if let (Some(all), Some(host), Some(at)) = (limits.flows, limits.flows_per_host, &given.flows_per_host)
        && host > all
    {
        let problem = Problem::LimitNeverActs { one: "flows_per_host".into(), other: "flows".into() };
        sink.report(at.at, &problem).text(&host.to_string());
    }
    if let (Some(all), Some(host), Some(at)) = (limits.new, limits.new_per_host, &given.new_per_host)
        && host.cost < all.cost
        && host.burst >= all.burst
    {
        sink.report(at.at, &Problem::LimitNeverActs { one: "new_per_host".into(), other: "new".into() });
    }
    limits
}

/// The real port, if it differs from the public one.
fn real_port(publish: &document::Publish, services: &[Service], sink: &mut Sink) -> Option<u16> {
    let port = publish.server.port.as_ref()?;
    match services {
        [Service::Tcp(a, b) | Service::Udp(a, b)] if a == b => (port.value.0 != *a).then_some(port.value.0),
        [] => None,
        _ => {
            sink.report(port.at, &Problem::PublishPort).text(&port.value.0.to_string());
            None
        }
    }
}

/// Whether some rule has this id; reported if not.
pub(super) fn known(id: &str, at: Span, rules: &[Rule], sink: &mut Sink) {
    if !rules.iter().any(|rule| rule.id == id) {
        names::unknown(sink, at, "rule", id, rules.iter().map(|rule| rule.id.as_str()));
    }
}
