//! One end of a rule: places, prefixes, devices.

use std::sync::Arc;

use ipnet::IpNet;

use super::{
    super::{
        addresses::{Addresses, Group},
        decode::{At, OneOrMany},
        diagnostic::{Sink, Span},
        document::{self, PartyLong},
        model::{DeviceIndex, Party, Place},
        prefixes::Builder,
        problem::Problem,
        spans::PartySpans,
        words::Name,
    },
    Context,
    groups::spend,
};

/// Which end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    From,
    To,
}

/// A resolved end with its positions.
pub(super) struct Resolved {
    pub(super) party: Party,
    /// Where each of [`Party::place`] was named.
    pub(super) places: Vec<Span>,
    pub(super) spans: PartySpans,
}

/// Resolves one end; `None` if it could not be (reported).
pub(super) fn resolve(party: &document::Party, end: End, context: &mut Context, sink: &mut Sink) -> Option<Resolved> {
    let mut resolved = Resolved {
        party: Party { place: Vec::new(), prefixes: None, devices: None },
        places: Vec::new(),
        spans: PartySpans { at: party.at(), addresses: Vec::new() },
    };
    match party {
        document::Party::Places(names) => {
            for name in names {
                let place = context.nets.place(&name.value.0, name.at, sink);
                resolved.add(place, name.at);
            }
            (!resolved.party.place.is_empty()).then_some(resolved)
        }
        document::Party::Long(long) => {
            let before = sink.errors();
            resolved.long(long, end, context, sink);
            if resolved.party.place.is_empty() {
                if sink.errors() == before && !mentions_place(long) {
                    sink.report(long.span, &Problem::NoPlace);
                }
                return None;
            }
            Some(resolved)
        }
    }
}

fn mentions_place(long: &PartyLong) -> bool {
    long.zone.is_some() || long.network.is_some() || long.devices.is_some()
}

impl Resolved {
    fn add(&mut self, place: Option<Place>, at: Span) {
        if let Some(place) = place
            && !self.party.place.contains(&place)
        {
            self.party.place.push(place);
            self.places.push(at);
        }
    }

    fn kind(&mut self, names: Option<&OneOrMany<At<Name>>>, zone: bool, context: &Context, sink: &mut Sink) {
        for name in names.iter().flat_map(|names| &names.0) {
            let net = context.nets.of_kind(&name.value.0, name.at, zone, sink);
            self.add(net.map(Place::Net), name.at);
        }
    }

    fn long(&mut self, long: &PartyLong, end: End, context: &mut Context, sink: &mut Sink) {
        self.kind(long.zone.as_ref(), true, context, sink);
        self.kind(long.network.as_ref(), false, context, sink);
        if let Some(flag) = &long.r#box
            && flag.value
        {
            self.add(Some(Place::Box), flag.at);
            if let Some(devices) = long.devices.as_ref().and_then(|devices| devices.0.first()) {
                sink.report(devices.at, &Problem::Conflict { one: "box".into(), other: "devices".into() });
            }
        }
        let mut prefixes = Builder::default();
        for addresses in long.addresses.iter().flat_map(|list| &list.0) {
            addresses.value.prefixes.iter().for_each(|prefix| prefixes.add(prefix));
            let written = (addresses.at, addresses.value.text.clone(), addresses.value.prefixes.clone());
            self.spans.addresses.push(written);
        }
        let mut groups: Vec<Arc<Group>> = Vec::new();
        for group in long.groups.iter().flat_map(|list| &list.0) {
            if let Some(found) = context.groups.find(&group.value.0, group.at, sink)
                && !groups.iter().any(|group| group.name == found.name)
            {
                groups.push(found);
            }
        }
        if let Some(devices) = &long.devices {
            self.devices(&devices.0, end, long, &mut prefixes, context, sink);
        }
        let limited = long.addresses.is_some() || long.groups.is_some() || (end == End::To && long.devices.is_some());
        if limited {
            let inline = prefixes.finish();
            spend(&mut context.budget, inline.len() + groups.len(), 0, long.span, sink);
            self.party.prefixes = Some(Addresses { groups, inline });
        }
    }

    /// As a sender a device is known by its MAC; as a destination it stands for its addresses.
    fn devices(
        &mut self,
        names: &[At<Name>],
        end: End,
        long: &PartyLong,
        prefixes: &mut Builder,
        context: &Context,
        sink: &mut Sink,
    ) {
        if let (End::To, Some(first), true) = (end, names.first(), long.addresses.is_some() || long.groups.is_some()) {
            sink.report(first.at, &Problem::Conflict { one: "devices".into(), other: "addresses/groups".into() });
        }
        let implied = long.zone.is_none() && long.network.is_none() && long.r#box.is_none();
        let mut found: Vec<DeviceIndex> = Vec::new();
        for name in names {
            let Some(index) = context.devices.find(&name.value.0, name.at, sink) else {
                continue;
            };
            let device = &context.devices.list[index];
            let place = Place::Net(device.net);
            if implied {
                self.add(Some(place), name.at);
            } else if !self.party.place.contains(&place) {
                let zone = context.nets.name(Some(device.net)).to_owned();
                let problem = Problem::DeviceNotThere { device: name.value.0.clone(), zone };
                sink.report(name.at, &problem).text(&name.value.0);
            }
            if end == End::To {
                if device.addresses.is_empty() {
                    let problem = Problem::DeviceWithoutAddress { device: name.value.0.clone() };
                    sink.report(name.at, &problem).text(&name.value.0);
                }
                device.addresses.iter().for_each(|address| prefixes.add(&IpNet::from(*address)));
            }
            if !found.contains(&index) {
                found.push(index);
            }
        }
        if end == End::From {
            self.party.devices = Some(found);
        }
    }
}
