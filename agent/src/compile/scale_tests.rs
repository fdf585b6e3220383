#![expect(clippy::unwrap_used, reason = "tests")]

use std::{net::IpAddr, sync::Arc, time::Instant};

use ipnet::IpNet;
use sekimori_ebpf::abi::{ADDR_LISTED, AddrEntry, MAX_PREFIXES};

use super::{
    claims::{Claim, Sources},
    classes::MAX_CLASSES,
    compile,
    error::{CompileError, Crowd},
    host::HostTables,
    prefixes::{Entries, address, prefix, table},
    registry::Registry,
    sets::{Sets, contains},
    testing::{Random, external, party, policy, random_address, random_policy, rule, zone},
};
use crate::policy::{
    addresses::{Addresses, Group},
    model::{DeviceMode, Place, Policy, Service},
};
use sekimori_ebpf::tables::Tables as _;

const HTTPS: [Service; 1] = [Service::Tcp(443, 443)];

fn group(name: &str, prefixes: impl IntoIterator<Item = IpNet>) -> Arc<Group> {
    Arc::new(Group { name: name.to_owned(), prefixes: Arc::new(prefixes.into_iter().collect()) })
}

/// An office and the Internet; rules come later.
fn town() -> Policy {
    let mut policy = policy();
    policy.nets = vec![zone("office", DeviceMode::Any, "lan0", &["192.168.0.0/16"]), external("internet", "wan0", &[])];
    policy.nets[1].is_default = true;
    policy
}

fn permit(policy: &mut Policy, groups: Vec<Arc<Group>>) {
    let mut to = party(&[Place::Net(1)]);
    to.prefixes = Some(Addresses { groups, ..Addresses::default() });
    let id = format!("r{}", policy.rules.len());
    policy.rules.push(rule(&id, party(&[Place::Net(0)]), to, &HTTPS));
}

/// Prefix `number` of a million that do not touch.
fn apart(number: u32) -> IpNet {
    IpNet::from(IpAddr::from((0x0b00_0001 + number * 4).to_be_bytes()))
}

#[test]
fn rules_share_the_work_of_a_group() {
    let mut policy = town();
    let list = group("list", (0..200_000).map(apart));
    for _ in 0..500 {
        permit(&mut policy, vec![list.clone()]);
    }
    let start = Instant::now();
    let tables = compile(&policy, &mut Registry::default()).unwrap();
    println!("{:?}", start.elapsed());
    let listed: Vec<&AddrEntry> =
        tables.addrs.iter().map(|(_, _, entry)| entry).filter(|entry| entry.flags & ADDR_LISTED != 0).collect();
    assert!(listed.len() >= 200_000);
    assert!(tables.sets.len() < 10, "{}", tables.sets.len());
    let set = tables.sets[usize::from(listed[listed.len() / 2].dst_set)];
    assert_eq!((0..4096).filter(|rule| contains(&set, *rule)).count(), 500);
    // A hundred million claims would take minutes.
    assert!(start.elapsed().as_secs() < 20);
}

#[test]
fn four_thousand_rules_with_overlapping_groups() {
    let mut random = Random::new(9);
    let mut lists: Vec<Vec<IpNet>> = vec![Vec::new(); 200];
    for number in 0..100_000u32 {
        // In up to three of four neighbouring groups: several combinations a neighbourhood.
        let first = random.below(200) as usize;
        for next in 0..3 {
            if next == 0 || random.chance(40) {
                lists[(first + next) % 200].push(apart(number));
            }
        }
    }
    let groups: Vec<_> = lists.into_iter().enumerate().map(|(index, list)| group(&format!("g{index}"), list)).collect();
    let mut policy = town();
    policy.groups.clone_from(&groups);
    for _ in 0..4096 {
        let named = (0..1 + random.below(3)).map(|_| random.pick(&groups).clone()).collect();
        permit(&mut policy, named);
    }
    let start = Instant::now();
    let tables = Arc::new(compile(&policy, &mut Registry::default()).unwrap());
    println!("{:?}: {} entries, {} sets", start.elapsed(), tables.addrs.len(), tables.sets.len());
    assert!(start.elapsed().as_secs() < 30);
    let mut host = HostTables::new(1);
    host.switch(tables.clone(), Vec::new());
    for _ in 0..150 {
        let net = apart(random.below(101_000) as u32);
        // SAFETY: every address has an entry, and `host` is not touched meanwhile.
        let entry = unsafe { *host.addr(host.active(), &address(net.addr())) };
        let set = &tables.sets[usize::from(entry.dst_set)];
        let expected = policy.rules.iter().map(|rule| rule.to.prefixes.as_ref().unwrap().contains(net.addr()));
        assert!(expected.enumerate().all(|(rule, holds)| contains(set, rule) == holds), "{net}");
    }
}

