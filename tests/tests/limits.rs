//! How many conversations a rule lets live at once, how fast it lets new ones begin, and how long they may be idle.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    frame::Frame,
    gate::{DNS_RULE, Gate, Lane, POISON, SOON, is_marker, write},
    nft,
    packet::{
        Packet,
        flag::{ACK, RST, SYN},
        inwards,
    },
    raw::RawPort,
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{ADMIN_PC, CLOUD_V4, Host, INTERNET_ROUTER, PC_017},
};
use serde_json::Value;

/// The service nobody answers.
const APP: u16 = 5000;

fn rules(limits: &str) -> String {
    let app = format!(
        "
  - id: app
    from: office
    to: internet
    services: [udp/{APP}, tcp/{APP}]
    limits: {limits}
    purpose: test
    owner: test
"
    );
    format!("rules:{DNS_RULE}{app}")
}

fn datagram(host: &Host, port: u16) -> Frame {
    Packet::udp(inwards(host), (host.v4, port), (CLOUD_V4, APP), POISON).frame()
}

fn syn(host: &Host, port: u16) -> Frame {
    Packet::tcp(inwards(host), (host.v4, port), (CLOUD_V4, APP), (SYN, 1000, 0), &[]).frame()
}

/// Whether this frame arrives before the marker behind it.
fn arrives(lane: &Lane, frame: &Frame) -> Result<bool> {
    let ports = frame.ports();
    lane.from.send(frame)?;
    lane.from.send(&lane.marker)?;
    let mut found = false;
    lane.to.expect("the marker", SOON, |seen| {
        found |= seen.ports() == ports;
        is_marker(seen)
    })?;
    Ok(found)
}

#[test]
fn a_host_and_a_rule_have_as_many_conversations_at_once_as_they_may_and_no_more() -> Result<()> {
    let gate = Gate::up(&[&PC_017, &INTERNET_ROUTER], &rules("{flows_per_host: 3, flows: 5}"))?;
    let lane = gate.way_out()?;
    lane.mark()?;
    for port in 4001..=4003 {
        gate.admits(&lane, &datagram(&PC_017, port), POISON)?;
    }
    let too_many = |host: &Host, port| gate.refuses(&lane, &[datagram(host, port)], &[("office in too_many_flows", 1)]);
    too_many(&PC_017, 4004)?;
    // The neighbour has places of its own, as long as the rule has any.
    gate.admits(&lane, &datagram(&ADMIN_PC, 4001), POISON)?;
    gate.admits(&lane, &datagram(&ADMIN_PC, 4002), POISON)?;
    too_many(&ADMIN_PC, 4003)?;
    // What was admitted goes on, and a refused one takes nothing.
    for port in 4001..=4003 {
        gate.admits(&lane, &datagram(&PC_017, port), POISON)?;
    }
    too_many(&PC_017, 4004)?;
    ensure!(gate.counted()?.flows.get("app") == Some(&5));
    Ok(())
}

#[test]
fn a_conversation_that_closes_frees_its_place_and_a_switch_does_not() -> Result<()> {
    let gate = Gate::up(&[&PC_017, &INTERNET_ROUTER], &rules("{flows_per_host: 2}"))?;
    // Nobody may answer with a reset: that would close what the test opens.
    nft::load(
        gate.town.host(&INTERNET_ROUTER)?,
        "table inet quiet { chain out { type filter hook output priority 0; tcp flags rst drop; }; }",
    )?;
    let lane = gate.way_out()?;
    lane.mark()?;
    ensure!(arrives(&lane, &syn(&PC_017, 4001))? && arrives(&lane, &syn(&PC_017, 4002))?, "two are admitted");
    ensure!(!arrives(&lane, &syn(&PC_017, 4003))?, "a third conversation");
    gate.apply(&rules("{flows_per_host: 2, new: 1000/s}"))?;
    ensure!(!arrives(&lane, &syn(&PC_017, 4003))?, "a third conversation after a switch");
    ensure!(arrives(&lane, &syn(&PC_017, 4001))?, "a repeated SYN of a conversation that has its place");
    let abort = Packet::tcp(inwards(&PC_017), (PC_017.v4, 4001), (CLOUD_V4, APP), (RST | ACK, 1001, 0), &[]);
    ensure!(arrives(&lane, &abort.frame())?, "the end of the first");
    ensure!(arrives(&lane, &syn(&PC_017, 4003))?, "the third, now that there is a place");
    ensure!(!arrives(&lane, &syn(&PC_017, 4004))?, "a fourth");
    Ok(())
}

#[test]
fn a_burst_is_admitted_and_what_comes_faster_is_not() -> Result<()> {
    // More tests than the burst admits: each is asked as if nothing had been before it, also of the loaded programs.
    let test =
        format!("  - {{name: app, in: office, packet: \"udp {}:4000 > {CLOUD_V4}:{APP}\", expect: pass}}\n", PC_017.v4);
    let rules = format!("{}\ntests:\n{}", rules("{new_per_host: 1/h burst 4, new: 1/h burst 6}"), test.repeat(8));
    let gate = Gate::up(&[&PC_017, &INTERNET_ROUTER], &rules)?;
    let lane = gate.way_out()?;
    lane.mark()?;
    for port in 4001..=4004 {
        gate.admits(&lane, &datagram(&PC_017, port), POISON)?;
    }
    let too_fast = |host: &Host, port| gate.refuses(&lane, &[datagram(host, port)], &[("office in too_fast", 1)]);
    too_fast(&PC_017, 4005)?;
    // Conversations under way are nobody's new ones; the neighbour has a burst of its own, and the rule one for all.
    gate.admits(&lane, &datagram(&PC_017, 4001), POISON)?;
    gate.admits(&lane, &datagram(&ADMIN_PC, 4001), POISON)?;
    gate.admits(&lane, &datagram(&ADMIN_PC, 4002), POISON)?;
    too_fast(&ADMIN_PC, 4003)
}

