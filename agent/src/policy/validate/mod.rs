//! From documents to a policy that is valid by construction; every error of one run is collected.

mod detection;
mod devices;
mod groups;
mod hours;
mod merge;
mod names;
mod nets;
mod parties;
mod receivers;
mod rules;
mod services;
mod tests;
mod threats;

use jiff::{Timestamp, civil, tz::TimeZone};

use self::{groups::Groups, nets::Nets, services::Services};
use super::{
    decode::At,
    diagnostic::Sink,
    document::{self, File},
    lists::Folder,
    load::Sources,
    model::{Builtin, L2Control, Policy, Restoring},
    spans::Spans,
    words::{Moment, Until},
};

/// Entries that resolved groups, services and rules may hold together; bounds memory against sets that multiply.
const BUDGET: usize = 24 << 20;

/// Turns documents into a policy. The result is only a policy if `sink` has no errors.
pub(super) fn validate(
    documents: Vec<File>,
    folder: &Folder,
    mut sources: Sources,
    sink: &mut Sink,
) -> (Policy, Spans) {
    let document = merge::merge(documents, sink);
    let timezone = match &document.timezone {
        Some(zone) => zone.value.clone(),
        None => TimeZone::get("Asia/Tokyo").unwrap_or(TimeZone::UTC),
    };
    let mut spans = Spans::default();
    let mut box_addresses = Vec::new();
    if let Some(section) = &document.r#box {
        spans.box_at = section.span;
        for host in &section.addresses.0 {
            if box_addresses.contains(&host.value.0) {
                names::taken(sink, host.at, &host.value.0.to_string(), "box");
            } else {
                box_addresses.push(host.value.0);
                spans.box_addresses.push(host.at);
            }
        }
    }
    let nets = nets::nets(&document, &mut spans, sink);
    let devices = devices::devices(&document, &nets, &box_addresses, &timezone, &mut spans, sink);
    let mut budget = BUDGET;
    let mut groups = groups::groups(&document, folder, &mut sources, &mut budget, sink);
    let alert_receivers = receivers::receivers(&document, &nets, &mut groups, sink);
    let around =
        detection::Around { nets: &nets, devices: &devices, box_addresses: &box_addresses, timezone: &timezone };
    let detection = document.detection.as_ref().map(|section| {
        let (detection, its) = around.detection(section, sink);
        spans.detection = its;
        detection
    });
    let threat_lists = threats::threats(&document, &mut spans, sink);
    let services = services::services(&document, &mut budget, sink);
    let hours = hours::hours(&document, &mut spans, sink);
    let mut context = Context { timezone, box_addresses, nets, devices, groups, services, hours, budget };
    let rules = rules::rules(&document, &mut context, &mut spans, sink);
    let tests = tests::tests(&document, &context, &rules, sink);
    let Context { timezone, box_addresses, nets, devices, groups, services, hours, .. } = context;
    for (span, used) in spans.hours.iter_mut().zip(&hours.used) {
        span.used = *used;
    }
    let (declared, groups) = groups.into_parts();
    spans.groups = declared;
    let (declared, services) = services.into_parts();
    spans.services = declared;
    let (files, digests, hash) = sources.finish();
    let policy = Policy {
        organisation: document.organisation.map(|name| name.value.0).unwrap_or_default(),
        timezone,
        holidays: document.holidays.iter().map(|day| day.value).collect(),
        box_addresses,
        nets: nets.list,
        devices: devices.list,
        hours: hours.list,
        groups,
        services,
        rules,
        alert_receivers,
        detection,
        threat_lists,
        restoring: restoring(document.cutoff.as_ref()),
        builtin: builtin(document.builtin.as_ref()),
        tests,
        files,
        digests,
        hash,
    };
    (policy, spans)
}

/// What rules are resolved against.
struct Context {
    timezone: TimeZone,
    box_addresses: Vec<std::net::IpAddr>,
    nets: Nets,
    devices: devices::Devices,
    groups: Groups,
    services: Services,
    hours: hours::HoursTable,
    budget: usize,
}

fn restoring(given: Option<&document::Cutoff>) -> Restoring {
    let Some(document::Cutoff { restore, .. }) = given else { return Restoring::default() };
    let usual = Restoring::default();
    Restoring {
        second_person: restore.second_person.value,
        seconds: restore.within.as_ref().map_or(usual.seconds, |within| within.value.0),
    }
}

fn builtin(given: Option<&document::Builtin>) -> Builtin {
    let on = |get: fn(&document::Builtin) -> &Option<At<bool>>, default: bool| {
        given.and_then(|b| get(b).as_ref()).map_or(default, |flag| flag.value)
    };
    let l2 = |get: fn(&document::Builtin) -> &Option<At<L2Control>>| {
        given.and_then(|b| get(b).as_ref()).map_or(L2Control::Drop, |control| control.value)
    };
    Builtin {
        arp: on(|b| &b.arp, true),
        ndp: on(|b| &b.ndp, true),
        mld: on(|b| &b.mld, true),
        icmp_errors: on(|b| &b.icmp_errors, true),
        resets: on(|b| &b.resets, true),
        vrrp: on(|b| &b.vrrp, false),
        stp: l2(|b| &b.stp),
        lacp: l2(|b| &b.lacp),
        lldp: l2(|b| &b.lldp),
    }
}

/// When a permission ends: a date means the end of that day.
fn end(until: Option<&At<Until>>, zone: &TimeZone) -> Option<Timestamp> {
    match until?.value.0 {
        Moment::Day(day) => instant(day.tomorrow().ok()?.at(0, 0, 0, 0), zone),
        Moment::Local(local) => instant(local, zone),
        Moment::Instant(instant) => Some(instant),
    }
    // A date past what the clock can hold ends never for all purposes.
}

fn instant(local: civil::DateTime, zone: &TimeZone) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(local).compatible().ok()
}
