//! What ends it, or never takes it.

use std::time::{Duration, Instant};

use super::shared::{OFTEN, Running};
use anyhow::{Context as _, Result, ensure};
use sekimori::dataplane::maps::Maps;
use sekimori_tests::harness::{
    counted::Counted,
    fast::{Scene, Talk},
    gate::SOON,
    nft,
    packet::{Packet, inwards},
    policy::rule,
    service::Server,
    stream::Stream,
    tool,
    townhall::{ATTACKER_V4, CLOUD_V4, CLOUD_V6, INTERNET, INTERNET_ROUTER, PC_017},
};

#[test]
fn another_mac_or_another_receiver_does_not_take_it() -> Result<()> {
    let mut running = Running::up(&[])?;
    let mut stolen = running.talk.ask();
    stolen.macs.0[5] ^= 0x40;
    running.refused(&stolen, "office in mac_mismatch")?;
    running.fast()?;
    // Addressed to somebody else on the segment: seen, never sent on.
    let forwarded = running.scene.forwarded()?;
    for last in [0x18, 0x66] {
        let mut astray = running.talk.ask();
        astray.macs.1 = [2, 0, 0, 0, 0x10, last];
        let good = running.talk.ask();
        running.a.send(&astray.frame())?;
        let (bad, body) = (astray.body.clone(), good.body.clone());
        let marker = || running.a.send(&good.frame());
        running.b.expect_none("it", SOON, |frame| frame.contains(&bad), marker, |frame| frame.contains(&body))?;
    }
    ensure!(running.scene.forwarded()? <= forwarded + 1, "the conversation itself left the fast path");
    Ok(())
}

/// Both directions at full rate while this is cut off.
fn stands(scene: &Scene, object: &[&str], streams: &[&Stream]) -> Result<()> {
    for stream in streams {
        stream.flows(20)?;
    }
    tool::until("the streams to pass the kernel by", SOON, || {
        let (before, sent) = (scene.forwarded()?, streams[0].sent());
        tool::until("50 more", SOON, || Ok((streams[0].sent() >= sent + 50).then_some(())))?;
        Ok((scene.forwarded()? - before <= 2).then_some(()))
    })?;
    let cut = [&["cutoff"], object, &["--reason", "worm"]].concat();
    let said = scene.agent.cli(cut.iter().copied())?;
    ensure!(said.ok(), "{said:?}");
    for stream in streams {
        stream.stands_still(100).with_context(|| format!("{object:?}"))?;
    }
    Ok(())
}

fn restored(scene: &Scene, object: &[&str]) -> Result<()> {
    let restore = [&["restore"], object, &["--reason", "clean"]].concat();
    let said = scene.agent.cli(restore.iter().copied())?;
    ensure!(said.ok(), "{said:?}");
    Ok(())
}

#[test]
fn a_cut_off_stops_it_from_the_next_packet_on_with_or_without_an_agent() -> Result<()> {
    let mut scene = Scene::up(&[&INTERNET_ROUTER], true)?;
    let (pc, internet) = (scene.town.host(&PC_017)?.clone(), scene.town.host(&INTERNET_ROUTER)?.clone());
    let answers = Stream::to_client(&pc, &internet, (CLOUD_V4, 443), OFTEN)?;
    let answers6 = Stream::to_client(&pc, &internet, (CLOUD_V6, 443), OFTEN)?;
    // A server that answers now and then, so that the conversation is one.
    let echo = Server::udp(&internet, (ATTACKER_V4, 443), |data, _| Some(data.to_vec()))?;
    let asks = Stream::echoed(&pc, echo.address(), OFTEN)?;
    let streams = [&answers, &answers6, &asks];
    for object in [
        &["network", "internet"][..],
        &["zone", "office"],
        &["host", "192.168.10.17"],
        &["host", "02:00:00:00:10:17"],
        &["all"],
    ] {
        // The host's IPv4 address says nothing of its IPv6 one.
        let streams: Vec<_> = streams
            .iter()
            .copied()
            .filter(|one| object[1..] != ["192.168.10.17"] || !std::ptr::eq(*one, &answers6))
            .collect();
        stands(&scene, object, &streams)?;
        restored(&scene, object)?;
    }
    for stream in streams {
        stream.flows(20)?;
    }
    let before = answers.arrived().count;
    scene.agent.kill9()?;
    // Nobody is needed for what goes on.
    answers.flows(500)?;
    ensure!(answers.arrived().count >= before + 500);
    stands(&scene, &["network", "internet"], &streams)
}

