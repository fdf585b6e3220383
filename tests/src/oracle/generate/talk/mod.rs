//! Conversations: related frames at both of their interfaces, with time, switches and cut-offs in between.

mod odd;
mod pieces;
mod steady;
mod stranger;
mod tcp;
mod told;
mod translated;

use translated::Translated;

use std::net::IpAddr;

use jiff::{Timestamp, ToSpan};
use sekimori::policy::model::{Mac, Place, Policy, Port, Service};

use super::{
    Step,
    build::{Ip, ether, icmp, udp},
    ends::{BOX_MAC, Ends, ends},
    neighbours,
    policy::{base, revised},
    rng::Rng,
    spoil,
};
use crate::oracle::{
    Event, OracleState, Origin, Way, judge, staged,
    state::{Cut, Management, Quarantine, Staged},
};

/// Writes one policy's history.
#[derive(Debug)]
pub struct Talker<'r> {
    rng: &'r mut Rng,
    policy: Policy,
    clock: Timestamp,
    number: usize,
    jumps: usize,
    switches: usize,
    /// The oracle itself, asked so that conversations go on where they live and end where they die.
    state: OracleState,
    passed: bool,
    /// Last sequence number either TCP side sent.
    last_seq: u32,
    steps: Vec<Step>,
}

/// What travels: transport bytes by direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forth,
    Back,
}

/// A history of about `packets` packets under this policy.
pub fn history(rng: &mut Rng, policy: &Policy, packets: usize) -> Vec<Step> {
    let mut talker = Talker {
        rng,
        policy: policy.clone(),
        clock: base(),
        number: 0,
        jumps: 0,
        switches: 0,
        state: OracleState::default(),
        passed: false,
        last_seq: 1,
        steps: Vec::new(),
    };
    while talker.number < packets {
        talker.happen();
        match talker.rng.below(20) {
            0..=3 => talker.neighbour(),
            4..=5 => talker.pieces(),
            6 => talker.odd(),
            7..=8 => talker.stranger(),
            9..=10 => talker.steady(),
            _ => talker.conversation(),
        }
    }
    talker.steps
}

