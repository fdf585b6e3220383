//! One example per step and reason, taken from the prose of "The judgement".
#![expect(clippy::unwrap_used, reason = "tests")]

mod conversations;
mod headers;
mod identities;
mod listed;
mod permissions;

use jiff::{Timestamp, ToSpan};
use sekimori::policy::model::*;

use super::{
    Event, OracleState, Origin, Way,
    generate::{
        build::{Ip, Segment, ether, tcp, udp},
        policy::base,
    },
    judge,
    transport::flag,
};

/// A registered terminal's MAC.
const PC: Mac = Mac([2, 0, 0, 0, 0x10, 0x17]);
/// The outside router's MAC.
const ROUTER: Mac = Mac([2, 0, 0, 0, 0x99, 1]);
/// The box's MAC.
const BOX: Mac = Mac([2, 0, 0, 0, 0xbb, 1]);

fn zone(name: &str, interface: &str, prefixes: &[&str], devices: DeviceMode) -> Net {
    Net {
        name: name.into(),
        kind: NetKind::Zone { devices },
        ports: vec![port(interface)],
        prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        is_default: false,
        routers: Vec::new(),
        builtin: NetBuiltin::default(),
    }
}

fn port(interface: &str) -> Port {
    Port { interface: interface.into(), outer: 0, inner: 0 }
}

fn rule(id: &str, from: Place, to: Place, services: &[Service]) -> Rule {
    Rule {
        id: id.into(),
        from: Party { place: vec![from], prefixes: None, devices: None },
        to: Party { place: vec![to], prefixes: None, devices: None },
        services: services.to_vec(),
        hours: None,
        until: None,
        purpose: String::new(),
        owner: String::new(),
        log: false,
        limits: Limits::default(),
        quarantined: false,
        published: None,
    }
}

const OFFICE: Place = Place::Net(0);
const INTERNET: Place = Place::Net(1);

/// An office (lan0), the Internet (wan0, default) and a server zone (dmz0).
fn town() -> Policy {
    let mut office = zone("office", "lan0", &["192.168.10.0/24", "2001:db8:10::/64"], DeviceMode::Registered);
    office.ports.push(Port { interface: "lan0".into(), outer: 10, inner: 0 });
    let internet = Net {
        name: "internet".into(),
        kind: NetKind::External(External::default()),
        ports: vec![port("wan0")],
        prefixes: vec!["203.0.113.0/24".parse().unwrap()],
        is_default: true,
        routers: vec![ROUTER],
        builtin: NetBuiltin::default(),
    };
    let dmz = zone("dmz", "dmz0", &["192.168.20.0/24"], DeviceMode::Any);
    let mut web = rule("city-web", INTERNET, Place::Net(2), &[Service::Tcp(443, 443)]);
    web.to.prefixes = Some(vec!["203.0.113.10/32".parse().unwrap()].into());
    web.published = Some(Published {
        public: "203.0.113.10".parse().unwrap(),
        net: 2,
        address: "192.168.20.10".parse().unwrap(),
        port: Some(8443),
    });
    Policy {
        organisation: String::new(),
        timezone: jiff::tz::TimeZone::get("Asia/Tokyo").unwrap(),
        holidays: Vec::new(),
        box_addresses: vec!["192.168.10.1".parse().unwrap(), "203.0.113.2".parse().unwrap()],
        nets: vec![office, internet, dmz],
        devices: vec![Device {
            name: "pc".into(),
            net: 0,
            mac: PC,
            addresses: vec!["192.168.10.17".parse().unwrap(), "2001:db8:10::17".parse().unwrap()],
            owner: String::new(),
            until: None,
            critical: false,
        }],
        hours: Vec::new(),
        rules: vec![
            rule("web", OFFICE, INTERNET, &[Service::Tcp(443, 443), Service::Udp(443, 443), Service::Icmp(8, None)]),
            rule("admin", OFFICE, Place::Box, &[Service::Tcp(22, 22)]),
            rule("box-dns", Place::Box, INTERNET, &[Service::Udp(53, 53)]),
            web,
        ],
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
            lldp: L2Control::Local,
        },
        tests: Vec::new(),
        files: Vec::new(),
        digests: Vec::new(),
        groups: Vec::new(),
        hash: [0; 32],
    }
}

/// A court room: packets go in, reasons come out.
struct Court {
    policy: Policy,
    state: OracleState,
    now: Timestamp,
    number: usize,
}

impl Court {
    fn new() -> Self {
        Self { policy: town(), state: OracleState::default(), now: base(), number: 0 }
    }

    fn frame(&mut self, frame: Vec<u8>, way: Way) -> &'static str {
        self.number += 1;
        self.now = self.now.checked_add(1.second()).unwrap();
        let event = Event { number: self.number, frame, way, now: self.now };
        judge(&self.policy, &mut self.state, &event).reason.code()
    }

    fn raw_in(&mut self, interface: &str, frame: Vec<u8>) -> &'static str {
        self.frame(frame, Way::In { interface: interface.into() })
    }

    fn enters(&mut self, interface: &str, mac: Mac, ip: &Ip, payload: &[u8]) -> &'static str {
        let frame = ether(BOX, mac, &port(interface), ip.kind(), &ip.bytes(payload));
        self.raw_in(interface, frame)
    }

    fn pc_sends(&mut self, ip: &Ip, payload: &[u8]) -> &'static str {
        self.enters("lan0", PC, ip, payload)
    }

    fn internet_sends(&mut self, ip: &Ip, payload: &[u8]) -> &'static str {
        self.enters("wan0", ROUTER, ip, payload)
    }

    /// Leaves as the packet judged last.
    fn leaves(&mut self, interface: &str, ip: &Ip, payload: &[u8]) -> &'static str {
        let origin = Origin::Guarded { event: self.number };
        self.leaves_as(interface, ip, payload, origin)
    }

    fn leaves_as(&mut self, interface: &str, ip: &Ip, payload: &[u8], origin: Origin) -> &'static str {
        let frame = ether(PC, BOX, &port(interface), ip.kind(), &ip.bytes(payload));
        self.frame(frame, Way::Out { interface: interface.into(), origin })
    }

    fn wait(&mut self, seconds: i64) {
        self.now = self.now.checked_add(seconds.seconds()).unwrap();
    }
}

fn ip(src: &str, dst: &str, proto: u8) -> Ip {
    Ip::new(src.parse().unwrap(), dst.parse().unwrap(), proto)
}

fn syn(sport: u16, dport: u16) -> Vec<u8> {
    segment(sport, dport, 1000, 0, flag::SYN, 0)
}

fn segment(sport: u16, dport: u16, seq: u32, ack: u32, flags: u8, data: usize) -> Vec<u8> {
    tcp(&Segment { sport, dport, seq, ack, flags, data, scale: None })
}

/// The terminal asks a web server; passes by rule `web`.
fn pc_to_web() -> (Ip, Vec<u8>) {
    (ip("192.168.10.17", "198.51.100.5", 6), syn(40_000, 443))
}

fn datagram() -> Vec<u8> {
    udp(40_000, 443, 10)
}
