//! Every change that may make what a judge remembers stale, and then every short sequence of packets, one by one.

use std::net::IpAddr;

use jiff::{Timestamp, ToSpan};
use sekimori::policy::model::{
    Builtin, Device, DeviceMode, L2Control, Mac, Net, NetBuiltin, NetKind, Party, Place, Policy, Port, Restoring, Rule,
    Service,
};

use super::{
    Step,
    build::{Ip, Segment, ether, tcp, udp},
    policy::base,
};
use crate::oracle::{Event, Origin, Way, state::Cut, transport::flag};

/// What happens between two packets of an established conversation. `usize` is the end it happens to: 0 opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing at all.
    Nothing,
    /// Another revision that says the same.
    Same,
    /// The registration's date comes.
    Expires(usize),
    /// A revision in which the date has come.
    Ended(usize),
    /// A revision in which the device has another MAC.
    OtherMac(usize),
    /// The same, and back again.
    ThereAndBack(usize),
    /// A revision in which the address is registered to nobody.
    Released(usize),
    /// A revision in which the address is the box's.
    Taken(usize),
    /// A revision in which the MAC is an inside router's.
    Router(usize),
    /// Packets come from another MAC.
    Stranger(usize),
    /// A revision without the rule.
    Forbidden,
    /// The rule's date comes.
    RuleEnds,
    /// The MAC is cut.
    CutMac(usize),
    /// It was cut for a while.
    CutAndOpen(usize),
    /// Nobody says anything for longer than the view lives.
    Silence,
}

/// All of them.
pub const CHANGES: &[Change] = &[
    Change::Nothing,
    Change::Same,
    Change::Expires(0),
    Change::Expires(1),
    Change::Ended(0),
    Change::Ended(1),
    Change::OtherMac(0),
    Change::OtherMac(1),
    Change::ThereAndBack(0),
    Change::ThereAndBack(1),
    Change::Released(0),
    Change::Released(1),
    Change::Taken(0),
    Change::Taken(1),
    Change::Router(0),
    Change::Router(1),
    Change::Stranger(0),
    Change::Stranger(1),
    Change::Forbidden,
    Change::RuleEnds,
    Change::CutMac(0),
    Change::CutMac(1),
    Change::CutAndOpen(0),
    Change::CutAndOpen(1),
    Change::Silence,
];

/// Who speaks after the change: ends by number.
pub const WORDS: &[&[usize]] = &[&[0, 0], &[1, 1], &[0, 1, 0], &[1, 0, 0], &[1, 1, 0, 1], &[0, 0, 1]];

/// One conversation's shape.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Of both zones.
    pub mode: DeviceMode,
    /// Over IPv6.
    pub six: bool,
    /// TCP rather than UDP.
    pub tcp: bool,
    /// With tags.
    pub tagged: bool,
    /// The rule names the opener's device.
    pub named: bool,
}

impl Shape {
    /// Every shape there is.
    pub fn all() -> Vec<Self> {
        let mut out = Vec::new();
        for mode in [DeviceMode::Registered, DeviceMode::Known, DeviceMode::Any] {
            for bits in 0..16u8 {
                let bit = |place: u8| bits >> place & 1 == 1;
                out.push(Self { mode, six: bit(0), tcp: bit(1), tagged: bit(2), named: bit(3) });
            }
        }
        out
    }

    fn port(&self, end: usize) -> Port {
        let outer = if self.tagged { 10 + end as u16 } else { 0 };
        Port { interface: format!("if{end}"), outer, inner: if self.tagged && end == 1 { 5 } else { 0 } }
    }

    fn addr(&self, end: usize) -> IpAddr {
        let text = [["10.1.0.17", "2001:db8:1::17"], ["10.2.0.17", "2001:db8:2::17"]][end][usize::from(self.six)];
        text.parse().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
    }

