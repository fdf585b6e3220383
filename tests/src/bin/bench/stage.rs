//! What is measured together: one list, one set of live flows, some kinds of traffic.

use crate::{
    options::Options,
    traffic::{FAR, FRAGMENTS, Kind, MILLION, NEAR, NEW, ONE, TEN_K, TEN_K_TCP},
};

/// One list, loaded into every subject.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) prefixes: usize,
    pub(crate) six: bool,
    /// Conversations opened before anything is measured.
    pub(crate) open: Vec<Kind>,
    pub(crate) kinds: Vec<Kind>,
    /// Also the subjects that exist for a comparison of Sekimori with itself.
    pub(crate) variants: bool,
}

impl Stage {
    fn new(prefixes: usize, open: &[Kind], kinds: &[Kind]) -> Self {
        let six = kinds.iter().any(|kind| kind.six);
        Self { prefixes, six, open: open.to_vec(), kinds: kinds.to_vec(), variants: false }
    }

    /// What makes it a stage of its own.
    pub(crate) fn title(&self) -> String {
        let flows: usize = self.open.iter().map(|kind| kind.flows as usize).sum();
        let six = if self.six { " IPv6" } else { "" };
        format!("{}{six} prefixes, {} live flows", crate::cell::short(self.prefixes), crate::cell::short(flows))
    }
}

/// Everything a run measures, in order.
pub(crate) fn plan(options: &Options) -> Vec<Stage> {
    let everyday = [FAR, NEAR, ONE, TEN_K, TEN_K_TCP];
    let open = [TEN_K, TEN_K_TCP];
    let six = [FAR.six(), NEAR.six(), TEN_K.six()];
    let mut stages = Vec::new();
    if options.quick {
        let mut base = Stage::new(1_000, &open, &everyday);
        base.kinds.extend([FRAGMENTS, NEW, FAR.tagged()]);
        base.variants = true;
        stages.push(base);
        stages.push(Stage::new(1_000, &[TEN_K.six()], &six));
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
            stages.push(Stage::new(size, &[TEN_K.six()], &six));
        }
    }
    for stage in &mut stages {
        stage.kinds.retain(|kind| options.wants(&crate::cell::Cell::slug(*kind, stage.prefixes)));
    }
    stages.retain(|stage| !stage.kinds.is_empty());
    stages
}
