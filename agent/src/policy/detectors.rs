//! What each detector does unless the policy says otherwise, and how its threshold is written.
//!
//! Where the numbers come from is in `docs/detectors.md`, a section for each detector.

use sekimori_ebpf::detect::abi::Detector;

use super::model::{Limit, Measure, Rate, Setting};

/// How long a block lasts if the policy does not say, seconds.
pub const BLOCK_SECONDS: u64 = 600;
/// Most failures or changes that a threshold may allow; one that allows more would never speak.
const MOST_COUNT: u32 = 1_000;
/// Most different things that a threshold may allow: beyond it the data plane's sketch is too full to tell.
const MOST_DISTINCT: u32 = 2_000;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// A detector's nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// What it does.
    pub action: Measure,
    /// From where on.
    pub limit: Limit,
    /// Whether the policy may write another limit.
    pub adjustable: bool,
    /// What it may be told to do.
    pub measures: &'static [Measure],
}

impl Known {
    /// The largest number that may be written as its limit, where it is one.
    pub const fn most(&self) -> u32 {
        match self.limit {
            Limit::Distinct(_) => MOST_DISTINCT,
            _ => MOST_COUNT,
        }
    }

    /// What a policy would write to have it as it is.
    pub fn written(&self) -> String {
        let mut fields = vec![format!("action: {}", self.action.word())];
        if self.action == Measure::Block {
            fields.push(format!("for: {}m", BLOCK_SECONDS / 60));
        }
        match self.limit {
            Limit::Count(count) | Limit::Distinct(count) if self.adjustable => fields.push(format!("limit: {count}")),
            Limit::Rate(Rate { cost, burst }) => {
                let units = [("s", SECOND), ("min", MINUTE), ("h", HOUR)];
                let (unit, period) = units.into_iter().find(|(_, period)| cost <= *period).unwrap_or(("h", HOUR));
                fields.push(format!("limit: {}/{unit} burst {burst}", period / cost.max(1)));
            }
            _ => {}
        }
        format!("{{{}}}", fields.join(", "))
    }

    /// What it is set to if the policy says nothing.
    pub const fn setting(&self) -> Setting {
        Setting { action: self.action, seconds: None, limit: self.limit }
    }
}

/// Everything.
const ALL: &[Measure] = &Measure::EACH;
/// What it sees is the doing of no single host that could be blocked.
const OF_MANY: &[Measure] = &[Measure::Off, Measure::Observe, Measure::Alert, Measure::Throttle];
/// It is known only long after the packets have passed.
const AFTERWARDS: &[Measure] = &[Measure::Off, Measure::Observe, Measure::Alert, Measure::Quarantine];

const fn count(count: u32, action: Measure) -> Known {
    Known { action, limit: Limit::Count(count), adjustable: true, measures: ALL }
}

const fn distinct(count: u32, action: Measure) -> Known {
    Known { action, limit: Limit::Distinct(count), adjustable: true, measures: ALL }
}

/// One packet says it all.
const fn first(action: Measure) -> Known {
    Known { action, limit: Limit::None, adjustable: false, measures: ALL }
}

const fn rate(count: u64, period: u64, burst: u32, action: Measure) -> Known {
    let rate = Rate { cost: period.div_ceil(count), burst };
    Known { action, limit: Limit::Rate(rate), adjustable: true, measures: ALL }
}

/// What is known of a detector.
pub const fn known(detector: Detector) -> Known {
    match detector {
        Detector::HorizontalScan | Detector::VerticalScan | Detector::AddressSweep => count(8, Measure::Block),
        Detector::IdentityChange => count(3, Measure::Alert),
        Detector::FanOut => distinct(300, Measure::Alert),
        Detector::RandomMac => Known { measures: OF_MANY, ..distinct(64, Measure::Alert) },
        // One forged packet speaks for itself. The number is for a MAC that shows many addresses of its own zone.
        Detector::SpoofedSource => Known { adjustable: false, ..distinct(16, Measure::Alert) },
        Detector::StealthScan | Detector::ThreatContact => first(Measure::Block),
        Detector::RogueArp | Detector::RogueNdp | Detector::RogueDhcp | Detector::Land | Detector::TrapContact => {
            first(Measure::Alert)
        }
        Detector::SlowScan => Known { measures: AFTERWARDS, ..count(8, Measure::Alert) },
        Detector::Beacon => Known { measures: AFTERWARDS, ..first(Measure::Alert) },
        Detector::SynFlood => rate(200, SECOND, 400, Measure::Throttle),
        Detector::UdpFlood => rate(500, SECOND, 800, Measure::Throttle),
        Detector::IcmpFlood => rate(50, SECOND, 200, Measure::Throttle),
        Detector::FragmentFlood => rate(100, SECOND, 200, Measure::Throttle),
        Detector::DestinationFlood => Known { measures: OF_MANY, ..rate(2_000, SECOND, 2_000, Measure::Throttle) },
        Detector::Amplification => rate(20, SECOND, 100, Measure::Throttle),
        Detector::Malformed => rate(10, MINUTE, 20, Measure::Alert),
        Detector::WormPort => rate(6, HOUR, 3, Measure::Block),
        Detector::SmtpBurst => rate(10, MINUTE, 10, Measure::Block),
        Detector::BruteForce => rate(10, MINUTE, 20, Measure::Throttle),
        // Bytes.
        Detector::DnsTunnel => rate(200, SECOND, 4_000, Measure::Alert),
    }
}

#[cfg(test)]
mod tests {
    use sekimori_ebpf::detect::abi;

    use super::*;

    #[test]
    fn what_is_built_in_is_what_a_policy_could_say() {
        for detector in abi::ALL {
            let known = known(*detector);
            assert!(known.measures.contains(&known.action), "{}", detector.code());
            assert!(known.measures.contains(&Measure::Off), "{}", detector.code());
            match known.limit {
                Limit::Count(count) | Limit::Distinct(count) => assert!((1..=known.most()).contains(&count)),
                Limit::Rate(rate) => assert!(rate.cost > 0 && rate.burst > 0),
                Limit::None => assert!(!known.adjustable),
            }
        }
    }
}
