//! A host in quarantine leaves the fast path at its next packet; everybody else stays on it.

use anyhow::{Context as _, Result, ensure};
use sekimori_tests::harness::{
    fast::Scene,
    gate::SOON,
    policy::{TOWN, rule},
    stream::Stream,
    tool,
    town::Town,
    townhall::{ATTACKER_V4, CLOUD_V4, CLOUD_V6, INTERNET_ROUTER, PC_017, WEB},
};

use super::shared::OFTEN;

/// Fifty more of the stream pass the kernel by.
fn passes_by(scene: &Scene, stream: &Stream) -> Result<()> {
    tool::until("the stream to pass the kernel by", SOON, || {
        let (before, arrived) = (scene.forwarded()?, stream.arrived().count);
        tool::until("50 more", SOON, || Ok((stream.arrived().count >= arrived + 50).then_some(())))?;
        Ok((scene.forwarded()? - before <= 5).then_some(()))
    })
}

fn said(scene: &Scene, words: &[&str]) -> Result<()> {
    let said = scene.agent.cli(words.iter().copied())?;
    ensure!(said.ok(), "{said:?}");
    Ok(())
}

#[test]
fn a_quarantine_takes_the_host_off_it_and_nobody_else() -> Result<()> {
    // The server is no registered device: its MAC says nothing of its address.
    let registered =
        r#"dmz: {interfaces: [dmz0], prefixes: [192.168.20.0/24, "2001:db8:20::/64"], devices: registered}"#;
    let town = TOWN.replace(registered, &registered.replace("devices: registered", "devices: any"));
    let (devices, rules) = town.split_once("  web:\n").context("no device web")?;
    let (_, rules) = rules.split_once("rules:\n").context("no rules")?;
    let policy = [
        devices,
        "rules:\n",
        rules,
        &rule("web", "[office, dmz]", "internet", "udp/443"),
        &rule("inside", "office", "dmz", "udp/443, udp/444"),
    ]
    .concat();
    let hosts = [&PC_017, &WEB, &INTERNET_ROUTER];
    let scene = Scene::with(Town::build(&hosts)?, &hosts, true, &policy)?;
    let (pc, web, internet) = (scene.town.host(&PC_017)?, scene.town.host(&WEB)?, scene.town.host(&INTERNET_ROUTER)?);
    let pcs = [
        Stream::to_client(pc, internet, (CLOUD_V4, 443), OFTEN)?,
        Stream::to_client(pc, internet, (CLOUD_V6, 443), OFTEN)?,
    ];
    let inside = [Stream::to_client(pc, web, (WEB.v4, 443), OFTEN)?, Stream::to_client(pc, web, (WEB.v6, 444), OFTEN)?];
    let webs = Stream::to_client(web, internet, (ATTACKER_V4, 443), OFTEN)?;
    let every = || pcs.iter().chain(&inside);
    for stream in every().chain([&webs]) {
        stream.flows(20)?;
    }
    passes_by(&scene, &webs)?;
    said(&scene, &["quarantine", "host", "pc-017", "--reason", "scan"])?;
    for stream in every() {
        stream.stands_still(100)?;
    }
    passes_by(&scene, &webs)?;
    said(&scene, &["release", "host", "pc-017", "--reason", "clean"])?;
    for stream in every() {
        stream.flows(20)?;
    }

    // By its MAC alone: known where it answers, and what is sent to it once the kernel says who the next hop is.
    passes_by(&scene, &webs)?;
    said(&scene, &["quarantine", "host", "02:00:00:00:20:10", "--reason", "scan"])?;
    for stream in inside.iter().chain([&webs]) {
        stream.stands_still(100)?;
    }
    // What is sent to it goes to the kernel and ends behind it: it would be counted with the others.
    webs.finish()?;
    for stream in &pcs {
        passes_by(&scene, stream)?;
    }
    said(&scene, &["release", "host", "02:00:00:00:20:10", "--reason", "clean"])?;
    for stream in every() {
        stream.flows(20)?;
    }
    passes_by(&scene, &pcs[0])
}
