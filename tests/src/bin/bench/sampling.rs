//! Takes the samples of a stage: rounds in shuffled order, the floors first and last for the noise.

use anyhow::Result;

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
/// How far the floors of the first and the last round may be apart.
const NOISE: f64 = 0.08;
/// How often a stage is measured, all of it, until its floors stand still.
const ATTEMPTS: usize = 3;

/// What a stage gave.
#[derive(Debug)]
pub(crate) struct Sampled {
    pub(crate) cells: Vec<Cell>,
    /// How far the floors moved, worst of them, as a share.
    pub(crate) drift: f64,
    /// How often it was measured: what is judged is the last time alone.
    pub(crate) attempts: usize,
}

impl Sampled {
    pub(crate) fn noisy(&self) -> bool {
        self.drift > NOISE
    }
}

/// A stage, measured until its floors stand still. A subject with an entry in `broken` gets no figure.
pub(crate) fn sample(
    ruler: &mut Ruler,
    subjects: &mut [Box<dyn Subject>],
    broken: &[Option<String>],
    stage: &Stage,
    options: &Options,
) -> Result<Sampled> {
    let mut turn = 0;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let (cells, drift) = rounds(ruler, subjects, broken, stage, options, &mut turn)?;
        let sampled = Sampled { cells, drift, attempts };
        if !sampled.noisy() || attempts == ATTEMPTS {
            return Ok(sampled);
        }
        println!("floors moved by {:.1} %: measured again", sampled.drift * 100.0);
    }
}

/// All rounds of a stage, and how far the floors moved. `turn` counts the tries of samples.
fn rounds(
    ruler: &mut Ruler,
    subjects: &mut [Box<dyn Subject>],
    broken: &[Option<String>],
    stage: &Stage,
    options: &Options,
    turn: &mut u64,
) -> Result<(Vec<Cell>, f64)> {
    let (rounds, samples, count) = options.effort();
    let mut random = Random::new(options.seed ^ 0x6f72_6465_7200 ^ *turn);
    let mut cells: Vec<(usize, Cell)> = Vec::new();
    for (index, subject) in subjects.iter().enumerate() {
        for kind in stage.kinds.iter().filter(|kind| subject.takes(**kind)) {
            let mut cell = Cell::new(*kind, stage, subject.as_ref());
            cell.void = broken.get(index).cloned().flatten();
            cells.push((index, cell));
        }
    }
    let mut floors: Vec<(&'static str, Vec<u64>)> = vec![("xdp-drop", Vec::new()), ("xdp-fwd", Vec::new())];
    for _ in 0..rounds {
        let mut order: Vec<usize> = (0..cells.len()).collect();
        random.shuffle(&mut order);
        let mut lows: Vec<Option<u64>> = vec![None; floors.len()];
        for position in order {
            let Some((index, cell)) = cells.get_mut(position) else { continue };
            let Some(subject) = subjects.get_mut(*index) else { continue };
            for _ in 0..samples {
                if cell.void.is_some() {
                    break;
                }
                let ns = one(ruler, subject.as_mut(), cell, turn, count)?;
                let floor = floors.iter().position(|(name, _)| *name == cell.subject);
                if let (Some(floor), Some(ns), false) = (floor, ns, cell.kind.six || cell.kind.tagged) {
                    let low = lows[floor].map_or(ns, |low: u64| low.min(ns));
                    lows[floor] = Some(low);
                }
            }
        }
        for ((_, of), low) in floors.iter_mut().zip(lows) {
            of.extend(low);
        }
    }
    let drift = floors.iter().filter_map(|(_, lows)| drift(lows)).fold(0.0, f64::max);
    Ok((cells.into_iter().map(|(_, cell)| cell).collect(), drift))
}

/// How far the last round's minimum is from the first's.
fn drift(lows: &[u64]) -> Option<f64> {
    let (first, last) = (*lows.first()? as f64, *lows.last()? as f64);
    Some((last - first).abs() / first.min(last).max(1.0))
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
        cell.samples.push(ns);
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
    use super::{drift, stolen_of};

    #[test]
    fn drift_is_the_same_both_ways() {
        assert_eq!(drift(&[100, 300, 110]), Some(0.1));
        assert_eq!(drift(&[110, 1, 100]), Some(0.1));
        assert_eq!(drift(&[]), None);
    }

    #[test]
    fn stolen_time_is_the_eighth_figure_of_the_cpu() {
        let stat =
            "cpu  9 9 9 9 9 9 9 99 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu1 1 2 3 4 5 6 7 18 0 0\ncpu10 0 0 0 0 0 0 0 1\n";
        assert_eq!([0, 1, 2, 10].map(|cpu| stolen_of(stat, cpu)), [8, 18, 0, 1]);
    }
}
