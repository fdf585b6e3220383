//! A gateway that is a bridge: the same judgement between two ports of one segment, tags included.
//!
//! ```text
//!   inside 10.1.0.10 ── p0 ┌────────────┐ p1 ── outside 10.1.0.200
//!                          │ br0 10.1.0.1 │
//!                          └────────────┘
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    counted::Counted,
    frame::Frame,
    gate::{MARKER, POISON, SOON, is_marker},
    link::{self, plug},
    netns::Ns,
    packet::{Packet, arp, ethernet, flag},
    policy::Policies,
    raw::RawPort,
    service::{Server, tcp_exchange, udp_exchange},
    townhall::MacAddr,
};

const INSIDE: (MacAddr, Ipv4Addr) = ([2, 0, 0, 1, 0, 0x10], Ipv4Addr::new(10, 1, 0, 10));
const OUTSIDE: (MacAddr, Ipv4Addr) = ([2, 0, 0, 1, 0, 0x20], Ipv4Addr::new(10, 1, 0, 200));
const INSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10);
const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0x8000, 0, 0, 0x20);
const BROADCAST: MacAddr = [0xff; 6];

/// Zones and networks of the two ports: untagged, 802.1Q tag 10, and QinQ 100.20. Prefixes differ per tag, so that a
/// frame judged by another tag's zone is seen to be.
const POLICY: &str = r#"version: 1
organisation: test
box: {addresses: [10.1.0.1]}
zones:
  inside:
    {interfaces: [p0], prefixes: [10.1.0.0/25, "2001:db8:1::/65"], devices: registered}
  tagged: {interfaces: [p0], vlans: [10], prefixes: [10.10.0.0/25], devices: any}
  stacked: {interfaces: [p0], vlans: ["100.20"], prefixes: [10.20.0.0/25], devices: any}
  lonely: {interfaces: [p0], vlans: [30], prefixes: [10.30.0.0/25], devices: any}
networks:
  outside:
    interfaces: [p1]
    prefixes: [10.1.0.128/25, "2001:db8:1:0:8000::/65"]
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
  outside-stacked:
    interfaces: [p1]
    vlans: ["100.20"]
    prefixes: [10.20.0.128/25]
    line: test
    owner: test
    survey: {date: 2026-10-01, surveyor: t, topology: t, devices: t, security: t, impact: t}
devices:
  pc:
    {zone: inside, mac: "02:00:00:01:00:10", addresses: [10.1.0.10, "2001:db8:1::10"], owner: test}
rules:
  - {id: web, from: inside, to: outside, services: [https, udp/443, ping], purpose: test, owner: test}
  - {id: tagged, from: tagged, to: outside-tagged, services: [udp/443], purpose: test, owner: test}
  - {id: across, from: [tagged, lonely], to: outside, services: [udp/443], purpose: test, owner: test}
  - {id: stacked, from: stacked, to: outside-stacked, services: [udp/443], purpose: test, owner: test}
"#;

/// Fields end in this order: the agent before what it guards.
struct Bridge {
    agent: Agent,
    _policies: Policies,
    inside: Ns,
    outside: Ns,
    _gateway: Ns,
}

impl Bridge {
    fn up(filtered: bool) -> Result<Self> {
        let (gateway, inside, outside) = (Ns::new("bridge")?, Ns::new("inside")?, Ns::new("outside")?);
        // The bridge itself has no IPv6 to announce.
        gateway.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        link::veth(plug(&gateway, "p0"), plug(&inside, "eth0").mac(INSIDE.0))?;
        link::veth(plug(&gateway, "p1"), plug(&outside, "eth0").mac(OUTSIDE.0))?;
        link::bridge(&gateway, "br0", &["p0", "p1"])?;
        link::address(&gateway, "br0", Ipv4Addr::new(10, 1, 0, 1), 24)?;
        for (ns, v4, v6) in [(&inside, INSIDE.1, INSIDE_V6), (&outside, OUTSIDE.1, OUTSIDE_V6)] {
            link::address(ns, "eth0", v4, 24)?;
            link::address(ns, "eth0", v6, 64)?;
        }
        for family in ["iptables", "ip6tables", "arptables"] {
            gateway.sysctl(&format!("net/bridge/bridge-nf-call-{family}"), if filtered { "1" } else { "0" })?;
        }
        let policies = Policies::new()?;
        let agent = Agent::start(&gateway, &Config::new(policies.text("bridge", POLICY)?))?;
        Ok(Self { agent, _policies: policies, inside, outside, _gateway: gateway })
    }

