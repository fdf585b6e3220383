//! Floods: within a thousand packets, whatever they are made of.

use std::thread;

use anyhow::{Result, bail, ensure};
use sekimori_tests::harness::{
    service::Server,
    townhall::{ADMIN_PC, CLOUD_V4, CLOUD_V6, DNS_V4, INTERNET_ROUTER, PC_017},
};

use super::scene::{open_rules, scene};

#[test]
fn floods_are_stopped_within_a_thousand_packets() -> Result<()> {
    for (arguments, counter, detector) in [
        ("-S -p 9999 -i u20 -c 10000", "syn", "syn_flood"),
        ("--udp -p 9999 -i u20 -c 10000", "udp", "udp_flood"),
        ("--icmp -i u20 -c 10000", "icmp", "icmp_flood"),
    ] {
        let scene = scene(&open_rules(), "")?;
        scene.attack(&PC_017, "hping3", &format!("-q {arguments} {CLOUD_V4}"))?;
        let left = scene.left(counter)?;
        // The rate permitted goes on while the tool runs, some seconds.
        ensure!((1..=6_000).contains(&left), "{detector}: {left} packets left");
        let dropped = scene.dropped("throttled")?;
        ensure!(dropped > 500, "{detector}: {dropped} dropped, {left} left");
        scene.incident(detector)?;
        ensure!(scene.town.ping(&ADMIN_PC, CLOUD_V4)?, "{detector}: the neighbour");
    }
    Ok(())
}

/// Every packet is answered until the victim has no room, and no handshake is completed.
#[test]
fn a_flood_that_is_answered_is_one() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    let _victim = Server::tcp_echo(scene.town.host(&INTERNET_ROUTER)?, 443)?;
    scene.attack(&PC_017, "hping3", &format!("-q -S -p 443 -i u20 -c 10000 {CLOUD_V4}"))?;
    let left = scene.left("syn")?;
    ensure!((1..=6_000).contains(&left), "{left} packets left");
    let incident = scene.incident("syn_flood")?;
    ensure!(incident["action"] == "throttle", "{incident}");
    Ok(())
}

#[test]
fn a_flood_of_fragments_is_throttled() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    scene.attack(&PC_017, "ping", &format!("-n -q -f -s 4000 -c 3000 {CLOUD_V4}"))?;
    let left = scene.left("fragments")?;
    ensure!((1..=6_000).contains(&left), "{left} packets left");
    scene.incident("fragment_flood")?;
    Ok(())
}

/// Two hosts, each below its own limit, and one of them alone.
#[test]
fn hosts_that_flood_one_destination_together_are_slowed_down() -> Result<()> {
    let scene = scene(&open_rules(), "defaults: {destination_flood: {limit: 300/s burst 300}}")?;
    let alone = format!("--udp -p 9999 --rate 200 -c 600 -q --no-capture {CLOUD_V4}");
    scene.attack(&PC_017, "nping", &alone)?;
    ensure!(scene.left("udp")? == 600, "{}", scene.left("udp")?);
    scene.quiet()?;
    let together = format!("--udp -p 9999 --rate 400 -c 2000 -q --no-capture {DNS_V4}");
    thread::scope(|both| {
        let other = both.spawn(|| scene.attack(&ADMIN_PC, "nping", &together));
        let own = scene.attack(&PC_017, "nping", &together);
        match other.join() {
            Ok(said) => said.and(own),
            Err(_) => bail!("the other host's thread panicked"),
        }
    })?;
    let left = scene.left("udp")? - 600;
    // Five seconds at 300, and the burst; a slow machine takes longer.
    ensure!((300..=3_000).contains(&left), "{left} of 4,000 left");
    scene.incident("destination_flood")?;
    let hosts = scene.incidents()?.iter().filter(|incident| incident["detector"] == "udp_flood").count();
    ensure!(hosts == 0, "each of them was below its own limit");
    Ok(())
}

#[test]
fn a_blocked_flood_leaves_no_more_than_its_burst() -> Result<()> {
    let scene = scene(&open_rules(), "defaults: {syn_flood: {action: block}}")?;
    scene.attack(&PC_017, "hping3", &format!("-q -S -p 9999 -i u20 -c 10000 {CLOUD_V4}"))?;
    let left = scene.left("syn")?;
    ensure!((1..=1_000).contains(&left), "{left} packets left");
    let incident = scene.incident("syn_flood")?;
    ensure!(incident["action"] == "block", "{incident}");
    Ok(())
}

/// Connections that are answered are no flood, as many as they be.
#[test]
fn many_answered_connections_are_no_flood() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    let _echo = Server::tcp_echo(scene.town.host(&INTERNET_ROUTER)?, 443)?;
    let said = scene.attack(&PC_017, "nping", &format!("--tcp-connect -p 443 --rate 400 -c 3000 -q {CLOUD_V4}"))?;
    ensure!(said.ok(), "{said:?}");
    ensure!(scene.left("syn")? >= 3_000, "{}", scene.left("syn")?);
    scene.quiet()
}

/// By IPv6, where a host may take as many addresses of its zone as it likes.
#[test]
fn floods_by_ipv6_are_stopped_too() -> Result<()> {
    let block = "{action: block}";
    let detection = format!("defaults: {{syn_flood: {block}, udp_flood: {block}, icmp_flood: {block}}}");
    let syn = format!("-6 --tcp -p 9999 --rate 10000 -c 5000 -q --no-capture {CLOUD_V6}");
    let datagrams = format!("-u -b 64 OPEN:/dev/zero,readbytes=320000 UDP6-SENDTO:[{CLOUD_V6}]:9999");
    let echoes = format!("-6 -n -q -c 5000 -i 0.0005 -w 4 {CLOUD_V6}");
    for (program, arguments, kind, detector) in [
        ("nping", syn, "tcp6", "syn_flood"),
        ("socat", datagrams, "udp6", "udp_flood"),
        ("ping", echoes, "icmp6", "icmp_flood"),
    ] {
        let scene = scene(&open_rules(), &detection)?;
        let said = scene.attack(&PC_017, program, &arguments)?;
        let left = scene.left(kind)?;
        ensure!((1..=1_000).contains(&left), "{program}: {left} packets left: {said:?}");
        scene.incident(detector)?;
    }
    Ok(())
}
