//! Who sent it: a packet counts as a device's only if address and MAC say so on the side where both live.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use sekimori_tests::harness::{
    frame::Frame,
    gate::{DNS_RULE, Gate, Lane, POISON, SOON},
    packet::{Packet, arp, ethernet, inwards},
    townhall::{
        ADMIN_PC, ASP_V4, ATTACKER_V4, ATTACKER_V6, DNS_V4, DNS_V6, INTERNET, INTERNET_ROUTER, LGWAN_ROUTER, MacAddr,
        OFFICE, PC_017, STRANGER, WEB,
    },
};

/// The expired device is the harness's stranger, registered until long ago.
const EXPIRED: &str = r#"
devices:
  leased:
    zone: office
    mac: "02:00:00:00:10:66"
    addresses: [192.168.10.66, "2001:db8:10::66"]
    owner: test
    until: 2026-01-31
"#;
const BROADCAST: MacAddr = [0xff; 6];
/// Ethernet for ff02::1.
const ALL_NODES: MacAddr = [0x33, 0x33, 0, 0, 0, 1];

fn gate(more: &str) -> Result<Gate> {
    Gate::up(&[&PC_017, &INTERNET_ROUTER], &format!("rules:{DNS_RULE}{more}"))
}

/// A query the rule permits, were it not for who sends it.
fn query(mac: MacAddr, src: impl Into<IpAddr>) -> Frame {
    let src = src.into();
    let server: IpAddr = if src.is_ipv4() { DNS_V4.into() } else { DNS_V6.into() };
    Packet::udp((mac, OFFICE.mac), (src, 4000), (server, 53), POISON).frame()
}

#[test]
fn inside_only_the_registered_address_with_the_registered_mac_passes() -> Result<()> {
    let gate = gate("")?;
    let lane = gate.way_out()?;
    for (mac, v4, v6, reason) in [
        // Somebody takes the terminal's address; the terminal takes a free one, or a colleague's.
        (STRANGER.mac, PC_017.v4, PC_017.v6, "mac_mismatch"),
        (PC_017.mac, STRANGER.v4, STRANGER.v6, "mac_mismatch"),
        (PC_017.mac, ADMIN_PC.v4, ADMIN_PC.v6, "mac_mismatch"),
        (STRANGER.mac, STRANGER.v4, STRANGER.v6, "unknown_device"),
        // A registered device of another zone is a stranger here.
        (WEB.mac, STRANGER.v4, STRANGER.v6, "unknown_device"),
        // The right MAC does not help an address of another side, or of the box.
        (PC_017.mac, WEB.v4, WEB.v6, "spoofed_source"),
        (PC_017.mac, ATTACKER_V4, ATTACKER_V6, "spoofed_source"),
        (PC_017.mac, OFFICE.v4.0, OFFICE.v6.0, "own_address"),
        (PC_017.mac, INTERNET.v4.0, INTERNET.v6.0, "own_address"),
    ] {
        let counter = format!("office in {reason}");
        gate.refuses(&lane, &[query(mac, v4)], &[(&counter, 1)]).with_context(|| format!("{mac:02x?} {v4}"))?;
        gate.refuses(&lane, &[query(mac, v6)], &[(&counter, 1)]).with_context(|| format!("{mac:02x?} {v6}"))?;
    }
    // A source MAC that is a group or nothing at all is nobody's, and read before any zone is known.
    for mac in [[0; 6], [3, 0, 0, 0, 0x10, 0x17], BROADCAST] {
        gate.refuses(&lane, &[query(mac, PC_017.v4)], &[("none in bad_source_mac", 1)])?;
    }
    gate.admits(&lane, &query(PC_017.mac, PC_017.v6), POISON)?;
    gate.admits(&lane, &query(PC_017.mac, PC_017.v4), POISON)?;
    Ok(())
}

#[test]
fn a_device_whose_registration_has_ended_is_let_through_no_more() -> Result<()> {
    let gate = gate(EXPIRED)?;
    let lane = gate.way_out()?;
    for src in [IpAddr::from(STRANGER.v4), STRANGER.v6.into()] {
        gate.refuses(&lane, &[query(STRANGER.mac, src)], &[("office in device_expired", 1)])?;
    }
    Ok(())
}

