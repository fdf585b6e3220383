//! What runs in a network namespace of the test's own against the lint, and devices that no test kernel need have.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{path::Path, process::Command};

use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::policy::{lint, load};

const POLICY: &str = "\
version: 1
organisation: test
timezone: Asia/Tokyo
box:
  addresses: [192.168.1.1, 203.0.113.2]
zones:
  office:
    interfaces: [lan0]
    prefixes: [192.168.1.0/24, 192.168.7.0/24]
    devices: any
networks:
  internet:
    interfaces: [wan0]
    prefixes: default
    line: l
    owner: o
    survey: {date: 2026-10-01, surveyor: s, topology: t, devices: d, security: s, impact: i}
rules:
  - {id: web, from: office, to: internet, services: [https], purpose: p, owner: o}
";

fn run(command: &str) {
    let mut words = command.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{command}");
}

/// Runs in a new network namespace, which ends with its thread.
fn in_namespace(test: fn()) {
    let done = thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("not run: a network namespace needs root ({error})");
            return;
        }
        test();
    });
    assert!(done.join().is_ok());
}

/// Warnings that come from the live system, as `W005 12:3 …`; `None`: the policy's interfaces are not here.
fn told(folder: &Path) -> Option<Vec<String>> {
    let file = folder.join("policy.yaml");
    std::fs::write(&file, POLICY).unwrap();
    let loaded = load(&file);
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    let policy = loaded.policy.unwrap();
    let system = around(&policy).unwrap()?;
    let day = "2026-12-01T10:00:00+09:00".parse().unwrap();
    let found = lint(&policy, &loaded.spans, day, Some(&system));
    let live = found.iter().filter(|one| ["W005", "W014", "W019"].contains(&one.code));
    Some(live.map(|one| format!("{} {}", one.code, one.message.en)).collect())
}

fn match_the_policy() {
    for command in [
        "ip link set lo up",
        "ip link add lan0 type veth peer name lanp",
        "ip link add wan0 type veth peer name wanp",
        "ip addr add 192.168.1.1/24 dev lan0",
        "ip addr add 203.0.113.2/29 dev wan0",
        "ip link set lanp up",
        "ip link set lan0 up",
        "ip link set wanp up",
        "ip link set wan0 up",
        "ip route add 192.168.7.0/24 via 192.168.1.9",
        "ip route add default via 203.0.113.1",
    ] {
        run(command);
    }
}

#[test]
fn a_namespace_without_the_interfaces_says_nothing() {
    in_namespace(|| {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(told(folder.path()), None);
    });
}

#[test]
fn a_system_as_the_policy_says_gets_no_warning() {
    in_namespace(|| {
        match_the_policy();
        // A way out that waits for the better one to fail contradicts nothing.
        run("ip route add default via 192.168.1.9 metric 500");
        // Nor does another table.
        run("ip route add 192.168.1.0/24 dev wan0 table 77");
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(told(folder.path()), Some(Vec::new()));
    });
}

#[test]
fn routes_and_addresses_that_contradict_are_told() {
    in_namespace(|| {
        match_the_policy();
        let folder = tempfile::tempdir().unwrap();
        let one = |code: &str, part: &str| {
            let told = told(folder.path()).unwrap();
            assert!(told.len() == 1 && told[0].starts_with(code) && told[0].contains(part), "{told:?}");
        };
        run("ip route change 192.168.7.0/24 dev wan0");
        one("W005", "192.168.7.0/24 dev wan0");
        run("ip route del 192.168.7.0/24");
        run("ip route add unreachable 192.168.7.0/24");
        one("W005", "192.168.7.0/24");
        run("ip route del unreachable 192.168.7.0/24");
        run("ip route add 192.168.7.0/24 nexthop via 192.168.1.9 nexthop via 203.0.113.3");
        one("W005", "192.168.7.0/24 dev wan0");
        run("ip route replace 192.168.7.0/24 via 192.168.1.9");
        run("ip -6 addr add 2001:db8::1/64 dev lan0 nodad");
        one("W019", "2001:db8::1");
        run("ip -6 addr del 2001:db8::1/64 dev lan0");
        run("ip addr add 203.0.113.4/29 dev wan0");
        run("ip addr del 203.0.113.2/29 dev wan0");
        run("ip route replace default dev wan0");
        let told = told(folder.path()).unwrap();
        assert!(told.iter().any(|one| one.starts_with("W014") && one.contains("203.0.113.2")), "{told:?}");
    });
}

#[test]
fn a_live_bridge_carries_its_ports() {
    in_namespace(|| {
        match_the_policy();
        for command in [
            "ip link add br0 type bridge",
            "ip addr flush dev lan0",
            "ip link set lan0 master br0",
            "ip addr add 192.168.1.1/24 dev br0",
            "ip link set br0 up",
            "ip route add 192.168.7.0/24 via 192.168.1.9",
        ] {
            run(command);
        }
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(told(folder.path()), Some(Vec::new()));
        run("ip link set lan0 nomaster");
        assert!(told(folder.path()).unwrap().iter().any(|one| one.contains("192.168.1.0/24 dev br0")));
    });
}

fn port(interface: &str, outer: u16, inner: u16) -> Port {
    Port { interface: interface.into(), outer, inner }
}

#[test]
fn stacked_devices_come_down_to_ports_with_their_tags() {
    let device = |name: &str| Device { name: name.into(), ..Device::default() };
    let vlan = |name: &str, of, id| Device { vlan_of: Some(of), vlan_id: Some(id), ..device(name) };
    let devices = BTreeMap::from([
        (1, Device { port_of: Some(3), ..device("p1") }),
        (2, Device { port_of: Some(3), ..device("p2") }),
        (3, Device { bridge: true, ..device("br0") }),
        (4, vlan("br0.10", 3, 10)),
        (5, vlan("q", 6, 20)),
        (6, vlan("s", 1, 100)),
        (7, vlan("deep", 5, 30)),
        (8, Device { bridge: true, ..device("empty") }),
        (9, vlan("own", 1, 40)),
        (10, vlan("loop", 11, 1)),
        (11, Device { bridge: true, ..device("round") }),
    ]);
    let mut devices = devices;
    devices.insert(10, Device { port_of: Some(11), ..devices[&10].clone() });
    let found: BTreeMap<String, Vec<Port>> =
        carriers(&devices, &BTreeSet::from(["p1", "p2", "own"])).into_iter().collect();
    assert_eq!(found["br0"], [port("p1", 0, 0), port("p2", 0, 0)]);
    assert_eq!(found["br0.10"], [port("p1", 10, 0), port("p2", 10, 0)]);
    assert_eq!(found["s"], [port("p1", 100, 0)]);
    assert_eq!(found["q"], [port("p1", 100, 20)]);
    assert_eq!(found["deep"], []);
    assert_eq!(found["empty"], []);
    assert_eq!(found["round"], []);
    assert!(!found.contains_key("own"), "what the policy names is a port of its own");
    // A bridge that the policy names itself is where the frames are seen.
    let found: BTreeMap<String, Vec<Port>> = carriers(&devices, &BTreeSet::from(["br0"])).into_iter().collect();
    assert_eq!(found["br0.10"], [port("br0", 10, 0)]);
}
