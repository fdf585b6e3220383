//! What a cut-off shows for itself.

use std::{net::IpAddr, os::unix::net::UnixStream, time::Duration};

use anyhow::{Context as _, Result};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    counters::Counters,
    policy::{Policies, rule},
    tool,
    town::Town,
    townhall::{INTERNET_ROUTER, PC_017},
};
use serde_json::{Value, json};

use crate::scene::{Scene, Traffic, asked, cut, recorded, restore, scene};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_proof_says_when_and_what_was_refused_and_is_recorded() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(50)?;
    traffic.download.flows(20_000)?;
    traffic.ssh.flows(10_000)?;
    for object in [&["network", "internet"][..], &["zone", "office"], &["host", "pc-017"], &["all"]] {
        let (code, done) = asked(&agent, &[&["cutoff"], object, &["--reason", "worm"]].concat())?;
        assert_eq!(code, Some(0), "{done}");
        let proof = &done["proof"];
        assert_eq!(proof["proven"], json!(true), "{done}");
        assert!(proof["switch_us"].as_u64().context("no time")? < 1_000_000, "{proof}");
        assert!(proof["settled_ms"].is_u64() && proof["switched_at"].is_string(), "{proof}");
        let seen = &proof["objects"][0];
        assert_eq!((&seen["object"], &seen["in_tables"]), (&json!(object.join(" ")), &json!(true)), "{proof}");
        assert!(seen["conversations"].as_u64() > Some(0), "{proof}");
        assert!(seen["probes"].as_u64() > Some(1), "{proof}");
        assert_eq!(seen["probes"], seen["probes_dropped"], "{proof}");
        let (code, again) = asked(&agent, &[&["cutoff", "verify"], object].concat())?;
        assert_eq!((code, &again["proven"]), (Some(0), &json!(true)), "{again}");
        assert!(again["objects"][0]["refused_packets"].as_u64() > Some(20), "{again}");
        let line = recorded(&agent, &["cutoff_proof"])?.pop().context("no line")?;
        assert_eq!((&line["objects"][0], &line["result"]["ok"]), (&json!(object.join(" ")), &json!(true)), "{line}");
        assert_eq!(line["details"]["objects"][0]["object"], json!(object.join(" ")), "{line}");
        restore(&agent, object)?;
        traffic.query.flows(20)?;
    }
    Ok(())
}

/// What only the management path lets through a cut is counted as that, and does not speak against the cut.
#[test]
fn the_administrator_at_work_does_not_spoil_the_proof() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.ssh.flows(10_000)?;
    for object in [&["zone", "office"][..], &["all"]] {
        cut(&agent, object)?;
        let before = Counters::read(&agent)?.packets("office", "in", "management");
        traffic.ssh.flows(20_000)?;
        let verified = agent.cli(["cutoff", "verify"])?;
        assert!(verified.ok(), "{verified:?}");
        let after = Counters::read(&agent)?.packets("office", "in", "management");
        assert!(after > before, "{before} {after}");
        restore(&agent, object)?;
    }
    Ok(())
}

/// The administrator's PC and the box find each other although everything is cut and neither remembers the other's MAC.
#[test]
fn the_management_path_lasts_longer_than_a_neighbour_entry() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.ssh.flows(10_000)?;
    cut(&agent, &["all"])?;
    let flush =
        |ns: &sekimori_tests::harness::netns::Ns| tool::must(ns.command("ip").args(["neigh", "flush", "all"]), SOON);
    flush(&town.gateway)?;
    flush(town.host(&sekimori_tests::harness::townhall::ADMIN_PC)?)?;
    traffic.ssh.flows(20_000)?;
    // Nobody else is found.
    let router: IpAddr = INTERNET_ROUTER.v4.into();
    assert!(!town.ping(&PC_017, INTERNET_ROUTER.v4)?, "{router}");
    Ok(())
}