#[test]
fn a_rule_of_the_hosts_own_is_met_at_once_and_void_when_it_is_gone() -> Result<()> {
    let running = Running::up(&[])?;
    let scene = &running.scene;
    let pc = scene.town.host(&PC_017)?;
    let stream = Stream::to_client(pc, scene.town.host(&INTERNET_ROUTER)?, (CLOUD_V4, 443), OFTEN)?;
    let fast = || {
        let (before, sent) = (scene.forwarded()?, stream.sent());
        tool::until("50 more", SOON, || Ok((stream.sent() >= sent + 50).then_some(())))?;
        Ok((scene.forwarded()? - before <= 2).then_some(()))
    };
    tool::until("the stream to pass the kernel by", SOON, fast)?;
    let table = "table inet other { chain f { type filter hook forward priority 5; ip saddr 198.51.100.5 drop; }; }";
    nft::load(&scene.town.gateway, table)?;
    // The kernel's notice and one look of the agent's, no more.
    let within = Instant::now() + Duration::from_millis(300);
    while Instant::now() < within {
        std::thread::sleep(OFTEN);
    }
    stream.stands_still(100)?;
    scene.gateway("nft delete table inet other")?;
    stream.flows(50)?;
    tool::until("the stream to pass the kernel by again", SOON, fast)
}

#[test]
fn a_switch_or_a_deadline_that_ends_the_permission_ends_it_here() -> Result<()> {
    let mut running = Running::up(&[])?;
    // A deadline of the flow that has just passed: judged anew, by the slow way.
    let mut maps = Maps::pinned(&running.scene.agent.pins_path().join("maps"))?;
    let views: Vec<_> = maps.flows4.iter().collect::<Result<_, _>>()?;
    ensure!(views.len() >= 2, "{} views", views.len());
    for (key, mut view) in views {
        view.deadline = 1;
        maps.flows4.insert(key, view, 0)?;
    }
    running.slow()?;
    running.fast()?;
    // The same with a reply, which asks the initiator's view.
    let views: Vec<_> = maps.flows4.iter().collect::<Result<_, _>>()?;
    for (key, mut view) in views {
        view.deadline = 1;
        maps.flows4.insert(key, view, 0)?;
    }
    let answer = running.talk.answer();
    running.scene.slow(running.back(), &answer)?;
    running.fast()?;

    let without = running.scene.policies.town("without", &[rule("other", "office", "internet", "ping")])?;
    running.scene.agent.apply(&without)?;
    let ask = running.talk.ask();
    running.refused(&ask, "office in flow_ended")?;
    let answer = running.talk.answer();
    let before = Counted::read(&running.scene.agent)?;
    running.b.send(&answer.frame())?;
    let drops = || {
        let drops = Counted::read(&running.scene.agent)?.since(&before).drops();
        Ok((drops.get("office out no_flow") == Some(&1)).then_some(()))
    };
    tool::until("the answer to be dropped", SOON, drops)?;
    ensure!(!running.a.drain()?.iter().any(|frame| frame.contains(&answer.body)), "the answer arrived");
    Ok(())
}

#[test]
fn what_the_host_translates_never_takes_it_even_if_nobody_is_there_to_forbid_it() -> Result<()> {
    let mut running = Running::up(&[])?;
    running.scene.agent.kill9()?;
    running.scene.town.translate()?;
    let mut talk = Talk::udp(false, 4100);
    for _ in 0..10 {
        let ask = talk.ask();
        let forwarded = running.scene.forwarded()?;
        running.a.send(&ask.frame())?;
        let text = ask.body.get(8..).context("no text")?.to_vec();
        let seen = running.b.expect("the masqueraded packet", SOON, |frame| frame.contains(&text))?;
        assert_eq!(seen.ips().map(|ips| ips.0), Some(INTERNET.v4.0.into()));
        ensure!(running.scene.forwarded()? == forwarded + 1, "past the kernel");
        // And back, to be translated again.
        let (_, port) = (seen.ips(), seen.ports().context("no ports")?.0);
        let text = talk.answer().body.get(8..).context("no text")?.to_vec();
        let answer = Packet::udp(inwards(&INTERNET_ROUTER), (CLOUD_V4, 443), (INTERNET.v4.0, port), &text);
        running.b.send(&answer.frame())?;
        let seen = running.a.expect("the answer", SOON, |frame| frame.contains(&text))?;
        assert_eq!(seen.ips().map(|ips| ips.1), Some(PC_017.v4.into()));
        ensure!(running.scene.forwarded()? == forwarded + 2, "the answer past the kernel");
    }
    Ok(())
}
