//! The table of addresses, looked up by the loaded programs: at ten prefixes and at a million they say what the longest
//! prefix says.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{Ipv4Addr, Ipv6Addr},
};

use etherparse::PacketBuilder;
use sekimori::{compile::tables::Compiled, dataplane::private::Instance};
use sekimori_ebpf::{
    abi::{
        ADDR_LISTED, AddrEntry, DeviceEntry, GenConfig, NET_BOX, NET_FLAG_LIVE, NetEntry, PortKey, RuleSet,
        SERVICE_WORDS,
    },
    reason::Reason,
};
use sekimori_tests::oracle::generate::rng::Rng;

const MAPPED: u128 = 0xffff << 32;
/// The interface and the network everything comes in by, another network.
const IFACE: u16 = 1;
const HERE: u16 = 1;
const THERE: u16 = 2;

fn mask(len: u32) -> u128 {
    u128::MAX.checked_shl(128 - len).unwrap_or(0)
}

fn any(rng: &mut Rng) -> u128 {
    u128::from(rng.bits()) << 64 | u128::from(rng.bits())
}

/// An address that no step before *Identity* objects to.
fn ordinary(addr: u128) -> bool {
    if addr >> 32 != MAPPED >> 32 {
        return addr >> 125 == 1 && addr >> 112 != 0x2002;
    }
    let v4 = Ipv4Addr::from(addr as u32);
    (1..224).contains(&v4.octets()[0]) && !v4.is_loopback() && !v4.is_link_local()
}

/// Who owns the addresses of a prefix. Every entry may do business here: that is not what is asked.
fn owned(owner: u16) -> AddrEntry {
    AddrEntry { owner, flags: ADDR_LISTED, ..AddrEntry::default() }
}

type Prefixes = BTreeMap<(bool, u128, u32), AddrEntry>;

fn prefixes(rng: &mut Rng, count: usize) -> Prefixes {
    let mut list = Prefixes::from([((false, 0, 0), owned(THERE)), ((true, MAPPED, 96), owned(THERE))]);
    while list.len() < count + 2 {
        let (addr, turn) = (any(rng), list.len());
        let v4 = !turn.is_multiple_of(3);
        let len = if v4 { [120, 124, 128, 128][turn / 3 % 4] } else { [32, 48, 64, 128][turn / 3 % 4] };
        let addr = if v4 { MAPPED | addr & 0xffff_ffff } else { 1 << 125 | addr >> 3 } & mask(len);
        let owner = [HERE, HERE, THERE, NET_BOX][rng.below(4)];
        if ordinary(addr) {
            list.insert((v4, addr, len), owned(owner));
        }
    }
    list
}

/// A policy of two networks without a rule, in which these prefixes say who owns what.
fn tables(list: &Prefixes) -> Compiled {
    let mut nets = vec![NetEntry::default(); 256];
    for net in [HERE, THERE, NET_BOX] {
        nets[usize::from(net)].flags = NET_FLAG_LIVE;
    }
    Compiled {
        hash: [0; 32],
        config: GenConfig::default(),
        interfaces: vec![("wan0".into(), IFACE)],
        ports: vec![(PortKey { iface: IFACE, ..PortKey::default() }, HERE)],
        nets,
        net_names: vec![("here".into(), HERE), ("there".into(), THERE)],
        laid_out: std::sync::Arc::default(),
        addrs: list.iter().map(|(&(_, addr, len), entry)| (len, addr.to_be_bytes(), *entry)).collect(),
        macs: Vec::new(),
        bindings: Vec::new(),
        devices: vec![DeviceEntry::default()],
        device_names: vec![String::new()],
        services: vec![0; SERVICE_WORDS as usize],
        sets: vec![RuleSet::EMPTY],
        rules: Vec::new(),
        limits: Vec::new(),
        rule_ids: Vec::new(),
        schedules: Vec::new(),
        watching: Default::default(),
    }
}

fn frame(src: u128) -> Vec<u8> {
    let eth = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = if src >> 32 == MAPPED >> 32 {
        eth.ipv4((src as u32).to_be_bytes(), [192, 0, 2, 1], 64)
    } else {
        eth.ipv6(src.to_be_bytes(), (0x2001_0db8u128 << 96 | 1).to_be_bytes(), 64)
    };
    let mut frame = Vec::new();
    ip.udp(1000, 2000).write(&mut frame, b"who am I?").unwrap();
    frame
}

fn check(count: usize, probes: usize) {
    let mut rng = Rng::new(count as u64);
    let list = prefixes(&mut rng, count);
    let mut instance = Instance::load(64).unwrap();
    instance.policy(&tables(&list), &[]).unwrap();

    let by_length: HashMap<(bool, u128, u32), AddrEntry> = list.iter().map(|(key, entry)| (*key, *entry)).collect();
    let lengths: HashSet<(bool, u32)> = list.keys().map(|&(v4, _, len)| (v4, len)).collect();
    let longest = |addr: u128| {
        let v4 = addr >> 32 == MAPPED >> 32;
        let holding = (0..=128).rev().filter(|&len| lengths.contains(&(v4, len)));
        holding.filter_map(|len| by_length.get(&(v4, addr & mask(len), len))).next().unwrap().owner
    };
    let keys: Vec<(bool, u128, u32)> = list.keys().copied().collect();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for turn in 0..probes {
        let (v4, start, len) = keys[rng.below(keys.len())];
        let last = start | !mask(len);
        let addr = match turn % 6 {
            0 => start,
            1 => start.wrapping_sub(1),
            2 => last,
            3 => last.wrapping_add(1),
            4 => start | any(&mut rng) & !mask(len),
            _ if v4 => any(&mut rng),
            _ => 1 << 125 | any(&mut rng) >> 3,
        };
        let addr = if v4 { MAPPED | addr & 0xffff_ffff } else { addr };
        if !ordinary(addr) {
            continue;
        }
        let expected = match longest(addr) {
            HERE => Reason::NoRule,
            NET_BOX => Reason::OwnAddress,
            _ => Reason::SpoofedSource,
        };
        let judged = instance.ingress(&frame(addr), IFACE, 1 << 40).unwrap();
        assert_eq!(judged.reason, expected, "{count} prefixes, {}", Ipv6Addr::from(addr));
        *seen.entry(expected.code()).or_default() += 1;
    }
    println!("{count} prefixes: {seen:?}");
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn what_is_in_force_outlives_the_generation_before() {
    let mut rng = Rng::new(1);
    let mut instance = Instance::load(64).unwrap();
    let source = MAPPED | 0x0808_0808;
    for generation in 0..4 {
        let owner = [HERE, NET_BOX, THERE][generation % 3];
        let mut list = prefixes(&mut rng, 10);
        list.insert((true, source, 128), owned(owner));
        instance.policy(&tables(&list), &[]).unwrap();
        let expected = [Reason::NoRule, Reason::OwnAddress, Reason::SpoofedSource][generation % 3];
        for _ in 0..2 {
            assert_eq!(instance.ingress(&frame(source), IFACE, 1 << 40).unwrap().reason, expected);
            instance.retire().unwrap();
        }
    }
}

#[test]
fn ten_prefixes() {
    check(10, 600);
}

#[test]
fn a_million_prefixes() {
    check(1_000_000, 6_000);
}
