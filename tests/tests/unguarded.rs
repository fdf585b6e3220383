//! What comes in unseen, and what leaves by the wrong line: routing must not lead round the gate.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use sekimori_tests::harness::{
    frame::Frame,
    gate::{DNS_RULE, Gate, POISON, SOON, is_marker},
    netns::Ns,
    packet::{Packet, inwards},
    service::{Server, connect, tcp_exchange, udp_socket},
    tool,
    town::Town,
    townhall::{ASP_V4, CLOUD_V4, CLOUD_V6, CONTAINER, INTERNET_ROUTER, LGWAN_PC, LGWAN_ROUTER, PC_017, UNGUARDED},
};

const RULES: &str = r"
  - id: office-web
    from: office
    to: internet
    services: [https, udp/443, ping]
    purpose: test
    owner: test
  - id: lgwan-asp
    from: lgwan-facing
    to: lgwan
    services: [https]
    purpose: test
    owner: test
  - id: box-web
    from: box
    to: internet
    services: [https]
    purpose: test
    owner: test
";

fn rules() -> String {
    format!("rules:{DNS_RULE}{RULES}")
}

fn with_container() -> Result<Gate> {
    Gate::up(&[&PC_017, &CONTAINER, &INTERNET_ROUTER], &rules())
}

/// Queries of the container to the Internet, to an office terminal, and, as the box, to the Internet.
fn astray() -> Vec<(&'static str, Frame)> {
    let udp = |src: IpAddr, dst: IpAddr| Packet::udp(inwards(&CONTAINER), (src, 4000), (dst, 443), POISON).frame();
    vec![
        ("to the Internet", udp(CONTAINER.v4.into(), CLOUD_V4.into())),
        ("to the Internet over IPv6", udp(CONTAINER.v6.into(), CLOUD_V6.into())),
        ("to the office", udp(CONTAINER.v4.into(), PC_017.v4.into())),
        ("to the office over IPv6", udp(CONTAINER.v6.into(), PC_017.v6.into())),
        ("as an office terminal", udp(PC_017.v4.into(), CLOUD_V4.into())),
    ]
}

/// Sends a frame of the container and proves that it reached neither side.
fn stopped(gate: &Gate, frame: &Frame) -> Result<()> {
    let (container, lane) = (gate.port(&CONTAINER)?, gate.way_out()?);
    let inside = gate.port(&PC_017)?;
    // The container's neighbour is the box, so its packet is behind it once the box has answered a ping.
    container.send(frame)?;
    ensure!(gate.town.ping(&CONTAINER, UNGUARDED.v4.0)?, "the box does not answer the container");
    lane.mark()?;
    let mut seen = lane.to.drain()?;
    seen.extend(inside.drain()?);
    ensure!(!seen.iter().any(|frame| frame.contains(POISON)), "it arrived: {seen:?}");
    Ok(())
}

