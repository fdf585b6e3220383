//! The targets, judged from what was measured and from nothing else.

use crate::{
    bench::Outcome,
    cell::{Cells, Place, short},
    traffic::{FAR, Kind, MILLION, NEAR, NEW, TEN_K, TEN_K_TCP},
};

/// How a target went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    Met(f64),
    Missed(f64),
    /// Something it needs was not measured in this run.
    Unmeasured,
}

/// One line of the table of targets.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `T1` and so on.
    pub(crate) name: &'static str,
    /// What is compared, in words.
    pub(crate) what: String,
    /// The bound, as it is written: `≤ 1.5`.
    pub(crate) bound: Bound,
    pub(crate) verdict: Verdict,
}

/// A limit of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    Most(f64),
    Least(f64),
}

impl Bound {
    /// Judges a figure.
    pub(crate) fn judge(self, figure: Option<f64>) -> Verdict {
        match (self, figure) {
            (_, None) => Verdict::Unmeasured,
            (Self::Most(most), Some(figure)) if figure <= most => Verdict::Met(figure),
            (Self::Least(least), Some(figure)) if figure >= least => Verdict::Met(figure),
            (_, Some(figure)) => Verdict::Missed(figure),
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Most(most) => write!(formatter, "≤ {most:.4}"),
            Self::Least(least) => write!(formatter, "≥ {least:.2}"),
        }
    }
}

const OURS: &str = "sekimori";
const WITH_HTTPS: &str = "sekimori any:443";
const SET: &str = "nft set + ct";
const INGRESS: &str = "nft ingress";
const KERNEL: &str = "kernel";
const SIZES: [usize; 4] = [10, 1_000, 100_000, 1_000_000];
const MILLION_PREFIXES: usize = 1_000_000;

/// Every target of packets, then those of other measurements.
pub(crate) fn judge(outcome: &Outcome) -> Vec<Target> {
    let mut judge = Judge { cells: &outcome.cells, targets: Vec::new() };
    judge.drops();
    judge.forwards();
    judge.alike();
    let mut targets = judge.targets;
    for figure in &outcome.figures {
        let Some((name, bound)) = figure.target else { continue };
        // A command of another subject may be measured under the same words.
        let what =
            if figure.subject == OURS { figure.what.clone() } else { format!("{}: {}", figure.subject, figure.what) };
        targets.push(Target { name, what, bound, verdict: bound.judge(figure.value) });
    }
    // Numbers in order: T2 before T10.
    targets.sort_by_key(|target| target.name.trim_start_matches(['T', 'D']).parse::<u32>().unwrap_or(u32::MAX));
    targets
}

struct Judge<'a> {
    cells: &'a Cells,
    targets: Vec<Target>,
}

/// Which stage a comparison is taken from where several have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// The one with the fewest open flows.
    Fewest,
    /// The one with the most.
    Most,
}

