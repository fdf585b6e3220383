//! What the demonstration is played on: the town, its servers, the gate.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sekimori_tests::harness::{
    agent::{Agent, Config, program},
    netns::Ns,
    service::Server,
    tool::{self, Said},
    town::Town,
    townhall::{
        ADMIN_PC, BIZ_SERVER, CLOUD_V4, DNS_V4, INTERNET_ROUTER, LGWAN_PC, LGWAN_ROUTER, OFFICE, PC_017, STRANGER,
        VENDOR_ROUTER, WEB, WEB_TLS_PORT,
    },
};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    machines,
    tell::{Teller, text},
};

/// Everything that runs. Fields end in this order: the gate before what it guards.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) agent: Agent,
    /// The policy's folder: a copy, since the demonstration edits it.
    pub(crate) policy: PathBuf,
    /// Somewhere to download to.
    pub(crate) folder: TempDir,
    /// Held for as long as they should answer.
    _servers: Vec<Server>,
    pub(crate) town: Town,
}

impl Stage {
    /// Builds the town, starts its servers, puts the gate up.
    pub(crate) fn build(teller: &Teller) -> Result<Self> {
        teller.chapter(&text("A town hall and five networks", "役所と五つのネットワーク"));
        teller.quote(MAP);
        let town = Town::build(&[
            &PC_017,
            &ADMIN_PC,
            &STRANGER,
            &LGWAN_PC,
            &BIZ_SERVER,
            &WEB,
            &INTERNET_ROUTER,
            &LGWAN_ROUTER,
            &VENDOR_ROUTER,
        ])?;
        town.translate()?;
        let servers = serve(&town)?;

        let folder = tempfile::Builder::new().prefix("sk-demo-").tempdir()?;
        let policy = folder.path().join("policy");
        copy_policy(&source_policy()?, &policy)?;
        let mut config = Config::new(&policy);
        config.management =
            json!([{"interface": OFFICE.interface, "sources": [format!("{}/32", ADMIN_PC.v4)], "port": 22}]);
        let agent = Agent::start(&town.gateway, &config)?;
        Ok(Self { agent, policy, folder, _servers: servers, town })
    }

    /// Runs the command line on the gateway, in the audience's language.
    pub(crate) fn sekimori(&self, teller: &Teller, arguments: &[&str]) -> Result<Said> {
        self.agent.cli(arguments.iter().copied().chain(["--lang", teller.language()]))
    }

    /// What to type while it stays up.
    pub(crate) fn how_to_play(&self) -> Result<Vec<String>> {
        let enter = |ns: &Ns| format!("nsenter --net={}", ns.path().display());
        let gateway = enter(&self.town.gateway);
        let control =
            format!("SEKIMORI_CONFIG={} {gateway} {}", self.agent.config_path().display(), program()?.display());
        let (pins, state) = (self.agent.pins_path(), self.agent.state_path());
        let companion = format!(
            "{gateway} {} --bpffs {} --state {}",
            program()?.with_file_name("sekimori-cut").display(),
            pins.display(),
            state.display()
        );
        Ok(vec![
            format!("{control} status"),
            format!("{control} cutoff network internet --reason practice"),
            format!("{control} restore network internet --reason practice"),
            format!("kill -9 {}", self.agent.pid().context("no agent runs")?),
            format!("{companion} --reason practice network internet"),
            format!("{control} agent &"),
            format!("{gateway} curl http://{}/metrics", sekimori_tests::harness::agent::METRICS),
            format!("{} curl -m 2 http://{CLOUD_V4}/", enter(self.town.host(&PC_017)?)),
            format!("{} nmap -Pn -n 203.0.113.10", enter(self.town.host(&INTERNET_ROUTER)?)),
        ])
    }

    /// Takes everything down and looks whether anything is left.
    pub(crate) fn end(self) -> Result<()> {
        let pins = self.agent.pins_path();
        let gateway = self.town.gateway.path().to_path_buf();
        end_agents(&gateway)?;
        let folder = self.folder.path().to_path_buf();
        drop(self);
        for path in [pins, gateway, folder] {
            if path.exists() {
                bail!("{} is still there after the end", path.display());
            }
        }
        Ok(())
    }
}

/// Ends the agents in a namespace: the audience may have started another one.
fn end_agents(ns: &Path) -> Result<()> {
    let inode = fs::metadata(ns)?.ino();
    let is_one = |process: &Path| {
        let named = fs::read_link(process.join("exe")).is_ok_and(|exe| exe.file_name() == Some("sekimori".as_ref()));
        named && fs::metadata(process.join("ns/net")).is_ok_and(|net| net.ino() == inode)
    };
    let processes = || -> Result<Vec<PathBuf>> {
        Ok(fs::read_dir("/proc")?.flatten().map(|entry| entry.path()).filter(|process| is_one(process)).collect())
    };
    for process in processes()? {
        let number = process.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        // It may have ended by itself.
        kill(Pid::from_raw(number.context("a process without a number")?), Signal::SIGTERM).ok();
    }
    // One that is our own child is a zombie until somebody waits for it, and has no program any more.
    tool::until("the agents to end", Duration::from_secs(20), || Ok(processes()?.is_empty().then_some(())))
}

fn serve(town: &Town) -> Result<Vec<Server>> {
    let internet = town.host(&INTERNET_ROUTER)?;
    let town_web = town.host(&WEB)?;
    let mut servers = vec![
        machines::names(internet, DNS_V4.into(), CLOUD_V4)?,
        machines::web(town.host(&LGWAN_ROUTER)?, 443, "LGWAN application service")?,
        machines::web(town_web, 80, "Welcome to the town hall")?,
        machines::web(town_web, WEB_TLS_PORT, "Welcome to the town hall")?,
    ];
    for port in [80, 443, 8080] {
        servers.push(machines::web(internet, port, "cloud service")?);
    }
    for (ns, line) in [
        (&town.gateway, "SSH-2.0-gateway"),
        (town.host(&BIZ_SERVER)?, "SSH-2.0-business-server"),
        (town_web, "SSH-2.0-web-server"),
        (internet, "SSH-2.0-somewhere"),
    ] {
        servers.push(Server::banner(ns, 22, line)?);
    }
    Ok(servers)
}

/// The municipality's policy as it comes with the product: a folder or one file.
fn source_policy() -> Result<PathBuf> {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    ["municipality", "municipality.yaml"]
        .into_iter()
        .map(|name| policies.join(name))
        .find(|path| path.exists())
        .with_context(|| format!("there is no municipality in {}", policies.display()))
}

fn copy_policy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    if from.is_file() {
        fs::copy(from, to.join("policy.yaml"))?;
        return Ok(());
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_policy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// How long a client may take before it counts as unanswered, and a little more for its own start.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

const MAP: &str = "\
\x20pc-017  admin-pc  stranger       lgwan-pc  biz-server          web
    └───────┼─────────┘              └───┬──────┘                │
      office (lan0)              lgwan-facing (lan1)         dmz (dmz0)
 ┌──────────┴────────────────────────────┴───────────────────────┴──────┐
 │                  関守 Sekimori: the gateway, all deny                │
 └──────────┬────────────────────────────┬───────────────────────┬──────┘
      internet (wan0)               lgwan (lgw0)           vendor (vnd0)
    cloud, DNS, attacker          application service   maintenance terminal";
