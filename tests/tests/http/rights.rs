//! Who may what.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Result, ensure};
use sekimori_tests::harness::tool;
use serde_json::json;

use super::scene::{SOON, Scene, host, network};

#[test]
fn nobody_is_known_and_each_role_may_what_it_may() -> Result<()> {
    let scene = Scene::plain()?;
    let nobody = scene.nobody()?;
    let cut = json!({"objects": [network("internet")], "reason": "worm"});
    // No credential is there by default, and nothing tells one stranger from another.
    let refused = nobody.get("/v1/status")?;
    ensure!((refused.status, refused.code()) == (401, "unauthorised"), "{refused:?}");
    let other = nobody.token("sekimori_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").post("/v1/cutoff", &cut)?;
    ensure!((other.status, &other.json) == (401, &refused.json), "{other:?}");

    let (view, operate) = (scene.token("view", &["--role", "viewer"])?, scene.token("noc", &["--role", "operator"])?);
    let (viewer, operator) = (nobody.token(&view), nobody.token(&operate));
    let status = viewer.get("/v1/status")?;
    ensure!(status.status == 200 && status.json["body"]["enforcing"] == true, "{status:?}");
    for path in ["/v1/cutoff", "/v1/restore", "/v1/plan", "/v1/quarantine", "/v1/release"] {
        let refused = viewer.post(path, &cut)?;
        ensure!((refused.status, refused.code()) == (403, "forbidden"), "{path}: {refused:?}");
    }
    ensure!(scene.reaches()?);

    let done = operator.post("/v1/cutoff", &cut)?;
    ensure!(done.status == 200 && done.json["body"]["objects"][0]["done"] == "cut", "{done:?}");
    ensure!(!scene.reaches()?);
    let cuts = viewer.get("/v1/cutoffs")?;
    ensure!(cuts.json["body"][0]["object"] == "network internet", "{cuts:?}");
    let done = operator.post("/v1/restore", &json!({"objects": [network("internet")], "reason": "clean"}))?;
    ensure!(done.status == 200, "{done:?}");
    ensure!(scene.reaches()?);

    let done = operator.post("/v1/quarantine", &json!({"objects": [host("pc-017")], "reason": "scan"}))?;
    ensure!(done.status == 200 && done.json["body"]["hosts"][0]["done"] == "quarantined", "{done:?}");
    ensure!(!scene.reaches()?);
    ensure!(viewer.get("/v1/quarantines")?.json["body"][0]["host"] == "pc-017");
    let done = operator.post("/v1/release", &json!({"objects": [host("pc-017")], "reason": "clean"}))?;
    ensure!(done.status == 200, "{done:?}");
    ensure!(scene.reaches()?);

    for (action, reason) in [("cutoff", "worm"), ("restore", "clean"), ("quarantine", "scan"), ("release", "clean")] {
        let lines = scene.recorded(action)?;
        let [line] = lines.as_slice() else { anyhow::bail!("{action}: {lines:?}") };
        let actor = &line["actor"];
        ensure!(actor["token"] == "noc" && actor["role"] == "operator" && line["from"] == "http", "{line}");
        ensure!(actor["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")), "{line}");
        ensure!(line["reason"] == reason, "{line}");
    }
    Ok(())
}

#[test]
fn a_token_is_kept_as_a_hash_and_ends_when_it_is_revoked_or_over() -> Result<()> {
    let mut scene = Scene::plain()?;
    let nobody = scene.nobody()?;
    let token = scene.token("noc", &["--role", "operator"])?;
    let short = scene.token("short", &["--role", "viewer", "--expires", "3s"])?;
    let kept = scene.agent.state_path().join("tokens.json");
    ensure!(fs::metadata(&kept)?.permissions().mode() & 0o777 == 0o600);
    let written = fs::read_to_string(&kept)? + &fs::read_to_string(scene.agent.state_path().join("records.jsonl"))?;
    ensure!(!written.contains(&token) && written.contains("\"sha256\""));

    ensure!(nobody.token(&short).get("/v1/status")?.status == 200);
    tool::until(
        "the token to end",
        SOON,
        || Ok((nobody.token(&short).get("/v1/status")?.status == 401).then_some(())),
    )?;

    // It outlives the agent.
    scene.agent.restart()?;
    scene.nobody()?;
    ensure!(nobody.token(&token).get("/v1/status")?.status == 200);
    let again = scene.agent.cli(["token", "add", "noc", "--role", "viewer", "--reason", "twice"])?;
    ensure!(again.code == Some(1), "{again:?}");
    let listed = scene.agent.cli(["token", "list"])?;
    ensure!(listed.out.contains("noc") && listed.out.contains("EXPIRED") && !listed.out.contains(&token), "{listed:?}");
    let revoked = scene.agent.cli(["token", "revoke", "noc", "--reason", "left"])?;
    ensure!(revoked.ok(), "{revoked:?}");
    ensure!(nobody.token(&token).get("/v1/status")?.status == 401);
    ensure!(scene.recorded("token_add")?.len() == 2 && scene.recorded("token_revoke")?[0]["reason"] == "left");

    // Who may cannot be read: nobody may, and that is said.
    scene.agent.stop()?;
    fs::write(&kept, "{")?;
    scene.agent.restart()?;
    scene.nobody()?;
    let (_, status) = scene.agent.json(["status"])?;
    ensure!(status["faults"].to_string().contains("tokens.json"), "{}", status["faults"]);
    let refused = scene.agent.cli(["token", "add", "x", "--role", "viewer", "--reason", "x"])?;
    ensure!(refused.code == Some(2) && fs::read(&kept)? == b"{", "{refused:?}");
    Ok(())
}

