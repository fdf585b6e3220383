//! The detectors over plain memory: packets as the parser leaves them, time as we say.

#![expect(clippy::expect_used, reason = "tests")]

use std::{boxed::Box, cell::RefCell, collections::HashMap, vec::Vec};

use super::{
    CONTACT_ANSWERED, CONTACT_REFUSED, CONTACT_UNANSWERED, Sight, Watch,
    abi::{
        ACTION_ALERT, ACTION_BLOCK, ACTION_QUARANTINE, ACTION_THROTTLE, DETECTORS, Detector, Host, HostKey, Reach,
        Threshold, WATCHED, WATCHED_EXEMPT, Watched,
    },
    attempt, attempts, heard,
};
use crate::{
    abi::{
        Active, AddrEntry, CutWord, DeviceEntry, FragEntry, FragKey, GenConfig, HostPaceSet, IfaceEntry, LimitEntry,
        MacEntry, MacKey, ManagementEntry, NET_FLAG_REGISTERED, NET_FLAG_ZONE, NetEntry, PortKey, Quarantine,
        RuleEntry, RuleSet, Schedule, SeatSet, Settings, Stage, View, ViewKey, ViewKey4, proto, quarantine_mac,
    },
    classify::Line,
    packet::{CLASS_ICMP_ERROR, Packet, ethertype, tcp},
    parse::mapped,
    reason::Reason,
    tables::{Addr, Tables},
};

mod office;

const SECOND: u64 = 1_000_000_000;
const ZONE: u16 = 1;
const HOST: [u8; 4] = [192, 168, 10, 17];
const MAC: [u8; 6] = [0, 0x16, 0x3e, 0, 0x10, 0x17];

/// Entries stay where they are until the end, as the kernel's do for the time of a program.
#[derive(Default)]
struct Gate {
    watched: Option<Box<Watched>>,
    hosts: RefCell<HashMap<HostKey, Box<Host>>>,
    strangers: RefCell<HashMap<HostKey, Box<Host>>>,
    reaches: RefCell<HashMap<u16, Box<Reach>>>,
    pairs: RefCell<HashMap<u64, Box<u64>>>,
    exempt: HashMap<Addr, u64>,
    owner: AddrEntry,
    other: AddrEntry,
    zone: NetEntry,
    sight: Sight,
    now: u64,
}

macro_rules! absent {
    ($($name:ident($($arg:ty),*) -> $out:ty = $value:expr;)*) => { $( fn $name(&self, $(_: $arg),*) -> $out { $value } )* };
}

impl Tables for Gate {
    absent! {
        in_force() -> Active = Active { generation: 2, base: 2 };
        settings() -> *const Settings = core::ptr::null();
        iface(u32) -> *const IfaceEntry = core::ptr::null();
        config(u32) -> *const GenConfig = core::ptr::null();
        port(u32, &PortKey) -> u16 = 0;
        line(u32, u32) -> *const Line = core::ptr::null();
        mac(u32, &MacKey) -> *const MacEntry = core::ptr::null();
        binding(u32, &Addr) -> u32 = 0;
        device(u32, u32) -> *const DeviceEntry = core::ptr::null();
        service(u32, u32) -> u16 = 0;
        set(u32, u16) -> *const RuleSet = core::ptr::null();
        rule(u32, u16) -> *const RuleEntry = core::ptr::null();
        limit(u32, u16) -> *const LimitEntry = core::ptr::null();
        schedule(u32, u32) -> *const Schedule = core::ptr::null();
        cut() -> CutWord = CutWord::default();
        cut_net(u16) -> u32 = 0;
        stage() -> *const Stage = core::ptr::null();
        staged(&Addr) -> bool = false;
        cut_addr(&Addr) -> u32 = 0;
        cut_mac(&[u8; 6]) -> u32 = 0;
        management(u32) -> *const ManagementEntry = core::ptr::null();
        quarantine() -> *const Quarantine = core::ptr::null();
        quarantined(&Addr) -> u32 = 0;
        view(&ViewKey) -> *mut View = core::ptr::null_mut();
        established4(&ViewKey4) -> *mut View = core::ptr::null_mut();
        opening4(&ViewKey4) -> bool = false;
        opening6(&ViewKey) -> bool = false;
        established6(&ViewKey) -> *mut View = core::ptr::null_mut();
        view_insert(&ViewKey, &View, bool) -> bool = false;
        view_remove(&ViewKey, bool) -> () = ();
        frag(&FragKey) -> *mut FragEntry = core::ptr::null_mut();
        frag_insert(&FragKey, &FragEntry) -> bool = false;
        rule_pace(u32) -> *mut u64 = core::ptr::null_mut();
        host_paces(u32) -> *mut HostPaceSet = core::ptr::null_mut();
        seat_set(u32, u32) -> u32 = 0;
        seats(u32) -> *mut SeatSet = core::ptr::null_mut();
        secret() -> u64 = 0x5eed;
    }
    fn net(&self, _: u32, net: u16) -> *const NetEntry {
        if net == ZONE { &self.zone } else { core::ptr::null() }
    }
    fn addr(&self, _: u32, addr: &Addr) -> *const AddrEntry {
        match addr[12..14] {
            [192, 168] => &self.owner,
            [10, 0] => &self.other,
            _ => core::ptr::null(),
        }
    }
}

impl Watch for Gate {
    fn watched(&self, _: u32, net: u16) -> *const Watched {
        match &self.watched {
            Some(watched) if net == ZONE => &**watched,
            _ => core::ptr::null(),
        }
    }
    fn host(&self, key: &HostKey) -> *mut Host {
        for room in [&self.hosts, &self.strangers] {
            if let Some(host) = room.borrow_mut().get_mut(key) {
                return &raw mut **host;
            }
        }
        core::ptr::null_mut()
    }
    fn host_new(&self, key: &HostKey) -> *mut Host {
        self.strangers.borrow_mut().insert(*key, Box::new(Host::NEW));
        self.host(key)
    }
    fn host_proven(&self, key: &HostKey, _: *mut Host) -> *mut Host {
        if let Some(host) = self.strangers.borrow_mut().remove(key) {
            self.hosts.borrow_mut().insert(*key, host);
        }
        self.host(key)
    }
    fn reach(&self, net: u16) -> *mut Reach {
        &raw mut **self.reaches.borrow_mut().entry(net).or_insert_with(|| Box::new(Reach::NEW))
    }
    fn pair(&self, hash: u64) -> *mut u64 {
        &raw mut **self.pairs.borrow_mut().entry(hash & 0xffff).or_default()
    }
    fn threat(&self, addr: &Addr) -> u32 {
        u32::from(addr[12..15] == [203, 0, 113])
    }
    fn trap(&self, addr: &Addr) -> bool {
        addr[12..16] == [192, 168, 10, 250]
    }
    fn exempt(&self, _: u32, key: &Addr) -> u64 {
        self.exempt.get(key).copied().unwrap_or(0)
    }
}

