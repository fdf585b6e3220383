//! The second wall: where our programs are not, nftables forwards nothing, and what comes back is guarded again.

use std::{
    io::ErrorKind,
    net::UdpSocket,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, tc::TcAttachOptions};
use sekimori::dataplane::object;
use sekimori_tests::harness::{
    agent::{Agent, Config},
    counters::Counters,
    flood::{Flood, Watch},
    frame::{Frame, udp},
    link::{self, plug},
    netns::Ns,
    policy::{Policies, rule},
    raw::RawPort,
    stream::Stream,
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{CONTAINER, DNS_V4, INTERNET_ROUTER, OFFICE, PC_017, UNGUARDED},
};

const OFTEN: Duration = Duration::from_millis(1);
const SOON: Duration = Duration::from_secs(10);
const UNJUDGED: &[u8] = b"nobody-judged-this";
const MARKER: &[u8] = b"end-of-the-flood";

struct Scene {
    agent: Agent,
    _policies: Policies,
    town: Town,
}

fn scene() -> Result<Scene> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    let policies = Policies::new()?;
    let rules = [rule("names", "office", "internet", "dns")];
    let agent = Agent::start(&town.gateway, &Config::new(policies.town("policy", &rules)?))?;
    Ok(Scene { agent, _policies: policies, town })
}

fn tables(town: &Town) -> Result<String> {
    let mut nft = town.gateway.command("nft");
    Ok(tool::must(nft.args(["list", "tables"]), SOON)?.out)
}

/// Pulls the card of the office out of the box and puts another one in, as a driver reload does: same name, same MAC,
/// same addresses, another interface to the kernel.
fn replace_office_card(town: &Town) -> Result<()> {
    let pc = town.host(&PC_017)?;
    link::delete(&town.gateway, OFFICE.interface)?;
    link::veth(plug(&town.gateway, OFFICE.interface).mac(OFFICE.mac), plug(pc, HOST_INTERFACE).mac(PC_017.mac))?;
    link::address(&town.gateway, OFFICE.interface, OFFICE.v4.0, OFFICE.v4.1)?;
    link::address(pc, HOST_INTERFACE, PC_017.v4, OFFICE.v4.1)?;
    link::route(pc, "0.0.0.0/0".parse()?, OFFICE.v4.0)
}

/// Queries as pc-017 sends them, which the policy would permit.
fn query(text: &[u8]) -> Frame {
    udp((PC_017.mac, OFFICE.mac), (PC_017.v4.into(), 4000), (DNS_V4.into(), 53), text)
}

#[test]
fn both_walls_stand_while_the_gate_is_kept_and_go_when_it_is_opened() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let walls = |there: bool| -> Result<()> {
        let tables = tables(&town)?;
        for family in ["inet", "bridge"] {
            let stands = tables.lines().any(|line| line.starts_with(&format!("table {family} sekimori")));
            assert_eq!(stands, there, "{family}: {tables}");
        }
        Ok(())
    };
    walls(true)?;
    agent.kill9()?;
    walls(true)?;
    agent.restart()?;
    walls(true)?;
    assert!(agent.cli(["detach", "--reason", "test", "--yes-open-the-gate"])?.ok());
    walls(false)
}

#[test]
fn an_interface_that_comes_back_is_closed_until_it_is_guarded_again() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let internet = town.host(&INTERNET_ROUTER)?;
    let before = Counters::read(&agent)?;
    // Nobody is there to attach anything.
    agent.kill9()?;
    replace_office_card(&town)?;
    let watch = Watch::over(internet, HOST_INTERFACE, UNJUDGED, MARKER)?;
    let own = town.gateway.run(|| Ok(UdpSocket::bind((OFFICE.v4.0, 5353))?))?;
    let to_the_box = udp((PC_017.mac, OFFICE.mac), (PC_017.v4.into(), 4000), (OFFICE.v4.0.into(), 5353), UNJUDGED);
    let frames = vec![query(UNJUDGED), to_the_box];
    // The other way: nothing judges what the box says by that card either.
    let said = own.send_to(UNJUDGED, (PC_017.v4, 4001));
    assert!(said.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied), "the box spoke unjudged");
    let flood = Flood::start(town.host(&PC_017)?, HOST_INTERFACE, frames, OFTEN)?;
    flood.goes_on(300)?;
    let sent = flood.finish()?;
    // An agent that starts finds the new interface by itself.
    agent.restart()?;
    watch.saw_nothing(|| RawPort::open(town.host(&PC_017)?, HOST_INTERFACE)?.send(&query(MARKER)))?;
    own.set_nonblocking(true)?;
    assert!(own.recv(&mut [0; 64]).is_err(), "the box's own socket got what nobody had judged");
    let after = Counters::read(&agent)?;
    assert!(after.sum("sekimori_guard_packets_total", &[("counter", "guard_output")]) >= 1.0);
    let dropped = guarded(&after) - guarded(&before) + packets(&after, "internet") - packets(&before, "internet");
    assert!((dropped - f64::from(u32::try_from(sent)?)).abs() < 1.0, "{dropped} of {sent} drops were counted");
    Ok(())
}

