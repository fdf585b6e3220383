//! Planned cut-offs: carried out by the agent itself, at their time, whatever happened in between.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use sekimori_tests::harness::{
    agent::Agent,
    stream::Stream,
    tool,
    townhall::{DNS_V4, INTERNET_ROUTER, PC_017},
};
use serde_json::{Value, json};

use crate::scene::{OFTEN, Scene, asked, recorded, restore, said, scene, scene_with};

/// A plan's time, and what the machine needs beside.
const SOON: Duration = Duration::from_secs(30);

/// So many seconds from now, as `--at` takes it.
fn ahead(seconds: i64) -> Result<String> {
    Ok(Timestamp::now().checked_add(SignedDuration::from_secs(seconds))?.to_string())
}

fn query(scene: &Scene) -> Result<Stream> {
    let (pc, internet) = (scene.town.host(&PC_017)?, scene.town.host(&INTERNET_ROUTER)?);
    let query = Stream::to_server(pc, None, internet, (DNS_V4, 53), OFTEN)?;
    query.flows(20)?;
    Ok(query)
}

/// Plans to cut the Internet off.
fn plan(agent: &Agent, at: &str, more: &[&str]) -> Result<Value> {
    let words = ["cutoff", "plan", "network", "internet", "--at", at, "--urgent", "--reason", "line maintenance"];
    let (code, done) = asked(agent, &[&words[..], more].concat())?;
    ensure!(code == Some(0), "{code:?}: {done}");
    Ok(done)
}