/// What the defaults of a policy are, with this action for everything.
fn thresholds(action: u32) -> Watched {
    let mut watched = Watched::NOTHING;
    watched.flags = WATCHED;
    for detector in super::abi::ALL {
        watched.thresholds[*detector as usize] = Threshold { cost: 0, most: 0, hold: 600 * SECOND, count: 8, action };
    }
    let mut rate = |detector: Detector, each: u64, burst: u64| {
        watched.thresholds[detector as usize].cost = each;
        watched.thresholds[detector as usize].most = each * burst;
    };
    rate(Detector::SynFlood, SECOND / 200, 400);
    rate(Detector::UdpFlood, SECOND / 500, 800);
    rate(Detector::IcmpFlood, SECOND / 50, 200);
    rate(Detector::FragmentFlood, SECOND / 100, 200);
    rate(Detector::DestinationFlood, SECOND / 2_000, 2_000);
    rate(Detector::Amplification, SECOND / 20, 100);
    rate(Detector::Malformed, 6 * SECOND, 20);
    rate(Detector::WormPort, 600 * SECOND, 3);
    rate(Detector::SmtpBurst, 6 * SECOND, 10);
    rate(Detector::BruteForce, 6 * SECOND, 20);
    rate(Detector::DnsTunnel, SECOND / 200, 4_000);
    watched.thresholds[Detector::FanOut as usize].count = 300;
    watched.thresholds[Detector::SpoofedSource as usize].count = 16;
    watched.thresholds[Detector::RandomMac as usize].count = 60;
    watched
}

impl Gate {
    fn new(action: u32) -> Self {
        let owner = AddrEntry { owner: ZONE, ..AddrEntry::default() };
        let other = AddrEntry { owner: 5, ..AddrEntry::default() };
        let zone = NetEntry { flags: NET_FLAG_ZONE, ..NetEntry::default() };
        Self { watched: Some(Box::new(thresholds(action))), owner, other, zone, now: 1_000 * SECOND, ..Self::default() }
    }

    /// Blocks; its host was answered once, and nobody in the zone for twenty seconds since.
    fn answered_once() -> Self {
        let mut gate = Self::new(ACTION_BLOCK);
        gate.connects(place(1), 443);
        gate.hears(place(1), 443, CONTACT_ANSWERED);
        gate.now += 20 * SECOND;
        gate
    }

    fn packet(&self, protocol: u8, dst: [u8; 4], port: u16) -> Packet {
        Packet {
            now: self.now,
            net: ZONE,
            generation: 2,
            segments: 1,
            len: 60,
            ethertype: ethertype::IPV4,
            family: 4,
            proto: protocol,
            src: mapped(HOST),
            dst: mapped(dst),
            src_mac: MAC,
            sport: 40_000,
            dport: port,
            tcp_flags: if protocol == proto::TCP { tcp::SYN } else { 0 },
            icmp_type: if protocol == proto::ICMP { 8 } else { 0 },
            l4_len: 20,
            ..Packet::default()
        }
    }

    /// What becomes of a packet with this verdict; and who spoke.
    fn sends(&mut self, packet: &Packet, reason: Reason) -> (Reason, Option<Detector>) {
        if !attempts(packet, reason as u32) {
            return (reason, None);
        }
        let mut sight = self.sight;
        let reason = attempt(self, packet, &mut sight, reason as u32);
        self.sight = sight;
        (Reason::from_number(reason).expect("a reason"), Detector::from_number(sight.detector))
    }

    /// Connects, and is refused by policy.
    fn refused(&mut self, dst: [u8; 4], port: u16) -> Option<Detector> {
        let packet = self.packet(proto::TCP, dst, port);
        let (reason, detector) = self.sends(&packet, Reason::NoRule);
        assert_eq!(reason, Reason::NoRule, "what was refused stays refused for its own reason");
        detector
    }

    fn connects(&mut self, dst: [u8; 4], port: u16) -> (Reason, Option<Detector>) {
        let packet = self.packet(proto::TCP, dst, port);
        self.sends(&packet, Reason::Rule)
    }

    fn hears(&mut self, dst: [u8; 4], port: u16, contact: u8) {
        let mut packet = self.packet(proto::TCP, dst, port);
        packet.direction = crate::abi::DIR_OUT;
        (packet.src, packet.dst) = (packet.dst, packet.src);
        (packet.sport, packet.dport) = (packet.dport, packet.sport);
        packet.contact = contact;
        let mut sight = self.sight;
        heard(self, &packet, &mut sight);
    }
}

impl Gate {
    /// The other side answers, and the handshake's third segment leaves; or a reset in its place.
    fn shakes(&mut self, dst: [u8; 4], port: u16, third: u8) {
        self.hears(dst, port, CONTACT_ANSWERED);
        let mut packet = self.packet(proto::TCP, dst, port);
        (packet.tcp_flags, packet.contact) = (third, CONTACT_UNANSWERED);
        assert_eq!(self.sends(&packet, Reason::Flow).0, Reason::Flow);
    }
}

fn place(number: u32) -> [u8; 4] {
    let [_, b, c, d] = number.to_be_bytes();
    [198, 51 ^ b, c, d]
}

#[test]
fn eight_addresses_refused_by_policy_are_a_horizontal_scan_and_retries_are_not() {
    let mut gate = Gate::new(ACTION_BLOCK);
    for _ in 0..100 {
        assert_eq!(gate.refused(place(1), 6000), None);
    }
    for number in 2..8 {
        assert_eq!(gate.refused(place(number), 6000), None, "{number}");
    }
    assert_eq!(gate.refused(place(8), 6000), Some(Detector::HorizontalScan));
    // Now what would be permitted is not, until the block is over.
    assert_eq!(gate.connects(place(100), 6000).0, Reason::Blocked);
    gate.now += 601 * SECOND;
    assert_eq!(gate.connects(place(101), 6000).0, Reason::Rule);
}

#[test]
fn eight_ports_of_one_address_are_a_vertical_scan() {
    let mut gate = Gate::new(ACTION_BLOCK);
    let seen: Vec<_> = (1000..1008).map(|port| gate.refused(place(1), port)).collect();
    assert_eq!(seen.iter().flatten().collect::<Vec<_>>(), [&Detector::VerticalScan]);
    assert_eq!(seen.last(), Some(&Some(Detector::VerticalScan)));
}

/// However fast: what nobody has answered yet is held after ten, and goes on once it is.
#[test]
fn no_more_than_ten_unanswered_first_contacts_leave_and_answers_let_more() {
    let mut gate = Gate::new(ACTION_BLOCK);
    let passed = (0..19).filter(|n| gate.connects(place(*n), 443).0 == Reason::Rule).count();
    assert_eq!(passed, 10);
    for number in 0..10 {
        gate.hears(place(number), 443, CONTACT_ANSWERED);
    }
    let again = (2_000..2_021).filter(|n| gate.connects(place(*n), 443).0 == Reason::Rule).count();
    assert_eq!(again, 12, "two successes are remembered, and as many may wait as were answered");
    // Nobody answers those: they are failures four seconds later.
    gate.now += 5 * SECOND;
    gate.connects(place(3_000), 443);
    assert_eq!(gate.sight.detector, Detector::HorizontalScan as u32);
    assert_eq!(gate.connects(place(3_001), 443).0, Reason::Blocked);
    // What answered before goes on.
    assert_eq!(gate.connects(place(3), 443).0, Reason::Rule);
}