#[test]
fn a_host_behind_an_unguarded_interface_gets_nowhere() -> Result<()> {
    let gate = with_container()?;
    for (what, frame) in astray() {
        gate.drops(&[("guard_forward", 1)], || stopped(&gate, &frame)).context(what)?;
    }
    // Nor does anybody get to it: its address is not one of the networks the rule could mean.
    let there = gate.port(&CONTAINER)?;
    let lane = gate.way_out()?;
    for (src, dst) in [(IpAddr::from(PC_017.v4), IpAddr::from(CONTAINER.v4)), (PC_017.v6.into(), CONTAINER.v6.into())] {
        gate.drops(&[("guard_forward", 1)], || {
            lane.from.send(&Packet::udp(inwards(&PC_017), (src, 4000), (dst, 443), POISON).frame())?;
            lane.mark()?;
            ensure!(!there.drain()?.iter().any(|frame| frame.contains(POISON)), "{dst} was reached");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn it_gets_nowhere_even_where_the_hosts_own_rules_are_flushed() -> Result<()> {
    let mut gate = with_container()?;
    let before = gate.counted()?;
    // With nobody there to put the second wall up again.
    gate.agent.kill9()?;
    let mut nft = gate.town.gateway.command("nft");
    tool::must(nft.args(["flush", "ruleset"]), SOON)?;
    for (what, frame) in astray() {
        stopped(&gate, &frame).context(what)?;
    }
    gate.agent.restart()?;
    let drops = gate.counted()?.since(&before).drops();
    let unguarded = |net: &str| drops.get(&format!("{net} out unguarded_source")).copied();
    ensure!((unguarded("internet"), unguarded("office")) == (Some(3), Some(2)), "{drops:?}");
    ensure!(drops.keys().all(|name| name.ends_with("unguarded_source") || name.ends_with("multicast")), "{drops:?}");
    Ok(())
}

#[test]
fn the_box_itself_speaks_by_its_own_rules_beside_an_unguarded_interface() -> Result<()> {
    let gate = with_container()?;
    let _web = Server::tcp_echo(gate.town.host(&INTERNET_ROUTER)?, 443)?;
    gate.drops(&[], || tcp_exchange(&gate.town.gateway, None, (CLOUD_V4, 443), b"page?", SOON))?;
    assert_eq!(gate.counted()?.flows["box-web"], 1);
    // A proxy on the box is the box: what it does for the container is judged as its own.
    let port = gate.port(&PC_017)?;
    gate.drops(&[("office out no_rule", 1)], || {
        let socket = udp_socket(&gate.town.gateway, None, (PC_017.v4, 443), SOON)?;
        // The way out may answer the sender with an error; what counts is the counter.
        socket.send(POISON).ok();
        gate.way_out()?.mark()?;
        ensure!(!port.drain()?.iter().any(|frame| frame.contains(POISON)));
        Ok(())
    })
}

/// Sends without end until it is told to stop; what was sent is read and thrown away at the other end.
fn stream(mut stream: TcpStream) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    thread::spawn(move || {
        while !seen.load(Ordering::Acquire) {
            // A stream that stands still is what the test is about.
            if stream.write(&[b's'; 1000]).is_err() {
                thread::sleep(Duration::from_millis(5));
            }
        }
    });
    stop
}

fn ip(gateway: &Ns, arguments: &[&str]) -> Result<()> {
    tool::must(gateway.command("ip").args(arguments), SOON)?;
    Ok(())
}

fn wrong_way(killed: bool) -> Result<()> {
    let town = Town::build(&[&PC_017, &LGWAN_PC, &LGWAN_ROUTER, &INTERNET_ROUTER])?;
    // With translation as the town has it: a fallback route would even give the packets a good source.
    town.translate()?;
    let mut gate = Gate::over(town, &rules())?;
    let taken = Server::tcp(gate.town.host(&LGWAN_ROUTER)?, (ASP_V4, 443), |mut stream| {
        let mut buffer = vec![0; 65_536];
        while let Ok(1..) = stream.read(&mut buffer) {}
    })?;
    let lgwan = gate.port(&LGWAN_ROUTER)?;
    let lane = gate.way_out()?;
    let running = connect(gate.town.host(&LGWAN_PC)?, None, taken.address(), Duration::from_secs(2))?;
    running.set_write_timeout(Some(Duration::from_millis(50)))?;
    let stop = stream(running);
    lgwan.expect("the transfer to run", SOON, |frame| frame.contains(&[b's'; 1000]))?;
    let before = gate.counted()?;
    if killed {
        gate.agent.kill9()?;
    }
    lane.to.drain()?;

    ip(&gate.town.gateway, &["route", "del", "10.80.0.0/16"])?;
    // The sender repeats itself; a second later there have been several tries. A new conversation tries as well.
    let fresh = connect(gate.town.host(&LGWAN_PC)?, None, taken.address(), Duration::from_millis(1500));
    ensure!(fresh.is_err(), "a new conversation found a way");
    let leaked = |frame: &Frame| frame.ips().is_some_and(|(_, dst)| dst == ASP_V4) || frame.contains(&[b's'; 100]);
    let marker = || lane.from.send(&lane.marker);
    lane.to.expect_none("LGWAN traffic", SOON, leaked, marker, is_marker)?;
    if killed {
        gate.agent.restart()?;
    }
    let drops = gate.counted()?.since(&before).drops();
    let others: Vec<_> = drops.keys().filter(|name| !name.ends_with("multicast")).collect();
    ensure!(others == ["internet out wrong_way"], "{drops:?}");
    ensure!(drops["internet out wrong_way"] >= 2, "{drops:?}");

    // The line is back, and with it the conversation.
    lgwan.drain()?;
    ip(&gate.town.gateway, &["route", "add", "10.80.0.0/16", "via", &LGWAN_ROUTER.v4.to_string()])?;
    lgwan.expect("the transfer to go on", SOON, |frame| frame.contains(&[b's'; 1000]))?;
    stop.store(true, Ordering::Release);
    Ok(())
}

#[test]
fn a_flow_whose_line_goes_away_does_not_take_another() -> Result<()> {
    wrong_way(false)
}

#[test]
fn a_flow_whose_line_goes_away_does_not_take_another_with_the_agent_killed() -> Result<()> {
    wrong_way(true)
}
