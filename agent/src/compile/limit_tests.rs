#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::IpAddr;

use ipnet::IpNet;
use sekimori_ebpf::abi::{MAX_BINDINGS, MAX_MACS, MAX_PORTS};

use super::{
    compile,
    error::{CompileError, Crowd, Table},
    registry::Registry,
    testing::{Random, device, external, ip, nets, party, policy, rule, zone},
};
use crate::policy::addresses::Addresses;
use crate::policy::model::{DeviceMode, Mac, Place, Policy, Port, Service};

#[test]
fn limits_name_the_culprit() {
    let mut base = policy();
    base.nets = vec![external("internet", "wan0", &[])];
    let to = |prefixes: Vec<IpNet>| {
        let mut to = party(&[Place::Net(0)]);
        to.prefixes = Some(prefixes.into());
        to
    };
    let one = |id: String, prefixes: Vec<IpNet>| rule(&id, party(&[Place::Box]), to(prefixes), &[Service::Tcp(1, 1)]);

    let mut policy = base.clone();
    policy.rules = vec![one("lists".into(), nets(&["10.0.0.0/8", "::ffff:192.0.2.0/120"]))];
    let error = compile(&policy, &mut Registry::default()).unwrap_err();
    assert_eq!(error.to_string().split(':').next(), Some("rule `lists`"), "{error}");

    // Every address is in the lists of a different pair of rules.
    let mut policy = base.clone();
    let mut lists: Vec<Vec<IpNet>> = vec![Vec::new(); 256];
    for high in 0..128u32 {
        for low in 0..128u32 {
            let prefix = IpNet::from(IpAddr::from((high << 16 | low << 8 | 1).to_be_bytes()));
            lists[high as usize].push(prefix);
            lists[128 + low as usize].push(prefix);
        }
    }
    policy.rules = lists.into_iter().enumerate().map(|(index, list)| one(format!("r{index}"), list)).collect();
    let error = compile(&policy, &mut Registry::default()).unwrap_err();
    let CompileError::Overlaps { crowd: Crowd::Sets, prefix, most } = &error else { unreachable!("{error}") };
    assert!(most.contains("rule `r") && prefix.ends_with("/32"), "{error}");
    assert!(error.ja().contains(most) && error.ja().contains("16384"), "{}", error.ja());

    let mut policy = base;
    let permit = |index: i64| {
        let mut rule = one(format!("r{index}"), Vec::new());
        rule.until = Some(jiff::Timestamp::from_second(index).unwrap());
        rule
    };
    policy.rules = (0..4096).map(permit).collect();
    let error = compile(&policy, &mut Registry::default()).unwrap_err();
    assert_eq!(error, CompileError::Schedules { at: "rule `r4095`".into() });
}

#[test]
fn small_tables_have_limits_too() {
    let mut base = policy();
    base.nets = vec![zone("office", DeviceMode::Any, "lan0", &[]), external("internet", "wan0", &[])];
    let refused = |policy: &Policy| compile(policy, &mut Registry::default()).unwrap_err();
    let mac = |index: usize| Mac([2, 0, 0, 0, (index >> 8) as u8, index as u8]);

    let mut policy = base.clone();
    policy.nets[1].routers = (0..MAX_MACS as usize).map(mac).collect();
    policy.devices = vec![device("pc", 0, [2, 1, 0, 0, 0, 0], &[])];
    let at = "zone or network `internet`".to_owned();
    assert_eq!(refused(&policy), CompileError::Entries { table: Table::Macs, count: MAX_MACS as usize + 1, at });
    policy.devices.clear();
    assert!(compile(&policy, &mut Registry::default()).is_ok());

    let mut policy = base.clone();
    policy.devices = vec![device("a", 0, [2, 1, 0, 0, 0, 0], &[]), device("b", 0, [2, 1, 0, 0, 0, 1], &[])];
    policy.devices[0].addresses = (0..MAX_BINDINGS).map(|index| IpAddr::from(index.to_be_bytes())).collect();
    policy.devices[1].addresses = vec![ip("2001:db8::1")];
    let expected = |at: &str| CompileError::Entries { table: Table::Bindings, count: 65_537, at: at.into() };
    assert_eq!(refused(&policy), expected("device `b`"));

    let mut policy = base;
    let ports = (0..=MAX_PORTS as u16).map(|tag| Port { interface: "lan0".into(), outer: tag / 64, inner: tag % 64 });
    policy.nets[0].ports = ports.collect();
    let error = refused(&policy);
    assert!(error.to_string().contains("4098 pairs") && error.to_string().contains("`office`"), "{error}");
    assert!(error.ja().contains("4096"), "{}", error.ja());
}

#[test]
fn a_million_prefixes_in_seconds() {
    let mut policy = policy();
    policy.nets = vec![external("internet", "wan0", &[])];
    policy.nets[0].is_default = true;
    let mut random = Random::new(1);
    // Nested on purpose: lengths 17 to 32 of random addresses, and a chain of 128 in IPv6.
    let mut list: Vec<IpNet> = (0..1_000_000)
        .map(|_| {
            let addr = IpAddr::from((random.next() as u32).to_be_bytes());
            IpNet::new(addr, 17 + random.below(16) as u8).unwrap().trunc()
        })
        .collect();
    list.extend((1..=128).map(|len| IpNet::new(ip("2001:db8::1"), len).unwrap().trunc()));
    let services = [Service::Tcp(443, 443)];
    for index in 0..4 {
        let mut to = party(&[Place::Net(0)]);
        let half: Addresses = list.iter().skip(index).step_by(2).copied().collect();
        to.prefixes = Some(half);
        policy.rules.push(rule(&format!("r{index}"), party(&[Place::Box]), to, &services));
    }
    let start = std::time::Instant::now();
    let tables = compile(&policy, &mut Registry::default()).unwrap();
    let took = start.elapsed();
    println!("{} entries, {} sets, {took:?}", tables.addrs.len(), tables.sets.len());
    assert!(tables.addrs.len() > 100_000);
    assert!(took.as_secs() < 60, "{took:?}");
}