/// Dozens of refused third parties of one page, and programs that call home all day.
#[test]
fn what_an_allow_list_refuses_of_the_web_is_no_scan() {
    let mut gate = Gate::new(ACTION_BLOCK);
    for number in 0..90 {
        assert_eq!(gate.refused(place(number), 443), None);
    }
    for number in 0..2_000 {
        gate.now += 4 * SECOND;
        assert_eq!(gate.refused(place(number % 250), 443), None);
    }
    let seen = (1_000..1_200).filter(|number| gate.refused(place(*number), 443).is_some()).count();
    assert!(seen > 0, "a scan is one all the same");
}

/// Nobody waits for answers who tries ten more without one, or fifty of the web; and what waits for four seconds is not answered.
#[test]
fn a_scan_faster_than_any_answer_is_one_before_its_contacts_time_out() {
    let cases = [(22, 0, 25), (22, SECOND / 10, 25), (443, 0, 75), (443, SECOND / 100, 75), (443, SECOND / 10, 45)];
    for (port, pause, most) in cases {
        let mut gate = Gate::new(ACTION_BLOCK);
        let (mut tried, mut left) = (0, 0);
        let seen = loop {
            let (reason, seen) = gate.connects(place(tried), port);
            (tried, left) = (tried + 1, left + u32::from(reason == Reason::Rule));
            gate.now += pause;
            if seen.is_some() || tried == 100 {
                break seen;
            }
        };
        assert_eq!((seen, left), (Some(Detector::HorizontalScan), 10), "port {port}, pause {pause}: {tried} tried");
        assert!(tried <= most, "port {port}, pause {pause}: {tried} tried");
    }
}

/// Six connections at once to each of twenty servers, as browsers open them, and each of them tried again.
#[test]
fn parallel_connections_and_retries_count_once() {
    let mut gate = Gate::new(ACTION_BLOCK);
    for turn in 0..4 {
        for number in 0..120 {
            assert_eq!(gate.connects(place(number / 6), 443).1, None, "turn {turn}, {number}");
        }
        gate.now += SECOND / 4;
    }
}

/// Ten at any speed, whenever it begins: the walk comes down with time, and that lets nobody try more.
#[test]
fn ten_leave_at_any_speed_and_time() {
    for pause in [SECOND / 100, SECOND / 2, SECOND * 4 / 10, SECOND, 2 * SECOND] {
        for start in 0..40 {
            let mut gate = Gate::new(ACTION_BLOCK);
            gate.now += start * SECOND;
            let left = (0..60).filter(|number| {
                gate.now += pause;
                gate.connects(place(*number), 22).0 == Reason::Rule
            });
            let left = left.count();
            assert!((8..=10).contains(&left), "{left} left: pause {pause}, from {start}");
        }
    }
}

/// A browser opens all its tabs again, each at another server, before the first answer can be there; so it goes on.
#[test]
fn many_pages_within_one_round_trip_are_no_scan() {
    for round_trip in [SECOND / 50, SECOND / 4, SECOND] {
        let mut gate = Gate::new(ACTION_BLOCK);
        for evening in 0..3 {
            let mut waiting: Vec<u32> = (0..40).map(|number| 1_000 * evening + number).collect();
            for turn in 0..4 {
                let (mut sent, start) = (Vec::new(), gate.now);
                waiting.retain(|number| {
                    let (reason, seen) = gate.connects(place(*number), 443);
                    assert_eq!(seen, None, "round trip {round_trip}, evening {evening}, turn {turn}");
                    if reason == Reason::Rule {
                        sent.push(*number);
                    }
                    reason != Reason::Rule
                });
                gate.now = start + round_trip;
                for number in sent {
                    gate.hears(place(number), 443, CONTACT_ANSWERED);
                }
                // As TCP tries again (RFC 6298): after one, two, four seconds.
                gate.now = start + (SECOND << turn);
            }
            assert!(waiting.is_empty(), "round trip {round_trip}: {} still wait", waiting.len());
            gate.now += 3_600 * SECOND;
        }
    }
}

/// The table of contacts is full of what was answered; what waits for its answer is not thrown out for more of that.
#[test]
fn what_waits_for_an_answer_is_not_forgotten() {
    let mut gate = Gate::new(ACTION_BLOCK);
    gate.watched.as_mut().expect("set").thresholds[Detector::FanOut as usize].action = 0;
    let mut forgotten = 0;
    for page in 0..500 {
        for number in 0..9 {
            assert_eq!(gate.connects(place(9 * page + number), 443), (Reason::Rule, None), "page {page}");
        }
        gate.now += SECOND / 50;
        for number in 0..9 {
            gate.hears(place(9 * page + number), 443, CONTACT_ANSWERED);
        }
        forgotten += gate.hosts.borrow().values().map(|host| host.pending[0] + host.pending[1]).sum::<u32>();
        gate.now += 5 * SECOND;
    }
    // More than four at once of the same hash are too many for the table.
    assert!(forgotten <= 3, "{forgotten} of 4,500");
}

/// The line is down: nobody is answered, and nobody is called a scanner for trying, from the first page on until after the
/// line is there again.
#[test]
fn an_outage_is_no_scan() {
    let mut gate = Gate::answered_once();
    for page in 0..20 {
        assert_eq!(gate.connects(place(1), 443).1, None, "{page}");
        for number in 0..30 {
            gate.now += SECOND / 20;
            assert_eq!(gate.connects(place(100 * page + number + 2), 443).1, None, "{page} {number}");
        }
        gate.now += SECOND * u64::from(page);
    }
    gate.connects(place(1), 443);
    gate.hears(place(1), 443, CONTACT_ANSWERED);
    for number in 0..5 {
        gate.now += SECOND;
        assert_eq!(gate.connects(place(10_000 + number), 443).1, None, "{number}");
        gate.hears(place(10_000 + number), 443, CONTACT_ANSWERED);
    }
    // And a scan is one again.
    gate.now += 5 * SECOND;
    let seen = (0..80).filter_map(|number| gate.connects(place(20_000 + number), 443).1).next();
    assert_eq!(seen, Some(Detector::HorizontalScan));
}

/// The router beside the gate lost its line, and says so for every packet.
#[test]
fn what_a_router_knows_no_way_to_is_no_scan() {
    for (code, seen) in [(0, None), (1, None), (3, Some(Detector::HorizontalScan))] {
        let mut gate = Gate::answered_once();
        let mut first = gate.connects(place(1), 443).1;
        for number in 2..60 {
            gate.now += SECOND / 10;
            first = first.or(gate.connects(place(number), 443).1);
            let mut error = gate.packet(proto::ICMP, HOST, 0);
            (error.direction, error.class) = (crate::abi::DIR_OUT, crate::packet::CLASS_ICMP_ERROR);
            (error.icmp_type, error.icmp_code, error.contact) = (3, code, CONTACT_REFUSED);
            (error.quoted_dst, error.quoted_proto, error.quoted_dport) = (mapped(place(number)), proto::TCP, 443);
            let mut sight = gate.sight;
            heard(&gate, &error, &mut sight);
        }
        assert_eq!(first, seen, "code {code}");
    }
}

