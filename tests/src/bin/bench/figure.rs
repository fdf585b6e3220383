//! Figures that are not ns a packet: times, memory, shares.

use serde_json::{Value, json};

use crate::target::Bound;

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// Which table: `apply`, `cutoff`, `agent`, `goodput`, `cores`.
    pub(crate) group: &'static str,
    /// Whose.
    pub(crate) subject: String,
    /// What was measured, in words.
    pub(crate) what: String,
    /// `None` where it could not be measured; `note` says why.
    pub(crate) value: Option<f64>,
    /// `s`, `ms`, `us`, `MB`, `%`, or empty for a ratio.
    pub(crate) unit: &'static str,
    /// The target it decides, if any.
    pub(crate) target: Option<(&'static str, Bound)>,
    /// Anything a reader must know.
    pub(crate) note: String,
}

impl Figure {
    /// A figure without a target.
    pub(crate) fn new(
        group: &'static str,
        subject: impl Into<String>,
        what: impl Into<String>,
        value: impl Into<Option<f64>>,
        unit: &'static str,
    ) -> Self {
        Self {
            group,
            subject: subject.into(),
            what: what.into(),
            value: value.into(),
            unit,
            target: None,
            note: String::new(),
        }
    }

    /// With a target.
    pub(crate) fn target(self, name: &'static str, bound: Bound) -> Self {
        Self { target: Some((name, bound)), ..self }
    }

    /// With a remark.
    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// For the report.
    pub(crate) fn json(&self) -> Value {
        json!({"subject": self.subject, "what": self.what, "value": self.value, "unit": self.unit, "note": self.note})
    }
}

/// The figures of some groups as a table.
pub(crate) fn render(figures: &[Figure], group: &str) -> String {
    let mut text = format!("### {group}\n\n| subject | what | figure | |\n| --- | --- | ---: | --- |\n");
    for figure in figures.iter().filter(|figure| figure.group == group) {
        let value = figure.value.map_or("-".into(), |value| format!("{value:.3} {}", figure.unit));
        text.push_str(&format!("| {} | {} | {} | {} |\n", figure.subject, figure.what, value.trim(), figure.note));
    }
    text
}

/// The groups there are, in the order of first appearance.
pub(crate) fn groups(figures: &[Figure]) -> Vec<&'static str> {
    let mut groups = Vec::new();
    for figure in figures {
        if !groups.contains(&figure.group) {
            groups.push(figure.group);
        }
    }
    groups
}
