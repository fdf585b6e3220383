//! The command line as a contract: exit codes, one document of JSON, two languages, and a record of everything.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use sekimori_tests::harness::{
    agent::{Agent, Config},
    netns::Ns,
    policy::{Policies, TOWN, rule},
    stream::Stream,
    tool::{self, Said},
    town::Town,
    townhall::{CLOUD_V4, DNS_V4, INTERNET_ROUTER, PC_017},
};
use serde_json::{Value, json};

const OFTEN: Duration = Duration::from_millis(1);
const SOON: Duration = Duration::from_secs(15);
const PERMITTED: &str = "udp 192.168.10.17:4000 > 198.51.100.53:53";
const DENIED: &str = "tcp 192.168.10.17:4000 > 198.51.100.5:22";

struct Scene {
    agent: Agent,
    policies: Policies,
    town: Town,
}

fn rules() -> Vec<String> {
    vec![rule("names", "office", "internet", "dns")]
}

fn scene() -> Result<Scene> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    let policies = Policies::new()?;
    let agent = Agent::start(&town.gateway, &Config::new(policies.town("policy", &rules())?))?;
    Ok(Scene { agent, policies, town })
}

fn japanese(said: &Said) -> bool {
    format!("{}{}", said.out, said.err).chars().any(|letter| ('\u{3040}'..='\u{9fff}').contains(&letter))
}

