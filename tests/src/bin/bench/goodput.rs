//! TCP through a gateway while somebody floods it with packets it denies.

use std::{
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use sekimori_tests::harness::{link, netns::Ns, tool};

use crate::{
    figure::Figure,
    gateway::{Gateway, LAN_MAC, WAN_MAC, mac_text},
    lists::{List, Place},
    options::Options,
    ruler::Ruler,
    subject::{Nft, NftHook, Policy, Sekimori, Subject, XdpFilter},
    target::Bound,
    traffic::FAR,
};

/// Denied packets a second; the first run has none.
const FLOODS: [u64; 4] = [0, 500_000, 1_000_000, 2_000_000];
/// Share of its rate that a flood must reach to count.
const REACHED: f64 = 0.9;
/// Seconds of one transfer.
const SECONDS: u64 = 3;
/// A permitted service.
const PORT: &str = "8080";
/// CPU of the conversation; the flood has the ruler's.
const CPU: &str = "0";

/// A gateway with a client and a server that talk TCP through it.
struct Line {
    subject: Box<dyn Subject>,
    client: Ns,
    server: Ns,
    /// The server's address: the list's first entry.
    address: String,
    /// Best bits a second, one a flood.
    best: [f64; FLOODS.len()],
    /// Packets a second that the flood reached.
    reached: [f64; FLOODS.len()],
}

/// Goodput of each subject at each flood, the best of some rounds.
pub(crate) fn measure(options: &Options) -> Result<Vec<Figure>> {
    let mut ruler = Ruler::load()?;
    let list = List::new(1_000, false, options.seed);
    ruler.peers(Place::Far, &list.peers(Place::Far, false, options.seed)?)?;
    let mut lines = Vec::new();
    for (number, name) in ["nft set + ct", "nft ingress", "xdp-filter", "sekimori"].into_iter().enumerate() {
        lines.push(lay(&mut ruler, &list, name, number)?);
    }
    for _ in 0..if options.quick { 1 } else { 3 } {
        for (index, rate) in FLOODS.into_iter().enumerate() {
            for line in &mut lines {
                let (bits, reached) = run(&mut ruler, line, rate)?;
                line.best[index] = line.best[index].max(bits);
                line.reached[index] = line.reached[index].max(reached);
            }
        }
    }
    Ok(figures(&lines))
}

fn figures(lines: &[Line]) -> Vec<Figure> {
    let kept = |name: &str, index: usize| {
        let line = lines.iter().find(|line| line.subject.name() == name)?;
        // A flood that was not reached proves nothing.
        let flooded = line.reached[index] >= FLOODS[index] as f64 * REACHED;
        (line.best[0] > 0.0 && flooded).then(|| line.best[index] / line.best[0])
    };
    let mut figures = Vec::new();
    for line in lines {
        let name = line.subject.name();
        for (index, rate) in FLOODS.into_iter().enumerate() {
            let what = format!("TCP goodput under {:.1} Mpps denied", rate as f64 / 1e6);
            let share = kept(name, index).map_or("not judged".into(), |share| format!("{:.1} %", share * 100.0));
            figures.push(
                Figure::new("goodput", name, what, line.best[index] / 1e6, "Mbit/s")
                    .note(format!("kept: {share}; flood reached {:.2} Mpps", line.reached[index] / 1e6)),
            );
        }
    }
    for (index, rate) in FLOODS.into_iter().enumerate().skip(1) {
        let ratio =
            |other: &str| kept("sekimori", index).zip(kept(other, index)).map(|(ours, theirs)| ours / theirs.max(1e-9));
        let at = format!("TCP goodput kept under {:.1} Mpps denied", rate as f64 / 1e6);
        figures.push(
            Figure::new("goodput", "sekimori", format!("{at}: sekimori ÷ xdp-filter"), ratio("xdp-filter"), "")
                .target("T11", Bound::Least(0.95)),
        );
        if rate == 1_000_000 {
            figures.push(
                Figure::new("goodput", "sekimori", format!("{at}: sekimori ÷ nft set + ct"), ratio("nft set + ct"), "")
                    .target("T11", Bound::Least(10.0)),
            );
        }
    }
    figures
}

fn lay(ruler: &mut Ruler, list: &List, name: &str, number: usize) -> Result<Line> {
    let (client, server) = (Ns::new("client")?, Ns::new("server")?);
    let gateway = Gateway::between(&client, &server, "goodput", number)?;
    let address = list.prefixes.first().context("an empty list")?.addr();
    let [inside, outside] = gateway.ends.clone();
    link::address(&client, &inside, std::net::Ipv4Addr::new(192, 168, 100, 2), 24)?;
    link::address(&server, &outside, std::net::Ipv4Addr::new(203, 0, 113, 2), 24)?;
    link::address(&server, "lo", address, 32)?;
    link::route(&client, "0.0.0.0/0".parse()?, std::net::Ipv4Addr::new(192, 168, 100, 1))?;
    link::route(&server, "0.0.0.0/0".parse()?, std::net::Ipv4Addr::new(203, 0, 113, 1))?;
    // Some subjects drop what asks for a neighbour.
    for (ns, end, address, mac) in
        [(&client, &inside, "192.168.100.1", LAN_MAC), (&server, &outside, "203.0.113.1", WAN_MAC)]
    {
        let mac = mac_text(mac);
        let mut ip = ns.command("ip");
        ip.args(["neighbour", "replace", address, "lladdr", &mac, "dev", end, "nud", "permanent"]);
        tool::must(&mut ip, Duration::from_secs(5))?;
    }
    let mut subject: Box<dyn Subject> = match name {
        "nft set + ct" => Box::new(Nft::new(gateway, NftHook::Conntrack)?),
        "nft ingress" => Box::new(Nft::new(gateway, NftHook::Ingress)?),
        "xdp-filter" => Box::new(XdpFilter::new(gateway, list)?),
        _ => Box::new(Sekimori::new(gateway, Policy::Listed, 10_000)?),
    };
    subject.load(list, ruler)?;
    let best = [0.0; FLOODS.len()];
    Ok(Line { subject, client, server, address: address.to_string(), best, reached: best })
}

/// One transfer under one flood: bits a second received, packets a second flooded. No transfer at all is 0.
fn run(ruler: &mut Ruler, line: &Line, rate: u64) -> Result<(f64, f64)> {
    let mut server = line
        .server
        .command("taskset")
        .args(["-c", CPU, "iperf3", "-s", "-1", "-B", &line.address, "-p", PORT])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting iperf3")?;
    let done = AtomicBool::new(false);
    let plan = FAR.plan(line.subject.gateway())?;
    let outcome = thread::scope(|scope| {
        let (done, client, address) = (&done, &line.client, &line.address);
        let transfer = scope.spawn(move || {
            let bits = transfer(client, address);
            done.store(true, Ordering::Release);
            bits
        });
        let reached = if rate == 0 {
            0.0
        } else {
            let (sent, took) = ruler.pace(&line.server, &plan, rate, || done.load(Ordering::Acquire))?;
            sent as f64 / took.as_secs_f64()
        };
        let bits = transfer.join().map_err(|_| anyhow!("the thread of the transfer panicked"))??;
        anyhow::Ok((bits, reached))
    });
    server.kill().ok();
    server.wait().ok();
    outcome
}

fn transfer(client: &Ns, address: &str) -> Result<f64> {
    // The server needs a moment to listen.
    thread::sleep(Duration::from_millis(300));
    let seconds = SECONDS.to_string();
    let mut command = client.command("taskset");
    command.args(["-c", CPU, "iperf3", "-c", address, "-p", PORT, "-t", &seconds, "-J", "--connect-timeout", "2000"]);
    let said = tool::run(&mut command, Duration::from_secs(SECONDS + 8))?;
    let value: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_default();
    Ok(value["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or(0.0))
}
