//! A town hall whose box answers on 127.0.0.1:9443.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    http::Caller,
    policy::{Policies, TOWN, rule},
    tool,
    town::Town,
    townhall::{ADMIN_PC, INTERNET_ROUTER, PC_017},
};
use serde_json::{Value, json};

pub(crate) const SOON: Duration = Duration::from_secs(10);
/// Where the API is, unless a test says otherwise.
pub(crate) const HERE: &str = "http://127.0.0.1:9443";

pub(crate) struct Scene {
    pub(crate) agent: Agent,
    pub(crate) _policies: Policies,
    pub(crate) town: Town,
}

impl Scene {
    /// On loopback.
    pub(crate) fn plain() -> Result<Self> {
        Self::with(json!({"listen": "127.0.0.1:9443"}))
    }

    /// With this section `http`. Whether it is served is not waited for.
    pub(crate) fn with(http: Value) -> Result<Self> {
        Self::build(http, TOWN, "")
    }

    /// With a policy that begins and ends like this.
    pub(crate) fn build(http: Value, begins: &str, ends: &str) -> Result<Self> {
        let town = Town::build(&[&PC_017, &ADMIN_PC, &INTERNET_ROUTER])?;
        town.translate()?;
        let policies = Policies::new()?;
        let rules = [
            rule("office", "office", "internet", "https, udp/443, dns, ping"),
            rule("api", "{zone: office, devices: [admin-pc]}", "box", "ssh, tcp/9443"),
        ];
        let mut config = Config::new(policies.text("policy", &format!("{begins}{}{ends}", rules.concat()))?);
        config.management = json!([{"interface": "lan0", "sources": ["192.168.10.18/32"], "port": 22}]);
        config.extra.push(("http", http));
        let agent = Agent::start(&town.gateway, &config)?;
        Ok(Self { agent, _policies: policies, town })
    }

    /// Somebody on the box without a token; waits until the API answers at all.
    pub(crate) fn nobody(&self) -> Result<Caller> {
        let caller = Caller::new(&self.town.gateway, HERE);
        tool::until("the API", SOON, || caller.get("/nothing").map(Some))?;
        Ok(caller)
    }

    /// Adds a token; the token.
    pub(crate) fn token(&self, id: &str, words: &[&str]) -> Result<String> {
        let all = [&["token", "add", id], words, &["--reason", "test"]].concat();
        let (code, said) = self.agent.json(all)?;
        ensure!(code == Some(0), "{said}");
        said["token"].as_str().map(str::to_owned).with_context(|| said.to_string())
    }

    /// Lines of the record with this action.
    pub(crate) fn recorded(&self, action: &str) -> Result<Vec<Value>> {
        let lines = self.agent.cli(["records", "--format", "json"])?.out;
        let lines: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(lines.into_iter().filter(|line| line["action"] == action).collect())
    }

    /// Whether pc-017 gets an answer from the Internet.
    pub(crate) fn reaches(&self) -> Result<bool> {
        self.town.ping(&PC_017, INTERNET_ROUTER.v4)
    }
}

pub(crate) fn network(name: &str) -> Value {
    json!({"kind": "network", "name": name})
}

pub(crate) fn host(name: &str) -> Value {
    json!({"kind": "host", "name": name})
}
