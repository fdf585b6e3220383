//! Lists that others keep: where they are, and how long a delivery is fresh. What is in them is no part of the policy.

use std::path::{Component, PathBuf};

use super::super::{
    diagnostic::Sink,
    document::{self, File},
    model::ThreatList,
    problem::Problem,
    spans::Spans,
};
use crate::threat::MAX_LISTS;

pub(super) fn threats(document: &File, spans: &mut Spans, sink: &mut Sink) -> Vec<ThreatList> {
    let named = &document.threat_lists.0;
    if let Some((name, _)) = named.get(MAX_LISTS) {
        let limit = MAX_LISTS.to_string();
        sink.report(name.at, &Problem::TooMany { what: "threat lists".into(), limit }).text(&name.value.0);
    }
    let mut lists = Vec::new();
    for (name, section) in named {
        let Some(section) = section else { continue };
        spans.threat_lists.push(section.path.at);
        lists.push(list(&name.value.0, section, sink));
    }
    lists
}

fn list(name: &str, section: &document::ThreatList, sink: &mut Sink) -> ThreatList {
    let path = PathBuf::from(&section.path.value.0);
    // Where links lead is seen when it is opened.
    if path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        let file = section.path.value.0.clone();
        sink.report(section.path.at, &Problem::OutsideFolder { file }).text(&section.path.value.0);
    }
    let except = section.except.iter().flat_map(|all| &all.0);
    ThreatList {
        name: name.to_owned(),
        path,
        format: section.format.as_ref().map(|format| format.value).unwrap_or_default(),
        source: section.source.value.0.clone(),
        expires: section.expires.value.0,
        except: except.flat_map(|addresses| addresses.value.prefixes.iter().copied()).collect(),
        purpose: section.purpose.value.0.clone(),
    }
}
