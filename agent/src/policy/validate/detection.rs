//! What is watched for: every zone gets every detector, built in unless the policy says otherwise.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use jiff::tz::TimeZone;
use sekimori_ebpf::detect::abi::{self, Detector, MAX_TRAPS};

use super::{
    super::{
        decode::At,
        detectors::known,
        diagnostic::Sink,
        document::{DetectionDoc, ExemptionDoc},
        model::{Detection, Exemption, Guard, Measure, NetIndex, Setting},
        problem::Problem,
        spans::{DetectionSpans, ExemptionSpans},
        words::{Detectors, FewHosts, HostName},
    },
    devices::Devices,
    end, names,
    nets::Nets,
};

/// What exemptions and traps are resolved against.
pub(super) struct Around<'a> {
    pub(super) nets: &'a Nets,
    pub(super) devices: &'a Devices,
    pub(super) box_addresses: &'a [IpAddr],
    pub(super) timezone: &'a TimeZone,
}

impl Around<'_> {
    pub(super) fn detection(&self, document: &DetectionDoc, sink: &mut Sink) -> (Detection, DetectionSpans) {
        let mut spans = DetectionSpans::default();
        let traps = self.traps(&document.traps, &mut spans, sink);
        let zones = self.zones(document, &mut spans, sink);
        let exemptions = document.exemptions.iter().map(|exemption| {
            let (exemption, its) = self.exemption(exemption, sink);
            spans.exemptions.push(its);
            exemption
        });
        let exemptions = exemptions.collect();
        spans.guard = document.guard.as_ref().map(|guard| guard.span);
        let guard = document
            .guard
            .as_ref()
            .map_or_else(Guard::default, |guard| Guard { hosts: guard.hosts.value.0, seconds: guard.within.value.0 });
        (Detection { guard, traps, zones, exemptions }, spans)
    }

    fn traps(&self, written: &[At<FewHosts>], spans: &mut DetectionSpans, sink: &mut Sink) -> Vec<IpAddr> {
        let mut seen = HashSet::new();
        let mut traps = Vec::new();
        // The table holds those of two generations while one replaces the other.
        let limit = MAX_TRAPS as usize / 2;
        let each = written.iter().flat_map(|trap| trap.value.addresses().map(move |address| (trap, address)));
        // Everybody sends to the last address of a subnet, and some to the first.
        let each = each.filter(|(trap, address)| !trap.value.is_prefix() || !self.is_edge(*address));
        for (trap, address) in each {
            let text = address.to_string();
            if traps.len() == limit {
                let problem = Problem::TooMany { what: "traps".into(), limit: limit.to_string() };
                sink.report(trap.at, &problem);
                break;
            }
            if self.box_addresses.contains(&address) {
                names::taken(sink, trap.at, &text, "box");
            } else if !seen.insert(address) {
                names::taken(sink, trap.at, &text, "traps");
            } else {
                traps.push(address);
                spans.traps.push(trap.at);
            }
        }
        traps
    }

    /// Whether this is the first or the last address of a net's IPv4 prefix.
    fn is_edge(&self, address: IpAddr) -> bool {
        let mut prefixes = self.nets.list.iter().flat_map(|net| &net.prefixes);
        address.is_ipv4() && prefixes.any(|prefix| prefix.network() == address || prefix.broadcast() == address)
    }

    fn zones(
        &self,
        document: &DetectionDoc,
        spans: &mut DetectionSpans,
        sink: &mut Sink,
    ) -> Vec<(NetIndex, BTreeMap<Detector, Setting>)> {
        let mut own: BTreeMap<NetIndex, &Detectors> = BTreeMap::new();
        for (name, detectors) in &document.zones.0 {
            let net = self.nets.of_kind(&name.value.0, name.at, true, sink);
            if let (Some(net), Some(detectors)) = (net, detectors) {
                own.insert(net, detectors);
            }
        }
        let written = document.defaults.iter().chain(own.values().copied()).flat_map(|detectors| &detectors.0);
        let mut quarantines = written.filter_map(|(_, written)| written.action.as_ref());
        spans.quarantine = quarantines.find(|action| action.value == Measure::Quarantine).map(|action| action.at);
        let zones = (0..self.nets.list.len()).filter(|net| self.nets.is_zone(*net));
        zones.map(|net| (net, settings(&[document.defaults.as_ref(), own.get(&net).copied()]))).collect()
    }

    fn exemption(&self, written: &ExemptionDoc, sink: &mut Sink) -> (Exemption, ExemptionSpans) {
        let mut spans = ExemptionSpans { until: written.until.at, addresses: Vec::new() };
        let mut exemption = Exemption {
            hosts: Vec::new(),
            devices: Vec::new(),
            addresses: Vec::new(),
            detectors: Vec::new(),
            owner: written.owner.value.0.clone(),
            purpose: written.purpose.value.0.clone(),
            until: end(Some(&written.until), self.timezone),
        };
        for host in &written.hosts.0 {
            match &host.value {
                HostName::Device(name) => {
                    exemption.devices.extend(self.devices.find(&name.0, host.at, sink));
                    exemption.hosts.push(name.0.clone());
                }
                HostName::Addresses(few) => {
                    exemption.hosts.push(few.to_string());
                    for address in few.addresses() {
                        exemption.addresses.push(address);
                        spans.addresses.push(host.at);
                    }
                }
            }
        }
        for detector in &written.detectors.0 {
            if !exemption.detectors.contains(&detector.value.0) {
                exemption.detectors.push(detector.value.0);
            }
        }
        (exemption, spans)
    }
}

/// What is built in, with each layer over the one before. An action brings its own duration along: that of the block it
/// replaces is not meant for it.
fn settings(layers: &[Option<&Detectors>]) -> BTreeMap<Detector, Setting> {
    let mut settings: BTreeMap<Detector, Setting> =
        abi::ALL.iter().map(|detector| (*detector, known(*detector).setting())).collect();
    for (detector, written) in layers.iter().copied().flatten().flat_map(|layer| &layer.0) {
        let Some(setting) = settings.get_mut(detector) else { continue };
        if let Some(action) = &written.action {
            setting.action = action.value;
            setting.seconds = None;
        }
        if let Some(lasting) = &written.lasting {
            setting.seconds = Some(lasting.value.0);
        }
        if let Some(limit) = &written.limit {
            setting.limit = limit.value;
        }
    }
    settings
}
