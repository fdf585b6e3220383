//! Law 4: enforcement outlives the agent. Whatever ends it, not one denied packet passes, and nothing permitted breaks.

use std::{fs, net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    counters::Counters,
    download::Download,
    flood::{Flood, Watch},
    frame::{Frame, udp},
    policy::{Policies, rule},
    stream::Stream,
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{CLOUD_V4, DNS_V4, INTERNET_ROUTER, MacAddr, OFFICE, PC_017, STRANGER},
};

const OFTEN: Duration = Duration::from_millis(1);
/// Longer than any pause of a loaded machine, shorter than a start of the agent and what TCP makes of a lost second.
const STALL: Duration = Duration::from_millis(700);
/// In every denied frame, and in no other.
const DENIED: &[u8] = b"denied-by-every-rule";
const MARKER: &[u8] = b"end-of-the-flood";

struct Scene {
    agent: Agent,
    _policies: Policies,
    town: Town,
}

fn scene() -> Result<Scene> {
    let town = Town::build(&[&PC_017, &STRANGER, &INTERNET_ROUTER])?;
    town.translate()?;
    let policies = Policies::new()?;
    let rules = [
        rule("web", "{zone: office, devices: [pc-017]}", "internet", "https, tcp/444"),
        rule("names", "{zone: office, devices: [pc-017]}", "internet", "dns"),
    ];
    let agent = Agent::start(&town.gateway, &Config::new(policies.town("policy", &rules)?))?;
    Ok(Scene { agent, _policies: policies, town })
}

/// Every frame breaks something else: no rule, a false source, a false MAC, an EtherType nobody knows.
fn denied_frames() -> Vec<Frame> {
    let datagram = |mac: MacAddr, source: Ipv4Addr, port: u16| {
        udp((mac, OFFICE.mac), (source.into(), 4000), (CLOUD_V4.into(), port), DENIED)
    };
    let mut unknown = datagram(PC_017.mac, PC_017.v4, 53);
    if let Some(ethertype) = unknown.0.get_mut(12..14) {
        ethertype.copy_from_slice(&[0x88, 0xb5]);
    }
    vec![
        datagram(PC_017.mac, PC_017.v4, 5000),
        datagram(PC_017.mac, Ipv4Addr::new(192, 168, 20, 10), 53),
        datagram(STRANGER.mac, PC_017.v4, 53),
        datagram(STRANGER.mac, STRANGER.v4, 53),
        unknown,
    ]
}

/// A query the policy permits: proves that the far end still sees what is let through.
fn send_marker(town: &Town) -> Result<()> {
    let marker = udp((PC_017.mac, OFFICE.mac), (PC_017.v4.into(), 4053), (DNS_V4.into(), 53), MARKER);
    sekimori_tests::harness::raw::RawPort::open(town.host(&PC_017)?, HOST_INTERFACE)?.send(&marker)
}

#[test]
fn a_flood_of_denied_packets_leaks_nothing_while_the_agent_dies_and_comes_back() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let watch = Watch::over(town.host(&INTERNET_ROUTER)?, HOST_INTERFACE, DENIED, MARKER)?;
    let before = Counters::read(&agent)?;
    let flood = Flood::start(town.host(&PC_017)?, HOST_INTERFACE, denied_frames(), OFTEN)?;
    flood.goes_on(200)?;
    for death in [Agent::kill9, Agent::stop] {
        death(&mut agent)?;
        flood.goes_on(300)?;
        agent.restart()?;
        flood.goes_on(200)?;
    }
    let sent = flood.finish()?;
    watch.saw_nothing(|| send_marker(&town))?;

    // Every frame was counted, under what was wrong with it, also those that came while no agent ran.
    let after = Counters::read(&agent)?;
    let reasons = ["no_rule", "spoofed_source", "mac_mismatch", "unknown_device", "unknown_ethertype"];
    let counted = reasons.map(|reason| after.packets("office", "in", reason) - before.packets("office", "in", reason));
    let each = sent / 5;
    for (reason, counted) in reasons.iter().zip(counted) {
        assert!((each..=each + 1).contains(&counted), "{reason}: {counted} of {each} frames counted, {sent} in all");
    }
    Ok(())
}

