//! What takes its time: scans that the data plane has no memory for, and calls home.

use std::time::Duration;

use anyhow::{Result, ensure};
use sekimori_tests::harness::{
    service::Server,
    tool,
    townhall::{CLOUD_V4, INTERNET_ROUTER, PC_017},
};
use serde_json::json;

use super::scene::{SOON, Scene, open_rules, scene_with};

/// Conversations end, and are recorded, soon after.
fn quick_records(detection: &str) -> Result<Scene> {
    scene_with(&open_rules(), detection, |config| {
        config.extra.push(("flow_records", json!({"size": "1MiB", "every": "1s"})));
        config.extra.push(("timeouts", json!({"tcp_opening": "2s", "tcp_closed": "1s"})));
    })
}

/// The walk over flow records by itself: what is quicker is off, so that how fast nmap goes makes no difference.
#[test]
fn a_scan_is_found_in_the_flow_records_alone() -> Result<()> {
    for (target, what) in [("-p 22 198.51.100.100-111", "-sS"), ("-p 1000-1011 198.51.100.100", "-sS")] {
        let scene = quick_records("defaults: {horizontal_scan: off, vertical_scan: off}")?;
        scene.attack(&PC_017, "nmap", &format!("-n -Pn {what} --max-retries 0 -T4 {target}"))?;
        let incident = scene.incident("slow_scan")?;
        ensure!(incident["device"] == "pc-017" && incident["zone"] == "office", "{target}: {incident}");
        ensure!(incident["action"] == "alert" && incident["value"] == 8, "{target}: {incident}");
        ensure!(scene.left("syn")? >= 12, "an alert stops nothing");
    }
    Ok(())
}

/// Seven that do not answer are none yet; whoever may scan quickly may do so slowly.
#[test]
fn a_few_that_do_not_answer_and_an_exempt_scanner_are_left_alone() -> Result<()> {
    let exempt = "defaults: {horizontal_scan: off, vertical_scan: off}, exemptions: [{hosts: [pc-017], detectors: \
                  [horizontal_scan], owner: 総務課, until: 2099-12-31, purpose: monitoring}]";
    for (detection, last) in [("defaults: {horizontal_scan: off, vertical_scan: off}", 106), (exempt, 130)] {
        let scene = quick_records(detection)?;
        scene.attack(&PC_017, "nmap", &format!("-n -Pn -sS -p 22 --max-retries 0 -T4 198.51.100.100-{last}"))?;
        // All of them are over and recorded; a record of 30 hosts is read within the same moments as one of 7.
        let expected = last - 99;
        tool::until("the records", SOON, || {
            let said = scene.agent.cli(["flows", "--format", "json", "--port", "22"])?;
            let over = said.out.lines().filter(|line| line.contains("\"state\":\"over\"")).count();
            Ok((over >= expected).then_some(()))
        })?;
        // Another that is found shows that what came before was looked at.
        scene.attack(&PC_017, "hping3", &format!("-q -F -p 80 -c 1 {CLOUD_V4}"))?;
        scene.incident("stealth_scan")?;
        let loud = scene.incidents()?;
        ensure!(loud.iter().all(|incident| incident["detector"] == "stealth_scan"), "{loud:#?}");
    }
    Ok(())
}

/// A program that calls home every ten seconds, over two minutes.
#[test]
fn a_beacon_is_found_after_a_dozen_calls() -> Result<()> {
    let scene = quick_records("")?;
    let _server = Server::tcp_echo(scene.town.host(&INTERNET_ROUTER)?, 8443)?;
    let mut caller = scene.town.host(&PC_017)?.command("nping");
    caller.args(["--tcp-connect", "-p", "8443", "--delay", "10s", "-c", "13", "-q", &CLOUD_V4.to_string()]);
    tool::run(&mut caller, Duration::from_secs(180))?;
    let incident = scene.incident("beacon")?;
    ensure!(incident["device"] == "pc-017" && incident["action"] == "alert", "{incident}");
    ensure!(incident["value"].as_u64().is_some_and(|period| (9..=11).contains(&period)), "{incident}");
    Ok(())
}
