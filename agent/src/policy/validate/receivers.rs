//! Receivers of alerts: which credential delivers, and whom it may put in quarantine.

use super::{
    super::{
        diagnostic::Sink,
        document::{self, File},
        model::AlertReceiver,
        problem::Problem,
    },
    groups::Groups,
    names,
    nets::Nets,
};

pub(super) fn receivers(document: &File, nets: &Nets, groups: &mut Groups, sink: &mut Sink) -> Vec<AlertReceiver> {
    let sections = document.alert_receivers.0.iter();
    sections
        .filter_map(|(name, section)| Some(receiver(&name.value.0, section.as_ref()?, nets, groups, sink)))
        .collect()
}

fn receiver(
    name: &str,
    section: &document::AlertReceiver,
    nets: &Nets,
    groups: &mut Groups,
    sink: &mut Sink,
) -> AlertReceiver {
    let (mut zones, mut listed) = (Vec::new(), Vec::new());
    for place in &section.may_quarantine.0 {
        let word = &place.value.0;
        match (nets.named(word), groups.has(word)) {
            // One word, two meanings: neither is taken for the other.
            (true, true) => {
                let (one, other) = (format!("zone {word}"), format!("group {word}"));
                sink.report(place.at, &Problem::Conflict { one, other }).text(word);
            }
            (true, false) => zones.extend(nets.of_kind(word, place.at, true, sink).map(|_| word.clone())),
            (false, true) => listed.extend(groups.find(word, place.at, sink).map(|_| word.clone())),
            (false, false) => {
                let known: Vec<&str> = nets.zones().chain(groups.names()).collect();
                names::unknown(sink, place.at, "zone or group", word, known.iter().copied());
            }
        }
    }
    AlertReceiver {
        name: name.to_owned(),
        token: section.token.value.0.clone(),
        label: section.label.value.0.clone(),
        zones,
        groups: listed,
        seconds: section.r#for.as_ref().map(|span| span.value.0),
    }
}
