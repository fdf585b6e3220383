//! A run from start to end.

use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{
    apply, attacks,
    cell::Cells,
    conntrack::Conntrack,
    cores, cutoff, environment, figure,
    figure::Figure,
    gateway::Gateway,
    goodput, idle,
    kept::Kept,
    lists::{List, Place},
    opening,
    options::Options,
    ruler::Ruler,
    sampling,
    sampling::{Sampled, Stillness},
    stage,
    stage::Stage,
    subject::{Floor, Ipset, Nft, NftHook, Plain, Policy, Sekimori, Subject, XdpFilter},
    table,
    traffic::Fate,
};

/// What was found out.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) cells: Cells,
    /// Stage and how still the machine stood meanwhile.
    pub(crate) stillness: Vec<(String, Stillness)>,
    pub(crate) noisy: bool,
    /// Everything that is not ns a packet.
    pub(crate) figures: Vec<Figure>,
    /// What could not be measured, and why.
    pub(crate) skipped: Vec<String>,
}

/// Measures everything that was asked for.
pub(crate) fn run(options: &Options) -> Result<(Value, Outcome)> {
    let mut outcome = Outcome::default();
    let stages = stage::plan(options);
    let most = stages.iter().flat_map(|stage| &stage.open).map(|kind| kind.flows).max().unwrap_or(0);
    let _conntrack = Conntrack::widen(u64::from(most.max(1 << 18)).next_power_of_two())?;
    let env = environment::describe(options, Ruler::default_cpu())?;
    println!("{}", serde_json::to_string_pretty(&env)?);
    let mut kept = Kept::open(options)?;
    for stage in &stages {
        println!("\n## {}\n", stage.title());
        let sampled = match kept.stage(stage) {
            Some(sampled) => {
                println!("measured at {}", sampled.stillness.at);
                sampled
            }
            None => {
                let sampled =
                    measure(stage, options, &mut outcome).with_context(|| format!("measuring {}", stage.title()))?;
                kept.keep_stage(stage, &sampled)?;
                sampled
            }
        };
        note(stage, sampled, &mut outcome);
    }
    others(options, &mut kept, &mut outcome)?;
    Ok((env, outcome))
}

/// When something is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// In a full run, or by name.
    Full,
    /// By name only.
    Asked,
}