/// Silence is no outage while nobody asks what used to answer: a scan at night, by somebody who was answered once.
#[test]
fn a_scan_in_a_silent_zone_is_seen() {
    for pause in [SECOND / 100, SECOND, 20 * SECOND] {
        let mut gate = Gate::answered_once();
        let seen = (2..80).filter_map(|number| {
            gate.now += pause;
            gate.connects(place(number), 443).1
        });
        assert_eq!(seen.take(1).collect::<Vec<_>>(), [Detector::HorizontalScan], "{pause}");
    }
}

/// Of two networks one is down: what it leaves unanswered blames nobody, and hides no scan of the other.
#[test]
fn lines_are_told_apart() {
    let other = |number: u8| [10, 0, 0, number];
    let mut gate = Gate::answered_once();
    gate.connects(other(1), 443);
    gate.hears(other(1), 443, CONTACT_ANSWERED);
    for round in 0..10_u8 {
        gate.now += 3 * SECOND;
        // That of `other` answers, and the one of `place` does not.
        gate.connects(other(1), 443);
        gate.hears(other(1), 443, CONTACT_ANSWERED);
        assert_eq!(gate.connects(place(1), 443).1, None);
        for number in 0..20 {
            gate.now += SECOND / 10;
            assert_eq!(gate.connects(place(1_000 + 20 * u32::from(round) + number), 443).1, None, "{round} {number}");
        }
    }
    gate.now += 10 * SECOND;
    let seen = (2..60).filter_map(|number| {
        gate.now += SECOND / 2;
        gate.connects(other(number), 443).1
    });
    assert_eq!(seen.take(1).collect::<Vec<_>>(), [Detector::HorizontalScan]);
}

/// What is not counted at all is no occasion either to judge what was before.
#[test]
fn what_is_refused_of_the_web_does_not_speak_for_others() {
    let mut gate = Gate::new(ACTION_BLOCK);
    for number in 0..8 {
        gate.connects(place(number), 6_000);
    }
    gate.now += 5 * SECOND;
    assert_eq!(gate.refused(place(100), 443), None);
    assert_eq!(gate.refused(place(101), 6_000), Some(Detector::HorizontalScan));
}

#[test]
fn a_reset_is_a_failure_at_once() {
    let mut gate = Gate::new(ACTION_BLOCK);
    for number in 0..8 {
        assert_eq!(gate.connects(place(1), 100 + number), (Reason::Rule, None));
        gate.hears(place(1), 100 + number, CONTACT_REFUSED);
    }
    assert_eq!(gate.connects(place(1), 200).1, Some(Detector::VerticalScan));
}

/// The line of a host that was answered before is up as long as somebody refuses it.
#[test]
fn a_scan_that_is_only_refused_is_no_outage() {
    let mut gate = Gate::answered_once();
    let seen: Vec<_> = (0..12)
        .filter_map(|number| {
            let seen = gate.connects(place(1), 100 + number).1;
            gate.hears(place(1), 100 + number, CONTACT_REFUSED);
            seen
        })
        .collect();
    assert_eq!(seen.first(), Some(&Detector::VerticalScan));
}

/// Jung et al.: who is answered four times out of five is almost never taken for a scanner.
#[test]
fn hosts_that_are_mostly_answered_are_left_alone() {
    let mut seed = 0x1234_5678_u64;
    let mut alarms = 0;
    for run in 0..200 {
        let mut gate = Gate::new(ACTION_BLOCK);
        gate.watched.as_mut().expect("set").thresholds[Detector::FanOut as usize].action = 0;
        for number in 0..500 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let dst = place(run * 1_000 + number);
            let (_, detector) = gate.connects(dst, 443);
            if detector.is_some() {
                alarms += 1;
                break;
            }
            gate.now += SECOND / 10;
            if (seed >> 33) % 100 < 85 {
                gate.hears(dst, 443, CONTACT_ANSWERED);
            }
        }
    }
    assert!(alarms <= 2, "{alarms} of 200 walks of 500 contacts");
}

#[test]
fn floods_stop_at_their_burst_and_completed_connections_are_none() {
    for (protocol, burst, detector) in [
        (proto::TCP, 400, Detector::SynFlood),
        (proto::UDP, 800, Detector::UdpFlood),
        (proto::ICMP, 200, Detector::IcmpFlood),
    ] {
        let mut gate = Gate::new(ACTION_THROTTLE);
        let packet = gate.packet(protocol, place(1), 5_000);
        let passed = (0..5_000).filter(|_| gate.sends(&packet, Reason::Rule).0 == Reason::Rule).count();
        assert_eq!(passed, burst, "{detector:?}");
        assert_eq!(gate.sight.detector, detector as u32);
    }
    // Faster than the limit, but every handshake is completed; then each is given up, which is what a flood tool's machine does.
    for (last, most) in [(tcp::ACK, 5_000), (tcp::ACK | tcp::RST, 900)] {
        let mut gate = Gate::new(ACTION_THROTTLE);
        let mut passed = 0;
        for _ in 0..5_000 {
            passed += u32::from(gate.connects(place(1), 443).0 == Reason::Rule);
            gate.shakes(place(1), 443, last);
            gate.now += SECOND / 2_000;
        }
        // 400 at once and 200 a second for two and a half seconds.
        assert!(passed.abs_diff(most) <= 1, "{passed}");
    }
}

#[test]
fn one_stealthy_packet_is_enough_and_an_honest_end_is_none() {
    for flags in [0, tcp::FIN, tcp::FIN | tcp::PSH | tcp::URG, tcp::SYN | tcp::FIN] {
        let mut gate = Gate::new(ACTION_BLOCK);
        let mut packet = gate.packet(proto::TCP, place(1), 80);
        packet.tcp_flags = flags;
        let seen = gate.sends(&packet, Reason::TcpFlags);
        assert_eq!(seen, (Reason::TcpFlags, Some(Detector::StealthScan)), "{flags:#x}");
    }
    let mut gate = Gate::new(ACTION_BLOCK);
    let mut packet = gate.packet(proto::TCP, place(1), 80);
    for flags in [tcp::FIN | tcp::ACK, tcp::RST, tcp::RST | tcp::ACK, tcp::ACK] {
        for number in 0..100 {
            packet.tcp_flags = flags;
            packet.dst = mapped(place(number % 20));
            assert_eq!(gate.sends(&packet, Reason::TcpNotSyn).1, None, "{flags:#x}");
        }
    }
}

#[test]
fn forged_sources_are_laid_at_the_door_of_the_mac() {
    let mut gate = Gate::new(ACTION_ALERT);
    let mut packet = gate.packet(proto::UDP, place(1), 53);
    packet.src = mapped([203, 0, 113, 99]);
    assert_eq!(gate.sends(&packet, Reason::SpoofedSource).1, Some(Detector::Amplification));
    packet.dport = 4_000;
    assert_eq!(gate.sends(&packet, Reason::SpoofedSource).1, Some(Detector::SpoofedSource));
    assert_eq!(gate.sight.host.addr, quarantine_mac(&MAC));
    packet.src = mapped([169, 254, 3, 4]);
    assert_eq!(gate.sends(&packet, Reason::SpoofedSource).1, None, "no DHCP server is no attack");
}

