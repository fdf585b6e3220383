//! A host in quarantine gets what the policy lists for such hosts, and nothing else, from the next packet on.

use std::{fs, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    counters::Counters,
    download::Download,
    policy::{Policies, rule},
    service,
    stream::Stream,
    tool,
    town::Town,
    townhall::{
        ADMIN_PC, CLOUD_V4, CLOUD_V6, DNS_V4, INTERNET_ROUTER, OFFICE, PC_017, PUBLIC_WEB_V4, WEB, WEB_TLS_PORT,
    },
};
use serde_json::{Value, json};

const OFTEN: Duration = Duration::from_millis(1);
const A_WHILE: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(10);

struct Scene {
    agent: Agent,
    policies: Policies,
    town: Town,
}

/// The same permission as [`rule`], for hosts in quarantine as well.
fn even_then(id: &str, from: &str, to: &str, services: &str) -> String {
    rule(id, from, to, services).replace("purpose:", "quarantined: permit, purpose:")
}

fn rules() -> Vec<String> {
    let publish = |id: &str, service: &str, port: &str, quarantined: &str| {
        format!(
            "  - {{id: {id}, from: internet, address: 203.0.113.10, services: [{service}], \
             server: {{zone: dmz, address: 192.168.20.10{port}}}, {quarantined}purpose: test, owner: 広報課}}\n"
        )
    };
    vec![
        rule("office", "office", "internet", "https, udp/443, dns, ping"),
        // Below a rule that permits the same, it decides only in quarantine.
        even_then("help", "office", "{network: internet, addresses: [198.51.100.53]}", "dns, tcp/443"),
        rule("ssh", "{zone: office, devices: [admin-pc]}", "box", "ssh"),
        rule("own", "box", "internet", "dns, ping"),
        rule("own-inside", "box", "office", "udp/5000"),
        "publish:\n".to_owned(),
        publish("web", "https", ", port: 8443", ""),
        publish("plain", "http", "", "quarantined: permit, "),
    ]
}

fn scene() -> Result<Scene> {
    let town = Town::build(&[&PC_017, &ADMIN_PC, &WEB, &INTERNET_ROUTER])?;
    town.translate()?;
    let policies = Policies::new()?;
    let mut config = Config::new(policies.town("policy", &rules())?);
    config.management = json!([{"interface": "lan0", "sources": ["192.168.10.18/32"], "port": 22}]);
    let agent = Agent::start(&town.gateway, &config)?;
    Ok(Scene { agent, policies, town })
}

fn said(agent: &Agent, words: &[&str]) -> Result<()> {
    let said = agent.cli(words.iter().copied())?;
    if said.ok() { Ok(()) } else { Err(anyhow!("{words:?}: {said:?}")) }
}

fn quarantine(agent: &Agent, hosts: &[&str]) -> Result<()> {
    said(agent, &[&["quarantine", "host"], hosts, &["--reason", "scan"]].concat())
}

fn release(agent: &Agent, hosts: &[&str]) -> Result<()> {
    said(agent, &[&["release", "host"], hosts, &["--reason", "clean"]].concat())
}

fn listed(agent: &Agent) -> Result<Vec<Value>> {
    let (_, status) = agent.json(["status"])?;
    Ok(status["quarantine"].as_array().cloned().unwrap_or_default())
}

