//! Below IP: bridges and tags.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use super::shared::{HOME, forwarded_as};
use anyhow::{Context as _, Result, ensure};
use sekimori::dataplane::maps::Maps;
use sekimori_ebpf::abi::{IFACE_VLAN, IfaceEntry, ROLE_INITIATOR, ROLE_RESPONDER, View, ViewKey4};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    fast::{self, Scene, Talk, deliver},
    gate::SOON,
    link::{self, plug},
    netns::Ns,
    offload,
    packet::Packet,
    policy::{Policies, TOWN, rule},
    raw::RawPort,
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{INTERNET_ROUTER, MacAddr, PC_017},
};

/// Two ports of a bridge, both guarded; a third one that nobody has yet.
#[test]
fn a_bridged_pair_crosses_by_port_and_a_host_that_moves_is_found() -> Result<()> {
    const INSIDE: MacAddr = [2, 0, 0, 1, 0, 0x10];
    const OUTSIDE: MacAddr = [2, 0, 0, 1, 0, 0x20];
    let (gateway, inside, outside, moved) =
        (Ns::new("bridge")?, Ns::new("inside")?, Ns::new("outside")?, Ns::new("moved")?);
    gateway.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
    for (port, ns, mac) in [("p0", &inside, INSIDE), ("p1", &outside, OUTSIDE), ("p2", &moved, OUTSIDE)] {
        ns.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        link::veth(plug(&gateway, port), plug(ns, HOST_INTERFACE).mac(mac))?;
        offload::gro(ns, HOST_INTERFACE, true)?;
    }
    link::bridge(&gateway, "br0", &["p0", "p1", "p2"])?;
    for family in ["iptables", "ip6tables", "arptables"] {
        gateway.sysctl(&format!("net/bridge/bridge-nf-call-{family}"), "0")?;
    }
    // What XDP sends on, nobody sees here.
    let taps = [RawPort::open(&gateway, "p0")?, RawPort::open(&gateway, "p1")?];
    let policies = Policies::new()?;
    let agent = Agent::start(&gateway, &Config::new(policies.text("bridge", BRIDGE)?))?;
    for interface in ["p0", "p1", "p2"] {
        fast::usable(&agent, interface)?;
    }
    let ports = [RawPort::open(&inside, HOST_INTERFACE)?, RawPort::open(&outside, HOST_INTERFACE)?];
    let third = RawPort::open(&moved, HOST_INTERFACE)?;
    let mut number = 0;
    let mut packet = |back: bool, tag: Option<u16>| {
        number += 1;
        let net = if tag.is_some() { 10 } else { 1 };
        let ends = ((Ipv4Addr::new(10, net, 0, 10), 4000), (Ipv4Addr::new(10, net, 0, 200), 443));
        let text = format!("number {number:024}");
        let packet = if back {
            Packet::udp((OUTSIDE, INSIDE), ends.1, ends.0, text.as_bytes())
        } else {
            Packet::udp((INSIDE, OUTSIDE), ends.0, ends.1, text.as_bytes())
        };
        match tag {
            // Priority 5 stays what it was.
            Some(vlan) => packet.tag(0x8100, 0xa000 | vlan),
            None => packet,
        }
    };
    for tag in [None, Some(10)] {
        tool::until("both ways past the bridge", SOON, || {
            let mut all = true;
            for back in [false, true] {
                let (from, to) = if back { (&ports[1], &ports[0]) } else { (&ports[0], &ports[1]) };
                let packet = packet(back, tag);
                let seen = deliver((from, to), &packet)?;
                ensure!(seen.0 == packet.frame().0, "{seen:?} is not {packet:?}");
                all &= !taps[usize::from(back)].drain()?.iter().any(|frame| frame.contains(&packet.body));
            }
            Ok(all.then_some(()))
        })?;
    }
    // It moves, and says so; at most a second later it is found.
    third.send(&packet(true, None).frame())?;
    let moved_at = Instant::now();
    tool::until("the host at its new port", Duration::from_millis(2500), || {
        let packet = packet(false, None);
        ports[0].send(&packet.frame())?;
        let deadline = Instant::now() + Duration::from_millis(50);
        while let Some(frame) = third.next(deadline)? {
            if frame.contains(&packet.body) {
                return Ok(Some(()));
            }
        }
        Ok(None)
    })?;
    ensure!(moved_at.elapsed() < Duration::from_secs(3));
    Ok(())
}

const BRIDGE: &str = r#"version: 1
organisation: test
box: {addresses: [10.1.0.1]}
zones:
  inside: {interfaces: [p0], prefixes: [10.1.0.0/25], devices: any}
  tagged: {interfaces: [p0], vlans: [10], prefixes: [10.10.0.0/25], devices: any}
networks:
  outside:
    interfaces: [p1, p2]
    prefixes: [10.1.0.128/25]
    line: test
    owner: test
    survey: {date: 2026-10-01, surveyor: t, topology: t, devices: t, security: t, impact: t}
  outside-tagged:
    interfaces: [p1]
    vlans: [10]
    prefixes: [10.10.0.128/25]
    line: test
    owner: test
    survey: {date: 2026-10-01, surveyor: t, topology: t, devices: t, security: t, impact: t}