/// Sources that could be real ones of the zone: after sixteen behind one MAC nothing more passes, and nobody gets a state.
#[test]
fn many_addresses_behind_one_mac_get_no_state() {
    let mut gate = Gate::new(ACTION_BLOCK);
    let mut passed = 0;
    for number in 0..10_000_u32 {
        let [.., c, d] = number.to_be_bytes();
        let mut packet = gate.packet(proto::TCP, place(1), 443);
        packet.src = mapped([192, 168, c, d]);
        let (reason, detector) = gate.sends(&packet, Reason::Rule);
        passed += u32::from(reason == Reason::Rule);
        assert!(matches!(detector, None | Some(Detector::SpoofedSource)), "{detector:?}");
    }
    assert!(passed <= 20, "{passed}");
    assert!(gate.strangers.borrow().len() <= 20, "{}", gate.strangers.borrow().len());
}

/// Who shows too many addresses, or comes in a crowd of made-up MACs or of newcomers, is watched all the same: together.
#[test]
fn nobody_passes_unwatched_for_want_of_a_state() {
    let scan = |change: fn(&mut Packet, u32), port: u16, protocol: u8, pace: u64| {
        let mut gate = Gate::new(ACTION_BLOCK);
        gate.watched.as_mut().expect("set").thresholds[Detector::RandomMac as usize].action = ACTION_ALERT;
        gate.watched.as_mut().expect("set").thresholds[Detector::SpoofedSource as usize].action = ACTION_ALERT;
        let mut left = 0;
        for number in 0..20_000_u32 {
            let scanned = if port == 0 { place(1) } else { place(number) };
            let mut packet = gate.packet(protocol, scanned, if port == 0 { 4_000 } else { port });
            change(&mut packet, number);
            left += u32::from(gate.sends(&packet, Reason::Rule).0 == Reason::Rule);
            gate.now += pace;
        }
        left
    };
    let addresses: fn(&mut Packet, u32) =
        |packet, number| packet.src[14..].copy_from_slice(&(number as u16).to_be_bytes());
    let macs: fn(&mut Packet, u32) = |packet, number| {
        packet.src[14..].copy_from_slice(&(number as u16).to_be_bytes());
        packet.src_mac = [2, 0, 0, 1, (number >> 8) as u8, number as u8];
    };
    let six: fn(&mut Packet, u32) = |packet, number| {
        packet.family = 6;
        packet.src = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, (number >> 8) as u8, number as u8];
    };
    let hardware: fn(&mut Packet, u32) = |packet, number| {
        packet.src[14..].copy_from_slice(&(number as u16).to_be_bytes());
        packet.src_mac = [0, 0x16, 0x3e, 1, (number >> 8) as u8, number as u8];
    };
    // Each with a state of its own tries once, or a few times; then all of them together ten times.
    let cases = [
        (addresses, 445, proto::TCP, SECOND / 400, 16 + 10),
        (macs, 445, proto::TCP, SECOND / 1_000, 70 + 10),
        (addresses, 0, proto::UDP, SECOND / 8_000, 16 + 860),
        (macs, 0, proto::UDP, SECOND / 8_000, 70 + 860),
        // IPv6: four times as many.
        (six, 0, proto::UDP, SECOND / 8_000, 64 + 3 + 860),
        (six, 445, proto::TCP, SECOND / 400, 64 + 3 + 10),
        // 1,000 newcomers at once, and 20 a second.
        (hardware, 0, proto::UDP, SECOND / 8_000, 1_000 + 60 + 860),
    ];
    for (number, (change, port, protocol, pause, most)) in cases.into_iter().enumerate() {
        let left = scan(change, port, protocol, pause);
        assert!(left <= most, "case {number}: {left} left, not {most}");
    }
}

/// What only alerts does not keep another detector from stopping what it sees in the same packet.
#[test]
fn an_alert_hides_no_block() {
    // Each packet has a new MAC (identity_change), or goes on after hundreds of destinations (fan_out).
    let gate = |alerts: Detector| {
        let mut gate = Gate::new(ACTION_BLOCK);
        gate.watched.as_mut().expect("set").thresholds[alerts as usize].action = ACTION_ALERT;
        gate
    };
    let many_macs = |port: fn(u32) -> u16, to: fn(u32) -> [u8; 4], protocol: u8| {
        let mut gate = gate(Detector::IdentityChange);
        let mut left = 0;
        for number in 0..5_000 {
            let mut packet = gate.packet(protocol, to(number), port(number));
            packet.src_mac = [0, 0x16, 0x3e, 1, (number >> 8) as u8, number as u8];
            left += u32::from(gate.sends(&packet, Reason::Rule).0 == Reason::Rule);
        }
        left
    };
    assert_eq!(many_macs(|_| 8_080, place, proto::TCP), 10);
    assert_eq!(many_macs(|number| number as u16, |_| place(1), proto::TCP), 10);
    assert_eq!(many_macs(|_| 8_080, |_| place(1), proto::TCP), 400);
    assert_eq!(many_macs(|_| 8_080, |_| place(1), proto::UDP), 800);
    let mut gate = gate(Detector::FanOut);
    let mut loud = false;
    for number in 0..600 {
        let seen = gate.connects(place(number), 443).1;
        loud |= seen == Some(Detector::FanOut);
        gate.shakes(place(number), 443, tcp::ACK);
    }
    assert!(loud, "{:?}", gate.sight);
    let left = (1_000..3_000).filter(|number| gate.connects(place(*number), 8_080).0 == Reason::Rule).count();
    assert!(left <= 600 + 10, "{left}");
    gate.now += 5 * SECOND;
    let left = (3_000..5_000).filter(|number| gate.connects(place(*number), 8_080).0 == Reason::Rule).count();
    assert_eq!(left, 0);
}

/// Whom nobody knows uses up nothing that a newcomer whom the policy knows needs, and brings no block upon him.
#[test]
fn strangers_do_no_harm_to_newcomers() {
    let mut gate = Gate::new(ACTION_BLOCK);
    for number in 0..5_000_u32 {
        let mut packet = gate.packet(proto::TCP, place(number), 443);
        packet.src_mac = [0, 0x16, 0x3e, 2, (number >> 8) as u8, number as u8];
        packet.tcp_flags = 0;
        let reason = if number % 2 == 0 { Reason::UnknownDevice } else { Reason::SpoofedSource };
        gate.sends(&packet, reason);
    }
    for number in 0..100 {
        let mut packet = gate.packet(proto::TCP, place(1), 443);
        packet.src = mapped([192, 168, 10, number]);
        packet.src_mac = [0, 0x16, 0x3e, 3, 0, number];
        assert_eq!(gate.sends(&packet, Reason::Rule), (Reason::Rule, None), "{number}");
    }
}

