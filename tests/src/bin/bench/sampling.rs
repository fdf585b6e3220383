//! Takes the samples of a stage: rounds in shuffled order, until enough of them agree on the floors.

use anyhow::Result;
use jiff::Timestamp;

use crate::{
    cell::Cell,
    options::Options,
    random::Random,
    ruler::{NEW_FLOWS, Ruler},
    stage::Stage,
    subject::Subject,
    traffic::{Fate, Kind, Way},
};

/// How often a sample in which packets went astray is taken again.
const AGAIN: usize = 3;
/// How often a sample during which the host took the CPU away is taken again.
const STOLEN_AGAIN: usize = 5;
/// How far the floors of the rounds of a stage may be apart.
const NOISE: f64 = 0.08;
/// How often the rounds of a stage are taken at most, for as many as are needed to agree.
const PATIENCE: usize = 3;
/// The programs that do the least on each path: what moves them is the machine.
const FLOORS: [&str; 2] = ["xdp-drop", "xdp-fwd"];

/// What a stage gave.
#[derive(Debug)]
pub(crate) struct Sampled {
    pub(crate) cells: Vec<Cell>,
    pub(crate) stillness: Stillness,
}

/// How still the machine stood.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stillness {
    /// How far the floors of the rounds that count are apart, the worse of the two, as a share.
    pub(crate) drift: f64,
    /// Rounds that were taken, those that do not count included.
    pub(crate) rounds: usize,
    /// When the last of them ended.
    pub(crate) at: Timestamp,
}

impl Stillness {
    pub(crate) fn noisy(self) -> bool {
        self.drift > NOISE
    }
}

/// One turn of every cell.
struct Round {
    /// The least ns of each floor.
    floors: [u64; FLOORS.len()],
    /// The samples of each cell.
    samples: Vec<Vec<u64>>,
}

/// A stage: rounds until enough of them agree on both floors. What the other rounds gave is thrown away unseen, whoever it would
/// have served: a round is chosen by its floors alone. A subject with an entry in `broken` gets no figure.
pub(crate) fn sample(
    ruler: &mut Ruler,
    subjects: &mut [Box<dyn Subject>],
    broken: &[Option<String>],
    stage: &Stage,
    options: &Options,
) -> Result<Sampled> {
    let (needed, ..) = options.effort();
    let mut random = Random::new(options.seed ^ 0x6f72_6465_7200);
    let mut cells: Vec<(usize, Cell)> = Vec::new();
    for (index, subject) in subjects.iter().enumerate() {
        for kind in stage.kinds.iter().filter(|kind| subject.takes(**kind)) {
            let mut cell = Cell::new(*kind, stage, subject.as_ref());
            cell.void = broken.get(index).cloned().flatten();
            cells.push((index, cell));
        }
    }
    let mut rounds: Vec<Round> = Vec::new();
    let mut turn = 0;
    let chosen = loop {
        rounds.push(round(ruler, subjects, &mut cells, &mut random, options, &mut turn)?);
        let chosen = still(&rounds.iter().map(|round| round.floors).collect::<Vec<_>>());
        if chosen.len() >= needed || rounds.len() >= needed * PATIENCE {
            break chosen;
        }
        if rounds.len() >= needed {
            println!("{} of {} rounds agree on the floors: one more", chosen.len(), rounds.len());
        }
    };
    // Too few that agree: all of them count, and say so by their drift.
    let counted: Vec<&Round> = if chosen.len() >= needed {
        chosen.iter().filter_map(|index| rounds.get(*index)).collect()
    } else {
        rounds.iter().collect()
    };
    for round in &counted {
        for ((_, cell), samples) in cells.iter_mut().zip(&round.samples) {
            cell.samples.extend(samples);
        }
    }
    let drift = drift(&counted.iter().map(|round| round.floors).collect::<Vec<_>>());
    let stillness = Stillness { drift, rounds: rounds.len(), at: Timestamp::now() };
    Ok(Sampled { cells: cells.into_iter().map(|(_, cell)| cell).collect(), stillness })
}

/// One round in an order of its own. `turn` counts the tries of samples.
fn round(
    ruler: &mut Ruler,
    subjects: &mut [Box<dyn Subject>],
    cells: &mut [(usize, Cell)],
    random: &mut Random,
    options: &Options,
    turn: &mut u64,
) -> Result<Round> {
    let (_, samples, count) = options.effort();
    let mut order: Vec<usize> = (0..cells.len()).collect();
    random.shuffle(&mut order);
    let mut round = Round { floors: [u64::MAX; FLOORS.len()], samples: vec![Vec::new(); cells.len()] };
    for position in order {
        let Some((index, cell)) = cells.get_mut(position) else { continue };
        let Some(subject) = subjects.get_mut(*index) else { continue };
        for _ in 0..samples {
            if cell.void.is_some() {
                break;
            }
            let Some(ns) = one(ruler, subject.as_mut(), cell, turn, count)? else { continue };
            if let Some(of) = round.samples.get_mut(position) {
                of.push(ns);
            }
            let floor = FLOORS.iter().position(|name| *name == cell.subject);
            if let (Some(floor), false) = (floor, cell.kind.six || cell.kind.tagged) {
                round.floors[floor] = round.floors[floor].min(ns);
            }
        }
    }
    Ok(round)
}

