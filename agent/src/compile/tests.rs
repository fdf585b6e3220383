#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::IpAddr;

use sekimori_ebpf::{
    abi::{
        ADDR_BROADCAST, ADDR_LISTED, ADDR_OPENS, AddrEntry, DEVICE_HAS_ADDRESSES, MAC_ROUTER, MAX_RULES, NET_BOX,
        NET_FLAG_LIVE, NET_FLAG_REGISTERED, NET_FLAG_ROUTERS, NET_FLAG_ZONE, RULE_LOG, RULE_PUBLISHED, RULE_TO_BOX,
        SERVICE_SLOTS, SERVICE_WORDS, proto, service_index,
    },
    decide::rules::{Answer, Cursor, Question, judge},
    reason::Reason,
    tables::Tables,
};

use super::{
    compile,
    error::CompileError,
    host::HostTables,
    prefixes::address,
    registry::Registry,
    schedule::{Clock, windows},
    services,
    sets::contains,
    testing::{
        Random, device, external, ip, nets, party, policy, publish, random_address, random_policy, random_service,
        rule, zone,
    },
};
use crate::policy::addresses::Addresses;
use crate::policy::model::{DeviceMode, Mac, Place, Policy, Published, Service};

const CLOCK: Clock = Clock { wall: jiff::Timestamp::UNIX_EPOCH, boottime_ns: 1_000_000_000 };

fn host(policy: &Policy) -> HostTables {
    let tables = compile(policy, &mut Registry::default()).unwrap();
    let schedules = windows(&tables.schedules, policy, CLOCK);
    let mut host = HostTables::new(16);
    host.switch(tables, schedules);
    host
}

fn entry(host: &HostTables, addr: &str) -> AddrEntry {
    // SAFETY: every address has an entry, and `host` is not touched meanwhile.
    unsafe { *host.addr(host.active(), &address(ip(addr))) }
}

/// Rules of a set, as the table holds them.
fn rules_of(host: &HostTables, set: u16) -> Vec<usize> {
    let set = &host.compiled().unwrap().sets[usize::from(set)];
    for (word, bits) in set.words.iter().enumerate() {
        assert_eq!(*bits != 0, set.summary >> word & 1 == 1);
    }
    (0..MAX_RULES).filter(|&rule| contains(set, rule)).collect()
}

fn owner(policy: &Policy, addr: IpAddr) -> Option<Place> {
    if policy.box_addresses.contains(&addr) {
        return Some(Place::Box);
    }
    let mut best: Option<(u8, usize)> = None;
    for (index, net) in policy.nets.iter().enumerate() {
        for prefix in &net.prefixes {
            if prefix.contains(&addr) && best.is_none_or(|(len, _)| prefix.prefix_len() >= len) {
                best = Some((prefix.prefix_len(), index));
            }
        }
    }
    let index = best.map(|(_, index)| index).or_else(|| policy.nets.iter().position(|net| net.is_default));
    index.map(Place::Net)
}

fn holds(prefixes: &Option<Addresses>, addr: IpAddr) -> bool {
    prefixes.as_ref().is_none_or(|list| list.iter().any(|prefix| prefix.contains(&addr)))
}

/// The rules that match, straight from the policy's words.
fn naive(policy: &Policy, from: Place, src: IpAddr, device: Option<usize>, dst: IpAddr, index: u32) -> Vec<usize> {
    let to = owner(policy, dst);
    let matches = |rule: &&(usize, &crate::policy::model::Rule)| {
        let rule = rule.1;
        rule.from.place.contains(&from)
            && holds(&rule.from.prefixes, src)
            && rule.from.devices.as_ref().is_none_or(|list| device.is_some_and(|device| list.contains(&device)))
            && match &rule.published {
                Some(published) => published.public == dst,
                None => to.is_some_and(|to| rule.to.place.contains(&to)) && holds(&rule.to.prefixes, dst),
            }
            && rule.services.iter().any(|service| {
                let (first, last) = services::range(service);
                (first..=last).contains(&index)
            })
    };
    policy.rules.iter().enumerate().collect::<Vec<_>>().iter().filter(matches).map(|(index, _)| *index).collect()
}

