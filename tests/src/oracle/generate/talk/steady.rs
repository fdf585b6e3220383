//! Conversations that go on while everything around them changes: whatever a judge remembers of a sender may be stale
//! at any packet.

use jiff::{Timestamp, ToSpan};
use sekimori::policy::model::{Mac, Place, Service};

use super::{
    super::{
        Step,
        build::{Segment, ether, tcp, udp},
        ends::{BOX_MAC, Ends, ends, mac_for},
        policy::router_mac,
        spoil::mend,
    },
    Direction::{self, Back, Forth},
    Talker,
    stranger::bend,
    translated::Translated,
};
use crate::oracle::{
    Way,
    generate::build::Ip,
    state::{Cut, Management, Quarantine},
    transport::flag,
};

/// One of several conversations under way at once.
#[derive(Debug, Clone)]
struct Talk {
    ends: Ends,
    translated: Translated,
    /// Next sequence number of the initiator and of the other side.
    next: [u32; 2],
}

/// Pauses around the idle limits of UDP and TCP views.
const PAUSES: &[i64] = &[7, 28, 31, 58, 61, 117, 121, 7_437, 7_442];

impl Talker<'_> {
    /// A few conversations, interleaved, in a world that changes.
    pub(super) fn steady(&mut self) {
        let mut talks: Vec<Talk> = Vec::new();
        for _ in 0..8 {
            let wish = ends(self.rng, &self.policy);
            if !matches!(wish.service, Service::Udp(..) | Service::Tcp(..)) {
                continue;
            }
            let translated = Translated::of(self.rng, &self.policy, &wish);
            let mut talk = Talk { ends: wish, translated, next: [1_000, 900_000] };
            self.greet(&mut talk);
            if self.passed {
                talks.push(talk);
            }
            if talks.len() > 1 {
                break;
            }
        }
        if talks.is_empty() {
            return;
        }
        for _ in 0..6 + self.rng.below(14) {
            let index = self.rng.below(talks.len());
            let mut talk = talks[index].clone();
            self.turn(&talk);
            if self.rng.chance(6) {
                self.greet(&mut talk);
            } else {
                self.speak(&mut talk);
            }
            talks[index].next = talk.next;
        }
        if self.state.cut != Cut::default() {
            self.cut(Cut::default());
        }
        if self.state.quarantine != Quarantine::default() {
            self.quarantine(Quarantine::default());
        }
    }

    /// Opens it: three segments, or a datagram each way.
    fn greet(&mut self, talk: &mut Talk) {
        if matches!(talk.ends.service, Service::Tcp(..)) {
            talk.next = [self.rng.bits() as u32, self.rng.bits() as u32];
            self.segment(talk, Forth, flag::SYN, 0);
            if !self.passed {
                return;
            }
            self.segment(talk, Back, flag::SYN | flag::ACK, 0);
            self.segment(talk, Forth, flag::ACK, 0);
        } else {
            self.datagram(talk, Forth);
            if self.passed {
                self.datagram(talk, Back);
            }
        }
    }

    fn datagram(&mut self, talk: &Talk, direction: Direction) {
        self.carry(&talk.ends, &talk.translated, direction, &|sport, dport| udp(sport, dport, 12));
    }

    fn segment(&mut self, talk: &mut Talk, direction: Direction, flags: u8, data: usize) {
        let side = usize::from(direction == Back);
        let (seq, ack) = (talk.next[side], if flags & flag::ACK == 0 { 0 } else { talk.next[1 - side] });
        self.carry(&talk.ends, &talk.translated, direction, &|sport, dport| {
            tcp(&Segment { sport, dport, seq, ack, flags, data, scale: None })
        });
        let step = data as u32 + u32::from(flags & (flag::SYN | flag::FIN) != 0);
        talk.next[side] = seq.wrapping_add(step);
        self.last_seq = seq;
    }

    /// The next packet: mostly from who spoke before, sometimes from another MAC, interface or with a bent header.
    fn speak(&mut self, talk: &mut Talk) {
        let direction = if self.rng.chance(60) { Forth } else { Back };
        let usual = talk.ends.clone();
        match self.rng.below(12) {
            0 | 1 if direction == Forth => talk.ends.mac = self.another_mac(usual.from, usual.mac),
            0 | 1 => talk.ends.far_mac = self.another_mac(usual.to, usual.far_mac),
            2 if self.rng.chance(40) => talk.ends.near = self.any_port(),
            3 if self.rng.chance(40) => talk.ends.beyond = self.any_port(),
            4 => {
                self.bent(talk, direction);
                return;
            }
            _ => {}
        }
        let times = if self.rng.chance(20) { 2 } else { 1 };
        for _ in 0..times {
            match talk.ends.service {
                Service::Tcp(..) => {
                    let data = self.rng.below(60);
                    let flags = match self.rng.below(30) {
                        0 => flag::FIN | flag::ACK,
                        1 => flag::RST,
                        _ => flag::ACK,
                    };
                    self.segment(talk, direction, flags, data);
                }
                _ => self.datagram(talk, direction),
            }
        }
        talk.ends = usual;
    }

    fn another_mac(&mut self, place: Place, now: Mac) -> Mac {
        let Place::Net(net) = place else { return now };
        let here: Vec<Mac> = self.policy.devices.iter().map(|device| device.mac).collect();
        match self.rng.below(4) {
            0 => router_mac(net, self.rng.below(2)),
            1 => self.rng.maybe(&here).copied().unwrap_or(now),
            2 => mac_for(self.rng, &self.policy, net, std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
            _ => Mac([now.0[0], now.0[1], now.0[2], now.0[3], now.0[4], now.0[5] ^ 1]),
        }
    }

    /// A packet of the conversation with something wrong, or odd, in its headers, entering where it usually does.
    fn bent(&mut self, talk: &Talk, direction: Direction) {
        let ends = &talk.ends;
        let (place, port, mac, src, dst) = match direction {
            Forth => (ends.from, &ends.near, ends.mac, (ends.src, ends.sport), (ends.dst, ends.dport)),
            Back => (ends.to, &ends.beyond, ends.far_mac, talk.translated.dst, talk.translated.src),
        };
        if place == Place::Box {
            return;
        }
        let side = usize::from(direction == Back);
        let (proto, mut bytes) = match ends.service {
            Service::Tcp(..) => {
                let (seq, ack) = (talk.next[side], talk.next[1 - side]);
                let flags = if self.rng.chance(70) { flag::ACK } else { self.rng.bits() as u8 };
                let segment = Segment { sport: src.1, dport: dst.1, seq, ack, flags, data: 3, scale: None };
                (6, tcp(&segment))
            }
            _ => (17, udp(src.1, dst.1, 9)),
        };
        if self.rng.chance(30) {
            let at = 4 + self.rng.below(bytes.len().min(14) - 4);
            bytes[at] = self.rng.bits() as u8;
        }
        let mut ip = Ip::new(src.0, dst.0, proto);
        ip.ttl = *self.rng.pick(&[64u8, 1, 0, 255]);
        if self.rng.chance(30) {
            ip.fragment = *self.rng.pick(&[0x4000u16, 0x8000, 0x2000, 0x0002, 0x2001]);
        }
        if ip.src.is_ipv4() && self.rng.chance(10) {
            ip.options = vec![1, 1, 1, 0];
        }
        if ip.src.is_ipv6() && self.rng.chance(20) {
            ip.extensions.push((*self.rng.pick(&[0u8, 60, 43]), vec![0, 1, 4, 0, 0, 0, 0]));
        }
        let mut body = ip.bytes(&bytes);
        bend(self.rng, ip.src.is_ipv6(), &mut body);
        if self.rng.chance(20) {
            body.extend([0; 7]);
        }
        let mut frame = ether(BOX_MAC, mac, port, ip.kind(), &body);
        if self.rng.chance(60) {
            mend(&mut frame);
        }
        self.emit(frame, Way::In { interface: port.interface.clone() });
    }

    /// What may change between two packets.
    fn turn(&mut self, talk: &Talk) {
        match self.rng.below(40) {
            0 | 1 => self.switch(),
            2 => {
                let before = self.policy.clone();
                self.switch();
                if self.switches < 5 && self.rng.chance(50) {
                    self.switches += 1;
                    self.policy = before;
                    self.state.revision += 1;
                    self.steps.push(Step::Switch(Box::new(self.policy.clone()), self.clock));
                }
            }
            3 | 16 => self.wait_for_an_end(talk),
            4 => {
                let seconds = *self.rng.pick(PAUSES);
                self.clock = self.clock.saturating_add(seconds.seconds()).unwrap_or(self.clock);
            }
            5..=7 => {
                let mut cut = Cut::default();
                if let (Place::Net(net), Place::Box) = (talk.ends.from, talk.ends.to)
                    && self.rng.chance(70)
                {
                    // The administrator on the box cuts the own net off, or everything.
                    let interface = talk.ends.near.interface.clone();
                    self.state.management =
                        vec![Management { interface, source: talk.ends.src.into(), port: talk.ends.dport }];
                    if self.rng.chance(50) {
                        cut.all = 1;
                    } else {
                        cut.nets.push(net);
                    }
                    self.cut(cut);
                    return;
                }
                match self.rng.below(5) {
                    0 => cut.macs.push(talk.ends.mac),
                    1 => cut.macs.push(talk.ends.far_mac),
                    2 => cut.prefixes.push(talk.ends.src.into()),
                    3 => cut.prefixes.push(talk.translated.dst.0.into()),
                    _ => cut.nets.push(self.rng.below(self.policy.nets.len())),
                }
                if self.rng.chance(50) {
                    cut = self.in_stages(cut);
                    match self.rng.below(4) {
                        0 => cut.staged.addresses.push(talk.ends.src),
                        1 => cut.staged.addresses.push(talk.translated.dst.0),
                        2 => cut.staged.list_macs.push(talk.ends.mac),
                        _ => {}
                    }
                }
                self.cut(cut);
            }
            17..=20 => {
                let mut quarantine = Quarantine::default();
                match self.rng.below(5) {
                    0 => quarantine.macs.push(talk.ends.mac),
                    1 => quarantine.macs.push(talk.ends.far_mac),
                    2 => quarantine.addresses.push(talk.translated.dst.0),
                    _ => quarantine.addresses.push(talk.ends.src),
                }
                self.quarantine(quarantine);
            }
            21..=26 if self.state.quarantine != Quarantine::default() => self.quarantine(Quarantine::default()),
            8..=15 if self.state.cut != Cut::default() => self.cut(Cut::default()),
            _ => {}
        }
    }

    fn cut(&mut self, cut: Cut) {
        self.state.cut = cut.clone();
        self.steps.push(Step::Overlay(cut, self.state.management.clone()));
    }

    /// Goes to just before, or just after, the next end of a rule or of a registration, rather of one who talks.
    fn wait_for_an_end(&mut self, talk: &Talk) {
        let (rules, devices) = (&self.policy.rules, &self.policy.devices);
        let talks = |mac: Mac| mac == talk.ends.mac || mac == talk.ends.far_mac;
        let theirs = devices.iter().filter(|device| talks(device.mac)).map(|device| device.until);
        let all = rules.iter().map(|rule| rule.until).chain(devices.iter().map(|device| device.until));
        let first = |ends: Vec<Option<Timestamp>>| ends.into_iter().flatten().filter(|end| *end > self.clock).min();
        let next = first(theirs.collect()).or_else(|| first(all.collect()));
        let by = *self.rng.pick(&[-3_000i64, -1_500, 0, 10]);
        if let Some(then) = next.and_then(|end| end.saturating_add(by.milliseconds()).ok()) {
            self.clock = self.clock.max(then);
        }
    }
}
