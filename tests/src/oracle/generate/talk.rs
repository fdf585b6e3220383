//! Conversations: related frames at both of their interfaces, with time, switches and cut-offs in between.

use std::net::IpAddr;

use jiff::{Timestamp, ToSpan};
use sekimori::policy::model::{Mac, Place, Policy, Port, Service};

use super::{
    Step,
    build::{Ip, Segment, ether, icmp, tcp, udp},
    ends::{BOX_MAC, Ends, ends},
    neighbours,
    policy::{base, revised},
    rng::Rng,
    spoil,
};
use crate::oracle::{
    Event, OracleState, Origin, Way, judge,
    state::{Cut, Management},
    transport::flag,
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
            6..=7 if self.switches < 2 => {
                self.switches += 1;
                self.policy = revised(self.rng, &self.policy);
                self.state.revision += 1;
                self.steps.push(Step::Switch(Box::new(self.policy.clone()), self.clock));
            }
            8..=9 => self.overlay(),
            _ if self.state.cut != Cut::default() && self.rng.chance(40) => {
                self.state.cut = Cut::default();
                self.steps.push(Step::Overlay(Cut::default(), self.state.management.clone()));
            }
            _ => {}
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
            vec![Management { interface, source, port: 22 }]
        } else {
            Vec::new()
        };
        self.state.cut = cut.clone();
        self.state.management.clone_from(&management);
        self.steps.push(Step::Overlay(cut, management));
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

    fn tcp(&mut self, ends: &Ends, translated: &Translated) {
        let (mut client, mut server) = (self.rng.bits() as u32, self.rng.bits() as u32);
        let scale = self.rng.chance(30).then(|| self.rng.below(3) as u8);
        let mut send = |this: &mut Self, direction: Direction, flags: u8, data: usize, seq_off: u32, ack_off: u32| {
            let (seq, ack) = if direction == Direction::Forth { (client, server) } else { (server, client) };
            let ack = if flags & flag::ACK != 0 { ack.wrapping_add(ack_off) } else { 0 };
            let seq = seq.wrapping_add(seq_off);
            this.last_seq = seq;
            let offered = if flags & flag::SYN != 0 { scale } else { None };
            this.carry(ends, translated, direction, &|sport, dport| {
                tcp(&Segment { sport, dport, seq, ack, flags, data, scale: offered })
            });
            if seq_off == 0 && ack_off == 0 {
                let step = data as u32 + u32::from(flags & (flag::SYN | flag::FIN) != 0);
                if direction == Direction::Forth {
                    client = client.wrapping_add(step);
                } else {
                    server = server.wrapping_add(step);
                }
            }
        };
        use Direction::{Back, Forth};
        const WILD: u32 = 1 << 30;
        let syn_flags = if self.rng.chance(20) { flag::SYN | flag::ECE | flag::CWR } else { flag::SYN };
        match self.rng.below(12) {
            0 => {
                let flags = self.rng.bits() as u8;
                send(self, Forth, flags, 0, 0, 0);
            }
            1 => send(self, Forth, flag::SYN, 10, 0, 0),
            _ => {}
        }
        if self.rng.chance(95) {
            send(self, Forth, syn_flags, 0, 0, 0);
            if !self.passed && self.rng.chance(85) {
                return;
            }
        }
        match self.rng.below(12) {
            0 => send(self, Forth, flag::SYN, 0, u32::MAX, 0),
            1 => send(self, Back, flag::SYN | flag::ACK, 0, WILD, 5),
            2 => return send(self, Back, flag::RST | flag::ACK, 0, 0, 0),
            3 => send(self, Back, flag::ACK, 0, WILD, 0),
            4 => send(self, Forth, flag::ACK, 0, WILD, 0),
            5 => send(self, Forth, flag::RST, 0, WILD, 0),
            _ => {}
        }
        send(self, Back, flag::SYN | flag::ACK, 0, 0, 0);
        if self.rng.chance(10) {
            send(self, Back, flag::ACK, 8, WILD, 0);
        }
        let early = if self.rng.chance(20) { 20 } else { 0 };
        send(self, Forth, flag::ACK, early, 0, 0);
        for _ in 0..self.rng.below(4) {
            self.happen();
            match self.rng.below(16) {
                0 => send(self, Forth, flag::ACK, 5, WILD, 0),
                1 => send(self, Back, flag::ACK, 5, WILD, 0),
                2 => send(self, Forth, flag::ACK, 0, 0, WILD),
                3 => send(self, Forth, flag::SYN, 0, WILD, 0),
                4 => send(self, Back, flag::SYN, 0, WILD, 0),
                5 => send(self, Forth, flag::RST, 0, WILD, 0),
                6 => {
                    send(self, Forth, flag::ACK | flag::PSH, 7, 0, 0);
                    send(self, Back, flag::ACK, 0, 0, 0);
                }
                n if n % 2 == 0 => {
                    let len = self.rng.below(100);
                    send(self, Forth, flag::ACK | flag::PSH, len, 0, 0);
                    send(self, Back, flag::ACK, 0, 0, 0);
                }
                _ => {
                    let len = self.rng.below(100);
                    send(self, Back, flag::ACK, len, 0, 0);
                    send(self, Forth, flag::ACK, 0, 0, 0);
                }
            }
        }
        match self.rng.below(5) {
            0 => return,
            1 => send(self, Forth, flag::RST, 0, 0, 0),
            2 => send(self, Back, flag::RST | flag::ACK, 0, 0, 0),
            _ => {
                send(self, Forth, flag::FIN | flag::ACK, 0, 0, 0);
                send(self, Back, flag::ACK, 0, 0, 0);
                send(self, Back, flag::FIN | flag::ACK, 0, 0, 0);
                send(self, Forth, flag::ACK, 0, 0, 0);
            }
        }
        self.happen();
        match self.rng.below(4) {
            0 => send(self, Forth, flag::ACK, 0, 0, 0),
            1 => send(self, Forth, flag::SYN, 0, 100_000, 0),
            2 => send(self, Back, flag::ACK, 0, WILD, 0),
            _ => {}
        }
    }

    /// An ICMP error from beyond about a packet of the conversation, or from the box.
    fn error(&mut self, ends: &Ends, translated: &Translated) {
        let six = ends.src.is_ipv6();
        let proto = proto_of(ends.service);
        let seq = self.last_seq.wrapping_add(if self.rng.chance(20) { 1 << 29 } else { 0 });
        let quoted = |src: (IpAddr, u16), dst: (IpAddr, u16), len: usize| {
            let bytes = match proto {
                6 => tcp(&Segment { sport: src.1, dport: dst.1, seq, ack: 0, flags: flag::ACK, data: 0, scale: None }),
                17 => udp(src.1, dst.1, 12),
                1 => icmp(8, 0, word(src.1), &[0; 8]),
                58 => icmp(128, 0, word(src.1), &[0; 8]),
                _ => vec![0x5a; 24],
            };
            let mut whole = Ip::new(src.0, dst.0, proto).bytes(&bytes);
            whole.truncate(whole.len().min(if six { 40 } else { 20 } + len));
            whole
        };
        let kinds: &[(u8, u8)] =
            if six { &[(1, 4), (2, 0), (3, 0), (4, 1)] } else { &[(3, 3), (3, 4), (11, 0), (12, 0)] };
        let (kind, code) = *self.rng.pick(kinds);
        let mtu = *self.rng.pick(&[1400u16, 1400, 1280, 1279, 68, 67, 0]);
        let word = [0, 0, mtu.to_be_bytes()[0], mtu.to_be_bytes()[1]];
        let len = *self.rng.pick(&[8usize, 8, 20, 7, 0]);
        let icmp_proto = if six { 58 } else { 1 };
        let near = ((ends.src, ends.sport), (ends.dst, ends.dport));
        let beyond = (translated.src, translated.dst);
        let about = |(src, dst): ((IpAddr, u16), (IpAddr, u16))| icmp(kind, code, word, &quoted(src, dst, len));
        let teller = if self.rng.chance(50) { translated.dst.0 } else { ends.dst };
        match (ends.from, ends.to) {
            (Place::Box, Place::Box) => {}
            (Place::Box, _) => {
                let ip = Ip::new(teller, near.0.0, icmp_proto);
                self.enter(&ends.beyond, ends.far_mac, &ip, &about(near));
            }
            (_, Place::Box) => {
                let ip = Ip::new(near.1.0, near.0.0, icmp_proto);
                self.leave(&ends.near, ends.mac, &ip, &about(near), Origin::Box);
            }
            _ => {
                let ip = Ip::new(teller, beyond.0.0, icmp_proto);
                let event = self.enter(&ends.beyond, ends.far_mac, &ip, &about(beyond));
                let ip = Ip::new(teller, near.0.0, icmp_proto);
                self.leave(&ends.near, ends.mac, &ip, &about(near), Origin::Guarded { event });
            }
        }
    }

    /// A datagram in fragments, some missing, some twice.
    fn pieces(&mut self) {
        let ends = ends(self.rng, &self.policy);
        let six = ends.src.is_ipv6();
        let whole = match ends.service {
            Service::Udp(..) => udp(ends.sport, ends.dport, 88),
            Service::Tcp(..) => tcp(&Segment {
                sport: ends.sport,
                dport: ends.dport,
                seq: 7,
                ack: 0,
                flags: flag::SYN,
                data: 0,
                scale: None,
            }),
            Service::Icmp(kind, _) | Service::Icmpv6(kind, _) => icmp(kind, 0, word(ends.sport), &[1; 88]),
            Service::Protocol(_) => vec![7; 96],
        };
        let id = self.rng.below(4) as u16 + if self.rng.chance(70) { 1000 + self.number as u16 } else { 0 };
        let mut at = 0;
        let first = *self.rng.pick(&[8usize, 16, 24, 32]);
        let mut cuts = Vec::new();
        while at < whole.len() {
            let len = if at == 0 { first } else { *self.rng.pick(&[8usize, 16, 32, 96]) };
            let end = (at + len).min(whole.len());
            cuts.push((at, end));
            at = end;
        }
        if self.rng.chance(15) && cuts.len() > 1 {
            let again = *self.rng.pick(&cuts);
            cuts.push(again);
        }
        if self.rng.chance(15) {
            let at = self.rng.below(20) * 8;
            cuts.push((at, at + *self.rng.pick(&[0usize, 4, 8, 16])));
        }
        if self.rng.chance(25) {
            self.rng.shuffle(&mut cuts);
        }
        if self.rng.chance(5) {
            cuts.push((65_528, 65_528 + 16));
        }
        if self.rng.chance(10) {
            cuts.extend((0..6).map(|n| (200 + n * 32, 208 + n * 32)));
        }
        for (start, end) in cuts {
            let more = if self.rng.chance(4) { self.rng.chance(50) } else { end != whole.len() };
            let mut bytes: Vec<u8> = whole.get(start..end).map(<[u8]>::to_vec).unwrap_or_default();
            bytes.resize(end - start, 3);
            let mut ip = Ip::new(ends.src, ends.dst, proto_of(ends.service));
            if six {
                let mut body = vec![0];
                body.extend((start as u16 | u16::from(more)).to_be_bytes());
                body.extend([0, 0]);
                body.extend(id.to_be_bytes());
                if self.rng.chance(5) {
                    ip.extensions.push((60, vec![0, 1, 4, 0, 0, 0, 0]));
                }
                ip.extensions.push((44, body));
                if self.rng.chance(2) {
                    ip.extensions.push((44, vec![0; 7]));
                }
            } else {
                ip.id = id;
                ip.fragment = (start / 8) as u16 | if more { 0x2000 } else { 0 };
            }
            if self.rng.chance(3) {
                self.clock = self.clock.saturating_add(35.seconds()).unwrap_or(self.clock);
            }
            match (ends.from, ends.to) {
                (Place::Box, _) => self.leave(&ends.beyond, ends.far_mac, &ip, &bytes, Origin::Box),
                (_, Place::Box) => {
                    self.enter(&ends.near, ends.mac, &ip, &bytes);
                }
                _ => {
                    let event = self.enter(&ends.near, ends.mac, &ip, &bytes);
                    self.leave(&ends.beyond, ends.far_mac, &ip, &bytes, Origin::Guarded { event });
                }
            }
        }
    }
}

/// The ends as seen beyond the box, after NAT.
#[derive(Debug, Clone, Copy)]
struct Translated {
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
}

impl Translated {
    fn of(rng: &mut Rng, policy: &Policy, ends: &Ends) -> Self {
        let mut out = Self { src: (ends.src, ends.sport), dst: (ends.dst, ends.dport) };
        let own: Vec<IpAddr> =
            policy.box_addresses.iter().copied().filter(|addr| addr.is_ipv6() == ends.src.is_ipv6()).collect();
        let echo = matches!(ends.service, Service::Icmp(..) | Service::Icmpv6(..));
        if let Some(addr) = rng.maybe(&own)
            && rng.chance(30)
        {
            out.src = (*addr, if echo { ends.sport } else { ends.sport.wrapping_add(11).max(1) });
        }
        if let Some((addr, port)) = ends.server
            && rng.chance(90)
        {
            out.dst = (addr, port.unwrap_or(ends.dport));
        }
        out
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