#[test]
fn from_outside_nothing_speaks_with_an_address_from_inside_or_past_the_router() -> Result<()> {
    let gate = gate("")?;
    let lane = gate.way_in()?;
    let answer = |mac: MacAddr, src: IpAddr| {
        let to: IpAddr = if src.is_ipv4() { PC_017.v4.into() } else { PC_017.v6.into() };
        Packet::udp((mac, INTERNET.mac), (src, 53), (to, 45_353), POISON).frame()
    };
    let router = INTERNET_ROUTER.mac;
    for (mac, src, reason) in [
        (router, IpAddr::from(ADMIN_PC.v4), "spoofed_source"),
        (router, ADMIN_PC.v6.into(), "spoofed_source"),
        (router, ASP_V4.into(), "spoofed_source"),
        (router, LGWAN_ROUTER.v6.into(), "spoofed_source"),
        (router, OFFICE.v4.0.into(), "own_address"),
        (router, OFFICE.v6.0.into(), "own_address"),
        // The very answer that is waited for, but past the registered router.
        ([2, 0, 0, 0, 0x99, 0x77], DNS_V4.into(), "unknown_router"),
        // This one nobody waits for: from there nothing may begin, whoever brings it.
        ([2, 0, 0, 0, 0x99, 0x77], DNS_V6.into(), "no_rule"),
        (PC_017.mac, DNS_V4.into(), "unknown_router"),
    ] {
        gate.refuses(&lane, &[answer(mac, src)], &[(&format!("internet in {reason}"), 1)])
            .with_context(|| format!("{mac:02x?} {src}"))?;
    }
    gate.admits(&lane, &answer(router, DNS_V4.into()), POISON)?;
    Ok(())
}

/// Sends frames the box must neither learn from nor answer, and a marker behind them.
fn ignored(gate: &Gate, lane: &Lane, frame: &Frame, counter: &str, what: &str) -> Result<()> {
    lane.from.drain()?;
    gate.drops(&[(counter, 1)], || {
        lane.from.send(frame)?;
        lane.mark()
    })
    .with_context(|| what.to_owned())?;
    // The real host at this end may be asking on its own account meanwhile.
    let (mac, arp, six) = (frame.from_mac(), frame.0.get(28..32), frame.ips().map(|(src, _)| src));
    let answer = |seen: &Frame| {
        let told = seen.protocol() == Some(58) && seen.0.get(54) == Some(&136) && seen.ips().map(|(_, dst)| dst) == six;
        seen.to_mac() == mac && ((is_arp_reply(seen) && seen.0.get(38..42) == arp) || told)
    };
    let seen = lane.from.drain()?;
    ensure!(!seen.iter().any(answer), "{what} was answered: {seen:?}");
    Ok(())
}

fn is_arp_reply(frame: &Frame) -> bool {
    frame.0.get(12..14) == Some(&[8, 6][..]) && frame.0.get(20..22) == Some(&[0, 2][..])
}

/// ```text
///  ARP  sender MAC  sender IP          target
///       S           192.168.10.17      192.168.10.1     poisons the box's neighbour table
/// ```
#[test]
fn arp_is_believed_only_within_the_bindings() -> Result<()> {
    let gate = gate("")?;
    let lane = gate.way_out()?;
    let gateway = (OFFICE.mac, OFFICE.v4.0);
    let nobody = Ipv4Addr::new(192, 168, 10, 99);
    let ask = |mac: MacAddr, address| arp((mac, BROADCAST), 1, (mac, address), ([0; 6], gateway.1));
    let tell = |mac: MacAddr, address| arp((mac, OFFICE.mac), 2, (mac, address), gateway);
    let operations: [&dyn Fn(MacAddr, Ipv4Addr) -> Frame; 2] = [&ask, &tell];
    for operation in operations {
        for (mac, address, reason) in [
            (STRANGER.mac, PC_017.v4, "mac_mismatch"),
            (PC_017.mac, nobody, "mac_mismatch"),
            (STRANGER.mac, STRANGER.v4, "unknown_device"),
            (PC_017.mac, gateway.1, "own_address"),
            (PC_017.mac, ATTACKER_V4, "spoofed_source"),
            (PC_017.mac, Ipv4Addr::LOCALHOST, "arp"),
        ] {
            let what = format!("ARP of {address} by {mac:02x?}");
            ignored(&gate, &lane, &operation(mac, address), &format!("office in {reason}"), &what)?;
        }
    }
    let borrowed = arp((PC_017.mac, OFFICE.mac), 2, (STRANGER.mac, PC_017.v4), gateway);
    ignored(&gate, &lane, &borrowed, "office in arp", "ARP about a MAC that is not the sender's")?;
    let cut = Frame(ask(PC_017.mac, PC_017.v4).0.into_iter().take(14 + 20).collect());
    ignored(&gate, &lane, &cut, "office in arp", "ARP cut short")?;
    let reverse = arp((PC_017.mac, OFFICE.mac), 3, (PC_017.mac, PC_017.v4), gateway);
    ignored(&gate, &lane, &reverse, "office in arp", "reverse ARP")?;

    // The terminal's own question is answered, and so is the probe of an address nobody has yet.
    gate.drops(&[], || {
        lane.from.send(&ask(PC_017.mac, PC_017.v4))?;
        lane.from.expect("the box's ARP reply", SOON, |frame| frame.from_mac() == OFFICE.mac && is_arp_reply(frame))
    })?;

    // Outside, the router may speak for itself, and for nobody inside or for the box.
    let lane = gate.way_in()?;
    let outside = (INTERNET.mac, INTERNET.v4.0);
    for (mac, address, reason) in [
        (INTERNET_ROUTER.mac, PC_017.v4, "spoofed_source"),
        (INTERNET_ROUTER.mac, outside.1, "own_address"),
        (STRANGER.mac, INTERNET_ROUTER.v4, "unknown_router"),
    ] {
        let frame = arp((mac, INTERNET.mac), 2, (mac, address), outside);
        ignored(&gate, &lane, &frame, &format!("internet in {reason}"), &format!("ARP of {address}"))?;
    }
    Ok(())
}

