//! What a packet costs: the way in, hot, in units of a fixed amount of work measured beside it.
//!
//! Eight kinds of packets through the program that is attached, by `BPF_PROG_TEST_RUN`. Their ratios to the yardstick
//! (`ebpf/src/ruler/yardstick.rs`) are in `tests/speed.baseline.json`; a kind that has become more than 15 % dearer
//! fails. Where that is meant, or a gain is to be kept: `SEKIMORI_SPEED_BASELINE=write cargo xtask test speed`.

#[path = "speed/kinds.rs"]
mod kinds;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    programs::{TestRun as _, TestRunOptions, Xdp, loaded_programs},
};
use aya_obj::programs::XdpAttachType;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    link,
    netns::Ns,
    policy::Policies,
    tool,
    town::Town,
    townhall::{CLOUD_V4, CLOUD_V6, INTERNET_ROUTER, PC_017},
};

use crate::kinds::{Kind, converse, kinds, list, policy};

/// How much dearer than its baseline a kind may be.
const GROWTH: f64 = 1.15;
/// Noise only adds: a kind that looks dearer is measured again before it is believed.
const ATTEMPTS: usize = 4;
/// Interleaved samples of one attempt; the least counts.
const SAMPLES: usize = 15;
/// Packets of a sample of what is dropped, in one run.
const REPEAT: u32 = 20_000;
/// Packets of a sample of what passes, one a run: the program may have changed the frame it passed on.
const SINGLE: usize = 2_000;
const SOON: Duration = Duration::from_secs(5);
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

#[test]
fn no_kind_of_packet_has_become_dearer() -> Result<()> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    let policies = Policies::new()?;
    let list = list();
    let text: String = list.iter().map(|prefix| format!("{prefix}\n")).collect();
    fs::write(policies.path().join("listed.txt"), format!("{text}{CLOUD_V4}\n{CLOUD_V6}\n"))?;
    let agent = Agent::start(&town.gateway, &Config::new(policies.text("speed", &policy())?))?;
    converse(&town)?;

    let kinds = kinds(&list)?;
    let bench = Bench::load(&town.gateway)?;
    let baseline = baseline_path();
    let write = std::env::var_os("SEKIMORI_SPEED_BASELINE").is_some_and(|what| what == "write");
    let known: BTreeMap<String, f64> = match fs::read_to_string(&baseline) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("reading {}", baseline.display()))?,
        Err(_) if write => BTreeMap::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", baseline.display())),
    };
    let mut least = Least::default();
    let mut dear = Vec::new();
    for _ in 0..ATTEMPTS {
        bench.measure(&kinds, &mut least)?;
        dear = kinds.iter().filter_map(|kind| verdict(kind, &least, &known)).collect();
        // Writing takes every attempt: a baseline that noise raised would let growth through.
        if dear.is_empty() && !write {
            break;
        }
    }
    let ratios: BTreeMap<String, f64> =
        kinds.iter().map(|kind| (kind.name.to_owned(), (least.ratio(kind) * 1000.0).round() / 1000.0)).collect();
    println!("{least:#?}\n{}", serde_json::to_string_pretty(&ratios)?);
    drop(agent);
    if write {
        return Ok(fs::write(&baseline, serde_json::to_string_pretty(&ratios)? + "\n")?);
    }
    assert!(
        dear.is_empty(),
        "dearer than {} says:\n  {}\nIf that is meant: SEKIMORI_SPEED_BASELINE=write cargo xtask test speed",
        baseline.display(),
        dear.join("\n  ")
    );
    Ok(())
}

/// Says so if a kind has become too dear, or is not known at all.
fn verdict(kind: &Kind, least: &Least, known: &BTreeMap<String, f64>) -> Option<String> {
    let now = least.ratio(kind);
    match known.get(kind.name) {
        None => Some(format!("{}: {now:.3}, and there is no baseline", kind.name)),
        Some(before) if now > before * GROWTH => Some(format!("{}: {now:.3}, was {before:.3}", kind.name)),
        Some(_) => None,
    }
}

/// Least ns seen: of kinds by name, of the yardstick and of a bare return by way of measuring.
#[derive(Debug, Default)]
struct Least {
    kinds: BTreeMap<&'static str, u64>,
    yardstick: [Option<u64>; 2],
    bare: [Option<u64>; 2],
}

impl Least {
    fn ratio(&self, kind: &Kind) -> f64 {
        let way = usize::from(kind.passes);
        let bare = self.bare[way].unwrap_or(0);
        let above = |ns: u64| ns.saturating_sub(bare).max(1) as f64;
        above(self.kinds.get(kind.name).copied().unwrap_or(u64::MAX)) / above(self.yardstick[way].unwrap_or(1))
    }
}

