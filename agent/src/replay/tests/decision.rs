//! A day at the town hall, judged by the decision itself: the host's build, and the loaded programs where that is
//! allowed. Both must say the same of every packet.

use std::path::Path;

use super::super::{programs::Programs, test_bytes::*};
use super::*;
use crate::{
    compile::{
        compile,
        host::HostTables,
        registry::Registry,
        schedule::{Clock, windows},
        tables::Compiled,
    },
    explain::judge::{way_in, way_out},
    policy::load,
};

type End = ([u8; 4], u16);

const PC: End = ([192, 168, 10, 17], 40000);
const CLOUD: End = ([198, 51, 100, 5], 443);
const PUBLIC: End = ([203, 0, 113, 10], 443);
const REAL: End = ([192, 168, 20, 10], 8443);
const BIZ: End = ([192, 168, 30, 10], 22);
const VENDOR: End = ([10, 77, 0, 20], 50000);

const OFFICE: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0x10, 0x17], [2, 0, 0, 0, 0x10, 1]);
const WAN: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0x99, 1], [2, 0, 0, 0, 0x99, 2]);
const DMZ: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0x20, 0x10], [2, 0, 0, 0, 0x20, 1]);
const VENDORS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0x77, 1], [2, 0, 0, 0, 0x77, 2]);

/// The host's build of the decision over tables in memory.
struct Host<'p> {
    policy: &'p Policy,
    plans: Vec<crate::compile::schedule::Plan>,
    tables: HostTables,
}

impl<'p> Host<'p> {
    fn new(policy: &'p Policy, compiled: Compiled) -> Self {
        let plans = compiled.schedules.clone();
        let mut tables = HostTables::new(4096);
        tables.switch(compiled, Vec::new());
        Self { policy, plans, tables }
    }
    fn judged(found: &crate::explain::judge::Judged) -> Judged {
        Judged { reason: found.reason, rule: found.rule, mark: found.mark }
    }
    fn index(&self, interface: &str) -> u32 {
        self.tables.ifindex(interface).unwrap_or(u32::MAX)
    }
}

impl Judge for Host<'_> {
    fn head(&self) -> usize {
        usize::MAX
    }
    fn set_clock(&mut self, at: Timestamp) -> anyhow::Result<()> {
        let clock = Clock { wall: at, boottime_ns: at.as_nanosecond() as u64 };
        self.tables.set_schedules(windows(&self.plans, self.policy, clock));
        Ok(())
    }
    fn ingress(&mut self, frame: &[u8], interface: &str, now: u64) -> anyhow::Result<Judged> {
        let found = Self::judged(&way_in(&self.tables, frame, self.index(interface), now));
        self.tables.settle();
        Ok(found)
    }
    fn egress(&mut self, frame: &[u8], interface: &str, origin: Origin<'_>, now: u64) -> anyhow::Result<Judged> {
        let (from, mark) = match origin {
            Origin::Box => (0, 0),
            Origin::Interface { name, mark } => (self.index(name), mark),
        };
        let found = Self::judged(&way_out(&self.tables, frame, self.index(interface), from, mark, now));
        self.tables.settle();
        Ok(found)
    }
}

fn frame(macs: ([u8; 6], [u8; 6]), packet: &[u8]) -> Vec<u8> {
    ethernet(macs.1, macs.0, &[], 0x0800, packet)
}

/// A segment with everything a tracked conversation looks at.
fn segment(from: End, to: End, flags: u8, sequence: u32, ack: u32, data: &[u8]) -> Vec<u8> {
    let mut packet = tcp(from, to, flags, sequence, data);
    packet[28..32].copy_from_slice(&ack.to_be_bytes());
    packet
}

/// A reason, and a rule where one must be named.
type Told = (&'static str, Option<&'static str>);

