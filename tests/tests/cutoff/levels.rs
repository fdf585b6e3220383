//! How deep a cut goes.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sekimori_tests::harness::{
    tool,
    townhall::{CLOUD_V4, PC_017},
};
use serde_json::json;

use crate::scene::{A_WHILE, Scene, Traffic, asked, cut, restore, scene};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn what_was_flushed_does_not_resume_and_what_was_dropped_does() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.download.flows(20_000)?;
    traffic.upload.flows(20_000)?;
    traffic.query.flows(20)?;
    traffic.ssh.flows(10_000)?;

    cut(&agent, &["host", "pc-017"])?;
    restore(&agent, &["host", "pc-017"])?;
    traffic.download.flows(20_000).context("dropped only: it resumes")?;

    let (code, done) = asked(&agent, &["cutoff", "network", "internet", "--level", "flush", "--reason", "worm"])?;
    assert_eq!(code, Some(0), "{done}");
    let object = &done["objects"][0];
    assert_eq!((&object["level"], &object["in_force"]), (&json!("flush"), &json!(true)), "{done}");
    assert!(object["forgotten"].as_u64() > Some(3), "{done}");
    restore(&agent, &["network", "internet"])?;
    // Nobody had to open these anew, so nothing of them comes by itself; a datagram opens a conversation each time.
    traffic.download.stands_still(A_WHILE)?;
    traffic.upload.stands_still(A_WHILE)?;
    traffic.query.flows(20)?;
    traffic.ssh.flows(10_000).context("not behind the internet")?;
    traffic.lgwan.lost_nothing()?;
    assert!(town.ping(&PC_017, CLOUD_V4)?, "a new conversation is welcome");
    Ok(())
}

#[test]
fn at_level_link_the_interface_goes_down_is_held_down_and_comes_up_again() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(20)?;
    let up = |name: &str| -> Result<bool> {
        let mut ip = town.gateway.command("ip");
        Ok(tool::must(ip.args(["-j", "link", "show", "dev", name]), SOON)?.out.contains("\"UP\""))
    };
    assert!(up("wan0")?);
    let (code, done) = asked(&agent, &["cutoff", "network", "internet", "--level", "link", "--reason", "worm"])?;
    assert_eq!(code, Some(0), "{done}");
    assert_eq!(done["objects"][0]["links"], json!(["wan0"]), "{done}");
    let checklist = done["checklist"].to_string();
    assert!(checklist.contains("wan0") && !checklist.contains("is out"), "{checklist}");
    assert!(!up("wan0")?);
    traffic.query.stands_still(20)?;

    // Somebody brings it up; the agent, and one that was killed in between, take it down again.
    let bring_up = || tool::must(town.gateway.command("ip").args(["link", "set", "wan0", "up"]), SOON);
    bring_up()?;
    tool::until("the interface to be held down", SOON, || Ok((!up("wan0")?).then_some(())))?;
    agent.kill9()?;
    bring_up()?;
    agent.restart()?;
    tool::until("the interface to be held down", SOON, || Ok((!up("wan0")?).then_some(())))?;
    traffic.query.stands_still(20)?;

    let (code, done) = asked(&agent, &["restore", "network", "internet", "--reason", "clean"])?;
    assert_eq!((code, &done["objects"][0]["links"]), (Some(0), &json!(["wan0"])), "{done}");
    assert!(up("wan0")?);
    // Only what came up is called so.
    asked(&agent, &["cutoff", "network", "internet", "--level", "link", "--reason", "worm"])?;
    tool::must(town.gateway.command("ip").args(["link", "set", "wan0", "name", "wan9"]), SOON)?;
    let (code, done) = asked(&agent, &["restore", "network", "internet", "--reason", "clean"])?;
    assert!(code == Some(1) && done["objects"][0]["links"].is_null(), "{done}");
    assert!(done["error"]["message"].as_str().is_some_and(|text| text.contains("wan0")), "{done}");
    tool::must(town.gateway.command("ip").args(["link", "set", "wan9", "name", "wan0"]), SOON)?;
    traffic.lgwan.lost_nothing()?;

    // The management path's own interface stays up, and a host has none.
    let (code, done) = asked(&agent, &["cutoff", "zone", "office", "--level", "link", "--reason", "worm"])?;
    assert_eq!(code, Some(1), "{done}");
    assert!(done["error"]["message"].as_str().is_some_and(|text| text.contains("lan0")), "{done}");
    assert!(up("lan0")?);
    // Its cable is the administrator's.
    let checklist = done["checklist"].to_string();
    assert!(checklist.contains("lan0 STAYS IN") && !checklist.contains("lan0 pulled"), "{checklist}");
    let words = ["cutoff", "all", "--level", "link", "--including-management", "--drill", "--reason", "drill"];
    let checklist = asked(&agent, &words)?.1["checklist"].to_string();
    assert!(checklist.contains("lan0 pulled") && checklist.contains("wan0 pulled"), "{checklist}");
    let host = agent.cli(["cutoff", "host", "pc-017", "--level", "link", "--reason", "worm"])?;
    assert_eq!(host.code, Some(2), "{host:?}");
    Ok(())
}

#[test]
fn several_objects_are_cut_together_and_restored_together_or_not_at_all() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(20)?;
    cut(&agent, &["network", "internet", "host", "lgwan-pc", "prefix", "10.80.0.0/16"])?;
    traffic.query.stands_still(20)?;
    traffic.own.stands_still(20)?;
    traffic.lgwan.stands_still(20)?;
    traffic.ssh.flows(10_000)?;
    let (code, list) = (agent.cli(["cutoff", "list"])?, agent.cli(["cutoff", "list", "--format", "json"])?);
    assert!(code.ok() && code.out.contains("prefix 10.80.0.0/16"), "{code:?}");
    assert_eq!(list.out.lines().count(), 3, "{list:?}");

    let absent = agent.cli(["restore", "network", "internet", "zone", "office", "--reason", "clean"])?;
    assert_eq!(absent.code, Some(1), "{absent:?}");
    traffic.query.stands_still(20)?;
    let dry = agent.cli(["restore", "network", "internet", "--dry-run"])?;
    assert!(dry.ok() && dry.out.contains("rule"), "{dry:?}");
    traffic.query.stands_still(20)?;
    restore(&agent, &["network", "internet", "host", "lgwan-pc", "prefix", "10.80.0.0/16"])?;
    traffic.query.flows(20)?;
    traffic.lgwan.flows(20)?;
    Ok(())
}