fn lower(least: &mut Option<u64>, ns: u64) {
    *least = Some(least.map_or(ns, |least| least.min(ns)));
}

/// The programs to run.
struct Bench<'a> {
    gateway: &'a Ns,
    ruler: Ebpf,
    ways: BTreeMap<&'static str, (Xdp, u32)>,
}

impl<'a> Bench<'a> {
    /// The attached programs of both interfaces, and the yardstick.
    fn load(gateway: &'a Ns) -> Result<Self> {
        let object = object()?;
        let mut ruler = EbpfLoader::new().load_file(&object).with_context(|| object.display().to_string())?;
        for name in ["ruler_yardstick", "ruler_drop"] {
            let program: &mut Xdp = ruler.program_mut(name).context("not a ruler")?.try_into()?;
            program.load()?;
        }
        let mut ways = BTreeMap::new();
        for interface in ["lan0", "wan0"] {
            ways.insert(interface, (attached(gateway, interface)?, link::index(gateway, interface)?));
        }
        Ok(Self { gateway, ruler, ways })
    }

    /// Takes interleaved samples of everything, keeping the least.
    fn measure(&self, kinds: &[Kind], least: &mut Least) -> Result<()> {
        self.gateway.run(|| {
            let mut cpu = CpuSet::new();
            cpu.set(std::thread::available_parallelism().map_or(0, |count| count.get() - 1))?;
            sched_setaffinity(Pid::from_raw(0), &cpu)?;
            let frame = &kinds.first().context("no kinds")?.frame;
            let (yardstick, bare) = (self.own("ruler_yardstick")?, self.own("ruler_drop")?);
            for _ in 0..SAMPLES {
                for (way, passes) in [false, true].into_iter().enumerate() {
                    lower(&mut least.bare[way], sample(bare, frame, None, passes, &[XDP_DROP])?);
                    lower(&mut least.yardstick[way], sample(yardstick, frame, None, passes, &[XDP_DROP])?);
                }
                for kind in kinds {
                    let (program, index) = self.ways.get(kind.interface).context("no such interface")?;
                    let expected: &[u32] = if kind.passes { &[XDP_PASS, XDP_REDIRECT] } else { &[XDP_DROP] };
                    let ns = sample(program, &kind.frame, Some(*index), kind.passes, expected)
                        .with_context(|| kind.name.to_owned())?;
                    let best = least.kinds.entry(kind.name).or_insert(ns);
                    *best = ns.min(*best);
                }
            }
            Ok(())
        })
    }

    fn own(&self, name: &str) -> Result<&Xdp> {
        Ok(self.ruler.program(name).context("not a ruler")?.try_into()?)
    }
}

/// ns a packet: of many in one run, or the middle one of many runs.
fn sample(program: &Xdp, frame: &[u8], interface: Option<u32>, single: bool, expected: &[u32]) -> Result<u64> {
    let mut context = Vec::new();
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    for word in [0, u32::try_from(frame.len())?, 0, interface.unwrap_or(0), 0, 0] {
        context.extend(word.to_ne_bytes());
    }
    let run = |repeat| -> Result<u64> {
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: interface.is_some().then_some(context.as_slice()),
            repeat,
            ..TestRunOptions::new()
        };
        let result = program.test_run(options)?;
        if !expected.contains(&result.return_value) {
            bail!("the program returned {}, expected one of {expected:?}", result.return_value);
        }
        Ok(u64::try_from(result.duration.as_nanos())?)
    };
    if !single {
        return run(REPEAT);
    }
    let mut times = (0..SINGLE).map(|_| run(1)).collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    times.get(SINGLE / 2).copied().context("no samples")
}

/// The XDP program that an interface has now.
fn attached(ns: &Ns, interface: &str) -> Result<Xdp> {
    let said = tool::must(ns.command("ip").args(["-json", "link", "show", "dev", interface]), SOON)?;
    let links: serde_json::Value = serde_json::from_str(&said.out)?;
    let id = links[0]["xdp"]["prog"]["id"].as_u64().with_context(|| format!("{interface} has no XDP program"))?;
    for program in loaded_programs() {
        // Programs come and go while they are listed.
        let Ok(program) = program else { continue };
        if u64::from(program.id()) == id {
            return Ok(Xdp::from_program_info(program, "way in".into(), XdpAttachType::Interface)?);
        }
    }
    bail!("{interface}: the kernel does not list program {id}")
}

fn baseline_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("speed.baseline.json")
}

/// The ruler's object: `SEKIMORI_RULER`, else the workspace's.
fn object() -> Result<PathBuf> {
    let path = std::env::var_os("SEKIMORI_RULER").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/sekimori-ruler.bpf.o"),
        PathBuf::from,
    );
    path.canonicalize().with_context(|| format!("{}: `cargo xtask build` builds it", path.display()))
}
