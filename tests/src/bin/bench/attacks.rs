//! Attacks from the inside, made with the tools attackers use: how much of each leaves before it is stopped, beside the limits
//! that an administrator would write in nftables.

use std::{collections::BTreeSet, thread, time::Duration};

use anyhow::{Result, anyhow};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    frame::Frame,
    nft,
    outside::Outside,
    policy::{Policies, rule},
    tap::{Taken, Tap},
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{CLOUD_V4, INTERNET, INTERNET_ROUTER, PC_017},
};
use serde_json::Value;

use crate::{
    figure::Figure,
    options::Options,
    psad::{self, HeardByAll, Psad},
    target::Bound,
};

/// No attack takes longer, but for those that take their time.
const ATTACK: Duration = Duration::from_secs(90);
/// Nor do those.
const PATIENT: Duration = Duration::from_secs(3 * 3600);
/// An incident is in its list within this, if there is one.
const SOON: Duration = Duration::from_secs(5);

/// What is counted.
#[derive(Clone, Copy)]
enum Left {
    Packets(&'static str),
    Places,
}

struct Attack {
    name: &'static str,
    program: &'static str,
    arguments: String,
    left: Left,
    /// The most that may leave; `None` where nothing is meant to stop it.
    most: Option<f64>,
    within: Duration,
}

impl Attack {
    fn new(name: &'static str, program: &'static str, arguments: impl Into<String>, left: Left, most: f64) -> Self {
        Self { name, program, arguments: arguments.into(), left, most: Some(most), within: ATTACK }
    }

    /// A scan for one port by nmap, of at most ten addresses if it goes well.
    fn scan(name: &'static str, how: &str) -> Self {
        Self::new(name, "nmap", nmap(how), Left::Places, 10.0)
    }