/// Of a crowd, everything is never blocked.
#[test]
fn a_quarantine_of_nobody_in_particular_is_none() {
    let mut gate = Gate::new(ACTION_QUARANTINE);
    gate.watched.as_mut().expect("set").thresholds[Detector::RandomMac as usize].action = ACTION_ALERT;
    gate.watched.as_mut().expect("set").flags |= super::abi::WATCHED_TRAPS;
    let to = |number: u32, dst: [u8; 4], gate: &mut Gate| {
        let mut packet = gate.packet(proto::UDP, dst, 123);
        packet.src = mapped([192, 168, (number >> 8) as u8, number as u8]);
        packet.src_mac = [2, 0, 0, 4, (number >> 8) as u8, number as u8];
        gate.sends(&packet, Reason::Rule).0
    };
    for number in 0..100 {
        to(number, place(1), &mut gate);
    }
    assert_eq!(to(101, [192, 168, 10, 250], &mut gate), Reason::Blocked);
    assert_eq!(gate.sight.host, HostKey::zone(ZONE));
    // What was tried before goes on; new contacts do not.
    assert_eq!(to(102, place(2), &mut gate), Reason::Blocked);
    let crowd = gate.hosts.borrow().get(&HostKey::crowd(ZONE)).map(|crowd| crowd.blocks);
    assert_eq!(crowd.expect("a crowd")[super::abi::block::ALL], 0);
}

/// Where devices are registered by their MAC, an address alone is nobody's.
#[test]
fn nobody_gets_a_registered_host_blocked_by_its_address() {
    for strict in [true, false] {
        let mut gate = Gate::new(ACTION_BLOCK);
        gate.zone.flags |= if strict { NET_FLAG_REGISTERED } else { 0 };
        let mut forged = gate.packet(proto::TCP, place(1), 443);
        (forged.src_mac, forged.tcp_flags) = ([0, 0x16, 0x3e, 9, 9, 9], 0);
        assert_eq!(gate.sends(&forged, Reason::TcpFlags).1, Some(Detector::StealthScan));
        let blocked = gate.connects(place(1), 443).0 == Reason::Blocked;
        assert_eq!(blocked, !strict);
    }
}

/// A flood of forged MACs pushes nothing out of the room of those who were never answered.
#[test]
fn made_up_macs_take_no_room() {
    for first in [0, 2] {
        let mut gate = Gate::new(ACTION_BLOCK);
        for number in 0..20_000_u32 {
            let mut packet = gate.packet(proto::UDP, place(1), 123);
            packet.src = mapped([192, 168, (number >> 8) as u8, number as u8]);
            packet.src_mac = [first, 0x16, 0x3e, 5, (number >> 8) as u8, number as u8];
            gate.sends(&packet, Reason::Rule);
        }
        assert!(gate.strangers.borrow().len() <= 2_010, "{}", gate.strangers.borrow().len());
    }
}

/// The zone's own counts are not forgotten while newcomers are counted in them.
#[test]
fn what_counts_newcomers_is_in_use() {
    let mut gate = Gate::new(ACTION_BLOCK);
    gate.connects(place(1), 443);
    let seen = gate.hosts.borrow().get(&HostKey::newcomers(ZONE, true)).map(|zone| zone.seen);
    assert_eq!(seen, Some(gate.now));
}

/// What a flood is refused for does not make others' logins fail.
#[test]
fn a_refused_flood_uses_up_no_logins() {
    let mut gate = Gate::new(ACTION_THROTTLE);
    for off in [Detector::HorizontalScan, Detector::VerticalScan, Detector::FanOut] {
        gate.watched.as_mut().expect("set").thresholds[off as usize].action = 0;
    }
    for number in 0..2_000_000_u32 {
        gate.connects(place(number), 22);
        gate.now += SECOND / 100_000;
    }
    let used = gate.pairs.borrow().values().filter(|until| ***until > gate.now + 60 * SECOND).count();
    assert!(used < 100, "{used}");
}

/// Who may flood a destination leaves to others what they may send there.
#[test]
fn an_exempt_flood_is_not_counted_at_its_destination() {
    let mut gate = Gate::new(ACTION_THROTTLE);
    gate.watched.as_mut().expect("set").flags |= WATCHED_EXEMPT;
    gate.exempt.insert(mapped(HOST), 1 << Detector::UdpFlood as u32);
    for _ in 0..20_000 {
        let packet = gate.packet(proto::UDP, place(1), 514);
        assert_eq!(gate.sends(&packet, Reason::Rule), (Reason::Rule, None));
    }
    let mut other = gate.packet(proto::TCP, place(1), 443);
    other.src = mapped([192, 168, 10, 18]);
    assert_eq!(gate.sends(&other, Reason::Rule), (Reason::Rule, None));
}

/// Slowed down, a scan gets on by one a second, however fast it tries.
#[test]
fn a_throttled_scan_is_slow_from_its_tenth_contact() {
    let mut gate = Gate::new(ACTION_THROTTLE);
    gate.watched.as_mut().expect("set").thresholds[Detector::SynFlood as usize].action = 0;
    gate.watched.as_mut().expect("set").thresholds[Detector::FanOut as usize].action = 0;
    let mut left = 0;
    for number in 0..30_000 {
        left += u32::from(gate.connects(place(number), 8_080).0 == Reason::Rule);
        gate.now += SECOND / 3_000;
    }
    assert!((15..=10 + 12).contains(&left), "{left}");
}

/// A telephone exchange has one carrier: of each call one port answers and another does not.
#[test]
fn many_conversations_with_one_carrier_are_no_scan() {
    let mut gate = Gate::new(ACTION_BLOCK);
    for call in 0..600_u16 {
        for (port, answered) in [(10_000 + 2 * call, true), (10_001 + 2 * call, false)] {
            let media = gate.packet(proto::UDP, place(7), port);
            assert_eq!(gate.sends(&media, Reason::Rule), (Reason::Rule, None), "call {call}");
            if answered {
                let mut answer = media;
                answer.direction = crate::abi::DIR_OUT;
                (answer.src, answer.dst, answer.sport, answer.dport) = (media.dst, media.src, media.dport, media.sport);
                answer.contact = CONTACT_ANSWERED;
                let mut sight = gate.sight;
                heard(&gate, &answer, &mut sight);
            }
        }
        gate.now += 10 * SECOND;
    }
}

/// The third segment of a handshake waits for no answer: the line is up, and a scan after it is seen.
#[test]
fn the_end_of_a_handshake_asks_for_nothing() {
    let mut gate = Gate::new(ACTION_BLOCK);
    gate.connects(place(1), 443);
    gate.hears(place(1), 443, CONTACT_ANSWERED);
    gate.now += SECOND / 1_000;
    let mut third = gate.packet(proto::TCP, place(1), 443);
    (third.tcp_flags, third.contact) = (tcp::ACK, CONTACT_UNANSWERED);
    assert_eq!(gate.sends(&third, Reason::Flow), (Reason::Flow, None));
    let mut seen = None;
    let mut left = 0;
    for number in 0..40 {
        gate.now += SECOND / 5;
        let (reason, detector) = gate.connects(place(100 + number), 22);
        left += u32::from(reason == Reason::Rule);
        seen = seen.or(detector);
    }
    assert_eq!((seen, left), (Some(Detector::HorizontalScan), 11));
}

