//! Policies for tests, built directly: short names for what the YAML would say.

use std::{collections::BTreeMap, net::IpAddr};

use crate::policy::model::{
    Builtin, Device, DeviceMode, External, Hours, L2Control, Mac, Net, NetBuiltin, NetKind, Party,
    Place, Policy, Port, Published, Rule, Service,
};

/// A repeatable stream of numbers (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn nets(texts: &[&str]) -> Vec<ipnet::IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn policy() -> Policy {
    Policy {
        organisation: String::new(),
        timezone: jiff::tz::TimeZone::UTC,
        holidays: Vec::new(),
        box_addresses: Vec::new(),
        nets: Vec::new(),
        devices: Vec::new(),
        hours: Vec::new(),
        rules: Vec::new(),
        builtin: Builtin {
            arp: true,
            ndp: true,
            mld: true,
            icmp_errors: true,
            resets: true,
            vrrp: false,
            stp: L2Control::Drop,
            lacp: L2Control::Local,
            lldp: L2Control::Forward,
        },
        tests: Vec::new(),
        files: Vec::new(),
        hash: [7; 32],
    }
}

fn net(name: &str, kind: NetKind, interface: &str, prefixes: &[&str]) -> Net {
    Net {
        name: name.to_owned(),
        kind,
        ports: vec![Port {
            interface: interface.to_owned(),
            outer: 0,
            inner: 0,
        }],
        prefixes: nets(prefixes),
        is_default: false,
        routers: Vec::new(),
        builtin: NetBuiltin::default(),
    }
}

pub(crate) fn zone(name: &str, mode: DeviceMode, interface: &str, prefixes: &[&str]) -> Net {
    net(name, NetKind::Zone { devices: mode }, interface, prefixes)
}

pub(crate) fn external(name: &str, interface: &str, prefixes: &[&str]) -> Net {
    net(
        name,
        NetKind::External(External {
            survey: BTreeMap::new(),
            ..External::default()
        }),
        interface,
        prefixes,
    )
}

pub(crate) fn device(name: &str, net: usize, mac: [u8; 6], addresses: &[&str]) -> Device {
    Device {
        name: name.to_owned(),
        net,
        mac: Mac(mac),
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        owner: String::new(),
        until: None,
    }
}

pub(crate) fn party(place: &[Place]) -> Party {
    Party {
        place: place.to_vec(),
        prefixes: None,
        devices: None,
    }
}

pub(crate) fn rule(id: &str, from: Party, to: Party, services: &[Service]) -> Rule {
    Rule {
        id: id.to_owned(),
        from,
        to,
        services: services.to_vec(),
        hours: None,
        until: None,
        purpose: String::new(),
        owner: String::new(),
        log: false,
        published: None,
    }
}

pub(crate) fn publish(
    id: &str,
    from: Party,
    public: &str,
    services: &[Service],
    server: Published,
) -> Rule {
    let public: IpAddr = ip(public);
    let to = Party {
        place: Vec::new(),
        prefixes: Some(vec![public.into()]),
        devices: None,
    };
    Rule {
        published: Some(server),
        ..rule(id, from, to, services)
    }
}

pub(crate) fn hours(name: &str, spans: &[(u8, u16, u16)], closed_on_holidays: bool) -> Hours {
    Hours {
        name: name.to_owned(),
        spans: spans.to_vec(),
        closed_on_holidays,
    }
}
