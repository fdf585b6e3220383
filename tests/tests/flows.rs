//! What passed and what was refused is on record: who, whom, when, by which rule, and asked for later.

use std::{
    fs,
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    download::Download,
    frame::udp,
    policy::{Policies, rule},
    raw::RawPort,
    service::{Server, udp_exchange},
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{ATTACKER_V4, CLOUD_V4, DNS_V4, INTERNET_ROUTER, OFFICE, PC_017},
};
use serde_json::{Value, json};

/// How long anything may take to be recorded: walks are a second apart, and the shortest conversations end after two.
// The recorder has the lowest priority of all.
const SOON: Duration = Duration::from_secs(60);

struct Scene {
    agent: Agent,
    _policies: Policies,
    town: Town,
}

fn config(policies: &Policies) -> Result<Config> {
    let rules = [
        rule("web", "{zone: office, devices: [pc-017]}", "internet", "https, tcp/444"),
        rule("names", "{zone: office, devices: [pc-017]}", "internet", "dns"),
    ];
    let mut config = Config::new(policies.town("policy", &rules)?);
    config.extra.push(("flow_records", json!({"size": "1MiB", "every": "1s"})));
    config
        .extra
        .push(("timeouts", json!({"tcp_closed": "1s", "tcp_closing": "1s", "udp_oneway": "2s", "udp_stream": "2s"})));
    Ok(config)
}

fn scene() -> Result<Scene> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    town.translate()?;
    let policies = Policies::new()?;
    let agent = Agent::start(&town.gateway, &config(&policies)?)?;
    Ok(Scene { agent, _policies: policies, town })
}

