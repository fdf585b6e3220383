//! Registered terminals.

use std::{collections::HashMap, net::IpAddr};

use jiff::tz::TimeZone;
use sekimori_ebpf::abi::MAX_DEVICES;

use super::{
    super::{
        diagnostic::{Sink, Span},
        document::File,
        model::{Device, DeviceIndex, Mac, NetIndex},
        problem::Problem,
        spans::{DeviceSpans, Spans},
    },
    end, names,
    nets::Nets,
};

/// Devices with their indexes.
pub(super) struct Devices {
    pub(super) list: Vec<Device>,
    /// Every name; `None` if what it names could not be read.
    names: HashMap<String, Option<DeviceIndex>>,
}

pub(super) fn devices(
    document: &File,
    nets: &Nets,
    box_addresses: &[IpAddr],
    zone: &TimeZone,
    spans: &mut Spans,
    sink: &mut Sink,
) -> Devices {
    let mut devices = Devices { list: Vec::new(), names: HashMap::new() };
    let mut macs: HashMap<(Mac, NetIndex), String> = HashMap::new();
    let mut addresses: HashMap<IpAddr, String> = HashMap::new();
    // Number 0 of the data plane's table is "no device".
    let limit = MAX_DEVICES as usize - 1;
    for (name, device) in &document.devices.0 {
        let key = name.value.0.clone();
        let found = device.as_ref().and_then(|device| {
            let net = nets.of_kind(&device.zone.value.0, device.zone.at, true, sink)?;
            Some((device, net))
        });
        let Some((device, net)) = found else {
            devices.names.insert(key, None);
            continue;
        };
        if devices.list.len() == limit {
            sink.report(name.at, &Problem::TooMany { what: "devices".into(), limit: limit.to_string() });
        }
        let mac = device.mac.value;
        if nets.is_router(mac, net) {
            mac_taken(sink, device.mac.at, mac, &format!("router of {}", nets.name(Some(net))));
        } else if let Some(other) = macs.insert((mac, net), key.clone()) {
            mac_taken(sink, device.mac.at, mac, &other);
        }
        let mut own = Vec::new();
        for host in device.addresses.iter().flat_map(|list| &list.0) {
            let (address, text) = (host.value.0, host.value.0.to_string());
            let owner = nets.owner(address);
            if box_addresses.contains(&address) {
                names::taken(sink, host.at, &text, "box");
            } else if let Some(other) = addresses.insert(address, key.clone()) {
                names::taken(sink, host.at, &text, &other);
            } else if owner != Some(net) {
                let problem = Problem::AddressElsewhere {
                    address: text.clone(),
                    net: nets.name(Some(net)).to_owned(),
                    owner: nets.name(owner).to_owned(),
                };
                sink.report(host.at, &problem).text(&text);
            }
            own.push(address);
        }
        devices.names.insert(key.clone(), Some(devices.list.len()));
        devices.list.push(Device {
            name: key,
            net,
            mac,
            addresses: own,
            owner: device.owner.value.0.clone(),
            until: end(device.until.as_ref(), zone),
            critical: device.critical.as_ref().is_some_and(|critical| critical.value),
        });
        spans.devices.push(DeviceSpans { name: name.at, until: device.until.as_ref().map(|until| until.at) });
    }
    devices
}

fn mac_taken(sink: &mut Sink, at: Span, mac: Mac, owner: &str) {
    let mac = mac.to_string();
    sink.report(at, &Problem::MacTaken { mac: mac.clone(), owner: owner.to_owned() }).text(&mac);
}

impl Devices {
    /// A device by name; `None` if there is none (reported) or it could not be read.
    pub(super) fn find(&self, name: &str, at: Span, sink: &mut Sink) -> Option<DeviceIndex> {
        match self.names.get(name) {
            Some(index) => *index,
            None => {
                let mut known: Vec<&str> = self.names.keys().map(String::as_str).collect();
                known.sort_unstable();
                names::unknown(sink, at, "device", name, known.iter().copied());
                None
            }
        }
    }
}
