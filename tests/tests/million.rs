//! A million prefixes in one group: the host build and the kernel must say what the oracle says, in, beside and far
//! from every kind of entry.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{collections::BTreeMap, fs, net::IpAddr, time::Instant};

use ipnet::IpNet;
use sekimori::policy::{
    load,
    model::{Mac, Policy, Port},
};
use sekimori_ebpf::reason::Reason;
use sekimori_tests::oracle::{
    Event, OracleState, Way,
    differ::describe,
    generate::{
        build::{Ip, Segment, ether, icmp, tcp, udp},
        policy::base,
        rng::Rng,
    },
    host::Host,
    judge,
    kernel::Kernel,
    million::{LIST, Narrowed, POLICY, address, entries, list, number},
    subject::Subject,
    transport::flag,
};

const ENTRIES: usize = 1_000_000;
/// Entries asked about; six addresses each.
const ASKED: usize = 700;
/// Addresses anywhere.
const ANYWHERE: usize = 2_000;
const ROUTER: Mac = Mac([2, 0, 0, 0, 0x99, 1]);
const PC: Mac = Mac([2, 0, 0, 0, 1, 0x11]);
const BOX: Mac = Mac([2, 0, 0, 0, 0xbb, 1]);

/// The group's entries and a policy around them, read as an administrator's files are.
fn written(rng: &mut Rng) -> (Vec<IpNet>, Policy) {
    let folder = tempfile::tempdir().unwrap();
    let entries = entries(rng, ENTRIES);
    fs::write(folder.path().join(LIST), list(&entries)).unwrap();
    fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
    let loaded = load(folder.path());
    let said: Vec<String> = loaded.diagnostics.iter().map(|said| format!("{said:?}")).take(5).collect();
    (entries, loaded.policy.unwrap_or_else(|| panic!("{said:?}")))
}

/// Ends of some entries and the addresses beside them, and addresses anywhere.
fn addresses(rng: &mut Rng, entries: &[IpNet]) -> Vec<IpAddr> {
    let mut out = Vec::new();
    for _ in 0..ASKED {
        let entry = rng.pick(entries);
        let (first, last) = (number(entry.network()), number(entry.broadcast()));
        let inside = first + u128::from(rng.bits()) % (last - first + 1);
        out.extend([first, last, inside, first - 1, last + 1, last + 1 + (last - first)].map(address));
    }
    for _ in 0..ANYWHERE {
        let bits = rng.bits() as u32;
        let six = 0x2600u128 << 112 | u128::from(bits) << 64 | u128::from(rng.bits());
        let four = u128::from(std::net::Ipv4Addr::from(bits).to_ipv6_mapped());
        out.push(address(if rng.chance(10) { six } else { four }));
    }
    out
}

/// What is sent from this address, and to it.
fn packets(rng: &mut Rng, addr: IpAddr, sport: u16) -> Vec<(&'static str, Mac, Ip, Vec<u8>)> {
    let six = addr.is_ipv6();
    let own: IpAddr = if six { "2001:db8:99::2" } else { "203.0.113.10" }.parse().unwrap();
    let pc: IpAddr = if six { "2001:db8:1::11" } else { "192.168.1.11" }.parse().unwrap();
    let syn = |dport: u16| tcp(&Segment { sport, dport, seq: 1, ack: 0, flags: flag::SYN, data: 0, scale: None });
    let from_there = match rng.below(8) {
        0 => (17, udp(sport, 443, 4)),
        1 if six => (58, icmp(128, 0, [0, 1, 0, 1], &[0; 8])),
        1 => (1, icmp(8, 0, [0, 1, 0, 1], &[0; 8])),
        2 => (6, syn(444)),
        _ => (6, syn(443)),
    };
    vec![("wan0", ROUTER, Ip::new(addr, own, from_there.0), from_there.1), ("lan0", PC, Ip::new(pc, addr, 6), syn(443))]
}

fn agrees(subject: &mut dyn Subject, policy: &Policy, narrowed: &Narrowed, asked: &[IpAddr]) {
    let begun = Instant::now();
    subject.load(policy, base()).unwrap();
    println!("{}: loaded in {:?}", subject.name(), begun.elapsed());
    let mut rng = Rng::new(1);
    let mut seen: BTreeMap<Reason, u64> = BTreeMap::new();
    for (index, addr) in asked.iter().enumerate() {
        for (interface, mac, ip, bytes) in packets(&mut rng, *addr, 1_024 + index as u16) {
            let port = Port { interface: interface.into(), outer: 0, inner: 0 };
            let frame = ether(BOX, mac, &port, ip.kind(), &ip.bytes(&bytes));
            let event = Event { number: 0, frame, way: Way::In { interface: interface.into() }, now: base() };
            let oracle = judge(&narrowed.about(&[ip.src, ip.dst]), &mut OracleState::default(), &event);
            let answer = subject.judge(&event).unwrap().unwrap();
            let what = describe(&event);
            assert_eq!(oracle.reason, answer.reason, "{} {what}", subject.name());
            assert!(!oracle.passes() || oracle.rule == answer.rule, "{} {answer:?} {what}", subject.name());
            *seen.entry(oracle.reason).or_default() += 1;
        }
    }
    println!("{}: judged in {:?}: {seen:?}", subject.name(), begun.elapsed());
    for reason in [Reason::Rule, Reason::NoRule, Reason::Unlisted] {
        assert!(seen.get(&reason).is_some_and(|count| *count > 500), "{reason:?} is seldom: {seen:?}");
    }
}

#[test]
fn a_million_prefixes_are_judged_as_ten_are() {
    let begun = Instant::now();
    let mut rng = Rng::new(20_261_122);
    let (entries, policy) = written(&mut rng);
    println!("written and read in {:?}", begun.elapsed());
    let asked = addresses(&mut rng, &entries);
    let narrowed = Narrowed::of(&policy, &entries);
    let inside = asked.iter().filter(|addr| narrowed.ranges().contains(**addr)).count();
    assert!(inside > ASKED * 2 && asked.len() - inside > ASKED * 2, "{inside} of {} are in the group", asked.len());
    let mut kernel = Kernel::load().unwrap();
    for subject in [&mut Host::default() as &mut dyn Subject, &mut kernel] {
        agrees(subject, &policy, &narrowed, &asked);
    }
}
