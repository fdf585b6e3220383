//! What was asked for.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// How a run is done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Fewer sizes, rounds and kinds; nothing is written to the documentation.
    pub(crate) quick: bool,
    /// Only cells whose name starts so.
    pub(crate) cell: Option<String>,
    /// What an earlier run finished is not measured again.
    pub(crate) resume: bool,
    /// An earlier report.
    pub(crate) compare: Option<PathBuf>,
    /// Chooses prefixes, addresses and orders.
    pub(crate) seed: u64,
}

/// What everybody gets unless `--seed` says otherwise: reports are compared.
const SEED: u64 = 20_261_122;

impl Options {
    /// From the command line.
    pub(crate) fn read(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut options = Self { seed: SEED, ..Self::default() };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--resume" => options.resume = true,
                "--compare" => options.compare = Some(PathBuf::from(value()?)),
                "--seed" => options.seed = value()?.parse().context("--seed takes a number")?,
                cell if !cell.starts_with('-') && options.cell.is_none() => options.cell = Some(argument),
                _ => bail!(
                    "not understood: {argument}\nusage: bench [--quick] [--resume] [--seed NUMBER] [--compare OLD.json] [packets | CELL]"
                ),
            }
        }
        Ok(options)
    }

    /// Whether packets of this cell are asked for: by its name, or all of them as `packets`.
    pub(crate) fn wants_packets(&self, name: &str) -> bool {
        self.wants(name) || self.cell.as_deref() == Some("packets")
    }

    /// Whether a cell of this name is asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.cell.as_ref().is_none_or(|cell| name.starts_with(cell.as_str()))
    }

    /// Rounds, samples a round, packets a sample.
    pub(crate) fn effort(&self) -> (usize, usize, u32) {
        if self.quick { (3, 2, 50_000) } else { (5, 4, 100_000) }
    }

    /// Whether this run is the whole ruler, and may replace the published page.
    pub(crate) fn is_full(&self) -> bool {
        !self.quick && self.cell.is_none()
    }
}
