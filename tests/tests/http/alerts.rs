//! An alert puts the host it names in quarantine, if the policy lets its receiver.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use sekimori_tests::harness::{
    policy::TOWN,
    stream::Stream,
    townhall::{ADMIN_PC, DNS_V4, INTERNET_ROUTER, PC_017},
};
use serde_json::{Value, json};

use super::scene::{Scene, host};

const RECEIVERS: &str = "alert_receivers:
  ids: {token: ids-1, label: host, may_quarantine: [office], for: 2h}
  scans: {token: scan-1, label: instance, may_quarantine: [watched]}
groups:
  watched: [192.168.10.18]
";

fn scene() -> Result<Scene> {
    let critical = TOWN.replace("owner: 住民課}", "owner: 住民課, critical: true}");
    let office = critical.replace(
        "  lgwan-pc:",
        "  printer: {zone: office, mac: \"02:00:00:00:10:40\", addresses: [192.168.10.40], owner: 総務課, critical: true}\n  lgwan-pc:",
    );
    Scene::build(json!({"listen": "127.0.0.1:9443"}), &office, RECEIVERS)
}

/// As Alertmanager writes it.
fn message(alerts: &[(&str, &str, &str)]) -> Value {
    let alert = |(status, label, host): &(&str, &str, &str)| {
        json!({
            "status": status,
            "labels": {"alertname": "PortScan", *label: host, "severity": "critical"},
            "annotations": {"summary": "many ports"},
            "startsAt": "2026-12-01T00:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "",
            "fingerprint": "5ef77f1f8a3ecfdf",
        })
    };
    let alerts: Vec<Value> = alerts.iter().map(alert).collect();
    json!({
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "gate",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": alerts,
    })
}

fn quarantined(scene: &Scene) -> Result<Vec<Value>> {
    let (_, status) = scene.agent.json(["status"])?;
    Ok(status["quarantine"].as_array().cloned().unwrap_or_default())
}

#[test]
fn the_host_it_names_is_put_in_quarantine_and_stays_when_it_is_over() -> Result<()> {
    let scene = scene()?;
    let ids = scene.nobody()?.token(&scene.token("ids-1", &["--receiver"])?);
    let (pc, internet) = (scene.town.host(&PC_017)?, scene.town.host(&INTERNET_ROUTER)?);
    let often = std::time::Duration::from_millis(1);
    let query = Stream::to_server(pc, None, internet, (DNS_V4, 53), often)?;
    let elsewhere: (IpAddr, u16) = (INTERNET_ROUTER.v4.into(), 53);
    let other = Stream::to_server(scene.town.host(&ADMIN_PC)?, None, internet, elsewhere, often)?;
    query.flows(50)?;
    let firing = message(&[("firing", "host", "pc-017"), ("firing", "host", "pc-017")]);
    let done = ids.post("/v1/alerts/ids", &firing)?;
    query.stands_still(50)?;
    ensure!(done.status == 200 && done.json["exit"] == 0, "{done:?}");
    for row in [&done.json["body"][0], &done.json["body"][1]] {
        ensure!(row["done"] == "quarantined" && row["in_force"] == true && row["alert"] == "PortScan", "{row}");
        ensure!(row["until"].is_string(), "the policy says for how long: {row}");
    }
    let [row] = &quarantined(&scene)?[..] else { anyhow::bail!("one host") };
    ensure!(row["automatic"] == true && row["reason"] == "PortScan: many ports", "{row}");
    let [line] = &scene.recorded("quarantine")?[..] else { anyhow::bail!("one line") };
    let actor = &line["actor"];
    ensure!(actor["receiver"] == "ids" && actor["token"] == "ids-1" && line["from"] == "webhook", "{line}");
    ensure!(actor["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")), "{line}");

    let over = ids.post("/v1/alerts/ids", &message(&[("resolved", "host", "pc-017")]))?;
    ensure!(over.status == 200 && over.json["body"][0]["done"] == "resolved", "{over:?}");
    query.stands_still(50)?;
    ensure!(quarantined(&scene)?.len() == 1);
    let again = ids.post("/v1/alerts/ids", &firing)?;
    ensure!(again.json["body"][0]["done"] == "quarantined_again", "{again:?}");
    // It is for a person to release it.
    let released = scene.agent.cli(["release", "host", "pc-017", "--reason", "clean"])?;
    ensure!(released.ok(), "{released:?}");
    query.flows(50)?;
    other.lost_nothing()?;
    Ok(())
}