/// Packets the guard dropped on their way through the box or into it.
fn guarded(counters: &Counters) -> f64 {
    counters.sum("sekimori_guard_packets_total", &[("counter", "guard_forward")])
        + counters.sum("sekimori_guard_packets_total", &[("counter", "guard_input")])
}

/// Packets that were not let out because nobody had judged them on their way in.
#[expect(clippy::cast_precision_loss, reason = "a few hundred packets")]
fn packets(counters: &Counters, network: &str) -> f64 {
    let reasons = ["not_judged", "unguarded_source"];
    reasons.map(|reason| counters.packets(network, "out", reason) as f64).iter().sum()
}

#[test]
fn a_running_agent_guards_an_interface_that_comes_back_by_itself() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let internet = town.host(&INTERNET_ROUTER)?;
    replace_office_card(&town)?;
    let pc = town.host(&PC_017)?;
    let query = Stream::to_server(pc, None, internet, (DNS_V4, 53), OFTEN)?;
    query.flows(50)?;
    // It passes because it is judged: the rule counted it, and the way in is attached again.
    let (code, status) = agent.json(["status"])?;
    assert_eq!(code, Some(0), "{status}");
    let office = status["interfaces"].as_array().and_then(|all| all.iter().find(|one| one["name"] == "lan0")).cloned();
    let office = office.unwrap_or_default();
    assert_eq!((&office["xdp"], &office["tcx"]), (&"native".into(), &true.into()), "{office}");
    assert_eq!(office["ifindex"], link::index(&town.gateway, "lan0")?);
    assert!(Counters::read(&agent)?.rule("names") >= 50);
    Ok(())
}

#[test]
fn an_interface_that_is_added_later_forwards_nothing() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let (container, second) = (Ns::new("container")?, Ns::new("second")?);
    link::veth(plug(&town.gateway, UNGUARDED.interface), plug(&container, HOST_INTERFACE).mac(CONTAINER.mac))?;
    link::address(&town.gateway, UNGUARDED.interface, UNGUARDED.v4.0, UNGUARDED.v4.1)?;
    link::address(&container, HOST_INTERFACE, CONTAINER.v4, UNGUARDED.v4.1)?;
    link::route(&container, "0.0.0.0/0".parse()?, UNGUARDED.v4.0)?;
    link::veth(plug(&town.gateway, "ctr1"), plug(&second, HOST_INTERFACE))?;
    link::address(&town.gateway, "ctr1", std::net::Ipv4Addr::new(172, 31, 1, 1), 24)?;
    link::address(&second, HOST_INTERFACE, std::net::Ipv4Addr::new(172, 31, 1, 5), 24)?;
    link::route(&second, "0.0.0.0/0".parse()?, std::net::Ipv4Addr::new(172, 31, 1, 1))?;
    let sent = |from: &Ns, to: std::net::Ipv4Addr| -> Result<()> {
        let socket = sekimori_tests::harness::service::udp_socket(from, None, (to, 53), SOON)?;
        for _ in 0..20 {
            socket.send(UNJUDGED)?;
        }
        Ok(())
    };
    let outside = Watch::over(internet, HOST_INTERFACE, UNJUDGED, MARKER)?;
    let inside = Watch::over(&container, HOST_INTERFACE, UNJUDGED, MARKER)?;
    sent(&container, DNS_V4)?;
    sent(&second, CONTAINER.v4)?;
    sent(pc, CONTAINER.v4)?;
    outside.saw_nothing(|| RawPort::open(pc, HOST_INTERFACE)?.send(&query(MARKER)))?;
    // The box itself reaches its containers: that is nobody's perimeter.
    inside.saw_nothing(|| {
        let socket = sekimori_tests::harness::service::udp_socket(&town.gateway, None, (CONTAINER.v4, 53), SOON)?;
        socket.send(MARKER)?;
        Ok(())
    })?;
    let counters = Counters::read(&agent)?;
    let guard = counters.sum("sekimori_guard_packets_total", &[("counter", "guard_forward")]);
    let judged = packets(&counters, "internet");
    assert!(guard + judged >= 40.0, "{guard} by the guard, {judged} on the way out");
    Ok(())
}