    fn patient(self) -> Self {
        Self { within: PATIENT, ..self }
    }
}

/// Each probe once, and no questions before them.
fn nmap(how: &str) -> String {
    format!("-n -Pn --max-retries 0 {how}")
}

fn attacks() -> Vec<Attack> {
    let many = "-p 443 198.51.100.100-180";
    let ports = |how: &str| nmap(&format!("{how} -p 1000-1200 -T4 {CLOUD_V4}"));
    let stealth = |how: &str| nmap(&format!("{how} -p 80-90 {CLOUD_V4}"));
    let hping = |how: &str| format!("-q {how} -i u20 -c 20000 {CLOUD_V4}");
    let (udp, tcp) = (Left::Packets("udp"), Left::Packets("tcp"));
    let masscan = format!(
        "198.51.100.0/24 -p 443 --rate 5000 --wait 0 --interface {HOST_INTERFACE} --router-mac 02-00-00-00-10-01 --source-ip {}",
        PC_017.v4
    );
    vec![
        Attack::scan("nmap -sS -T3, one port of 81 addresses", &format!("-sS -T3 {many}")),
        Attack::scan("nmap -sS -T4, one port of 81 addresses", &format!("-sS -T4 {many}")),
        Attack::scan("nmap -sS -T5, one port of 81 addresses", &format!("-sS -T5 {many}")),
        Attack::scan("nmap -sT -T4, one port of 81 addresses", &format!("-sT -T4 {many}")),
        Attack::scan("nmap -sS -f -T4 (fragments), one port of 81 addresses", &format!("-sS -f -T4 {many}")),
        Attack::scan(
            "nmap -sS -T4 among decoys, one port of 81 addresses",
            &format!("-sS -T4 -D 192.168.10.77,203.0.113.50,ME {many}"),
        ),
        Attack::scan("nmap -sS -T4, 100 ports of 100 addresses", "-sS -T4 --top-ports 100 198.51.100.100-199"),
        Attack::scan("nmap -sU -T4, one port of 81 addresses", "-sU -T4 -p 161 198.51.100.100-180"),
        Attack::new("masscan, 5,000 a second, one port of 256 addresses", "masscan", masscan, Left::Places, 10.0),
        Attack::new("nmap -sS, 201 ports of one address", "nmap", ports("-sS"), Left::Packets("syn"), 20.0),
        Attack::new("nmap -sU, 201 ports of one address", "nmap", ports("-sU"), udp, 20.0),
        Attack::new("nmap -sN", "nmap", stealth("-sN"), tcp, 0.0),
        Attack::new("nmap -sF", "nmap", stealth("-sF"), tcp, 0.0),
        Attack::new("nmap -sX", "nmap", stealth("-sX"), tcp, 0.0),
        Attack::new("hping3 SYN flood, 20,000 packets", "hping3", hping("-S -p 9999"), Left::Packets("syn"), 1_000.0),
        Attack::new("hping3 UDP flood, 20,000 packets", "hping3", hping("--udp -p 9999"), udp, 1_000.0),
        Attack::new("hping3 ICMP flood, 20,000 packets", "hping3", hping("--icmp"), Left::Packets("icmp"), 1_000.0),
        Attack::new(
            "hping3 SYN, one forged source, 20,000 packets",
            "hping3",
            hping("-S -p 443 -a 203.0.113.99"),
            tcp,
            0.0,
        ),
        Attack::new("hping3 SYN, random sources, 20,000 packets", "hping3", hping("-S -p 443 --rand-source"), tcp, 0.0),
        Attack::new(
            "300 mails in three seconds",
            "nping",
            format!("--tcp -p 25 --rate 100 -c 300 -q {CLOUD_V4}"),
            Left::Packets("mail"),
            20.0,
        ),
    ]
}

/// Side by side in time, too, because they take theirs.
fn patient_attacks() -> Vec<Attack> {
    vec![
        Attack::scan("nmap -sS -T2, one port of 81 addresses", "-sS -T2 -p 443 198.51.100.100-180").patient(),
        Attack::scan("nmap -sS -T1, one port of 16 addresses", "-sS -T1 -p 443 198.51.100.100-115").patient(),
    ]
}

/// What one would write by hand: rates by source for what floods, and for new connections.
const NFT: &str = "
table inet limits {
  set syns { type ipv4_addr; flags dynamic; timeout 1m; size 65536; }
  set udps { type ipv4_addr; flags dynamic; timeout 1m; size 65536; }
  set icmps { type ipv4_addr; flags dynamic; timeout 1m; size 65536; }
  set news { type ipv4_addr; flags dynamic; timeout 1m; size 65536; }
  chain forward { type filter hook forward priority 0; policy drop;
    ct state established,related accept
    ct state invalid drop
    iifname lan0 ip saddr != 192.168.10.0/24 drop
    iifname lan0 tcp flags & (fin | syn | rst | ack) == syn update @syns { ip saddr limit rate over 200/second burst 400 packets } drop
    iifname lan0 meta l4proto udp update @udps { ip saddr limit rate over 500/second burst 800 packets } drop
    iifname lan0 meta l4proto icmp update @icmps { ip saddr limit rate over 50/second burst 200 packets } drop
    iifname lan0 ct state new update @news { ip saddr limit rate over 20/second burst 100 packets } drop
    iifname lan0 oifname wan0 tcp flags & (fin | syn | rst | ack) != syn ct state new drop
    iifname lan0 oifname wan0 accept
  }
}
";

const OURS: &str = "sekimori";
const LIMITS: &str = "nftables limits";
const PSAD: &str = "psad";

/// Who there is to compare.
fn subjects() -> Vec<&'static str> {
    let mut subjects = vec![OURS, LIMITS];
    if psad::installed() {
        subjects.push(PSAD);
    } else {
        println!("psad is not installed, and not measured (its package brings a mail server along)");
    }
    subjects
}

/// Who stands at the gate.
enum Keeper {
    Ours(Box<Agent>),
    Limits,
    Psad(Psad),
}

/// What leaves, by subject and attack.
pub(crate) fn measure(_: &Options) -> Result<Vec<Figure>> {
    let _heard = HeardByAll::set()?;
    let mut figures = Vec::new();
    for attack in attacks() {
        for subject in subjects() {
            figures.push(suffer(subject, &attack)?);
        }
    }
    figures.extend(at_once(&patient_attacks())?);
    Ok(figures)
}

