//! The first start does not break what runs, and what it forgave once it does not forgive later.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    counters::Counters,
    download::Download,
    frame::{Frame, ip},
    policy::{Policies, rule},
    raw::RawPort,
    stream::Stream,
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{
        ADMIN_PC, ASP_V6, CLOUD_V4, CLOUD_V6, DNS_V4, INTERNET_ROUTER, LGWAN_PC, LGWAN_ROUTER, MacAddr, OFFICE, PC_017,
    },
};

const OFTEN: Duration = Duration::from_millis(1);
const SOON: Duration = Duration::from_secs(15);
/// TCP notices a lost segment and tries again after 0.2 s; a conversation that was dropped and had to be
/// forgiven later would stand still for longer.
const STALL: Duration = Duration::from_millis(700);

fn town() -> Result<Town> {
    let town = Town::build(&[&PC_017, &ADMIN_PC, &LGWAN_PC, &INTERNET_ROUTER, &LGWAN_ROUTER])?;
    // Tracks IPv4 alone: what goes by IPv6 is known to no conntrack.
    town.translate()?;
    Ok(town)
}

fn rules() -> Vec<String> {
    vec![
        rule("office", "office", "internet", "https, dns"),
        rule("asp", "lgwan-facing", "lgwan", "https"),
        rule("ssh", "{zone: office, devices: [admin-pc]}", "box", "ssh"),
    ]
}

fn config(policies: &Policies, adopt_seconds: u32) -> Result<Config> {
    let mut config = Config::new(policies.town("policy", &rules())?);
    config.adopt_seconds = adopt_seconds;
    Ok(config)
}

/// A segment in the middle of a conversation that nobody has seen.
fn segment(macs: (MacAddr, MacAddr), from: SocketAddr, to: SocketAddr) -> Result<Frame> {
    let builder = ip(macs, from.ip(), to.ip()).context("one family")?;
    let builder = builder.tcp(from.port(), to.port(), 1_000_000, 64_240).ack(2_000_000);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, b"in the middle")?;
    Ok(Frame(bytes))
}

#[test]
fn what_runs_goes_on_when_the_gate_is_closed_for_the_first_time() -> Result<()> {
    let town = town()?;
    let policies = Policies::new()?;
    let (pc, admin, lgwan_pc) = (town.host(&PC_017)?, town.host(&ADMIN_PC)?, town.host(&LGWAN_PC)?);
    let (internet, lgwan) = (town.host(&INTERNET_ROUTER)?, town.host(&LGWAN_ROUTER)?);
    let ssh = Download::start(admin, None, &town.gateway, (OFFICE.v4.0, 22))?;
    let translated = Download::start(pc, None, internet, (CLOUD_V4, 443))?;
    let routed = Download::start(lgwan_pc, None, lgwan, (ASP_V6, 443))?;
    let query = Stream::to_server(pc, None, internet, (DNS_V4, 53), OFTEN)?;
    let answer = Stream::to_client(pc, internet, (CLOUD_V4, 53), OFTEN)?;
    // Nothing of the policy's permits this one: it ends.
    let refused = Stream::to_client(pc, internet, (CLOUD_V4, 5000), OFTEN)?;
    for download in [&ssh, &translated, &routed] {
        download.flows(20_000)?;
    }
    for stream in [&query, &answer, &refused] {
        stream.flows(50)?;
    }
    let agent = Agent::start(&town.gateway, &config(&policies, 60)?)?;
    refused.stands_still(50)?;
    for (name, download) in [("ssh", ssh), ("translated", translated), ("routed", routed)] {
        download.flows(50_000).context(name)?;
        let gap = download.longest_gap();
        assert!(gap < STALL, "{name} stood still for {gap:?}");
        download.finish().context(name)?;
    }
    query.lost_nothing()?;
    answer.lost_nothing()?;
    assert!(Counters::read(&agent)?.rule("office") > 0);
    Ok(())
}

#[test]
fn a_permitted_conversation_is_adopted_within_the_window_and_a_denied_one_is_not() -> Result<()> {
    let town = town()?;
    let policies = Policies::new()?;
    let agent = Agent::start(&town.gateway, &config(&policies, 60)?)?;
    let far = RawPort::open(town.host(&INTERNET_ROUTER)?, HOST_INTERFACE)?;
    let near = RawPort::open(town.host(&PC_017)?, HOST_INTERFACE)?;
    let macs = (PC_017.mac, OFFICE.mac);
    let from = SocketAddr::from((PC_017.v6, 40_000));
    near.send(&segment(macs, from, (CLOUD_V6, 22).into())?)?;
    near.send(&segment(macs, from, (CLOUD_V6, 443).into())?)?;
    let arrived = far.expect("the permitted segment", SOON, |frame| frame.contains(b"in the middle"))?;
    assert_eq!(arrived.ports(), Some((40_000, 443)));
    let counters = Counters::read(&agent)?;
    assert_eq!(counters.packets("office", "in", "adopted"), 1, "{:?}", counters.reasons());
    Ok(())
}

#[test]
fn after_the_window_a_segment_in_the_middle_is_dropped_even_over_a_restart() -> Result<()> {
    let town = town()?;
    let policies = Policies::new()?;
    let mut agent = Agent::start(&town.gateway, &config(&policies, 1)?)?;
    let near = RawPort::open(town.host(&PC_017)?, HOST_INTERFACE)?;
    let macs = (PC_017.mac, OFFICE.mac);
    let mut port = 40_000;
    let mut dropped = |agent: &Agent| -> Result<()> {
        tool::until("the window to end", SOON, || {
            let before = Counters::read(agent)?.packets("office", "in", "tcp_not_syn");
            port += 1;
            near.send(&segment(macs, (PC_017.v6, port).into(), (CLOUD_V6, 443).into())?)?;
            let after = Counters::read(agent)?.packets("office", "in", "tcp_not_syn");
            Ok((after == before + 1).then_some(()))
        })
    };
    dropped(&agent)?;
    let adopted = |agent: &Agent| Ok::<_, anyhow::Error>(Counters::read(agent)?.packets("office", "in", "adopted"));
    let before = adopted(&agent)?;
    agent.kill9()?;
    agent.restart()?;
    // A restart is no first attachment: no new window, from the first segment on.
    dropped(&agent)?;
    assert_eq!(adopted(&agent)?, before, "the restart opened another window");
    Ok(())
}
