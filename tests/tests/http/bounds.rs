//! What comes by the network is bounded.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use sekimori_tests::harness::{counters::Counters, tool};
use serde_json::json;

use super::scene::{SOON, Scene, network};

#[test]
fn strangers_are_slowed_down_and_nobody_else_is() -> Result<()> {
    let scene = Scene::plain()?;
    let nobody = scene.nobody()?;
    let known = nobody.token(&scene.token("noc", &["--role", "operator"])?);
    let began = Instant::now();
    let answers: Vec<u16> =
        (0..8).map(|n| Ok(nobody.token(&format!("guess-{n}")).get("/v1/status")?.status)).collect::<Result<_>>()?;
    ensure!(answers[..5] == [401; 5], "{answers:?}");
    // One more in twelve seconds.
    if began.elapsed() < Duration::from_secs(10) {
        ensure!(answers[5..] == [429; 3], "{answers:?}");
    }
    let slow = nobody.get("/v1/status")?;
    ensure!(slow.status == 429 && slow.retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)), "{slow:?}");
    // What sends alerts tries again after this, and not after a 429.
    let alerts = nobody.post("/v1/alerts/ids", &json!({}))?;
    ensure!(alerts.status == 503 && alerts.retry_after.is_some(), "{alerts:?}");
    // Whoever guesses from the same address does not keep the administrator out.
    ensure!(known.get("/v1/quarantines")?.status == 200);
    // Not even by a flood: what he spends is not theirs.
    nobody.say("/v1/status?[1-200]", &["-o", "/dev/null"])?;
    nobody.say("/v1/nothing?[1-200]", &["-o", "/dev/null"])?;
    let cut = json!({"objects": [network("internet")], "reason": "worm"});
    ensure!(known.post("/v1/cutoff", &cut)?.status == 200);
    let metrics = Counters::read(&scene.agent)?;
    let answers = |status| metrics.sum("sekimori_http_answers_total", &[("status", status)]);
    ensure!(answers("429") > 300.0 && answers("401") >= 5.0 && answers("200") >= 2.0, "{}", scene.agent.metrics()?);
    Ok(())
}

#[test]
fn a_token_is_not_used_faster_than_it_may_be() -> Result<()> {
    let scene = Scene::plain()?;
    let nobody = scene.nobody()?;
    let (one, other) = (scene.token("one", &["--role", "viewer"])?, scene.token("other", &["--role", "viewer"])?);
    let one = nobody.token(&one);
    tool::until("the limit", SOON, || Ok((one.get("/v1/quarantines")?.status == 429).then_some(())))?;
    // Its neighbour shares the address, and the address has more to spend than one token.
    ensure!(nobody.token(&other).get("/v1/quarantines")?.status == 200);
    Ok(())
}

#[test]
fn what_is_no_request_is_answered_and_changes_nothing() -> Result<()> {
    let scene = Scene::plain()?;
    let nobody = scene.nobody()?;
    let operator = nobody.token(&scene.token("noc", &["--role", "operator"])?);
    let large = scene.agent.state_path().join("large");
    fs::write(&large, format!("{{\"reason\":\"{}\"}}", "x".repeat(64 * 1024)))?;
    let large = format!("@{}", large.display());
    let json = ["-H", "Content-Type: application/json", "--data-binary"];
    for (path, arguments, status) in [
        ("/v1/cutoff", [&json[..], &[&large]].concat(), 413),
        ("/v1/cutoff", vec!["-d", r#"{"objects":[{"kind":"all"}],"reason":"worm"}"#], 415),
        ("/v1/cutoff", [&json[..], &["{"]].concat(), 400),
        ("/v1/cutoff", [&json[..], &[""]].concat(), 400),
        ("/v1/cutoff", [&json[..], &[r#"{"objects":[{"kind":"all"}],"reason":"worm","also":1}"#]].concat(), 400),
        ("/v1/cutoff", [&json[..], &[r#"{"objects":[{"kind":"all"}],"reason":" "}"#]].concat(), 400),
        ("/v1/cutoff", [&json[..], &[r#"{"objects":[],"reason":"worm"}"#]].concat(), 400),
        ("/v1/cutoff", [&json[..], &[r#"{"objects":[{"kind":"zone","name":"x"}],"reason":"worm"}"#]].concat(), 400),
        ("/v1/restore", [&json[..], &[r#"{"objects":[{"kind":"all"}],"reason":"x"}"#]].concat(), 409),
        ("/v1/nothing", vec![], 404),
        ("/", vec![], 404),
        ("/v1/cutoff", vec![], 405),
        ("/v1/status", vec!["-X", "DELETE"], 405),
    ] {
        let answer = operator.call(path, &arguments)?;
        ensure!(answer.status == status, "{path} {arguments:?}: {answer:?}");
        ensure!(answer.json["exit"] != 0 && !answer.code().is_empty(), "{path} {arguments:?}: {answer:?}");
    }
    ensure!(scene.reaches()? && scene.recorded("cutoff")?.is_empty());
    Ok(())
}

/// Waits until the other end hangs up.
fn hung_up(stream: &mut TcpStream) -> Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => Err(error.into()),
        _ => Ok(String::from_utf8_lossy(&said).into_owned()),
    }
}

#[test]
fn connections_held_open_are_few_and_end() -> Result<()> {
    let scene = Scene::plain()?;
    scene.nobody()?;
    let operator = scene.nobody()?.token(&scene.token("noc", &["--role", "operator"])?);
    let connect = || {
        scene.town.gateway.run(|| {
            let mut stream = TcpStream::connect("127.0.0.1:9443")?;
            stream.write_all(b"GET /v1/status HTTP/1.1\r\n")?;
            Ok(stream)
        })
    };
    let began = Instant::now();
    let mut held: Vec<TcpStream> = (0..16).map(|_| connect()).collect::<Result<_>>()?;
    let refused = tool::until("the seats to be taken", SOON, || {
        let mut one_more = connect()?;
        one_more.set_read_timeout(Some(Duration::from_millis(500)))?;
        Ok(matches!(one_more.read(&mut [0; 1]), Ok(0)).then_some(()))
    });
    refused?;
    for stream in &mut held {
        let said = hung_up(stream)?;
        ensure!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    }
    ensure!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    let cut = json!({"objects": [network("internet")], "reason": "worm"});
    ensure!(operator.post("/v1/cutoff", &cut)?.status == 200, "the seats are free again");
    Ok(())
}
