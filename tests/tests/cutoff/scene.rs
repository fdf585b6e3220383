//! A town hall with its traffic, and the words of its administrator.

use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use nix::unistd::Group;
use sekimori::{
    api::{
        client,
        protocol::{Ask, Reply, Request},
    },
    cli::text::Lang,
};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    download::Download,
    policy::{Policies, rule},
    stream::Stream,
    town::Town,
    townhall::{
        ADMIN_PC, ASP_V4, CLOUD_V4, DNS_V4, INTERNET_ROUTER, LGWAN_PC, LGWAN_ROUTER, OFFICE, PC_017, PUBLIC_WEB_V4,
        WEB, WEB_TLS_PORT,
    },
};
use serde_json::{Value, json};

pub(crate) const OFTEN: Duration = Duration::from_millis(1);
pub(crate) const A_WHILE: Duration = Duration::from_millis(300);
/// Groups that every Debian has; what they are for elsewhere does not matter here.
pub(crate) const OPERATORS: &str = "adm";
pub(crate) const VIEWERS: &str = "games";

pub(crate) struct Scene {
    pub(crate) agent: Agent,
    pub(crate) _policies: Policies,
    pub(crate) town: Town,
}

pub(crate) fn scene() -> Result<Scene> {
    scene_with(Vec::new())
}

/// The same, with more in the agent's configuration.
pub(crate) fn scene_with(extra: Vec<(&'static str, Value)>) -> Result<Scene> {
    scene_of(extra, "")
}

/// The same, with more at the end of the policy.
pub(crate) fn scene_of(extra: Vec<(&'static str, Value)>, ends: &str) -> Result<Scene> {
    scene_in(Vec::new(), extra, ends)
}

/// The same, with these variables in the agent's environment.
pub(crate) fn scene_in(
    environment: Vec<(&'static str, OsString)>,
    extra: Vec<(&'static str, Value)>,
    ends: &str,
) -> Result<Scene> {
    let town = Town::build(&[&PC_017, &ADMIN_PC, &WEB, &LGWAN_PC, &INTERNET_ROUTER, &LGWAN_ROUTER])?;
    town.translate()?;
    let policies = Policies::new()?;
    let publish = "publish:\n  - {id: web, from: internet, address: 203.0.113.10, services: [https], \
        server: {zone: dmz, address: 192.168.20.10, port: 8443}, purpose: test, owner: 広報課}\n";
    let rules = [
        rule("office", "office", "internet", "https, dns, ping"),
        rule("asp", "lgwan-facing", "lgwan", "https, udp/443"),
        rule("ssh", "{zone: office, devices: [admin-pc]}", "box", "ssh"),
        rule("own", "box", "internet", "dns, ping"),
        publish.to_owned(),
        ends.to_owned(),
    ];
    let mut config = Config::new(policies.town("policy", &rules)?);
    config.management = json!([{"interface": "lan0", "sources": ["192.168.10.18/32"], "port": 22}]);
    config.extra.push(("roles", json!({"operator": OPERATORS, "viewer": VIEWERS})));
    config.extra.extend(extra);
    config.environment = environment;
    let agent = Agent::start(&town.gateway, &config)?;
    Ok(Scene { agent, _policies: policies, town })
}

/// Everything that runs while something is cut off.
pub(crate) struct Traffic {
    /// pc-017 to the Internet's name server.
    pub(crate) query: Stream,
    /// The cloud to pc-017, which asked for it.
    pub(crate) answer: Stream,
    /// The cloud to pc-017, TCP.
    pub(crate) download: Download,
    /// The administrator's terminal to the name server.
    pub(crate) other: Stream,
    /// The published web server to somebody on the Internet.
    pub(crate) upload: Download,
    /// The box itself to the name server.
    pub(crate) own: Stream,
    /// The administrator on the box.
    pub(crate) ssh: Download,
    /// LGWAN to its terminal.
    pub(crate) lgwan: Stream,
}

impl Traffic {
    pub(crate) fn start(town: &Town) -> Result<Self> {
        let (pc, admin) = (town.host(&PC_017)?, town.host(&ADMIN_PC)?);
        let (internet, gateway) = (town.host(&INTERNET_ROUTER)?, &town.gateway);
        let other: (IpAddr, u16) = (INTERNET_ROUTER.v4.into(), 53);
        Ok(Self {
            query: Stream::to_server(pc, None, internet, (DNS_V4, 53), OFTEN)?,
            answer: Stream::to_client(pc, internet, (CLOUD_V4, 53), OFTEN)?,
            download: Download::start(pc, None, internet, (CLOUD_V4, 443))?,
            other: Stream::to_server(admin, None, internet, other, OFTEN)?,
            upload: Download::by_way_of(
                internet,
                Some(CLOUD_V4.into()),
                town.host(&WEB)?,
                WEB_TLS_PORT,
                (PUBLIC_WEB_V4, 443),
            )?,
            own: Stream::to_server(gateway, None, internet, (Ipv4Addr::new(198, 51, 100, 66), 53), OFTEN)?,
            ssh: Download::start(admin, None, gateway, (OFFICE.v4.0, 22))?,
            lgwan: Stream::to_client(town.host(&LGWAN_PC)?, town.host(&LGWAN_ROUTER)?, (ASP_V4, 443), OFTEN)?,
        })
    }
}

pub(crate) fn cut(agent: &Agent, object: &[&str]) -> Result<()> {
    said(agent, &[&["cutoff"], object, &["--reason", "worm"]].concat())
}

pub(crate) fn restore(agent: &Agent, object: &[&str]) -> Result<()> {
    said(agent, &[&["restore"], object, &["--reason", "clean"]].concat())
}

pub(crate) fn said(agent: &Agent, words: &[&str]) -> Result<()> {
    let said = agent.cli(words.iter().copied())?;
    if said.ok() { Ok(()) } else { Err(anyhow!("{words:?}: {said:?}")) }
}

/// What `sekimori … --format json` said, and its exit code.
pub(crate) fn asked(agent: &Agent, words: &[&str]) -> Result<(Option<i32>, Value)> {
    agent.json(words.iter().copied())
}

/// Lines of the record with one of these actions.
pub(crate) fn recorded(agent: &Agent, actions: &[&str]) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(agent.state_path().join("records.jsonl"))?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok(lines
        .into_iter()
        .filter(|line| line["action"].as_str().is_some_and(|action| actions.contains(&action)))
        .collect())
}

/// Speaks to the control socket as this user with this group. Credentials are a thread's own on Linux.
pub(crate) fn ask_as(agent: &Agent, uid: u32, group: &str, ask: Ask) -> Result<Reply> {
    use std::os::unix::fs::PermissionsExt as _;
    let gid = Group::from_name(group)?.with_context(|| format!("no group {group}"))?.gid.as_raw();
    let socket = agent.socket_path();
    let folder = socket.parent().context("a socket in no folder")?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    let request = Request { lang: Lang::En, claims_from: None, ask };
    std::thread::spawn(move || -> Result<Reply> {
        let keep = u32::MAX;
        for (call, id) in [(libc::SYS_setresgid, gid), (libc::SYS_setresuid, uid)] {
            // SAFETY: a plain system call on numbers; it changes this thread alone, which ends with the question.
            if unsafe { libc::syscall(call, keep, id, keep) } != 0 {
                return Err(std::io::Error::last_os_error().into());
            }
        }
        Ok(client::ask(&socket, &request)?)
    })
    .join()
    .map_err(|_| anyhow!("the asking thread panicked"))?
}
