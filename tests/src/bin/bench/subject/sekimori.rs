//! Sekimori: an agent on the gateway with a policy made from the list.

use std::{
    fmt::Write as _,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use sekimori_ebpf::detect::abi as detect;
use sekimori_tests::harness::{
    agent::{Agent, Config, program},
    policy::Policies,
    tool,
};
use serde_json::json;

use super::Subject;
use crate::{
    gateway::{Cost, Gateway, INSIDE4, INSIDE6, LAN, LAN_ROUTER, OWN, SERVER4, SERVER6, WAN, WAN_ROUTER, mac_text},
    lists::List,
    ruler::Ruler,
    traffic::{Fate, Kind, SERVICES, VLAN},
};

/// A million entries, on a machine under load.
const APPLY: Duration = Duration::from_secs(180);

/// What the policy permits beside the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Nothing.
    Listed,
    /// Inside may reach any address at tcp/443.
    AnyHttps,
    /// The same as `Listed`, on interfaces that carry a VLAN too.
    Tagged,
    /// The same as `Listed`, with every detector on. They look and count as always, but stop nothing: the ruler's packets, which
    /// nobody answers, are what they are there to stop.
    Watched,
    /// This many rules over overlapping groups; the traffic's ports are spread among them.
    Rules(usize),
}

impl Policy {
    /// Whether a cell is about it.
    pub(crate) fn takes(self, kind: Kind) -> bool {
        let drop = kind.fate == Fate::Drop;
        match self {
            Self::Listed => !kind.tagged,
            // What opens flows that nobody answers is what they stop.
            Self::Watched => !kind.tagged && !kind.new && !kind.fragment,
            Self::AnyHttps => drop && !kind.tagged && !kind.fragment,
            Self::Tagged => drop && !kind.six && !kind.fragment,
            Self::Rules(_) => !drop && !kind.tagged && !kind.tcp && kind.flows != 1,
        }
    }
}

/// An agent.
#[derive(Debug)]
pub(crate) struct Sekimori {
    gateway: Gateway,
    pub(crate) agent: Agent,
    policies: Policies,
    policy: Policy,
}

impl Sekimori {
    /// Starts an agent with an empty list and room for `flows` conversations.
    pub(crate) fn new(gateway: Gateway, policy: Policy, flows: u32) -> Result<Self> {
        let policies = Policies::new()?;
        std::fs::write(policies.path().join("allowed.txt"), "198.51.100.1\n2001:db8:ff::1\n")?;
        let path = policies.text("policy", &text(policy, &[], [true, true])?)?;
        let mut config = Config::new(path);
        // A conversation has a view at each of its two interfaces.
        let rooms = (flows * 2).next_power_of_two().clamp(131_072, 16_777_216);
        config.extra.push(("flows", json!({"established": rooms, "opening": rooms.min(1 << 19)})));
        // Conversations opened before a stage must still be there at its end.
        config.extra.push(("timeouts", json!({"udp_stream": "1h"})));
        let agent = Agent::start(&gateway.ns, &config)?;
        Ok(Self { gateway, agent, policies, policy })
    }

    /// Writes the policy for a list; its path.
    pub(crate) fn write(&self, list: &List) -> Result<PathBuf> {
        list.write(&self.policies.path().join("allowed.txt"))?;
        let part: Vec<_> = list.prefixes.iter().take(4096).map(ToString::to_string).collect();
        let families = [false, true].map(|six| list.family(six).next().is_some());
        self.policies.text("policy", &text(self.policy, &part, families)?)
    }

    /// Applies what was written; how long the command took.
    pub(crate) fn apply(&self, policy: &std::path::Path) -> Result<Duration> {
        let start = Instant::now();
        let said = self.command(&["apply", policy.to_str().context("a path in UTF-8")?], APPLY)?;
        if !said.ok() {
            let text = format!("{}{}", said.out, said.err);
            let first: Vec<_> = text.lines().take(4).collect();
            bail!("`sekimori apply` ended with {:?}: {}", said.code, first.join(" / "));
        }
        Ok(start.elapsed())
    }

    /// Applies what was written as one process, and what that cost.
    pub(crate) fn apply_costed(&self, policy: &std::path::Path) -> Result<Cost> {
        let config = format!("SEKIMORI_CONFIG={}", self.agent.config_path().display());
        let (program, policy) = (program()?, policy.to_str().context("a path in UTF-8")?);
        let program = program.to_str().context("a path in UTF-8")?;
        self.gateway.feed("env", &[&config, "LANG=C.UTF-8", program, "apply", policy], b"", APPLY)
    }

    /// The control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.agent.socket_path()
    }

    /// Runs the command line against this instance.
    pub(crate) fn command(&self, arguments: &[&str], within: Duration) -> Result<tool::Said> {
        tool::run(&mut self.order(arguments)?, within)
    }

    /// The command line against this instance, to be run.
    pub(crate) fn order(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.gateway.ns.command(program()?);
        command.args(arguments).env("SEKIMORI_CONFIG", self.agent.config_path()).env("LANG", "C.UTF-8");
        Ok(command)
    }
}