/// Every combination of 16 groups, each twice over: as many combinations as there are prefixes.
#[test]
fn too_many_overlaps_are_refused_with_the_groups_that_make_them() {
    let mut policy = town();
    let everything = group("everything", ["11.0.0.0/8".parse().unwrap()]);
    let overlapping = (0..15).map(|bit| {
        let members = (0..1u32 << 15).filter(|number| number >> bit & 1 == 1);
        group(&format!("bit{bit}"), members.map(apart))
    });
    for group in [everything].into_iter().chain(overlapping) {
        policy.groups.push(group.clone());
        permit(&mut policy, vec![group]);
    }
    let mut registry = Registry::default();
    let error = compile(&policy, &mut registry).unwrap_err();
    assert_eq!(registry, Registry::default(), "an error changes nothing");
    let CompileError::Overlaps { crowd: Crowd::Sets, prefix, most } = &error else { unreachable!("{error}") };
    assert!(prefix.starts_with("11.") && prefix.ends_with("/32"), "{prefix}");
    assert!(most.contains("group `bit") && most.contains("(rule `r"), "{most}");
    assert!(!most.contains("everything"), "what is in all combinations makes none: {most}");
    let text = error.to_string();
    assert!(text.contains("16384") && text.contains(most.as_str()), "{text}");
}

/// A source for every combination of nine lists, a destination for every combination of nine others: few sets, and a
/// quarter of a million entries that differ.
#[test]
fn too_many_classes_are_refused() {
    let mut policy = town();
    let prefixes =
        |bit: u32| group(&format!("bit{bit}"), (0..1u32 << 18).filter(move |n| n >> bit & 1 == 1).map(apart));
    for bit in 0..18 {
        let addresses = Some(Addresses { groups: vec![prefixes(bit)], ..Addresses::default() });
        let (mut from, mut to) = (party(&[Place::Net(1)]), party(&[Place::Net(1)]));
        if bit < 9 {
            from.prefixes = addresses
        } else {
            to.prefixes = addresses
        }
        policy.rules.push(rule(&format!("r{bit}"), from, to, &HTTPS));
    }
    let error = compile(&policy, &mut Registry::default()).unwrap_err();
    let CompileError::Overlaps { crowd: Crowd::Classes, most, .. } = &error else { unreachable!("{error}") };
    assert!(most.contains("group `bit") && error.to_string().contains(&MAX_CLASSES.to_string()), "{error}");
}

#[test]
fn too_many_prefixes_are_refused_with_the_longest_lists() {
    let mut policy = town();
    let big = (0..MAX_PREFIXES).map(|number| IpNet::from(IpAddr::from((0x0b00_0001 + number * 2).to_be_bytes())));
    permit(&mut policy, vec![group("big", big)]);
    permit(&mut policy, vec![group("small", [apart(0)])]);
    let error = compile(&policy, &mut Registry::default()).unwrap_err();
    let CompileError::Prefixes { count, most } = &error else { unreachable!("{error}") };
    assert!(*count > MAX_PREFIXES as usize && most.starts_with("group `big` (rule `r0`)"), "{error}");
}

