//! Blocks outlive the agent, and newcomers do not push out who is known.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Result, ensure};
use sekimori_tests::harness::{
    frame, packet,
    raw::RawPort,
    service::{self, Server},
    town::HOST_INTERFACE,
    townhall::{ADMIN_PC, CLOUD_V4, INTERNET_ROUTER, PC_017},
};

use super::scene::{open_rules, scene};

/// Packets of a flood from made-up MACs.
const MADE_UP: u32 = 20_000;

#[test]
fn blocks_hold_and_are_placed_with_the_agent_dead() -> Result<()> {
    let mut scene = scene(&open_rules(), "defaults: {syn_flood: {action: block}}")?;
    scene.agent.kill9()?;
    scene.attack(&PC_017, "hping3", &format!("-q -S -p 9999 -i u20 -c 5000 {CLOUD_V4}"))?;
    let left = scene.left("syn")?;
    ensure!((1..=1_000).contains(&left), "{left} packets left");
    scene.agent.restart()?;
    scene.attack(&PC_017, "nping", &format!("--tcp -p 443 -c 5 -q {CLOUD_V4}"))?;
    ensure!(scene.left("syn")? == left, "the block is gone");
    scene.incident("syn_flood")?;
    Ok(())
}

/// A hundred thousand sources that nobody has, and twenty thousand MACs, from the next desk: what is known of a host that was
/// answered once stays known.
#[test]
fn a_flood_of_forged_sources_makes_nobody_forget_what_a_host_did() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    let _server = Server::tcp_echo(scene.town.host(&INTERNET_ROUTER)?, 443)?;
    let to = SocketAddr::from((CLOUD_V4, 443));
    service::tcp_exchange(scene.town.host(&PC_017)?, None, to, b"page", Duration::from_secs(5))?;
    let probe =
        |ports: &str| scene.attack(&PC_017, "nmap", &format!("-n -Pn -sS -p {ports} --max-retries 0 {CLOUD_V4}"));
    probe("1000-1004")?;
    scene.attack(&ADMIN_PC, "hping3", &format!("-q --rand-source --udp -p 9999 -i u20 -c 100000 {CLOUD_V4}"))?;
    let wire = RawPort::open(scene.town.host(&ADMIN_PC)?, HOST_INTERFACE)?;
    for number in 0..MADE_UP {
        let [a, b, c, d] = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
        let macs = ([6, 0, a, b, c, d], packet::inwards(&ADMIN_PC).1);
        let from = Ipv4Addr::new(192, 168, 10, 20 + (number % 200) as u8);
        wire.send(&frame::udp(macs, (from.into(), 40_000), (CLOUD_V4.into(), 9999), b"made up"))?;
    }
    ensure!(scene.incidents()?.iter().all(|incident| incident["device"] != "pc-017"), "too early");
    probe("1005-1010")?;
    let incident = scene.incident("vertical_scan")?;
    ensure!(incident["device"] == "pc-017", "{incident}");
    Ok(())
}