    fn ports(&self) -> Result<(RawPort, RawPort)> {
        Ok((RawPort::open(&self.inside, "eth0")?, RawPort::open(&self.outside, "eth0")?))
    }

    fn drops<T>(&self, expected: &[(&str, u64)], work: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = Counted::read(&self.agent)?;
        let result = work()?;
        let counted = Counted::read(&self.agent)?.since(&before);
        let mut drops = counted.drops();
        drops.retain(|name, _| !name.ends_with(" multicast"));
        let wanted = expected.iter().map(|(name, packets)| ((*name).to_owned(), *packets)).collect();
        ensure!(drops == wanted, "drops counted: {drops:?}\nexpected: {wanted:?}\nall: {counted:?}");
        Ok(result)
    }

    /// Frames from inside that must not come out at the other port.
    fn refuses(&self, frames: &[Frame], expected: &[(&str, u64)]) -> Result<()> {
        let (from, to) = self.ports()?;
        self.drops(expected, || {
            for frame in frames {
                from.send(frame)?;
            }
            let unwanted = |frame: &Frame| frame.contains(POISON);
            to.expect_none("the frame", SOON, unwanted, || from.send(&query(443, MARKER).frame()), is_marker)
        })
    }

    fn admits(&self, frame: &Frame) -> Result<Frame> {
        let (from, to) = self.ports()?;
        self.drops(&[], || {
            from.send(frame)?;
            to.expect("the frame", SOON, |frame| frame.contains(POISON))
        })
    }
}

fn query(port: u16, data: &[u8]) -> Packet {
    Packet::udp((INSIDE.0, OUTSIDE.0), (INSIDE.1, 4000), (OUTSIDE.1, port), data)
}

