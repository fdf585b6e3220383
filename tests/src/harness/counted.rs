//! What the data plane counted: why each packet passed or was dropped, as the metrics say it.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use sekimori_ebpf::reason::{Reason, Verdict};

use super::{agent::Agent, counters::Counters};

/// Packets by (network, direction, reason code).
pub type ByReason = BTreeMap<(String, String, String), u64>;

/// All packet counters at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Of zones and networks.
    pub reasons: ByReason,
    /// Packets by rule id, both directions.
    pub rules: BTreeMap<String, u64>,
    /// Flows opened by rule id.
    pub flows: BTreeMap<String, u64>,
    /// Packets the second wall dropped, by chain.
    pub guard: BTreeMap<String, u64>,
}

impl Counted {
    /// As the agent serves them now.
    pub fn read(agent: &Agent) -> Result<Self> {
        let counters = Counters::read(agent)?;
        let label = |labels: &BTreeMap<String, String>, key: &str| labels.get(key).cloned().unwrap_or_default();
        let mut counted = Self::default();
        for (labels, packets) in counters.family("sekimori_packets_total") {
            let key = (label(labels, "network"), label(labels, "direction"), label(labels, "reason"));
            counted.reasons.insert(key, packets);
        }
        for (labels, packets) in counters.family("sekimori_rule_packets_total") {
            *counted.rules.entry(label(labels, "rule")).or_default() += packets;
        }
        for (labels, flows) in counters.family("sekimori_rule_flows_total") {
            counted.flows.insert(label(labels, "rule"), flows);
        }
        for (labels, packets) in counters.family("sekimori_guard_packets_total") {
            counted.guard.insert(label(labels, "counter"), packets);
        }
        if counted.guard.is_empty() {
            bail!("the metrics have no guard counters: are their names still the same?");
        }
        Ok(counted)
    }

    /// What was counted since `before`; what did not move is left out.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            reasons: grown(&self.reasons, &before.reasons),
            rules: grown(&self.rules, &before.rules),
            flows: grown(&self.flows, &before.flows),
            guard: grown(&self.guard, &before.guard),
        }
    }

    /// The drops among the reasons, and those of the second wall under its own name, each as
    /// `network direction reason`.
    pub fn drops(&self) -> BTreeMap<String, u64> {
        let drops = self.reasons.iter().filter(|((_, _, reason), _)| {
            Reason::from_code(reason).is_none_or(|reason| reason.verdict() == Verdict::Drop)
        });
        drops
            .map(|((net, direction, reason), packets)| (format!("{net} {direction} {reason}"), *packets))
            .chain(self.guard.iter().map(|(chain, packets)| (chain.clone(), *packets)))
            .collect()
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
