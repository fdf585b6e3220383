//! What is measured: the policy, the conversations that must exist, and one packet of each kind.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::{Context as _, Result};
use ipnet::Ipv4Net;
use sekimori_tests::harness::{
    nft,
    packet::{Packet, flag, inwards},
    policy::TOWN,
    raw::RawPort,
    town::{HOST_INTERFACE, Town},
    townhall::{CLOUD_V4, CLOUD_V6, INTERNET_ROUTER, MacAddr, PC_017, PUBLIC_WEB_V4},
};

const SOON: Duration = Duration::from_secs(5);
/// Tagged traffic's VLAN.
const VLAN: u16 = 20;
const UDP_PORT: u16 = 40_001;
const TCP_PORT: u16 = 40_002;

/// A kind of packet.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Where it comes in.
    pub(crate) interface: &'static str,
    pub(crate) frame: Vec<u8>,
    pub(crate) passes: bool,
}

/// The town's policy with a thousand listed prefixes, and a partner behind a VLAN of the outside line.
pub(crate) fn policy() -> String {
    let partner = format!(
        "  partner:\n    interfaces: [wan0]\n    vlans: [{VLAN}]\n    prefixes: [198.18.0.0/15]\n    routers: [\"02:00:00:00:99:01\"]\n    \
         line: test\n    owner: test\n    survey: {{date: 2026-10-01, surveyor: a, topology: a, devices: a, security: a, impact: a}}\n"
    );
    let head = TOWN.replace("devices:\n  pc-017", &format!("{partner}devices:\n  pc-017"));
    let head = head.replace("rules:\n", "groups:\n  listed: [{file: listed.txt}]\nrules:\n");
    let listed = "{network: internet, groups: [listed]}";
    format!(
        "{head}  - {{id: out, from: office, to: {listed}, services: [udp/443, tcp/443, icmp/13], purpose: test, owner: test}}\n\
         publish:\n  - {{id: web, from: {listed}, address: {PUBLIC_WEB_V4}, services: [udp/443], \
         server: {{zone: dmz, address: 192.168.20.10}}, purpose: test, owner: test}}\n"
    )
}

/// A thousand prefixes between 20/8 and 99/8 that do not touch: every fourth a /24, every fourth a /28, the rest /32.
pub(crate) fn list() -> Vec<Ipv4Net> {
    let mut list: Vec<Ipv4Net> = Vec::new();
    let mut bits = 1u32;
    while list.len() < 1000 {
        bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let address = Ipv4Addr::from(((20 + (bits >> 24) % 80) << 24) | (bits >> 3) & 0x00ff_ffff);
        let length = [24, 28, 32, 32][list.len() % 4];
        let around = Ipv4Net::new_assert(address, 20).trunc();
        if list.iter().all(|other| !around.contains(&other.network())) {
            list.push(Ipv4Net::new_assert(address, length).trunc());
        }
    }
    list
}

fn from_pc() -> (MacAddr, MacAddr) {
    inwards(&PC_017)
}

fn from_internet() -> (MacAddr, MacAddr) {
    inwards(&INTERNET_ROUTER)
}

/// Real exchanges, so that there are flows to find.
pub(crate) fn converse(town: &Town) -> Result<()> {
    // The hosts' own stacks know nothing of these conversations, and would reset them.
    for host in [&PC_017, &INTERNET_ROUTER] {
        nft::load(
            town.host(host)?,
            "table inet mute {
                chain out {
                    type filter hook output priority 0; policy drop;
                    icmpv6 type { nd-neighbor-advert, nd-neighbor-solicit } accept
                }
            }",
        )?;
    }
    let inside = RawPort::open(town.host(&PC_017)?, HOST_INTERFACE)?;
    let outside = RawPort::open(town.host(&INTERNET_ROUTER)?, HOST_INTERFACE)?;
    let (pc, cloud) = (PC_017.v4, CLOUD_V4);
    let tell = |from: &RawPort, to: &RawPort, packet: Packet| -> Result<()> {
        let ports = packet.frame().ports();
        from.send(&packet.frame())?;
        to.expect("a packet of the conversation", SOON, |frame| frame.ports() == ports)?;
        Ok(())
    };
    tell(&inside, &outside, Packet::udp(from_pc(), (pc, UDP_PORT), (cloud, 443), b"question"))?;
    tell(&outside, &inside, Packet::udp(from_internet(), (cloud, 443), (pc, UDP_PORT), b"answer"))?;
    tell(&inside, &outside, Packet::udp(from_pc(), (PC_017.v6, UDP_PORT), (CLOUD_V6, 443), b"question"))?;
    tell(&outside, &inside, Packet::udp(from_internet(), (CLOUD_V6, 443), (PC_017.v6, UDP_PORT), b"answer"))?;
    let out = |flags, seq, ack| Packet::tcp(from_pc(), (pc, TCP_PORT), (cloud, 443), (flags, seq, ack), b"");
    let back = |flags, seq, ack| Packet::tcp(from_internet(), (cloud, 443), (pc, TCP_PORT), (flags, seq, ack), b"");
    tell(&inside, &outside, out(flag::SYN, 1000, 0))?;
    tell(&outside, &inside, back(flag::SYN | flag::ACK, 5000, 1001))?;
    tell(&inside, &outside, out(flag::ACK, 1001, 5001))
}

pub(crate) fn kinds(list: &[Ipv4Net]) -> Result<Vec<Kind>> {
    let beside = Ipv4Addr::from(list.first().context("no list")?.network().to_bits() - 1);
    let far = Ipv4Addr::new(150, 1, 2, 3);
    let web = PUBLIC_WEB_V4;
    let drop = |name, packet: Packet| Kind { name, interface: "wan0", frame: padded(&packet), passes: false };
    let pass = |name, packet: Packet| Kind { name, interface: "lan0", frame: padded(&packet), passes: true };
    let mut fragment = Packet::udp(from_internet(), (far, 40_000), (web, 443), b"0123456789");
    fragment.place(1480, false);
    let (pc, cloud) = (PC_017.v4, CLOUD_V4);
    Ok(vec![
        drop("far miss, dropped", Packet::udp(from_internet(), (far, 40_000), (web, 443), b"0123456789")),
        drop("near miss, dropped", Packet::udp(from_internet(), (beside, 40_000), (web, 443), b"0123456789")),
        drop(
            "tagged, dropped",
            Packet::udp(from_internet(), (Ipv4Addr::new(198, 18, 7, 7), 40_000), (web, 443), b"0123456789")
                .tag(0x8100, VLAN),
        ),
        drop("later fragment without a first, dropped", fragment),
        pass("established udp, IPv4", Packet::udp(from_pc(), (pc, UDP_PORT), (cloud, 443), b"0123456789")),
        pass("established udp, IPv6", Packet::udp(from_pc(), (PC_017.v6, UDP_PORT), (CLOUD_V6, 443), b"0123456789")),
        pass(
            "established tcp, IPv4",
            Packet::tcp(from_pc(), (pc, TCP_PORT), (cloud, 443), (flag::ACK, 1001, 5001), b""),
        ),
        // A timestamp request opens no view: every one of them is judged by the rules.
        pass("permitted by a rule", Packet::icmp(from_pc(), pc, IpAddr::from(cloud), (13, 0), 1, &[0; 12])),
    ])
}

/// As on a wire: at least 60 bytes.
fn padded(packet: &Packet) -> Vec<u8> {
    let mut bytes = packet.frame().0;
    bytes.resize(bytes.len().max(60), 0);
    bytes
}
