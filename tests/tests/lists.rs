//! Lists that others keep: a good delivery is used, one that cannot be right is refused, and the last good one stays.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    policy::{Policies, TOWN, rule},
    tool,
    town::Town,
    townhall::{INTERNET_ROUTER, PC_017},
};
use serde_json::{Value, json};

/// In the form of Spamhaus DROP; four prefixes.
const GOOD: &str =
    "; made up\n192.0.2.0/24 ; SBL1\n198.51.100.7/32 ; SBL2\n198.51.100.64/26 ; SBL3\n2001:db8:bad::/48 ; SBL4\n";
/// More than the agent lets pass between two looks at the files.
const NOTICED: Duration = Duration::from_secs(45);

struct Scene {
    agent: Agent,
    policies: Policies,
    _town: Town,
}

impl Scene {
    /// With this at `lists/drop.txt`, if anything.
    fn new(delivery: Option<&str>) -> Result<Self> {
        let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
        let policies = Policies::new()?;
        fs::create_dir(policies.path().join("lists"))?;
        let path = policies.text("policy", &policy("drop: {path: lists/drop.txt, expires: 7d"))?;
        let mut config = Config::new(path);
        config.management = json!([{"interface": "lan0", "sources": ["192.168.10.18/32"], "port": 22}]);
        if let Some(text) = delivery {
            fs::write(policies.path().join("lists/drop.txt"), text)?;
        }
        let agent = Agent::start(&town.gateway, &config)?;
        Ok(Self { agent, policies, _town: town })
    }

    fn file(&self) -> PathBuf {
        self.policies.path().join("lists/drop.txt")
    }

    /// Delivers as a careful download does: beside, then renamed.
    fn deliver(&self, text: &str) -> Result<()> {
        let beside = self.file().with_extension("new");
        fs::write(&beside, text)?;
        Ok(fs::rename(beside, self.file())?)
    }

    fn row(&self) -> Result<Value> {
        let said = self.agent.cli(["lists", "--format", "json"])?;
        anyhow::ensure!(said.ok(), "{}{}", said.out, said.err);
        Ok(serde_json::from_str(said.out.trim())?)
    }