#[test]
fn what_cannot_be_verified_is_said_and_ends_with_1() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(20)?;
    let nothing = agent.cli(["cutoff", "verify"])?;
    assert_eq!(nothing.code, Some(1), "{nothing:?}");
    cut(&agent, &["network", "internet"])?;
    assert!(agent.cli(["cutoff", "verify"])?.ok());
    // Somebody writes to the tables behind the agent's back: everything passes again.
    let pins = agent.pins_path().join("maps/CUT");
    let mut bpftool = town.gateway.command("bpftool");
    let zero = ["0", "0", "0", "0", "0", "0", "0", "0"];
    let pinned = pins.to_str().context("a path of ours")?;
    let words = [&["map", "update", "pinned", pinned, "key", "0", "0", "0", "0", "value"], &zero[..]].concat();
    tool::must(bpftool.args(words), SOON)?;
    traffic.query.flows(20)?;
    let (code, proof) = asked(&agent, &["cutoff", "verify"])?;
    assert_eq!((code, &proof["proven"]), (Some(1), &json!(false)), "{proof}");
    let said = proof["unverified"].as_array().map(Vec::len);
    assert!(said >= Some(2), "counters and probes both speak against it: {proof}");
    let passed: Option<u64> = proof["objects"][0]["passed"].as_u64();
    assert!(passed > Some(0), "{proof}");
    let line = recorded(&agent, &["cutoff_proof"])?.pop().context("no line")?;
    assert_eq!(line["result"]["ok"], Value::Bool(false), "{line}");
    Ok(())
}

/// A detached interface is not judged, whatever the tables say.
#[test]
fn a_program_that_is_not_there_is_missed() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    cut(&agent, &["network", "internet"])?;
    let links = agent.pins_path().join("links");
    // The agent would attach again at the next change of a link; it looks once a minute without one.
    for link in std::fs::read_dir(&links)?.filter_map(Result::ok) {
        if link.file_name().to_string_lossy().starts_with("wan0:out") {
            std::fs::remove_file(link.path())?;
        }
    }
    let (code, proof) = asked(&agent, &["cutoff", "verify"])?;
    assert_eq!(code, Some(1), "{proof}");
    assert!(proof["unverified"].to_string().contains("wan0"), "{proof}");
    // A host may be met anywhere.
    let (code, done) = asked(&agent, &["cutoff", "host", "198.51.100.5", "--reason", "worm"])?;
    assert_eq!(code, Some(1), "{done}");
    assert!(done["proof"]["unverified"].to_string().contains("wan0"), "{done}");
    drop(town);
    Ok(())
}

/// Where no program looks at anything nothing is cut, and nothing is claimed.
#[test]
fn without_any_policy_nothing_is_proven() -> Result<()> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    let policies = Policies::new()?;
    let policy = policies.town("policy", &[rule("office", "office", "internet", "ping")])?;
    policies.text("policy", "version: 1\nzones: [")?;
    let mut agent = Agent::prepare(&town.gateway, &Config::new(policy))?;
    agent.spawn()?;
    tool::until("the agent to listen", SOON, || Ok(UnixStream::connect(agent.socket_path()).is_ok().then_some(())))?;
    for words in [&["cutoff", "all", "--reason", "worm"][..], &["cutoff", "verify"]] {
        let said = agent.cli(words.iter().copied())?;
        assert_eq!(said.code, Some(1), "{words:?}: {said:?}");
        assert!(!said.out.contains("PROVEN: nothing") && said.out.contains("no policy is in force"), "{said:?}");
    }
    Ok(())
}

/// An interface that is not there passes nothing, unless it is there under another name.
#[test]
fn an_interface_under_another_name_is_no_proof() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    cut(&agent, &["network", "internet"])?;
    for (before, after) in [("wan0", "wan9"), ("wan9", "wan0")] {
        tool::must(town.gateway.command("ip").args(["link", "set", before, "down"]), SOON)?;
        tool::must(town.gateway.command("ip").args(["link", "set", before, "name", after, "up"]), SOON)?;
        let proven = after == "wan0";
        tool::until("what verify says", SOON, || {
            let said = agent.cli(["cutoff", "verify"])?;
            let named = said.out.contains("wan9 is up and in no policy");
            Ok((said.ok() == proven && named != proven).then_some(()))
        })?;
    }
    Ok(())
}
