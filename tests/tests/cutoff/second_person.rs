//! A restoration that needs two people: one asks, another one confirms.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sekimori::{
    api::protocol::{Ask, ConfirmAsk, CutoffAsk, Reply, RestoreAsk},
    cutoff::Object,
};
use sekimori_tests::harness::{
    agent::Agent,
    http::Caller,
    tool,
    townhall::{CLOUD_V4, PC_017},
};
use serde_json::{Value, json};

use crate::scene::{OPERATORS, Scene, VIEWERS, ask_as, asked, cut, recorded, scene_of};

const SOON: Duration = Duration::from_secs(15);
const SATO: u32 = 61_001;
const SUZUKI: u32 = 61_002;

fn two_people(within: &str) -> Result<Scene> {
    scene_of(Vec::new(), &format!("cutoff:\n  restore: {{second_person: true, within: {within}}}\n"))
}

fn internet() -> Vec<Object> {
    vec![Object::Network { name: "internet".into() }]
}

fn restore(agent: &Agent, uid: u32) -> Result<Reply> {
    let ask = RestoreAsk { objects: internet(), reason: "clean".into(), ..RestoreAsk::default() };
    ask_as(agent, uid, OPERATORS, Ask::Restore(ask))
}

fn confirm(agent: &Agent, uid: u32, id: u64) -> Result<Reply> {
    ask_as(agent, uid, OPERATORS, Ask::Confirm(ConfirmAsk { id, reason: Some("seen it, too".into()) }))
}

/// Asks as this user; the number.
fn request(agent: &Agent, uid: u32) -> Result<u64> {
    let reply = restore(agent, uid)?;
    assert_eq!(reply.exit, 1, "{reply:?}");
    assert_eq!(reply.body["objects"][0]["done"], json!("waiting"), "{reply:?}");
    reply.body["waiting"]["id"].as_u64().with_context(|| format!("no number: {reply:?}"))
}

fn code(reply: &Reply) -> (u8, Option<&str>) {
    (reply.exit, reply.error.as_ref().map(|problem| problem.code.as_str()))
}

fn listed(agent: &Agent) -> Result<Value> {
    let list = agent.cli(["cutoff", "list", "--format", "json"])?;
    serde_json::from_str(list.out.trim()).with_context(|| format!("{list:?}"))
}

#[test]
fn one_asks_and_another_one_confirms() -> Result<()> {
    let Scene { mut agent, town, _policies } = two_people("1h")?;
    cut(&agent, &["network", "internet"])?;
    let (dry, done) = asked(&agent, &["restore", "network", "internet", "--dry-run"])?;
    assert_eq!((dry, &done["waiting"]), (Some(0), &Value::Null), "{done}");
    assert!(done["notes"].to_string().contains("second person"), "{done}");

    let id = request(&agent, SATO)?;
    assert!(!town.ping(&PC_017, CLOUD_V4)?, "restored by one person");
    assert_eq!(listed(&agent)?["waiting"][0]["id"], json!(id));
    let status = agent.cli(["status"])?;
    assert!(status.out.contains(&format!("request {id}")), "{status:?}");
    let same = confirm(&agent, SATO, id)?;
    assert_eq!(code(&same), (1, Some("refused")), "{same:?}");
    let viewer = ask_as(&agent, SUZUKI, VIEWERS, Ask::Confirm(ConfirmAsk { id, reason: None }))?;
    assert_eq!(code(&viewer), (2, Some("forbidden")), "{viewer:?}");
    let unknown = confirm(&agent, SUZUKI, id + 1)?;
    assert_eq!(code(&unknown), (1, Some("refused")), "{unknown:?}");
    assert!(!town.ping(&PC_017, CLOUD_V4)?, "restored by one person");

    // It waits over the death of the agent.
    agent.kill9()?;
    agent.restart()?;
    let done = confirm(&agent, SUZUKI, id)?;
    assert_eq!((done.exit, &done.body["objects"][0]["done"]), (0, &json!("restored")), "{done:?}");
    tool::until("the network to be restored", SOON, || Ok(town.ping(&PC_017, CLOUD_V4)?.then_some(())))?;
    let twice = confirm(&agent, SUZUKI, id)?;
    assert_eq!(code(&twice), (1, Some("refused")), "{twice:?}");

    let asked = recorded(&agent, &["restore_request"])?;
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!((&asked[0]["n"], &asked[0]["actor"]["uid"]), (&json!(id), &json!(SATO)));
    let lines = recorded(&agent, &["restore"])?;
    let told: Vec<_> = lines.iter().map(|line| (&line["result"]["ok"], &line["actor"]["uid"])).collect();
    assert_eq!(told, [(&json!(false), &json!(SATO)), (&json!(true), &json!(SUZUKI))], "{lines:?}");
    for line in &lines {
        assert_eq!((&line["details"]["request"], &line["reason"]), (&json!(id), &json!("clean")), "{line}");
        assert_eq!(line["details"]["asked_by"]["uid"], json!(SATO), "{line}");
    }
    assert_eq!(lines[1]["details"]["confirm_reason"], json!("seen it, too"));
    Ok(())
}

