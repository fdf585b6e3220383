//! Scans: of many addresses, of many ports, stealthy ones, sweeps.

use anyhow::{Result, ensure};
use sekimori_tests::harness::{
    policy::rule,
    service::Server,
    town::HOST_INTERFACE,
    townhall::{ADMIN_PC, CLOUD_V4, CLOUD_V6, INTERNET_ROUTER, PC_017},
};

use super::scene::{open_rules, scene};

/// The targets: a horizontal scan is stopped within ten first contacts, at any speed.
#[test]
fn a_horizontal_scan_is_stopped_within_ten_first_contacts() -> Result<()> {
    for speed in ["-T5 --min-rate 2000", "-T3", "-T2"] {
        let scene = scene(&open_rules(), "")?;
        let arguments = format!("-n -Pn -sS -p 443 --max-retries 0 {speed} 198.51.100.100-180");
        scene.attack(&PC_017, "nmap", &arguments)?;
        let places = scene.places()?;
        ensure!((1..=10).contains(&places), "{speed}: {places} addresses were reached");
        let incident = scene.incident("horizontal_scan")?;
        ensure!(incident["device"] == "pc-017" && incident["zone"] == "office", "{incident}");
        // The neighbour is not affected.
        ensure!(scene.town.ping(&ADMIN_PC, CLOUD_V4)?, "{speed}");
    }
    Ok(())
}

#[test]
fn connect_scans_and_udp_scans_are_stopped_too() -> Result<()> {
    for (kind, counter, detector) in [("-sT", "tcp", "vertical_scan"), ("-sU", "udp", "vertical_scan")] {
        let scene = scene(&open_rules(), "")?;
        scene.attack(&PC_017, "nmap", &format!("-n -Pn {kind} -p 1000-1100 --max-retries 0 -T4 {CLOUD_V4}"))?;
        let left = scene.left(counter)?;
        ensure!((1..=40).contains(&left), "{kind}: {left} packets left");
        scene.incident(detector)?;
        ensure!(scene.dropped("blocked")? > 0, "{kind}");
    }
    Ok(())
}

/// masscan has a TCP of its own and waits for nobody.
#[test]
fn a_scan_at_a_high_rate_is_stopped_within_ten_first_contacts() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    let arguments = format!(
        "198.51.100.0/24 -p 443 --rate 5000 --wait 0 --interface {HOST_INTERFACE} --router-mac 02-00-00-00-10-01 \
         --source-ip {}",
        PC_017.v4
    );
    scene.attack(&PC_017, "masscan", &arguments)?;
    let places = scene.places()?;
    ensure!((1..=10).contains(&places), "{places} addresses were reached");
    scene.incident("horizontal_scan")?;
    Ok(())
}

/// What the policy refuses is an attempt all the same.
#[test]
fn a_scan_that_the_policy_refuses_is_seen() -> Result<()> {
    let scene = scene(&[rule("web", "office", "internet", "https")], "")?;
    scene.attack(&PC_017, "nmap", "-n -Pn -sS -p 22 --max-retries 0 -T4 198.51.100.100-150")?;
    scene.incident("horizontal_scan")?;
    ensure!(scene.places()? == 0);
    Ok(())
}

#[test]
fn stealth_scans_are_seen_at_the_first_packet() -> Result<()> {
    for kind in ["-sN", "-sF", "-sX"] {
        let scene = scene(&open_rules(), "")?;
        scene.attack(&PC_017, "nmap", &format!("-n -Pn {kind} -p 80 --max-retries 0 {CLOUD_V4}"))?;
        ensure!(scene.left("tcp")? == 0, "{kind}");
        let incident = scene.incident("stealth_scan")?;
        ensure!(incident["device"] == "pc-017", "{incident}");
    }
    Ok(())
}

/// Decoys are forged sources: dropped, and laid at the door of the MAC.
#[test]
fn decoys_and_fragments_hide_nobody() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    scene.attack(
        &PC_017,
        "nmap",
        "-n -Pn -sS -f -p 443 --max-retries 0 -T4 -D 203.0.113.77,203.0.113.78,ME 198.51.100.100-130",
    )?;
    scene.incident("spoofed_source")?;
    let places = scene.places()?;
    ensure!(places <= 10, "{places} addresses were reached");
    Ok(())
}