/// Recorded rows that these arguments ask for.
fn rows(agent: &Agent, words: &[&str]) -> Result<Vec<Value>> {
    let said = agent.cli([&["flows", "--format", "json"], words].concat())?;
    ensure!(said.ok(), "flows {words:?}: {said:?}");
    said.out.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Waits for the only row that these arguments ask for and `good` accepts.
fn row(agent: &Agent, words: &[&str], good: impl Fn(&Value) -> bool) -> Result<Value> {
    tool::until(&format!("the record of {words:?}"), SOON, || match rows(agent, words)?.as_slice() {
        [one] if good(one) => Ok(Some(one.clone())),
        other => bail!("there are {other:?}"),
    })
}

/// `times` datagrams that no rule permits.
fn refused(town: &Town, port: u16, times: usize) -> Result<()> {
    let port_of = RawPort::open(town.host(&PC_017)?, HOST_INTERFACE)?;
    let frame = udp((PC_017.mac, OFFICE.mac), (PC_017.v4.into(), 4000), (ATTACKER_V4.into(), port), b"x");
    (0..times).try_for_each(|_| port_of.send(&frame))
}

fn asked(town: &Town) -> Result<Server> {
    let names = Server::udp_echo(town.host(&INTERNET_ROUTER)?, DNS_V4, 53)?;
    udp_exchange(town.host(&PC_017)?, None, (DNS_V4, 53), b"name?", SOON)?;
    Ok(names)
}

fn downloaded(town: &Town, port: u16) -> Result<()> {
    let internet = town.host(&INTERNET_ROUTER)?;
    let download = Download::start(town.host(&PC_017)?, None, internet, (CLOUD_V4, port))?;
    download.flows(20_000)?;
    download.finish().map(drop)
}

fn metric(agent: &Agent, name: &str) -> Result<f64> {
    let text = agent.metrics()?;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    Ok(line.with_context(|| format!("no {name} in {text}"))?.parse()?)
}

fn over(row: &Value) -> bool {
    row["state"] == "over"
}

#[test]
fn what_passed_and_what_was_refused_is_recorded_with_its_rule_or_reason() -> Result<()> {
    let Scene { agent, town, _policies } = scene()?;
    let began = Instant::now();
    downloaded(&town, 443)?;
    let _names = asked(&town)?;
    refused(&town, 5000, 7)?;

    let web = row(&agent, &["--host", "192.168.10.17", "--port", "443"], over)?;
    // As the terminal knows it: before its address is translated.
    let expected = json!({
        "verdict": "pass", "rule": "web", "reason": "rule", "state": "over", "answered": true, "count": 1, "proto": "tcp",
        "host": "192.168.10.17", "peer": "198.51.100.5", "peer_port": 443, "device": "pc-017", "zone": "office",
        "network": "internet", "interface": "lan0",
    });
    for (name, value) in expected.as_object().context("an object")? {
        assert_eq!(&web[name], value, "{name} of {web}");
    }
    let age = jiff::Timestamp::now().duration_since(web["time"].as_str().context("no time")?.parse()?);
    assert!(age.as_secs() <= i64::try_from(began.elapsed().as_secs())? + 1, "{web}");

    let names = row(&agent, &["--rule", "names", "--proto", "udp"], over)?;
    assert_eq!((&names["peer"], &names["answered"]), (&json!("198.51.100.53"), &json!(true)), "{names}");

    let attacker = ATTACKER_V4.to_string();
    let drop = row(&agent, &["--verdict", "drop", "--peer", &attacker], |row| row["count"] == 7)?;
    for (name, value) in [("host", "192.168.10.17"), ("reason", "no_rule"), ("device", "pc-017"), ("direction", "in")] {
        assert_eq!(drop[name], value, "{name} of {drop}");
    }
    assert_eq!((&drop["peer_port"], &drop["proto"]), (&json!(5000), &json!("udp")), "{drop}");

    // Ends may be given in either order, and what does not fit is not shown.
    assert_eq!(rows(&agent, &["--host", "198.51.100.5", "--peer", "192.168.10.0/24"])?.len(), 1);
    assert_eq!(rows(&agent, &["--host", "pc-017", "--rule", "web"])?.len(), 1);
    assert_eq!(rows(&agent, &["--until", "2020-01-01T00:00:00Z"])?.len(), 0);
    assert_eq!(rows(&agent, &["--host", "192.168.10.18"])?.len(), 0);
    assert_eq!(rows(&agent, &["--limit", "1"])?.len(), 1);
    let text = agent.cli(["flows", "--since", "1h", "--lang", "ja"])?;
    assert!(text.ok() && text.out.contains("時刻") && text.out.contains("office -> internet"), "{text:?}");
    assert_eq!(agent.cli(["flows", "--since", "yesterday"])?.code, Some(2));

    assert_eq!(metric(&agent, "sekimori_flow_conversations_missed_total")?, 0.0);
    assert_eq!(metric(&agent, "sekimori_flow_records_lost_total")?, 0.0);
    assert!(metric(&agent, "sekimori_flow_records")? >= 3.0);
    Ok(())
}

#[test]
fn records_outlive_the_agent_and_what_happened_without_it_is_found() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let long = Download::start(pc, None, internet, (CLOUD_V4, 443))?;
    long.flows(20_000)?;
    let open = |row: &Value| row["state"] == "open" && row["rule"] == "web";
    let began = row(&agent, &["--port", "443"], open)?;
    refused(&town, 5001, 3)?;
    row(&agent, &["--port", "5001"], |row| row["count"] == 3)?;
    agent.kill9()?;
    // From beginning to end while nobody looks.
    downloaded(&town, 444)?;
    long.flows(20_000)?;
    // Read from the files themselves.
    assert_eq!(rows(&agent, &["--port", "5001"])?.len(), 1);
    agent.restart()?;
    let meanwhile = row(&agent, &["--port", "444"], over)?;
    assert_eq!((&meanwhile["rule"], &meanwhile["device"]), (&json!("web"), &json!("pc-017")), "{meanwhile}");
    long.finish()?;
    // One conversation, and not one an agent.
    let ended = row(&agent, &["--port", "443"], over)?;
    assert_eq!((&ended["time"], &ended["host_port"]), (&began["time"], &began["host_port"]));
    assert_eq!(row(&agent, &["--port", "5001"], |_| true)?["count"], 3);
    assert_eq!(metric(&agent, "sekimori_flow_conversations_missed_total")?, 0.0);
    Ok(())
}