/// Neighbour discovery with a link-layer option: kind, source, destination, target, hop limit.
fn discovery(macs: (MacAddr, MacAddr), kind: u8, src: Ipv6Addr, dst: Ipv6Addr, target: Ipv6Addr, hops: u8) -> Frame {
    let mut rest = target.octets().to_vec();
    rest.extend([if kind == 136 { 2 } else { 1 }, 1]);
    rest.extend(macs.0);
    let flags = if kind == 136 { 0x6000_0000 } else { 0 };
    Packet::icmp(macs, src, dst, (kind, 0), flags, &rest).ttl(hops).frame()
}

#[test]
fn neighbour_discovery_is_believed_only_within_the_bindings() -> Result<()> {
    let gate = gate("")?;
    let lane = gate.way_out()?;
    let gateway = OFFICE.v6.0;
    let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x17);
    let to_box = |mac| (mac, OFFICE.mac);
    let tell = |mac, src, target| discovery(to_box(mac), 136, src, gateway, target, 255);
    let ask = |mac, src| discovery(to_box(mac), 135, src, gateway, gateway, 255);
    let advertisement = |mac: MacAddr, src| {
        let mut rest = vec![0; 8];
        rest.extend([1, 1]);
        rest.extend(mac);
        Packet::icmp((mac, ALL_NODES), src, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), (134, 0), 0x4000_0708, &rest)
            .ttl(255)
            .frame()
    };
    for (what, frame, reason) in [
        ("a stranger claims the terminal's address", tell(STRANGER.mac, PC_017.v6, PC_017.v6), "mac_mismatch"),
        ("the same from a link-local address", tell(STRANGER.mac, local, PC_017.v6), "mac_mismatch"),
        ("the terminal claims the box's address", tell(PC_017.mac, PC_017.v6, gateway), "own_address"),
        ("an address that lives elsewhere", tell(PC_017.mac, PC_017.v6, ATTACKER_V6), "ndp"),
        ("a stranger asks", ask(STRANGER.mac, STRANGER.v6), "unknown_device"),
        ("a stranger asks as the terminal", ask(STRANGER.mac, PC_017.v6), "mac_mismatch"),
        ("from another network", ask(PC_017.mac, ATTACKER_V6), "ndp"),
        ("from beyond a router", discovery(to_box(PC_017.mac), 135, PC_017.v6, gateway, gateway, 254), "ndp"),
        ("a terminal that plays the router", advertisement(PC_017.mac, local), "ndp"),
    ] {
        ignored(&gate, &lane, &frame, &format!("office in {reason}"), what)?;
    }
    let redirect = Packet::icmp(to_box(PC_017.mac), local, gateway, (137, 0), 0, &[0; 32]).ttl(255).frame();
    ignored(&gate, &lane, &redirect, "office in icmp_type", "a redirect")?;

    gate.drops(&[], || {
        lane.from.send(&ask(PC_017.mac, PC_017.v6))?;
        lane.from.expect("the box's advertisement", SOON, |frame| {
            frame.from_mac() == OFFICE.mac && frame.protocol() == Some(58) && frame.0.get(54) == Some(&136)
        })
    })?;

    // No network of this policy takes its addresses from advertisements, the right router's included.
    let lane = gate.way_in()?;
    let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);
    ignored(&gate, &lane, &advertisement(INTERNET_ROUTER.mac, local), "internet in ndp", "a router advertisement")?;
    let own = discovery(inwards(&INTERNET_ROUTER), 136, INTERNET_ROUTER.v6, INTERNET.v6.0, INTERNET.v6.0, 255);
    ignored(&gate, &lane, &own, "internet in own_address", "the router claims the box's address")?;
    let cut = ethernet(inwards(&INTERNET_ROUTER), &[], 0x86dd, own.0.get(14..60).unwrap_or_default());
    ignored(&gate, &lane, &cut, "internet in ipv6_header", "an advertisement cut short")
}
