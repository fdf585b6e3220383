//! One measured figure: a subject under a kind of traffic with a list.

use std::collections::BTreeMap;

use crate::{stage::Stage, subject::Subject, traffic::Kind};

/// All samples of one subject in one cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) kind: Kind,
    /// Prefixes of the list, of each family.
    pub(crate) prefixes: usize,
    /// Number of the stage: what was measured together.
    pub(crate) stage: usize,
    /// Flows that were open meanwhile.
    pub(crate) live: u32,
    pub(crate) subject: &'static str,
    /// ns a packet, one a sample.
    pub(crate) samples: Vec<u64>,
    pub(crate) sent: u64,
    /// How many arrived on the other side.
    pub(crate) arrived: u64,
    /// Why there is no figure.
    pub(crate) void: Option<String>,
}

impl Cell {
    pub(crate) fn new(kind: Kind, stage: &Stage, subject: &dyn Subject) -> Self {
        Self {
            kind,
            prefixes: stage.prefixes,
            stage: stage.number,
            live: stage.live(),
            subject: subject.name(),
            samples: Vec::new(),
            sent: 0,
            arrived: 0,
            void: None,
        }
    }

    /// ns a packet, the least of all samples; `None` where the work was not done.
    pub(crate) fn min(&self) -> Option<u64> {
        if self.void.is_some() { None } else { self.samples.iter().min().copied() }
    }

    /// The middle one.
    pub(crate) fn median(&self) -> Option<u64> {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        if self.void.is_some() { None } else { sorted.get(sorted.len() / 2).copied() }
    }

    /// The worst.
    pub(crate) fn max(&self) -> Option<u64> {
        if self.void.is_some() { None } else { self.samples.iter().max().copied() }
    }

    /// Share of the packets that arrived.
    pub(crate) fn delivered(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { self.arrived as f64 / self.sent as f64 }
    }

    /// What its row is called: `drop far miss, 1000 prefixes`.
    pub(crate) fn title(&self) -> String {
        let flows = match self.kind.flows {
            0 | u32::MAX => String::new(),
            1 => ", one flow".into(),
            flows => format!(", {} flows", short(flows as usize)),
        };
        let (prefixes, live) = (short(self.prefixes), short(self.live as usize));
        format!("{}{flows}, {prefixes} prefixes, {}, {live} flows open", self.kind.name, self.kind.family())
    }

    /// Name to pick it by: `drop-far-miss/1k/ipv4`.
    pub(crate) fn slug(kind: Kind, prefixes: usize) -> String {
        let flows = match kind.flows {
            0 | u32::MAX => String::new(),
            flows => format!("/{}", short(flows as usize)),
        };
        format!("{}{flows}/{}/{}", kind.name.replace(' ', "-"), short(prefixes), kind.family())
    }
}

/// `10`, `1k`, `1M`.
pub(crate) fn short(number: usize) -> String {
    match number {
        number if number >= 1_000_000 && number % 1_000_000 == 0 => format!("{}M", number / 1_000_000),
        number if number >= 1_000 && number % 1_000 == 0 => format!("{}k", number / 1_000),
        number => number.to_string(),
    }
}

/// Every cell of a run.
#[derive(Debug, Default)]
pub(crate) struct Cells(pub(crate) Vec<Cell>);

impl Cells {
    /// The least ns of a subject in a cell of a stage.
    pub(crate) fn ns(&self, stage: usize, (kind, prefixes, subject): Place) -> Option<f64> {
        self.0
            .iter()
            .find(|cell| {
                cell.stage == stage && cell.kind == kind && cell.prefixes == prefixes && cell.subject == subject
            })
            .and_then(Cell::min)
            .map(|ns| ns as f64)
    }

    /// Stages by the flows that were open, fewest first.
    pub(crate) fn stages(&self) -> Vec<usize> {
        let mut stages: Vec<_> = self.0.iter().map(|cell| (cell.live, cell.stage)).collect();
        stages.sort_unstable();
        stages.dedup();
        stages.into_iter().map(|(_, stage)| stage).collect()
    }

    /// A cell's least ns as a multiple of each other subject's in the same cell.
    pub(crate) fn ratios(&self, of: &Cell) -> BTreeMap<&'static str, f64> {
        let Some(own) = of.min() else { return BTreeMap::new() };
        self.0
            .iter()
            .filter(|cell| cell.kind == of.kind && cell.stage == of.stage && cell.subject != of.subject)
            .filter_map(|cell| Some((cell.subject, own as f64 / cell.min()?.max(1) as f64)))
            .collect()
    }
}

/// What a cell is about: the traffic, the prefixes, the subject.
pub(crate) type Place = (Kind, usize, &'static str);
