//! Named hours, laid out by weekday.

use std::collections::HashMap;

use super::{
    super::{
        decode::At,
        diagnostic::Sink,
        document::{self, File},
        model::{Hours, HoursIndex},
        problem::Problem,
        spans::{Declared, Spans},
        words::Name,
    },
    names,
};

const DAY: u16 = 1440;

/// Hours with their indexes.
pub(super) struct HoursTable {
    pub(super) list: Vec<Hours>,
    pub(super) used: Vec<bool>,
    names: HashMap<String, Option<HoursIndex>>,
}

pub(super) fn hours(document: &File, spans: &mut Spans, sink: &mut Sink) -> HoursTable {
    let mut table = HoursTable { list: Vec::new(), used: Vec::new(), names: HashMap::new() };
    for (name, hours) in &document.hours.0 {
        let hours = hours.as_ref().and_then(|hours| lay_out(&name.value.0, hours, sink));
        table.names.insert(name.value.0.clone(), hours.as_ref().map(|_| table.list.len()));
        if let Some(hours) = hours {
            spans.hours.push(Declared { name: name.value.0.clone(), at: name.at, used: false });
            table.list.push(hours);
            table.used.push(false);
        }
    }
    table
}

/// Spans by weekday. Closing before opening means the next day, so such a day gives two spans.
fn lay_out(name: &str, hours: &document::Hours, sink: &mut Sink) -> Option<Hours> {
    let (from, to) = (hours.from.value.0, hours.to.value.0);
    if from == to || from == DAY {
        sink.report(hours.to.at, &Problem::EmptyHours);
        return None;
    }
    let mut open = Vec::new();
    for day in hours.days.0.iter().flat_map(|days| &days.value.0) {
        if from < to {
            open.push((*day, from, to));
        } else {
            open.push((*day, from, DAY));
            if to > 0 {
                open.push(((*day + 1) % 7, 0, to));
            }
        }
    }
    let closed_on_holidays = hours.holidays.as_ref().is_some_and(|holidays| !holidays.value.0);
    Some(Hours { name: name.to_owned(), spans: joined(open), closed_on_holidays })
}

/// Sorted, overlapping and touching spans of a day joined.
fn joined(mut open: Vec<(u8, u16, u16)>) -> Vec<(u8, u16, u16)> {
    open.sort_unstable();
    let mut out: Vec<(u8, u16, u16)> = Vec::with_capacity(open.len());
    for (day, from, to) in open {
        match out.last_mut() {
            Some(last) if last.0 == day && from <= last.2 => last.2 = last.2.max(to),
            _ => out.push((day, from, to)),
        }
    }
    out
}

impl HoursTable {
    /// The hours a rule names.
    pub(super) fn find(&mut self, name: Option<&At<Name>>, sink: &mut Sink) -> Option<HoursIndex> {
        let name = name?;
        let Some(index) = self.names.get(&name.value.0).copied() else {
            let mut known: Vec<&str> = self.names.keys().map(String::as_str).collect();
            known.sort_unstable();
            names::unknown(sink, name.at, "hours", &name.value.0, known.iter().copied());
            return None;
        };
        if let Some(used) = index.and_then(|index| self.used.get_mut(index)) {
            *used = true;
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_joined() {
        assert_eq!(joined(vec![(1, 600, 700), (0, 0, 10), (1, 0, 600), (1, 650, 660)]), [(0, 0, 10), (1, 0, 700)]);
        assert_eq!(joined(vec![(0, 0, 10), (0, 11, 20)]), [(0, 0, 10), (0, 11, 20)]);
    }
}
