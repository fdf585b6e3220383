//! What the kernel counted while something was tried: the proof of which rule or reason decided.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use sekimori_ebpf::reason::{Reason, Verdict};
use sekimori_tests::harness::agent::Agent;

use crate::tell::{Text, text};

const PACKETS: &str = "sekimori_packets_total";
const RULE_PACKETS: &str = "sekimori_rule_packets_total";
const RULE_FLOWS: &str = "sekimori_rule_flows_total";

/// All packet counters at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    /// Packets by rule id.
    rules: BTreeMap<String, u64>,
    /// Conversations opened, by rule id.
    flows: BTreeMap<String, u64>,
    /// By reason code, network and direction.
    reasons: BTreeMap<(String, String, String), u64>,
}

/// What a step must leave in the counters.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    /// Some rule permitted it.
    Permitted,
    /// Dropped for this reason.
    Dropped(Reason),
}

impl Counters {
    /// As the agent serves them now.
    pub(crate) fn read(agent: &Agent) -> Result<Self> {
        let mut counters = Self::default();
        for line in agent.metrics()?.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let Some((name, labels)) = series.strip_suffix('}').and_then(|series| series.split_once('{')) else {
                continue;
            };
            let label = |wanted: &str| {
                labels.split(',').find_map(|label| {
                    let (key, value) = label.split_once('=')?;
                    (key == wanted).then(|| value.trim_matches('"').to_owned())
                })
            };
            if !matches!(name, PACKETS | RULE_PACKETS | RULE_FLOWS) {
                continue;
            }
            let value: f64 = value.parse().with_context(|| format!("a counter that is no number: {line}"))?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "counters are whole and positive"
            )]
            let value = value as u64;
            if let Some(rule) = label("rule") {
                let table = if name == RULE_FLOWS { &mut counters.flows } else { &mut counters.rules };
                *table.entry(rule).or_default() += value;
            } else if let Some(reason) = label("reason") {
                let key = (reason, label("network").unwrap_or_default(), label("direction").unwrap_or_default());
                *counters.reasons.entry(key).or_default() += value;
            }
        }
        Ok(counters)
    }

    /// What was counted since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            rules: grown(&self.rules, &before.rules),
            flows: grown(&self.flows, &before.flows),
            reasons: grown(&self.reasons, &before.reasons),
        }
    }

    /// Conversations that rules opened.
    pub(crate) fn opened(&self) -> u64 {
        self.flows.values().sum()
    }

    /// The rule or reason that decided, for the audience; an error if it is not the expected one.
    pub(crate) fn verdict(&self, expected: Expected) -> Result<Text> {
        match expected {
            Expected::Permitted => {
                // Packets alone could be another conversation's; the one just tried was opened just now.
                let rules: Vec<_> = self
                    .flows
                    .keys()
                    .map(|rule| format!("{rule} (+{})", self.rules.get(rule).copied().unwrap_or(0)))
                    .collect();
                if rules.is_empty() {
                    bail!("no rule opened a conversation; counted: {self:?}");
                }
                let rules = rules.join(", ");
                Ok(text(format!("permitted by rule {rules}"), format!("規則 {rules} により許可")))
            }
            Expected::Dropped(reason) => {
                let places: Vec<_> = self
                    .reasons
                    .iter()
                    .filter(|((code, _, _), _)| code == reason.code())
                    .map(|((_, network, direction), packets)| format!("{network} {direction} +{packets}"))
                    .collect();
                if places.is_empty() {
                    bail!("nothing was dropped as {}; counted: {self:?}", reason.code());
                }
                let places = places.join(", ");
                Ok(text(
                    format!("dropped, {}: {} ({places})", reason.code(), reason.en()),
                    format!("破棄 {}: {} ({places})", reason.code(), reason.ja()),
                ))
            }
        }
    }

    /// Two tables for the end: packets by rule, and drops by reason.
    pub(crate) fn table(&self, japanese: bool) -> String {
        let heading = |en: &str, ja: &str| if japanese { ja.to_owned() } else { en.to_owned() };
        let mut lines = vec![heading("packets  permitted by rule", "パケット数  許可した規則")];
        for (rule, packets) in &self.rules {
            lines.push(format!("{packets:>8}  {rule}"));
        }
        lines.push(String::new());
        lines.push(heading("packets  dropped at, because", "パケット数  破棄した場所と理由"));
        for ((code, network, direction), packets) in &self.reasons {
            let Some(reason) = Reason::from_code(code).filter(|reason| reason.verdict() == Verdict::Drop) else {
                continue;
            };
            let why = if japanese { reason.ja() } else { reason.en() };
            lines.push(format!("{packets:>8}  {network:<13} {direction:<4} {code}: {why}"));
        }
        lines.join("\n")
    }
}

fn grown<K: Clone + Ord>(now: &BTreeMap<K, u64>, before: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    now.iter()
        .filter_map(|(key, value)| {
            let more = value.saturating_sub(before.get(key).copied().unwrap_or(0));
            (more > 0).then(|| (key.clone(), more))
        })
        .collect()
}