    /// Two zones, a device in each, a rule from the first to the second.
    fn policy(&self) -> Policy {
        let net = |end: usize| Net {
            name: format!("zone{end}"),
            kind: NetKind::Zone { devices: self.mode },
            ports: vec![self.port(end)],
            prefixes: [format!("10.{}.0.0/24", end + 1), format!("2001:db8:{}::/64", end + 1)]
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
            is_default: false,
            routers: Vec::new(),
            builtin: NetBuiltin::default(),
        };
        let device = |end: usize| Device {
            name: format!("device{end}"),
            net: end,
            mac: mac(end),
            addresses: vec![self.addr(end)],
            owner: String::new(),
            until: None,
            critical: false,
        };
        let party =
            |end: usize, devices: Option<Vec<usize>>| Party { place: vec![Place::Net(end)], prefixes: None, devices };
        let rule = Rule {
            id: "there".into(),
            from: party(0, self.named.then(|| vec![0])),
            to: party(1, None),
            services: vec![Service::Tcp(443, 443), Service::Udp(443, 443)],
            hours: None,
            until: None,
            purpose: String::new(),
            owner: String::new(),
            log: false,
            quarantined: false,
            published: None,
            limits: sekimori::policy::model::Limits::default(),
        };
        let other = Rule { id: "other".into(), services: vec![Service::Tcp(22, 22)], ..rule.clone() };
        Policy {
            organisation: String::new(),
            timezone: jiff::tz::TimeZone::UTC,
            holidays: Vec::new(),
            box_addresses: Vec::new(),
            nets: vec![net(0), net(1)],
            devices: vec![device(0), device(1)],
            hours: Vec::new(),
            rules: vec![rule, other],
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
}

fn mac(end: usize) -> Mac {
    Mac([2, 0, 0, 0, end as u8, 0x17])
}

/// Seconds after [`base`] at which what ends, ends.
const END: i64 = 60;

/// The first policy, and what happens under it.
pub fn history(shape: Shape, change: Change, word: &[usize]) -> (Policy, Vec<Step>) {
    let mut policy = shape.policy();
    let end = base().saturating_add(END.seconds()).ok();
    match change {
        Change::Expires(index) => policy.devices[index].until = end,
        Change::RuleEnds => policy.rules[0].until = end,
        _ => {}
    }
    let mut tale =
        Tale { shape, macs: [mac(0), mac(1)], clock: base(), next: [100, 900], number: 0, steps: Vec::new() };
    let (syn, ack) = (flag::SYN, flag::ACK);
    for (end, flags) in [(0, syn), (1, syn | ack), (0, ack), (1, ack), (0, ack)] {
        tale.speak(end, flags);
    }
    tale.happens(&policy, change);
    for end in word {
        tale.speak(*end, ack);
    }
    (policy, tale.steps)
}

struct Tale {
    shape: Shape,
    macs: [Mac; 2],
    clock: Timestamp,
    next: [u32; 2],
    number: usize,
    steps: Vec<Step>,
}

impl Tale {
    fn wait(&mut self, milliseconds: i64) {
        self.clock = self.clock.saturating_add(milliseconds.milliseconds()).unwrap_or(self.clock);
    }

    fn switch(&mut self, policy: &Policy) {
        self.steps.push(Step::Switch(Box::new(policy.clone()), self.clock));
    }

    fn happens(&mut self, policy: &Policy, change: Change) {
        let mut next = policy.clone();
        next.hash[0] = 1;
        let another = Mac([2, 0, 0, 0, 9, 9]);
        let revises = match change {
            Change::Nothing => false,
            Change::Same => true,
            Change::Expires(_) | Change::RuleEnds => {
                self.clock = base().saturating_add(END.seconds()).unwrap_or(self.clock);
                false
            }
            Change::Silence => {
                self.wait(8_000_000);
                false
            }
            Change::Stranger(end) => {
                self.macs[end] = another;
                false
            }
            Change::CutMac(end) | Change::CutAndOpen(end) => {
                let cut = Cut { macs: vec![mac(end)], ..Cut::default() };
                self.steps.push(Step::Overlay(cut, Vec::new()));
                if change == Change::CutAndOpen(end) {
                    self.speak(end, flag::ACK);
                    self.steps.push(Step::Overlay(Cut::default(), Vec::new()));
                }
                false
            }
            Change::Ended(end) => {
                next.devices[end].until = Some(base());
                true
            }
            Change::OtherMac(end) | Change::ThereAndBack(end) => {
                next.devices[end].mac = another;
                true
            }
            Change::Released(end) => {
                next.devices[end].addresses.clear();
                true
            }
            Change::Taken(end) => {
                next.devices[end].addresses.clear();
                next.box_addresses.push(self.shape.addr(end));
                true
            }
            Change::Router(end) => {
                next.nets[end].routers.push(mac(end));
                next.devices[end].mac = another;
                true
            }
            Change::Forbidden => {
                next.rules.remove(0);
                true
            }
        };
        if revises {
            self.switch(&next);
        }
        if matches!(change, Change::ThereAndBack(_)) {
            self.switch(policy);
        }
    }

    /// A packet of this end, all the way.
    fn speak(&mut self, end: usize, flags: u8) {
        let (src, dst) = (self.shape.addr(end), self.shape.addr(1 - end));
        let (sport, dport) = if end == 0 { (40_000, 443) } else { (443, 40_000) };
        let (proto, bytes) = if self.shape.tcp {
            let (seq, ack) = (self.next[end], if flags & flag::ACK == 0 { 0 } else { self.next[1 - end] });
            let data = if flags == flag::ACK { 3 } else { 0 };
            self.next[end] = seq.wrapping_add(data as u32 + u32::from(flags & flag::SYN != 0));
            (6, tcp(&Segment { sport, dport, seq, ack, flags, data, scale: None }))
        } else {
            (17, udp(sport, dport, 5))
        };
        let ip = Ip::new(src, dst, proto);
        let own = Mac([2, 0, 0, 0xbb, 0, 1]);
        let (enters, leaves) = (self.shape.port(end), self.shape.port(1 - end));
        let came = ether(own, self.macs[end], &enters, ip.kind(), &ip.bytes(&bytes));
        let went = ether(mac(1 - end), own, &leaves, ip.kind(), &ip.bytes(&bytes));
        let event = self.packet(came, Way::In { interface: enters.interface });
        self.packet(went, Way::Out { interface: leaves.interface, origin: Origin::Guarded { event } });
    }

    fn packet(&mut self, frame: Vec<u8>, way: Way) -> usize {
        self.wait(1_010);
        let number = self.number;
        self.number += 1;
        self.steps.push(Step::Packet(Event { number, frame, way, now: self.clock }));
        number
    }
}
