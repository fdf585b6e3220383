//! The box itself: it speaks with its own addresses only, and the way in that stays open to it leads to it only.

use std::{
    io::Write as _,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    counters::Counters,
    link, nft,
    policy::{Policies, rule},
    service::{Server, connect, tcp_exchange, udp_exchange},
    tool,
    town::Town,
    townhall::{ADMIN_PC, CLOUD_V4, DNS_V4, INTERNET_ROUTER, OFFICE},
};
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};

const SOON: Duration = Duration::from_secs(5);
const NEVER: Duration = Duration::from_millis(700);

struct Scene {
    agent: Agent,
    _policies: Policies,
    town: Town,
}

fn scene() -> Result<Scene> {
    let town = Town::build(&[&ADMIN_PC, &INTERNET_ROUTER])?;
    let policies = Policies::new()?;
    let rules = [
        rule("own", "box", "internet", "dns"),
        rule("ssh-to-box", "{zone: office, devices: [admin-pc]}", "box", "ssh"),
        rule("out", "{zone: office, devices: [admin-pc]}", "internet", "ssh, https"),
    ];
    let mut config = Config::new(policies.town("policy", &rules)?);
    config.management = json!([{"interface": "lan0", "sources": ["192.168.10.18/32"], "port": 22}]);
    let agent = Agent::start(&town.gateway, &config)?;
    Ok(Scene { agent, _policies: policies, town })
}

#[test]
fn it_speaks_with_its_own_addresses_only() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let gateway = &town.gateway;
    let _names = Server::udp_echo(town.host(&INTERNET_ROUTER)?, DNS_V4, 53)?;
    assert_eq!(udp_exchange(gateway, None, (DNS_V4, 53), b"mine", SOON)?, b"mine");
    // As a container on a guarded port would: no incoming interface, and an address that is not the box's.
    let stranger = Ipv4Addr::new(203, 0, 113, 7);
    link::address(gateway, "wan0", stranger, 32)?;
    let socket = gateway.run(|| Ok(UdpSocket::bind((stranger, 0))?))?;
    socket.send_to(b"not mine", (DNS_V4, 53))?;
    // Behind it on the same way, so it has been judged when this comes back.
    assert_eq!(udp_exchange(gateway, None, (DNS_V4, 53), b"after", SOON)?, b"after");
    let counters = Counters::read(&agent)?;
    assert_eq!(counters.packets("internet", "out", "spoofed_source"), 1);
    Ok(())
}

#[test]
fn a_cut_off_administrator_still_reaches_the_box_and_nothing_behind_it() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let admin = town.host(&ADMIN_PC)?;
    let _outside = Server::tcp_echo(town.host(&INTERNET_ROUTER)?, 22)?;
    let _own = Server::tcp_echo(&town.gateway, 22)?;
    assert_eq!(tcp_exchange(admin, None, (CLOUD_V4, 22), b"out", SOON)?, b"out");
    assert!(agent.cli(["cutoff", "host", "admin-pc", "--reason", "test"])?.ok());
    assert!(connect(admin, None, (CLOUD_V4, 22), NEVER).is_err(), "ssh through the box");
    assert_eq!(tcp_exchange(admin, None, (OFFICE.v4.0, 22), b"box", SOON)?, b"box");
    Ok(())
}

fn from_port(town: &Town, port: u16, within: Duration) -> Result<TcpStream> {
    town.host(&ADMIN_PC)?.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((ADMIN_PC.v4, port)).into())?;
        socket.connect_timeout(&SocketAddr::from((CLOUD_V4, 443)).into(), within)?;
        Ok(TcpStream::from(socket))
    })
}

/// A program is killed with data on the way and starts again from the same port: neither end is to blame, and neither
/// waits for two hours.
#[test]
fn a_port_can_be_used_again_after_an_abort_with_data_on_the_way() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let internet = town.host(&INTERNET_ROUTER)?;
    let _server = Server::tcp_echo(internet, 443)?;
    for turn in 0..3 {
        let mut stream = from_port(&town, 45_002, SOON).with_context(|| format!("turn {turn}"))?;
        // The server's acknowledgements are held back, as a long line would.
        nft::load(
            internet,
            "table ip hold {
                chain out {
                    type filter hook output priority filter;
                    tcp sport 443 drop
                }
            }",
        )?;
        stream.write_all(&[b'x'; 5000])?;
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        drop(stream);
        tool::must(internet.command("nft").args(["delete", "table", "ip", "hold"]), SOON)?;
    }
    // A FIN, and the abort behind it.
    for turn in 0..3 {
        let mut stream = from_port(&town, 45_100, SOON).with_context(|| format!("turn {turn}"))?;
        stream.write_all(&[b'x'; 1000])?;
        stream.shutdown(Shutdown::Write)?;
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    }
    assert_eq!(Counters::read(&agent)?.packets("office", "out", "tcp_state"), 0);
    Ok(())
}