/// Nobody else does anything, and the last thing this host did was answered: that makes no outage of its scan.
#[test]
fn a_scan_after_a_connection_that_was_answered_is_seen() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    let _echo = Server::tcp_echo(scene.town.host(&INTERNET_ROUTER)?, 443)?;
    scene.attack(&PC_017, "nping", &format!("--tcp-connect -p 443 -c 1 -q {CLOUD_V4}"))?;
    scene.attack(&PC_017, "nmap", "-Pn -n -sS -p 443 --max-retries 0 -T4 198.51.100.100-180")?;
    let places = scene.places()? - 1;
    // One success is remembered.
    ensure!((1..=11).contains(&places), "{places} addresses were reached");
    scene.incident("horizontal_scan").map(drop)
}

/// Many destinations, answered or not: with scans looked for elsewhere, their number alone.
#[test]
fn very_many_destinations_are_told_and_a_few_are_not() -> Result<()> {
    let scene = scene(&open_rules(), "defaults: {horizontal_scan: off, fan_out: {limit: 100}}")?;
    let scan = "-n -Pn -sS -p 8080 --max-retries 0 -T4";
    scene.attack(&ADMIN_PC, "nmap", &format!("{scan} 198.51.100.1-60"))?;
    scene.attack(&PC_017, "nmap", &format!("{scan} 198.51.100.1-200"))?;
    let incident = scene.incident("fan_out")?;
    ensure!(incident["device"] == "pc-017", "{incident}");
    ensure!(scene.incidents()?.len() == 1, "sixty are nothing");
    ensure!(scene.places()? >= 200, "{} reached: it only alerts", scene.places()?);
    Ok(())
}

#[test]
fn a_ping_sweep_is_stopped() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    scene.attack(&PC_017, "nmap", "-n -sn -PE --max-retries 0 -T5 198.51.100.100-200")?;
    let places = scene.places()?;
    ensure!(places <= 10, "{places} addresses were reached");
    scene.incident("address_sweep")?;
    Ok(())
}

/// Who may scan: with an owner and an end.
#[test]
fn an_exempt_scanner_is_left_alone() -> Result<()> {
    let exempt = "exemptions: [{hosts: [pc-017], detectors: [horizontal_scan, vertical_scan], owner: 総務課, \
                  until: 2099-12-31, purpose: monitoring}]";
    let scene = scene(&open_rules(), exempt)?;
    scene.attack(&PC_017, "nmap", "-n -Pn -sS -p 443 --max-retries 0 -T5 198.51.100.100-180")?;
    let places = scene.places()?;
    ensure!(places == 81, "{places} addresses were reached");
    scene.quiet()
}

/// All of it again by IPv6: scans of addresses and ports, stealthy ones, a sweep.
#[test]
fn scans_by_ipv6_are_stopped_too() -> Result<()> {
    let addresses: Vec<String> = (0x100..0x128).map(|last| format!("2001:db8:c0::{last:x}")).collect();
    let addresses = addresses.join(" ");
    let attacks = [
        (format!("-sS -p 22 -T4 {addresses}"), "horizontal_scan"),
        (format!("-sS -p 1000-1100 -T4 {CLOUD_V6}"), "vertical_scan"),
        (format!("-sX -p 80-90 {CLOUD_V6}"), "stealth_scan"),
    ];
    for (arguments, detector) in attacks {
        let scene = scene(&open_rules(), "")?;
        scene.attack(&PC_017, "nmap", &format!("-6 -n -Pn --max-retries 0 {arguments}"))?;
        let incident = scene.incident(detector)?;
        ensure!(incident["device"] == "pc-017", "{incident}");
        let (places, packets) = (scene.places6()?, scene.left("tcp6")?);
        ensure!(places <= 10 && packets <= 20, "{detector}: {places} addresses, {packets} packets left");
        ensure!(detector != "stealth_scan" || packets == 0, "{packets} packets left");
    }
    let scene = scene(&open_rules(), "")?;
    scene.attack(&PC_017, "nmap", &format!("-6 -n -sn -PE --max-retries 0 -T5 {addresses}"))?;
    ensure!(scene.places6()? <= 10, "{} addresses were reached", scene.places6()?);
    scene.incident("address_sweep")?;
    Ok(())
}