#[test]
fn the_six_sets_say_what_the_rules_say() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let policy = random_policy(&mut random);
        let host = host(&policy);
        let tables = host.compiled().unwrap();
        for _ in 0..100 {
            let net = random.below(policy.nets.len() as u64 + 1) as usize;
            let (place, from) = match tables.net_names.get(net) {
                Some((_, id)) => (Place::Net(net), *id),
                None => (Place::Box, NET_BOX),
            };
            let device = (!policy.devices.is_empty() && random.chance(50))
                .then(|| random.below(policy.devices.len() as u64) as usize);
            let number = device.map_or(0, |device| {
                tables.device_names.iter().position(|name| *name == policy.devices[device].name).unwrap()
            });
            let (src, dst) = (random_address(&mut random), random_address(&mut random));
            let (first, last) = services::range(&random_service(&mut random));
            let index = first + random.below(u64::from(last - first) + 1) as u32;
            let (proto, port) = match index {
                0..65_536 => (proto::TCP, index as u16),
                65_536..131_072 => (proto::UDP, index as u16),
                131_072..196_608 => (proto::ICMP, index as u16),
                196_608..262_144 => (proto::ICMPV6, index as u16),
                _ => ((index - 262_144) as u8, 0),
            };
            let question = Question {
                now: CLOCK.boottime_ns,
                src: address(src),
                dst: address(dst),
                generation: host.active(),
                device: number as u32,
                from,
                port,
                proto,
                quarantined: 0,
                pad: [0; 2],
            };
            let mut answer = Answer::default();
            judge(&host, &question, &mut answer, &mut Cursor::default());
            let matching = naive(&policy, place, src, device, dst, index);
            // Who does not live where the packet enters never gets as far as the rules.
            let at_home = owner(&policy, src) == Some(place);
            if !matching.is_empty() {
                assert!(!at_home || listed(&host, src), "seed {seed}: {src} is not listed\n{policy:#?}");
                assert!(listed(&host, dst), "seed {seed}: {dst} is not listed\n{policy:#?}");
            }
            let open = matching.iter().copied().find(|&rule| policy.rules[rule].hours.is_none());
            let expected = match (open, matching.first()) {
                (Some(rule), _) => (Reason::Rule, rule),
                (None, Some(&rule)) => (Reason::RuleClosed, rule),
                (None, None) => (Reason::NoRule, 0),
            };
            let found = (Reason::from_number(answer.reason).unwrap(), usize::from(answer.rule));
            assert_eq!(found, expected, "seed {seed}: {place:?} {src} {device:?} > {dst} {proto}/{port}\n{policy:#?}");
        }
    }
}

#[test]
fn every_address_lives_where_its_longest_prefix_says() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let policy = random_policy(&mut random);
        let host = host(&policy);
        let names = &host.compiled().unwrap().net_names;
        for _ in 0..40 {
            let addr = random_address(&mut random);
            let expected = match owner(&policy, addr) {
                None => 0,
                Some(Place::Box) => NET_BOX,
                Some(Place::Net(index)) => names[index].1,
            };
            assert_eq!(entry(&host, &addr.to_string()).owner, expected, "seed {seed} {addr}");
        }
    }
}

fn listed(host: &HostTables, addr: IpAddr) -> bool {
    entry(host, &addr.to_string()).flags & ADDR_LISTED != 0
}

/// Without the flag no rule can match a packet from or to an address, and with it one can, whatever the device, the
/// port and the time: as far as owner and address decide.
#[test]
fn an_address_is_listed_if_a_rule_could_permit_it() {
    let (mut with, mut without) = (0, 0);
    for seed in 0..1_000 {
        let mut random = Random::new(seed);
        let policy = random_policy(&mut random);
        let host = host(&policy);
        for _ in 0..40 {
            let addr = random_address(&mut random);
            let owner = owner(&policy, addr);
            let lives = |places: &[Place]| owner.is_some_and(|owner| places.contains(&owner));
            let opens = policy.rules.iter().any(|rule| lives(&rule.from.place) && holds(&rule.from.prefixes, addr));
            let expected = opens
                || owner == Some(Place::Box)
                || policy.rules.iter().any(|rule| match &rule.published {
                    Some(server) => server.public == addr || server.address == addr,
                    None => lives(&rule.to.place) && holds(&rule.to.prefixes, addr),
                });
            let flags = entry(&host, &addr.to_string()).flags;
            assert_eq!(flags & ADDR_OPENS != 0, opens, "seed {seed}: {addr}\n{policy:#?}");
            assert_eq!(listed(&host, addr), expected, "seed {seed}: {addr}\n{policy:#?}");
            if expected { with += 1 } else { without += 1 }
        }
    }
    assert!(with > 1_000 && without > 1_000, "{with} {without}");
}

