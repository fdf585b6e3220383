//! From a file on disk to the last entry enforced, and what it took.

use std::{
    fs,
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    figure::Figure,
    gateway::{Cost, Gateway},
    lists::{List, Place},
    options::Options,
    plan::Plan,
    process,
    ruler::Ruler,
    subject::{Ipset, Nft, NftHook, Policy, Sekimori, Subject},
    target::Bound,
    traffic::{ONE, Way},
};

/// Between two probes.
const PAUSE: Duration = Duration::from_millis(1);
/// No subject may take longer.
const PATIENCE: Duration = Duration::from_secs(300);
const MIB: f64 = 1024.0;

/// What one application took.
#[derive(Debug, Clone, Copy)]
struct Applied {
    /// From the start of the command to the first probe that got through.
    enforced: Duration,
    cost: Cost,
}

/// Applies a list with each subject.
pub(crate) fn measure(options: &Options, prefixes: usize) -> Result<Vec<Figure>> {
    let mut ruler = Ruler::load()?;
    let small = List::new(1_000, false, options.seed);
    let large = List::new(prefixes, false, options.seed);
    let last = large.prefixes.last().context("an empty list")?.addr();
    if small.holds(last) {
        bail!("the last entry is listed before it is applied; choose another --seed");
    }
    ruler.peers(Place::Listed, &[last])?;
    let mut figures = Vec::new();

    let nft = Nft::new(gateway(&mut ruler, "nft", 0)?, NftHook::Conntrack)?;
    nft.apply(&nft.rules(&small)?)?;
    let file = keep("bench.nft", &nft.rules(&large)?)?;
    let with_nft =
        timed(&mut ruler, nft.gateway(), || nft.gateway().feed("nft", &["-f", text(&file)?], b"", PATIENCE))?;
    drop(nft);

    let mut ipset = Ipset::new(gateway(&mut ruler, "ipset", 1)?)?;
    ipset.load(&small, &mut ruler)?;
    let file = keep("bench.ipset", &ipset.sets(&large)?)?;
    let with_ipset = timed(&mut ruler, ipset.gateway(), || {
        ipset.gateway().feed("ipset", &["restore", "-file", text(&file)?], b"", PATIENCE)
    })?;
    drop(ipset);

    let mut sekimori = Sekimori::new(gateway(&mut ruler, "sekimori", 2)?, Policy::Listed, 10_000)?;
    sekimori.load(&small, &mut ruler)?;
    let pid = sekimori.agent.pid().context("the agent is not running")?;
    let policy = sekimori.write(&large)?;
    // Peaks are counted from here.
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("resetting the agent's peak")?;
    let ours = timed(&mut ruler, sekimori.gateway(), || sekimori.apply_costed(&policy))?;
    let peak = process::status_kib(pid, "VmHWM")? + ours.cost.peak_kib;

    for (subject, applied, peak) in [
        ("nft -f", with_nft, with_nft.cost.peak_kib),
        ("ipset restore", with_ipset, with_ipset.cost.peak_kib),
        ("sekimori apply", ours, peak),
    ] {
        let what = format!("{prefixes} entries, file to last entry enforced");
        figures.push(Figure::new("apply", subject, what, applied.enforced.as_secs_f64(), "s"));
        figures.push(Figure::new("apply", subject, "command", applied.cost.took.as_secs_f64(), "s"));
        figures.push(Figure::new("apply", subject, "peak resident memory", peak as f64 / MIB, "MiB"));
    }
    figures.push(Figure::new("apply", "sekimori", "map memory", process::map_kib(pid)? as f64 / MIB, "MiB"));
    let ratio = |other: &Applied| ours.enforced.as_secs_f64() / other.enforced.as_secs_f64();
    if prefixes == 1_000_000 {
        figures.extend([
            Figure::new("apply", "sekimori", "apply ÷ nft -f", ratio(&with_nft), "")
                .target("T6", Bound::Most(1.0 / 20.0)),
            Figure::new("apply", "sekimori", "apply ÷ ipset restore", ratio(&with_ipset), "")
                .target("T6", Bound::Most(1.0 / 5.0)),
            Figure::new("apply", "sekimori", "peak memory ÷ nft's", peak as f64 / with_nft.cost.peak_kib as f64, "")
                .target("T6", Bound::Most(0.25)),
        ]);
    }
    figures.extend(crate::entry::measure(&sekimori, &mut ruler, options.seed)?);
    figures.extend(crate::replace::measure(&mut sekimori, &mut ruler, &large, options)?);
    figures.extend(crate::idle::measure(&mut sekimori)?);
    Ok(figures)
}

fn gateway(ruler: &mut Ruler, name: &str, number: usize) -> Result<Gateway> {
    let gateway = Gateway::new(&ruler.ns, name, number)?;
    ruler.listen(&gateway)?;
    Ok(gateway)
}

/// Runs a command while a probe asks again and again whether the last entry is enforced.
fn timed(ruler: &mut Ruler, gateway: &Gateway, command: impl FnOnce() -> Result<Cost> + Send) -> Result<Applied> {
    let plan = ONE.plan(gateway)?;
    if probe(ruler, gateway, &plan)? {
        bail!("the probe passes before anything was applied");
    }
    thread::scope(|scope| {
        let start = Instant::now();
        let (done, ended) = mpsc::channel();
        scope.spawn(move || done.send(command()));
        let enforced = loop {
            if probe(ruler, gateway, &plan)? {
                break start.elapsed();
            }
            // An error ends the wait; success does not, the entry must still show.
            if let Ok(Err(error)) = ended.try_recv() {
                return Err(error);
            }
            if start.elapsed() > PATIENCE {
                bail!("the last entry was not enforced within {PATIENCE:?}");
            }
            thread::sleep(PAUSE);
        };
        let cost = ended.recv_timeout(PATIENCE).context("the command gave no answer")??;
        Ok(Applied { enforced, cost })
    })
}

/// Whether one packet of a plan gets through.
pub(crate) fn probe(ruler: &mut Ruler, gateway: &Gateway, plan: &Plan) -> Result<bool> {
    ruler.delivered(gateway)?;
    ruler.send(plan, 0, 1)?;
    Ok(crate::sampling::side(Way::Out, ruler.delivered(gateway)?) > 0)
}

fn keep(name: &str, content: &str) -> Result<PathBuf> {
    let folder = crate::report::folder();
    fs::create_dir_all(&folder)?;
    let path = folder.join(name).to_path_buf();
    fs::write(&path, content)?;
    Ok(path.canonicalize()?)
}

fn text(path: &std::path::Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}
