//! Law 5 as monitoring sees it: a real Prometheus scrapes the agent.

use std::{
    fs,
    io::Write as _,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use sekimori_tests::harness::{
    agent::{Agent, Config, METRICS},
    counters::Counters,
    frame::udp,
    netns::Ns,
    policy::{Policies, TOWN, rule},
    raw::RawPort,
    stream::Stream,
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{CLOUD_V4, DNS_V4, INTERNET_ROUTER, MacAddr, OFFICE, PC_017},
};
use serde_json::Value;
use tempfile::TempDir;

const OFTEN: Duration = Duration::from_millis(1);
const SOON: Duration = Duration::from_secs(30);
const PROMETHEUS: &str = "127.0.0.1:9090";

struct Scene {
    agent: Agent,
    policies: Policies,
    town: Town,
}

fn scene() -> Result<Scene> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    let policies = Policies::new()?;
    fs::write(policies.path().join("list.txt"), "192.0.2.0/24\n")?;
    let list = "threat_lists: {listed: {path: list.txt, source: test, expires: 7d, purpose: test}}\nrules:\n";
    let text = TOWN.replace("rules:\n", list) + &rule("names", "office", "internet", "dns");
    let policy = policies.text("policy", &text)?;
    let mut config = Config::new(policy);
    config.extra.push(("http", serde_json::json!({"listen": "127.0.0.1:9443"})));
    let agent = Agent::start(&town.gateway, &config)?;
    Ok(Scene { agent, policies, town })
}

/// A Prometheus on the gateway's loopback.
struct Prometheus {
    process: Child,
    ns: Ns,
    _folder: TempDir,
}

impl Prometheus {
    fn start(ns: &Ns) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sk-prometheus-").tempdir()?;
        let config = folder.path().join("prometheus.yml");
        fs::write(
            &config,
            format!(
                "global: {{scrape_interval: 250ms}}\n\
                 scrape_configs: [{{job_name: sekimori, static_configs: [{{targets: [\"{METRICS}\"]}}]}}]\n"
            ),
        )?;
        let log = fs::File::create(folder.path().join("log"))?;
        let mut command = ns.command("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={PROMETHEUS}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = command.spawn().context("starting prometheus (`cargo xtask setup` installs it)")?;
        Ok(Self { process, ns: ns.clone(), _folder: folder })
    }

    /// The value of the only sample a query gives; `None` if there is none yet.
    fn ask(&self, query: &str) -> Result<Option<f64>> {
        let mut curl = self.ns.command("curl");
        curl.args(["-sS", "--fail", "--noproxy", "*", "--max-time", "5", "-G", "--data-urlencode"])
            .arg(format!("query={query}"))
            .arg(format!("http://{PROMETHEUS}/api/v1/query"));
        let said = tool::must(&mut curl, SOON)?;
        let answer: Value = serde_json::from_str(&said.out)?;
        match answer["data"]["result"].as_array().map(Vec::as_slice) {
            Some([]) => Ok(None),
            Some([one]) => Ok(one["value"][1].as_str().map(str::parse).transpose()?),
            _ => bail!("{query}: {answer}"),
        }
    }

