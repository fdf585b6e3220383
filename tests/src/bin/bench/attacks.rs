//! Attacks from the inside, made with the tools attackers use: how much of each leaves before it is stopped, beside the limits
//! that an administrator would write in nftables.

use std::time::Duration;

use anyhow::Result;
use sekimori_tests::harness::{
    agent::{Agent, Config},
    nft,
    outside::Outside,
    policy::{Policies, rule},
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{CLOUD_V4, INTERNET_ROUTER, PC_017},
};

use crate::{figure::Figure, options::Options, target::Bound};

/// No attack takes longer.
const ATTACK: Duration = Duration::from_secs(90);

/// What is counted.
#[derive(Clone, Copy)]
enum Left {
    Packets(&'static str),
    Places,
}

/// Name, tool, its arguments, what is counted, and the most that may leave.
type Attack = (&'static str, &'static str, String, Left, f64);

fn attacks() -> Vec<Attack> {
    let mut all: Vec<Attack> = Vec::new();
    let nmap = |how: &str| format!("-n -Pn {how} --max-retries 0");
    for speed in ["-T3", "-T4", "-T5"] {
        let name = match speed {
            "-T3" => "nmap -sS -T3, one port of 81 addresses",
            "-T4" => "nmap -sS -T4, one port of 81 addresses",
            _ => "nmap -sS -T5, one port of 81 addresses",
        };
        all.push((name, "nmap", nmap(&format!("-sS -p 443 {speed} 198.51.100.100-180")), Left::Places, 10.0));
    }
    all.push((
        "masscan, 5,000 a second, one port of 256 addresses",
        "masscan",
        format!(
            "198.51.100.0/24 -p 443 --rate 5000 --wait 0 --interface {HOST_INTERFACE} \
             --router-mac 02-00-00-00-10-01 --source-ip {}",
            PC_017.v4
        ),
        Left::Places,
        10.0,
    ));
    let ports = |how: &str| nmap(&format!("{how} -p 1000-1200 -T4 {CLOUD_V4}"));
    all.push(("nmap -sS, 201 ports of one address", "nmap", ports("-sS"), Left::Packets("syn"), 20.0));
    all.push(("nmap -sU, 201 ports of one address", "nmap", ports("-sU"), Left::Packets("udp"), 20.0));
    for (name, how) in [("nmap -sN", "-sN"), ("nmap -sF", "-sF"), ("nmap -sX", "-sX")] {
        all.push((name, "nmap", nmap(&format!("{how} -p 80-90 {CLOUD_V4}")), Left::Packets("tcp"), 0.0));
    }
    let hping = |how: &str| format!("-q {how} -i u20 -c 20000 {CLOUD_V4}");
    for (name, how, kind) in [
        ("hping3 SYN flood, 20,000 packets", "-S -p 9999", "syn"),
        ("hping3 UDP flood, 20,000 packets", "--udp -p 9999", "udp"),
        ("hping3 ICMP flood, 20,000 packets", "--icmp", "icmp"),
    ] {
        all.push((name, "hping3", hping(how), Left::Packets(kind), 1_000.0));
    }
    let forged = hping("-S -p 443 -a 203.0.113.99");
    all.push(("hping3 SYN, forged source, 20,000 packets", "hping3", forged, Left::Packets("tcp"), 0.0));
    let mail = format!("--tcp -p 25 --rate 100 -c 300 -q {CLOUD_V4}");
    all.push(("300 mails in three seconds", "nping", mail, Left::Packets("mail"), 20.0));
    all
}

/// What one would write by hand: rates by source for what floods, and for new connections.
const NFT: &str = "
table inet limits {
  set syn { type ipv4_addr; flags dynamic; timeout 1m; size 65536; }
  set udp { type ipv4_addr; flags dynamic; timeout 1m; size 65536; }
  set icmp { type ipv4_addr; flags dynamic; timeout 1m; size 65536; }
  set new { type ipv4_addr; flags dynamic; timeout 1m; size 65536; }
  chain forward { type filter hook forward priority 0; policy drop;
    ct state established,related accept
    ct state invalid drop
    iifname lan0 ip saddr != 192.168.10.0/24 drop
    iifname lan0 tcp flags & (fin | syn | rst | ack) == syn update @syn { ip saddr limit rate over 200/second burst 400 packets } drop
    iifname lan0 meta l4proto udp update @udp { ip saddr limit rate over 500/second burst 800 packets } drop
    iifname lan0 meta l4proto icmp update @icmp { ip saddr limit rate over 50/second burst 200 packets } drop
    iifname lan0 ct state new update @new { ip saddr limit rate over 20/second burst 100 packets } drop
    iifname lan0 oifname wan0 tcp flags & (fin | syn | rst | ack) != syn ct state new drop
    iifname lan0 oifname wan0 accept
  }
}
";

/// What leaves, by subject and attack.
pub(crate) fn measure(_: &Options) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (name, program, arguments, left, most) in attacks() {
        for subject in ["sekimori", "nftables limits"] {
            let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
            let policies = Policies::new()?;
            let ours = subject == "sekimori";
            let agent = if ours {
                let permitted = rule("out", "office", "internet", "tcp/1-65535, udp/1-65535, ping");
                let block = "{action: block}";
                let detection = format!(
                    "detection: {{defaults: {{syn_flood: {block}, udp_flood: {block}, icmp_flood: {block}}}}}\n"
                );
                let policy = policies.town("policy", &[permitted, detection])?;
                Some(Agent::start(&town.gateway, &Config::new(policy))?)
            } else {
                nft::load(&town.gateway, NFT)?;
                None
            };
            let outside = Outside::count(town.host(&INTERNET_ROUTER)?)?;
            let mut command = town.host(&PC_017)?.command(program);
            command.args(arguments.split_whitespace());
            tool::run(&mut command, ATTACK)?;
            let value = match left {
                Left::Packets(kind) => outside.packets(kind)? as f64,
                Left::Places => outside.places()? as f64,
            };
            let unit = if matches!(left, Left::Places) { "addresses" } else { "packets" };
            let figure = Figure::new("attacks", subject, format!("{name}: what left"), value, unit);
            figures.push(if ours { figure.target("D2", Bound::Most(most)) } else { figure });
            drop(agent);
        }
    }
    Ok(figures)
}