#[test]
fn a_new_cut_ends_the_request_and_waits_for_nobody() -> Result<()> {
    let Scene { agent, town, _policies } = two_people("1h")?;
    cut(&agent, &["network", "internet"])?;
    let id = request(&agent, SATO)?;
    let again = CutoffAsk { objects: internet(), reason: "it is back".into(), ..CutoffAsk::default() };
    let reply = ask_as(&agent, SATO, OPERATORS, Ask::Cutoff(again))?;
    assert_eq!(reply.exit, 0, "{reply:?}");
    let late = confirm(&agent, SUZUKI, id)?;
    assert_eq!(code(&late), (1, Some("refused")), "{late:?}");
    assert!(!town.ping(&PC_017, CLOUD_V4)?);
    assert!(listed(&agent)?.get("waiting").is_none());
    let ended = recorded(&agent, &["restore_request"])?.pop().context("no line")?;
    assert_eq!((&ended["result"]["ok"], &ended["actor"]["role"]), (&json!(false), &json!("agent")), "{ended}");
    Ok(())
}

#[test]
fn a_request_ends_by_itself_and_so_does_a_cut_with_an_end() -> Result<()> {
    let Scene { agent, town, _policies } = two_people("2s")?;
    cut(&agent, &["network", "internet"])?;
    let id = request(&agent, SATO)?;
    tool::until("the request to end", SOON, || Ok(listed(&agent)?.get("waiting").is_none().then_some(())))?;
    let late = confirm(&agent, SUZUKI, id)?;
    assert_eq!(code(&late), (1, Some("refused")), "{late:?}");
    assert!(!town.ping(&PC_017, CLOUD_V4)?);
    let ends = || Ok(recorded(&agent, &["restore_request"])?.into_iter().find(|line| line["result"]["ok"] == false));
    let line = tool::until("the end to be recorded", SOON, ends)?;
    assert!(line["result"]["message"].to_string().contains("in time"), "{line}");
    cut(&agent, &["zone", "office", "--for", "1s"])?;
    let back = || Ok(!agent.cli(["cutoff", "list"])?.out.contains("zone office")).map(|gone| gone.then_some(()));
    tool::until("the cut with an end to lift itself", SOON, back)
}

#[test]
fn two_tokens_are_two_people_and_one_is_not() -> Result<()> {
    let extra = vec![("http", json!({"listen": "127.0.0.1:9443"}))];
    let Scene { agent, town, _policies } = scene_of(extra, "cutoff:\n  restore: {second_person: true}\n")?;
    let token = |id: &str, more: &[&str]| -> Result<Caller> {
        let words = [&["token", "add", id, "--role", "operator", "--reason", "test"], more].concat();
        let (code, said) = asked(&agent, &words)?;
        anyhow::ensure!(code == Some(0), "{said}");
        let caller = Caller::new(&town.gateway, "http://127.0.0.1:9443");
        Ok(caller.token(said["token"].as_str().context("no token")?))
    };
    let (noc, other) = (token("noc", &[])?, token("other", &[])?);
    let elsewhere = token("elsewhere", &["--objects", "zone", "office"])?;
    tool::until("the API", SOON, || noc.get("/v1/status").map(Some))?;
    cut(&agent, &["network", "internet"])?;
    let ask = json!({"objects": [{"kind": "network", "name": "internet"}], "reason": "clean"});
    let answer = noc.post("/v1/restore", &ask)?;
    assert_eq!((answer.status, &answer.json["exit"]), (200, &json!(1)), "{answer:?}");
    let wish = json!({"id": answer.json["body"]["waiting"]["id"]});
    assert_eq!(noc.post("/v1/restore/confirm", &wish)?.status, 409);
    assert_eq!(elsewhere.post("/v1/restore/confirm", &wish)?.status, 403, "not on its objects");
    let done = other.post("/v1/restore/confirm", &wish)?;
    assert_eq!((done.status, &done.json["exit"]), (200, &json!(0)), "{done:?}");
    let line = recorded(&agent, &["restore"])?.pop().context("no line")?;
    let who = (&line["actor"]["token"], &line["details"]["asked_by"]["token"]);
    assert_eq!(who, (&json!("other"), &json!("noc")), "{line}");
    Ok(())
}

/// A button is pressed while a restoration waits for its second person: what was pressed is not lifted by a word said before.
#[test]
fn a_button_pressed_before_the_second_word_counts() -> Result<()> {
    let Scene { agent, town, _policies } = two_people("1h")?;
    cut(&agent, &["network", "internet"])?;
    let id = request(&agent, SATO)?;
    let program = sekimori_tests::harness::agent::program()?.with_file_name("sekimori-cut");
    let mut button = town.gateway.command(program.to_str().context("a path of ours")?);
    button.arg("--bpffs").arg(agent.pins_path()).arg("--state").arg(agent.state_path());
    tool::must(button.args(["--reason", "the button", "network", "internet"]), SOON)?;
    let confirmed = confirm(&agent, SUZUKI, id)?;
    assert_eq!(code(&confirmed), (1, Some("refused")), "{confirmed:?}");
    assert!(!town.ping(&PC_017, CLOUD_V4)?);
    assert!(listed(&agent)?.to_string().contains("the button") || !listed(&agent)?["waiting"].is_array());
    Ok(())
}
