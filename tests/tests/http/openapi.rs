//! The OpenAPI document against the server that serves it: every operation is called, and every answer is held against its
//! schema, in which nothing unnamed may stand.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, anyhow, ensure};
use sekimori::detect::Action;
use sekimori_ebpf::detect::abi::Detector;
use sekimori_tests::harness::{
    http::{Answer, Caller},
    incidents::{Seen, leave},
    townhall::PC_017,
};
use serde_json::{Value, json};

use super::scene::{Scene, host, network};

struct Document(Value);

/// One operation of the document.
struct Operation<'d> {
    id: &'d str,
    method: String,
    path: &'d str,
    it: &'d Value,
}

impl Document {
    fn operations(&self) -> Result<Vec<Operation<'_>>> {
        let paths = self.0["paths"].as_object().context("paths")?;
        let methods =
            paths.iter().flat_map(|(path, item)| item.as_object().into_iter().flatten().map(move |m| (path, m)));
        methods
            .map(|(path, (method, it))| {
                let id =
                    it["operationId"].as_str().with_context(|| format!("{path} has an operation without an id"))?;
                Ok(Operation { id, method: method.to_uppercase(), path, it })
            })
            .collect()
    }

    /// What is wrong with a value by a schema of the document.
    fn faults(&self, schema: &Value, value: &Value) -> Result<Vec<String>> {
        let mut whole = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "components": self.0["components"],
            "allOf": [schema],
        });
        for named in whole["components"]["schemas"].as_object_mut().context("schemas")?.values_mut() {
            close(named);
        }
        close(&mut whole["allOf"][0]);
        let validator = jsonschema::validator_for(&whole).map_err(|error| anyhow!("{error}"))?;
        Ok(validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect())
    }

    /// Fails unless an answer is what the document says of this operation.
    fn check(&self, operation: &Operation<'_>, answer: &Answer) -> Result<()> {
        let responses = &operation.it["responses"];
        let response = match responses.get(answer.status.to_string()) {
            Some(response) => response,
            None => {
                ensure!(responses["default"]["$ref"] == "#/components/responses/Refusal", "{responses}");
                &self.0["components"]["responses"]["Refusal"]
            }
        };
        let faults = self.faults(&response["content"]["application/json"]["schema"], &answer.json)?;
        ensure!(faults.is_empty(), "{} {}: {faults:#?}\n{:#}", operation.id, answer.status, answer.json);
        Ok(())
    }
}

/// What a schema does not name is not in it.
fn close(schema: &mut Value) {
    if let Some(fields) = schema.as_object_mut()
        && fields.contains_key("properties")
    {
        fields.insert("unevaluatedProperties".into(), json!(false));
    }
}

fn in_days(days: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days)).to_string()
}

/// Good requests, in this order: lists are asked for while something is in them.
fn requests() -> Vec<(&'static str, Option<Value>)> {
    let alert = |status: &str, labels: Value| json!({"status": status, "labels": labels, "annotations": {}});
    let alerts = json!({"version": "4", "receiver": "gate", "alerts": [
        alert("firing", json!({"alertname": "Scan", "host": "admin-pc"})),
        alert("firing", json!({"alertname": "Scan", "host": "pc-999"})),
        alert("resolved", json!({})),
    ]});
    let objects = json!([network("internet"), host("192.168.10.77"), {"kind": "prefix", "prefix": "198.51.100.0/24"}]);
    vec![
        ("openapi", None),
        ("cutoff", Some(json!({"objects": [{"kind": "all"}], "reason": "drill", "drill": true, "level": "link"}))),
        ("cutoff", Some(json!({"objects": objects, "reason": "worm", "level": "flush", "lasting": 3600}))),
        ("quarantine", Some(json!({"objects": [host("pc-017")], "reason": "scan", "lasting": 3600}))),
        ("alerts", Some(alerts)),
        ("status", None),
        ("cutoffs", None),
        (
            "plan",
            Some(json!({"objects": objects, "at": in_days(3), "lasting": 7200, "reason": "work", "notice": true})),
        ),
        ("plans", None),
        ("unplan", Some(json!({"number": 1, "reason": "rain"}))),
        ("quarantines", None),
        ("incidents", None),
        ("incident", None),
        ("close_incidents", Some(json!({"ids": [1], "reason": "seen"}))),
        ("incidents", None),
        ("release", Some(json!({"objects": [host("pc-017")], "reason": "clean"}))),
        ("restore", Some(json!({"objects": objects, "reason": "", "dry_run": true}))),
        ("restore", Some(json!({"objects": objects, "reason": "clean"}))),
        // The number is that of the restoration before.
        ("confirm", Some(json!({"id": 0}))),
    ]
}

struct Everybody {
    nobody: Caller,
    viewer: Caller,
    operator: Caller,
    /// Plans: whoever does everything alone is slowed down.
    planner: Caller,
    other: Caller,
    receiver: Caller,
}

fn send(caller: &Caller, operation: &Operation<'_>, body: Option<&str>, more: &[&str]) -> Result<Answer> {
    let path = operation.path.replace("{receiver}", "ids").replace("{id}", "1");
    let mut arguments = vec!["-X", &operation.method];
    if let Some(body) = body {
        arguments.extend(["-H", "Content-Type: application/json", "--data-binary", body]);
    }
    arguments.extend(more);
    caller.call(&path, &arguments)
}

