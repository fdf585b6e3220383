//! What an office does all day, as fast as it may: no alarm.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use sekimori_tests::harness::{
    counters::Counters,
    policy::rule,
    service::{self, Server},
    tool,
    townhall::{CLOUD_V4, DNS_V4, INTERNET_ROUTER, PC_017, WEB},
};

use super::scene::{open_rules, scene};

const PATIENCE: Duration = Duration::from_secs(5);

/// What is nearest to each attack and none: a page's twenty servers at once, a server that is down and asked again and again,
/// a backup that opens connection after connection, a short burst of mail, a few logins, a path traced.
#[test]
fn what_is_nearest_to_attacks_is_left_alone() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    let outside = scene.town.host(&INTERNET_ROUTER)?;
    let mut more = String::new();
    for last in 100..120 {
        more.push_str(&format!("ip address add 198.51.100.{last}/32 dev lo\n"));
    }
    tool::must(outside.command("sh").args(["-ec", &more]), PATIENCE)?;
    let servers = [443, 445, 22, 25].map(|port| Server::tcp_echo(outside, port));
    let servers: Vec<Server> = servers.into_iter().collect::<Result<_>>()?;
    ensure!(servers.len() == 4);
    let pc = scene.town.host(&PC_017)?;
    thread::scope(|scope| {
        let asks: Vec<_> = (100..120)
            .map(|last| {
                scope.spawn(move || {
                    let to: SocketAddr = (Ipv4Addr::new(198, 51, 100, last), 443).into();
                    service::tcp_exchange(pc, None, to, b"page", PATIENCE)
                })
            })
            .collect();
        asks.into_iter().try_for_each(|ask| match ask.join() {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(anyhow::anyhow!("a reader panicked")),
        })
    })?;
    for _ in 0..30 {
        // Nobody is there, and the same service is tried again.
        service::tcp_exchange(pc, None, SocketAddr::from((CLOUD_V4, 8443)), b"x", Duration::from_millis(50)).ok();
    }
    for (port, times) in [(443, 200), (25, 8), (22, 15), (445, 3)] {
        for _ in 0..times {
            service::tcp_exchange(pc, None, SocketAddr::from((CLOUD_V4, port)), b"backup", PATIENCE)?;
        }
    }
    // As traceroute does, a port for each probe.
    let probes = format!("--udp -p 33434-33493 --rate 50 -c 1 -q --no-capture {DNS_V4}");
    scene.attack(&PC_017, "nping", &probes)?;
    ensure!(scene.left("udp")? == 60, "{} of 60 probes left", scene.left("udp")?);
    scene.quiet()
}

/// Somebody asks an inside machine more than anybody may ask: it answers all, and is not blamed for it.
#[test]
fn nobody_is_blamed_for_what_others_ask() -> Result<()> {
    let rules = [open_rules(), vec![rule("monitoring", "dmz", "office", "ping, udp/7000-7999")]].concat();
    let zones = "zones: {dmz: {icmp_flood: off, udp_flood: off, vertical_scan: off, horizontal_scan: off, destination_flood: off}}";
    let scene =
        scene(&rules, &format!("defaults: {{icmp_flood: {{action: quarantine, limit: 20/s burst 40}}}}, {zones}"))?;
    let asked = PC_017.v4;
    let pings = scene.attack(&WEB, "ping", &format!("-n -q -f -c 2000 {asked}"))?;
    ensure!(pings.out.contains("2000 received"), "{pings:?}");
    // Nobody listens there: each is answered by an error, if the machine's own limit lets it.
    tool::must(scene.town.host(&PC_017)?.command("sysctl").args(["-qw", "net.ipv4.icmp_ratelimit=0"]), PATIENCE)?;
    let knocks = scene.attack(&WEB, "hping3", &format!("-n -q --udp -p ++7000 -c 900 -i u2000 {asked}"))?;
    let counters = Counters::read(&scene.agent)?;
    let errors = counters.packets("office", "in", "related");
    ensure!(errors > 200, "{errors} errors; {knocks:?}");
    ensure!(counters.packets("office", "in", "quarantine") == 0);
    scene.quiet()
}

/// Web to many servers, a few of which do not exist, and a busy resolver.
#[test]
fn web_and_names_raise_no_alarm() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    let outside = scene.town.host(&INTERNET_ROUTER)?;
    let _web = Server::tcp_echo(outside, 443)?;
    let _names = Server::udp_echo(outside, DNS_V4, 53)?;
    let pc = scene.town.host(&PC_017)?;
    for _ in 0..300 {
        let to: SocketAddr = (CLOUD_V4, 443).into();
        service::tcp_exchange(pc, None, to, b"hello", PATIENCE)?;
        let to: SocketAddr = (DNS_V4, 53).into();
        service::udp_exchange(pc, None, to, &[0; 40], PATIENCE)?;
    }
    ensure!(scene.dropped("held")? + scene.dropped("throttled")? + scene.dropped("blocked")? == 0);
    scene.quiet()
}
