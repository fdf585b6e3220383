//! W006, W007, W016, W021 to W024: what is watched for, and what is not.

use jiff::Timestamp;

use super::{
    super::{
        diagnostic::Sink,
        model::{Detection, Guard, Measure, NetKind, Policy},
        problem::Problem,
        spans::Spans,
    },
    ending,
    places::Owners,
};

pub(super) fn lint(policy: &Policy, spans: &Spans, now: Timestamp, sink: &mut Sink) {
    let Some(detection) = &policy.detection else {
        let zones = policy.nets.iter().zip(&spans.nets);
        let mut zones = zones.filter(|(net, _)| matches!(net.kind, NetKind::Zone { .. }));
        if let Some((zone, at)) = zones.next() {
            sink.report(at.name, &Problem::NothingWatched).text(&zone.name);
        }
        return;
    };
    let owners = Owners::new(policy);
    let zone = |address| {
        let owner = owners.owner(address)?;
        let net = policy.nets.get(owner)?;
        matches!(net.kind, NetKind::Zone { .. }).then_some(net)
    };
    for (trap, at) in detection.traps.iter().zip(&spans.detection.traps) {
        let text = trap.to_string();
        if let Some(device) = policy.devices.iter().find(|device| device.addresses.contains(trap)) {
            let problem = Problem::TrapInUse { address: text.clone(), device: device.name.clone() };
            sink.report(*at, &problem).text(&text);
        } else if zone(*trap).is_none() {
            sink.report(*at, &Problem::TrapOutside { address: text.clone() }).text(&text);
        }
    }
    for (exemption, at) in detection.exemptions.iter().zip(&spans.detection.exemptions) {
        let what = format!("exemption `{}`", exemption.hosts.join(", "));
        ending(what, exemption.until, at.until, &policy.timezone, now, sink);
        for (address, at) in exemption.addresses.iter().zip(&at.addresses) {
            if zone(*address).is_none() {
                let zones = policy.nets.iter().filter(|net| matches!(net.kind, NetKind::Zone { .. }));
                let names: Vec<&str> = zones.map(|net| net.name.as_str()).collect();
                let text = address.to_string();
                let problem = Problem::AddressNotThere { address: text.clone(), place: names.join(", ") };
                sink.report(*at, &problem).text(&text);
            }
        }
    }
    if let (None, Some(at)) = (spans.detection.guard, spans.detection.quarantine)
        && quarantines(detection)
    {
        let Guard { hosts, seconds } = Guard::default();
        let problem = Problem::GuardNotGiven { hosts: hosts.to_string(), minutes: (seconds / 60).to_string() };
        sink.report(at, &problem).text(Measure::Quarantine.word());
    }
}

/// A word in `defaults` that every zone overrides puts nobody in quarantine.
fn quarantines(detection: &Detection) -> bool {
    let mut settings = detection.zones.iter().flat_map(|(_, settings)| settings.values());
    settings.any(|setting| setting.action == Measure::Quarantine)
}
