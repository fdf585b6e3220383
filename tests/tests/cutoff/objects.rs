//! Networks, zones, hosts, prefixes and everything; who may cut, and what is recorded.

use std::{os::unix::net::UnixStream, time::Duration};

use anyhow::{Context as _, Result};
use sekimori::{
    api::protocol::{Ask, CutoffAsk},
    cutoff::Object,
};
use sekimori_tests::harness::{
    counters::Counters,
    stream::Stream,
    tool,
    townhall::{ASP_V4, CLOUD_V4, DNS_V4, INTERNET, INTERNET_ROUTER, LGWAN_PC, LGWAN_ROUTER, PC_017},
};
use serde_json::{Value, json};

use crate::scene::{A_WHILE, OFTEN, OPERATORS, Scene, Traffic, VIEWERS, ask_as, asked, cut, restore, scene};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_network_is_cut_off_in_both_directions_and_the_others_lose_nothing() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(50)?;
    traffic.download.flows(20_000)?;
    traffic.upload.flows(20_000)?;
    assert!(town.ping(&PC_017, CLOUD_V4)?);
    assert!(town.ping(&PC_017, CLOUD_V4)?);

    cut(&agent, &["network", "internet"])?;
    for stream in [&traffic.query, &traffic.answer, &traffic.other, &traffic.own] {
        stream.stands_still(50)?;
    }
    traffic.download.stands_still(A_WHILE)?;
    traffic.upload.stands_still(A_WHILE)?;
    assert!(!town.ping(&PC_017, CLOUD_V4)?);
    traffic.lgwan.flows(50)?;
    traffic.ssh.flows(10_000)?;
    let counters = Counters::read(&agent)?;
    for direction in ["in", "out"] {
        assert!(counters.packets("internet", direction, "cut_network") > 100, "{direction}");
    }
    assert!(counters.sum("sekimori_network_cut", &[("network", "internet")]) > 0.5);
    assert!(counters.sum("sekimori_network_cut", &[("network", "lgwan")]) < 0.5);

    restore(&agent, &["network", "internet"])?;
    for stream in [&traffic.query, &traffic.answer, &traffic.other, &traffic.own] {
        stream.flows(50)?;
    }
    traffic.download.flows(10_000)?;
    traffic.upload.flows(10_000)?;
    assert!(town.ping(&PC_017, CLOUD_V4)?);
    traffic.download.finish()?;
    traffic.upload.finish()?;
    traffic.ssh.finish()?;
    traffic.lgwan.lost_nothing()?;
    Ok(())
}

#[test]
fn a_zone_is_cut_off_but_for_the_management_path() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(50)?;
    cut(&agent, &["zone", "office"])?;
    for stream in [&traffic.query, &traffic.answer, &traffic.other] {
        stream.stands_still(50)?;
    }
    traffic.download.stands_still(A_WHILE)?;
    traffic.ssh.flows(10_000)?;
    traffic.upload.flows(10_000)?;
    restore(&agent, &["zone", "office"])?;
    traffic.query.flows(50)?;
    traffic.answer.flows(50)?;
    traffic.own.lost_nothing()?;
    traffic.lgwan.lost_nothing()?;
    Ok(())
}

#[test]
fn a_host_is_cut_off_by_address_by_mac_and_by_name_and_nobody_else_is() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    for name in ["192.168.10.17", "02:00:00:00:10:17", "pc-017"] {
        traffic.query.flows(50)?;
        traffic.answer.flows(50)?;
        cut(&agent, &["host", name])?;
        for stream in [&traffic.query, &traffic.answer] {
            stream.stands_still(50).with_context(|| format!("cutting off {name}"))?;
        }
        assert!(!town.ping(&PC_017, CLOUD_V4)?, "{name}");
        restore(&agent, &["host", name])?;
    }
    traffic.query.flows(50)?;
    traffic.other.lost_nothing()?;
    traffic.own.lost_nothing()?;
    traffic.lgwan.lost_nothing()?;
    assert!(Counters::read(&agent)?.packets("office", "in", "cut_host") > 100);
    Ok(())
}

#[test]
fn a_prefix_is_cut_off_whoever_talks_to_it() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(50)?;
    traffic.answer.flows(50)?;
    traffic.own.flows(50)?;
    cut(&agent, &["prefix", "198.51.100.0/24"])?;
    for stream in [&traffic.query, &traffic.answer, &traffic.own] {
        stream.stands_still(50)?;
    }
    traffic.download.stands_still(A_WHILE)?;
    traffic.upload.stands_still(A_WHILE)?;
    restore(&agent, &["prefix", "198.51.100.0/24"])?;
    for stream in [&traffic.query, &traffic.answer, &traffic.own] {
        stream.flows(50)?;
    }
    // Another machine of the same network.
    traffic.other.lost_nothing()?;
    traffic.lgwan.lost_nothing()?;
    Ok(())
}