/// What happens, and what must be said of it.
fn day() -> (Vec<Vec<u8>>, Vec<Told>) {
    const SYN: u8 = 2;
    const SYN_ACK: u8 = 0x12;
    const ACK: u8 = 0x10;
    let told: Vec<(Vec<u8>, &str, Option<&str>)> = vec![
        (frame(OFFICE, &segment(PC, CLOUD, SYN, 100, 0, b"")), "rule", Some("office-web")),
        (frame(WAN, &segment(CLOUD, PC, SYN_ACK, 500, 101, b"")), "flow", None),
        (frame(OFFICE, &segment(PC, CLOUD, ACK, 101, 501, b"GET")), "flow", None),
        (frame(WAN, &segment(CLOUD, PC, ACK, 501, 104, b"page")), "flow", None),
        (frame(OFFICE, &segment(PC, CLOUD, ACK, 104, 505, &[7; 9000])), "flow", None),
        (frame(WAN, &segment(CLOUD, PC, ACK, 400_000_501, 104, b"late")), "tcp_window", None),
        (frame(OFFICE, &udp((PC.0, 5000), ([198, 51, 100, 53], 53), b"?")), "rule", Some("office-dns")),
        (frame(WAN, &udp(([198, 51, 100, 53], 53), (PC.0, 5000), b"!")), "flow", None),
        (frame(WAN, &udp(([198, 51, 100, 53], 53), (PC.0, 5001), b"!")), "no_rule", None),
        (frame(OFFICE, &tcp(PC, ([198, 51, 100, 5], 22), SYN, 1, b"")), "no_rule", None),
        (frame((mac(0x10, 0x66), OFFICE.1), &tcp(PC, CLOUD, SYN, 1, b"")), "mac_mismatch", None),
        (frame(WAN, &tcp(([198, 51, 100, 66], 5), PUBLIC, SYN, 1, b"")), "rule", Some("city-web")),
        (frame(DMZ, &segment(REAL, ([198, 51, 100, 66], 5), SYN_ACK, 9, 2, b"")), "flow", None),
        (frame(WAN, &tcp(([198, 51, 100, 66], 6), ([203, 0, 113, 10], 22), SYN, 1, b"")), "no_rule", None),
        (frame(VENDORS, &tcp(VENDOR, BIZ, SYN, 1, b"")), "rule", Some("vendor-maintenance")),
        (
            ethernet(WAN.0, WAN.1, &[], 0x0800, &udp(([203, 0, 113, 2], 9), ([198, 51, 100, 53], 53), b"?")),
            "rule",
            Some("box-dns"),
        ),
        (frame(OFFICE, &[0x46; 40]), "ipv4_header", None),
        (frame(OFFICE, &tcp(PC, CLOUD, SYN, 1, b""))[..13].to_vec(), "truncated", None),
        (ethernet([1, 0x80, 0xc2, 0, 0, 0], mac(0x44, 4), &[], 38, &[0x42; 40]), "l2_control", None),
    ];
    let (frames, rest): (Vec<_>, Vec<_>) =
        told.into_iter().map(|(frame, reason, rule)| (frame, (reason, rule))).unzip();
    (frames, rest)
}

fn town_hall() -> Policy {
    let loaded = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/municipality"));
    loaded.policy.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
}

fn verdicts(policy: &Policy, judge: &mut dyn Judge, bytes: &[u8]) -> Vec<serde_json::Value> {
    let mut out = Vec::new();
    run(bytes, policy, judge, &options(Entry::Auto), &mut out, &mut Summary::default()).unwrap();
    let lines = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn as_told(lines: &[serde_json::Value]) {
    let (_, told) = day();
    assert_eq!(lines.len(), told.len());
    for (line, (reason, rule)) in lines.iter().zip(told) {
        assert_eq!(line["reason"], reason, "{line}");
        if let Some(rule) = rule {
            assert_eq!(line["rule"], rule, "{line}");
        }
    }
}

#[test]
fn a_day_at_the_town_hall_is_judged_as_the_policy_says() {
    let policy = town_hall();
    let compiled = compile(&policy, &mut Registry::default()).unwrap();
    // 2026-12-01 10:00 in Tokyo: the vendor's hours.
    let bytes = capture(&day().0);
    as_told(&verdicts(&policy, &mut Host::new(&policy, compiled), &bytes));
}

#[test]
fn the_loaded_programs_say_the_same() {
    let policy = town_hall();
    let compiled = compile(&policy, &mut Registry::default()).unwrap();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: loading programs needs root");
        return;
    }
    let bytes = capture(&day().0);
    let by_programs = verdicts(&policy, &mut Programs::load(&policy, compiled.clone(), 4096).unwrap(), &bytes);
    as_told(&by_programs);
    let by_host = verdicts(&policy, &mut Host::new(&policy, compiled), &bytes);
    let without_notes = |lines: Vec<serde_json::Value>| -> Vec<_> {
        lines.into_iter().map(|line| (line["reason"].clone(), line["rule"].clone(), line["out"].clone())).collect()
    };
    assert_eq!(without_notes(by_programs), without_notes(by_host));
}
