//! Groups changed at run time: in force at the next packet, all of a batch at once, kept over crashes, reboots and applies.

use std::{fs, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    policy::{Policies, TOWN, rule},
    stream::Stream,
    tool,
    town::Town,
    townhall::{CLOUD_V4, CLOUD_V6, DNS_V4, DNS_V6, INTERNET_ROUTER, PC_017},
};

const OFTEN: Duration = Duration::from_millis(1);
/// In the group from the beginning, and of no consequence.
const OTHER: &str = "192.0.2.0/24";

struct Scene {
    agent: Agent,
    policies: Policies,
    town: Town,
}

/// `members` are those the policy writes.
fn scene(members: &str) -> Result<Scene> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    town.translate()?;
    let policies = Policies::new()?;
    let path = policies.text("policy", &policy(members))?;
    let agent = Agent::start(&town.gateway, &Config::new(path))?;
    Ok(Scene { agent, policies, town })
}

fn policy(members: &str) -> String {
    let groups = format!("groups:\n  friends: [{members}]\nrules:\n");
    let rules = [rule("friends", "{zone: office, devices: [pc-017]}", "{network: internet, groups: [friends]}", "dns")];
    format!("{}{}", TOWN.replace("rules:\n", &groups), rules.concat())
}

fn query(town: &Town, to: impl Into<IpAddr>) -> Result<Stream> {
    Stream::to_server(town.host(&PC_017)?, None, town.host(&INTERNET_ROUTER)?, (to.into(), 53), OFTEN)
}

fn change(agent: &Agent, what: &str, prefixes: &[&str]) -> Result<serde_json::Value> {
    let mut words = vec!["group", what, "friends"];
    words.extend(prefixes);
    words.extend(["--reason", "the test"]);
    let (code, said) = agent.json(words)?;
    anyhow::ensure!(code == Some(0), "{what} {prefixes:?}: exit {code:?}: {said}");
    Ok(said)
}

#[test]
fn a_member_is_let_in_and_put_out_at_the_next_packet() -> Result<()> {
    let Scene { agent, town, policies: _policies } = scene(OTHER)?;
    for (addr, text) in [(IpAddr::from(CLOUD_V4), CLOUD_V4.to_string()), (IpAddr::from(CLOUD_V6), CLOUD_V6.to_string())] {
        let stream = query(&town, addr)?;
        stream.stands_still(50)?;
        let said = change(&agent, "add", &[&text])?;
        assert_eq!(said["compiled"], false, "{said}");
        stream.flows(100)?;
        change(&agent, "remove", &[&text])?;
        stream.stands_still(100)?;
    }
    // The other direction of what was opened while it was permitted.
    let cloud = CLOUD_V4.to_string();
    change(&agent, "add", &[&cloud])?;
    let answer = Stream::to_client(town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?, (CLOUD_V4, 53), OFTEN)?;
    answer.flows(100)?;
    change(&agent, "remove", &[&cloud])?;
    answer.stands_still(100)?;
    Ok(())
}

#[test]
fn a_member_of_the_policy_is_put_out_and_comes_back() -> Result<()> {
    let Scene { agent, town, policies: _policies } = scene("198.51.100.0/24, \"2001:db8:c0::/64\"")?;
    let (dns, cloud) = (query(&town, DNS_V4)?, query(&town, CLOUD_V4)?);
    let six = query(&town, DNS_V6)?;
    dns.flows(50)?;
    let said = change(&agent, "remove", &[&DNS_V4.to_string(), &DNS_V6.to_string()])?;
    assert_eq!(said["compiled"], false, "{said}");
    assert_eq!(said["notes"].as_array().map(Vec::len), Some(2), "{said}");
    dns.stands_still(50)?;
    six.stands_still(50)?;
    cloud.flows(50)?;
    change(&agent, "add", &[&DNS_V4.to_string(), &DNS_V6.to_string()])?;
    dns.flows(50)?;
    six.flows(50)?;
    cloud.lost_nothing()?;
    Ok(())
}