#[test]
fn what_is_permitted_does_not_notice_that_the_agent_died() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let download = Download::start(pc, None, internet, (CLOUD_V4, 443))?;
    let query = Stream::to_server(pc, None, internet, (DNS_V4, 53), OFTEN)?;
    let answer = Stream::to_client(pc, internet, (CLOUD_V4, 53), OFTEN)?;
    download.flows(50_000)?;
    agent.kill9()?;
    // Long enough that an interruption would show as one.
    download.flows(300_000)?;
    query.flows(100)?;
    answer.flows(100)?;
    // New conversations as well.
    let fresh = Download::start(pc, None, internet, (CLOUD_V4, 444))?;
    fresh.flows(10_000)?;
    agent.restart()?;
    download.flows(50_000)?;
    let gap = download.longest_gap();
    assert!(gap < STALL, "the download stood still for {gap:?}");
    download.finish()?;
    fresh.finish()?;
    query.lost_nothing()?;
    answer.lost_nothing()?;
    Ok(())
}

#[test]
fn a_restart_adopts_what_is_pinned_and_changes_nothing() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let pc = town.host(&PC_017)?;
    let query = Stream::to_server(pc, None, town.host(&INTERNET_ROUTER)?, (DNS_V4, 53), OFTEN)?;
    query.flows(100)?;
    let (sent, _) = query.finish()?;
    let state = |agent: &Agent| -> Result<_> {
        let (_, mut status) = agent.json(["status"])?;
        for interface in status["interfaces"].as_array_mut().into_iter().flatten() {
            // What the way in may forward depends on how long that was permitted.
            interface["fast_path"].take();
        }
        let pins = inodes(&agent.pins_path())?;
        Ok((status["revision"].take(), status["interfaces"].take(), pins, Counters::read(agent)?.rule("names")))
    };
    let before = state(&agent)?;
    assert!(before.3 >= sent, "the rule counted {} of {sent} queries", before.3);
    agent.kill9()?;
    agent.restart()?;
    let after = state(&agent)?;
    assert_eq!(before.0, after.0, "another revision or generation");
    assert_eq!(before.1, after.1, "interfaces were attached anew");
    assert_eq!(before.2, after.2, "something was pinned anew");
    assert!(after.3 >= before.3, "the rule's counter fell from {} to {}", before.3, after.3);
    let actions = actions(&agent)?;
    assert_eq!(actions, ["start", "apply", "start"]);
    Ok(())
}

#[test]
fn a_cut_off_survives_the_death_of_the_agent() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let query = Stream::to_server(pc, None, internet, (DNS_V4, 53), OFTEN)?;
    query.flows(50)?;
    assert!(agent.cli(["cutoff", "network", "internet", "--reason", "worm"])?.ok());
    let last = query.stands_still(50)?;
    agent.kill9()?;
    query.stands_still(200)?;
    agent.restart()?;
    query.stands_still(200)?;
    query.stood_still_since(last)?;
    assert_eq!(cut(&agent)?, ["network internet"]);
    // Without an agent the command line works on what is pinned.
    agent.kill9()?;
    assert!(agent.cli(["restore", "network", "internet", "--reason", "clean"])?.ok());
    query.flows(50)?;
    agent.restart()?;
    query.flows(50)?;
    assert_eq!(cut(&agent)?, [] as [&str; 0]);
    Ok(())
}

#[test]
fn a_cut_off_is_back_after_a_reboot_before_anything_passes() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let query = Stream::to_server(pc, None, internet, (DNS_V4, 53), OFTEN)?;
    query.flows(50)?;
    assert!(agent.cli(["cutoff", "network", "internet", "--reason", "worm"])?.ok());
    query.stands_still(50)?;
    reboot(&mut agent, &town)?;
    // Nothing is left of the gate: this is what the start has to close.
    query.flows(100)?;
    agent.spawn()?;
    agent.wait_until_enforcing()?;
    query.stands_still(100)?;
    assert_eq!(cut(&agent)?, ["network internet"]);
    // Had the programs run before the cut was in their tables, they would have passed and counted something.
    let counters = Counters::read(&agent)?;
    for (direction, reason) in [("in", "flow"), ("in", "rule"), ("out", "flow"), ("out", "rule")] {
        let passed = counters.packets("internet", direction, reason);
        assert_eq!(passed, 0, "{passed} packets passed as {reason} {direction}");
    }
    assert!(counters.packets("internet", "out", "cut_network") > 0);
    assert_eq!(actions(&agent)?, ["start", "apply", "cutoff", "cutoff_proof", "start", "reapply"]);
    Ok(())
}