#[test]
fn all_leaves_the_management_path_open_and_including_management_does_not() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    let everything = [&traffic.query, &traffic.answer, &traffic.other, &traffic.own, &traffic.lgwan];
    for stream in everything {
        stream.flows(50)?;
    }
    cut(&agent, &["all"])?;
    for stream in everything {
        stream.stands_still(50)?;
    }
    traffic.download.stands_still(A_WHILE)?;
    traffic.ssh.flows(20_000)?;
    cut(&agent, &["all", "--including-management"])?;
    traffic.ssh.stands_still(A_WHILE)?;
    restore(&agent, &["all"])?;
    for stream in everything {
        stream.flows(50)?;
    }
    traffic.ssh.flows(10_000)?;
    assert!(Counters::read(&agent)?.packets("lgwan", "in", "cut_all") > 50);
    Ok(())
}

/// An administrator's terminal that is cut off still reaches the box: whoever cut it must hear that. A restoration names no end.
#[test]
fn what_stays_open_is_said() -> Result<()> {
    let Scene { agent, town: _town, _policies } = scene()?;
    let open = |words: &[&str]| -> Result<bool> {
        let (code, done) = asked(&agent, &[&["cutoff"], words, &["--for", "1h", "--reason", "worm"]].concat())?;
        assert_eq!(code, Some(0), "{done}");
        Ok(done["notes"].to_string().contains("management path stays open: lan0"))
    };
    let objects = [
        (&["host", "admin-pc"][..], true),
        (&["host", "192.168.10.18"], true),
        (&["prefix", "192.168.10.16/30"], true),
        (&["zone", "office"], true),
        (&["all"], true),
        (&["host", "pc-017"], false),
        (&["zone", "dmz"], false),
        (&["network", "internet"], false),
        (&["prefix", "192.168.10.32/28"], false),
        // The other end of the path is the box itself.
        (&["host", "192.168.10.1"], true),
        (&["prefix", "192.168.10.0/28"], true),
    ];
    for (object, expected) in objects {
        assert_eq!(open(object)?, expected, "{object:?}");
        let (_, done) = asked(&agent, &[&["restore"], object, &["--reason", "clean"]].concat())?;
        assert!(done["objects"][0]["until"].is_null(), "{done}");
    }
    assert!(!open(&["all", "--including-management"])?);
    Ok(())
}

#[test]
fn every_cut_and_restoration_is_recorded_with_who_and_why() -> Result<()> {
    let Scene { agent, _policies, .. } = scene()?;
    for words in [["cutoff", "network", "internet"], ["restore", "network", "internet"], ["cutoff", "host", "pc-017"]] {
        let said = agent.cli(words)?;
        assert_eq!(said.code, Some(2), "without a reason: {said:?}");
        assert!(said.err.contains("--reason"), "{said:?}");
    }
    let unknown = agent.cli(["cutoff", "network", "intranet", "--reason", "worm"])?;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    let absent = agent.cli(["restore", "network", "internet", "--reason", "clean"])?;
    assert_eq!(absent.code, Some(1), "{absent:?}");
    cut(&agent, &["network", "internet"])?;
    cut(&agent, &["host", "pc-017"])?;
    restore(&agent, &["network", "internet"])?;
    let records = agent.cli(["records", "--format", "json"])?;
    let lines: Vec<Value> = records.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line["action"] == "cutoff" || line["action"] == "restore")
        .map(|line| {
            assert_eq!((&line["actor"]["uid"], &line["from"]), (&json!(0), &json!("socket")), "{line}");
            assert_eq!(line["result"]["ok"], true, "{line}");
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (word(&line["action"]), word(&line["objects"][0]), word(&line["reason"]))
        })
        .collect();
    let told: Vec<_> = told.iter().map(|(a, o, r)| (a.as_str(), o.as_str(), r.as_str())).collect();
    assert_eq!(
        told,
        [
            ("cutoff", "network internet", "worm"),
            ("cutoff", "host pc-017", "worm"),
            ("restore", "network internet", "clean")
        ]
    );
    Ok(())
}

#[test]
fn a_viewer_may_look_and_not_cut_and_a_stranger_may_do_neither() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let query = Stream::to_server(town.host(&PC_017)?, None, town.host(&INTERNET_ROUTER)?, (DNS_V4, 53), OFTEN)?;
    query.flows(50)?;
    let cut = || {
        Ask::Cutoff(CutoffAsk {
            objects: vec![Object::Network { name: INTERNET.net.into() }],
            reason: "worm".into(),
            ..CutoffAsk::default()
        })
    };
    let ask = |group: &str, ask: Ask| ask_as(&agent, 65_534, group, ask);
    assert_eq!(ask(VIEWERS, Ask::Status {})?.exit, 0);
    for (group, wish) in [(VIEWERS, cut()), ("nogroup", cut()), ("nogroup", Ask::Status {})] {
        let reply = ask(group, wish)?;
        let code = reply.error.as_ref().map(|problem| problem.code.as_str());
        assert_eq!((reply.exit, code), (2, Some("forbidden")), "{group}: {reply:?}");
    }
    query.flows(50)?;
    let reply = ask(OPERATORS, cut())?;
    assert_eq!(reply.exit, 0, "{reply:?}");
    query.stands_still(50)?;
    Ok(())
}