#[test]
fn it_gets_what_the_policy_lists_and_nothing_else_and_nobody_else_notices() -> Result<()> {
    let Scene { agent, town, policies: _policies } = scene()?;
    let (pc, admin, internet) = (town.host(&PC_017)?, town.host(&ADMIN_PC)?, town.host(&INTERNET_ROUTER)?);
    let listed_query = Stream::to_server(pc, None, internet, (DNS_V4, 53), OFTEN)?;
    let query: (IpAddr, u16) = (INTERNET_ROUTER.v4.into(), 53);
    let query = Stream::to_server(pc, None, internet, query, OFTEN)?;
    let answer = Stream::to_client(pc, internet, (CLOUD_V4, 53), OFTEN)?;
    let answer6 = Stream::to_client(pc, internet, (CLOUD_V6, 53), OFTEN)?;
    let download = Download::start(pc, None, internet, (CLOUD_V4, 443))?;
    let from_box = Stream::to_server(&town.gateway, None, pc, (PC_017.v4, 5000), OFTEN)?;
    let other = Stream::to_server(admin, None, internet, (CLOUD_V4, 443), OFTEN)?;
    for name in ["192.168.10.17", "02:00:00:00:10:17", "pc-017"] {
        for stream in [&listed_query, &query, &answer, &answer6, &from_box] {
            stream.flows(50)?;
        }
        download.flows(10_000)?;
        quarantine(&agent, &[name])?;
        for stream in [&query, &answer, &answer6, &from_box] {
            stream.stands_still(50).with_context(|| name.to_owned())?;
        }
        download.stands_still(A_WHILE)?;
        ensure!(!town.ping(&PC_017, CLOUD_V4)?, "{name}");
        listed_query.flows(50)?;
        release(&agent, &[name])?;
    }
    for stream in [&query, &answer, &answer6, &from_box] {
        stream.flows(50)?;
    }
    // What had not timed out goes on, and what was permitted all along never stopped, though another rule permitted it.
    download.flows(10_000)?;
    listed_query.lost_nothing()?;
    other.lost_nothing()?;
    let counters = Counters::read(&agent)?;
    for direction in ["in", "out"] {
        assert!(counters.packets("office", direction, "quarantined") > 100, "{direction}");
    }
    assert!(counters.rule("help") > 100);
    Ok(())
}

#[test]
fn it_opens_nothing_new_but_what_the_policy_lists() -> Result<()> {
    let Scene { agent, town, policies: _policies } = scene()?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let _help = service::Server::banner(internet, 443, "help desk")?;
    let reached = |to| service::connect(pc, None, (to, 443), Duration::from_secs(1)).is_ok();
    ensure!(reached(CLOUD_V4) && reached(DNS_V4));
    quarantine(&agent, &["pc-017"])?;
    ensure!(!reached(CLOUD_V4) && reached(DNS_V4));
    let explained = |packet: &str| -> Result<(String, String)> {
        let (_, said) = agent.json(["explain", "--in", "lan0", packet])?;
        Ok((said["reason"].to_string(), said["rule"].to_string()))
    };
    assert_eq!(explained("tcp 192.168.10.17:40000 > 198.51.100.5:443")?, ("\"quarantined\"".into(), "null".into()));
    assert_eq!(explained("tcp 192.168.10.17:40000 > 198.51.100.53:443")?, ("\"rule\"".into(), "\"help\"".into()));
    assert_eq!(explained("tcp 192.168.10.18:40000 > 198.51.100.5:443")?, ("\"rule\"".into(), "\"office\"".into()));
    release(&agent, &["pc-017"])?;
    ensure!(reached(CLOUD_V4));
    Ok(())
}

#[test]
fn the_management_path_stays_open() -> Result<()> {
    let Scene { agent, town, policies: _policies } = scene()?;
    let ssh = Download::start(town.host(&ADMIN_PC)?, None, &town.gateway, (OFFICE.v4.0, 22))?;
    ssh.flows(10_000)?;
    quarantine(&agent, &["admin-pc"])?;
    ensure!(!town.ping(&ADMIN_PC, CLOUD_V4)?);
    ssh.flows(10_000)?;
    ssh.finish()?;
    Ok(())
}

