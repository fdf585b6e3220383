//! Law 2: one packet, one revision. A switch loses nothing that both policies permit and leaks nothing that neither does.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use sekimori::{
    compile::{
        self,
        registry::Registry,
        schedule::{self, Clock},
        tables::Compiled,
    },
    dataplane::{Dataplane, NetCounter, Options, XdpChoice},
    policy,
};
use sekimori_ebpf::{
    abi::{DIR_IN, Schedule, Settings, timeout},
    reason::Reason,
};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    bpffs::PinFolder,
    counters::Counters,
    download::Download,
    flood::{Flood, Watch},
    frame::{Frame, udp},
    policy::{Policies, TOWN, rule},
    raw::RawPort,
    stream::Stream,
    town::{HOST_INTERFACE, Town},
    townhall::{ADMIN_PC, CLOUD_V4, DNS_V4, INTERNET_ROUTER, OFFICE, PC_017},
};
use serde_json::{Value, json};

const OFTEN: Duration = Duration::from_millis(1);
const SWITCHES: u32 = 1000;
/// In every frame that neither policy permits, and in no other.
const DENIED: &[u8] = b"denied-by-both";
const MARKER: &[u8] = b"end-of-the-switches";
const BOTH: u16 = 7000;
const ONLY_A: u16 = 7100;
const ONLY_B: u16 = 7200;

/// Two policies that a mixture of their tables would betray: what both permit is the first rule of one and the last of
/// the other, and each binds its own port to its own address.
fn a_and_b() -> (String, String) {
    let from = "{zone: office, devices: [pc-017]}";
    let to = |address: Ipv4Addr| format!("{{network: internet, addresses: [{address}]}}");
    let both = rule("both", from, "internet", &format!("udp/{BOTH}, tcp/{BOTH}"));
    let a = rule("only-a", from, &to(CLOUD_V4), &format!("udp/{ONLY_A}"));
    let b = rule("only-b", from, &to(DNS_V4), &format!("udp/{ONLY_B}"));
    let filler: Vec<_> = (0..100).map(|n| rule(&format!("filler-{n}"), "dmz", "internet", "tcp/1")).collect();
    (format!("{TOWN}{both}{a}"), format!("{TOWN}{}{b}{both}", filler.concat()))
}

/// A data plane of its own in the gateway, without an agent: switching is what is tried, and nothing else takes time.
struct Gate {
    dataplane: Dataplane,
    policies: [(Compiled, Vec<Schedule>); 2],
    _pins: PinFolder,
}

impl Gate {
    fn up(town: &Town) -> Result<Self> {
        let pins = PinFolder::new()?;
        let folder = Policies::new()?;
        let (a, b) = a_and_b();
        let mut registry = Registry::default();
        let mut compiled = |name: &str, text: &str| -> Result<_> {
            let loaded = policy::load(&folder.text(name, text)?);
            let policy = loaded.policy.with_context(|| format!("{name}: {:?}", loaded.diagnostics))?;
            let compiled = compile::compile(&policy, &mut registry)?;
            let windows = schedule::windows(&compiled.schedules, &policy, Clock::now()?);
            Ok((compiled, windows))
        };
        let policies = [compiled("a", &a)?, compiled("b", &b)?];
        let options =
            Options { bpffs: pins.path().join("sekimori"), xdp: XdpChoice::Native, flows_max: 8192, opening_max: 2048 };
        let dataplane = town.gateway.run(|| {
            let mut dataplane = Dataplane::open(options)?;
            let timeouts = timeout::DEFAULTS;
            dataplane.set_settings(&Settings { mark_shift: 8, timeouts, ..Settings::default() })?;
            dataplane.apply(&policies[0].0, &policies[0].1, &[])?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(dataplane.attach(&policies[0].0.interfaces))?;
            Ok(dataplane)
        })?;
        Ok(Self { dataplane, policies, _pins: pins })
    }

    /// Back and forth, as often as that. In threes: tables live in two slots by turns, and a policy that always came
    /// back to its own slot would find its own tables there if some were late.
    fn switch(&mut self, times: u32) -> Result<()> {
        for turn in 0..times {
            let next = if turn % 3 == 2 { &self.policies[0] } else { &self.policies[1] };
            self.dataplane.apply(&next.0, &next.1, &[])?;
        }
        Ok(())
    }

