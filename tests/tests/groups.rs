//! Groups changed at run time: in force at the next packet, all of a batch at once, kept over crashes, reboots and applies.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

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
    for (addr, text) in [(IpAddr::from(CLOUD_V4), CLOUD_V4.to_string()), (IpAddr::from(CLOUD_V6), CLOUD_V6.to_string())]
    {
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

/// It is in force before it is on disk; what the disk refuses is taken back, unless it shuts somebody out.
#[test]
fn an_addition_that_cannot_be_written_is_taken_back_and_a_removal_stands() -> Result<()> {
    let Scene { agent, town, policies: _policies } = scene("198.51.100.53, 192.0.2.0/24")?;
    let (dns, cloud) = (query(&town, DNS_V4)?, query(&town, CLOUD_V4)?);
    dns.flows(20)?;
    // Files are written beside and renamed: a folder of that name is in the way.
    let in_the_way = agent.state_path().join("members.json.new");
    fs::create_dir(&in_the_way)?;
    let (code, said) = agent.json(["group", "add", "friends", &CLOUD_V4.to_string(), "--reason", "the test"])?;
    assert_eq!(code, Some(2), "{said}");
    cloud.stands_still(100)?;
    let (code, said) = agent.json(["group", "remove", "friends", &DNS_V4.to_string(), "--reason", "the test"])?;
    assert_eq!(code, Some(1), "{said}");
    dns.stands_still(100)?;
    fs::remove_dir(in_the_way)?;
    change(&agent, "add", &[&CLOUD_V4.to_string()])?;
    cloud.flows(50)?;
    dns.stands_still(50)?;
    Ok(())
}

/// Whom a damaged file put out nobody knows: nobody comes back in by it.
#[test]
fn a_damaged_file_of_members_lets_nobody_back_in() -> Result<()> {
    let Scene { mut agent, town, policies } = scene("198.51.100.53, 192.0.2.0/24")?;
    let dns = query(&town, DNS_V4)?;
    dns.flows(20)?;
    change(&agent, "remove", &[&DNS_V4.to_string()])?;
    dns.stands_still(50)?;
    agent.kill9()?;
    fs::write(agent.state_path().join("members.json"), "{\"x\":")?;
    agent.restart()?;
    dns.stands_still(50)?;
    let path = policies.text("policy", &policy("198.51.100.53, 203.0.113.64/27"))?;
    let said = agent.cli(["apply", path.to_str().context("a path")?])?;
    assert!(!said.ok() && format!("{}{}", said.out, said.err).contains("members.json"), "{}{}", said.out, said.err);
    dns.stands_still(50)?;
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

/// Many members at once, the two that are looked at first and last. From the first packet on that is let through, all are.
#[test]
fn a_batch_is_in_force_at_one_instant() -> Result<()> {
    let Scene { agent, town, policies: _policies } = scene(OTHER)?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let ends = [IpAddr::from(CLOUD_V4), IpAddr::from(CLOUD_V6)];
    let listening = ends.map(|addr| internet.run(|| Ok(UdpSocket::bind((addr, 53))?)));
    let [four, six] = listening;
    let sockets = [four?, six?];
    let sending = [pc.run(|| Ok(UdpSocket::bind((PC_017.v4, 0))?))?, pc.run(|| Ok(UdpSocket::bind((PC_017.v6, 0))?))?];
    // Written in order: these between the two that are looked at.
    let many: Vec<String> = (0..2_000u32).map(|n| Ipv4Addr::from(0xc634_0001 + n * 2).to_string()).collect();
    let all: Vec<String> = [vec![CLOUD_V4.to_string()], many, vec![CLOUD_V6.to_string()]].concat();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let stop = AtomicBool::new(false);
    let (arrived, sent) = thread::scope(|scope| -> Result<_> {
        let sender = scope.spawn(|| {
            let mut number = 0u64;
            while !stop.load(Ordering::Acquire) {
                // Refused by the box or not, it counts as sent.
                let end = usize::from(number % 2 == 1);
                sending[end].send_to(&number.to_be_bytes(), (ends[end], 53)).ok();
                number += 1;
                thread::sleep(Duration::from_micros(50));
            }
            number
        });
        let receivers = sockets.each_ref().map(|socket| {
            let stop = &stop;
            scope.spawn(move || -> Result<Vec<u64>> {
                socket.set_read_timeout(Some(Duration::from_millis(300)))?;
                let (mut seen, mut buffer) = (Vec::new(), [0; 8]);
                loop {
                    match socket.recv(&mut buffer) {
                        Ok(_) => seen.push(u64::from_be_bytes(buffer)),
                        Err(_) if stop.load(Ordering::Acquire) => return Ok(seen),
                        Err(_) => {}
                    }
                }
            })
        });
        // The overlay is asked from its first change on: then what is being written could be seen.
        change(&agent, "add", &["192.0.3.1"])?;
        thread::sleep(Duration::from_millis(200));
        let said = change(&agent, "add", &all);
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Release);
        anyhow::ensure!(said?["compiled"] == false, "compiled anew");
        let mut arrived = Vec::new();
        for receiver in receivers {
            arrived.extend(receiver.join().map_err(|_| anyhow::anyhow!("a receiver panicked"))??);
        }
        Ok((arrived, sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?))
    })?;
    let mut arrived = arrived;
    arrived.sort_unstable();
    let first = *arrived.first().context("nothing arrived")?;
    assert!(first > 100, "let through from number {first} on");
    let wanted: Vec<u64> = (first..sent).collect();
    assert_eq!(arrived.len(), wanted.len(), "from {first} to {sent}, not all arrived");
    assert_eq!(arrived, wanted);
    Ok(())
}

/// Percentiles of a change in a group of a million: run with `--ignored --nocapture` and the release build.
#[test]
#[ignore = "a measurement: takes a release build and a quiet machine"]
fn a_change_at_a_million() -> Result<()> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    town.translate()?;
    let policies = Policies::new()?;
    let mut list = String::new();
    for number in 0..1_000_000u32 {
        writeln!(list, "{}", Ipv4Addr::from(0x0b00_0001 + number * 4))?;
    }
    fs::write(policies.path().join("million.txt"), list)?;
    let path = policies.text("policy", &policy("{file: million.txt}"))?;
    let agent = Agent::start(&town.gateway, &Config::new(path))?;
    for add in [false, true] {
        let (mut whole, mut enforced, mut inside) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..1_000u32 {
            let prefix = Ipv4Addr::from(0x0b00_0001 + number * 997 * 4);
            let ask = serde_json::json!({ "lang": "en", "ask": {
                "op": "group", "group": "friends", "add": add, "prefixes": [prefix.to_string()], "reason": "measured",
            } });
            let started = Instant::now();
            let mut socket = UnixStream::connect(agent.socket_path())?;
            writeln!(socket, "{ask}")?;
            let mut line = String::new();
            BufReader::new(socket).read_line(&mut line)?;
            whole.push(started.elapsed().as_micros());
            let reply: serde_json::Value = serde_json::from_str(&line)?;
            anyhow::ensure!(reply["exit"] == 0 && reply["body"]["compiled"] == false, "{reply}");
            enforced.push(u128::from(reply["body"]["enforced_us"].as_u64().context("no time")?));
            inside.push(u128::from(reply["body"]["dataplane_us"].as_u64().context("no time")?));
        }
        for (what, mut took) in [("answered", whole), ("enforced", enforced), ("data plane", inside)] {
            took.sort_unstable();
            println!("{} {what}: p50 {} µs, p99 {} µs", if add { "add" } else { "remove" }, took[500], took[990]);
        }
    }
    Ok(())
}
