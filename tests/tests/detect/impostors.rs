//! Who is not who they say: forged sources, rogue ARP, router advertisements and DHCP.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};
use sekimori_tests::harness::{
    packet::{Packet, arp},
    raw::RawPort,
    town::HOST_INTERFACE,
    townhall::{ADMIN_PC, CLOUD_V4, OFFICE, PC_017},
};

use super::scene::{open_rules, scene};

/// Rogue ARP, router advertisement and DHCP: one packet each.
#[test]
fn whoever_plays_router_neighbour_or_server_is_seen_at_the_first_packet() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    let port = RawPort::open(scene.town.host(&PC_017)?, HOST_INTERFACE)?;
    port.send(&arp((PC_017.mac, [0xff; 6]), 2, (PC_017.mac, OFFICE.v4.0), ([0xff; 6], OFFICE.v4.0)))?;
    let incident = scene.incident("rogue_arp")?;
    ensure!(incident["device"] == "pc-017", "{incident}");
    let own: Ipv6Addr = "fe80::10:17".parse()?;
    let all: Ipv6Addr = "ff02::1".parse()?;
    let advertisement = [0x40, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let macs = (PC_017.mac, [0x33, 0x33, 0, 0, 0, 1]);
    port.send(&Packet::icmp(macs, own, all, (134, 0), 0x4000_0708, &advertisement[4..]).ttl(255).frame())?;
    scene.incident("rogue_ndp")?;
    let offer = Packet::udp((PC_017.mac, [0xff; 6]), (PC_017.v4, 67), (Ipv4Addr::BROADCAST, 68), &[2; 240]);
    port.send(&offer.frame())?;
    scene.incident("rogue_dhcp")?;
    Ok(())
}

/// The address of a registered neighbour, with one's own MAC; one's own address is nothing.
#[test]
fn who_takes_a_neighbours_address_is_seen_at_the_first_packet() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    scene.attack(&PC_017, "hping3", &format!("-q -S -p 443 -c 1 {CLOUD_V4}"))?;
    ensure!(scene.left("syn")? == 1);
    scene.attack(&PC_017, "hping3", &format!("-q -S -p 443 -a {} -c 1 {CLOUD_V4}", ADMIN_PC.v4))?;
    let incident = scene.incident("identity_change")?;
    ensure!(incident["device"] == "pc-017" && incident["packets"] == 1, "{incident}");
    ensure!(scene.left("syn")? == 1, "none leaves");
    Ok(())
}

/// A packet that comes from where it goes; and options that nobody uses any more, of which one or two are an accident.
#[test]
fn land_and_headers_that_contradict_themselves_are_seen() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    scene.attack(&PC_017, "hping3", &format!("-q -S -p 139 -s 139 -k -a {CLOUD_V4} -c 1 {CLOUD_V4}"))?;
    scene.incident("land")?;
    let route = "--tcp -p 443 -q --no-capture --ip-options R";
    scene.attack(&ADMIN_PC, "nping", &format!("{route} -c 2 {CLOUD_V4}"))?;
    scene.attack(&PC_017, "nping", &format!("{route} --rate 50 -c 60 {CLOUD_V4}"))?;
    let incident = scene.incident("malformed")?;
    ensure!(incident["device"] == "pc-017", "{incident}");
    let malformed = scene.incidents()?.iter().filter(|incident| incident["detector"] == "malformed").count();
    ensure!(malformed == 1, "the administrator's two packets are none");
    ensure!(scene.left("tcp")? == 0);
    Ok(())
}

#[test]
fn forged_sources_are_seen_at_the_first_packet_and_none_leaves() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    scene.attack(&PC_017, "hping3", &format!("-q -S -p 443 -a 203.0.113.99 -c 1 {CLOUD_V4}"))?;
    let incident = scene.incident("spoofed_source")?;
    ensure!(incident["device"] == "pc-017", "{incident}");
    scene.attack(&PC_017, "hping3", &format!("-q --udp -p 123 -a 203.0.113.99 -c 1 {CLOUD_V4}"))?;
    scene.incident("amplification")?;
    ensure!(scene.left("tcp")? + scene.left("udp")? == 0);
    Ok(())
}