/// One attempt in five minutes, which takes the better part of an hour: measured when asked for by name. Nothing is meant to stop
/// it; it is to be found.
pub(crate) fn paranoid(_: &Options) -> Result<Vec<Figure>> {
    let _heard = HeardByAll::set()?;
    let scan = Attack::scan("nmap -sS -T0, one port of 10 addresses", "-sS -T0 -p 22 198.51.100.100-109").patient();
    at_once(&[Attack { most: None, ..scan }])
}

fn at_once(attacks: &[Attack]) -> Result<Vec<Figure>> {
    let subjects = &subjects();
    thread::scope(|scope| {
        let suffered: Vec<_> = attacks
            .iter()
            .flat_map(|attack| subjects.iter().map(move |subject| scope.spawn(move || suffer(subject, attack))))
            .collect();
        suffered.into_iter().map(|one| one.join().map_err(|_| anyhow!("an attack panicked"))?).collect()
    })
}

fn suffer(subject: &str, attack: &Attack) -> Result<Figure> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    let policies = Policies::new()?;
    let keeper = match subject {
        OURS => {
            let permitted = rule("out", "office", "internet", "tcp/1-65535, udp/1-65535, ping");
            let block = "{action: block}";
            let detection =
                format!("detection: {{defaults: {{syn_flood: {block}, udp_flood: {block}, icmp_flood: {block}}}}}\n");
            let policy = policies.town("policy", &[permitted, detection])?;
            Keeper::Ours(Box::new(Agent::start(&town.gateway, &Config::new(policy))?))
        }
        PSAD => Keeper::Psad(Psad::start(&town.gateway, "192.168.10.0/24")?),
        _ => {
            nft::load(&town.gateway, NFT)?;
            Keeper::Limits
        }
    };
    let outside = Outside::count(town.host(&INTERNET_ROUTER)?)?;
    let tap = Tap::open(town.host(&INTERNET_ROUTER)?, HOST_INTERFACE, from_inside)?;
    let mut command = town.host(&PC_017)?.command(attack.program);
    command.args(attack.arguments.split_whitespace());
    tool::run(&mut command, attack.within)?;
    let (value, unit) = match attack.left {
        Left::Packets(kind) => (outside.packets(kind)? as f64, "packets"),
        Left::Places => (outside.places()? as f64, "addresses"),
    };
    let taken = tap.stop()?;
    let note = match &keeper {
        Keeper::Ours(agent) => format!("{}; {}", how_long(taken), said(agent)?),
        Keeper::Psad(psad) => format!("{}; {}", how_long(taken), psad.said()),
        Keeper::Limits => how_long(taken),
    };
    let figure = Figure::new("attacks", subject, format!("{}: what left", attack.name), value, unit).note(note);
    Ok(match attack.most {
        Some(most) if subject == OURS => figure.target("D2", Bound::Most(most)),
        _ => figure,
    })
}

/// IPv4 that the gateway forwarded, and not its own.
fn from_inside(frame: &Frame) -> bool {
    frame.from_mac() == INTERNET.mac
        && frame.0.get(12..14) == Some(&[8, 0])
        && frame.0.get(26..30) != Some(&INTERNET.v4.0.octets())
}

fn how_long(taken: Taken) -> String {
    match taken.frames {
        0 => "no packet".into(),
        1 => "one packet".into(),
        frames => format!("{frames} packets within {:.0} ms", taken.lasted.as_secs_f64() * 1e3),
    }
}

/// What the incidents say.
fn said(agent: &Agent) -> Result<String> {
    let incidents = tool::until("an incident", SOON, || {
        let said = agent.cli(["incidents", "list", "--format", "json"])?;
        let all: Vec<Value> = said.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok((!all.is_empty()).then_some(all))
    });
    let Ok(incidents) = incidents else {
        return Ok("no incident".into());
    };
    let word = |incident: &Value, key: &str| incident[key].as_str().unwrap_or("?").to_owned();
    let said: BTreeSet<String> = incidents
        .iter()
        .map(|incident| format!("incident {} ({})", word(incident, "detector"), word(incident, "action")))
        .collect();
    Ok(said.into_iter().collect::<Vec<_>>().join(", "))
}
