//! The files of a policy folder as one document.

use std::collections::HashMap;

use super::super::{
    decode::{At, Named},
    diagnostic::{Sink, Span},
    document::File,
    problem::Problem,
};

/// Joins the files: mappings and lists are joined in order, scalars and single sections may be given once.
pub(super) fn merge(files: Vec<File>, sink: &mut Sink) -> File {
    let mut files = files.into_iter();
    let Some(mut all) = files.next() else {
        return File {
            span: Span::default(),
            version: None,
            organisation: None,
            timezone: None,
            holidays: Vec::new(),
            r#box: None,
            zones: Named::default(),
            networks: Named::default(),
            devices: Named::default(),
            groups: Named::default(),
            services: Named::default(),
            hours: Named::default(),
            rules: Vec::new(),
            publish: Vec::new(),
            alert_receivers: Named::default(),
            detection: None,
            threat_lists: Named::default(),
            cutoff: None,
            builtin: None,
            tests: Vec::new(),
        };
    };
    for file in files {
        once(&mut all.organisation, file.organisation, "organisation", At::at, sink);
        once(&mut all.timezone, file.timezone, "timezone", At::at, sink);
        once(&mut all.r#box, file.r#box, "box", |section| section.span, sink);
        once(&mut all.builtin, file.builtin, "builtin", |section| section.span, sink);
        once(&mut all.detection, file.detection, "detection", |section| section.span, sink);
        once(&mut all.cutoff, file.cutoff, "cutoff", |section| section.span, sink);
        all.holidays.extend(file.holidays);
        all.rules.extend(file.rules);
        all.publish.extend(file.publish);
        all.tests.extend(file.tests);
        all.zones.0.extend(file.zones.0);
        all.networks.0.extend(file.networks.0);
        all.devices.0.extend(file.devices.0);
        all.groups.0.extend(file.groups.0);
        all.services.0.extend(file.services.0);
        all.hours.0.extend(file.hours.0);
        all.alert_receivers.0.extend(file.alert_receivers.0);
        all.threat_lists.0.extend(file.threat_lists.0);
    }
    unique(&mut all.zones, "zone", sink);
    unique(&mut all.networks, "network", sink);
    unique(&mut all.devices, "device", sink);
    unique(&mut all.groups, "group", sink);
    unique(&mut all.services, "service", sink);
    unique(&mut all.hours, "hours", sink);
    unique(&mut all.alert_receivers, "alert receiver", sink);
    unique(&mut all.threat_lists, "threat list", sink);
    all
}

impl<T> At<T> {
    fn at(&self) -> Span {
        self.at
    }
}

fn once<T>(slot: &mut Option<T>, more: Option<T>, field: &str, at: impl Fn(&T) -> Span, sink: &mut Sink) {
    match (&*slot, more) {
        (_, None) => {}
        (None, more) => *slot = more,
        (Some(first), Some(second)) => {
            let problem = Problem::GivenTwice { field: field.to_owned(), place: sink.place(at(first)) };
            sink.report(at(&second), &problem).text(field);
        }
    }
}

/// Reports names given in two files; the first one stays.
fn unique<T>(named: &mut Named<T>, kind: &str, sink: &mut Sink) {
    let mut seen: HashMap<String, Span> = HashMap::with_capacity(named.0.len());
    named.0.retain(|(name, _)| match seen.get(&name.value.0) {
        None => {
            seen.insert(name.value.0.clone(), name.at);
            true
        }
        Some(first) => {
            super::merge::taken(sink, name, kind, *first);
            false
        }
    });
}

/// A name is defined already.
pub(super) fn taken(sink: &mut Sink, name: &At<super::super::words::Ident>, kind: &str, first: Span) {
    let problem = Problem::NameTaken { kind: kind.to_owned(), name: name.value.0.clone(), place: sink.place(first) };
    sink.report(name.at, &problem).text(&name.value.0);
}