/// A header that is not believed has no family and no addresses; it counts all the same, some of them for nothing.
#[test]
fn headers_that_were_not_read_count() {
    let mut gate = Gate::new(ACTION_ALERT);
    let mut strange = gate.packet(0, place(1), 0);
    (strange.family, strange.src, strange.dst) = (0, [0; 16], [0; 16]);
    let seen = (0..21).filter_map(|_| gate.sends(&strange, Reason::Ipv4Options).1).collect::<Vec<_>>();
    assert_eq!(seen, [Detector::Malformed]);
    strange.ethertype = 0x88cc;
    assert_eq!(gate.sends(&strange, Reason::UnknownEtherType).1, None);
}

/// From 0.0.0.0 and :: machines ask for an address: they are not one machine.
#[test]
fn who_has_no_address_yet_is_not_one_host() {
    let mut gate = Gate::new(ACTION_ALERT);
    for number in 0..20 {
        let mut ask = gate.packet(proto::UDP, [255; 4], 67);
        (ask.src, ask.src_mac) = (mapped([0; 4]), [0, 0x16, 0x3e, 6, 0, number]);
        assert_eq!(gate.sends(&ask, Reason::Builtin).1, None, "{number}");
        assert_eq!(gate.sight.host.addr, quarantine_mac(&ask.src_mac));
        (ask.src, ask.family) = ([0; 16], 6);
        assert_eq!(gate.sends(&ask, Reason::Builtin).1, None, "{number}");
        assert_eq!(gate.sight.host.addr, quarantine_mac(&ask.src_mac));
    }
}

/// Who is exempt from sweeps is not held in one.
#[test]
fn an_exempt_sweep_is_not_held() {
    let mut gate = Gate::new(ACTION_BLOCK);
    gate.watched.as_mut().expect("set").flags |= WATCHED_EXEMPT;
    gate.exempt.insert(mapped(HOST), 1 << Detector::AddressSweep as u32 | 1 << Detector::FanOut as u32);
    for number in 0..400 {
        let ping = gate.packet(proto::ICMP, place(number), 8 << 8);
        assert_eq!(gate.sends(&ping, Reason::Rule), (Reason::Rule, None), "{number}");
        gate.now += SECOND / 20;
    }
}

/// Whoever is exempt from one detector is not from all.
#[test]
fn an_exemption_is_for_its_detector_only() {
    let mut gate = Gate::new(ACTION_BLOCK);
    gate.watched.as_mut().expect("set").flags |= WATCHED_EXEMPT;
    gate.exempt.insert(mapped(HOST), 1 << Detector::IdentityChange as u32 | 1 << Detector::UdpFlood as u32);
    let mut left = 0;
    for number in 0..1_000 {
        let mut packet = gate.packet(proto::UDP, place(number), 8_080);
        packet.src_mac = [0, 0x16, 0x3e, 1, (number >> 8) as u8, number as u8];
        left += u32::from(gate.sends(&packet, Reason::Rule).0 == Reason::Rule);
    }
    assert_eq!(left, 10);
}

/// Whoever owns a server that answers at many ports buys hardly a contact with its answers.
#[test]
fn answers_of_one_address_buy_few_contacts() {
    for six in [false, true] {
        let mut gate = Gate::new(ACTION_BLOCK);
        let mut left = 0;
        for number in 0..1_000_u32 {
            for port in [number * 2, number * 2 + 1] {
                let mut open = gate.packet(proto::TCP, place(1), 1_024 + port as u16);
                if six {
                    open.family = 6;
                    open.src = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
                    open.dst = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, (port >> 8) as u8, port as u8];
                }
                gate.sends(&open, Reason::Rule);
                let mut answer = open;
                answer.direction = crate::abi::DIR_OUT;
                (answer.src, answer.dst) = (open.dst, open.src);
                (answer.sport, answer.dport) = (open.dport, open.sport);
                answer.contact = CONTACT_ANSWERED;
                let mut sight = gate.sight;
                heard(&gate, &answer, &mut sight);
            }
            let mut probe = gate.packet(proto::TCP, place(1_000 + number), 22);
            if six {
                probe.family = 6;
                probe.src = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
                probe.dst = [0x20, 1, 0xd, 0xb8, 1, 0, (number >> 8) as u8, number as u8, 0, 0, 0, 0, 0, 0, 0, 1];
            }
            left += u32::from(gate.sends(&probe, Reason::Rule).0 == Reason::Rule);
            gate.now += SECOND / 20;
        }
        // 50 s: one in four seconds, four at once, and one more in 34 seconds.
        assert!(left <= 12 + 13 + 4 + 2, "six {six}: {left}");
    }
}

/// Login attempts use up nothing of what is counted by destination.
#[test]
fn logins_leave_the_counts_of_destinations_alone() {
    let mut gate = Gate::new(ACTION_THROTTLE);
    for off in [Detector::SynFlood, Detector::HorizontalScan, Detector::VerticalScan, Detector::FanOut] {
        gate.watched.as_mut().expect("set").thresholds[off as usize].action = 0;
    }
    for number in 0..200_000 {
        gate.connects(place(number), 22);
        gate.now += SECOND / 8_000;
    }
    let left = (0..2_000).filter(|number| gate.connects(place(300_000 + number), 443).0 == Reason::Rule).count();
    assert!(left >= 1_990, "{left}");
}

/// Many behind one MAC who are answered, as behind a router that the policy does not know: none of them is blocked.
#[test]
fn many_behind_one_mac_who_are_answered_go_on() {
    let mut gate = Gate::new(ACTION_BLOCK);
    gate.watched.as_mut().expect("set").thresholds[Detector::SpoofedSource as usize].action = ACTION_ALERT;
    for number in 0..2_000_u32 {
        let host = mapped([192, 168, 10, (number % 50) as u8]);
        let mut packet = gate.packet(proto::TCP, place(number), 443);
        packet.src = host;
        assert_eq!(gate.sends(&packet, Reason::Rule).0, Reason::Rule, "{number}");
        gate.now += SECOND / 50;
        let mut answer = gate.packet(proto::TCP, place(number), 443);
        answer.direction = crate::abi::DIR_OUT;
        (answer.src, answer.dst) = (answer.dst, host);
        (answer.sport, answer.dport) = (answer.dport, answer.sport);
        (answer.dst_mac, answer.contact) = (MAC, CONTACT_ANSWERED);
        let mut sight = gate.sight;
        heard(&gate, &answer, &mut sight);
        gate.now += SECOND / 20;
    }
}

#[test]
fn named_destinations_are_told_apart() {
    let mut gate = Gate::new(ACTION_BLOCK);
    let watched = gate.watched.as_mut().expect("set");
    watched.flags |= super::abi::WATCHED_THREATS | super::abi::WATCHED_TRAPS;
    assert_eq!(gate.connects([203, 0, 113, 5], 443), (Reason::Blocked, Some(Detector::ThreatContact)));
    let mut gate = Gate::new(ACTION_QUARANTINE);
    let watched = gate.watched.as_mut().expect("set");
    watched.flags |= super::abi::WATCHED_THREATS | super::abi::WATCHED_TRAPS;
    assert_eq!(gate.connects([192, 168, 10, 250], 80), (Reason::Blocked, Some(Detector::TrapContact)));
    // The agent will put it in quarantine; until then nothing begins.
    assert_eq!(gate.connects(place(1), 443).0, Reason::Blocked);
}