    /// Waits until a query gives at least that much.
    fn reaches(&self, query: &str, least: f64) -> Result<f64> {
        tool::until(&format!("{query} to reach {least}"), SOON, || match self.ask(query)? {
            Some(value) if value >= least => Ok(Some(value)),
            other => bail!("it is {other:?}"),
        })
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn prometheus_sees_drops_by_network_direction_and_reason() -> Result<()> {
    let Scene { agent, town, policies: _policies } = scene()?;
    let prometheus = Prometheus::start(&town.gateway)?;
    let port = RawPort::open(town.host(&PC_017)?, HOST_INTERFACE)?;
    let send = |mac: MacAddr, to: u16, times: u32| -> Result<()> {
        let frame = udp((mac, OFFICE.mac), (PC_017.v4.into(), 4000), (CLOUD_V4.into(), to), b"x");
        (0..times).try_for_each(|_| port.send(&frame))
    };
    send(PC_017.mac, 5000, 37)?;
    send([2, 0, 0, 0, 0x10, 0x77], 53, 23)?;
    let of = |network: &str, reason: &str| {
        format!(
            "sum(sekimori_packets_total{{network=\"{network}\",direction=\"in\",verdict=\"drop\",reason=\"{reason}\"}})"
        )
    };
    let exactly = |query: &str, expected: f64| -> Result<()> {
        let value = prometheus.reaches(query, expected)?;
        assert!((value - expected).abs() < 0.5, "{query}: {value} instead of {expected}");
        Ok(())
    };
    exactly(&of("office", "no_rule"), 37.0)?;
    exactly(&of("office", "mac_mismatch"), 23.0)?;
    exactly("sum(sekimori_packets_total{verdict=\"drop\",direction=\"in\",network=\"office\"})", 60.0)?;
    exactly("sekimori_enforcing", 1.0)?;
    exactly("up{job=\"sekimori\"}", 1.0)?;
    assert!(agent.cli(["cutoff", "network", "internet", "--reason", "worm"])?.ok());
    exactly("sekimori_cutoff_active{kind=\"network\"}", 1.0)?;
    exactly("sekimori_network_cut{network=\"internet\"}", 1.0)
}

#[test]
fn promtool_finds_nothing_to_complain_about() -> Result<()> {
    let Scene { agent, town, policies: _policies } = scene()?;
    let query = Stream::to_server(town.host(&PC_017)?, None, town.host(&INTERNET_ROUTER)?, (DNS_V4, 53), OFTEN)?;
    query.flows(20)?;
    assert!(agent.cli(["cutoff", "host", "pc-017", "--reason", "worm"])?.ok());
    let metrics = agent.metrics()?;
    let mut promtool = town.gateway.command("promtool");
    let mut promtool = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting promtool (`cargo xtask setup` installs it)")?;
    if let Some(mut stdin) = promtool.stdin.take() {
        stdin.write_all(metrics.as_bytes())?;
    }
    let said = promtool.wait_with_output()?;
    let words = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && words.trim().is_empty(), "{:?}: {words}", said.status);
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("sekimori_"), "{line}");
    }
    Ok(())
}

#[test]
fn a_rules_counter_follows_its_id_across_switches_and_restarts() -> Result<()> {
    let Scene { mut agent, policies, town } = scene()?;
    let query = Stream::to_server(town.host(&PC_017)?, None, town.host(&INTERNET_ROUTER)?, (DNS_V4, 53), OFTEN)?;
    query.flows(50)?;
    let grows = |agent: &Agent, from: u64| -> Result<u64> {
        let seen = query.arrived().count;
        query.flows(30)?;
        let now = Counters::read(agent)?.rule("names");
        assert!(now >= seen && now >= from + 30, "{now} counted, {seen} passed before, {from} counted then");
        Ok(now)
    };
    let mut counted = grows(&agent, 0)?;
    // Another place in the document, other neighbours.
    let names = rule("names", "office", "internet", "dns");
    let moved = [rule("aaa", "dmz", "internet", "https"), rule("bbb", "office", "internet", "https"), names];
    agent.apply(&policies.town("moved", &moved)?)?;
    counted = grows(&agent, counted)?;
    agent.kill9()?;
    query.flows(30)?;
    agent.restart()?;
    counted = grows(&agent, counted)?;
    // Without the rule it stands still; with it again it goes on from there.
    agent.apply(&policies.town("without", &moved[..2])?)?;
    query.stands_still(30)?;
    let stopped = Counters::read(&agent)?.rule("names");
    assert!(stopped >= counted);
    agent.apply(&policies.town("again", &moved)?)?;
    grows(&agent, stopped)?;
    let counters = Counters::read(&agent)?;
    assert_eq!(counters.rule("aaa"), 0, "a new rule begins at zero");
    Ok(())
}

/// Alerts on metrics that nobody exports never come.
#[test]
fn the_alert_rules_are_sound_and_ask_for_what_is_exported() -> Result<()> {
    let Scene { agent, town, .. } = scene()?;
    let rules = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/alerts.yaml");
    let mut promtool = town.gateway.command("promtool");
    let path = rules.to_str().context("a path of ours")?;
    tool::must(promtool.args(["check", "rules", path]), Duration::from_secs(10))?;
    // Lists are read a moment after the start.
    let metrics = tool::until("lists among the metrics", SOON, || {
        Ok(Some(agent.metrics()?).filter(|metrics| metrics.contains("sekimori_threat_list_prefixes")))
    })?;
    let text = std::fs::read_to_string(&rules)?;
    let mut asked = 0;
    for line in text.lines().filter(|line| line.trim_start().starts_with("expr:")) {
        for name in
            line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|w| w.starts_with("sekimori_"))
        {
            // One line for each kind there is an open incident of; `incidents` tests see it.
            let while_open = name == "sekimori_incidents_open";
            assert!(while_open || metrics.lines().any(|line| line.starts_with(name)), "{name} is not exported");
            asked += 1;
        }
    }
    assert!(asked > 5, "{asked} names found");
    Ok(())
}
