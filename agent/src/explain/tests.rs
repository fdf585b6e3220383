#![expect(clippy::unwrap_used, reason = "tests")]

use sekimori_ebpf::reason::Reason;

use super::{
    ExplainError, Explanation,
    frame::{Link, build},
    judge::way_in,
    nearest::Condition,
    outcome::{Failure, run_policy_tests},
    port::{Enters, enters},
};
use crate::{
    compile::{
        compile,
        host::HostTables,
        registry::Registry,
        schedule::{Clock, windows},
        testing::{device, external, hours, ip, nets, party, policy, publish, rule, zone},
    },
    dataplane::CutTables,
    policy::model::{DeviceMode, L4Spec, Mac, PacketSpec, Place, Policy, PolicyTest, Port, Published, Service},
};

const PC: [u8; 6] = [2, 0, 0, 0, 0x10, 0x17];
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0x99, 0x01];
const OFFICE: usize = 0;
const DMZ: usize = 1;
const INTERNET: usize = 2;
const NOW: u64 = 1 << 50;

/// An office of registered terminals, a published web server on a VLAN, the Internet behind one router.
fn town_hall() -> Policy {
    let mut policy = policy();
    policy.box_addresses = vec![ip("192.168.10.1"), ip("203.0.113.2"), ip("2001:db8:10::1")];
    policy.nets = vec![
        zone("office", DeviceMode::Registered, "lan0", &["192.168.10.0/24", "2001:db8:10::/64"]),
        zone("dmz", DeviceMode::Any, "lan0", &["192.168.20.0/24"]),
        external("internet", "wan0", &["203.0.113.0/24"]),
    ];
    policy.nets[DMZ].ports[0].outer = 20;
    policy.nets[INTERNET].is_default = true;
    policy.nets[INTERNET].routers = vec![Mac(ROUTER)];
    policy.devices = vec![
        device("pc-017", OFFICE, PC, &["192.168.10.17", "2001:db8:10::17"]),
        device("pc-018", OFFICE, [2, 0, 0, 0, 0x10, 0x18], &["192.168.10.18"]),
    ];
    policy.hours = vec![hours("weekdays", &[0, 1, 2, 3, 4].map(|day| (day, 510, 1035)), false)];
    let (office, internet) = (party(&[Place::Net(OFFICE)]), party(&[Place::Net(INTERNET)]));
    let web = [Service::Tcp(443, 443), Service::Icmp(8, None), Service::Icmpv6(128, None)];
    let mut cloud = internet.clone();
    cloud.prefixes = Some(nets(&["198.51.100.0/24"]).into());
    let mut timed = rule("cloud-backup", office.clone(), cloud, &[Service::Udp(4500, 4500)]);
    timed.hours = Some(0);
    let mut admin = rule("admin-ssh", office.clone(), party(&[Place::Box]), &[Service::Tcp(22, 22)]);
    admin.from.devices = Some(vec![0]);
    let server = Published { public: ip("203.0.113.10"), net: DMZ, address: ip("192.168.20.10"), port: Some(8443) };
    policy.rules = vec![
        rule("office-web", office, internet.clone(), &web),
        timed,
        admin,
        rule("box-dns", party(&[Place::Box]), internet.clone(), &[Service::Udp(53, 53)]),
        publish("city-web", internet, "203.0.113.10", &[Service::Tcp(443, 443)], server),
    ];
    policy
}

fn host(policy: &Policy) -> HostTables {
    let tables = compile(policy, &mut Registry::default()).unwrap();
    // A Sunday.
    let clock = Clock { wall: "2026-11-22T03:00:00Z".parse().unwrap(), boottime_ns: NOW };
    let schedules = windows(&tables.schedules, policy, clock);
    let mut host = HostTables::new(4);
    host.switch(tables, schedules);
    host
}

fn spec(src: &str, dst: &str, l4: L4Spec) -> PacketSpec {
    PacketSpec { src: ip(src), dst: ip(dst), l4 }
}

fn tcp(src: &str, dst: &str, dport: u16) -> PacketSpec {
    spec(src, dst, L4Spec::Tcp { sport: 40_000, dport })
}

fn udp(src: &str, dst: &str, dport: u16) -> PacketSpec {
    spec(src, dst, L4Spec::Udp { sport: 40_000, dport })
}

