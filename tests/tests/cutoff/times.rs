//! Cuts with an end, and rehearsals.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sekimori_tests::harness::tool;
use serde_json::json;

use crate::scene::{Scene, Traffic, asked, cut, recorded, restore, scene};

const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_cut_for_a_while_lifts_itself_even_over_the_death_of_the_agent() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(20)?;
    let (code, done) = asked(&agent, &["cutoff", "network", "internet", "--for", "3s", "--reason", "maintenance"])?;
    assert_eq!(code, Some(0), "{done}");
    assert!(done["objects"][0]["until"].is_string(), "{done}");
    traffic.query.stands_still(20)?;
    agent.kill9()?;
    traffic.query.stands_still(20)?;
    agent.restart()?;
    tool::until("the cut to lift itself", SOON, || Ok(traffic.query.flows(5).ok()))?;
    let line = recorded(&agent, &["restore"])?.pop().context("no line")?;
    assert_eq!((&line["actor"]["role"], &line["objects"]), (&json!("agent"), &json!(["network internet"])), "{line}");

    // A longer wish, or one without an end, is never shortened.
    asked(&agent, &["cutoff", "network", "internet", "--for", "7d", "--reason", "a"])?;
    asked(&agent, &["cutoff", "network", "internet", "--for", "1s", "--reason", "b"])?;
    let list = agent.cli(["cutoff", "list", "--format", "json"])?;
    let cut: serde_json::Value = serde_json::from_str(list.out.trim())?;
    assert!(
        cut["until"].as_str().context("no end")? > done["objects"][0]["until"].as_str().context("no end")?,
        "{cut}"
    );
    asked(&agent, &["cutoff", "network", "internet", "--reason", "c"])?;
    let list = agent.cli(["cutoff", "list", "--format", "json"])?;
    assert!(!list.out.contains("until"), "{list:?}");
    restore(&agent, &["network", "internet"])?;
    let (code, done) = asked(&agent, &["cutoff", "network", "internet", "--until", "23:59:59", "--reason", "x"])?;
    assert_eq!(code, Some(0), "{done}");
    traffic.query.stands_still(20)?;
    Ok(())
}

#[test]
fn a_drill_does_everything_but_cut_and_is_recorded_as_one() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let traffic = Traffic::start(&town)?;
    traffic.query.flows(20)?;
    let started = jiff::Timestamp::now().checked_sub(Duration::from_secs(300))?.to_string();
    let words = ["cutoff", "network", "internet", "--drill", "--started", &started, "--reason", "yearly drill"];
    let (code, done) = asked(&agent, &words)?;
    assert_eq!((code, &done["drill"]), (Some(0), &json!(true)), "{done}");
    assert!(done["people_seconds"].as_i64() >= Some(300), "{done}");
    let steps: Vec<_> = done["steps"].as_array().context("no steps")?.iter().map(|step| step["step"].clone()).collect();
    assert_eq!(steps, ["resolve", "tables", "state", "record", "watch"]);
    assert!(done["proof"]["objects"][0]["conversations"].as_u64() > Some(0), "{done}");
    let text = agent.cli(["cutoff", "network", "internet", "--drill", "--reason", "yearly drill"])?;
    assert!(text.ok() && text.out.starts_with("DRILL"), "{text:?}");
    traffic.query.flows(20)?;
    assert!(agent.cli(["cutoff", "list"])?.out.contains("nothing"));
    let lines = recorded(&agent, &["cutoff", "cutoff_drill", "cutoff_proof"])?;
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().all(|line| line["drill"] == true && line["action"] == "cutoff_drill"), "{lines:?}");
    traffic.query.lost_nothing()?;
    traffic.lgwan.lost_nothing()?;
    // What is cut off in earnest stays so, and the drill does not say otherwise.
    cut(&agent, &["network", "internet"])?;
    let text = agent.cli(["cutoff", "network", "internet", "--drill", "--reason", "yearly drill"])?;
    assert!(text.out.contains("IS cut off") && !text.out.contains("NOT cut off"), "{text:?}");
    restore(&agent, &["network", "internet"])?;
    // A drill of what does not exist fails as the real thing would.
    let unknown = agent.cli(["cutoff", "network", "intranet", "--drill", "--reason", "drill"])?;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    Ok(())
}
