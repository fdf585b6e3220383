#![expect(clippy::unwrap_used, reason = "tests")]

use std::{net::IpAddr, sync::Arc, time::Instant};

use ipnet::IpNet;
use sekimori_ebpf::{abi::RuleSet, tables::Tables as _};

use super::{
    compile,
    host::HostTables,
    members::{Layout, Start},
    prefixes::address,
    registry::Registry,
    testing::{Random, external, party, policy, random_address, random_policy, random_prefix, rule, zone},
};
use crate::policy::{
    addresses::{Addresses, Group},
    members::{Members, effective},
    model::{DeviceMode, Place, Policy, Service},
};

/// What is said of an address, sets by content: two tables number them differently.
fn says(host: &HostTables, generation: u32, addr: IpAddr) -> (u16, u16, RuleSet, RuleSet) {
    // SAFETY: every address has an entry, and `host` is not touched meanwhile.
    let entry = unsafe { *host.addr(generation, &address(addr)) };
    let set = |id: u16| host.compiled().unwrap().sets[usize::from(id)];
    (entry.owner, entry.flags, set(entry.src_set), set(entry.dst_set))
}

fn fresh(policy: &Policy) -> (HostTables, Start) {
    let tables = compile(policy, &mut Registry::default()).unwrap();
    let start = Start::of(&tables).unwrap();
    let mut host = HostTables::new(1);
    host.switch(tables, Vec::new());
    (host, start)
}

/// Its first, its last, and those beside.
fn around(prefix: &IpNet) -> Vec<IpAddr> {
    let number = |addr: IpAddr| u128::from_be_bytes(address(addr));
    let (first, last) = (number(prefix.network()), number(prefix.broadcast()));
    let all = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
    all.map(|addr| std::net::Ipv6Addr::from(addr).to_canonical()).to_vec()
}

#[test]
fn changed_tables_say_what_new_ones_would() {
    let mut random = Random::new(6);
    let (mut changes, mut anew) = (0, 0);
    for _ in 0..50 {
        let policy = Arc::new(random_policy(&mut random));
        if policy.groups.is_empty() {
            continue;
        }
        let (mut host, start) = fresh(&policy);
        let mut layout = Layout::new(&policy, start).unwrap();
        let mut members = Members::default();
        let mut asked: Vec<IpAddr> = (0..20).map(|_| random_address(&mut random)).collect();
        for _ in 0..12 {
            let group = random.pick(&policy.groups).clone();
            let batch: Vec<IpNet> = (0..1 + random.below(3)).map(|_| random_prefix(&mut random)).collect();
            asked.extend(batch.iter().flat_map(around));
            if random.chance(50) {
                members.add(&group.name, &batch, None);
            } else {
                members.remove(&group.name, &batch, &group.prefixes);
            }
            let now = effective(&policy, &members.deltas());
            let (wanted, _) = fresh(&now);
            let before: Vec<_> = asked.iter().map(|addr| says(&host, host.active(), *addr)).collect();
            let earlier = host.active();
            match layout.change(&members.deltas(), &batch) {
                Ok(change) => {
                    changes += 1;
                    host.publish(&change);
                    for (addr, before) in asked.iter().zip(before) {
                        assert_eq!(says(&host, earlier, *addr), before, "{addr} changed before its time");
                    }
                }
                Err(_) => {
                    anew += 1;
                    let tables = compile(&now, &mut Registry::default()).unwrap();
                    layout = Layout::new(&policy, Start::of(&tables).unwrap()).unwrap();
                    host.switch(tables, Vec::new());
                }
            }
            for addr in &asked {
                let (found, wanted) = (says(&host, host.active(), *addr), says(&wanted, wanted.active(), *addr));
                assert_eq!(found, wanted, "{addr} after {members:?} in {:?}", policy.groups);
            }
        }
    }
    assert!(changes > 150 && anew > 20, "{changes} changes, {anew} anew");
}

/// The arithmetic alone, in a group of a million.
#[test]
#[ignore = "a measurement: run it in release, alone"]
fn a_change_of_a_million() {
    let mut policy = policy();
    policy.nets = vec![zone("office", DeviceMode::Any, "lan0", &["192.168.0.0/16"]), external("internet", "wan0", &[])];
    policy.nets[1].is_default = true;
    let apart = |number: u32| IpNet::from(IpAddr::from((0x0b00_0001 + number * 4).to_be_bytes()));
    let prefixes = Arc::new((0..1_000_000).map(apart).collect());
    let group = Arc::new(Group { name: "list".to_owned(), prefixes });
    policy.groups = vec![group.clone()];
    let mut to = party(&[Place::Net(1)]);
    to.prefixes = Some(Addresses { groups: vec![group.clone()], ..Addresses::default() });
    policy.rules.push(rule("r", party(&[Place::Net(0)]), to, &[Service::Tcp(443, 443)]));
    let tables = compile(&policy, &mut Registry::default()).unwrap();
    let mut layout = Layout::new(&policy, Start::of(&tables).unwrap()).unwrap();
    let mut members = Members::default();
    let mut took = Vec::new();
    for number in 0..1_000 {
        let started = Instant::now();
        let prefix = apart(number * 997);
        members.remove("list", &[prefix], &group.prefixes);
        layout.change(&members.deltas(), &[prefix]).unwrap();
        took.push(started.elapsed());
    }
    took.sort();
    println!("p50 {:?}, p99 {:?}", took[500], took[990]);
}