/// The disk was full when it was placed, or somebody deleted the file: what the tables say is cut stays cut.
#[test]
fn a_cut_that_is_not_on_disk_survives_the_agent() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    cut(&agent, &["network", "internet"])?;
    assert!(!town.ping(&PC_017, CLOUD_V4)?);
    agent.kill9()?;
    let notes = std::fs::read_dir(agent.state_path())?.filter_map(Result::ok).find(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.contains("cut")
    });
    std::fs::remove_file(notes.context("no file of cut-offs")?.path())?;
    agent.restart()?;
    assert!(!town.ping(&PC_017, CLOUD_V4)?, "the restart lifted it");
    restore(&agent, &["network", "internet"])?;
    // The box's own question for its router's MAC was cut as well; the kernel asks again after a while.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !town.ping(&PC_017, CLOUD_V4)? {
        anyhow::ensure!(std::time::Instant::now() < deadline, "not restored");
    }
    Ok(())
}

#[test]
fn the_switch_works_although_its_socket_was_removed() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    std::fs::remove_file(agent.socket_path())?;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while cut(&agent, &["network", "internet"]).is_err() {
        anyhow::ensure!(std::time::Instant::now() < deadline, "the socket did not come back");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!town.ping(&PC_017, CLOUD_V4)?);
    // Whoever looks or restores meanwhile waits for it to be there again, and finds what was cut past it.
    std::fs::remove_file(agent.socket_path())?;
    let past = agent.cli(["cutoff", "network", "lgwan", "--reason", "worm"])?;
    assert!(past.ok() || past.err.contains("in force"), "{past:?}");
    std::fs::remove_file(agent.socket_path()).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    let list = agent.cli(["cutoff", "list"])?;
    assert!(list.ok() && list.out.contains("network internet") && list.out.contains("network lgwan"), "{list:?}");
    std::fs::remove_file(agent.socket_path())?;
    restore(&agent, &["network", "internet", "network", "lgwan"])?;
    assert!(town.ping(&PC_017, CLOUD_V4)?);
    Ok(())
}

/// Power was lost while the registry was written: names have no numbers any more, and what is cut stays cut.
#[test]
fn a_damaged_registry_lifts_nothing() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    cut(&agent, &["network", "internet"])?;
    agent.kill9()?;
    std::fs::write(agent.state_path().join("registry.json"), "{\"x\":")?;
    agent.restart()?;
    assert!(!town.ping(&PC_017, CLOUD_V4)?, "the restart lifted it");
    Ok(())
}

/// The disk lost what says which revision is in force, or which number a name has, and then the power went: the gate is shut again,
/// with the cut.
#[test]
fn a_damaged_state_opens_nothing_after_a_reboot() -> Result<()> {
    for (file, text, guards) in
        [("current.json", Some("x"), true), ("current.json", None, true), ("registry.json", None, false)]
    {
        let Scene { mut agent, town, _policies } = scene()?;
        cut(&agent, &["network", "internet"])?;
        let asp = (town.host(&LGWAN_PC)?, town.host(&LGWAN_ROUTER)?);
        let asp = Stream::to_server(asp.0, None, asp.1, (ASP_V4, 443), OFTEN)?;
        asp.flows(20)?;
        agent.kill9()?;
        std::fs::remove_dir_all(agent.pins_path())?;
        tool::must(town.gateway.command("nft").args(["flush", "ruleset"]), SOON)?;
        town.translate()?;
        let path = agent.state_path().join(file);
        match text {
            Some(text) => std::fs::write(path, text)?,
            None => std::fs::remove_file(path)?,
        }
        agent.spawn()?;
        // A command that finds no agent works by itself.
        let socket = agent.socket_path();
        tool::until("the agent to listen", SOON, || Ok(UnixStream::connect(&socket).is_ok().then_some(())))?;
        let said = agent.cli(["status"])?;
        assert!(said.out.contains(file), "{said:?}");
        if guards { asp.flows(20) } else { asp.stands_still(20).map(drop) }?;
        assert!(!town.ping(&PC_017, CLOUD_V4)?, "{file}");
    }
    Ok(())
}

/// What is behind the network would pass under its new name.
#[test]
fn a_policy_without_what_is_cut_is_refused() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    cut(&agent, &["network", "internet"])?;
    let path = _policies.path().join("policy.yaml");
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(&path, text.replace("internet", "inet2"))?;
    let path = path.to_str().context("a path")?;
    let refused = agent.cli(["apply", path])?;
    assert!(!refused.ok() && refused.err.contains("network internet is cut off"), "{refused:?}");
    assert!(!town.ping(&PC_017, CLOUD_V4)?);
    let verified = agent.cli(["cutoff", "verify"])?;
    assert!(verified.ok(), "{verified:?}");
    restore(&agent, &["network", "internet"])?;
    let applied = agent.cli(["apply", path])?;
    assert!(applied.ok(), "{applied:?}");
    assert!(town.ping(&PC_017, CLOUD_V4)?);
    Ok(())
}