/// Its clients speak to a public address, and its answers are translated on their way: what shows it is the way out there, and
/// the way in back.
#[test]
fn a_published_server_serves_what_the_policy_lists() -> Result<()> {
    let Scene { agent, town, policies: _policies } = scene()?;
    let (web, internet) = (town.host(&WEB)?, town.host(&INTERNET_ROUTER)?);
    let from = Some(IpAddr::from(CLOUD_V4));
    let tls = Download::by_way_of(internet, from, web, WEB_TLS_PORT, (PUBLIC_WEB_V4, 443))?;
    let _plain = service::Server::banner(web, 80, "plain")?;
    let reached = |port| service::connect(internet, from, (PUBLIC_WEB_V4, port), Duration::from_secs(1)).is_ok();
    ensure!(reached(443) && reached(80));
    for name in ["web", "192.168.20.10", "02:00:00:00:20:10"] {
        tls.flows(20_000)?;
        quarantine(&agent, &[name])?;
        tls.stands_still(A_WHILE).with_context(|| name.to_owned())?;
        ensure!(!reached(443) && reached(80), "{name}");
        release(&agent, &[name])?;
    }
    tls.flows(20_000)?;
    let counters = Counters::read(&agent)?;
    assert!(counters.packets("dmz", "in", "quarantined") > 3, "its answers go no further");
    assert!(counters.packets("dmz", "out", "quarantined") > 0, "nobody speaks to it");
    Ok(())
}

#[test]
fn a_cut_off_beats_it() -> Result<()> {
    let Scene { agent, town, policies: _policies } = scene()?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let listed = Stream::to_server(pc, None, internet, (DNS_V4, 53), OFTEN)?;
    quarantine(&agent, &["pc-017"])?;
    listed.flows(50)?;
    said(&agent, &["cutoff", "host", "pc-017", "--reason", "worm"])?;
    listed.stands_still(50)?;
    assert!(Counters::read(&agent)?.packets("office", "in", "cut_host") > 10);
    said(&agent, &["restore", "host", "pc-017", "--reason", "clean"])?;
    listed.flows(50)?;
    Ok(())
}

#[test]
fn it_outlives_the_agent_an_apply_and_a_lost_note() -> Result<()> {
    let Scene { mut agent, town, policies } = scene()?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let answer = Stream::to_client(pc, internet, (CLOUD_V4, 53), OFTEN)?;
    let listed_query = Stream::to_server(pc, None, internet, (DNS_V4, 53), OFTEN)?;
    answer.flows(50)?;
    quarantine(&agent, &["pc-017"])?;
    let last = answer.stands_still(50)?;
    agent.kill9()?;
    answer.stood_still_since(last)?;
    agent.restart()?;
    agent.apply(&policies.town("policy", &rules())?)?;
    let kept = agent.state_path().join("quarantine.json");
    // As if the disk had been full when it was placed, and then unreadable.
    for damage in ["", "{"] {
        agent.stop()?;
        if damage.is_empty() {
            fs::remove_file(&kept)?
        } else {
            fs::write(&kept, damage)?
        }
        agent.restart()?;
        let listed = listed(&agent)?;
        ensure!(listed.len() == 1 && listed[0]["macs"] == json!(["02:00:00:00:10:17"]), "{listed:?}");
        ensure!(fs::read_to_string(&kept)?.contains("02:00:00:00:10:17"), "it is on disk again");
    }
    answer.stands_still(50)?;
    answer.stood_still_since(last)?;
    listed_query.flows(50)?;
    let name = listed(&agent)?[0]["host"].as_str().unwrap_or_default().to_owned();
    release(&agent, &[&name])?;
    answer.flows(50)?;
    Ok(())
}