fn conversations(filtered: bool) -> Result<()> {
    let bridge = Bridge::up(filtered)?;
    let _web = Server::tcp_echo(&bridge.outside, 443)?;
    let _quic = Server::udp_echo(&bridge.outside, OUTSIDE.1, 443)?;
    // Including the ARP and neighbour discovery that come first.
    bridge.drops(&[], || {
        tcp_exchange(&bridge.inside, None, (OUTSIDE.1, 443), b"page?", SOON)?;
        tcp_exchange(&bridge.inside, None, (OUTSIDE_V6, 443), b"page?", SOON)?;
        udp_exchange(&bridge.inside, None, (OUTSIDE.1, 443), b"page?", SOON)
    })?;
    assert_eq!(Counted::read(&bridge.agent)?.flows["web"], 3);

    bridge.refuses(&[query(53, POISON).frame()], &[("inside in no_rule", 1)])?;
    let ssh = Packet::tcp((INSIDE.0, OUTSIDE.0), (INSIDE.1, 4000), (OUTSIDE.1, 22), (flag::ACK, 1, 1), POISON);
    bridge.refuses(&[ssh.frame()], &[("inside in tcp_not_syn", 1)])?;
    // From the other port, to the host and to the box; proved by a conversation that runs after it.
    let (inside, outside) = bridge.ports()?;
    for to in [INSIDE.1, Ipv4Addr::new(10, 1, 0, 1)] {
        let ask = Packet::udp((OUTSIDE.0, INSIDE.0), (OUTSIDE.1, 443), (to, 4999), POISON).frame();
        bridge.drops(&[("outside in no_rule", 1)], || {
            outside.send(&ask)?;
            udp_exchange(&bridge.inside, None, (OUTSIDE.1, 443), b"after it", SOON)?;
            ensure!(!inside.drain()?.iter().any(|frame| frame.contains(POISON)), "{ask:?} arrived");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_bridge_passes_what_is_permitted_and_drops_the_rest() -> Result<()> {
    conversations(false)
}

#[test]
fn the_same_with_bridged_packets_shown_to_the_hosts_filter() -> Result<()> {
    conversations(true)
}

#[test]
fn bridged_arp_and_neighbours_stay_within_the_bindings() -> Result<()> {
    let bridge = Bridge::up(false)?;
    let (inside, outside) = bridge.ports()?;
    let stranger = [2, 0, 0, 1, 0, 0x66];
    // Padded to show itself at the other end.
    let padded = |mut frame: Frame| {
        frame.0.extend(POISON);
        frame
    };
    let tell = |mac, address| padded(arp((mac, BROADCAST), 2, (mac, address), (OUTSIDE.0, OUTSIDE.1)));
    for (what, frame, counter) in [
        ("a stranger as the terminal", tell(stranger, INSIDE.1), "inside in mac_mismatch"),
        ("a stranger", tell(stranger, Ipv4Addr::new(10, 1, 0, 66)), "inside in unknown_device"),
        ("the terminal as the other side", tell(INSIDE.0, OUTSIDE.1), "inside in spoofed_source"),
        ("the terminal as the box", tell(INSIDE.0, Ipv4Addr::new(10, 1, 0, 1)), "inside in own_address"),
    ] {
        bridge.refuses(&[frame], &[(counter, 1)]).context(what)?;
    }
    bridge.admits(&tell(INSIDE.0, INSIDE.1))?;
    // The other side may not speak for the terminal either.
    bridge.drops(&[("outside in spoofed_source", 1)], || {
        outside.send(&padded(arp((OUTSIDE.0, BROADCAST), 2, (OUTSIDE.0, INSIDE.1), (INSIDE.0, INSIDE.1))))?;
        let honest = arp((OUTSIDE.0, INSIDE.0), 2, (OUTSIDE.0, OUTSIDE.1), (INSIDE.0, INSIDE.1));
        let unwanted = |frame: &Frame| frame.contains(POISON);
        let is_honest = |frame: &Frame| frame.0.get(12..14) == Some(&[8, 6][..]) && frame.from_mac() == OUTSIDE.0;
        inside.expect_none("the claim", SOON, unwanted, || outside.send(&honest), is_honest)
    })?;
    // An unsolicited advertisement for the terminal, and the terminal's own.
    let advertise = |mac: MacAddr| {
        let mut rest = INSIDE_V6.octets().to_vec();
        rest.extend([2, 1]);
        rest.extend(mac);
        // An option nobody knows carries the text.
        rest.extend([200, 3, 0, 0, 0, 0, 0, 0]);
        rest.extend(POISON);
        Packet::icmp((mac, OUTSIDE.0), INSIDE_V6, OUTSIDE_V6, (136, 0), 0x2000_0000, &rest).ttl(255).frame()
    };
    bridge.refuses(&[advertise(stranger)], &[("inside in mac_mismatch", 1)])?;
    bridge.admits(&advertise(INSIDE.0))?;
    Ok(())
}

#[test]
fn what_is_neither_ip_nor_named_does_not_cross_a_bridge() -> Result<()> {
    let bridge = Bridge::up(false)?;
    let frame = |to, kind| ethernet((INSIDE.0, to), &[], kind, &POISON.repeat(3));
    let stp = [1, 0x80, 0xc2, 0, 0, 0];
    for (what, frame, counter) in [
        ("an unknown EtherType", frame(OUTSIDE.0, 0x88b5), "inside in unknown_ethertype"),
        ("PPPoE discovery", frame(BROADCAST, 0x8863), "inside in unknown_ethertype"),
        ("IPX over 802.3", frame(OUTSIDE.0, 48), "inside in unknown_ethertype"),
        ("STP", frame(stp, 48), "inside in l2_control"),
        ("LLDP", frame([1, 0x80, 0xc2, 0, 0, 0xe], 0x88cc), "inside in l2_control"),
    ] {
        bridge.refuses(&[frame], &[(counter, 1)]).context(what)?;
    }
    Ok(())
}

/// ```text
///  | dst | src | 8100 10 | 0800 | …                       zone tagged
///  | dst | src | 88a8 100 | 8100 20 | 0800 | …            zone stacked
///  | dst | src | 8100 1 | 8100 2 | 8100 3 | 0800 | …      too deep
/// ```
#[test]
fn tagged_frames_are_judged_by_their_own_zone() -> Result<()> {
    let bridge = Bridge::up(false)?;
    let udp = |net: u8, port| {
        let (src, dst) = (Ipv4Addr::new(10, net, 0, 10), Ipv4Addr::new(10, net, 0, 200));
        Packet::udp((INSIDE.0, OUTSIDE.0), (src, 4000), (dst, port), POISON)
    };
    let (q, ad) = (0x8100, 0x88a8);
    // What passes comes out with the tags it had.
    for frame in [
        udp(1, 443).frame(),
        udp(10, 443).tag(q, 10).frame(),
        udp(20, 443).tag(ad, 100).tag(q, 20).frame(),
        // Priority 5 in the tag is no other VLAN.
        udp(10, 443).tag(q, 0xa00a).frame(),
    ] {
        assert_eq!(bridge.admits(&frame)?, frame);
    }
    for (what, packet, counter) in [
        ("another port", udp(10, 53).tag(q, 10), "tagged in no_rule"),
        ("another port, two tags", udp(20, 53).tag(ad, 100).tag(q, 20), "stacked in no_rule"),
        // A tag does not lend an address of another zone, nor the other way round.
        ("an untagged zone's address", udp(1, 443).tag(q, 10), "tagged in spoofed_source"),
        ("a tagged zone's address without the tag", udp(10, 443), "inside in spoofed_source"),
        ("one tag's address under two", udp(10, 443).tag(ad, 100).tag(q, 20), "stacked in spoofed_source"),
        // VLAN hopping: the inner tag counts for nothing under an outer one that is not its own.
        ("an unknown tag", udp(10, 443).tag(q, 11), "none in unknown_vlan"),
        ("the known tag inside another", udp(10, 443).tag(q, 11).tag(q, 10), "none in unknown_vlan"),
        ("the known tag outside another", udp(10, 443).tag(q, 10).tag(q, 11), "none in unknown_vlan"),
        ("the outer of two alone", udp(20, 443).tag(ad, 100), "none in unknown_vlan"),
        ("three", udp(10, 443).tag(q, 10).tag(q, 10).tag(q, 10), "none in vlan_too_deep"),
        ("four", udp(10, 443).tag(ad, 1).tag(q, 2).tag(q, 3).tag(q, 4), "none in vlan_too_deep"),
    ] {
        bridge.refuses(&[packet.frame()], &[(counter, 1)]).context(what)?;
    }
    let cut = Frame(udp(10, 443).tag(q, 10).frame().0.into_iter().take(14).collect());
    bridge.refuses(&[cut], &[("none in truncated", 1)]).context("a tag cut short")
}

/// A bridge that filters no VLANs carries the tag across: a frame permitted to the untagged network would come out in
/// the tagged one, or in one that nobody named.
#[test]
fn a_tag_does_not_lead_into_another_network_than_the_judged_one() -> Result<()> {
    let bridge = Bridge::up(false)?;
    for (net, vlan, counter) in [(10, 10, "outside-tagged out wrong_way"), (30, 30, "none out unknown_vlan")] {
        let src = Ipv4Addr::new(10, net, 0, 10);
        let ask = Packet::udp((INSIDE.0, OUTSIDE.0), (src, 4000), (OUTSIDE.1, 443), POISON);
        bridge.refuses(&[ask.tag(0x8100, vlan).frame()], &[(counter, 1)])?;
    }
    Ok(())
}

#[test]
fn a_reply_under_another_tag_is_no_reply() -> Result<()> {
    let bridge = Bridge::up(false)?;
    let (inside, outside) = bridge.ports()?;
    let ends = (Ipv4Addr::new(10, 10, 0, 10), Ipv4Addr::new(10, 10, 0, 200));
    let ask = Packet::udp((INSIDE.0, OUTSIDE.0), (ends.0, 4000), (ends.1, 443), b"a question");
    inside.send(&ask.tag(0x8100, 10).frame())?;
    outside.expect("the question", SOON, |frame| frame.contains(b"a question"))?;
    let answer = |data| Packet::udp((OUTSIDE.0, INSIDE.0), (ends.1, 443), (ends.0, 4000), data);
    for (what, packet, counter) in [
        ("without its tag", answer(POISON), "outside in spoofed_source"),
        ("under two tags", answer(POISON).tag(0x88a8, 100).tag(0x8100, 20), "outside-stacked in spoofed_source"),
        ("under another tag", answer(POISON).tag(0x8100, 12), "none in unknown_vlan"),
    ] {
        bridge
            .drops(&[(counter, 1)], || {
                outside.send(&packet.frame())?;
                let right = || outside.send(&answer(MARKER).tag(0x8100, 10).frame());
                inside.expect_none("the answer", SOON, |frame| frame.contains(POISON), right, is_marker)
            })
            .context(what)?;
    }
    Ok(())
}
