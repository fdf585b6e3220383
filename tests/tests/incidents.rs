//! Incidents as people meet them: listed, shown, closed, exported; over restarts, with the agent and without.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result, ensure};
use sekimori::detect::Action;
use sekimori_ebpf::detect::abi::Detector;
use sekimori_tests::harness::{
    agent::{Agent, Config},
    incidents::{Seen, leave},
    policy::{Policies, rule},
    town::Town,
    townhall::{ADMIN_PC, INTERNET_ROUTER, PC_017},
};
use serde_json::{Value, json};

/// A SYN of pc-017 to port 445.
const PACKET: &[u8] = &[
    2, 0, 0, 0, 0x10, 1, 2, 0, 0, 0, 0x10, 0x17, 8, 0, 0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 192, 168, 10, 17, 198,
    51, 100, 7, 0x9c, 0x40, 0x01, 0xbd, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0,
];

struct Scene {
    agent: Agent,
    _policies: Policies,
    _town: Town,
}

/// A scan of pc-017 and a flood of admin-pc are open, a beacon of pc-017 is noted.
fn scene() -> Result<Scene> {
    let town = Town::build(&[&PC_017, &ADMIN_PC, &INTERNET_ROUTER])?;
    let policies = Policies::new()?;
    let policy = policies.town("policy", &[rule("names", "office", "internet", "dns")])?;
    let mut agent = Agent::start(&town.gateway, &Config::new(policy))?;
    agent.stop()?;
    let seen = |host, device, detector, action, packet| Seen { host, device, detector, action, packet };
    let (pc, admin) = (PC_017.v4.into(), ADMIN_PC.v4.into());
    leave(
        &agent.state_path(),
        &[
            seen(pc, "pc-017", Detector::HorizontalScan, Action::Block, PACKET),
            seen(admin, "admin-pc", Detector::UdpFlood, Action::Alert, &[]),
            seen(pc, "pc-017", Detector::Beacon, Action::Observe, &[]),
        ],
    )?;
    agent.restart()?;
    Ok(Scene { agent, _policies: policies, _town: town })
}

fn listed(agent: &Agent, words: &[&str]) -> Result<Vec<u64>> {
    let said = agent.cli([&["incidents", "list", "--format", "json"], words].concat())?;
    ensure!(said.ok(), "{said:?}");
    let rows: Vec<Value> = said.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    rows.iter().map(|row| row["id"].as_u64().context("an id")).collect()
}

fn recorded(agent: &Agent, action: &str, object: &str) -> Result<Vec<Value>> {
    let said = agent.cli(["records", "list", "--action", action, "--object", object, "--format", "json"])?;
    said.out.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn they_are_listed_shown_and_closed_and_that_is_on_record() -> Result<()> {
    let Scene { mut agent, _policies, _town } = scene()?;
    assert_eq!(listed(&agent, &[])?, [1, 2, 3]);
    assert_eq!(listed(&agent, &["--open"])?, [1, 2]);
    assert_eq!(listed(&agent, &["--host", "pc-017"])?, [1, 3]);
    assert_eq!(listed(&agent, &["--host", &ADMIN_PC.v4.to_string()])?, [2]);
    assert_eq!(listed(&agent, &["--since", "2040-01-01T00:00:00Z"])?, [0; 0]);
    assert_eq!(listed(&agent, &["--limit", "1"])?, [3]);
    let (_, incident) = agent.json(["incidents", "show", "1"])?;
    assert_eq!((&incident["detector"], &incident["owner"]), (&json!("horizontal_scan"), &json!("総務課")));
    let shown = agent.cli(["incidents", "show", "1", "--lang", "ja"])?;
    ensure!(shown.ok() && shown.out.contains("水平スキャン") && shown.out.contains("未確認"), "{shown:?}");
    assert_eq!(agent.cli(["incidents", "show", "9"])?.code, Some(1));
    // What an agent that died had no time to record is recorded by the next one.
    assert_eq!(recorded(&agent, "incident-open", "incident 1")?.len(), 1);
    assert_eq!(recorded(&agent, "incident-open", "incident 3")?.len(), 0);

    let status = agent.cli(["status"])?;
    ensure!(status.out.contains("pc-017 (192.168.10.17): horizontal_scan"), "{status:?}");
    let metrics = agent.metrics()?;
    let open = |detector: &str| {
        let labels =
            [format!("detector=\"{detector}\",zone=\"office\""), format!("zone=\"office\",detector=\"{detector}\"")];
        labels.map(|labels| format!("sekimori_incidents_open{{{labels}}} 1"))
    };
    ensure!(open("udp_flood").iter().any(|line| metrics.contains(line.as_str())), "{metrics}");
    ensure!(!open("beacon").iter().any(|line| metrics.contains(line.as_str())), "{metrics}");

    assert_eq!(agent.cli(["incidents", "close", "1"])?.code, Some(2), "no reason");
    assert_eq!(agent.cli(["incidents", "close", "1", "9", "--reason", "x"])?.code, Some(1), "all or none");
    assert_eq!(listed(&agent, &["--open"])?, [1, 2]);
    ensure!(agent.cli(["incidents", "close", "1", "--reason", "re-installed"])?.ok());
    let lines = recorded(&agent, "incident-close", "incident 1")?;
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["reason"], json!("re-installed"));
    ensure!(agent.cli(["incidents", "close", "1", "--reason", "again"])?.out.contains("closed before"));
    agent.kill9()?;
    // Without an agent, by root.
    assert_eq!(listed(&agent, &["--open"])?, [2]);
    ensure!(agent.cli(["incidents", "close", "2", "--reason", "a test"])?.ok());
    agent.restart()?;
    assert_eq!(listed(&agent, &["--open"])?, [0; 0]);
    let (_, incident) = agent.json(["incidents", "show", "1"])?;
    assert_eq!(incident["closed"]["reason"], json!("re-installed"));
    assert_eq!(recorded(&agent, "incident-open", "incident 1")?.len(), 1, "not a second time");
    Ok(())
}

#[test]
fn packets_are_exported_and_a_changed_file_is_noticed() -> Result<()> {
    let Scene { agent, _policies, _town } = scene()?;
    let kept = agent.state_path().join("incidents/1.pcapng");
    assert_eq!(fs::metadata(&kept)?.permissions().mode() & 0o777, 0o600);
    let path = agent.state_path().join("out.pcapng");
    let path_text = path.display().to_string();
    let (code, said) = agent.json(["incidents", "export", "1", "--pcapng", &path_text])?;
    assert_eq!((code, &said["evidence"]["as_recorded"]), (Some(0), &json!(true)), "{said}");
    assert_eq!(fs::read(&path)?, fs::read(&kept)?);
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    ensure!(said["records"].as_array().is_some_and(|lines| !lines.is_empty()), "{said}");
    let piped = agent.cli(["incidents", "export", "1", "--pcapng", "-"])?;
    assert_eq!((piped.code, piped.out.as_str()), (Some(0), &*String::from_utf8_lossy(&fs::read(&kept)?)));
    let (code, said) = agent.json(["incidents", "export", "2"])?;
    assert_eq!((code, &said["evidence"]), (Some(0), &Value::Null));
    let mut bytes = fs::read(&kept)?;
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    fs::write(&kept, bytes)?;
    let (code, said) = agent.json(["incidents", "export", "1"])?;
    assert_eq!((code, &said["evidence"]["as_recorded"]), (Some(1), &json!(false)), "{said}");
    Ok(())
}
