//! Restoring in stages: hosts or services first, while the rest stays cut off.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sekimori_tests::harness::{
    agent::Agent,
    counters::Counters,
    stream::Stream,
    tool,
    townhall::{CLOUD_V4, PC_017},
};
use serde_json::{Value, json};

use crate::scene::{A_WHILE, Scene, Traffic, asked, cut, recorded, restore, said, scene};

const SOON: Duration = Duration::from_secs(20);

/// Restores some of an object.
fn first(agent: &Agent, object: &[&str], what: &[&str]) -> Result<()> {
    said(agent, &[&["restore"], object, &["--first"], what, &["--reason", "looks clean"]].concat())
}

/// It flows again; a question for a MAC that was cut as well may have to be repeated.
fn flows_soon(what: &str, stream: &Stream) -> Result<()> {
    tool::until(what, SOON, || Ok(stream.flows(20).ok()))
}

fn listed(agent: &Agent) -> Result<Value> {
    let list = agent.cli(["cutoff", "list", "--format", "json"])?;
    serde_json::from_str(list.out.trim()).with_context(|| format!("{list:?}"))
}

#[test]
fn hosts_first_then_more_of_them_then_everybody() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(50)?;
    traffic.download.flows(20_000)?;
    traffic.upload.flows(20_000)?;
    let internet = ["network", "internet"];
    cut(&agent, &internet)?;
    traffic.query.stands_still(20)?;

    let (code, dry) = asked(&agent, &["restore", "network", "internet", "--first", "host:pc-017", "--dry-run"])?;
    assert_eq!((code, &dry["first"]), (Some(0), &json!(["host:pc-017"])), "{dry}");
    traffic.query.stands_still(20)?;
    assert!(listed(&agent)?.get("first").is_none());

    first(&agent, &internet, &["host:pc-017"])?;
    flows_soon("pc-017", &traffic.query)?;
    flows_soon("what pc-017 asked for", &traffic.answer)?;
    traffic.download.flows(20_000)?;
    assert!(town.ping(&PC_017, CLOUD_V4)?);
    // Behind the translation they all have one address; and what was open before the cut stays refused.
    for stream in [&traffic.other, &traffic.own] {
        stream.stands_still(50)?;
    }
    traffic.upload.stands_still(A_WHILE)?;
    traffic.lgwan.flows(50)?;
    let counters = Counters::read(&agent)?;
    assert!(counters.packets("office", "in", "cut_network") > 50, "admin-pc is refused where it comes in");

    assert_eq!(listed(&agent)?["first"], json!(["host:pc-017"]));
    let status = agent.cli(["status"])?;
    assert!(status.out.contains("host:pc-017"), "{status:?}");
    let (code, proof) = asked(&agent, &["cutoff", "verify"])?;
    assert_eq!((code, &proof["proven"]), (Some(1), &json!(false)), "{proof}");
    assert_eq!(proof["objects"][0]["in_tables"], json!(true), "{proof}");
    assert!(proof["unverified"].to_string().contains("host:pc-017"), "{proof}");
    let line = recorded(&agent, &["restore"])?.pop().context("no line")?;
    assert_eq!((&line["details"]["first"], &line["result"]["ok"]), (&json!(["host:pc-017"]), &json!(true)), "{line}");

    // It outlives the agent, and widens.
    agent.kill9()?;
    traffic.query.flows(50)?;
    traffic.other.stands_still(50)?;
    agent.restart()?;
    traffic.query.flows(50)?;
    traffic.other.stands_still(50)?;
    first(&agent, &internet, &["host:admin-pc"])?;
    flows_soon("admin-pc", &traffic.other)?;
    traffic.query.flows(50)?;
    traffic.own.stands_still(50)?;
    assert_eq!(listed(&agent)?["first"], json!(["host:pc-017", "host:admin-pc"]));

    restore(&agent, &internet)?;
    for stream in [&traffic.query, &traffic.other, &traffic.own] {
        flows_soon("everybody", stream)?;
    }
    traffic.upload.flows(20_000)?;
    traffic.lgwan.lost_nothing()?;
    Ok(())
}

