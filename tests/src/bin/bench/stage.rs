//! What is measured together: one list, one set of live flows, some kinds of traffic.

use crate::{
    options::Options,
    traffic::{FAR, FRAGMENTS, Kind, MILLION, NEAR, NEW, ONE, TEN_K, TEN_K_TCP},
};

/// One list, loaded into every subject.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// Its place in the run.
    pub(crate) number: usize,
    /// Prefixes of each family.
    pub(crate) prefixes: usize,
    pub(crate) six: bool,
    /// Conversations opened before anything is measured.
    pub(crate) open: Vec<Kind>,
    pub(crate) kinds: Vec<Kind>,
    /// Also the subjects that exist for a comparison of Sekimori with itself.
    pub(crate) variants: bool,
}

impl Stage {
    /// A stage with a list of so many prefixes.
    pub(crate) fn new(prefixes: usize, open: &[Kind], kinds: &[Kind]) -> Self {
        let six = kinds.iter().any(|kind| kind.six);
        Self { number: 0, prefixes, six, open: open.to_vec(), kinds: kinds.to_vec(), variants: false }
    }

    /// Flows opened for it.
    pub(crate) fn live(&self) -> u32 {
        self.open.iter().map(|kind| kind.flows).sum()
    }

    /// What makes it a stage of its own.
    pub(crate) fn title(&self) -> String {
        let six = if self.six { " of each family" } else { "" };
        format!(
            "{} prefixes{six}, {} flows open",
            crate::cell::short(self.prefixes),
            crate::cell::short(self.live() as usize)
        )
    }
}

/// Everything a run measures, in order.
pub(crate) fn plan(options: &Options) -> Vec<Stage> {
    let everyday = [FAR, NEAR, ONE, TEN_K, TEN_K_TCP];
    let open = [TEN_K, TEN_K_TCP];
    let both = [FAR, FAR.six(), NEAR, NEAR.six(), TEN_K, TEN_K.six()];
    let mut stages = Vec::new();
    if options.quick {
        let mut base = Stage::new(1_000, &open, &everyday);
        base.kinds.extend([FRAGMENTS, NEW, FAR.tagged()]);
        base.variants = true;
        stages.push(base);
        stages.push(Stage::new(1_000, &[TEN_K, TEN_K.six()], &both));
        stages.push(Stage::new(100_000, &open, &[FAR, NEAR, TEN_K, NEW]));
        // nft alone takes longer to load it than a quick run may last: by name only.
        if options.cell.is_some() {
            stages.push(Stage::new(1_000_000, &open, &[FAR, NEAR, TEN_K, NEW]));
        }
    } else {
        for size in [10, 1_000, 100_000, 1_000_000] {
            let mut stage = Stage::new(size, &open, &everyday);
            if size == 1_000 {
                stage.kinds.extend([FRAGMENTS, FAR.tagged(), NEAR.tagged()]);
                stage.variants = true;
            }
            if size == 1_000 || size == 1_000_000 {
                stage.kinds.push(NEW);
            }
            stages.push(stage);
        }
        for size in [1_000, 1_000_000] {
            stages.push(Stage::new(size, &[MILLION], &[MILLION, TEN_K, FAR, NEAR]));
            stages.push(Stage::new(size, &[TEN_K, TEN_K.six()], &both));
        }
    }
    for stage in &mut stages {
        stage.kinds.retain(|kind| options.wants_packets(&crate::cell::Cell::slug(*kind, stage.prefixes)));
    }
    stages.retain(|stage| !stage.kinds.is_empty());
    for (number, stage) in stages.iter_mut().enumerate() {
        stage.number = number;
        let kinds = stage.kinds.clone();
        // One family asked for by name needs no list of the other.
        stage.six = kinds.iter().any(|kind| kind.six);
        stage.open.retain(|open| {
            kinds.iter().any(|kind| kind.flows > 0 && kind.six == open.six) || open.flows == MILLION.flows
        });
    }
    stages
}
