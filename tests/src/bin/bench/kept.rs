//! What was finished of a run, kept for `--resume`: a full run takes an hour, and a machine that is shared is rarely quiet for so
//! long. Stages that were noisy are not kept; figures of another commit, boot, seed or effort are not used.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    cell::Cell,
    environment,
    figure::Figure,
    options::Options,
    report,
    sampling::{Sampled, Stillness},
    stage::Stage,
    target::Bound,
};

/// Everything that is finished.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// What it was measured with.
    of: String,
    stages: BTreeMap<String, KeptStage>,
    others: BTreeMap<String, Vec<KeptFigure>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptStage {
    drift: f64,
    rounds: usize,
    at: Timestamp,
    cells: Vec<KeptCell>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptCell {
    kind: String,
    subject: String,
    samples: Vec<u64>,
    sent: u64,
    arrived: u64,
    void: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptFigure {
    group: String,
    subject: String,
    what: String,
    value: Option<f64>,
    unit: String,
    target: Option<(String, bool, f64)>,
    note: String,
}

impl Kept {
    /// What an earlier run of the same commit, boot, seed and effort left, if it is to be resumed; else nothing.
    pub(crate) fn open(options: &Options) -> Result<Self> {
        let of = format!("{} {:?} {}", environment::origin(), options.effort(), options.seed);
        let none = Self { of: of.clone(), ..Self::default() };
        if !options.resume {
            return Ok(none);
        }
        let path = path();
        let Ok(text) = fs::read_to_string(&path) else {
            println!("nothing to resume: {} cannot be read", path.display());
            return Ok(none);
        };
        let kept: Self = serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
        if kept.of == of {
            return Ok(kept);
        }
        println!("nothing to resume: {} is of {}, this is {of}", path.display(), kept.of);
        Ok(none)
    }

    /// A stage that was measured already.
    pub(crate) fn stage(&self, stage: &Stage) -> Option<Sampled> {
        let kept = self.stages.get(&stage.title())?;
        let cells = kept.cells.iter().filter_map(|cell| {
            let kind = *stage.kinds.iter().find(|kind| format!("{kind:?}") == cell.kind)?;
            Some(Cell {
                kind,
                prefixes: stage.prefixes,
                stage: stage.number,
                live: stage.live(),
                subject: lasting(&cell.subject),
                samples: cell.samples.clone(),
                sent: cell.sent,
                arrived: cell.arrived,
                void: cell.void.clone(),
            })
        });
        let stillness = Stillness { drift: kept.drift, rounds: kept.rounds, at: kept.at };
        Some(Sampled { cells: cells.collect(), stillness })
    }

    /// Keeps a stage, unless it was noisy.
    pub(crate) fn keep_stage(&mut self, stage: &Stage, sampled: &Sampled) -> Result<()> {
        if sampled.stillness.noisy() {
            return Ok(());
        }
        let cells = sampled.cells.iter().map(|cell| KeptCell {
            kind: format!("{:?}", cell.kind),
            subject: cell.subject.into(),
            samples: cell.samples.clone(),
            sent: cell.sent,
            arrived: cell.arrived,
            void: cell.void.clone(),
        });
        let Stillness { drift, rounds, at } = sampled.stillness;
        self.stages.insert(stage.title(), KeptStage { drift, rounds, at, cells: cells.collect() });
        self.write()
    }

    /// Another measurement that was finished already.
    pub(crate) fn other(&self, name: &str) -> Option<Vec<Figure>> {
        let figures = self.others.get(name)?.iter().map(|figure| {
            let bound = |least: bool, value| if least { Bound::Least(value) } else { Bound::Most(value) };
            Figure {
                group: lasting(&figure.group),
                subject: figure.subject.clone(),
                what: figure.what.clone(),
                value: figure.value,
                unit: lasting(&figure.unit),
                target: figure.target.as_ref().map(|(name, least, value)| (lasting(name), bound(*least, *value))),
                note: figure.note.clone(),
            }
        });
        Some(figures.collect())
    }

    /// Keeps another measurement.
    pub(crate) fn keep_other(&mut self, name: &str, figures: &[Figure]) -> Result<()> {
        let figures = figures.iter().map(|figure| KeptFigure {
            group: figure.group.into(),
            subject: figure.subject.clone(),
            what: figure.what.clone(),
            value: figure.value,
            unit: figure.unit.into(),
            target: figure.target.map(|(name, bound)| match bound {
                Bound::Most(value) => (name.into(), false, value),
                Bound::Least(value) => (name.into(), true, value),
            }),
            note: figure.note.clone(),
        });
        self.others.insert(name.into(), figures.collect());
        self.write()
    }

    fn write(&self) -> Result<()> {
        let path = path();
        fs::create_dir_all(report::folder())?;
        fs::write(&path, serde_json::to_vec(self)?).with_context(|| format!("writing {}", path.display()))
    }
}

fn path() -> PathBuf {
    report::folder().join("kept.json")
}

/// Names of subjects and units last as long as the run; there are a few dozen.
fn lasting(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::traffic::{FAR, TEN_K};

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        let stage = Stage::new(1_000, &[TEN_K], &[FAR, TEN_K.six()]);
        let cell = |kind, subject, samples: &[u64], void: Option<&str>| Cell {
            kind,
            prefixes: 1_000,
            stage: stage.number,
            live: stage.live(),
            subject,
            samples: samples.to_vec(),
            sent: 10,
            arrived: 9,
            void: void.map(Into::into),
        };
        let cells = vec![cell(FAR, "sekimori", &[3, 1, 2], None), cell(TEN_K.six(), "kernel", &[], Some("broken"))];
        let stillness = Stillness { drift: 0.07, rounds: 6, at: Timestamp::UNIX_EPOCH };
        let mut kept = Kept::default();
        let folder = tempfile::tempdir().unwrap();
        // SAFETY: this test alone reads and writes the variable.
        unsafe { std::env::set_var("SEKIMORI_BENCH", folder.path()) };
        kept.keep_stage(&stage, &Sampled { cells, stillness }).unwrap();
        let figure = Figure::new("apply", "nft", "time", 1.5, "s").target("T6", Bound::Least(0.5)).note("so");
        kept.keep_other("apply", std::slice::from_ref(&figure)).unwrap();
        let noisy = Stage::new(10, &[], &[FAR]);
        let loud = Stillness { drift: 0.09, ..stillness };
        kept.keep_stage(&noisy, &Sampled { cells: Vec::new(), stillness: loud }).unwrap();

        let kept: Kept = serde_json::from_str(&fs::read_to_string(path()).unwrap()).unwrap();
        let back = kept.stage(&stage).unwrap();
        assert_eq!(back.stillness, stillness);
        let shown: Vec<_> =
            back.cells.iter().map(|cell| (cell.kind, cell.subject, cell.min(), cell.delivered())).collect();
        assert_eq!(shown, [(FAR, "sekimori", Some(1), 0.9), (TEN_K.six(), "kernel", None, 0.9)]);
        assert!(kept.stage(&noisy).is_none(), "a noisy stage is measured again");
        let other = kept.other("apply").unwrap();
        assert_eq!((other[0].target, other[0].value, other[0].note.as_str()), (figure.target, Some(1.5), "so"));
        assert!(kept.other("cutoff").is_none());
    }
}
