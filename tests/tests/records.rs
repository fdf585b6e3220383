//! Law 10: what administrators did is on record, and the record tells when somebody touched it.

use std::fs;

use anyhow::{Context as _, Result};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    policy::{Policies, rule},
    town::Town,
    townhall::{INTERNET_ROUTER, LGWAN_PC, LGWAN_ROUTER, PC_017, WEB},
};
use serde_json::{Value, json};

struct Scene {
    agent: Agent,
    _policies: Policies,
    _town: Town,
}

fn scene() -> Result<Scene> {
    let town = Town::build(&[&PC_017, &WEB, &LGWAN_PC, &INTERNET_ROUTER, &LGWAN_ROUTER])?;
    let policies = Policies::new()?;
    let policy = policies.town("policy", &[rule("names", "office", "internet", "dns")])?;
    let agent = Agent::start(&town.gateway, &Config::new(policy))?;
    Ok(Scene { agent, _policies: policies, _town: town })
}

fn cut_and_restore(agent: &Agent) -> Result<()> {
    for words in [["cutoff", "zone", "office"], ["restore", "zone", "office"]] {
        let said = agent.cli([&words[..], &["--reason", "practice"]].concat())?;
        anyhow::ensure!(said.ok(), "{said:?}");
    }
    Ok(())
}

#[test]
fn the_record_is_listed_shown_and_found_whole_with_the_agent_and_without() -> Result<()> {
    let Scene { mut agent, _policies, _town } = scene()?;
    cut_and_restore(&agent)?;
    let whole = |agent: &Agent| -> Result<u64> {
        let (code, found) = agent.json(["records", "verify"])?;
        assert_eq!((code, &found["whole"]), (Some(0), &json!(true)), "{found}");
        found["lines"].as_u64().context("no lines")
    };
    let lines = whole(&agent)?;
    assert!(lines >= 5, "{lines}");
    let text = agent.cli(["records", "verify", "--lang", "ja"])?;
    assert!(text.ok() && text.out.starts_with("完全です"), "{text:?}");
    let list = agent.cli(["records", "list", "--action", "cutoff", "--object", "zone office", "--format", "json"])?;
    let line: Value = serde_json::from_str(list.out.trim())?;
    assert_eq!(line["reason"], json!("practice"), "{list:?}");
    let number = line["n"].to_string();
    let shown = agent.cli(["records", "show", &number])?;
    assert!(shown.ok() && shown.out.contains("\"switch_us\""), "{shown:?}");
    let none = agent.cli(["records", "list", "--until", "2020-01-01T00:00:00Z", "--format", "json"])?;
    assert_eq!(none.out.trim(), "", "{none:?}");
    assert_eq!(agent.cli(["records", "list", "--action", "dance"])?.code, Some(2));
    agent.kill9()?;
    assert_eq!(whole(&agent)?, lines);
    agent.restart()?;
    assert!(whole(&agent)? > lines);
    Ok(())
}

#[test]
fn whoever_touches_the_record_is_found_out() -> Result<()> {
    let Scene { mut agent, _policies, _town } = scene()?;
    cut_and_restore(&agent)?;
    agent.stop()?;
    let path = agent.state_path().join("records.jsonl");
    let whole = fs::read_to_string(&path)?;
    let lines: Vec<&str> = whole.lines().collect();
    let at = lines.iter().position(|line| line.contains("\"cutoff\"")).context("no cut-off")?;
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let mut without = lines.clone();
    without.remove(at);
    let changed = whole.replacen("practice", "nothing!", 1);
    for (what, text) in
        [("a line taken out", joined(&without)), ("a word changed", changed), ("the end cut off", joined(&lines[..at]))]
    {
        fs::write(&path, &text)?;
        let said = agent.cli(["records", "verify"])?;
        assert_eq!(said.code, Some(1), "{what}: {said:?}");
        assert!(said.out.starts_with("NOT WHOLE"), "{what}: {said:?}");
    }
    // The agent that finds it says so, goes on behind what is there, and changes nothing of it.
    let left = fs::read_to_string(&path)?;
    agent.spawn()?;
    agent.wait_until_enforcing()?;
    let (_, status) = agent.json(["status"])?;
    assert!(status["faults"].to_string().contains("not whole"), "{status}");
    let now = fs::read_to_string(&path)?;
    assert!(now.starts_with(&left));
    assert!(now[left.len()..].contains("record_damaged"), "{now}");
    Ok(())
}

/// Under a running agent, and together with what guards its end: nothing that is written later makes it whole again.
#[test]
fn a_record_that_was_taken_away_is_missed_for_ever() -> Result<()> {
    let Scene { mut agent, _policies, _town } = scene()?;
    cut_and_restore(&agent)?;
    let path = agent.state_path().join("records.jsonl");
    let verified = |agent: &Agent| -> Result<()> {
        let said = agent.cli(["records", "verify"])?;
        anyhow::ensure!(said.code == Some(1) && said.out.starts_with("NOT WHOLE"), "{said:?}");
        Ok(())
    };
    let first: Value = serde_json::from_str(fs::read_to_string(&path)?.lines().last().context("no line")?)?;
    fs::remove_file(&path)?;
    cut_and_restore(&agent)?;
    let now = fs::read_to_string(&path)?;
    assert!(now.contains("record_damaged") && now.contains("\"cutoff\""), "{now}");
    let next: Value = serde_json::from_str(now.lines().next().context("no line")?)?;
    assert_eq!(next["n"].as_u64(), first["n"].as_u64().map(|n| n + 1), "{now}");
    let (_, status) = agent.json(["status"])?;
    assert!(status["faults"].to_string().contains("not whole"), "{status}");
    verified(&agent)?;

    // The end, with the file that names it, while nobody runs.
    agent.stop()?;
    let kept: String = fs::read_to_string(&path)?.split_inclusive('\n').take(2).collect();
    fs::write(&path, kept)?;
    fs::remove_file(agent.state_path().join("records.head.json"))?;
    verified(&agent)?;
    for _ in 0..2 {
        agent.restart()?;
        verified(&agent)?;
        let (_, status) = agent.json(["status"])?;
        assert!(status["faults"].to_string().contains("not whole"), "{status}");
        agent.stop()?;
    }
    // All of it.
    fs::remove_file(&path)?;
    fs::remove_file(agent.state_path().join("records.head.json"))?;
    agent.spawn()?;
    agent.wait_until_enforcing()?;
    assert!(fs::read_to_string(&path)?.contains("record_damaged"));
    verified(&agent)
}
