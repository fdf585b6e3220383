//! Whole replays with a judge that remembers what it was asked.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod decision;
mod formats;
mod mutation;
mod ways;

use jiff::Timestamp;
use sekimori_ebpf::reason::Reason;

use super::{
    Entry, Error, Options,
    judge::{Judge, Judged, Origin},
    report::{Format, Lang, Summary},
    run,
};
use crate::policy::model::{
    Builtin, Device, DeviceMode, External, L2Control, Limits, Mac, Net, NetBuiltin, NetKind, Party, Place, Policy,
    Port, Published, Restoring, Rule, Service,
};

/// One question put to the judge.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    /// `in lan0`, `out wan0 from lan0 7`, `out wan0 from box`.
    way: String,
    frame: Vec<u8>,
    now: u64,
}

/// Answers as told, and remembers.
struct Witness<F> {
    answer: F,
    asked: Vec<Asked>,
    clocks: Vec<Timestamp>,
}

impl<F: FnMut(&str, &[u8]) -> Judged> Witness<F> {
    fn new(answer: F) -> Self {
        Self { answer, asked: Vec::new(), clocks: Vec::new() }
    }
    fn ask(&mut self, way: String, frame: &[u8], now: u64) -> anyhow::Result<Judged> {
        assert!(frame.len() >= 14, "a run takes no frame of {}", frame.len());
        let judged = (self.answer)(&way, frame);
        self.asked.push(Asked { way, frame: frame.to_vec(), now });
        Ok(judged)
    }
}

impl<F: FnMut(&str, &[u8]) -> Judged> Judge for Witness<F> {
    fn head(&self) -> usize {
        3500
    }
    fn set_clock(&mut self, at: Timestamp) -> anyhow::Result<()> {
        self.clocks.push(at);
        Ok(())
    }
    fn ingress(&mut self, frame: &[u8], interface: &str, now: u64) -> anyhow::Result<Judged> {
        self.ask(format!("in {interface}"), frame, now)
    }
    fn egress(&mut self, frame: &[u8], interface: &str, origin: Origin<'_>, now: u64) -> anyhow::Result<Judged> {
        let from = match origin {
            Origin::Box => "box".to_owned(),
            Origin::Interface { name, mark } => format!("{name} {mark}"),
        };
        self.ask(format!("out {interface} from {from}"), frame, now)
    }
}

fn says(reason: Reason) -> Judged {
    Judged { reason, rule: None, mark: 7 }
}

fn options(entry: Entry) -> Options {
    Options { entry, at: None, format: Format::Json, lang: Lang::En }
}

/// Replays, and returns the JSON lines, the summary and how it ended.
fn replay(
    bytes: &[u8],
    judge: &mut dyn Judge,
    options: &Options,
) -> (Vec<serde_json::Value>, Summary, Result<(), Error>) {
    let mut out = Vec::new();
    let mut summary = Summary::default();
    let ended = run(bytes, &policy(), judge, options, &mut out, &mut summary);
    let lines = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    (lines.map(|line| serde_json::from_slice(line).unwrap()).collect(), summary, ended)
}

fn net(name: &str, kind: NetKind, port: (&str, u16), prefixes: &[&str], routers: &[[u8; 6]]) -> Net {
    Net {
        name: name.into(),
        kind,
        ports: vec![Port { interface: port.0.into(), outer: port.1, inner: 0 }],
        prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        is_default: name == "internet",
        routers: routers.iter().copied().map(Mac).collect(),
        builtin: NetBuiltin::default(),
    }
}

/// Office on `lan0`, cameras on VLAN 60 of `lan1`, a web server in `dmz`, the Internet on `wan0`, a leased line.
fn policy() -> Policy {
    let zone = || NetKind::Zone { devices: DeviceMode::Registered };
    let external = || NetKind::External(External::default());
    let device = |name: &str, net, host: [u8; 6], address: &str| Device {
        name: name.into(),
        net,
        mac: Mac(host),
        addresses: vec![address.parse().unwrap()],
        owner: "総務課".into(),
        until: None,
        critical: false,
    };
    let party = |place, prefixes| Party { place: vec![place], prefixes, devices: None };
    Policy {
        organisation: "試験".into(),
        timezone: jiff::tz::TimeZone::UTC,
        holidays: Vec::new(),
        box_addresses: ["192.168.10.1", "203.0.113.2", "203.0.113.10"].map(|a| a.parse().unwrap()).to_vec(),
        nets: vec![
            net("office", zone(), ("lan0", 0), &["192.168.10.0/24"], &[]),
            net("cameras", zone(), ("lan1", 60), &["192.168.60.0/24"], &[]),
            net("dmz", zone(), ("dmz0", 0), &["192.168.20.0/24"], &[]),
            net("internet", external(), ("wan0", 0), &["203.0.113.0/28"], &[[2, 0, 0, 0, 0x99, 1]]),
            net("leased", external(), ("lgw0", 0), &["10.80.0.0/16", "10.80.9.0/24"], &[]),
        ],
        devices: vec![
            device("pc-017", 0, [2, 0, 0, 0, 0x10, 0x17], "192.168.10.17"),
            device("camera-1", 1, [2, 0, 0, 0, 0x60, 0x11], "192.168.60.11"),
            device("web", 2, [2, 0, 0, 0, 0x20, 0x10], "192.168.20.10"),
        ],
        hours: Vec::new(),
        rules: vec![Rule {
            id: "city-web".into(),
            from: party(Place::Net(3), None),
            to: party(Place::Net(2), Some(vec!["203.0.113.10/32".parse().unwrap()].into())),
            services: vec![Service::Tcp(443, 443)],
            hours: None,
            until: None,
            purpose: "規程第51条第5項".into(),
            owner: "広報課".into(),
            log: false,
            limits: Limits::default(),
            quarantined: false,
            published: Some(Published {
                public: "203.0.113.10".parse().unwrap(),
                net: 2,
                address: "192.168.20.10".parse().unwrap(),
                port: Some(8443),
            }),
        }],
        alert_receivers: Vec::new(),
        detection: None,
        threat_lists: Vec::new(),
        services: std::collections::BTreeMap::new(),
        restoring: Restoring::default(),
        builtin: Builtin {
            arp: true,
            ndp: true,
            mld: true,
            icmp_errors: true,
            resets: true,
            vrrp: false,
            stp: L2Control::Drop,
            lacp: L2Control::Drop,
            lldp: L2Control::Drop,
        },
        tests: Vec::new(),
        files: Vec::new(),
        digests: Vec::new(),
        groups: Vec::new(),
        hash: [0; 32],
    }
}
