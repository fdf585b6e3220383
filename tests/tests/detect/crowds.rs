//! One machine that shows many: addresses, or MACs. Where the policy believes any sender it is watched all the same.

use std::{
    fs,
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use sekimori_tests::harness::{
    packet::{Packet, flag::SYN, inwards},
    raw::RawPort,
    town::HOST_INTERFACE,
    townhall::{CLOUD_V6, PC_017},
};

use super::scene::{Scene, open_rules, scene_with};

/// A town that believes every sender in its office.
fn believing() -> Result<Scene> {
    let mut written = Ok(());
    let scene = scene_with(&open_rules(), "", |config| {
        written = fs::read_to_string(&config.policy)
            .map(|text| text.replace("devices: registered", "devices: any"))
            .and_then(|text| fs::write(&config.policy, text));
    })?;
    written.context("changing the policy")?;
    Ok(scene)
}

/// Sends from the terminal, so many a second.
fn sends(scene: &Scene, pace: u32, packets: impl Iterator<Item = Packet>) -> Result<()> {
    let port = RawPort::open(scene.town.host(&PC_017)?, HOST_INTERFACE)?;
    let start = Instant::now();
    for (number, packet) in (0..).zip(packets) {
        let due = start + Duration::from_secs(1) / pace * number;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        port.send(&packet.frame())?;
    }
    Ok(())
}

fn target(number: u32) -> Ipv4Addr {
    let [_, _, high, low] = number.to_be_bytes();
    Ipv4Addr::new(198, 18, high, low)
}

fn office(last: u32) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 10, (last % 256) as u8)
}

/// Sixteen get a state of their own, and ten contacts; all others share that of the MAC.
#[test]
fn a_hundred_addresses_of_one_machine_scan_no_further_than_seventeen() -> Result<()> {
    let scene = believing()?;
    let scan = (0..3_000_u32).map(|number| {
        let from = (office(100 + number % 100), 40_000 + (number % 20_000) as u16);
        Packet::tcp(inwards(&PC_017), from, (target(number), 8_080), (SYN, number, 0), &[])
    });
    sends(&scene, 400, scan)?;
    let places = scene.places()?;
    ensure!((10..=17 * 11).contains(&places), "{places} addresses were reached");
    scene.incident("horizontal_scan")?;
    scene.incident("spoofed_source").map(drop)
}

#[test]
fn made_up_macs_scan_together() -> Result<()> {
    let scene = believing()?;
    let scan = (0..3_000_u32).map(|number| {
        let [_, _, high, low] = number.to_be_bytes();
        let macs = ([2, 0, 0, 0xaa, high, low], inwards(&PC_017).1);
        let from = (office(20 + number % 200), 40_000 + (number % 20_000) as u16);
        Packet::tcp(macs, from, (target(number), 8_080), (SYN, number, 0), &[])
    });
    sends(&scene, 1_000, scan)?;
    let places = scene.places()?;
    // 64 bits of 512 are set after 69 of them, give or take some; the crowd is one more.
    ensure!(places <= 80 * 10, "{places} addresses were reached");
    scene.incident("random_mac")?;
    scene.incident("horizontal_scan").map(drop)
}

/// IPv6 addresses cost nothing: four times as many get a state as of IPv4; what the others flood is counted together.
#[test]
fn a_flood_from_thousands_of_addresses_is_one() -> Result<()> {
    let scene = believing()?;
    let flood = (0..24_000_u32).map(|number| {
        let from =
            std::net::Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 1, (number >> 16) as u16, (number % 20_000) as u16);
        Packet::udp(inwards(&PC_017), (from, 40_000), (CLOUD_V6, 9_999), &[0; 20])
    });
    sends(&scene, 8_000, flood)?;
    let left = scene.left("udp6")?;
    ensure!(left <= 64 + 3_000, "{left} of 24,000 left");
    scene.incident("udp_flood").map(drop)
}