fn ask(host: &mut HostTables, at: &str, spec: &PacketSpec, mac: Option<[u8; 6]>) -> Explanation {
    let at = enters(host.compiled().unwrap(), at).unwrap();
    super::explain(host, &at, spec, mac.map(Mac), NOW).unwrap()
}

fn missed(explanation: &Explanation) -> (&str, &[Condition]) {
    let nearest = explanation.nearest.as_ref().unwrap();
    (&nearest.rule, &nearest.failed)
}

#[test]
fn a_permitted_packet_names_its_rule_and_its_ways() {
    let mut host = host(&town_hall());
    for _ in 0..2 {
        // Twice: the first must not leave a conversation behind.
        let said = ask(&mut host, "lan0", &tcp("192.168.10.17", "198.51.100.5", 443), None);
        assert_eq!((said.reason, said.rule.as_deref()), (Reason::Rule, Some("office-web")));
        assert_eq!((said.enters.as_deref(), said.leaves.as_deref()), (Some("office"), Some("internet")));
        assert_eq!((said.device.as_deref(), said.mac.as_str()), (Some("pc-017"), "02:00:00:00:10:17"));
        assert_eq!(said.nearest, None);
    }
    assert!(host.views().is_empty());
    let json = serde_json::to_value(ask(&mut host, "lan0", &tcp("192.168.10.17", "198.51.100.5", 443), None)).unwrap();
    assert_eq!((&json["verdict"], &json["reason"], &json["out"]), (&"pass".into(), &"rule".into(), &"internet".into()));
}

#[test]
fn both_families_and_every_kind_of_packet() {
    let mut host = host(&town_hall());
    let echo = |kind| L4Spec::Icmp { kind, code: 0 };
    let v4 = spec("192.168.10.17", "198.51.100.5", echo(8));
    let v6 = spec("2001:db8:10::17", "2001:db8:ff::1", echo(128));
    assert_eq!(ask(&mut host, "lan0", &v4, None).rule.as_deref(), Some("office-web"));
    assert_eq!(ask(&mut host, "lan0", &v6, None).rule.as_deref(), Some("office-web"));
    let solicitation = spec("2001:db8:10::17", "fe80::1", echo(135));
    assert_eq!(ask(&mut host, "lan0", &solicitation, None).reason, Reason::Builtin);
    let tunnel = spec("192.168.10.17", "198.51.100.5", L4Spec::Protocol(47));
    assert_eq!(missed(&ask(&mut host, "lan0", &tunnel, None)), ("office-web", &[Condition::Service][..]));
}

#[test]
fn identity_comes_before_the_rules() {
    let mut host = host(&town_hall());
    let web = tcp("192.168.10.17", "198.51.100.5", 443);
    for (at, spec, mac, reason) in [
        ("lan0", &web, Some([2, 0, 0, 0, 0x10, 0x18]), Reason::MacMismatch),
        ("lan0", &tcp("192.168.10.99", "198.51.100.5", 443), None, Reason::UnknownDevice),
        ("lan0.20", &web, None, Reason::SpoofedSource),
        ("wan0", &tcp("203.0.113.2", "203.0.113.10", 443), None, Reason::OwnAddress),
        ("wan0", &tcp("198.51.100.5", "203.0.113.10", 443), Some(PC), Reason::UnknownRouter),
    ] {
        let said = ask(&mut host, at, spec, mac);
        assert_eq!((said.reason, said.rule, said.nearest), (reason, None, None), "{spec:?}");
    }
}

#[test]
fn the_nearest_miss_says_what_was_missing() {
    let mut host = host(&town_hall());
    let said = ask(&mut host, "lan0", &tcp("192.168.10.17", "198.51.100.5", 25), None);
    assert_eq!((said.reason, missed(&said)), (Reason::NoRule, ("office-web", &[Condition::Service][..])));
    // Hours are the nearest, and the closed rule is named twice: as what decided and as what was near.
    let said = ask(&mut host, "lan0", &udp("192.168.10.17", "198.51.100.5", 4500), None);
    assert_eq!((said.reason, said.rule.as_deref()), (Reason::RuleClosed, Some("cloud-backup")));
    assert_eq!(missed(&said), ("cloud-backup", &[Condition::Hours][..]));
    let said = ask(&mut host, "lan0", &udp("192.168.10.17", "198.51.101.5", 4500), None);
    assert_eq!((said.reason, missed(&said).0), (Reason::NoRule, "office-web"));
    let said = ask(&mut host, "lan0", &tcp("192.168.10.18", "192.168.10.1", 22), None);
    assert_eq!((said.reason, missed(&said)), (Reason::NoRule, ("admin-ssh", &[Condition::Device][..])));
    let said = ask(&mut host, "wan0", &tcp("198.51.100.5", "203.0.113.11", 443), None);
    assert_eq!(missed(&said), ("city-web", &[Condition::Destination][..]));
    let said = ask(&mut host, "lan0.20", &tcp("192.168.20.10", "198.51.100.5", 443), None);
    assert_eq!(missed(&said), ("office-web", &[Condition::From][..]));
}

