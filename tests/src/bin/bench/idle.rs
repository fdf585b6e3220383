//! What the agent costs when nothing happens, and how soon it is back.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use sekimori_tests::harness::agent::METRICS;

use crate::{
    figure::Figure,
    gateway::Gateway,
    lists::List,
    options::Options,
    process,
    ruler::Ruler,
    subject::{Policy, Sekimori, Subject as _},
    target::Bound,
};

/// After this nothing is left to do of what came before: what was opened is in the flow records.
const SETTLE: Duration = Duration::from_secs(120);
/// How long an idle agent is watched.
const WATCH: Duration = Duration::from_secs(60);
/// How often an idle agent reads all the views for conversations that ended (`flow_records` in `docs/flow-records.md`).
const WALKS: Duration = Duration::from_secs(300);
/// Scrapes; the least of them counts, as everywhere.
const SCRAPES: usize = 20;
/// Rules while scraping.
const RULES: usize = 1_000;
const MIB: f64 = 1024.0;

/// Idle CPU and memory with the list that is loaded, then the time from start to enforcing as after a reboot.
pub(crate) fn measure(sekimori: &mut Sekimori) -> Result<Vec<Figure>> {
    let pid = sekimori.agent.pid().context("the agent is not running")?;
    thread::sleep(SETTLE);
    let before = process::cpu_time(pid)?;
    thread::sleep(WATCH);
    let used = process::cpu_time(pid)? - before;
    let walk = walk_seconds(&sekimori.agent.metrics()?)?;
    let share = (used.as_secs_f64() / WATCH.as_secs_f64() + walk / WALKS.as_secs_f64()) * 100.0;
    let resident = process::status_kib(pid, "VmRSS")? as f64 / MIB;
    let mut figures = vec![
        Figure::new("agent", "sekimori", "idle CPU, of one core", share, "%").target("agent", Bound::Most(0.1)),
        Figure::new("agent", "sekimori", "resident memory beside the maps", resident, "MiB")
            .target("agent", Bound::Most(40.0)),
    ];
    sekimori.agent.kill9()?;
    // As after a reboot: the state is there, nothing is loaded.
    fs::remove_dir_all(sekimori.agent.pins_path()).context("removing the pins")?;
    let start = Instant::now();
    sekimori.agent.spawn()?;
    sekimori.agent.wait_until_enforcing()?;
    figures.push(
        Figure::new("agent", "sekimori", "start to enforcing", start.elapsed().as_secs_f64(), "s")
            .target("agent", Bound::Most(1.0))
            .note("state kept, nothing pinned, asked every 20 ms"),
    );
    Ok(figures)
}

/// Seconds the last reading of all views took.
fn walk_seconds(metrics: &str) -> Result<f64> {
    const NAME: &str = "sekimori_flow_walk_duration_seconds ";
    let value = metrics.lines().find_map(|line| line.strip_prefix(NAME)).context("no time of a walk in /metrics")?;
    Ok(value.parse()?)
}

/// A scrape with a thousand rules.
pub(crate) fn scrapes(options: &Options) -> Result<Vec<Figure>> {
    let mut ruler = Ruler::load()?;
    let list = List::new(1_000, false, options.seed);
    let mut sekimori = Sekimori::new(Gateway::new(&ruler.ns, "agent", 0)?, Policy::Rules(RULES), 10_000)?;
    sekimori.load(&list, &mut ruler)?;
    Ok(vec![scrape(&sekimori, RULES)?])
}

/// The time of a scrape.
fn scrape(sekimori: &Sekimori, rules: usize) -> Result<Figure> {
    let address: SocketAddr = METRICS.parse()?;
    let mut least = f64::INFINITY;
    for _ in 0..SCRAPES {
        let (took, bytes) = sekimori.gateway().ns.run(|| {
            let start = Instant::now();
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
            let mut body = Vec::new();
            stream.read_to_end(&mut body)?;
            if !body.starts_with(b"HTTP/1.1 200") {
                bail!("/metrics answered {:?}", String::from_utf8_lossy(&body[..body.len().min(40)]));
            }
            Ok((start.elapsed(), body.len()))
        })?;
        if bytes > 0 {
            least = least.min(took.as_secs_f64() * 1e3);
        }
    }
    Ok(Figure::new("agent", "sekimori", format!("scrape of /metrics with {rules} rules"), least, "ms")
        .target("agent", Bound::Most(10.0)))
}
