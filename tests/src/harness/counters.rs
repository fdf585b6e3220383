//! The metrics of an agent, as numbers.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::agent::Agent;

/// All samples at one moment.
#[derive(Debug, Clone, Default)]
pub struct Counters(Vec<(String, BTreeMap<String, String>, f64)>);

impl Counters {
    /// As the agent serves them now.
    pub fn read(agent: &Agent) -> Result<Self> {
        Self::parse(&agent.metrics()?)
    }

    /// From the text exposition format. Label values of ours contain neither commas nor quotes.
    pub fn parse(text: &str) -> Result<Self> {
        let mut samples = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (series, value) = line.rsplit_once(' ').with_context(|| format!("not a sample: {line}"))?;
            let value: f64 = value.parse().with_context(|| format!("not a number: {line}"))?;
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels.trim_end_matches('}')),
                None => (series, ""),
            };
            let labels = labels.split(',').filter_map(|label| label.split_once('='));
            let labels = labels.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()));
            samples.push((name.to_owned(), labels.collect(), value));
        }
        Ok(Self(samples))
    }

    /// Sum over the samples of this family that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |of: &BTreeMap<String, String>| {
            labels.iter().all(|(key, value)| of.get(*key).is_some_and(|found| found == value))
        };
        self.0.iter().filter(|(family, of, _)| family == name && fits(of)).map(|(_, _, value)| value).sum()
    }

    /// The samples of a family of whole numbers: labels and value.
    pub fn family(&self, name: &str) -> impl Iterator<Item = (&BTreeMap<String, String>, u64)> {
        self.0.iter().filter(move |(family, ..)| family == name).map(|(_, labels, value)| (labels, whole(*value)))
    }

    /// Packets of a zone or network with this direction and reason.
    pub fn packets(&self, network: &str, direction: &str, reason: &str) -> u64 {
        let labels = [("network", network), ("direction", direction), ("reason", reason)];
        whole(self.sum("sekimori_packets_total", &labels))
    }

    /// Packets of a rule, both directions.
    pub fn rule(&self, id: &str) -> u64 {
        whole(self.sum("sekimori_rule_packets_total", &[("rule", id)]))
    }

    /// Every reason that was counted at least once, anywhere.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<_> = self
            .0
            .iter()
            .filter(|(name, _, value)| name == "sekimori_packets_total" && *value > 0.0)
            .filter_map(|(_, labels, _)| labels.get("reason").cloned())
            .collect();
        reasons.sort();
        reasons.dedup();
        reasons
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters are whole and positive")]
fn whole(value: f64) -> u64 {
    value as u64
}