#[test]
fn it_is_back_after_a_reboot_and_an_unreadable_list_closes_the_gate() -> Result<()> {
    let Scene { mut agent, town, policies: _policies } = scene()?;
    let reachable = || town.ping(&PC_017, CLOUD_V4);
    ensure!(reachable()?);
    quarantine(&agent, &["pc-017"])?;
    agent.stop()?;
    fs::remove_dir_all(agent.pins_path())?;
    agent.spawn()?;
    agent.wait_until_enforcing()?;
    ensure!(!reachable()? && listed(&agent)?.len() == 1);
    ensure!(town.ping(&ADMIN_PC, CLOUD_V4)?);

    agent.stop()?;
    fs::remove_dir_all(agent.pins_path())?;
    let kept = agent.state_path().join("quarantine.json");
    let good = fs::read(&kept)?;
    fs::write(&kept, "{")?;
    agent.spawn()?;
    tool::until("the agent to say what is wrong", SOON, || {
        let status = agent.json(["status"]);
        let faults = status.map(|(_, status)| status["faults"].to_string()).unwrap_or_default();
        Ok(faults.contains("quarantine.json").then_some(()))
    })?;
    ensure!(!reachable()? && !town.ping(&ADMIN_PC, CLOUD_V4)?, "nobody knows who must not pass");
    let refused = agent.cli(["quarantine", "host", "admin-pc", "--reason", "scan"])?;
    ensure!(!refused.ok(), "{refused:?}");
    ensure!(fs::read(&kept)? == b"{", "the file is kept as it was found");
    agent.stop()?;
    fs::write(&kept, good)?;
    agent.restart()?;
    ensure!(!reachable()? && town.ping(&ADMIN_PC, CLOUD_V4)?);
    Ok(())
}

#[test]
fn it_may_end_by_itself_and_everything_is_recorded() -> Result<()> {
    let Scene { agent, town, policies: _policies } = scene()?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let answer = Stream::to_client(pc, internet, (CLOUD_V4, 53), OFTEN)?;
    answer.flows(50)?;
    said(&agent, &["quarantine", "host", "pc-017", "web", "--reason", "scan", "--for", "2s"])?;
    answer.stands_still(50)?;
    answer.flows(50)?;
    ensure!(listed(&agent)?.is_empty());
    quarantine(&agent, &["admin-pc"])?;
    let metrics = Counters::read(&agent)?;
    assert!(metrics.sum("sekimori_quarantined_hosts", &[("by", "person")]) > 0.5);
    release(&agent, &["admin-pc"])?;
    let lines = agent.cli(["records", "--format", "json"])?.out;
    let actions: Vec<(String, String)> = lines
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            (line["action"].as_str().unwrap_or_default().to_owned(), line["objects"].to_string())
        })
        .filter(|(action, _)| action == "quarantine" || action == "release")
        .collect();
    let expected = [
        ("quarantine", r#"["host pc-017","host web"]"#),
        ("release", r#"["host pc-017"]"#),
        ("release", r#"["host web"]"#),
        ("quarantine", r#"["host admin-pc"]"#),
        ("release", r#"["host admin-pc"]"#),
    ];
    assert_eq!(actions, expected.map(|(action, objects)| (action.to_owned(), objects.to_owned())));
    Ok(())
}

#[test]
fn what_must_not_be_in_quarantine_is_refused_and_changes_nothing() -> Result<()> {
    let Scene { agent, town, policies: _policies } = scene()?;
    for (hosts, said) in [
        (&["192.168.10.1"][..], "this box"),
        (&["02:00:00:00:99:01"], "router"),
        (&["pc-999"], "pc-999"),
        (&["pc-017", "02:00:00:00:99:01"], "router"),
    ] {
        let words = [&["quarantine", "host"], hosts, &["--reason", "scan"]].concat();
        let refused = agent.cli(words.iter().copied())?;
        ensure!(!refused.ok() && refused.err.contains(said), "{hosts:?}: {refused:?}");
    }
    let absent = agent.cli(["release", "host", "pc-017", "--reason", "clean"])?;
    ensure!(absent.code == Some(1) && absent.err.contains("neither in quarantine"), "{absent:?}");
    ensure!(listed(&agent)?.is_empty());
    ensure!(town.ping(&PC_017, CLOUD_V4)?);
    Ok(())
}