    /// Packets of the office on their way in, by reason.
    fn counted(&self) -> Result<Vec<(Reason, u64)>> {
        let counters = self.dataplane.counters()?;
        let office =
            counters.iter().find(|counter| counter.reason == Reason::Rule as u32 && counter.direction == DIR_IN);
        let net = office.context("nothing was permitted")?.net;
        let of_office = |counter: &&NetCounter| counter.net == net && counter.direction == DIR_IN;
        let named = counters.iter().filter(of_office).map(|counter| {
            let reason = Reason::from_number(counter.reason).with_context(|| format!("reason {}", counter.reason))?;
            Ok((reason, counter.counter.packets))
        });
        named.collect()
    }
}

/// Datagrams of pc-017 from many ports, so that rules and not conversations decide about most.
fn frames(to: Ipv4Addr, port: u16, text: &[u8]) -> impl Iterator<Item = Frame> {
    let text = text.to_vec();
    (0..200).map(move |n| udp((PC_017.mac, OFFICE.mac), (PC_017.v4.into(), 20_000 + n), (to.into(), port), &text))
}

#[test]
fn a_thousand_switches_lose_nothing_that_both_permit_and_leak_nothing_that_neither_does() -> Result<()> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let mut gate = Gate::up(&town)?;
    let watch = Watch::over(internet, HOST_INTERFACE, DENIED, MARKER)?;
    let query = Stream::to_server(pc, None, internet, (DNS_V4, BOTH), OFTEN)?;
    let answer = Stream::to_client(pc, internet, (CLOUD_V4, BOTH), OFTEN)?;
    let download = Download::start(pc, None, internet, (CLOUD_V4, BOTH))?;
    // The address of one policy with the port of the other: only half of each would permit it.
    let torn = frames(CLOUD_V4, ONLY_B, DENIED).chain(frames(DNS_V4, ONLY_A, DENIED));
    let torn = Flood::start(pc, HOST_INTERFACE, torn.collect(), Duration::from_micros(100))?;
    let either = frames(CLOUD_V4, ONLY_A, b"by-a").chain(frames(DNS_V4, ONLY_B, b"by-b"));
    let either = Flood::start(pc, HOST_INTERFACE, either.collect(), Duration::from_micros(300))?;

    let start = Instant::now();
    gate.switch(SWITCHES)?;
    println!("{SWITCHES} switches took {:?}", start.elapsed());

    let sent = torn.finish()? + either.finish()?;
    let gap = download.longest_gap();
    assert!(gap < Duration::from_millis(700), "the download stood still for {gap:?}");
    download.finish()?;
    query.lost_nothing()?;
    answer.lost_nothing()?;
    let marker = udp((PC_017.mac, OFFICE.mac), (PC_017.v4.into(), 4053), (DNS_V4.into(), BOTH), MARKER);
    watch.saw_nothing(|| RawPort::open(pc, HOST_INTERFACE)?.send(&marker))?;

    // What only one of them permits was judged by one of them: passed by the rule or its conversation, or dropped
    // because there is no rule or no longer one. No other word was ever said.
    let counted = gate.counted()?;
    let verdicts = [Reason::Rule, Reason::Flow, Reason::NoRule, Reason::FlowEnded, Reason::Builtin];
    assert!(counted.iter().all(|(reason, _)| verdicts.contains(reason)), "{counted:?}");
    let of = |wanted: Reason| counted.iter().find(|(reason, _)| *reason == wanted).map_or(0, |(_, packets)| *packets);
    assert!(of(Reason::NoRule) > sent / 2, "{sent} sent, {counted:?}");
    assert!(of(Reason::FlowEnded) > 0, "no conversation ended with its rule: {counted:?}");
    Ok(())
}

/// The gateway with an agent, a policy that lets a server send to pc-017, and one that does not.
struct Scene {
    agent: Agent,
    policies: Policies,
    open: PathBuf,
    shut: PathBuf,
    town: Town,
}

