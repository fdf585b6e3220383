#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use sekimori_ebpf::{classify::NO_CLASS, tables::Tables as _};

use super::*;
use crate::compile::{
    compile,
    host::HostTables,
    registry::Registry,
    testing::{Random, external, policy},
};

const MAPPED_ROOT: u128 = MAPPED << 32;

fn says(number: u64) -> AddrEntry {
    AddrEntry { owner: number as u16, src_set: (number >> 16) as u16, dst_set: 7, flags: (number % 3) as u16 }
}

/// Prefixes of the two families by (address, length), as `compile` hands them over, with what the roots say.
struct List(BTreeMap<(bool, u128, u32), AddrEntry>);

impl List {
    fn new() -> Self {
        Self(BTreeMap::from([((false, 0, 0), says(60_001)), ((true, MAPPED_ROOT, 96), says(60_002))]))
    }

    fn v4(&mut self, addr: u32, len: u32, entry: AddrEntry) {
        let addr = addr & u32::MAX.checked_shl(32 - len).unwrap_or(0);
        self.0.insert((true, MAPPED_ROOT | u128::from(addr), 96 + len), entry);
    }

    fn v6(&mut self, addr: u128, len: u32, entry: AddrEntry) {
        let addr = addr & mask(len);
        if len < 96 || addr >> 32 != MAPPED {
            self.0.insert((false, addr, len), entry);
        }
    }

    fn prefixes(&self) -> Vec<Prefix> {
        self.0.iter().map(|(&(_, addr, len), entry)| (len, addr.to_be_bytes(), *entry)).collect()
    }

    /// The definition: the longest of all prefixes that hold the address.
    fn scan(&self, addr: u128) -> AddrEntry {
        let holding = self.0.iter().filter(|((_, prefix, len), _)| addr & mask(*len) == *prefix);
        holding.max_by_key(|((_, _, len), _)| *len).map(|(_, entry)| *entry).unwrap()
    }

    /// Both ends of each prefix, their neighbours, and some addresses at random.
    fn probes(&self, random: &mut Random, more: usize) -> Vec<u128> {
        let mut probes = BTreeSet::new();
        for &(v4, start, len) in self.0.keys() {
            let last = start | !mask(len);
            for probe in
                [start.wrapping_sub(1), start, start.wrapping_add(1), last.wrapping_sub(1), last, last.wrapping_add(1)]
            {
                probes.insert(if v4 { MAPPED_ROOT | u128::from(probe as u32) } else { probe });
            }
        }
        for _ in 0..more {
            probes.insert(MAPPED_ROOT | u128::from(random.next() as u32));
            probes.insert(u128::from(random.next()) << 64 | u128::from(random.next()));
        }
        probes.into_iter().collect()
    }

    fn check(&self, name: &str, random: &mut Random) {
        let host = host(self.prefixes());
        for probe in self.probes(random, 200) {
            assert_eq!(found(&host, probe), Some(self.scan(probe)), "{name}: {}", std::net::Ipv6Addr::from(probe));
        }
    }
}

fn mask(len: u32) -> u128 {
    u128::MAX.checked_shl(128 - len).unwrap_or(0)
}

fn host(prefixes: Vec<Prefix>) -> HostTables {
    let mut policy = policy();
    policy.nets = vec![external("internet", "wan0", &[])];
    let mut compiled = compile(&policy, &mut Registry::default()).unwrap();
    compiled.addrs = prefixes;
    let mut host = HostTables::new(1);
    host.switch(compiled, Vec::new());
    host
}

fn found(host: &HostTables, addr: u128) -> Option<AddrEntry> {
    // SAFETY: the tables stay.
    unsafe { host.addr(host.active(), &addr.to_be_bytes()).as_ref() }.copied()
}

#[test]
fn what_is_found_is_what_a_scan_finds() {
    let mut random = Random::new(0x5eed);
    for round in 0..48 {
        let mut list = List::new();
        // Few addresses, so that prefixes nest; few classes, so that neighbours join.
        let stems: Vec<u128> =
            (0..1 + round % 5).map(|_| u128::from(random.next()) << 64 | u128::from(random.next())).collect();
        let classes = [2, 5, 50_000][round % 3];
        for _ in 0..random.below(300) {
            let stem = *random.pick(&stems);
            let near = stem ^ (u128::from(random.next()) >> random.below(64) << random.below(64));
            let entry = says(random.below(classes));
            list.v4(near as u32, random.below(33) as u32, entry);
            list.v6(near, random.below(129) as u32, entry);
            list.v4((stem as u32 & 0xffff_ff00) | random.below(256) as u32, 25 + random.below(8) as u32, entry);
        }
        list.check(&format!("round {round}"), &mut random);
    }
}