/// The most rounds of which no two are further apart than the noise allows, on either floor; of as many, the quickest. A floor
/// that was not measured agrees with itself.
fn still(floors: &[[u64; FLOORS.len()]]) -> Vec<usize> {
    let near = |least: u64, floor: u64| floor >= least && apart(least, floor) <= NOISE;
    let mut best: Vec<usize> = Vec::new();
    let mut quickest = u64::MAX;
    for [drop, _] in floors {
        for [_, forward] in floors {
            let together: Vec<usize> = (0..floors.len())
                .filter(|index| near(*drop, floors[*index][0]) && near(*forward, floors[*index][1]))
                .collect();
            let pace = drop.saturating_add(*forward);
            if (together.len(), std::cmp::Reverse(pace)) > (best.len(), std::cmp::Reverse(quickest)) {
                (best, quickest) = (together, pace);
            }
        }
    }
    best
}

/// How much more the one is than the other, as a share.
fn apart(less: u64, more: u64) -> f64 {
    more.saturating_sub(less) as f64 / less.max(1) as f64
}

/// How far the floors of some rounds are apart, the worse of the two.
fn drift(floors: &[[u64; FLOORS.len()]]) -> f64 {
    (0..FLOORS.len())
        .filter_map(|floor| {
            let of = || floors.iter().map(|round| round[floor]);
            Some(apart(of().min()?, of().max()?))
        })
        .fold(0.0, f64::max)
}

/// One sample. Packets that went astray are a reason to take it again, and in the end to give no figure; a CPU that the host took
/// away meanwhile is one to take it again, and in the end to let it count: the minimum does not mind.
fn one(
    ruler: &mut Ruler,
    subject: &mut dyn Subject,
    cell: &mut Cell,
    turn: &mut u64,
    count: u32,
) -> Result<Option<u64>> {
    let kind = cell.kind;
    let (mut astray, mut stolen) = (0, 0);
    loop {
        *turn += 1;
        let first = first_packet(kind, *turn, count);
        let plan = kind.plan(subject.gateway())?;
        ruler.delivered(subject.gateway())?;
        let before = steal(ruler.cpu);
        let ns = ruler.send(&plan, first, count)?;
        let expected = if kind.fate == Fate::Drop && !subject.forwards_everything() { 0 } else { u64::from(count) };
        let arrived = ruler.settled(subject.gateway(), kind.way(), expected)?;
        if kind.new {
            subject.forget()?;
        }
        let whole = arrived == expected;
        if !whole && astray + 1 < AGAIN {
            astray += 1;
            continue;
        }
        if whole && stolen < STOLEN_AGAIN && steal(ruler.cpu) != before {
            stolen += 1;
            continue;
        }
        cell.sent += u64::from(count);
        cell.arrived += arrived;
        if !whole {
            cell.void = Some(format!("{arrived} of {count} packets arrived, {expected} should have"));
            return Ok(None);
        }
        return Ok(Some(ns));
    }
}

/// How long the host has kept this CPU from us, in ticks (`proc_stat(5)`, the eighth figure); 0 where it does not say.
fn steal(cpu: usize) -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stolen_of(&stat, cpu)
}

fn stolen_of(stat: &str, cpu: usize) -> u64 {
    let name = format!("cpu{cpu}");
    let figures =
        stat.lines().map(str::split_whitespace).find_map(|mut words| (words.next()? == name).then_some(words));
    figures.and_then(|mut figures| figures.nth(7)?.parse().ok()).unwrap_or(0)
}

/// Every sample goes on where another left off, so that no cache holds its addresses; first packets of new flows stay
/// clear of the flows that were opened.
fn first_packet(kind: Kind, turn: u64, count: u32) -> u64 {
    if kind.new {
        return NEW_FLOWS + (turn * u64::from(count)) % (250 << 20);
    }
    (turn * u64::from(count)) % u64::from(kind.period())
}

/// The side on which a kind arrives.
pub(crate) fn side(way: Way, delivered: crate::ruler::Delivered) -> u64 {
    match way {
        Way::Out => delivered.wan,
        Way::In => delivered.lan,
    }
}

#[cfg(test)]
mod tests {
    use super::{drift, still, stolen_of};

    #[test]
    fn rounds_that_agree_on_both_floors_are_chosen_wherever_they_stand() {
        let floors = [[100, 300], [150, 300], [104, 310], [99, 400], [107, 300]];
        assert_eq!(still(&floors), [0, 2, 4]);
        // The quickest alone agrees with nobody: what most say counts.
        assert_eq!(still(&[[50, 150], [100, 300], [104, 310]]), [1, 2]);
        // A chain of small steps is no agreement.
        assert_eq!(still(&[[100, 300], [107, 300], [114, 300]]).len(), 2);
        // As many here as there: the quicker ones.
        assert_eq!(still(&[[200, 300], [100, 300]]), [1]);
        assert_eq!(still(&[[u64::MAX, 300], [u64::MAX, 310]]), [0, 1]);
        assert!(still(&[]).is_empty());
    }

    #[test]
    fn drift_is_the_worse_of_the_two() {
        assert_eq!(drift(&[[100, 300], [110, 300], [105, 390]]), 0.3);
        assert_eq!(drift(&[]), 0.0);
    }

    #[test]
    fn stolen_time_is_the_eighth_figure_of_the_cpu() {
        let stat =
            "cpu  9 9 9 9 9 9 9 99 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu1 1 2 3 4 5 6 7 18 0 0\ncpu10 0 0 0 0 0 0 0 1\n";
        assert_eq!([0, 1, 2, 10].map(|cpu| stolen_of(stat, cpu)), [8, 18, 0, 1]);
    }
}
