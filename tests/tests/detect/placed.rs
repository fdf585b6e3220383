//! What stands in for a quarantine goes when the quarantine is placed, and when it is not to be.

use std::time::Duration;

use anyhow::{Result, ensure};
use sekimori_tests::harness::{
    service::{self, Server},
    tool,
    townhall::{ADMIN_PC, CLOUD_V4, DNS_V4, Host, INTERNET_ROUTER, PC_017},
};
use serde_json::{Value, json};

use super::scene::{Scene, open_rules, scene, scene_with};

const SOON: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_secs(1);
const TRAP: &str = "192.168.20.250";
const DETECTION: &str = "traps: [192.168.20.250], guard: {hosts: 1, within: 10m}, \
    defaults: {trap_contact: {action: quarantine}, vertical_scan: {action: block}}";

fn rules() -> Vec<String> {
    let help = "  - {id: help, from: office, to: {network: internet, addresses: [198.51.100.53]}, services: [tcp/443], \
        quarantined: permit, purpose: test, owner: 総務課}\n";
    [open_rules(), vec![help.to_owned()]].concat()
}

fn reaches(scene: &Scene, from: &Host, to: std::net::Ipv4Addr) -> Result<bool> {
    Ok(service::tcp_exchange(scene.town.host(from)?, None, (to, 443), b"page", SHORT).is_ok())
}

/// Waits until a connection is answered, or is not any more.
fn until_it(scene: &Scene, from: &Host, to: std::net::Ipv4Addr, answered: bool) -> Result<()> {
    let what = format!("{to} to be {}", if answered { "reached" } else { "out of reach" });
    tool::until(&what, SOON, || Ok((reaches(scene, from, to)? == answered).then_some(())))
}

fn said(scene: &Scene, words: &[&str]) -> Result<tool::Said> {
    let said = scene.agent.cli(words.iter().copied())?;
    ensure!(said.ok(), "{words:?}: {said:?}");
    Ok(said)
}

fn quarantined(scene: &Scene) -> Result<Vec<Value>> {
    let (_, status) = scene.agent.json(["status"])?;
    Ok(status["quarantine"].as_array().cloned().unwrap_or_default())
}

fn asked_trap(scene: &Scene, from: &Host) -> Result<()> {
    scene.attack(from, "ping", &format!("-c 1 -W 1 {TRAP}")).map(drop)
}

#[test]
fn who_is_in_quarantine_reaches_what_it_permits_and_stays_out_once_released() -> Result<()> {
    let scene = scene(&rules(), DETECTION)?;
    let _server = Server::tcp_echo(scene.town.host(&INTERNET_ROUTER)?, 443)?;
    ensure!(reaches(&scene, &PC_017, CLOUD_V4)? && reaches(&scene, &PC_017, DNS_V4)?, "before");
    asked_trap(&scene, &PC_017)?;
    let incident = scene.incident("trap_contact")?;
    tool::until("the quarantine", SOON, || Ok((!quarantined(&scene)?.is_empty()).then_some(())))?;
    ensure!(!reaches(&scene, &PC_017, CLOUD_V4)?, "quarantined, and reaches everything");
    until_it(&scene, &PC_017, DNS_V4, true)?;
    // Again, from quarantine: what is permitted stays so.
    asked_trap(&scene, &PC_017)?;
    until_it(&scene, &PC_017, DNS_V4, true)?;

    said(&scene, &["release", "host", "pc-017", "--reason", "clean"])?;
    until_it(&scene, &PC_017, CLOUD_V4, true)?;
    for _ in 0..3 {
        ensure!(reaches(&scene, &PC_017, CLOUD_V4)?, "released, and blocked");
    }
    ensure!(quarantined(&scene)?.is_empty(), "quarantined again by what is no attack");
    // Where it went afterwards is no trap.
    let (_, after) = scene.agent.json(["incidents", "show", &incident["id"].to_string()])?;
    ensure!(after["destinations"]["samples"].to_string().contains(TRAP), "{after}");
    ensure!(!after["destinations"].to_string().contains("198.51.100"), "{after}");
    Ok(())
}

/// The guard's limit is one host: the second only needs a person, and goes on working.
#[test]
fn whom_the_guard_holds_back_is_not_shut_out_by_the_stand_in() -> Result<()> {
    let scene = scene(&rules(), DETECTION)?;
    let _server = Server::tcp_echo(scene.town.host(&INTERNET_ROUTER)?, 443)?;
    asked_trap(&scene, &PC_017)?;
    tool::until("the quarantine", SOON, || Ok((!quarantined(&scene)?.is_empty()).then_some(())))?;
    ensure!(reaches(&scene, &ADMIN_PC, CLOUD_V4)?, "before");
    asked_trap(&scene, &ADMIN_PC)?;
    tool::until("the guard", SOON, || {
        let all = scene.incidents()?;
        let held = all.iter().find(|incident| incident["quarantine"]["outcome"] == "held_back");
        Ok(held.map(drop))
    })?;
    until_it(&scene, &ADMIN_PC, CLOUD_V4, true)?;
    ensure!(quarantined(&scene)?.len() == 1);
    Ok(())
}

/// A block that a detector placed by mistake is lifted by a person, who is told so.
#[test]
fn what_a_detector_blocks_a_person_releases() -> Result<()> {
    let scene = scene(&rules(), DETECTION)?;
    let _server = Server::tcp_echo(scene.town.host(&INTERNET_ROUTER)?, 443)?;
    scene.attack(&PC_017, "nmap", &format!("-n -Pn -sS -p 1000-1030 --max-retries 0 {CLOUD_V4}"))?;
    scene.incident("vertical_scan")?;
    ensure!(!reaches(&scene, &PC_017, CLOUD_V4)?, "not blocked");
    let lifted = said(&scene, &["release", "host", "pc-017", "--reason", "a traceroute"])?;
    ensure!(lifted.out.contains("not in quarantine; what detectors blocked it for is lifted"), "{lifted:?}");
    until_it(&scene, &PC_017, CLOUD_V4, true)?;
    let again = scene.agent.cli(["release", "host", "pc-017", "--reason", "x"])?;
    ensure!(again.code == Some(1) && again.err.contains("neither in quarantine"), "{again:?}");
    Ok(())
}

/// What a block refuses was never a conversation, neither in the records nor in the rule's counter.
#[test]
fn what_a_block_refuses_is_no_conversation() -> Result<()> {
    let scene = scene_with(&rules(), DETECTION, |config| {
        config.extra.push(("flow_records", json!({"size": "1MiB", "every": "1s"})));
    })?;
    let _server = Server::tcp_echo(scene.town.host(&INTERNET_ROUTER)?, 443)?;
    scene.attack(&PC_017, "nmap", &format!("-n -Pn -sS -p 1000-1030 --max-retries 0 {CLOUD_V4}"))?;
    scene.incident("vertical_scan")?;
    let passed = scene.left("syn")?;
    ensure!(!reaches(&scene, &PC_017, DNS_V4)?, "not blocked");
    let peer = DNS_V4.to_string();
    let rows = |verdict: &str, peer: &str| -> Result<usize> {
        Ok(said(&scene, &["flows", "--format", "json", "--verdict", verdict, "--peer", peer])?.out.lines().count())
    };
    tool::until("the record of what was refused", SOON, || Ok((rows("drop", &peer)? > 0).then_some(())))?;
    tool::until("the records of what passed", SOON, || {
        let passes = rows("pass", &CLOUD_V4.to_string())?;
        Ok((passes as u64 == passed).then_some(()))
    })?;
    ensure!(rows("pass", &peer)? == 0, "nothing went there");
    Ok(())
}