#[test]
fn a_receiver_does_what_the_policy_lets_it_and_nothing_else() -> Result<()> {
    let scene = scene()?;
    let nobody = scene.nobody()?;
    let ids = nobody.token(&scene.token("ids-1", &["--receiver"])?);
    let scan = nobody.token(&scene.token("scan-1", &["--receiver"])?);
    let operator = nobody.token(&scene.token("noc", &["--role", "operator"])?);
    let firing = message(&[("firing", "host", "pc-017")]);
    // Another receiver's, somebody else's, no such one, nobody's: one answer for all who are known.
    for (caller, path) in [(&scan, "ids"), (&operator, "ids"), (&ids, "scans"), (&ids, "nothing"), (&ids, "%69ds")] {
        let refused = caller.post(&format!("/v1/alerts/{path}"), &firing)?;
        ensure!((refused.status, refused.code()) == (403, "forbidden"), "{path}: {refused:?}");
    }
    ensure!(nobody.post("/v1/alerts/ids", &firing)?.status == 401);
    // What delivers alerts does nothing else.
    for (path, body) in [("/v1/quarantine", host("pc-017")), ("/v1/release", host("pc-017"))] {
        let refused = ids.post(path, &json!({"objects": [body], "reason": "x"}))?;
        ensure!((refused.status, refused.code()) == (403, "forbidden"), "{path}: {refused:?}");
    }
    ensure!(ids.get("/v1/status")?.status == 403);

    let mut wrong =
        message(&[("firing", "host", "lgwan-pc"), ("firing", "host", "web"), ("firing", "host", "printer")]);
    for (label, host) in [
        ("host", "198.51.100.5"),
        ("host", "192.168.10.1"),
        ("host", "02:00:00:00:77:77"),
        ("host", "pc-999"),
        ("host", "no host"),
        ("instance", "192.168.10.17"),
    ] {
        let more = message(&[("firing", label, host)]);
        if let (Some(all), Some(more)) = (wrong["alerts"].as_array_mut(), more["alerts"].as_array()) {
            all.extend(more.clone());
        }
    }
    let done = ids.post("/v1/alerts/ids", &wrong)?;
    ensure!(done.status == 200 && done.json["exit"] == 1, "{done:?}");
    let rows = done.json["body"].as_array().cloned().unwrap_or_default();
    ensure!(rows.len() == 9, "{done:?}");
    for row in rows {
        ensure!(row["done"] == "refused" && row["message"].is_string(), "{row}");
    }
    ensure!(quarantined(&scene)?.is_empty() && scene.reaches()?);
    let refused = scene.recorded("quarantine")?;
    ensure!(
        refused.iter().all(|line| line["result"]["ok"] == false && line["actor"]["receiver"] == "ids"),
        "{refused:?}"
    );
    ensure!(refused.len() >= 4, "who was refused is recorded: {refused:?}");

    // A group, by the label that Prometheus itself sets, with the port behind the address.
    let done = scan.post("/v1/alerts/scans", &message(&[("firing", "instance", "192.168.10.17:9100")]))?;
    ensure!(done.json["body"][0]["done"] == "refused", "not in the group: {done:?}");
    for broken in [json!({"version": "3", "alerts": []}), json!({"version": "4"}), json!([])] {
        ensure!(scan.post("/v1/alerts/scans", &broken)?.status == 400, "{broken}");
    }
    let added = scene.agent.cli(["group", "add", "watched", "192.168.10.17", "2001:db8:10::17", "--reason", "test"])?;
    ensure!(added.ok(), "{added:?}");
    let done = scan.post("/v1/alerts/scans", &message(&[("firing", "instance", "192.168.10.17:9100")]))?;
    ensure!(done.json["body"][0]["done"] == "quarantined" && done.json["body"][0]["until"].is_null(), "{done:?}");
    ensure!(!scene.reaches()?);
    Ok(())
}