fn scene(management: Value) -> Result<Scene> {
    let town = Town::build(&[&PC_017, &ADMIN_PC, &INTERNET_ROUTER])?;
    let policies = Policies::new()?;
    let kept = rule("kept", "office", "internet", "udp/7000");
    let ssh = rule("ssh", "{zone: office, devices: [admin-pc]}", "box", "ssh");
    let open = policies.town("open", &[kept.clone(), rule("media", "office", "internet", "udp/7300"), ssh.clone()])?;
    let shut = policies.town("shut", &[kept, ssh])?;
    let mut config = Config::new(&open);
    config.management = management;
    let agent = Agent::start(&town.gateway, &config)?;
    Ok(Scene { agent, policies, open, shut, town })
}

#[test]
fn a_stream_from_a_server_ends_at_the_switch_that_removes_its_rule() -> Result<()> {
    let Scene { agent, shut, town, policies: _policies, .. } = scene(json!([]))?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let media = Stream::to_client(pc, internet, (CLOUD_V4, 7300), OFTEN)?;
    let other = Stream::to_client(pc, internet, (CLOUD_V4, 7000), OFTEN)?;
    media.flows(50)?;
    agent.apply(&shut)?;
    media.stands_still(200)?;
    other.lost_nothing()?;
    let counters = Counters::read(&agent)?;
    assert!(counters.packets("office", "out", "flow_ended") > 0, "{:?}", counters.reasons());
    Ok(())
}

#[test]
fn a_stream_from_a_server_ends_also_if_the_agent_died_between_its_permission_and_the_switch() -> Result<()> {
    let Scene { mut agent, open, shut, town, policies: _policies } = scene(json!([]))?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let media = Stream::to_client(pc, internet, (CLOUD_V4, 7300), OFTEN)?;
    media.flows(50)?;
    agent.kill9()?;
    media.flows(50)?;
    agent.restart()?;
    // The same rules under another generation change nothing for it.
    agent.apply(&open)?;
    media.flows(50)?;
    agent.apply(&shut)?;
    media.stands_still(200)?;
    agent.apply(&open)?;
    // What ended stays ended: the client has to ask again.
    media.stands_still(100)?;
    Ok(())
}