#[test]
fn changes_outlive_the_agent_a_reboot_and_an_apply() -> Result<()> {
    let Scene { mut agent, town, policies } = scene("198.51.100.53, 192.0.2.0/24")?;
    let (dns, cloud) = (query(&town, DNS_V4)?, query(&town, CLOUD_V4)?);
    dns.flows(20)?;
    change(&agent, "add", &[&CLOUD_V4.to_string()])?;
    change(&agent, "remove", &[&DNS_V4.to_string()])?;
    let as_changed = |agent: &Agent| -> Result<()> {
        cloud.flows(50)?;
        dns.stands_still(50)?;
        let rows = agent.cli(["group", "list", "--format", "json"])?.out;
        let row: serde_json::Value = serde_json::from_str(rows.trim())?;
        assert_eq!(row["added"][0]["prefix"], format!("{CLOUD_V4}/32"), "{row}");
        assert_eq!(row["removed"][0], format!("{DNS_V4}/32"), "{row}");
        assert_eq!(agent.json(["status"])?.1["members"]["friends"], 2);
        Ok(())
    };
    as_changed(&agent)?;
    agent.kill9()?;
    cloud.flows(100)?;
    dns.stands_still(100)?;
    agent.restart()?;
    as_changed(&agent)?;
    // Once more, now that nothing has changed since the switch; and a change right after.
    agent.kill9()?;
    agent.restart()?;
    as_changed(&agent)?;
    change(&agent, "add", &[&DNS_V4.to_string()])?;
    dns.flows(20)?;
    change(&agent, "remove", &[&DNS_V4.to_string()])?;
    as_changed(&agent)?;
    agent.apply(&policies.text("policy", &policy("198.51.100.53, 203.0.113.64/27"))?)?;
    as_changed(&agent)?;
    agent.kill9()?;
    fs::remove_dir_all(agent.pins_path())?;
    let mut nft = town.gateway.command("nft");
    tool::must(nft.args(["flush", "ruleset"]), Duration::from_secs(10))?;
    town.translate()?;
    agent.spawn()?;
    agent.wait_until_enforcing()?;
    as_changed(&agent)?;
    let records = agent.cli(["records", "--format", "json"])?.out;
    let actions: Vec<serde_json::Value> =
        records.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("the record")?;
    let changes = actions.iter().filter(|line| line["action"].as_str().is_some_and(|a| a.starts_with("group_")));
    assert_eq!(changes.filter(|line| line["reason"] == "the test" && line["result"]["ok"] == true).count(), 4);
    Ok(())
}

#[test]
fn a_member_for_a_while_goes_by_itself_and_what_makes_no_sense_is_refused() -> Result<()> {
    let Scene { agent, town, policies: _policies } = scene(OTHER)?;
    let stream = query(&town, CLOUD_V4)?;
    let (code, said) =
        agent.json(["group", "add", "friends", &CLOUD_V4.to_string(), "--for", "4s", "--reason", "repair"])?;
    assert_eq!(code, Some(0), "{said}");
    stream.flows(50)?;
    tool::until("the member to go", Duration::from_secs(20), || {
        Ok(agent.cli(["records", "--format", "json"])?.out.contains("group_expire").then_some(()))
    })?;
    stream.stands_still(50)?;
    for (words, exit) in [
        (["add", "strangers", "192.0.2.1"], 1),
        (["add", "friends", "192.0.2.1/24"], 2),
        (["add", "friends", "0.0.0.0/0"], 2),
        (["add", "friends", "router"], 2),
        (["remove", "friends", "198.51.100.99"], 1),
    ] {
        let all = ["group"].into_iter().chain(words).chain(["--reason", "x"]);
        let (code, said) = agent.json(all)?;
        assert_eq!(code, Some(exit), "{words:?}: {said}");
        assert!(said["error"]["message"].as_str().is_some_and(|text| text.len() > 20), "{said}");
    }
    let (code, _) = agent.json(["group", "add", "friends", "192.0.2.1"])?;
    assert_eq!(code, Some(2), "without a reason");
    stream.stands_still(20)?;
    Ok(())
}