#[test]
fn all_of_ipv6_is_nothing_of_ipv4() {
    let mut policy = policy();
    policy.nets = vec![external("v6", "wan0", &["::/0"]), external("v4", "wan1", &["0.0.0.0/0"])];
    let mut to = party(&[Place::Net(0), Place::Net(1)]);
    to.prefixes = Some(nets(&["::/0"]).into());
    policy.rules = vec![rule("r", party(&[Place::Box]), to, &[Service::Tcp(80, 80)])];
    let host = host(&policy);
    assert_eq!(entry(&host, "192.0.2.1").owner, 2);
    assert_eq!(rules_of(&host, entry(&host, "192.0.2.1").dst_set), Vec::<usize>::new());
    assert_eq!(entry(&host, "2001:db8::1").owner, 1);
    assert_eq!(rules_of(&host, entry(&host, "2001:db8::1").dst_set), [0]);
}

#[test]
fn nobodys_addresses_have_entries_too() {
    let mut policy = policy();
    policy.nets = vec![zone("office", DeviceMode::Any, "lan0", &["10.0.0.0/24"])];
    let server = Published { public: ip("203.0.113.10"), net: 0, address: ip("10.0.0.10"), port: Some(8443) };
    let from = party(&[Place::Net(0)]);
    policy.rules = vec![publish("web", from, "203.0.113.10", &[Service::Tcp(443, 443)], server)];
    let host = host(&policy);
    assert_eq!(entry(&host, "192.0.2.1").owner, 0);
    assert_eq!(entry(&host, "2001:db8::1").owner, 0);
    let tables = host.compiled().unwrap();
    for net in [0, 1, NET_BOX] {
        assert_eq!(rules_of(&host, tables.nets[usize::from(net)].to_set), [0]);
    }
    assert_eq!(rules_of(&host, tables.nets[0].from_set), Vec::<usize>::new());
    assert_eq!(rules_of(&host, entry(&host, "203.0.113.10").dst_set), [0]);
    assert_eq!(rules_of(&host, entry(&host, "203.0.113.11").dst_set), Vec::<usize>::new());
    let entry = tables.rules[0];
    assert_eq!((entry.flags, entry.real_net, entry.real_port), (RULE_PUBLISHED, 1, 8443));
    assert_eq!(entry.real_addr, address(ip("10.0.0.10")));
}

#[test]
fn directed_broadcast_of_ipv4_prefixes_shorter_than_31() {
    let mut policy = policy();
    policy.nets = vec![
        zone("office", DeviceMode::Any, "lan0", &["10.0.0.0/24", "10.0.1.0/31", "10.0.2.7/32", "2001:db8::/64"]),
        external("internet", "wan0", &["0.0.0.0/0"]),
    ];
    let host = host(&policy);
    let flags = |addr| entry(&host, addr).flags;
    assert_eq!(flags("10.0.0.255"), ADDR_BROADCAST);
    assert_eq!(entry(&host, "10.0.0.255").owner, 1);
    for addr in ["10.0.0.254", "10.0.0.0", "10.0.1.1", "10.0.2.7", "2001:db8::ffff:ffff:ffff:ffff", "255.255.255.254"] {
        assert_eq!(flags(addr), 0, "{addr}");
    }
}