/// What must not be done is not, and is answered as the document says.
fn refused(document: &Document, operation: &Operation<'_>, who: &Everybody, large: &str, from: &str) -> Result<()> {
    // Strangers of one address are slowed down: each operation is asked from one of its own.
    let from = ["--interface", from];
    let body = operation.it.get("requestBody").map(|body| &body["content"]["application/json"]["schema"]);
    let example = body.map(|_| "{}");
    let mut cases =
        vec![(401, &who.nobody, example), (403, if body.is_some() { &who.viewer } else { &who.receiver }, example)];
    let known = match operation.id {
        "alerts" => &who.receiver,
        "plan" | "unplan" => &who.planner,
        _ => &who.other,
    };
    if body.is_some() {
        cases.extend([
            (413, known, Some(large)),
            (400, known, Some("{}")),
            (400, known, Some("[")),
            (405, known, None),
        ]);
    }
    for (status, caller, body) in cases {
        let method = if status == 405 { vec!["-X", "DELETE"] } else { vec![] };
        let answer = send(caller, operation, body, &[&from[..], &method].concat())?;
        ensure!(answer.status == status, "{} {status} {body:?}: {answer:?}", operation.id);
        document.check(operation, &answer)?;
    }
    let Some(schema) = body else { return Ok(()) };
    let answer = send(known, operation, None, &[&from[..], &["-d", "x"]].concat())?;
    ensure!(answer.status == 415, "{}: {answer:?}", operation.id);
    document.check(operation, &answer)?;
    ensure!(!document.faults(schema, &json!({}))?.is_empty(), "{}: the server refuses {{}}", operation.id);
    Ok(())
}

#[test]
fn every_operation_does_what_the_document_says() -> Result<()> {
    let mut scene = Scene::build(
        json!({"listen": "127.0.0.1:9443"}),
        sekimori_tests::harness::policy::TOWN,
        "alert_receivers:\n  ids: {token: ids-1, label: host, may_quarantine: [office], for: 2h}\n\
         cutoff: {restore: {second_person: true}}\n",
    )?;
    scene.agent.stop()?;
    let seen = Seen {
        host: PC_017.v4.into(),
        device: "pc-017",
        detector: Detector::HorizontalScan,
        action: Action::Quarantine,
        packet: &[0; 60],
    };
    leave(&scene.agent.state_path(), &[seen])?;
    scene.agent.restart()?;
    let nobody = scene.nobody()?;
    let known = |id: &str, words: &[&str]| Ok::<_, anyhow::Error>(nobody.token(&scene.token(id, words)?));
    let who = Everybody {
        viewer: known("view", &["--role", "viewer"])?,
        operator: known("noc", &["--role", "operator"])?,
        planner: known("planner", &["--role", "operator"])?,
        other: known("other", &["--role", "admin"])?,
        receiver: known("ids-1", &["--receiver"])?,
        nobody: nobody.clone(),
    };
    let served = nobody.get("/v1/openapi.json")?;
    ensure!(served.status == 200 && served.json["openapi"] == "3.1.0", "{served:?}");
    let document = Document(served.json);
    let operations = document.operations()?;
    let ids: BTreeSet<&str> = operations.iter().map(|operation| operation.id).collect();
    let asked: BTreeSet<&str> = requests().iter().map(|(id, _)| *id).collect();
    ensure!(ids == asked && ids.len() == operations.len(), "{ids:?}\n{asked:?}");

    let large = scene.agent.state_path().join("large");
    fs::write(&large, format!("{{\"reason\":\"{}\"}}", "x".repeat(64 * 1024)))?;
    let large = format!("@{}", large.display());
    for (number, operation) in operations.iter().enumerate().filter(|(_, operation)| operation.id != "openapi") {
        refused(&document, operation, &who, &large, &format!("127.0.1.{}", number + 1))?;
    }
    let mut waiting = json!(null);
    for (id, mut body) in requests() {
        let operation = operations.iter().find(|operation| operation.id == id).context(id)?;
        if id == "confirm" {
            body = Some(json!({"id": waiting}));
        }
        if let Some(body) = &body {
            let schema = &operation.it["requestBody"]["content"]["application/json"]["schema"];
            let faults = document.faults(schema, body)?;
            // Alertmanager says more than what is read of it.
            ensure!(faults.is_empty() || id == "alerts", "{id}: {faults:#?}");
        }
        let caller = match id {
            "alerts" => &who.receiver,
            "openapi" => &who.nobody,
            "confirm" => &who.other,
            "plan" | "unplan" => &who.planner,
            _ => &who.operator,
        };
        let answer = send(caller, operation, body.map(|body| body.to_string()).as_deref(), &[])?;
        ensure!(answer.status == 200, "{id}: {answer:?}");
        document.check(operation, &answer)?;
        waiting = answer.json["body"]["waiting"]["id"].clone();
    }
    // A check that nothing fails is none.
    let cutoffs = operations.iter().find(|operation| operation.id == "cutoffs").context("cutoffs")?;
    let unnamed = Answer { status: 200, retry_after: None, json: json!({"exit": 0, "body": [{"unnamed": 1}]}) };
    ensure!(document.check(cutoffs, &unnamed).is_err());
    ensure!(scene.reaches()?);
    Ok(())
}