/// What lies in one prefix can be worked out without the rest.
#[test]
fn the_claims_in_and_around_a_prefix_are_enough_for_it() {
    let mut asked = 0;
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let policy = random_policy(&mut random);
        let net_ids: Vec<u16> = (1..=policy.nets.len() as u16).collect();
        let sources = Sources::new(&policy, &net_ids).unwrap();
        let (all4, all6) = (sources.v4(0, 0), sources.v6(0, 0));
        for _ in 0..10 {
            let net = IpNet::new(random_address(&mut random), random.below(33) as u8).unwrap().trunc();
            let near = |held: IpNet| net.contains(&held) || held.contains(&net);
            match net {
                IpNet::V4(net) => {
                    let part = sources.v4(net.network().to_bits(), net.prefix_len());
                    let held = |claim: &super::claims::V4| {
                        let (addr, len) = claim.prefix();
                        near(IpNet::new(IpAddr::from(addr.to_be_bytes()), len).unwrap())
                    };
                    assert_eq!(part, all4.iter().copied().filter(held).collect::<Vec<_>>(), "{net}");
                    asked += part.len();
                }
                IpNet::V6(net) => {
                    let part = sources.v6(net.network().to_bits(), net.prefix_len());
                    let held = |claim: &super::claims::V6| {
                        let (addr, len) = claim.prefix();
                        near(IpNet::new(IpAddr::from(addr.to_be_bytes()), len).unwrap())
                    };
                    assert_eq!(part, all6.iter().copied().filter(held).collect::<Vec<_>>(), "{net}");
                    asked += part.len();
                }
            }
        }
    }
    assert!(asked > 3_000, "{asked}");
}

/// The order that the lookup structure relies on: IPv6 first, each family sorted, a prefix after those that hold it.
#[test]
fn entries_come_in_order_and_none_repeats_the_one_around_it() {
    for seed in 0..300 {
        let policy = random_policy(&mut Random::new(seed));
        let addrs: Entries = compile(&policy, &mut Registry::default()).unwrap().addrs;
        let v4 = addrs.iter().position(|(len, addr, _)| (*len, *addr) == prefix_of("0.0.0.0/0")).unwrap();
        assert_eq!((addrs[0].0, addrs[0].1), prefix_of("::/0"));
        for part in [&addrs[..v4], &addrs[v4..]] {
            assert!(part.is_sorted_by_key(|(len, addr, _)| (*addr, *len)));
            for (at, (len, addr, entry)) in part.iter().enumerate() {
                let around = part[..at].iter().rfind(|(outer, first, _)| {
                    let mask = u128::MAX.checked_shl(128 - outer).unwrap_or(0);
                    outer < len && u128::from_be_bytes(*addr) & mask == u128::from_be_bytes(*first)
                });
                assert!(around.is_none_or(|(_, _, outer)| outer != entry), "seed {seed}");
            }
        }
    }
}

fn prefix_of(text: &str) -> (u32, [u8; 16]) {
    let (addr, len) = prefix(&text.parse().unwrap());
    (len, addr)
}

#[test]
fn the_table_is_the_same_whatever_it_is_made_of() {
    // The same addresses by groups, in place, or by several groups that overlap: one table.
    let list: Vec<IpNet> = (0..400).map(apart).collect();
    let mut shared = town();
    permit(&mut shared, vec![group("a", list[..300].to_vec()), group("b", list[200..].to_vec())]);
    let mut inline = town();
    permit(&mut inline, Vec::new());
    inline.rules[0].to.prefixes = Some(list.into());
    let of = |policy: &Policy| {
        let mut sets = Sets::new();
        let nets = super::nets::table(policy, &[1, 2], &mut sets).unwrap();
        table(policy, &[1, 2], &nets, &mut sets).unwrap()
    };
    assert_eq!(of(&shared), of(&inline));
}