#[test]
fn a_prefix_that_adds_nothing_is_no_entry() {
    let mut policy = policy();
    policy.nets = vec![external("internet", "wan0", &[])];
    policy.nets[0].is_default = true;
    let mut to = party(&[Place::Net(0)]);
    to.prefixes = Some(nets(&["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "10.0.0.0/8"]).into());
    policy.rules = vec![rule("r", party(&[Place::Box]), to, &[Service::Tcp(80, 80)])];
    assert_eq!(host(&policy).compiled().unwrap().addrs.len(), 3);
}

#[test]
fn terminals_and_routers() {
    let mut policy = policy();
    let (mac, router) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    policy.nets = vec![zone("office", DeviceMode::Registered, "lan0", &["10.0.0.0/24"])];
    policy.nets[0].routers = vec![Mac(router), Mac(mac)];
    policy.devices =
        vec![device("dhcp", 0, [2, 0, 0, 0, 0, 3], &[]), device("pc", 0, mac, &["10.0.0.5", "2001:db8::5"])];
    policy.devices[1].until = Some(jiff::Timestamp::MAX);
    let mut from = party(&[Place::Net(0)]);
    from.devices = Some(vec![1, 1]);
    let any = rule("any", party(&[Place::Net(0)]), party(&[Place::Box]), &[Service::Tcp(22, 22)]);
    let mut named = rule("named", from, party(&[Place::Box]), &[Service::Tcp(22, 22)]);
    named.log = true;
    policy.rules = vec![any, named];
    let host = host(&policy);
    let tables = host.compiled().unwrap();
    assert_eq!(tables.nets[1].flags, NET_FLAG_LIVE | NET_FLAG_ZONE | NET_FLAG_REGISTERED | NET_FLAG_ROUTERS);
    assert_eq!(tables.device_names, ["", "dhcp", "pc"]);
    assert_eq!(rules_of(&host, tables.devices[0].set), [0]);
    assert_eq!(rules_of(&host, tables.devices[1].set), [0]);
    assert_eq!(rules_of(&host, tables.devices[2].set), [0, 1]);
    assert_eq!((tables.devices[2].flags, tables.devices[1].flags), (DEVICE_HAS_ADDRESSES, 0));
    assert_eq!((tables.devices[2].schedule, tables.devices[1].schedule, tables.devices[2].net), (1, 0, 1));
    assert_eq!(tables.bindings, [(address(ip("10.0.0.5")), 2), (address(ip("2001:db8::5")), 2)]);
    let of = |mac: [u8; 6]| tables.macs.iter().find(|(key, _)| key.mac == mac && key.net == 1).unwrap().1;
    assert_eq!((of(mac).device, of(mac).flags), (2, MAC_ROUTER));
    assert_eq!((of(router).device, of(router).flags), (0, MAC_ROUTER));
    assert_eq!(tables.rules.iter().map(|rule| rule.flags).collect::<Vec<_>>(), [RULE_TO_BOX, RULE_TO_BOX | RULE_LOG]);
}

#[test]
fn the_edges_of_the_service_table() {
    let mut policy = policy();
    policy.nets = vec![external("internet", "wan0", &[])];
    let services = [
        Service::Tcp(1, 65_535),
        Service::Udp(65_535, 65_535),
        Service::Icmp(255, None),
        Service::Icmpv6(255, Some(255)),
        Service::Protocol(255),
    ];
    policy.rules = vec![rule("r", party(&[Place::Box]), party(&[Place::Net(0)]), &services)];
    let host = host(&policy);
    assert_eq!(host.compiled().unwrap().services.len(), SERVICE_WORDS as usize);
    let open: Vec<u32> = (0..SERVICE_SLOTS).filter(|&index| host.service(host.active(), index) != 0).collect();
    let mut expected: Vec<u32> = (1..65_536).collect();
    expected.push(service_index(proto::UDP, 65_535));
    expected.extend((0..256).map(|code| service_index(proto::ICMP, 0xff00 | code)));
    expected.push(service_index(proto::ICMPV6, 0xffff));
    expected.push(service_index(255, 0));
    assert_eq!(open, expected);
}

#[test]
fn numbers_survive_recompiling_and_errors_change_nothing() {
    let mut policy = policy();
    policy.nets = vec![external("a", "if0", &[]), external("b", "if1", &[])];
    let one = |id: &str| rule(id, party(&[Place::Box]), party(&[Place::Net(0)]), &[Service::Tcp(1, 1)]);
    policy.rules = vec![one("x"), one("y")];
    let mut registry = Registry::default();
    let first = compile(&policy, &mut registry).unwrap();
    policy.nets.reverse();
    policy.rules.reverse();
    let second = compile(&policy, &mut registry).unwrap();
    assert_eq!(second.net_names, [("b".to_owned(), 2), ("a".to_owned(), 1)]);
    assert_eq!(second.interfaces, first.interfaces);
    assert_eq!(second.ports, first.ports);
    assert_eq!(first.rules.iter().map(|rule| rule.slot).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(second.rules.iter().map(|rule| rule.slot).collect::<Vec<_>>(), [1, 0]);

    let before = registry.clone();
    policy.rules = (0..=MAX_RULES).map(|index| one(&format!("r{index}"))).collect();
    let error = compile(&policy, &mut registry).unwrap_err();
    assert_eq!(error, CompileError::Rules { count: MAX_RULES + 1, rule: format!("r{MAX_RULES}") });
    assert_eq!(registry, before);
}
