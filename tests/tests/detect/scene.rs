//! The town hall with detectors on, and somebody on the Internet who counts what arrives.

use std::time::Duration;

use anyhow::{Result, ensure};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    counters::Counters,
    outside::Outside,
    policy::{Policies, rule},
    tool::{self, Said},
    town::Town,
    townhall::{ADMIN_PC, Host, INTERNET_ROUTER, PC_017, WEB},
};
use serde_json::Value;

/// An event reaches the agent, and an incident its list, within this.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// An attack's tool may run so long.
pub(crate) const ATTACK: Duration = Duration::from_secs(60);

/// Who is in it.
pub(crate) static HOSTS: [&Host; 4] = [&PC_017, &ADMIN_PC, &WEB, &INTERNET_ROUTER];

pub(crate) struct Scene {
    pub(crate) agent: Agent,
    outside: Outside,
    pub(crate) town: Town,
    _policies: Policies,
}

/// Everything from the office to the Internet is permitted, so that only detectors stand in the way.
pub(crate) fn open_rules() -> Vec<String> {
    vec![
        rule("out", "office", "internet", "tcp/1-65535, udp/1-65535, ping"),
        rule("ssh", "{zone: office, devices: [admin-pc]}", "box", "ssh"),
    ]
}

/// `detection` is the section's inside, in flow style.
pub(crate) fn scene(rules: &[String], detection: &str) -> Result<Scene> {
    scene_with(rules, detection, |_| {})
}

/// The same, with an agent that is set up otherwise.
pub(crate) fn scene_with(rules: &[String], detection: &str, change: impl FnOnce(&mut Config)) -> Result<Scene> {
    scene_in(Town::build(&HOSTS)?, rules, detection, change)
}

/// The same in a town that was built otherwise, of [`HOSTS`] at least.
pub(crate) fn scene_in(
    town: Town,
    rules: &[String],
    detection: &str,
    change: impl FnOnce(&mut Config),
) -> Result<Scene> {
    let policies = Policies::new()?;
    let mut rules = rules.to_vec();
    rules.push(format!("detection: {{{detection}}}\n"));
    let mut config = Config::new(policies.town("policy", &rules)?);
    change(&mut config);
    let agent = Agent::start(&town.gateway, &config)?;
    let outside = Outside::count(town.host(&INTERNET_ROUTER)?)?;
    Ok(Scene { agent, outside, town, _policies: policies })
}

impl Scene {
    /// Runs a tool on an inside machine. Scanners end with all kinds of codes; what counts is what happened.
    pub(crate) fn attack(&self, from: &Host, program: &str, arguments: &str) -> Result<Said> {
        let mut command = self.town.host(from)?.command(program);
        command.args(arguments.split_whitespace());
        tool::run(&mut command, ATTACK)
    }

    /// Packets of a kind that arrived outside.
    pub(crate) fn left(&self, kind: &str) -> Result<u64> {
        self.outside.packets(kind)
    }

    /// Different addresses outside that something arrived for.
    pub(crate) fn places(&self) -> Result<usize> {
        self.outside.places()
    }

    /// The same of IPv6.
    pub(crate) fn places6(&self) -> Result<usize> {
        self.outside.places6()
    }

    pub(crate) fn incidents(&self) -> Result<Vec<Value>> {
        let said = self.agent.cli(["incidents", "list", "--format", "json"])?;
        ensure!(said.ok(), "{said:?}");
        said.out.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Waits for the incident of a detector.
    pub(crate) fn incident(&self, detector: &str) -> Result<Value> {
        tool::until(&format!("an incident of {detector}"), SOON, || {
            let all = self.incidents()?;
            match all.iter().find(|incident| incident["detector"] == detector) {
                Some(incident) => Ok(Some(incident.clone())),
                None => {
                    let seen: Vec<_> = all.iter().map(|incident| incident["detector"].clone()).collect();
                    Err(anyhow::anyhow!("there are only {seen:?}"))
                }
            }
        })
    }

    /// That nobody raised an alarm. What would have is in by now: another event, made after it, is.
    pub(crate) fn quiet(&self) -> Result<()> {
        let loud: Vec<Value> =
            self.incidents()?.into_iter().filter(|incident| incident["action"] != "observe").collect();
        ensure!(loud.is_empty(), "{loud:#?}");
        Ok(())
    }

    pub(crate) fn dropped(&self, reason: &str) -> Result<u64> {
        Ok(Counters::read(&self.agent)?.packets("office", "in", reason))
    }
}
