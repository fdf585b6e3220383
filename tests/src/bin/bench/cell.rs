//! One measured figure: a subject under a kind of traffic with a list.

use std::collections::BTreeMap;

use crate::{subject::Subject, traffic::Kind};

/// All samples of one subject in one cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) kind: Kind,
    /// Prefixes of the list.
    pub(crate) prefixes: usize,
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
    pub(crate) fn new(kind: Kind, prefixes: usize, subject: &dyn Subject) -> Self {
        let subject = subject.name();
        Self { kind, prefixes, subject, samples: Vec::new(), sent: 0, arrived: 0, void: None }
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
        format!("{}{flows}, {} prefixes, {}", self.kind.name, short(self.prefixes), self.kind.family())
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
    /// The least ns of a subject in a cell.
    pub(crate) fn ns(&self, kind: Kind, prefixes: usize, subject: &str) -> Option<f64> {
        self.0
            .iter()
            .find(|cell| cell.kind == kind && cell.prefixes == prefixes && cell.subject == subject)
            .and_then(Cell::min)
            .map(|ns| ns as f64)
    }

    /// A cell's least ns as a multiple of each other subject's in the same cell.
    pub(crate) fn ratios(&self, of: &Cell) -> BTreeMap<&'static str, f64> {
        let Some(own) = of.min() else { return BTreeMap::new() };
        self.0
            .iter()
            .filter(|cell| cell.kind == of.kind && cell.prefixes == of.prefixes && cell.subject != of.subject)
            .filter_map(|cell| Some((cell.subject, own as f64 / cell.min()?.max(1) as f64)))
            .collect()
    }
}