#[test]
fn a_bridge_that_is_added_later_forwards_nothing() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let (a, b) = (Ns::new("a")?, Ns::new("b")?);
    link::veth(plug(&town.gateway, "p0"), plug(&a, HOST_INTERFACE))?;
    link::veth(plug(&town.gateway, "p1"), plug(&b, HOST_INTERFACE))?;
    link::bridge(&town.gateway, "br0", &["p0", "p1"])?;
    let far = RawPort::open(&b, HOST_INTERFACE)?;
    let near = RawPort::open(&a, HOST_INTERFACE)?;
    for _ in 0..20 {
        near.send(&query(UNJUDGED))?;
    }
    let counted = || -> Result<Option<()>> {
        let counters = Counters::read(&agent)?;
        Ok((counters.sum("sekimori_guard_packets_total", &[("counter", "guard_bridge")]) >= 20.0).then_some(()))
    };
    tool::until("the bridge's guard to count the frames", SOON, counted)?;
    let leaked: Vec<_> = far.drain()?.into_iter().filter(|frame| frame.contains(UNJUDGED)).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    Ok(())
}

#[test]
fn a_flush_of_the_hosts_whole_ruleset_does_not_keep_the_second_wall_down() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let mut nft = town.gateway.command("nft");
    tool::must(nft.args(["flush", "ruleset"]), SOON)?;
    let deadline = Instant::now() + SOON;
    loop {
        // In this order: what says that it enforces has both walls from then on.
        let (code, status) = agent.json(["status"])?;
        let tables = tables(&town)?;
        let stand = ["inet", "bridge"].iter().all(|family| tables.contains(&format!("table {family} sekimori")));
        if code == Some(0) {
            assert!(stand, "it says that it enforces without the guard: {status}, {tables}");
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "not up again: {status}, {tables}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn two_interfaces_that_swap_names_are_guarded_again_as_what_they_are_now() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let rename = |from: &str, to: &str| -> Result<()> {
        tool::must(town.gateway.command("ip").args(["link", "set", from, "name", to]), SOON).map(drop)
    };
    for _ in 0..2 {
        rename("wan0", "t0")?;
        rename("lan0", "wan0")?;
        rename("t0", "lan0")?;
        let deadline = Instant::now() + SOON;
        loop {
            let (code, status) = agent.json(["status"])?;
            let interfaces = status["interfaces"].as_array().cloned().unwrap_or_default();
            let current = ["lan0", "wan0"].iter().all(|name| {
                let index = link::index(&town.gateway, name).unwrap_or(0);
                interfaces.iter().any(|one| {
                    one["name"] == *name && one["ifindex"] == index && one["xdp"] == "native" && one["tcx"] == true
                })
            });
            if code == Some(0) && current {
                break;
            }
            ensure!(Instant::now() < deadline, "not guarded again: {status}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // Where they belong again: judged by the right nets.
    let query = Stream::to_server(town.host(&PC_017)?, None, town.host(&INTERNET_ROUTER)?, (DNS_V4, 53), OFTEN)?;
    query.flows(50)?;
    assert_eq!(Counters::read(&agent)?.packets("office", "out", "not_judged"), 0);
    Ok(())
}

#[test]
fn a_foreign_program_in_front_of_ours_is_said_and_ends_the_claim_to_enforce() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    assert_eq!(agent.json(["status"])?.0, Some(0));
    let foreign = town.gateway.run(|| {
        let mut ebpf = object::load_private(16)?;
        let program: &mut SchedClassifier =
            ebpf.program_mut(object::PROGRAM_MARK).context("no such program")?.try_into()?;
        program.load()?;
        let first = TcAttachOptions::TcxOrder(LinkOrder::first());
        program.attach_with_options("wan0", TcAttachType::Egress, first)?;
        Ok(ebpf)
    })?;
    let (code, status) = agent.json(["status"])?;
    assert_eq!(code, Some(1), "{status}");
    assert!(status["why"].to_string().contains("wan0"), "{status}");
    drop(foreign);
    let deadline = Instant::now() + SOON;
    while agent.json(["status"])?.0 != Some(0) {
        ensure!(Instant::now() < deadline, "still not enforcing");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