fn plans(agent: &Agent) -> Result<Vec<Value>> {
    let said = agent.cli(["cutoff", "plans", "--format", "json"])?;
    ensure!(said.ok(), "{said:?}");
    said.out.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Waits until an instant is over.
fn past(at: &str) -> Result<()> {
    let at: Timestamp = at.parse()?;
    tool::until("a time to pass", SOON, || Ok((Timestamp::now() > at).then_some(())))
}

fn metric(agent: &Agent, name: &str) -> Result<f64> {
    let text = agent.metrics()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    Ok(line.trim().parse()?)
}

#[test]
fn a_plan_cuts_at_its_time_and_lifts_at_its_end_over_the_death_of_the_agent() -> Result<()> {
    let mut scene = scene()?;
    let query = query(&scene)?;
    let at = ahead(6)?;
    let done = plan(&scene.agent, &at, &["--for", "20s"])?;
    assert_eq!((&done["plan"]["number"], &done["plan"]["state"]), (&json!(1), &json!("pending")), "{done}");
    // On disk before the command returned.
    scene.agent.kill9()?;
    query.flows(5)?;
    scene.agent.spawn()?;
    scene.agent.wait_until_enforcing()?;
    let early = Timestamp::now() < at.parse()?;
    tool::until("the plan to cut", SOON, || Ok(query.stands_still(20).ok()))?;
    assert!(Timestamp::now() >= at.parse()?, "not before its time");
    let line = recorded(&scene.agent, &["cutoff"])?.pop().context("no line")?;
    assert_eq!(
        (&line["from"], &line["reason"], &line["objects"], &line["actor"]["name"]),
        (&json!("plan"), &json!("line maintenance"), &json!(["network internet"]), &json!("root")),
        "{line}"
    );
    let proof = tool::until("the proof", SOON, || Ok(recorded(&scene.agent, &["cutoff_proof"])?.pop()))?;
    assert_eq!((&proof["from"], &proof["result"]["ok"]), (&json!("plan"), &json!(true)), "{proof}");
    let due = tool::until("its line", SOON, || Ok(recorded(&scene.agent, &["plan_due"])?.pop()))?;
    assert_eq!((&due["details"]["plan"]["number"], &due["result"]["ok"]), (&json!(1), &json!(true)), "{due}");
    if early {
        let late = due["details"]["late_seconds"].as_i64().context("no lateness")?;
        assert!(late <= 2, "{due}");
    }
    tool::until("the end to lift it", SOON, || Ok(query.flows(5).ok()))?;
    let last = recorded(&scene.agent, &["plan", "plan_due", "cutoff", "restore"])?;
    let actions: Vec<&Value> = last.iter().map(|line| &line["action"]).collect();
    assert_eq!(actions, ["plan", "cutoff", "plan_due", "restore"], "{last:?}");
    assert!(plans(&scene.agent)?.is_empty(), "what was carried out is no plan any more");
    let (code, verified) = asked(&scene.agent, &["records", "verify"])?;
    assert_eq!(code, Some(0), "{verified}");
    Ok(())
}

#[test]
fn a_plan_whose_time_came_without_an_agent_is_carried_out_late_or_missed_aloud() -> Result<()> {
    let mut scene = scene()?;
    let query = query(&scene)?;
    let (at, end) = (ahead(6)?, ahead(7)?);
    plan(&scene.agent, &at, &["--until", &end])?;
    let words = ["cutoff", "plan", "zone", "dmz", "--at", &at, "--urgent", "--reason", "move"];
    assert_eq!(asked(&scene.agent, &words)?.0, Some(0));
    scene.agent.kill9()?;
    past(&end)?;
    query.flows(5)?;
    scene.agent.spawn()?;
    scene.agent.wait_until_enforcing()?;
    // The first is over: nothing is cut, and everybody hears of it.
    query.flows(20)?;
    let missed = recorded(&scene.agent, &["plan_missed"])?.pop().context("no line")?;
    assert_eq!((&missed["details"]["plan"]["number"], &missed["result"]["ok"]), (&json!(1), &json!(false)), "{missed}");
    let (_, status) = asked(&scene.agent, &["status"])?;
    assert!(status["faults"].to_string().contains("MISSED"), "{status}");
    assert_eq!(
        (&status["plans"][0]["number"], &status["plans"][0]["state"]),
        (&json!(1), &json!("missed")),
        "{status}"
    );
    assert!(metric(&scene.agent, "sekimori_cutoff_plans{state=\"missed\"}")? >= 1.0);
    // The second has no end: it was carried out as soon as somebody could, and says that it is late.
    let list = scene.agent.cli(["cutoff", "list"])?;
    assert!(list.out.contains("zone dmz") && list.out.contains("MISSED"), "{list:?}");
    let due = recorded(&scene.agent, &["plan_due"])?.pop().context("no line")?;
    assert!(due["details"]["late_seconds"].as_i64() >= Some(1), "{due}");
    // Seen and put away.
    said(&scene.agent, &["cutoff", "unplan", "1", "--reason", "seen, planned anew"])?;
    let (_, status) = asked(&scene.agent, &["status"])?;
    assert!(!status["faults"].to_string().contains("MISSED"), "{status}");
    assert!(plans(&scene.agent)?.is_empty());
    restore(&scene.agent, &["zone", "dmz"])
}

#[test]
fn a_plan_that_is_taken_back_cuts_nothing() -> Result<()> {
    let scene = scene()?;
    let query = query(&scene)?;
    let at = ahead(5)?;
    plan(&scene.agent, &at, &[])?;
    let hour = ahead(3600)?;
    let later = plan(&scene.agent, &hour, &["--level", "flush"])?;
    assert_eq!(later["plan"]["number"], json!(2), "{later}");
    let text = scene.agent.cli(["status"])?;
    assert!(text.out.contains("line maintenance"), "{text:?}");
    let gone = scene.agent.cli(["cutoff", "unplan", "1", "--reason", "postponed"])?;
    assert!(gone.ok() && gone.out.contains("plan 1"), "{gone:?}");
    past(&at)?;
    // What it would have done it would do at once.
    query.flows(300)?;
    assert!((metric(&scene.agent, "sekimori_cutoff_plans{state=\"pending\"}")? - 1.0).abs() < 0.5);
    let next = metric(&scene.agent, "sekimori_cutoff_plan_next_timestamp_seconds")?;
    let wanted = hour.parse::<Timestamp>()?.as_millisecond();
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century fit")]
    let apart = (next - wanted as f64 / 1e3).abs();
    assert!(apart < 1.0, "{next}");
    let left = plans(&scene.agent)?;
    assert_eq!((left.len(), &left[0]["number"], &left[0]["level"]), (1, &json!(2), &json!("flush")), "{left:?}");
    let line = recorded(&scene.agent, &["unplan"])?.pop().context("no line")?;
    assert_eq!((&line["reason"], &line["details"]["plan"]["number"]), (&json!("postponed"), &json!(1)), "{line}");
    assert!(recorded(&scene.agent, &["cutoff", "plan_due", "plan_missed"])?.is_empty());
    // It is gone, and its number is not given again.
    assert_eq!(scene.agent.cli(["cutoff", "unplan", "1", "--reason", "x"])?.code, Some(1));
    assert_eq!(plan(&scene.agent, &ahead(3600)?, &[])?["plan"]["number"], json!(3));
    Ok(())
}

#[test]
fn people_are_told_in_time_unless_it_is_urgent() -> Result<()> {
    let scene = scene_with(vec![("plan_lead_time", json!("5d"))])?;
    let agent = &scene.agent;
    let soon = ahead(86_400)?;
    let words = ["cutoff", "plan", "network", "internet", "--at", &soon, "--for", "2h", "--reason", "line maintenance"];
    let refused = agent.cli(words)?;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for part in ["5 d", "plan_lead_time", "--urgent"] {
        assert!(refused.err.contains(part), "{part}: {refused:?}");
    }
    let japanese = agent.cli([&words[..], &["--lang", "ja"]].concat())?;
    assert!(japanese.err.contains("5日") && japanese.err.contains("--urgent"), "{japanese:?}");
    assert!(plans(agent)?.is_empty() && recorded(agent, &["plan"])?.is_empty());

    let (code, urgent) = asked(agent, &[&words[..], &["--urgent"]].concat())?;
    assert_eq!((code, &urgent["plan"]["urgent"]), (Some(0), &json!(true)), "{urgent}");
    // With time enough nothing has to be said, and the notice comes with it, the reader's language first.
    let notice = agent.state_path().join("notice.txt");
    let file = notice.to_str().context("a path of ours")?;
    let words = [
        "cutoff",
        "plan",
        "network",
        "internet",
        "--at",
        "令和90年12月5日 18時",
        "--until",
        "20時",
        "--reason",
        "回線の保守",
    ];
    let refused = agent.cli(words)?;
    assert_eq!(refused.code, Some(2), "more than ten years ahead: {refused:?}");
    let in_time = Timestamp::now().checked_add(SignedDuration::from_hours(10 * 24))?;
    let in_time = in_time.in_tz("Asia/Tokyo")?.strftime("%Y-%m-%d 18:00").to_string();
    let words =
        ["cutoff", "plan", "network", "internet", "--at", &in_time, "--until", "20時", "--reason", "回線の保守"];
    let (code, done) = asked(agent, &[&words[..], &["--lang", "ja", "--notice", file]].concat())?;
    assert_eq!((code, &done["plan"]["urgent"]), (Some(0), &json!(false)), "{done}");
    let text = std::fs::read_to_string(&notice)?;
    for part in ["みなと市役所", "18時00分から20時00分まで", "令和", "回線の保守", "情報管理課", "18:00 to 20:00"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.starts_with("ネットワークの停止について"), "{text}");
    // A name that is taken plans nothing.
    let again = agent.cli([&words[..], &["--notice", file]].concat())?;
    assert_eq!(again.code, Some(2), "{again:?}");
    assert_eq!(plans(agent)?.len(), 2);
    let shown = agent.cli([&words[..], &["--lang", "en", "--notice"]].concat())?;
    assert!(shown.ok() && shown.out.contains("Notice: a stop of the network"), "{shown:?}");
    Ok(())
}

#[test]
fn what_makes_no_plan_is_refused_and_changes_nothing() -> Result<()> {
    let mut scene = scene()?;
    let at = ahead(3600)?;
    for bad in [
        &["network", "internet", "--at", "2020-01-01T00:00"][..],
        &["network", "internet", "--at", "soon"],
        &["network", "internet", "--at", "2026-13-01T00:00"],
        &["network", "internet", "--at", &at, "--until", "2020-01-01T00:00"],
        &["network", "internet", "--at", &at, "--until", "later"],
        &["network", "internet", "--at", &at, "--for", "0s"],
        &["network", "intranet", "--at", &at],
        &["zone", "office", "host", "pc-999", "--at", &at],
        &["host", "pc-017", "--at", &at, "--level", "link"],
    ] {
        let words = [&["cutoff", "plan"], bad, &["--urgent", "--reason", "x"]].concat();
        let said = scene.agent.cli(words)?;
        assert_eq!(said.code, Some(2), "{bad:?}: {said:?}");
        assert!(!said.err.is_empty(), "{bad:?}");
    }
    assert!(plans(&scene.agent)?.is_empty() && recorded(&scene.agent, &["plan"])?.is_empty());
    let none = scene.agent.cli(["cutoff", "plans", "--lang", "ja"])?;
    assert!(none.ok() && none.out.contains("計画はありません"), "{none:?}");
    // Nobody would carry it out.
    plan(&scene.agent, &at, &[])?;
    scene.agent.stop()?;
    let words = ["cutoff", "plan", "network", "internet", "--at", &at, "--urgent", "--reason", "x"];
    let said = scene.agent.cli(words)?;
    assert_eq!(said.code, Some(2), "{said:?}");
    // Taking back needs no agent.
    let said = scene.agent.cli(["cutoff", "unplan", "1", "--reason", "postponed"])?;
    assert!(said.ok(), "{said:?}");
    scene.agent.spawn()?;
    scene.agent.wait_until_enforcing()?;
    assert!(plans(&scene.agent)?.is_empty());
    // What cannot be read is not nothing.
    scene.agent.stop()?;
    std::fs::write(scene.agent.state_path().join("plans.json"), "{")?;
    scene.agent.spawn()?;
    scene.agent.wait_until_enforcing()?;
    let (_, status) = asked(&scene.agent, &["status"])?;
    assert!(status["faults"].to_string().contains("plans.json"), "{status}");
    assert_eq!(scene.agent.cli(words)?.code, Some(2));
    Ok(())
}

/// Nobody sits before the screen when a plan is carried out: what could not be proven is a fault until somebody has proven it.
#[test]
fn a_plan_that_is_not_proven_is_said_until_it_is() -> Result<()> {
    let scene = scene()?;
    // A program is missing from one interface, and the agent looks for such things once a minute.
    let links = scene.agent.pins_path().join("links");
    for link in std::fs::read_dir(&links)?.filter_map(Result::ok) {
        if link.file_name().to_string_lossy().starts_with("wan0:out") {
            std::fs::remove_file(link.path())?;
        }
    }
    plan(&scene.agent, &ahead(1)?, &[])?;
    let due = || Ok(recorded(&scene.agent, &["plan_due"])?.pop());
    let due = tool::until("the plan to be carried out", SOON, due)?;
    ensure!(due["result"]["message"].to_string().contains("NOT proven"), "{due}");
    let faults = |scene: &Scene| -> Result<String> { Ok(asked(&scene.agent, &["status"])?.1["faults"].to_string()) };
    ensure!(faults(&scene)?.contains("NOT proven") && metric(&scene.agent, "sekimori_faults")? >= 1.0);
    // It looks at once when a link changes.
    tool::must(scene.town.gateway.command("ip").args(["link", "set", "wan0", "alias", "line"]), SOON)?;
    let verified = || Ok(scene.agent.cli(["cutoff", "verify"])?.ok().then_some(()));
    tool::until("the cut to be proven", SOON, verified)?;
    ensure!(!faults(&scene)?.contains("NOT proven"));
    restore(&scene.agent, &["network", "internet"])
}