rules:
  - {id: web, from: inside, to: outside, services: [udp/443], purpose: test, owner: test}
  - {id: tagged, from: tagged, to: outside-tagged, services: [udp/443], purpose: test, owner: test}
"#;

/// A veth stands for a VLAN device where the kernel has none: the routes lead to it, the tables say what it is, and the
/// conversation is told that it left with the tag.
#[test]
fn tags_are_pushed_exchanged_and_popped() -> Result<()> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    let behind = Ns::new("behind")?;
    let (ours, theirs) = ([2, 0, 0, 0, 0x98, 1], [2, 0, 0, 0, 0x98, 2]);
    let gateway = |line: &str| {
        let mut words = line.split(' ');
        let mut command = town.gateway.command(words.next().context("no command")?);
        tool::must(command.args(words), SOON).map(drop)
    };
    for (name, mac, net) in [("v10", ours, 98), ("v20", [2, 0, 0, 0, 0x97, 1], 97)] {
        link::veth(plug(&town.gateway, name).mac(mac), plug(&behind, name))?;
        link::address(&town.gateway, name, Ipv4Addr::new(10, net, 0, 1), 24)?;
        gateway(&format!("ip neigh replace 10.{net}.0.2 lladdr 02:00:00:00:98:02 dev {name} nud permanent"))?;
    }
    let tagged = "  tagged:\n    {interfaces: [wan0], vlans: [10], prefixes: [10.98.0.0/16], line: t, owner: t,\n     \
        survey: {date: 2026-10-01, surveyor: t, topology: t, devices: t, security: t, impact: t}}\n  lgwan:\n";
    let rules = rule("web", "office", "internet", "udp/443");
    let policy = format!("{TOWN}{rules}").replacen("  lgwan:\n", tagged, 1);
    let (wan, lan) = (link::index(&town.gateway, "wan0")?, link::index(&town.gateway, "lan0")?);
    let (v10, v20) = (link::index(&town.gateway, "v10")?, link::index(&town.gateway, "v20")?);
    let hosts = [&PC_017, &INTERNET_ROUTER];
    let scene = Scene::with(town, &hosts, true, &policy)?.quiet(&hosts)?;
    let (a, b) = scene.lane(&PC_017, &INTERNET_ROUTER)?;
    let mut talk = Talk::udp(false, 4000);
    scene.speeds_up(&mut talk, (&a, &b))?;
    let mut maps = Maps::pinned(&scene.agent.pins_path().join("maps"))?;
    for (index, lower, tag) in [(v10, wan, 10), (v20, lan, 20)] {
        maps.ifaces.insert(index, IfaceEntry { flags: IFACE_VLAN, lower, tag, ..IfaceEntry::default() }, 0)?;
    }
    let views: Vec<_> = maps.flows4.iter().collect::<Result<_, _>>()?;
    let of = |role| views.iter().find(|(_, view)| view.role == role).copied().context("no such view");
    let ((out_key, out), (home_key, home)) = (of(ROLE_INITIATOR)?, of(ROLE_RESPONDER)?);

    let kernel = scene.forwarded()?;
    // Pushed: the kernel routes by the device, the frame leaves by the port below it.
    scene.gateway("ip route replace 198.51.100.5 via 10.98.0.2")?;
    maps.flows4.insert(out_key, View { out_tag: 10, ..out }, 0)?;
    let ask = talk.ask();
    let wanted = forwarded_as(&ask.clone().tag(0x8100, 10), (ours, theirs));
    assert_eq!(deliver((&a, &b), &ask)?.0, wanted.0);
    // Popped: it comes in with the tag and goes home without.
    let tagged_key = ViewKey4 { outer: 10, ..home_key };
    maps.flows4.insert(tagged_key, home, 0)?;
    let answer = talk.answer();
    assert_eq!(deliver((&b, &a), &answer.clone().tag(0x8100, 0xa00a))?.0, forwarded_as(&answer, HOME).0);
    // Exchanged, of the smallest frame a wire has.
    scene.gateway("ip route replace 192.168.10.17 via 10.97.0.2")?;
    maps.flows4.insert(tagged_key, View { out_tag: 20, ..home }, 0)?;
    let answer = talk.answer();
    let wanted = forwarded_as(&answer.clone().tag(0x8100, 20), ([2, 0, 0, 0, 0x97, 1], theirs));
    assert_eq!(deliver((&b, &a), &answer.tag(0x8100, 10))?.0, wanted.0);
    assert_eq!(scene.forwarded()?, kernel, "all of it past the kernel");
    // The tag learnt is not the one of the device the kernel means now: the kernel's turn, which has no such device here.
    maps.flows4.insert(tagged_key, View { out_tag: 30, ..home }, 0)?;
    let astray = talk.answer().tag(0x8100, 10);
    b.send(&astray.frame())?;
    maps.flows4.insert(tagged_key, View { out_tag: 20, ..home }, 0)?;
    let good = talk.answer().tag(0x8100, 10);
    let marker = || b.send(&good.frame());
    a.expect_none("it", SOON, |frame| frame.contains(&astray.body), marker, |frame| frame.contains(&good.body))
}
