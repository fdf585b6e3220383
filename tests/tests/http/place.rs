//! Where it listens, and with which certificates.

use anyhow::{Context as _, Result, ensure};
use sekimori_tests::harness::{
    http::Caller,
    pki::{Authority, Pair},
    tool,
    townhall::ADMIN_PC,
};
use serde_json::{Value, json};

use super::scene::{SOON, Scene, network};

fn section(listen: &str, pair: &Pair, ca: Option<&Authority>) -> Value {
    let mut section = json!({"listen": listen, "certificate": pair.certificate, "key": pair.key});
    if let Some(ca) = ca {
        section["client_ca"] = json!(ca.certificate());
    }
    section
}

#[test]
fn beyond_the_box_it_speaks_tls_and_knows_certificates() -> Result<()> {
    let (authority, staff, others) = (Authority::new("box")?, Authority::new("staff")?, Authority::new("others")?);
    let server = authority.server("192.168.10.1")?;
    let scene = Scene::with(section("192.168.10.1:9443", &server, Some(&staff)))?;
    let admin = scene.town.host(&ADMIN_PC)?;
    let tls = Caller::new(admin, "https://192.168.10.1:9443");
    let nobody = tls.trusting(authority.certificate());
    tool::until("the API", SOON, || nobody.get("/nothing").map(Some))?;
    let plain = Caller::new(admin, "http://192.168.10.1:9443").say("/v1/status", &[])?;
    ensure!(!plain.ok(), "{plain:?}");
    ensure!(!tls.say("/v1/status", &[])?.ok(), "a client that does not know the authority");
    ensure!(nobody.get("/v1/status")?.status == 401);

    let known = staff.client("ops")?;
    let added = scene.agent.cli([
        "token",
        "add",
        "ops",
        "--role",
        "operator",
        "--certificate",
        "CN=ops",
        "--reason",
        "test",
    ])?;
    ensure!(added.ok() && !added.out.contains("sekimori_"), "{added:?}");
    let ops = nobody.certificate(&known);
    let done = ops.post("/v1/cutoff", &json!({"objects": [network("internet")], "reason": "worm"}))?;
    ensure!(done.status == 200, "{done:?}");
    ensure!(!scene.reaches()?);
    let lines = scene.recorded("cutoff")?;
    let actor = &lines.first().context("no record")?["actor"];
    ensure!(actor["subject"] == "CN=ops" && actor["role"] == "operator", "{actor}");
    ensure!(actor["client"].as_str().is_some_and(|client| client.starts_with("192.168.10.18:")), "{actor}");

    // The authority vouches for the name, and the name is nobody's here.
    ensure!(nobody.certificate(&staff.client("temp")?).get("/v1/status")?.status == 401);
    // Somebody else's authority vouches for a name that is known here.
    let forged = nobody.certificate(&others.client("ops")?).say("/v1/status", &[])?;
    ensure!(!forged.ok(), "{forged:?}");
    let token = scene.token("view", &["--role", "viewer"])?;
    ensure!(nobody.token(&token).get("/v1/status")?.status == 200, "a certificate is not demanded");
    Ok(())
}

#[test]
fn where_the_administrator_does_not_come_from_it_does_not_listen() -> Result<()> {
    let authority = Authority::new("box")?;
    let server = authority.server("203.0.113.2")?;
    let scene = Scene::with(section("203.0.113.2:9443", &server, None))?;
    let faults = || -> Result<String> { Ok(scene.agent.json(["status"])?.1["faults"].to_string()) };
    let said = tool::until("the fault", SOON, || {
        let faults = faults()?;
        Ok(faults.contains("not served").then_some(faults))
    })?;
    ensure!(said.contains("wan0") && said.contains("lan0") && said.contains("203.0.113.2"), "{said}");
    let (code, status) = scene.agent.json(["status"])?;
    ensure!(code == Some(0) && status["enforcing"] == true, "the gate stands all the same");
    let here = Caller::new(&scene.town.gateway, "https://203.0.113.2:9443").say("/v1/status", &["-k"])?;
    ensure!(here.code == Some(7), "connection refused: {here:?}");
    Ok(())
}

#[test]
fn a_key_that_everybody_may_read_is_refused() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let authority = Authority::new("box")?;
    let server = authority.server("127.0.0.1")?;
    std::fs::set_permissions(&server.key, std::fs::Permissions::from_mode(0o644))?;
    let scene = Scene::with(section("127.0.0.1:9443", &server, None))?;
    tool::until("the fault", SOON, || {
        let faults = scene.agent.json(["status"])?.1["faults"].to_string();
        Ok(faults.contains("chmod 600").then_some(()))
    })?;
    // Put right, it is served without a restart.
    std::fs::set_permissions(&server.key, std::fs::Permissions::from_mode(0o600))?;
    let caller = Caller::new(&scene.town.gateway, "https://127.0.0.1:9443").trusting(authority.certificate());
    tool::until("the API", SOON, || caller.get("/nothing").map(Some))?;
    tool::until("the fault to go", SOON, || {
        let faults = scene.agent.json(["status"])?.1["faults"].to_string();
        Ok((!faults.contains("not served")).then_some(()))
    })?;
    Ok(())
}