impl Talker<'_> {
    /// Time passes by more than a second a packet, so that "refreshed at most once a second" never matters.
    fn tick(&mut self) {
        let milliseconds = 1_003 + self.rng.below(90) as i64;
        self.clock = self.clock.saturating_add(milliseconds.milliseconds()).unwrap_or(self.clock);
    }

    fn happen(&mut self) {
        match self.rng.below(100) {
            0..=5 if self.jumps < 12 => {
                self.jumps += 1;
                let seconds = *self.rng.pick(&[14i64, 37, 75, 141, 260, 8_000, 11_000]);
                self.clock = self.clock.saturating_add(seconds.seconds()).unwrap_or(self.clock);
            }
            6..=7 => self.switch(),
            8..=9 => self.overlay(),
            10 => {
                let devices = &self.policy.devices;
                let addresses: Vec<IpAddr> = devices.iter().flat_map(|device| device.addresses.clone()).collect();
                let macs: Vec<Mac> = devices.iter().map(|device| device.mac).collect();
                let mut quarantine = Quarantine::default();
                quarantine.addresses.extend(self.rng.maybe(&addresses));
                quarantine.macs.extend(self.rng.maybe(&macs));
                self.quarantine(quarantine);
            }
            _ if self.state.quarantine != Quarantine::default() && self.rng.chance(20) => {
                self.quarantine(Quarantine::default());
            }
            _ if self.state.cut != Cut::default() && self.rng.chance(40) => {
                self.state.cut = Cut::default();
                self.steps.push(Step::Overlay(Cut::default(), self.state.management.clone()));
            }
            _ => {}
        }
    }

    fn switch(&mut self) {
        if self.switches < 5 {
            self.switches += 1;
            self.policy = revised(self.rng, &self.policy);
            self.state.revision += 1;
            self.steps.push(Step::Switch(Box::new(self.policy.clone()), self.clock));
        }
    }

    /// Something that may end the permission of a conversation under way.
    fn change(&mut self) {
        if self.rng.chance(40) {
            self.switch();
        } else {
            let seconds = *self.rng.pick(&[11i64, 25, 58, 100, 119, 121]);
            self.clock = self.clock.saturating_add(seconds.seconds()).unwrap_or(self.clock);
        }
    }

    fn overlay(&mut self) {
        let mut cut = Cut::default();
        if self.rng.chance(50) {
            cut.all = *self.rng.pick(&[0, 0, 0, 1, 2]);
            if self.rng.chance(40) {
                cut.nets.push(self.rng.below(self.policy.nets.len()));
            }
            if self.rng.chance(40) {
                let prefixes: Vec<_> = self.policy.nets.iter().flat_map(|net| net.prefixes.clone()).collect();
                cut.prefixes.extend(self.rng.maybe(&prefixes));
            }
            if self.rng.chance(40) {
                let macs: Vec<Mac> = self.policy.devices.iter().map(|device| device.mac).collect();
                cut.macs.extend(self.rng.maybe(&macs));
            }
        }
        let management = if self.rng.chance(50) {
            let net = self.rng.below(self.policy.nets.len());
            let interface = self.policy.nets[net].ports[0].interface.clone();
            let source = self.policy.nets[net].prefixes.first().copied().unwrap_or_default();
            if self.rng.chance(50) {
                // What is cut matters to the management path only where it would be cut itself.
                if self.rng.chance(50) {
                    cut.all = 1;
                } else {
                    cut.nets.push(net);
                }
            }
            vec![Management { interface, source, port: 22 }]
        } else {
            Vec::new()
        };
        if self.rng.chance(40) {
            cut = self.in_stages(cut);
        }
        self.state.cut = cut.clone();
        self.state.management.clone_from(&management);
        self.steps.push(Step::Overlay(cut, management));
    }

    /// The same cut, restored in stages: hosts and services of the policy first.
    fn in_stages(&mut self, cut: Cut) -> Cut {
        let devices = &self.policy.devices;
        let addresses: Vec<IpAddr> = devices.iter().flat_map(|device| device.addresses.clone()).collect();
        let macs: Vec<Mac> = devices.iter().map(|device| device.mac).collect();
        let services: Vec<_> = self.policy.rules.iter().flat_map(|rule| rule.services.clone()).collect();
        let mut staged =
            Staged { all: cut.all != 0, nets: cut.nets, prefixes: cut.prefixes, macs: cut.macs, ..Staged::default() };
        if self.rng.chance(40) {
            staged.addresses.extend(self.rng.maybe(&addresses));
        }
        if self.rng.chance(20) {
            staged.list_macs.extend(self.rng.maybe(&macs));
        }
        if self.rng.chance(40) {
            staged.services.extend(self.rng.maybe(&services));
        }
        let mut cut = Cut { staged, ..Cut::default() };
        if self.rng.chance(20) {
            // Another one, cut whole.
            cut.nets.push(self.rng.below(self.policy.nets.len()));
            cut.staged.nets.retain(|net| !cut.nets.contains(net));
        }
        if !staged::exists(&cut.staged) {
            // A list for no cut is none.
            cut.staged = Staged::default();
        }
        cut
    }

    fn quarantine(&mut self, quarantine: Quarantine) {
        self.state.quarantine = quarantine.clone();
        self.steps.push(Step::Quarantine(quarantine));
    }

    fn emit(&mut self, frame: Vec<u8>, way: Way) -> usize {
        self.tick();
        let number = self.number;
        self.number += 1;
        let frame = spoil::maybe(self.rng, frame);
        let event = Event { number, frame, way, now: self.clock };
        self.passed = judge(&self.policy, &mut self.state, &event).passes();
        self.steps.push(Step::Packet(event));
        number
    }

    fn enter(&mut self, port: &Port, mac: Mac, ip: &Ip, payload: &[u8]) -> usize {
        let frame = ether(BOX_MAC, mac, port, ip.kind(), &ip.bytes(payload));
        let stray = self.rng.chance(1);
        let interface = if stray { "nowhere".to_owned() } else { port.interface.clone() };
        self.emit(frame, Way::In { interface })
    }

    fn leave(&mut self, port: &Port, mac: Mac, ip: &Ip, payload: &[u8], origin: Origin) {
        let frame = ether(mac, BOX_MAC, port, ip.kind(), &ip.bytes(payload));
        let origin = match self.rng.below(100) {
            0 => Origin::Unguarded,
            1 => Origin::Unmarked,
            _ => origin,
        };
        let port = if self.rng.chance(3) { self.any_port() } else { port.clone() };
        self.emit(frame, Way::Out { interface: port.interface, origin });
    }

    fn any_port(&mut self) -> Port {
        let net = self.rng.below(self.policy.nets.len());
        self.rng.pick(&self.policy.nets[net].ports).clone()
    }

    fn neighbour(&mut self) {
        let net = self.rng.below(self.policy.nets.len());
        let port = self.rng.pick(&self.policy.nets[net].ports).clone();
        let own = self.rng.chance(30);
        let frame = neighbours::frame(self.rng, &self.policy, net, &port, own);
        if own {
            self.emit(frame, Way::Out { interface: port.interface, origin: Origin::Box });
            return;
        }
        let event = self.emit(frame.clone(), Way::In { interface: port.interface });
        if self.rng.chance(30) {
            let other = self.any_port();
            self.emit(frame, Way::Out { interface: other.interface, origin: Origin::Guarded { event } });
        }
    }

    fn conversation(&mut self) {
        let ends = ends(self.rng, &self.policy);
        let translated = Translated::of(self.rng, &self.policy, &ends);
        match ends.service {
            Service::Tcp(..) => self.tcp(&ends, &translated),
            Service::Udp(..) => {
                for turn in 0..1 + self.rng.below(4) {
                    let direction = if turn % 2 == 0 { Direction::Forth } else { Direction::Back };
                    let len = self.rng.below(40);
                    self.carry(&ends, &translated, direction, &|sport, dport| udp(sport, dport, len));
                    if !self.passed && self.rng.chance(70) {
                        break;
                    }
                    self.happen();
                    if self.rng.chance(8) {
                        self.change();
                    }
                }
            }
            Service::Icmp(kind, code) | Service::Icmpv6(kind, code) => self.echo(&ends, &translated, kind, code),
            Service::Protocol(_) => {
                for _ in 0..1 + self.rng.below(2) {
                    self.carry(&ends, &translated, Direction::Forth, &|_, _| vec![0x5a; 24]);
                    self.carry(&ends, &translated, Direction::Back, &|_, _| vec![0x5b; 24]);
                }
            }
        }
        if self.rng.chance(if self.passed { 30 } else { 5 }) {
            self.error(&ends, &translated);
        }
    }

    fn echo(&mut self, ends: &Ends, translated: &Translated, kind: u8, code: Option<u8>) {
        let code = code.unwrap_or(u8::from(self.rng.chance(5)));
        let reply = match kind {
            8 => 0,
            128 => 129,
            13 => 14,
            other => other,
        };
        for _ in 0..1 + self.rng.below(2) {
            let odd = self.rng.chance(6);
            let (forth, back) = if odd { (reply, kind) } else { (kind, reply) };
            self.carry(ends, translated, Direction::Forth, &|sport, _| icmp(forth, code, word(sport), &[9; 8]));
            self.carry(ends, translated, Direction::Back, &|_, dport| icmp(back, 0, word(dport), &[9; 8]));
            self.happen();
        }
    }

    /// Takes one packet all the way: in at one side, out at the other, or only the part the box is an end of.
    fn carry(
        &mut self,
        ends: &Ends,
        translated: &Translated,
        direction: Direction,
        payload: &dyn Fn(u16, u16) -> Vec<u8>,
    ) {
        let proto = proto_of(ends.service);
        let near = ((ends.src, ends.sport), (ends.dst, ends.dport));
        let beyond = (translated.src, translated.dst);
        let back = direction == Direction::Back;
        let ip = |(src, dst): ((IpAddr, u16), (IpAddr, u16))| {
            let (src, dst) = if back { (dst, src) } else { (src, dst) };
            let mut ip = Ip::new(src.0, dst.0, proto);
            ip.ttl = 63;
            (ip, payload(src.1, dst.1))
        };
        let ((near_ip, near_bytes), (beyond_ip, beyond_bytes)) = (ip(near), ip(beyond));
        let whole = self.rng.chance(90);
        match (ends.from, ends.to, back) {
            (Place::Box, Place::Box, _) => {}
            (Place::Box, _, false) => self.leave(&ends.beyond, ends.far_mac, &near_ip, &near_bytes, Origin::Box),
            (Place::Box, _, true) => {
                self.enter(&ends.beyond, ends.far_mac, &near_ip, &near_bytes);
            }
            (_, Place::Box, false) => {
                self.enter(&ends.near, ends.mac, &near_ip, &near_bytes);
            }
            (_, Place::Box, true) => self.leave(&ends.near, ends.mac, &near_ip, &near_bytes, Origin::Box),
            (_, _, false) => {
                let event = self.enter(&ends.near, ends.mac, &near_ip, &near_bytes);
                if whole && self.passed {
                    let (ip, bytes) = (&beyond_ip, &beyond_bytes);
                    self.leave(&ends.beyond, ends.far_mac, ip, bytes, Origin::Guarded { event });
                }
            }
            (_, _, true) => {
                let event = self.enter(&ends.beyond, ends.far_mac, &beyond_ip, &beyond_bytes);
                if whole && self.passed {
                    self.leave(&ends.near, ends.mac, &near_ip, &near_bytes, Origin::Guarded { event });
                } else if self.rng.chance(20) {
                    self.leave(&ends.near, ends.mac, &near_ip, &near_bytes, Origin::Box);
                }
            }
        }
    }
}

fn proto_of(service: Service) -> u8 {
    match service {
        Service::Tcp(..) => 6,
        Service::Udp(..) => 17,
        Service::Icmp(..) => 1,
        Service::Icmpv6(..) => 58,
        Service::Protocol(number) => number,
    }
}

fn word(id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [high, low, 0, 1]
}