#[test]
fn corners() {
    let mut random = Random::new(1);
    let mut case = |name: &str, fill: &dyn Fn(&mut List)| {
        let mut list = List::new();
        fill(&mut list);
        list.check(name, &mut random);
    };
    let ten = 10 << 24;
    case("roots alone", &|_| {});
    case("every address of a /24 different", &|list| {
        (0..256).for_each(|octet| list.v4(ten + octet, 32, says(u64::from(octet))));
    });
    for runs in 18..25 {
        case("as many runs as a leaf holds, or one more", &|list| {
            (0..runs).for_each(|run| list.v4(ten + 512 + run * 10, 32, says(u64::from(run))));
            (1..runs).for_each(|run| list.v4(ten + 256 + run, 32, says(u64::from(run))));
            list.v4(ten + 1024 + 255, 32, says(1));
        });
    }
    case("dense neighbours in one chunk", &|list| {
        for block in [0u32, 1, 40, 63] {
            (0..256)
                .step_by(2)
                .for_each(|octet| list.v4(ten + block * 256 + octet, 32, says(u64::from(octet + block))));
        }
        list.v4(ten + 20 * 256 + 7, 32, says(9));
    });
    case("both halves", &|list| {
        list.v4(0, 1, says(1));
        list.v4(1 << 31, 1, says(2));
        list.v6(0, 1, says(3));
        list.v6(1 << 127, 1, says(4));
    });
    case("the whole family again", &|list| {
        list.v4(0, 0, says(1));
        list.v6(0, 0, says(2));
    });
    case("the ends of everything", &|list| {
        list.v4(0, 32, says(1));
        list.v4(u32::MAX, 32, says(2));
        list.v6(0, 128, says(3));
        list.v6(u128::MAX, 128, says(4));
        list.v6(MAPPED_ROOT - 1, 128, says(5));
        list.v6(MAPPED_ROOT + (1 << 32), 128, says(6));
    });
    for len in 17..25u32 {
        for stride in [1, 3] {
            case("many whole /24s of several classes", &|list| {
                for number in (0..1 << (len - 14)).step_by(stride) {
                    list.v4(ten + (number << (32 - len)), len, says(u64::from(number % 37)));
                    list.v4(ten + (number << (32 - len)) + 99, 32, says(1 + u64::from(number % 2)));
                }
            });
        }
    }
    let stem = 0x2001_0db8_0001_0002u128 << 64;
    case("neighbours in a /64", &|list| {
        (0..40u128).for_each(|host| list.v6(stem | (host * 3), 128, says(host as u64)));
        (0..40u128).for_each(|host| list.v6(stem | 1 << 50 | (host * 4), 127, says(host as u64)));
    });
    case("beside the border of the two trees", &|list| {
        for len in 76..84 {
            list.v6(stem | 3 << 48, len, says(u64::from(len)));
            list.v6(stem | 5 << 49, len, says(u64::from(len) + 9));
        }
        list.v6(stem | ((2 << 49) - 1), 128, says(5));
        list.v6(stem | 2 << 49, 128, says(6));
    });
    case("one /16 of many", &|list| {
        let mut random = Random::new(3);
        for _ in 0..3000 {
            list.v6(stem ^ u128::from(random.next()) << 48, 33 + random.below(60) as u32, says(random.below(9)));
        }
    });
    for stem in [0x2001u128 << 112, 0x2001_0db8u128 << 96 | 0x77 << 64 | 1 << 49] {
        for shift in [0, 40, 58, 64, 85, 100] {
            case("evenly spread", &|list| {
                let mut random = Random::new(shift);
                let width = if stem as u64 == 0 { 112 } else { 49 };
                for _ in 0..900 {
                    let any = u128::from(random.next()) << 64 | u128::from(random.next());
                    let tail = any >> (128 - width) << shift.min(width as u64 - 8);
                    list.v6(stem | tail & !(u128::MAX << width), 100 + random.below(29) as u32, says(random.below(9)));
                }
            });
        }
    }
    for count in [5, 6, 7, 47, 48, 49, 385] {
        case("trees just full", &|list| {
            (1..count).for_each(|at| list.v6(0x2400 << 112 | at << 64, 64, says(at as u64)));
        });
    }
}

#[test]
fn more_classes_than_numbers_are_refused() {
    let mut list = List::new();
    (0..u32::from(NO_CLASS as u16) - 2).for_each(|at| list.v4(at << 8, 24, says(u64::from(at) << 16)));
    assert!(fits(&list.prefixes()).is_ok());
    list.v4(0xffff_ff00, 24, says(1));
    let error = fits(&list.prefixes()).unwrap_err();
    assert_eq!(error, CompileError::Classes { at: "255.255.255.0".parse().unwrap() });
    assert!(error.to_string().contains("65535") && error.ja().contains("255.255.255.0"), "{error}");
    assert_eq!(Space::build(&list.prefixes()).unwrap_err(), error);
}

type Shape<'a> = &'a dyn Fn(&mut List, u64);

/// What the bound on the number of lines rests on.
#[test]
fn a_table_is_little_larger_than_its_prefixes() {
    let mut random = Random::new(2);
    let shapes: [(&str, Shape<'_>); 5] = [
        ("scattered addresses", &|list, number| list.v4(number as u32, 32, says(number & 1))),
        ("whole /24s", &|list, number| list.v4(number as u32, 19 + (number >> 40) as u32 % 6, says(number >> 60))),
        ("dense", &|list, number| list.v4(number as u32 & 0xffff, 32, says(number >> 60))),
        ("scattered hosts", &|list, number| {
            list.v6(u128::from(number) << 64 | u128::from(number), 128, says(number & 1))
        }),
        ("one /16", &|list, number| list.v6(0x2001 << 112 | u128::from(number) << 32, 64, says(number >> 60))),
    ];
    for (name, add) in shapes {
        let mut list = List::new();
        (0..30_000).for_each(|_| add(&mut list, random.next()));
        let lines = Space::build(&list.prefixes()).unwrap().lines().len() - FREE as usize;
        // Scattered whole /24s: up to four lines a chunk, and there are but 2^18 chunks.
        // Scattered hosts: one line each, and at most one to begin each of 2^16 slots.
        let bound = match name {
            "whole /24s" => 4.1,
            "scattered hosts" => 2.1,
            _ => 1.5,
        };
        let each = lines as f64 / list.0.len() as f64;
        println!("{name}: {each:.2} lines a prefix");
        assert!(each < bound, "{name}: {each}");
    }
}