#[test]
fn no_more_begin_in_any_span_than_rate_and_burst_allow() -> Result<()> {
    const RATE: f64 = 50.0;
    const BURST: f64 = 3.0;
    let gate = Gate::up(&[&PC_017, &INTERNET_ROUTER], &rules("{new_per_host: 50/s burst 3}"))?;
    let lane = gate.way_out()?;
    lane.mark()?;
    let begin = Instant::now();
    let mut sent = 0_u16;
    let mut admitted = 0_u32;
    // Until the rate, and not the burst alone, has let some in.
    tool::until("the rate to admit conversations", SOON, || {
        for _ in 0..40 {
            lane.from.send(&datagram(&PC_017, 10_000 + sent))?;
            sent += 1;
        }
        lane.from.send(&lane.marker)?;
        lane.to.expect("the marker", SOON, |seen| {
            admitted += u32::from(seen.contains(POISON));
            is_marker(seen)
        })?;
        Ok((admitted >= 15 || sent > 50_000).then_some(()))
    })?;
    let most = BURST + RATE * begin.elapsed().as_secs_f64();
    ensure!(f64::from(admitted) <= most, "{admitted} of {sent} admitted, at most {most}");
    ensure!(u32::from(sent) > admitted, "all {sent} were admitted: nothing was limited");
    Ok(())
}

#[test]
fn limits_hold_with_the_agent_dead() -> Result<()> {
    let mut gate = Gate::up(&[&PC_017, &INTERNET_ROUTER], &rules("{flows_per_host: 3, new: 1/h burst 4}"))?;
    let lane = gate.way_out()?;
    lane.mark()?;
    gate.admits(&lane, &datagram(&PC_017, 4001), POISON)?;
    let before = gate.counted()?;
    gate.agent.kill9()?;
    for (port, passes) in [(4002, true), (4003, true), (4004, false), (4005, false)] {
        ensure!(arrives(&lane, &datagram(&PC_017, port))? == passes, "{port} with the agent dead");
    }
    ensure!(arrives(&lane, &datagram(&ADMIN_PC, 4001))?, "the neighbour, with the agent dead");
    ensure!(!arrives(&lane, &datagram(&ADMIN_PC, 4002))?, "the fifth of a burst of four");
    gate.agent.restart()?;
    ensure!(!arrives(&lane, &datagram(&PC_017, 4006))?, "after a restart");
    let drops = gate.counted()?.since(&before).drops();
    let counted = |reason: &str| drops.get(&format!("office in {reason}")).copied();
    // Two are refused for their number; once the burst is used up, the rate is what is asked first.
    ensure!((counted("too_many_flows"), counted("too_fast")) == (Some(2), Some(2)), "{drops:?}");
    Ok(())
}

/// Changes the configuration of an agent between two starts.
fn set_timeouts(agent: &Agent, timeouts: Value) -> Result<()> {
    let mut config: Value = serde_json::from_slice(&fs::read(agent.config_path())?)?;
    config["timeouts"] = timeouts;
    Ok(fs::write(agent.config_path(), serde_json::to_vec(&config)?)?)
}

#[test]
fn idle_limits_are_the_configurations_and_change_without_a_loss() -> Result<()> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    let folder = tempfile::Builder::new().prefix("sk-limits-").tempdir()?;
    write(folder.path(), &rules("{flows: 1}"))?;
    let mut agent = Agent::start(&town.gateway, &Config::new(folder.path()))?;
    let (pc, router) = (
        RawPort::open(town.host(&PC_017)?, HOST_INTERFACE)?,
        RawPort::open(town.host(&INTERNET_ROUTER)?, HOST_INTERFACE)?,
    );
    let ask = |port: u16| -> Result<bool> {
        pc.send(&datagram(&PC_017, port))?;
        let deadline = Instant::now() + Duration::from_millis(300);
        while let Some(seen) = router.next(deadline)? {
            if seen.contains(POISON) && seen.ports() == Some((port, APP)) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let shown = |agent: &Agent| -> Result<Value> { Ok(agent.json(["status"])?.1["timeouts"].clone()) };
    ensure!(shown(&agent)?["udp_oneway"] == 30, "{}", shown(&agent)?);
    ensure!(ask(4001)?, "the only conversation there may be");
    ensure!(!ask(4002)?, "a second one");

    set_timeouts(&agent, serde_json::json!({"udp_oneway": "3s", "tcp_established": "1h"}))?;
    agent.restart()?;
    let now = shown(&agent)?;
    ensure!(now["udp_oneway"] == 3 && now["tcp_established"] == 3600 && now["udp_stream"] == 120, "{now}");
    let why = agent.json(["status"])?.1["why"].to_string();
    ensure!(why.contains("RFC 5382") && why.contains("tcp_established"), "{why}");
    // The first is forgotten after three seconds instead of thirty, and its place is free.
    let begin = Instant::now();
    tool::until("the place to be free", SOON, || Ok(ask(4002)?.then_some(()))).context("with a limit of 3 s")?;
    ensure!(begin.elapsed() < Duration::from_secs(9), "{:?}", begin.elapsed());
    // What lives goes on through another restart.
    set_timeouts(&agent, serde_json::json!({"udp_oneway": "10m"}))?;
    agent.restart()?;
    ensure!(ask(4002)?, "the conversation under way");
    ensure!(!ask(4003)?, "another one");
    Ok(())
}