#[test]
fn a_token_acts_on_its_objects_only() -> Result<()> {
    let scene = Scene::plain()?;
    let nobody = scene.nobody()?;
    let desk = nobody.token(&scene.token("desk", &["--role", "operator", "--objects", "zone office"])?);
    let admin = nobody.token(&scene.token("boss", &["--role", "admin"])?);
    let operator = nobody.token(&scene.token("noc", &["--role", "operator"])?);
    for objects in [
        json!([network("internet")]),
        json!([host("pc-017"), network("internet")]),
        json!([host("198.51.100.5")]),
        json!([{"kind": "all"}]),
    ] {
        let refused = desk.post("/v1/cutoff", &json!({"objects": objects, "reason": "worm"}))?;
        ensure!((refused.status, refused.code()) == (403, "forbidden"), "{objects}: {refused:?}");
    }
    ensure!(scene.reaches()? && scene.recorded("cutoff")?.is_empty());
    for name in ["pc-017", "192.168.10.17", "02:00:00:00:10:17"] {
        let done = desk.post("/v1/quarantine", &json!({"objects": [host(name)], "reason": "scan"}))?;
        ensure!(done.status == 200, "{name}: {done:?}");
        ensure!(!scene.reaches()?, "{name}");
        let done = desk.post("/v1/release", &json!({"objects": [host(name)], "reason": "clean"}))?;
        ensure!(done.status == 200, "{name}: {done:?}");
    }
    let cut =
        |drill| json!({"objects": [{"kind": "all"}], "including_management": true, "drill": drill, "reason": "worm"});
    // What others planned is not theirs to take back.
    let at = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(72)).to_string();
    let plan = |object| json!({"objects": [object], "at": at, "reason": "work"});
    ensure!(desk.post("/v1/plan", &plan(network("internet")))?.status == 403);
    let planned = operator.post("/v1/plan", &plan(network("internet")))?;
    ensure!(planned.status == 200 && planned.json["body"]["plan"]["number"] == 1, "{planned:?}");
    let back = json!({"number": 1, "reason": "rain"});
    ensure!(desk.post("/v1/unplan", &back)?.status == 403);
    ensure!(operator.post("/v1/unplan", &back)?.status == 200);
    let own = json!({"kind": "zone", "name": "office"});
    ensure!(desk.post("/v1/plan", &plan(own))?.status == 200);
    ensure!(desk.post("/v1/unplan", &json!({"number": 2, "reason": "rain"}))?.status == 200);

    let refused = operator.post("/v1/cutoff", &cut(false))?;
    ensure!((refused.status, refused.code()) == (403, "forbidden"), "{refused:?}");
    ensure!(scene.reaches()?);
    let drilled = admin.post("/v1/cutoff", &cut(true))?;
    ensure!(drilled.status == 200 && drilled.json["body"]["drill"] == true, "{drilled:?}");
    ensure!(scene.reaches()?);
    Ok(())
}

#[test]
fn it_speaks_both_languages() -> Result<()> {
    let scene = Scene::plain()?;
    let nobody = scene.nobody()?;
    let said = |language: &str| -> Result<String> {
        let answer = nobody.call("/v1/status", &["-H", &format!("Accept-Language: {language}")])?;
        Ok(answer.json["error"]["message"].as_str().unwrap_or_default().to_owned())
    };
    ensure!(said("ja,en;q=0.5")?.contains("有効なトークン"));
    ensure!(said("en")?.contains("valid token"));
    Ok(())
}