impl Subject for Sekimori {
    fn name(&self) -> &'static str {
        match self.policy {
            Policy::Listed => "sekimori",
            Policy::AnyHttps => "sekimori any:443",
            Policy::Tagged => "sekimori vlan",
            Policy::Watched => "sekimori detectors",
            Policy::Rules(count) if count <= 16 => "sekimori 16 rules",
            Policy::Rules(_) => "sekimori 4096 rules",
        }
    }
    fn gateway(&self) -> &Gateway {
        &self.gateway
    }
    fn load(&mut self, list: &List, _ruler: &mut Ruler) -> Result<()> {
        let policy = self.write(list)?;
        self.apply(&policy).map(drop)
    }
    fn takes(&self, kind: Kind) -> bool {
        self.policy.takes(kind)
    }
    fn has_flows(&self) -> bool {
        true
    }
}

/// The policy. `part` is a part of the list, for the groups of the many-rules policy; `families` says whether the list
/// has IPv4 and IPv6 entries: a server is published to addresses of its own family only.
fn text(policy: Policy, part: &[String], families: [bool; 2]) -> Result<String> {
    let own = OWN.map(|address| format!("\"{address}\"")).join(", ");
    let vlans = if policy == Policy::Tagged { format!("vlans: [0, {VLAN}], ") } else { String::new() };
    let ports: Vec<_> = SERVICES.iter().flat_map(|port| [format!("udp/{port}"), format!("tcp/{port}")]).collect();
    let mut text = format!(
        r#"version: 1
organisation: benchmark
box: {{addresses: [{own}]}}
zones:
  inside:
    interfaces: [{LAN}]
    prefixes: [192.168.100.0/24, {INSIDE4}, "2001:db8:1::/64", "{INSIDE6}"]
    routers: ["{lan}"]
    devices: any
networks:
  internet:
    {vlans}interfaces: [{WAN}]
    prefixes: [default, 203.0.113.0/24, "2001:db8:2::/64"]
    routers: ["{wan}"]
    line: wire
    owner: benchmark
    survey: {{date: 2026-10-01, surveyor: benchmark, topology: wire, devices: none, security: none, impact: none}}
services:
  permitted: [{ports}]
"#,
        lan = mac_text(LAN_ROUTER),
        wan = mac_text(WAN_ROUTER),
        ports = ports.join(", "),
    );
    if policy == Policy::Tagged {
        text = text.replace("    vlans: [0, 20], interfaces: [wan0]\n", "    vlans: [0, 20]\n    interfaces: [wan0]\n");
    }
    text.push_str("groups:\n  allowed: [{file: allowed.txt}]\n");
    let rule = |id: &str, to: &str, services: &str| {
        format!(
            "  - {{id: {id}, from: inside, to: {to}, services: [{services}], purpose: benchmark, owner: benchmark}}\n"
        )
    };
    let listed = "{network: internet, groups: [allowed]}";
    let mut rules = String::from("rules:\n");
    match policy {
        Policy::Rules(count) => many(&mut text, &mut rules, count, part, &rule)?,
        _ => rules.push_str(&rule("listed", listed, "permitted")),
    }
    if policy == Policy::AnyHttps {
        rules.push_str(&rule("https", "internet", "tcp/443"));
    }
    if policy == Policy::Watched {
        let all: Vec<_> = detect::ALL.iter().map(|detector| format!("{}: observe", detector.code())).collect();
        writeln!(text, "detection: {{defaults: {{{}}}}}", all.join(", "))?;
    }
    text.push_str(&rules);
    text.push_str("publish:\n");
    let servers = [("server4", SERVER4.to_string()), ("server6", SERVER6.to_owned())];
    for ((id, address), _) in servers.into_iter().zip(families).filter(|(_, present)| *present) {
        writeln!(
            text,
            "  - {{id: {id}, from: {listed}, address: \"{address}\", services: [permitted], \
             server: {{zone: inside, address: \"{address}\"}}, purpose: benchmark, owner: benchmark}}"
        )?;
    }
    Ok(text)
}

/// Groups in the many-rules policy, beside the list itself.
const GROUPS: usize = 64;

fn many(
    groups: &mut String,
    rules: &mut String,
    count: usize,
    part: &[String],
    rule: &dyn Fn(&str, &str, &str) -> String,
) -> Result<()> {
    for number in 0..GROUPS {
        // Each prefix is in several groups, in ever other company.
        let members: Vec<_> = part
            .iter()
            .enumerate()
            .filter(|(index, _)| (index * 31 + number * 7) % GROUPS < 4)
            .map(|(_, prefix)| format!("\"{prefix}\""))
            .collect();
        let members = if members.is_empty() { "198.51.100.2".to_owned() } else { members.join(", ") };
        writeln!(groups, "  g{number}: [{members}]")?;
    }
    // The two published servers are rules too.
    let count = count - 2;
    for number in 0..count {
        let step = count / SERVICES.len();
        let text = if number % step == step - 1 {
            let port = SERVICES[(number / step).min(SERVICES.len() - 1)];
            rule(&format!("r{number}"), "{network: internet, groups: [allowed]}", &format!("udp/{port}, tcp/{port}"))
        } else {
            let to = format!("{{network: internet, groups: [g{}]}}", number % GROUPS);
            rule(&format!("r{number}"), &to, &format!("udp/{}", 20_000 + number))
        };
        rules.push_str(&text);
    }
    Ok(())
}
