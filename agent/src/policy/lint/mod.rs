//! Warnings about a valid policy: what is permitted but probably not meant, or no longer.

mod cover;
mod detection;
mod places;
mod rules;
mod system;

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

pub use self::system::{InterfaceAddress, Route, System};
use super::{
    diagnostic::{Diagnostic, Sink, Span, Text},
    model::{DeviceMode, NetKind, Policy},
    problem::Problem,
    spans::{Declared, Spans},
};

/// Days before an end at which it is announced.
const SOON: i64 = 30;

/// Looks a policy over as of `now`, against the live system where it is known. Sorted by place.
pub fn lint(policy: &Policy, spans: &Spans, now: Timestamp, system: Option<&System>) -> Vec<Diagnostic> {
    let mut sink = Sink::over(spans.files.clone());
    places::lint(policy, spans, &mut sink);
    rules::lint(policy, spans, &mut sink);
    cover::lint(policy, spans, &mut sink);
    endings(policy, spans, now, &mut sink);
    surveys(policy, spans, now, &mut sink);
    unused(spans, &mut sink);
    bindings(policy, spans, &mut sink);
    detection::lint(policy, spans, now, &mut sink);
    if let Some(system) = system {
        system::lint(policy, spans, system, &mut sink);
    }
    sink.finish()
}

/// W006, W007.
fn endings(policy: &Policy, spans: &Spans, now: Timestamp, sink: &mut Sink) {
    let rules = policy.rules.iter().zip(&spans.rules);
    let rules = rules.map(|(rule, at)| (format!("rule `{}`", rule.id), rule.until, at.until.unwrap_or(at.id)));
    let devices = policy.devices.iter().zip(&spans.devices);
    let devices = devices.map(|(d, at)| (format!("device `{}`", d.name), d.until, at.until.unwrap_or(at.name)));
    for (what, until, at) in rules.chain(devices) {
        ending(what, until, at, &policy.timezone, now, sink);
    }
}

/// W006, W007 of one thing.
fn ending(what: String, until: Option<Timestamp>, at: Span, zone: &TimeZone, now: Timestamp, sink: &mut Sink) {
    let Some(until) = until else { return };
    let date = last_day(until, zone).to_string();
    if until <= now {
        sink.report(at, &Problem::Expired { what, date: date.clone() }).text(&date);
    } else if until.duration_since(now).as_secs() <= SOON * 86_400 {
        sink.report(at, &Problem::ExpiresSoon { what, date: date.clone() }).text(&date);
    }
}

/// The day in which the last permitted instant lies: midnight ends the day before.
fn last_day(until: Timestamp, zone: &TimeZone) -> Date {
    let last = until.checked_sub(1.nanosecond()).unwrap_or(until);
    last.to_zoned(zone.clone()).date()
}

/// W010, W017.
fn surveys(policy: &Policy, spans: &Spans, now: Timestamp, sink: &mut Sink) {
    let today = now.to_zoned(policy.timezone.clone()).date();
    for (net, at) in policy.nets.iter().zip(&spans.nets) {
        let NetKind::External(external) = &net.kind else {
            continue;
        };
        let Some(text) = external.survey.get("date") else {
            continue;
        };
        let Ok(date) = text.parse::<Date>() else {
            continue;
        };
        let place = at.survey.unwrap_or(at.name);
        let (network, date_text) = (net.name.clone(), text.clone());
        if date > today {
            sink.report(place, &Problem::FutureSurvey { network, date: date_text }).text(text);
        } else if date.checked_add(1.year()).is_ok_and(|due| due < today) {
            sink.report(place, &Problem::OldSurvey { network, date: date_text }).text(text);
        }
    }
}

/// W011, W012, W015.
fn unused(spans: &Spans, sink: &mut Sink) {
    let mut report = |all: &[Declared], problem: fn(String) -> Problem| {
        for declared in all.iter().filter(|declared| !declared.used) {
            sink.report(declared.at, &problem(declared.name.clone())).text(&declared.name);
        }
    };
    report(&spans.groups, |name| Problem::UnusedGroup { name });
    report(&spans.services, |name| Problem::UnusedService { name });
    report(&spans.hours, |name| Problem::UnusedHours { name });
}

/// W013.
fn bindings(policy: &Policy, spans: &Spans, sink: &mut Sink) {
    for (device, at) in policy.devices.iter().zip(&spans.devices) {
        let net = &policy.nets[device.net];
        if device.addresses.is_empty() && matches!(net.kind, NetKind::Zone { devices: DeviceMode::Registered }) {
            let problem = Problem::DeviceWithoutBinding { device: device.name.clone(), zone: net.name.clone() };
            sink.report(at.name, &problem)
                .text(&device.name)
                .expected(Text::new("its addresses", "端末のアドレス(addresses)"));
        }
    }
}

/// Reports a problem at a rule.
fn at_rule(sink: &mut Sink, at: Span, id: &str, problem: &Problem) {
    sink.report(at, problem).text(id);
}