/// A measurement that is not ns a packet.
type Other = (&'static str, When, fn(&Options) -> Result<Vec<Figure>>);

/// The rest: name, when, how.
const OTHERS: [Other; 7] = [
    ("apply", When::Always, |options| {
        apply::measure(options, if options.quick && options.cell.is_none() { 100_000 } else { 1_000_000 })
    }),
    ("agent", When::Always, idle::scrapes),
    ("cutoff", When::Full, cutoff::measure),
    ("goodput", When::Full, goodput::measure),
    ("cores", When::Full, cores::measure),
    ("attacks", When::Full, attacks::measure),
    ("paranoid", When::Asked, attacks::paranoid),
];

fn others(options: &Options, kept: &mut Kept, outcome: &mut Outcome) -> Result<()> {
    for (name, when, measure) in OTHERS {
        let unasked = match when {
            When::Always => true,
            When::Full => !options.quick,
            When::Asked => false,
        };
        if !options.wants(name) || options.cell.is_none() && !unasked {
            continue;
        }
        println!("\n## {name}\n");
        let figures = match kept.other(name) {
            Some(figures) => figures,
            None => match measure(options) {
                Ok(figures) => {
                    kept.keep_other(name, &figures)?;
                    figures
                }
                Err(error) => {
                    skip(outcome, format!("{name}: {error:#}"));
                    continue;
                }
            },
        };
        for group in figure::groups(&figures) {
            println!("{}", figure::render(&figures, group));
        }
        outcome.figures.extend(figures);
    }
    Ok(())
}

/// One stage with subjects of its own: what an earlier list left in caches and tables is gone.
fn measure(stage: &Stage, options: &Options, outcome: &mut Outcome) -> Result<Sampled> {
    let start = Instant::now();
    let list = List::new(stage.prefixes, stage.six, options.seed);
    let mut ruler = Ruler::load()?;
    let mut subjects = subjects(stage, &list, &mut ruler, outcome)?;
    for place in [Place::Listed, Place::Near, Place::Far] {
        ruler.peers(place, &list.peers(place, false, options.seed)?)?;
        if stage.six {
            ruler.peers(place, &list.peers(place, true, options.seed)?)?;
        }
    }
    let mut broken: Vec<Option<String>> = Vec::new();
    for subject in &mut subjects {
        let before = Instant::now();
        let ready = prepare(subject.as_mut(), stage, &list, &mut ruler);
        println!("{:18} loaded and ready in {:.1} s", subject.name(), before.elapsed().as_secs_f64());
        broken.push(ready.err().map(|error| format!("{error:#}")));
    }
    let sampled = sampling::sample(&mut ruler, &mut subjects, &broken, stage, options)?;
    println!("({:.0} s)", start.elapsed().as_secs_f64());
    Ok(sampled)
}

/// Shows a stage and takes it into the outcome.
fn note(stage: &Stage, sampled: Sampled, outcome: &mut Outcome) {
    let Stillness { drift, rounds, .. } = sampled.stillness;
    println!("floors of the rounds that count: {:.1} % apart; {rounds} rounds were taken", drift * 100.0);
    outcome.noisy |= sampled.stillness.noisy();
    outcome.stillness.push((stage.title(), sampled.stillness));
    let cells = Cells(sampled.cells);
    for (number, title) in table::titles(&cells) {
        println!("\n{}", table::render(&cells, number, &title));
    }
    outcome.cells.0.extend(cells.0);
}

fn prepare(subject: &mut dyn Subject, stage: &Stage, list: &List, ruler: &mut Ruler) -> Result<()> {
    subject.load(list, ruler).context("loading the list")?;
    for kind in &stage.open {
        if subject.takes(*kind) {
            opening::open(ruler, subject, *kind).context("opening flows")?;
        }
    }
    Ok(())
}

/// A subject that cannot be set up at all is left out, and said to be.
fn subjects(stage: &Stage, list: &List, ruler: &mut Ruler, outcome: &mut Outcome) -> Result<Vec<Box<dyn Subject>>> {
    let flows = stage.live();
    let mut subjects: Vec<Box<dyn Subject>> = Vec::new();
    let mut number = 0;
    let mut gateway = |ruler: &mut Ruler, name: &str| -> Result<Gateway> {
        let gateway = Gateway::new(&ruler.ns, name, number)?;
        number += 1;
        ruler.listen(&gateway)?;
        Ok(gateway)
    };
    for fate in [Fate::Drop, Fate::Forward] {
        let own = gateway(ruler, "floor")?;
        subjects.push(Box::new(Floor::new(own, fate, ruler)?));
    }
    subjects.push(Box::new(Plain(gateway(ruler, "kernel")?)));
    subjects.push(Box::new(Nft::new(gateway(ruler, "nft-ct")?, NftHook::Conntrack)?));
    subjects.push(Box::new(Nft::new(gateway(ruler, "nft-in")?, NftHook::Ingress)?));
    subjects.push(Box::new(Ipset::new(gateway(ruler, "ipset")?)?));
    let own = gateway(ruler, "filter")?;
    match XdpFilter::new(own, list) {
        Ok(subject) => subjects.push(Box::new(subject)),
        Err(error) => skip(outcome, format!("xdp-filter: {error:#}")),
    }
    let mut policies = vec![Policy::Listed, Policy::AnyHttps];
    if stage.variants {
        policies.extend([Policy::Watched, Policy::Tagged, Policy::Rules(16), Policy::Rules(4096)]);
    }
    policies.retain(|policy| stage.kinds.iter().any(|kind| policy.takes(*kind)));
    for policy in policies {
        let own = gateway(ruler, "sekimori")?;
        match Sekimori::new(own, policy, flows) {
            Ok(subject) => subjects.push(Box::new(subject)),
            Err(error) => skip(outcome, format!("sekimori with {policy:?}: {error:#}")),
        }
    }
    Ok(subjects)
}

fn skip(outcome: &mut Outcome, why: String) {
    // An agent that does not start says a great deal; its first faults are what matters.
    let why = why.lines().take(3).collect::<Vec<_>>().join(" / ");
    println!("left out: {why}");
    outcome.skipped.push(why);
}