#[test]
fn half_a_block_is_cut_off_and_said_and_the_oldest_go_when_there_is_no_room() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let _names = asked(&town)?;
    row(&agent, &["--port", "53"], over)?;
    agent.stop()?;
    let folder = agent.state_path().join("flows");
    let tail = folder.join("tail.flows");
    fs::OpenOptions::new().append(true).open(&tail)?.write_all(b"SKFLOW\x01\nhalf a block")?;
    // More than there is room for, from a time long ago.
    let old = folder.join("20200101-0000.flows");
    fs::write(&old, vec![0; 2 << 20])?;
    fs::write(folder.join("20200101-0001.flows"), b"")?;
    agent.spawn()?;
    agent.wait_until_enforcing()?;
    tool::until(
        "the store to be opened",
        SOON,
        || Ok((metric(&agent, "sekimori_flow_records")? >= 1.0).then_some(())),
    )?;
    assert_eq!(metric(&agent, "sekimori_flow_records_torn_bytes")?, 20.0);
    assert!(metric(&agent, "sekimori_flow_records_damaged_blocks")? >= 1.0);
    assert!(!old.exists());
    let bytes = metric(&agent, "sekimori_flow_records_bytes")?;
    assert!(bytes > 0.0 && bytes <= f64::from(1 << 20), "{bytes}");
    row(&agent, &["--port", "53"], over)?;
    // And it goes on behind.
    udp_exchange(town.host(&PC_017)?, None, (DNS_V4, 53), b"name?", SOON)?;
    tool::until("a second record", SOON, || Ok((rows(&agent, &["--port", "53"])?.len() == 2).then_some(())))
}

#[test]
fn a_back_check_says_who_talked_to_a_listed_address() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    downloaded(&town, 443)?;
    refused(&town, 5002, 4)?;
    let folder = tempfile::tempdir()?;
    let list = folder.path().join("bad.txt");
    fs::write(
        &list,
        format!("# from the feed of today\n{CLOUD_V4}\n{ATTACKER_V4},seen 2026-11\nevil.example\n2001:db8:bad::/48\n"),
    )?;
    let list = list.to_str().context("a path")?;
    let check = |agent: &Agent| -> Result<Option<Vec<Value>>> {
        let said = agent.cli(["flows", "back-check", list, "--format", "json"])?;
        let contacts: Vec<Value> = said.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        ensure!(said.code == Some(i32::from(contacts.is_empty())), "{said:?}");
        let whole = contacts.len() == 2 && contacts.iter().any(|row| row["refused"] == 4);
        ensure!(whole, "{contacts:?}");
        Ok(Some(contacts))
    };
    let contacts = tool::until("both contacts", SOON, || check(&agent))?;
    for (address, conversations, refused, because) in [(CLOUD_V4, 1, 0, "web"), (ATTACKER_V4, 0, 4, "no_rule")] {
        let row = contacts.iter().find(|row| row["address"] == address.to_string()).context("not found")?;
        assert_eq!((&row["host"], &row["device"]), (&json!("192.168.10.17"), &json!("pc-017")), "{row}");
        assert_eq!((&row["conversations"], &row["refused"]), (&json!(conversations), &json!(refused)), "{row}");
        assert_eq!((&row["because"], &row["direction"]), (&json!([because]), &json!("to")), "{row}");
    }
    let text = agent.cli(["flows", "back-check", list])?;
    assert!(text.ok() && text.out.contains("192.168.10.17") && text.err.contains("line 4 first"), "{text:?}");
    for (words, code, says) in [
        (&["flows", "back-check", "203.0.113.77"][..], 1, "NOBODY"),
        (&["flows", "back-check", "203.0.113.77", "--lang", "ja"], 1, "該当なし"),
        (&["flows", "back-check", "198.51.100.0/24"], 0, "web"),
        (&["flows", "back-check", "198.51.100.5", "--until", "2020-01-01"], 1, "NOBODY"),
        (&["flows", "back-check", "no-such-file"], 2, "no-such-file"),
    ] {
        let said = agent.cli(words.iter().copied())?;
        assert_eq!(said.code, Some(code), "{words:?}: {said:?}");
        assert!(format!("{}{}", said.out, said.err).contains(says), "{words:?}: {said:?}");
    }
    // The files alone say the same.
    agent.stop()?;
    assert_eq!(check(&agent)?.context("nothing")?.len(), 2);
    Ok(())
}