impl Judge<'_> {
    fn ratio(&mut self, name: &'static str, bound: f64, of: Place, to: Place) {
        self.ratio_with(Open::Fewest, name, bound, of, to);
    }

    fn ratio_with(&mut self, open: Open, name: &'static str, bound: f64, of: Place, to: Place) {
        let mut stages = self.cells.stages();
        if open == Open::Most {
            stages.reverse();
        }
        let together = stages.iter().find_map(|stage| self.cells.ns(*stage, of).zip(self.cells.ns(*stage, to)));
        let apart = || {
            let any = |place| stages.iter().find_map(|stage| self.cells.ns(*stage, place));
            any(of).zip(any(to))
        };
        // Lists of two sizes are never loaded together.
        let found = together.or_else(|| if of.1 == to.1 { None } else { apart() });
        let figure = found.map(|(of, to)| of / to.max(1.0));
        let what = if of.0 == to.0 && of.1 == to.1 {
            format!("{}: {} ÷ {}", cell(of), of.2, to.2)
        } else {
            format!("{} ÷ {}: {}", cell(of), cell(to), of.2)
        };
        let bound = Bound::Most(bound);
        self.targets.push(Target { name, what, bound, verdict: bound.judge(figure) });
    }

    /// Shows sizes that were measured, and always the largest.
    fn sizes(&self, kind: Kind) -> Vec<usize> {
        SIZES
            .into_iter()
            .filter(|size| {
                *size == MILLION_PREFIXES
                    || self.cells.stages().iter().any(|stage| self.cells.ns(*stage, (kind, *size, OURS)).is_some())
            })
            .collect()
    }

    fn drops(&mut self) {
        for size in self.sizes(FAR) {
            self.ratio_with(Open::Most, "T1", 1.5, (FAR, size, OURS), (FAR, size, "xdp-drop"));
            self.ratio_with(Open::Most, "T1", 1.0 / 8.0, (FAR, size, OURS), (FAR, size, SET));
            self.ratio_with(Open::Most, "T1", 1.0 / 3.0, (FAR, size, OURS), (FAR, size, INGRESS));
            self.ratio_with(Open::Most, "T1", 0.5, (FAR, size, WITH_HTTPS), (FAR, size, SET));
        }
        let million = MILLION_PREFIXES;
        self.ratio("T2", 1.0 / 8.0, (NEAR, million, OURS), (NEAR, million, SET));
        self.ratio("T2", 1.0 / 5.0, (NEAR, million, OURS), (NEAR, million, INGRESS));
        self.ratio("T3", 2.5, (NEAR, million, OURS), (NEAR, 1_000, OURS));
    }

    fn forwards(&mut self) {
        for size in self.sizes(TEN_K) {
            self.ratio("T4", 0.9, (TEN_K, size, OURS), (TEN_K, size, KERNEL));
            self.ratio("T4", 0.5, (TEN_K, size, OURS), (TEN_K, size, SET));
            self.ratio("T4", 1.2, (TEN_K_TCP, size, OURS), (TEN_K, size, OURS));
        }
        for kind in [TEN_K, TEN_K_TCP] {
            self.ratio("D1", 1.15, (kind, 1_000, "sekimori detectors"), (kind, 1_000, OURS));
        }
        let million = MILLION_PREFIXES;
        self.ratio("T5", 0.6, (MILLION, million, OURS), (MILLION, million, SET));
        self.ratio("T5", 1.6, (MILLION, million, OURS), (TEN_K, million, OURS));
        let (few, many) = ("sekimori 16 rules", "sekimori 4096 rules");
        self.ratio("T8", 1.25, (NEW, 1_000, many), (NEW, 1_000, few));
        self.ratio("T8", 1.05, (TEN_K, 1_000, many), (TEN_K, 1_000, few));
        for size in [1_000, million] {
            self.ratio("T10", 0.5, (NEW, size, OURS), (NEW, size, SET));
        }
    }

    fn alike(&mut self) {
        for kind in [FAR, NEAR, TEN_K] {
            self.ratio("T9", 1.5, (kind.six(), 1_000, OURS), (kind, 1_000, OURS));
        }
        // Against the same agent, whose interface carries both.
        let tagged = "sekimori vlan";
        self.ratio("T9", 1.05, (FAR.tagged(), 1_000, tagged), (FAR, 1_000, tagged));
    }
}

fn cell((kind, prefixes, _): Place) -> String {
    let flows = match kind.flows {
        0 | 1 | u32::MAX => String::new(),
        flows => format!(" {} flows", short(flows as usize)),
    };
    format!("{}{flows}, {} prefixes, {}", kind.name, short(prefixes), kind.family())
}

/// The table of targets.
pub(crate) fn render(targets: &[Target], noisy: bool) -> String {
    let mut text = String::from("| # | what | bound | reached | |\n| --- | --- | --- | ---: | --- |\n");
    for target in targets {
        let (reached, verdict) = match target.verdict {
            Verdict::Met(figure) => (format!("{figure:.3}"), if noisy { "not judged: noisy" } else { "met" }),
            Verdict::Missed(figure) => (format!("{figure:.3}"), if noisy { "not judged: noisy" } else { "**missed**" }),
            Verdict::Unmeasured => ("-".into(), "not measured in this run"),
        };
        text.push_str(&format!("| {} | {} | {} | {reached} | {verdict} |\n", target.name, target.what, target.bound));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Bound, Verdict};

    #[test]
    fn bounds_are_inclusive_and_absence_is_no_success() {
        assert_eq!(Bound::Most(1.5).judge(Some(1.5)), Verdict::Met(1.5));
        assert_eq!(Bound::Most(1.5).judge(Some(1.51)), Verdict::Missed(1.51));
        assert_eq!(Bound::Least(0.95).judge(Some(0.94)), Verdict::Missed(0.94));
        assert_eq!(Bound::Least(0.95).judge(None), Verdict::Unmeasured);
    }
}