#[test]
fn services_first_translated_and_published_alike() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(50)?;
    traffic.download.flows(20_000)?;
    traffic.upload.flows(20_000)?;
    let internet = ["network", "internet"];
    cut(&agent, &internet)?;
    traffic.upload.stands_still(A_WHILE)?;
    first(&agent, &internet, &["service:https"])?;
    traffic.download.flows(20_000)?;
    traffic.upload.flows(20_000)?;
    for stream in [&traffic.query, &traffic.answer, &traffic.other, &traffic.own] {
        stream.stands_still(50)?;
    }
    assert!(!town.ping(&PC_017, CLOUD_V4)?);
    first(&agent, &internet, &["service:dns", "service:ping"])?;
    for stream in [&traffic.query, &traffic.other, &traffic.own] {
        flows_soon("dns", stream)?;
    }
    assert!(town.ping(&PC_017, CLOUD_V4)?);
    // Cut off again, it is cut off whole, at once.
    cut(&agent, &internet)?;
    for stream in [&traffic.query, &traffic.answer, &traffic.other, &traffic.own] {
        stream.stands_still(50)?;
    }
    traffic.download.stands_still(A_WHILE)?;
    assert!(listed(&agent)?.get("first").is_none());
    Ok(())
}

#[test]
fn zones_hosts_prefixes_and_everything_can_be_restored_in_stages() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    for stream in [&traffic.query, &traffic.other, &traffic.own, &traffic.lgwan] {
        stream.flows(50)?;
    }
    let everybody = [&traffic.query, &traffic.other];
    for (object, what) in [
        (&["zone", "office"][..], "host:02:00:00:00:10:17"),
        (&["prefix", "192.168.10.0/24"], "host:192.168.10.17"),
        (&["all"], "host:pc-017"),
    ] {
        cut(&agent, object)?;
        for stream in everybody {
            stream.stands_still(20).with_context(|| format!("{object:?}"))?;
        }
        first(&agent, object, &[what])?;
        flows_soon(what, &traffic.query).with_context(|| format!("{object:?}"))?;
        traffic.other.stands_still(50).with_context(|| format!("{object:?}"))?;
        restore(&agent, object)?;
        flows_soon("the others", &traffic.other)?;
    }
    for stream in [&traffic.own, &traffic.lgwan] {
        flows_soon("the rest", stream)?;
    }
    cut(&agent, &["host", "pc-017"])?;
    traffic.query.stands_still(20)?;
    first(&agent, &["host", "pc-017"], &["service:dns"])?;
    flows_soon("dns of pc-017", &traffic.query)?;
    assert!(!town.ping(&PC_017, CLOUD_V4)?);
    // A wider cut that is whole beats it.
    cut(&agent, &["prefix", "192.168.10.0/28"])?;
    traffic.query.flows(20)?;
    cut(&agent, &["prefix", "192.168.10.16/28"])?;
    traffic.query.stands_still(50)?;
    Ok(())
}

#[test]
fn one_list_for_all_and_nothing_that_nobody_knows() -> Result<()> {
    let Scene { agent, town: _town, _policies } = scene()?;
    cut(&agent, &["network", "internet"])?;
    cut(&agent, &["zone", "dmz"])?;
    for bad in ["pc-017", "host:nobody", "service:nosuch", "service:any", "zone:office"] {
        let said = agent.cli(["restore", "network", "internet", "--first", bad, "--reason", "x"])?;
        assert_eq!(said.code, Some(2), "{bad}: {said:?}");
    }
    first(&agent, &["network", "internet"], &["service:https"])?;
    let other = agent.cli(["restore", "zone", "dmz", "--first", "service:dns", "--reason", "x"])?;
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(other.err.contains("network internet"), "{other:?}");
    let both = ["network", "internet", "zone", "dmz"];
    first(&agent, &both, &["service:dns"])?;
    let list = agent.cli(["cutoff", "list", "--lang", "ja"])?;
    assert_eq!(list.out.matches("service:https, service:dns").count(), 2, "{list:?}");
    restore(&agent, &["network", "internet"])?;
    assert_eq!(listed(&agent)?["first"], json!(["service:https", "service:dns"]));
    Ok(())
}