#[test]
fn a_refused_apply_changes_nothing_and_says_why() -> Result<()> {
    let path = json!([{"interface": "lan0", "sources": ["192.168.10.18/32"], "port": 22}]);
    let Scene { agent, policies, open, town, .. } = scene(path)?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let media = Stream::to_client(pc, internet, (CLOUD_V4, 7300), OFTEN)?;
    let media_rule = rule("media", "office", "internet", "udp/7300");
    let ssh = rule("ssh", "{zone: office, devices: [admin-pc]}", "box", "ssh");
    let many: Vec<_> =
        (0..4097).map(|n| rule(&format!("r-{n}"), "dmz", "internet", "tcp/1")).chain([ssh.clone()]).collect();
    let own_test = "tests:
  - {name: wrong, in: office, packet: \"udp 192.168.10.17:1 > 198.51.100.5:7300\", expect: pass}
";
    let bad = [
        ("syntax", policies.text("syntax", "version: 1\nzones: [")?, "syntax.yaml:3:1:"),
        ("a word", policies.town("word", &[rule("x", "ofice", "internet", "dns")])?, "ofice"),
        ("its own test", policies.text("test", &format!("{TOWN}{ssh}{own_test}"))?, "test.yaml:"),
        ("management", policies.town("management", &[media_rule])?, "--allow-management-loss"),
        ("limit", policies.town("limit", &many)?, "4096"),
        ("absent", policies.path().join("absent.yaml"), "absent.yaml"),
    ];
    let before = (state(&agent)?, status(&agent)?);
    for (name, path, why) in bad {
        let path = path.to_str().context("a path of ours is UTF-8")?;
        let said = agent.cli(["apply", path])?;
        assert_eq!(said.code, Some(1), "{name}: {said:?}");
        assert!(format!("{}{}", said.out, said.err).contains(why), "{name}: {said:?}");
        assert_eq!((state(&agent)?, status(&agent)?), before, "{name} changed something");
        let records = agent.cli(["records", "--limit", "1", "--format", "json"])?;
        let last: Value = serde_json::from_str(&records.out)?;
        assert_eq!((&last["action"], &last["result"]["ok"]), (&json!("apply"), &json!(false)), "{name}: {last}");
        assert_eq!(last["before"], last["after"], "{name}");
        media.flows(20)?;
    }
    // The administrator may insist.
    let said = agent.cli(["apply", path_text(&policies.path().join("management.yaml"))?, "--allow-management-loss"])?;
    assert!(said.ok(), "{said:?}");
    agent.apply(&open)?;
    media.lost_nothing()?;
    Ok(())
}

/// Bytes flipped, lines doubled, dropped or cut short: whatever is not applied leaves everything as it was.
#[test]
fn damaged_policies_change_nothing_that_is_in_force() -> Result<()> {
    let Scene { agent, policies, open, town, .. } = scene(json!([]))?;
    let media = Stream::to_client(town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?, (CLOUD_V4, 7300), OFTEN)?;
    let whole = fs::read_to_string(&open)?;
    let mut before = (state(&agent)?, status(&agent)?);
    let mut seed = 0x5eed_2026_1122_u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).unwrap_or(0)
    };
    let mut refused = 0;
    for turn in 0..120 {
        let mut lines: Vec<String> = whole.lines().map(str::to_owned).collect();
        for _ in 0..=next(2) {
            let at = next(lines.len());
            match next(4) {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[at].clone()),
                2 => {
                    let end = next(lines[at].chars().count().max(1));
                    lines[at] = lines[at].chars().take(end).collect();
                }
                _ => {
                    let hit = next(lines[at].chars().count().max(1));
                    let with = char::from(b' ' + u8::try_from(next(94))?);
                    lines[at] = lines[at].chars().enumerate().map(|(n, c)| if n == hit { with } else { c }).collect();
                }
            }
        }
        let path = policies.text("damaged", &lines.join("\n"))?;
        let said = agent.cli(["apply", path_text(&path)?])?;
        let all = format!("{}{}{}", said.out, said.err, agent.log());
        assert!(!all.contains("panicked"), "turn {turn}: {all}");
        if said.code == Some(0) {
            // It still was a policy. Back to the whole one, which is what the next damage is compared with.
            agent.apply(&open)?;
            before = (state(&agent)?, status(&agent)?);
            continue;
        }
        refused += 1;
        assert_eq!((state(&agent)?, status(&agent)?), before, "turn {turn} changed something: {said:?}");
    }
    assert!(refused > 40, "only {refused} of the damaged policies were refused");
    media.flows(20)?;
    Ok(())
}

#[test]
fn applying_by_the_command_line_is_quick_enough_to_do_it_often() -> Result<()> {
    let Scene { agent, open, shut, town, policies: _policies } = scene(json!([]))?;
    let kept = Stream::to_server(town.host(&PC_017)?, None, town.host(&INTERNET_ROUTER)?, (DNS_V4, 7000), OFTEN)?;
    let start = Instant::now();
    for policy in [&shut, &open].iter().cycle().take(10) {
        agent.apply(policy)?;
    }
    let each = start.elapsed() / 10;
    println!("an apply took {each:?}");
    assert!(each < Duration::from_secs(3), "an apply took {each:?}");
    kept.lost_nothing()?;
    Ok(())
}

/// The state folder but for the record and the clock, which every attempt touches: path and contents.
fn state(agent: &Agent) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut folders = vec![agent.state_path()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == "flows" {
                // Who talked to whom: it grows by itself.
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                found.push((entry.path(), Vec::new()));
            } else if name != "records.jsonl" && name != "records.head.json" && name != "clock" {
                found.push((entry.path(), fs::read(entry.path())?));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The revision in force, generation included.
fn status(agent: &Agent) -> Result<Value> {
    let (code, mut status) = agent.json(["status"])?;
    if code != Some(0) {
        return Err(anyhow!("not enforcing: {status}"));
    }
    Ok(status["revision"].take())
}

fn path_text(path: &Path) -> Result<&str> {
    path.to_str().context("a path of ours is UTF-8")
}