#[test]
fn among_equals_the_first_in_the_document_is_nearest() {
    let mut policy = town_hall();
    let mut twin = policy.rules[0].clone();
    twin.id = "twin".into();
    policy.rules.push(twin);
    let said = ask(&mut host(&policy), "lan0", &tcp("192.168.10.17", "198.51.100.5", 25), None);
    assert_eq!(missed(&said).0, "office-web");
}

#[test]
fn a_conversation_in_the_tables_decides_nothing() {
    let mut host = host(&town_hall());
    let web = tcp("192.168.10.17", "198.51.100.5", 443);
    let link = Link { src: PC, dst: ROUTER, outer: 0, inner: 0 };
    let ifindex = host.ifindex("lan0").unwrap();
    assert_eq!(way_in(&host, &build(&link, &web).unwrap(), ifindex, NOW).reason, Reason::Rule);
    assert_eq!(way_in(&host, &build(&link, &web).unwrap(), ifindex, NOW).reason, Reason::Flow);
    assert_eq!(ask(&mut host, "lan0", &web, None).reason, Reason::Rule);
}

#[test]
fn a_published_server_leaves_by_its_zone() {
    let mut host = host(&town_hall());
    let said = ask(&mut host, "wan0", &tcp("198.51.100.5", "203.0.113.10", 443), None);
    assert_eq!((said.rule.as_deref(), said.leaves.as_deref()), (Some("city-web"), Some("dmz")));
    assert_eq!(said.mac, "02:00:00:00:99:01");
}

#[test]
fn the_box_is_judged_where_its_destination_lives() {
    let mut host = host(&town_hall());
    let said = ask(&mut host, "box", &udp("203.0.113.2", "198.51.100.53", 53), None);
    assert_eq!((said.reason, said.rule.as_deref()), (Reason::Rule, Some("box-dns")));
    assert_eq!((said.enters.as_deref(), said.leaves.as_deref()), (Some("box"), Some("internet")));
    let said = ask(&mut host, "box", &tcp("203.0.113.2", "198.51.100.53", 53), None);
    assert_eq!((said.reason, missed(&said)), (Reason::NoRule, ("box-dns", &[Condition::Service][..])));
    let said = ask(&mut host, "lan0", &tcp("192.168.10.17", "192.168.10.1", 22), None);
    assert_eq!((said.rule.as_deref(), said.leaves.as_deref()), (Some("admin-ssh"), Some("box")));
}

#[test]
fn cut_offs_are_judged_too() {
    let mut host = host(&town_hall());
    let web = tcp("192.168.10.17", "198.51.100.5", 443);
    for (nets, prefixes, macs, reason) in [
        (vec![1u16], vec![], vec![], Reason::CutNetwork),
        (vec![], nets(&["198.51.100.0/24"]), vec![], Reason::CutHost),
        (vec![], vec![], vec![PC], Reason::CutHost),
        (vec![2], nets(&["::/0"]), vec![ROUTER], Reason::Rule),
    ] {
        let cut = CutTables { nets, prefixes, macs, ..CutTables::default() };
        host.set_cut(&cut);
        assert_eq!(ask(&mut host, "lan0", &web, None).reason, reason, "{cut:?}");
    }
    host.set_cut(&CutTables { all: 1, ..CutTables::default() });
    assert_eq!(ask(&mut host, "lan0", &web, None).reason, Reason::CutAll);
}