#[test]
fn the_revision_in_force_is_back_after_a_reboot_and_not_the_edited_file() -> Result<()> {
    let Scene { mut agent, town, _policies } = scene()?;
    let watch = Watch::over(town.host(&INTERNET_ROUTER)?, HOST_INTERFACE, DENIED, MARKER)?;
    let revision = agent.json(["status"])?.1["revision"]["hash"].clone();
    // Somebody opened the policy on disk and did not apply it.
    _policies.town("policy", &[rule("all", "office", "internet", "udp/1-65535")])?;
    agent.kill9()?;
    fs::remove_dir_all(agent.pins_path())?;
    agent.spawn()?;
    agent.wait_until_enforcing()?;
    assert_eq!(agent.json(["status"])?.1["revision"]["hash"], revision);
    let flood = Flood::start(town.host(&PC_017)?, HOST_INTERFACE, denied_frames(), OFTEN)?;
    flood.goes_on(100)?;
    flood.finish()?;
    watch.saw_nothing(|| send_marker(&town))
}

/// An agent that is told to stop while it looks at a large policy on disk ends as it should: it had panicked when it next
/// looked at the clock, because the runtime was gone.
#[test]
fn a_stop_in_the_middle_of_a_look_at_the_policy_is_a_clean_one() -> Result<()> {
    let Scene { mut agent, town: _town, _policies } = scene()?;
    let used = |agent: &Agent| -> Result<Duration> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", agent.pid().context("it does not run")?))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            total += text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(total))
    };
    let list: String =
        (0..1_000_000u32).map(|number| format!("{}\n", Ipv4Addr::from(0x0b00_0000 + number * 4))).collect();
    fs::write(_policies.path().join("large.txt"), list)?;
    let before = used(&agent)?;
    let text =
        sekimori_tests::harness::policy::TOWN.replace("rules:\n", "groups:\n  large: [{file: large.txt}]\nrules:\n");
    let rules = rule("web", "{zone: office, devices: [pc-017]}", "{network: internet, groups: [large]}", "https");
    _policies.text("policy", &format!("{text}{rules}"))?;
    tool::until("the agent at work", Duration::from_secs(20), || {
        Ok((used(&agent)? > before + Duration::from_millis(150)).then_some(()))
    })?;
    agent.stop()?;
    let log = agent.log();
    assert!(!log.contains("panicked"), "{log}");
    agent.restart()
}

/// What a reboot does: processes, pins and nftables are gone, the disk stays. The namespace and its wires stay, too.
fn reboot(agent: &mut Agent, town: &Town) -> Result<()> {
    agent.kill9()?;
    fs::remove_dir_all(agent.pins_path())?;
    let mut nft = town.gateway.command("nft");
    tool::must(nft.args(["flush", "ruleset"]), Duration::from_secs(10))?;
    town.translate()
}

/// Every file below a folder and its inode: a pin that is replaced gets another one.
fn inodes(folder: &std::path::Path) -> Result<Vec<(std::path::PathBuf, u64)>> {
    use std::os::unix::fs::MetadataExt as _;
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let entry = entry?;
            found.push((entry.path(), entry.metadata()?.ino()));
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The objects that are cut off and in force.
fn cut(agent: &Agent) -> Result<Vec<String>> {
    let (_, status) = agent.json(["status"])?;
    let cuts = status["cutoffs"].as_array().context("no list of cut-offs")?;
    let in_force = cuts.iter().filter(|cut| cut["in_force"] == true);
    Ok(in_force.filter_map(|cut| cut["object"].as_str().map(str::to_owned)).collect())
}

/// What the record says was done, in order.
fn actions(agent: &Agent) -> Result<Vec<String>> {
    let said = agent.cli(["records", "--format", "json"])?;
    let lines = said.out.lines().map(serde_json::from_str::<serde_json::Value>);
    lines.map(|line| Ok(line?["action"].as_str().context("a line without an action")?.to_owned())).collect()
}
