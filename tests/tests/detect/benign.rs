//! What an office does all day, as fast as it may: no alarm.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use sekimori_tests::harness::{
    service::{self, Server},
    tool,
    townhall::{CLOUD_V4, DNS_V4, INTERNET_ROUTER, PC_017},
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