    /// What becomes of the list when it is next like this.
    fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        tool::until(what, NOTICED, || {
            let row = self.row()?;
            if is(&row) { Ok(Some(row)) } else { anyhow::bail!("{row}") }
        })
    }

    fn reload(&self, words: &[&str]) -> Result<(Option<i32>, Value)> {
        self.agent.json(["lists", "reload"].into_iter().chain(words.iter().copied()))
    }

    fn records(&self, action: &str) -> Result<Vec<Value>> {
        let said = self.agent.cli(["records", "list", "--limit", "1000", "--action", action, "--format", "json"])?;
        said.out.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

fn policy(lists: &str) -> String {
    let lists = format!("threat_lists:\n  {lists}, source: \"https://lists.example/\", purpose: test}}\nrules:\n");
    let rules = [
        rule("names", "office", "internet", "dns"),
        rule("manage", "{zone: office, devices: [admin-pc]}", "{box: true, addresses: [192.168.10.1]}", "ssh"),
    ];
    format!("{}{}", TOWN.replace("rules:\n", &lists), rules.concat())
}

#[test]
fn a_bad_delivery_is_refused_and_the_last_good_one_stays() -> Result<()> {
    let scene = Scene::new(Some(GOOD))?;
    let row = scene.until("the list", |row| row["state"] == "used")?;
    assert_eq!((&row["prefixes"], &row["formats"]), (&json!(4), &json!(["drop"])), "{row}");
    let good = row["sha256"].clone();
    for (text, code) in [
        ("", "empty"),
        ("; nothing today\n", "empty"),
        ("192.0.2.0/24 ; SBL1\n198.51.100.7/32 ; SBL2\n", "shrunk"),
        (&format!("{GOOD}0.0.0.0/0 ; SBL9\n"), "everything"),
        (&format!("{GOOD}0.0.0.0/1\n128.0.0.0/1\n"), "everything"),
        (&format!("{GOOD}192.168.10.99 ; SBL9\n"), "inside"),
        (&format!("{GOOD}192.168.10.18/32 ; SBL9\n"), "management"),
        (&format!("{GOOD}203.0.113.2 ; SBL9\n"), "box"),
        ("<html><body>Service unavailable</body></html>\n", "foreign"),
        ("nonsense\n", "bad_lines"),
    ] {
        scene.deliver(text)?;
        let (exit, said) = scene.reload(&[])?;
        assert_eq!((exit, &said["refused"]), (Some(1), &json!(["drop"])), "{code}: {said}");
        let row = scene.row()?;
        assert_eq!((&row["state"], &row["refused"]["code"]), (&json!("kept"), &json!(code)), "{row}");
        assert_eq!((&row["sha256"], &row["prefixes"]), (&good, &json!(4)), "{row}");
    }
    fs::remove_file(scene.file())?;
    assert_eq!(scene.reload(&[])?.0, Some(1));
    let row = scene.row()?;
    assert_eq!((&row["refused"]["code"], &row["prefixes"]), (&json!("unreadable"), &json!(4)), "{row}");
    let metrics = scene.agent.metrics()?;
    assert!(metrics.contains("sekimori_threat_list_refused{list=\"drop\"} 1"), "{metrics}");
    assert!(metrics.contains("sekimori_threat_list_prefixes{list=\"drop\"} 4"), "{metrics}");
    assert!(metrics.contains("sekimori_threat_list_refusals_total{list=\"drop\"} "), "{metrics}");
    let status = scene.agent.json(["status"])?.1;
    assert_eq!(status["enforcing"], true, "{status}");
    assert!(status["faults"].to_string().contains("list drop"), "{status}");
    scene.deliver(&format!("{GOOD}203.0.113.128/25\n"))?;
    let (exit, said) = scene.reload(&["drop", "--reason", "repaired"])?;
    assert_eq!((exit, &said["taken"]), (Some(0), &json!(["drop"])), "{said}");
    assert_eq!(scene.row()?["prefixes"], 5);
    assert!(!scene.agent.json(["status"])?.1["faults"].to_string().contains("list drop"));
    let records = scene.records("list_reload")?;
    assert_eq!(records.iter().filter(|line| line["result"]["ok"] == false).count(), 11);
    let last = records.last().context("a record")?;
    assert_eq!((&last["reason"], &last["objects"]), (&json!("repaired"), &json!(["list drop"])), "{last}");
    Ok(())
}

#[test]
fn files_are_looked_at_without_being_asked() -> Result<()> {
    let scene = Scene::new(Some(GOOD))?;
    scene.until("the list", |row| row["state"] == "used")?;
    scene.deliver("192.168.10.99\n")?;
    scene.until("the refusal", |row| row["refused"]["code"] == "inside")?;
    scene.deliver(&format!("{GOOD}203.0.113.128/25\n"))?;
    scene.until("the new list", |row| row["state"] == "used" && row["prefixes"] == 5)?;
    let refused = scene.records("list_refused")?;
    assert_eq!(refused.len(), 1, "once, however often it is looked at: {refused:?}");
    assert!(refused[0]["result"]["message"].as_str().is_some_and(|text| text.contains("192.168.10.99")), "{refused:?}");
    assert_eq!(scene.records("list_taken")?.len(), 2, "the first, and the one after the refusal");
    Ok(())
}

#[test]
fn a_restart_with_a_broken_file_still_has_the_last_good_one() -> Result<()> {
    let mut scene = Scene::new(Some(GOOD))?;
    let good = scene.until("the list", |row| row["state"] == "used")?["sha256"].clone();
    scene.agent.kill9()?;
    scene.deliver("0.0.0.0/0\n")?;
    scene.agent.restart()?;
    let row = scene.until("the refusal", |row| row["refused"]["code"] == "everything")?;
    assert_eq!((&row["state"], &row["sha256"], &row["prefixes"]), (&json!("kept"), &good, &json!(4)), "{row}");
    // What was kept and is damaged is no list either; and nothing else is harmed by it.
    scene.agent.kill9()?;
    fs::write(scene.agent.state_path().join("threat/drop.list"), "0.0.0.0/0\n")?;
    scene.agent.restart()?;
    let row = scene.until("the refusal", |row| row["refused"]["code"] == "everything")?;
    assert_eq!((&row["state"], &row["prefixes"]), (&json!("none"), &json!(0)), "{row}");
    scene.deliver(GOOD)?;
    assert_eq!(scene.reload(&[])?.0, Some(0));
    assert_eq!(scene.row()?["prefixes"], 4);
    Ok(())
}

#[test]
fn a_person_may_accept_less_with_a_reason() -> Result<()> {
    let scene = Scene::new(Some(GOOD))?;
    scene.until("the list", |row| row["state"] == "used")?;
    scene.deliver("192.0.2.0/24\n")?;
    assert_eq!(scene.reload(&[])?.0, Some(1));
    assert_eq!(scene.agent.cli(["lists", "reload", "drop", "--accept-shrunk"])?.code, Some(2), "without a reason");
    let said = scene.agent.cli(["lists", "reload", "other"])?;
    assert!(said.code == Some(1) && said.err.contains("drop"), "{}", said.err);
    let (exit, said) = scene.reload(&["drop", "--accept-shrunk", "--reason", "the feed was cleaned"])?;
    assert_eq!(exit, Some(0), "{said}");
    assert_eq!(scene.row()?["prefixes"], 1);
    // It never is a way to accept what is no list.
    scene.deliver("0.0.0.0/0\n")?;
    assert_eq!(scene.reload(&["drop", "--accept-shrunk", "--reason", "x"])?.0, Some(1));
    let records = scene.records("list_reload")?;
    assert!(records.iter().any(|line| line["objects"] == json!(["list drop", "accept-shrunk"])), "{records:?}");
    Ok(())
}

#[test]
fn a_policy_is_applied_with_a_bad_list_and_says_so_and_an_old_one_is_shouted_about() -> Result<()> {
    let scene = Scene::new(None)?;
    let row = scene.until("the refusal", |row| row["refused"]["code"] == "unreadable")?;
    assert_eq!(row["state"], "none", "{row}");
    scene.deliver("192.168.10.99\n")?;
    let path = scene.policies.text("policy", &policy("drop: {path: lists, expires: 1h"))?;
    let applied = scene.agent.apply(&path)?;
    assert!(applied["notes"].to_string().contains("list drop: refused"), "{applied}");
    scene.deliver(GOOD)?;
    let two_hours_ago = SystemTime::now() - Duration::from_secs(7_200);
    fs::File::options().append(true).open(scene.file())?.set_modified(two_hours_ago)?;
    assert_eq!(scene.reload(&[])?.0, Some(0));
    let row = scene.row()?;
    assert_eq!((&row["state"], &row["expired"], &row["prefixes"]), (&json!("used"), &json!(true), &json!(4)), "{row}");
    let status = scene.agent.json(["status"])?.1;
    assert!(status["faults"].to_string().contains("out of date"), "{status}");
    assert!(scene.agent.metrics()?.contains("sekimori_threat_list_expired{list=\"drop\"} 1"));
    let shown = scene.agent.cli(["lists"])?.out;
    assert!(shown.contains("OUT OF DATE") && shown.contains("https://lists.example/"), "{shown}");
    let shown = scene.agent.cli(["lists", "--lang", "ja"])?.out;
    assert!(shown.contains("期限切れ"), "{shown}");
    // Without the list in the policy nothing of it is left.
    let none = format!("{TOWN}{}", rule("manage", "{zone: office, devices: [admin-pc]}", "{box: true}", "ssh"));
    scene.agent.apply(&scene.policies.text("policy", &none)?)?;
    assert_eq!(scene.agent.cli(["lists", "--format", "json"])?.out, "");
    assert!(!scene.agent.state_path().join("threat/drop.list").exists());
    Ok(())
}

#[test]
fn files_are_checked_without_an_agent() -> Result<()> {
    let scene = Scene::new(Some(GOOD))?;
    let path = |name: &str, text: &str| -> Result<String> {
        let path = scene.policies.path().join(name);
        fs::write(&path, text)?;
        Ok(path.to_str().context("a path")?.to_owned())
    };
    let good = path("good.txt", GOOD)?;
    let spoilt = path("spoilt.txt", &format!("{}nonsense\nbad.example\n", GOOD.repeat(4)))?;
    let inside = path("inside.txt", "192.168.10.99\n")?;
    let said = scene.agent.cli(["lists", "check", &good, &spoilt])?;
    assert!(said.ok() && said.out.contains(&format!("{spoilt}:21:1: ")), "{}{}", said.out, said.err);
    assert!(said.out.contains("1 line(s) give names only"), "{}", said.out);
    let said = scene.agent.cli(["lists", "check", &inside, "--lang", "ja"])?;
    assert!(said.code == Some(1) && said.out.contains("区域「office」"), "{}{}", said.out, said.err);
    let said = scene.agent.cli(["lists", "check", &good, &inside, "--format", "json"])?;
    let rows: Vec<Value> = said.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!((&rows[0]["taken"], &rows[1]["refused"]["code"]), (&json!(true), &json!("inside")), "{}", said.out);
    Ok(())
}