#[test]
fn what_cannot_be_asked_says_why() {
    let mut policy = town_hall();
    policy.nets[OFFICE].ports[0].outer = 10;
    let mut host = host(&policy);
    let tables = host.compiled().unwrap();
    let port = |outer| Enters::Port(Port { interface: "lan0".into(), outer, inner: 0 });
    assert_eq!(enters(tables, "lan0.10").unwrap(), port(10));
    let known = "lan0.10, lan0.20".to_owned();
    assert_eq!(enters(tables, "lan0"), Err(ExplainError::Ambiguous { name: "lan0".into(), known }));
    let known = "lan0.10, lan0.20, wan0".to_owned();
    for wrong in ["eth9", "lan0.30", "lan0.x", "lan", "wan0.1", ""] {
        let expected = ExplainError::Interface { name: wrong.into(), known: known.clone() };
        assert_eq!(enters(tables, wrong), Err(expected));
    }
    let mixed = tcp("192.168.10.17", "2001:db8::1", 443);
    let error = super::explain(&mut host, &port(10), &mixed, None, NOW).unwrap_err();
    assert!(matches!(error, ExplainError::Families { .. }));
    let own = tcp("203.0.113.2", "192.168.10.1", 22);
    let error = super::explain(&mut host, &Enters::Box, &own, None, NOW).unwrap_err();
    assert_eq!(error, ExplainError::Loopback { dst: ip("192.168.10.1") });
    let error = super::explain(&mut HostTables::new(1), &port(10), &own, None, NOW).unwrap_err();
    assert_eq!(error, ExplainError::NoPolicy);
}

#[test]
fn a_policys_own_tests() {
    let mut policy = town_hall();
    let test = |enters: Place, packet: PacketSpec, pass: bool| PolicyTest {
        name: "t".into(),
        enters,
        packet,
        mac: None,
        at: None,
        quarantined: false,
        pass,
        rule: None,
        reason: None,
        at_source: ("policy.yaml".into(), 7, 3),
    };
    let office = Place::Net(OFFICE);
    let backup = udp("192.168.10.17", "198.51.100.5", 4500);
    let at = |time: &str| Some(time.parse().unwrap());
    let expect = |test: PolicyTest, rule: &str, reason: &str| PolicyTest {
        rule: Some(rule.into()),
        reason: Some(reason.into()),
        ..test
    };
    policy.tests = vec![
        expect(test(office, tcp("192.168.10.17", "198.51.100.5", 443), true), "office-web", "rule"),
        PolicyTest { at: at("2026-11-23T09:00:00Z"), ..test(office, backup.clone(), true) },
        PolicyTest { at: at("2026-11-23T18:00:00Z"), ..test(office, backup.clone(), false) },
        test(office, backup.clone(), true),
        expect(test(office, tcp("192.168.10.17", "198.51.100.5", 25), true), "office-web", "rule"),
        test(Place::Box, udp("203.0.113.2", "198.51.100.53", 53), true),
        test(Place::Box, udp("203.0.113.2", "192.168.10.1", 53), true),
        PolicyTest { mac: Some(Mac(ROUTER)), ..test(office, tcp("192.168.10.17", "198.51.100.5", 443), false) },
    ];
    let outcomes = run_policy_tests(&policy, "2026-11-22T03:00:00Z".parse().unwrap()).unwrap();
    let ok: Vec<bool> = outcomes.iter().map(|outcome| outcome.ok()).collect();
    assert_eq!(ok, [true, true, true, false, false, true, false, true]);
    assert_eq!(outcomes[3].failures, [Failure::Verdict { expected: "pass", found: "drop" }]);
    assert_eq!(
        outcomes[4].failures,
        [
            Failure::Verdict { expected: "pass", found: "drop" },
            Failure::Rule { expected: "office-web".into(), found: None },
            Failure::Reason { expected: "rule".into(), found: "no_rule" },
        ]
    );
    assert!(matches!(outcomes[6].failures[..], [Failure::NotRun { .. }]));
    assert_eq!(outcomes[6].at, ("policy.yaml".into(), 7, 3));
}

#[test]
fn the_example_policies_keep_their_own_promises() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    // Between the examples' hours and end dates: a Tuesday morning in Tokyo.
    let now = "2026-11-24T01:00:00Z".parse().unwrap();
    let mut ran = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let loaded = crate::policy::load(&path);
        let policy = loaded.policy.unwrap_or_else(|| unreachable!("{path:?}: {:?}", loaded.diagnostics));
        for outcome in run_policy_tests(&policy, now).unwrap() {
            assert!(outcome.ok(), "{path:?}: {outcome:#?}");
            ran += 1;
        }
    }
    assert!(ran > 50, "{ran} tests are too few to be all of them");
}
