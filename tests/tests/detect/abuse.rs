//! Mail, logins, worm ports, named destinations.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use sekimori_tests::harness::{
    tool,
    townhall::{CLOUD_V4, DNS_V4, INTERNET_ROUTER, PC_017},
};

use serde_json::json;

use super::scene::{ATTACK, SOON, open_rules, scene, scene_with};

#[test]
fn a_burst_of_mail_is_blocked_and_web_goes_on() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    scene.attack(&PC_017, "nping", &format!("--tcp -p 25 --rate 100 -c 200 -q {CLOUD_V4}"))?;
    let left = scene.left("mail")?;
    ensure!((1..=11).contains(&left), "{left} left");
    scene.incident("smtp_burst")?;
    let before = scene.left("syn")?;
    scene.attack(&PC_017, "nping", &format!("--tcp -p 443 -c 1 -q {CLOUD_V4}"))?;
    ensure!(scene.left("syn")? == before + 1);
    Ok(())
}

#[test]
fn repeated_logins_are_throttled() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    scene.attack(&PC_017, "nping", &format!("--tcp -p 22 --rate 100 -c 200 -q {CLOUD_V4}"))?;
    let left = scene.left("syn")?;
    ensure!((20..=22).contains(&left), "{left} left");
    scene.incident("brute_force")?;
    Ok(())
}

#[test]
fn worm_ports_are_blocked_after_the_third_address() -> Result<()> {
    let scene = scene(&open_rules(), "")?;
    scene.attack(&PC_017, "nmap", "-n -Pn -sS -p 445 --max-retries 0 -T4 198.51.100.100-130")?;
    let places = scene.places()?;
    ensure!(places == 3, "{places} addresses were reached");
    scene.incident("worm_port")?;
    Ok(())
}

/// A real tunnel: iodine speaks to its own server outside, through the name server that the policy permits.
#[test]
fn a_dns_tunnel_is_seen_and_stopped() -> Result<()> {
    let scene = scene(&open_rules(), "defaults: {dns_tunnel: {action: block}}")?;
    let outside = scene.town.host(&INTERNET_ROUTER)?;
    let mut server = outside.command("iodined");
    server.args(["-f", "-c", "-P", "secret", "-l", &DNS_V4.to_string(), "10.99.0.1", "t.example.jp"]);
    let mut server = Running(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let client = scene.town.host(&PC_017)?;
    let mut tunnel = client.command("iodine");
    tunnel.args(["-f", "-r", "-P", "secret", "-T", "TXT", &DNS_V4.to_string(), "t.example.jp"]);
    let _tunnel = Running(tunnel.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let mut answers = || -> Result<Option<()>> {
        let mut ping = client.command("ping");
        Ok(tool::run(ping.args(["-n", "-q", "-c", "1", "-W", "1", "10.99.0.1"]), SOON)?.ok().then_some(()))
    };
    tool::until("the tunnel to stand", ATTACK, &mut answers)?;
    scene.attack(&PC_017, "ping", "-n -q -i 0.02 -c 200 -s 1000 10.99.0.1")?;
    let incident = scene.incident("dns_tunnel")?;
    ensure!(incident["device"] == "pc-017", "{incident}");
    let stopped = tool::until("questions to be blocked", SOON, || Ok((scene.dropped("blocked")? > 0).then_some(())));
    ensure!(server.0.try_wait()?.is_none(), "the tunnel's server ended");
    stopped
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// One packet is enough, the incident says which list, and what is on none goes on.
#[test]
fn an_address_on_a_list_is_not_reached() -> Result<()> {
    let mut written = Ok(());
    let scene = scene_with(&open_rules(), "", |config| written = listed(&config.policy))?;
    written?;
    let used = || {
        let said = scene.agent.cli(["lists", "--format", "json"])?;
        Ok(said.out.contains("\"used\"").then_some(()))
    };
    tool::until("the list to be in use", ATTACK, used)?;
    scene.attack(&PC_017, "nping", &format!("--tcp -p 443 -c 1 -q {DNS_V4}"))?;
    ensure!(scene.left("syn")? == 1, "the neighbour of what is listed is reached");
    scene.attack(&PC_017, "nping", &format!("--tcp -p 443 -c 3 --delay 100ms -q {CLOUD_V4}"))?;
    let incident = scene.incident("threat_contact")?;
    ensure!(incident["device"] == "pc-017" && incident["lists"]["samples"] == json!(["botnets"]), "{incident}");
    let shown = scene.agent.cli(["incidents", "show", &incident["id"].to_string()])?;
    ensure!(shown.out.contains("botnets"), "{shown:?}");
    ensure!(scene.left("syn")? == 1, "what is listed is not");
    Ok(())
}

/// A policy with a list that names the cloud's address.
fn listed(policy: &Path) -> Result<()> {
    let text = fs::read_to_string(policy)?;
    let list = "threat_lists:\n  botnets: {path: lists/botnets.txt, expires: 7d, source: \"https://lists.example/\", purpose: test}\nrules:\n";
    fs::write(policy, text.replacen("rules:\n", list, 1))?;
    let folder = policy.parent().context("no folder")?.join("lists");
    fs::create_dir(&folder)?;
    Ok(fs::write(folder.join("botnets.txt"), format!("# made up\n{CLOUD_V4}\n"))?)
}

#[test]
fn a_trap_tells_who_touched_it() -> Result<()> {
    let scene = scene(&open_rules(), "traps: [192.168.20.250]")?;
    scene.attack(&PC_017, "nping", "--tcp -p 80 -c 1 -q 192.168.20.249")?;
    scene.attack(&PC_017, "nping", "--tcp -p 80 -c 1 -q 192.168.20.250")?;
    let incident = scene.incident("trap_contact")?;
    ensure!(incident["device"] == "pc-017", "{incident}");
    Ok(())
}