fn records(agent: &Agent) -> Result<Vec<Value>> {
    let said = agent.cli(["records", "--format", "json"])?;
    Ok(said.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

#[test]
fn exit_codes_mean_what_they_promise() -> Result<()> {
    let Scene { agent, policies, town: _town } = scene()?;
    let good = text(&policies.town("good", &rules())?)?;
    let bad = text(&policies.town("bad", &[rule("x", "ofice", "internet", "dns")])?)?;
    let here = |words: &[&str], code: i32| -> Result<()> {
        for format in ["text", "json"] {
            let said = agent.cli(words.iter().copied().chain(["--format", format]))?;
            assert_eq!(said.code, Some(code), "{words:?}: {said:?}");
            if format == "json" && !said.out.is_empty() && !["flows", "records"].contains(words.first().unwrap_or(&""))
            {
                let parsed: Result<Value, _> = serde_json::from_str(&said.out);
                assert!(parsed.is_ok_and(|value| value.is_object()), "{words:?}: not one document: {}", said.out);
            }
        }
        Ok(())
    };
    here(&["status"], 0)?;
    here(&["check", &good], 0)?;
    here(&["check", &bad], 1)?;
    here(&["apply", &bad], 1)?;
    here(&["apply", &good], 0)?;
    here(&["explain", "--in", "lan0", PERMITTED], 0)?;
    here(&["explain", "--in", "lan0", DENIED], 1)?;
    here(&["explain", "--in", "lan0", DENIED, "--policy", &good], 1)?;
    here(&["flows"], 0)?;
    here(&["records"], 0)?;
    here(&["restore", "network", "internet", "--reason", "x"], 1)?;
    here(&["version"], 0)?;
    here(&["explain", "--in", "lan0", "nonsense"], 2)?;
    here(&["explain", "--in", "eth99", PERMITTED], 2)?;
    here(&["cutoff", "network", "internet"], 2)?;
    here(&["cutoff", "planet", "earth", "--reason", "x"], 2)?;
    here(&["detach", "--reason", "x"], 2)?;
    here(&["dance"], 2)?;
    here(&[], 2)
}

#[test]
fn every_answer_speaks_japanese_or_english() -> Result<()> {
    let Scene { agent, policies, town: _town } = scene()?;
    let bad = text(&policies.text("bad", &format!("{TOWN}{}", rule("x", "ofice", "internet", "dns")))?)?;
    for words in [
        &["status"][..],
        &["check", &bad],
        &["apply", &bad],
        &["explain", "--in", "lan0", DENIED],
        &["cutoff", "network", "internet"],
        &["cutoff", "network", "intranet", "--reason", "x"],
        &["restore", "network", "internet", "--reason", "x"],
        &["cutoff", "host", "192.168.10.99", "--reason", "x"],
        &["detach", "--reason", "x"],
    ] {
        let said = |lang: &str| agent.cli(words.iter().copied().chain(["--lang", lang]));
        let (ja, en) = (said("ja")?, said("en")?);
        assert!(japanese(&ja), "{words:?} in Japanese: {ja:?}");
        assert!(!japanese(&en), "{words:?} in English: {en:?}");
        assert_eq!(ja.code, en.code, "{words:?}");
    }
    Ok(())
}

#[test]
fn status_says_so_when_nothing_is_enforced() -> Result<()> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    let policies = Policies::new()?;
    let bad = policies.town("policy", &[rule("x", "ofice", "internet", "dns")])?;
    let mut agent = Agent::prepare(&town.gateway, &Config::new(&bad))?;
    // Nobody ever started it.
    let said = agent.cli(["status"])?;
    assert_ne!(said.code, Some(0), "{said:?}");
    agent.spawn()?;
    let answers = || -> Result<Option<Value>> {
        let (code, status) = agent.json(["status"])?;
        Ok((status["agent_running"] == true).then(|| json!([code, status["enforcing"], status["faults"]])))
    };
    let answer = tool::until("the agent to answer", SOON, answers)?;
    assert_eq!((&answer[0], &answer[1]), (&json!(1), &json!(false)), "{answer}");
    assert!(answer[2].to_string().contains("ofice"), "the fault names the mistake: {answer}");
    // Corrected and applied, it enforces.
    agent.apply(&policies.town("policy", &rules())?)?;
    assert_eq!(agent.cli(["status"])?.code, Some(0));
    Ok(())
}

#[test]
fn an_edited_policy_is_reported_and_takes_effect_by_sighup() -> Result<()> {
    let Scene { agent, policies, town } = scene()?;
    let file_is = |expected: &str| {
        tool::until(&format!("the policy file to be {expected}"), SOON, || {
            let (_, status) = agent.json(["status"])?;
            Ok((status["policy_file"]["state"] == expected).then_some(status["revision"]["number"].clone()))
        })
    };
    let before = file_is("same")?;
    let web = || udp_answers(&town, 443);
    assert!(!web());
    policies.town("policy", &[rules(), vec![rule("quic", "office", "internet", "udp/443")]].concat())?;
    assert_eq!(file_is("changed")?, before, "the edit took effect by itself");
    assert!(!web());
    agent.signal(Signal::SIGHUP)?;
    let after = file_is("same")?;
    assert_ne!(after, before);
    assert!(web());
    let last = records(&agent)?.pop().context("no record")?;
    assert_eq!((&last["action"], &last["from"]), (&json!("apply"), &json!("signal")), "{last}");
    assert_eq!((&last["after"]["number"], &last["result"]["ok"]), (&after, &json!(true)), "{last}");

    policies.text("policy", "version: 1\nzones: [")?;
    file_is("invalid")?;
    agent.signal(Signal::SIGHUP)?;
    let refused = || -> Result<Option<()>> {
        let last = records(&agent)?.pop().context("no record")?;
        Ok((last["action"] == "apply" && last["result"]["ok"] == false).then_some(()))
    };
    tool::until("the refusal to be recorded", SOON, refused)?;
    assert!(web(), "a refused policy changed what is enforced");
    fs::remove_file(policies.path().join("policy.yaml"))?;
    file_is("missing")?;
    Ok(())
}

#[test]
fn explain_agrees_with_the_packets_and_flows_lists_them() -> Result<()> {
    let Scene { agent, policies: _policies, town } = scene()?;
    let query = Stream::to_server(town.host(&PC_017)?, None, town.host(&INTERNET_ROUTER)?, (DNS_V4, 53), OFTEN)?;
    query.flows(20)?;
    assert!(!udp_answers(&town, 443));
    let (_, pass) = agent.json(["explain", "--in", "lan0", PERMITTED])?;
    assert_eq!((&pass["verdict"], &pass["rule"]), (&json!("pass"), &json!("names")), "{pass}");
    let (_, drop) = agent.json(["explain", "--in", "lan0", "udp 192.168.10.17:4000 > 198.51.100.5:443"])?;
    assert_eq!((&drop["verdict"], &drop["reason"]), (&json!("drop"), &json!("no_rule")), "{drop}");
    let said = agent.cli(["flows", "--live", "--format", "json"])?;
    let flows: Vec<Value> = said.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let flow = flows.iter().find(|flow| flow["interface"] == "lan0" && flow["rule"] == "names").cloned();
    let flow = flow.with_context(|| format!("not listed: {}", said.out))?;
    assert_eq!((&flow["far"], &flow["device"]), (&json!("198.51.100.53:53"), &json!("pc-017")), "{flow}");
    assert!(agent.cli(["flows", "--live"])?.out.contains("198.51.100.53:53"));
    // A cut-off changes what explain says at once.
    assert!(agent.cli(["cutoff", "zone", "office", "--reason", "worm"])?.ok());
    let (code, cut) = agent.json(["explain", "--in", "lan0", PERMITTED])?;
    assert_eq!((code, &cut["reason"]), (Some(1), &json!("cut_network")), "{cut}");
    Ok(())
}

#[test]
fn the_record_only_grows_by_one_line_an_action() -> Result<()> {
    let Scene { mut agent, policies, town: _town } = scene()?;
    let file = agent.state_path().join("records.jsonl");
    let mut before = fs::read(&file)?;
    let bad = text(&policies.town("bad", &[rule("x", "ofice", "internet", "dns")])?)?;
    let good = text(&policies.town("good", &rules())?)?;
    for (words, action, lines) in [
        (&["cutoff", "zone", "office", "--reason", "worm"][..], "cutoff", 2),
        (&["restore", "zone", "office", "--reason", "clean"], "restore", 1),
        (&["apply", &bad, "--reason", "try"], "apply", 1),
        (&["apply", &good, "--reason", "yearly review"], "apply", 1),
        (&["status"], "", 0),
        (&["flows"], "", 0),
        (&["explain", "--in", "lan0", PERMITTED], "", 0),
    ] {
        agent.cli(words.iter().copied())?;
        let after = fs::read(&file)?;
        let added = after.strip_prefix(before.as_slice()).context("what was recorded was changed")?;
        let added: Vec<_> = added.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        assert_eq!(added.len(), lines, "{words:?}");
        if let Some(line) = added.first() {
            let line: Value = serde_json::from_slice(line)?;
            assert_eq!((&line["action"], &line["actor"]["uid"]), (&json!(action), &json!(0)), "{line}");
            assert_eq!(line["reason"], *words.last().context("words")?, "{line}");
        }
        before = after;
    }
    agent.restart()?;
    let after = fs::read(&file)?;
    assert!(after.starts_with(&before));
    let numbers: Vec<_> = records(&agent)?.iter().map(|line| line["n"].as_u64().unwrap_or(0)).collect();
    let expected: Vec<_> = (1..=u64::try_from(numbers.len())?).collect();
    assert_eq!(numbers, expected);
    let last_two: Vec<_> = records(&agent)?.iter().rev().take(2).map(|line| line["action"].clone()).collect();
    assert_eq!(last_two, [json!("start"), json!("stop")]);
    Ok(())
}

#[test]
fn detach_opens_the_gate_says_so_and_leaves_nothing_behind() -> Result<()> {
    let Scene { mut agent, policies: _policies, town } = scene()?;
    assert!(!udp_answers(&town, 443));
    let refused = agent.cli(["detach", "--reason", "test"])?;
    assert!(refused.err.contains("--yes-open-the-gate"), "{refused:?}");
    assert!(!udp_answers(&town, 443));
    let said = agent.cli(["detach", "--reason", "swap the box", "--yes-open-the-gate"])?;
    assert!(said.ok() && said.out.contains("OPEN"), "{said:?}");
    let gone = || -> Result<Option<()>> {
        Ok((nothing_left(&agent, &town.gateway)? && udp_answers(&town, 443)).then_some(()))
    };
    tool::until("the gate to be open", SOON, gone)?;
    let (code, status) = agent.json(["status"])?;
    assert_eq!((code, &status["enforcing"]), (Some(1), &json!(false)), "{status}");
    assert!(status["why"].to_string().contains("swap the box"), "{status}");
    assert_eq!(records(&agent)?.pop().context("no record")?["action"], "detach");
    // It stays open over a restart, until somebody applies.
    agent.stop()?;
    agent.spawn()?;
    tool::until("the agent to answer", SOON, || {
        Ok(agent.json(["status"])?.1["agent_running"].as_bool().filter(|up| *up))
    })?;
    assert!(nothing_left(&agent, &town.gateway)?);
    assert_eq!(agent.cli(["status"])?.code, Some(1));
    assert!(agent.cli(["apply"])?.ok());
    assert!(!udp_answers(&town, 443));
    assert_eq!(agent.cli(["status"])?.code, Some(0));
    Ok(())
}

/// Whether neither pins nor nftables tables nor programs on the interfaces remain.
fn nothing_left(agent: &Agent, gateway: &Ns) -> Result<bool> {
    let mut nft = gateway.command("nft");
    let tables = tool::must(nft.args(["list", "tables"]), SOON)?.out;
    let mut bpftool = gateway.command("bpftool");
    let programs = tool::must(bpftool.args(["net", "show"]), SOON)?.out;
    let attached = programs.lines().any(|line| line.starts_with("lan0") || line.starts_with("wan0"));
    Ok(!agent.pins_path().exists() && !tables.contains("sekimori") && !attached)
}

/// Whether a datagram of pc-017 reaches the cloud at this port.
fn udp_answers(town: &Town, port: u16) -> bool {
    let exchange = || -> Result<()> {
        let internet = town.host(&INTERNET_ROUTER)?;
        let _server = sekimori_tests::harness::service::Server::udp_echo(internet, CLOUD_V4, port)?;
        let wait = Duration::from_millis(300);
        sekimori_tests::harness::service::udp_exchange(town.host(&PC_017)?, None, (CLOUD_V4, port), b"?", wait)?;
        Ok(())
    };
    exchange().is_ok()
}

fn text(path: &std::path::Path) -> Result<String> {
    Ok(path.to_str().context("paths of ours are UTF-8")?.to_owned())
}