#[test]
fn mail_logins_and_worm_ports_have_their_own_rates() {
    let mut gate = Gate::new(ACTION_BLOCK);
    let seen: Vec<_> = (0..12).filter_map(|n| gate.connects(place(n % 3), 25).1).collect();
    assert_eq!(seen[0], Detector::SmtpBurst);
    assert_eq!(gate.connects(place(1), 443).0, Reason::Rule, "only mail is blocked");
    let mut gate = Gate::new(ACTION_THROTTLE);
    let passed = (0..100).filter(|_| gate.connects(place(1), 22).0 == Reason::Rule).count();
    assert_eq!(passed, 20);
    let mut gate = Gate::new(ACTION_BLOCK);
    let seen: Vec<_> = (0..4).map(|n| gate.connects(place(n), 445).1).collect();
    assert_eq!(seen, [None, None, None, Some(Detector::WormPort)]);
    let inside: Vec<_> = (0..4).map(|n| gate.connects([192, 168, 20, n], 445).1).collect();
    assert_eq!(inside[0], Some(Detector::WormPort), "still blocked: {inside:?}");
}

#[test]
fn long_questions_are_counted_by_what_is_too_much_of_them() {
    let mut gate = Gate::new(ACTION_BLOCK);
    let mut packet = gate.packet(proto::UDP, place(53), 53);
    packet.l4_len = 60;
    for _ in 0..5_000 {
        gate.now += SECOND / 100;
        packet.now = gate.now;
        assert_eq!(gate.sends(&packet, Reason::Flow).1, None);
    }
    packet.l4_len = 260;
    let passed = (0..100).take_while(|_| gate.sends(&packet, Reason::Flow).1.is_none()).count();
    assert_eq!(passed, 4_000 / (260 - 68));
}

#[test]
fn who_is_exempt_is_left_alone() {
    let mut gate = Gate::new(ACTION_BLOCK);
    gate.watched.as_mut().expect("set").flags |= WATCHED_EXEMPT;
    gate.exempt.insert(mapped(HOST), 1 << Detector::HorizontalScan as u32);
    for number in 0..500 {
        gate.now += SECOND / 100;
        assert_eq!(gate.connects(place(number % 250), 161), (Reason::Rule, None));
    }
}

#[test]
fn impostors_are_told_at_the_first_packet() {
    let mut gate = Gate::new(ACTION_ALERT);
    let mut arp = gate.packet(0, place(1), 0);
    (arp.family, arp.ethertype, arp.arp_op) = (0, ethertype::ARP, 2);
    assert_eq!(gate.sends(&arp, Reason::OwnAddress).1, Some(Detector::RogueArp));
    let mut ra = gate.packet(proto::ICMPV6, place(1), 134 << 8);
    (ra.family, ra.class, ra.icmp_type) = (6, crate::packet::CLASS_NDP, 134);
    assert_eq!(gate.sends(&ra, Reason::Ndp).1, Some(Detector::RogueNdp));
    let mut offer = gate.packet(proto::UDP, place(1), 68);
    offer.class = crate::packet::CLASS_DHCP_REPLY;
    assert_eq!(gate.sends(&offer, Reason::NoRule).1, Some(Detector::RogueDhcp));
}

#[test]
fn an_event_is_told_once_a_second() {
    let mut gate = Gate::new(ACTION_THROTTLE);
    let packet = gate.packet(proto::UDP, place(1), 5_000);
    let mut told = 0;
    for _ in 0..3_000 {
        gate.sends(&packet, Reason::Rule);
        told += gate.sight.tell;
    }
    assert_eq!(told, 1);
    assert_eq!(gate.sight.hits, 2_200);
    // Where newcomers are counted is kept apart from the host, who was never answered.
    assert_eq!((gate.hosts.borrow().len(), DETECTORS), (1, 32));
}

/// What belongs to an answered conversation is not even asked about, but for ICMP and DNS.
#[test]
fn the_bulk_of_the_traffic_is_left_out() {
    let gate = Gate::new(ACTION_BLOCK);
    let mut packet = gate.packet(proto::TCP, place(1), 443);
    assert!(!attempts(&packet, Reason::Flow as u32));
    packet.contact = CONTACT_UNANSWERED;
    assert!(attempts(&packet, Reason::Flow as u32));
    let mut question = gate.packet(proto::UDP, place(1), 53);
    assert!(!attempts(&question, Reason::Flow as u32));
    question.l4_len = 200;
    assert!(attempts(&question, Reason::Flow as u32));
}

/// Whoever asks an inside server decides how much it answers; that is no flood of the server's. Its own pings are, and errors
/// about packets that never came.
#[test]
fn what_others_ask_for_is_no_flood() {
    let mut gate = Gate::new(ACTION_QUARANTINE);
    let reply = Packet { icmp_type: 0, ..gate.packet(proto::ICMP, place(1), 0) };
    let error = Packet { icmp_type: 3, icmp_code: 3, class: CLASS_ICMP_ERROR, ..gate.packet(proto::ICMP, place(1), 0) };
    let unasked = Packet { contact: CONTACT_UNANSWERED, ..error };
    for _ in 0..2_000 {
        assert_eq!(gate.sends(&reply, Reason::Flow), (Reason::Flow, None));
        assert_eq!(gate.sends(&error, Reason::Related), (Reason::Related, None));
    }
    let spoken = (0..2_000).filter_map(|_| gate.sends(&unasked, Reason::Related).1).next();
    assert_eq!(spoken, Some(Detector::IcmpFlood));
    let mut gate = Gate::new(ACTION_QUARANTINE);
    let ping = gate.packet(proto::ICMP, place(1), 0);
    let spoken = (0..2_000).filter_map(|_| gate.sends(&ping, Reason::Flow).1).next();
    assert_eq!(spoken, Some(Detector::IcmpFlood));
}

/// A way is traced by a new port for every probe: one question to one address, let through or not, answered by routers and at
/// last by a closed port.
#[test]
fn tracing_a_way_is_no_scan() {
    for reason in [Reason::Rule, Reason::NoRule] {
        let mut gate = Gate::new(ACTION_BLOCK);
        for number in 0..90 {
            let mut probe = gate.packet(proto::UDP, place(1), 33_434 + number);
            probe.contact = CONTACT_UNANSWERED;
            assert_eq!(gate.sends(&probe, reason), (reason, None), "probe {number}");
            gate.now += SECOND / 20;
        }
        // The ports above and below are ports, and many addresses are many.
        let spoken =
            (0..40).find_map(|number| gate.sends(&gate.packet(proto::UDP, place(1), 33_600 + number), reason).1);
        assert_eq!(spoken, Some(Detector::VerticalScan), "{reason:?}");
        let mut gate = Gate::new(ACTION_BLOCK);
        let spoken = (0..40).find_map(|number| gate.sends(&gate.packet(proto::UDP, place(number), 33_434), reason).1);
        assert_eq!(spoken, Some(Detector::HorizontalScan), "{reason:?}");
    }
}
