//! The record for people.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{
    args::{Records, RecordsCommand},
    meaning::{Usage, Work},
    text::{self, Lang},
};
use crate::{
    api::protocol::Ask,
    policy::diagnostic::printable,
    record::{
        Line, Verified,
        reader::Filter,
        verify::{Problem, Wrong},
    },
};

/// What is asked of the record.
pub(super) fn records(records: Records, lang: Lang) -> Result<Work, Usage> {
    Ok(Work::Ask(match records.what {
        None => Ask::Records { limit: records.limit, filter: Filter::default() },
        Some(RecordsCommand::List { limit, since, until, action, object }) => {
            let named = |name: String| {
                serde_json::from_value(json!(name.replace('-', "_")))
                    .map_err(|_| Usage(text::records_action(lang, name)))
            };
            let action = action.map(named).transpose()?;
            Ask::Records { limit, filter: Filter { number: None, since, until, action, object } }
        }
        Some(RecordsCommand::Show { number }) => {
            Ask::Records { limit: 1, filter: Filter { number: Some(number), ..Filter::default() } }
        }
        Some(RecordsCommand::Verify) => Ask::VerifyRecords {},
    }))
}

/// Lines, one each.
pub(super) fn list(out: &mut impl Write, lines: &[Line], lang: Lang) -> io::Result<()> {
    if lines.is_empty() {
        return writeln!(out, "{}", text::records_none(lang));
    }
    let mut unsure = false;
    for line in lines {
        match line {
            Line::Damaged { line, bytes, .. } => writeln!(out, "{}", text::record_damaged(lang, line, bytes))?,
            Line::Entry(entry) => {
                let clock = if entry.clock_synchronised { "" } else { "?" };
                unsure |= !entry.clock_synchronised;
                let action = serde_json::to_value(entry.action).ok();
                let action = action.as_ref().and_then(Value::as_str).unwrap_or("?").to_owned();
                let mark = if entry.result.ok { "" } else { " FAILED:" };
                let reason =
                    entry.reason.as_deref().map(|reason| format!(" \"{}\"", printable(reason))).unwrap_or_default();
                let objects = entry.objects.join(", ");
                writeln!(
                    out,
                    "{:>5} {}{clock} {} {action} {objects}{reason}{mark} {}",
                    entry.n,
                    entry.time,
                    entry.actor.name,
                    printable(&entry.result.message)
                )?;
            }
        }
    }
    if unsure { writeln!(out, "{}", text::records_unsure(lang)) } else { Ok(()) }
}

/// One line, in full.
pub(super) fn show(out: &mut impl Write, lines: &[Line], lang: Lang) -> io::Result<()> {
    match lines {
        [Line::Entry(entry)] => writeln!(out, "{:#}", json!(entry)),
        _ => writeln!(out, "{}", text::records_no_line(lang)),
    }
}

/// Whether it is whole.
pub(super) fn verified(out: &mut impl Write, found: &Verified, lang: Lang) -> io::Result<()> {
    let none = || "-".to_owned();
    let (first, last) = (found.first.clone().unwrap_or_else(none), found.last.clone().unwrap_or_else(none));
    if found.whole {
        writeln!(out, "{}", text::records_whole(lang, found.lines, first, last))?;
        if found.unchained != 0 {
            writeln!(out, "{}", text::records_unchained(lang, found.unchained))?;
        }
        return writeln!(out, "{}", text::records_head(lang, found.number, &found.head));
    }
    writeln!(out, "{}", text::records_broken(lang, found.lines))?;
    for Problem { line, what } in &found.problems {
        let what = match what {
            Wrong::Unreadable => text::records_unreadable(lang),
            Wrong::Number { expected, found } => text::records_number(lang, expected, found),
            Wrong::Changed { .. } => text::records_changed(lang, line.saturating_sub(1)),
            Wrong::Unchained => text::records_not_chained(lang),
            Wrong::Head { number } => text::records_end(lang, number),
            Wrong::HeadUnreadable => text::records_head_unreadable(lang),
            Wrong::HeadGone => text::records_head_gone(lang),
            Wrong::Said => text::records_said(lang),
        };
        writeln!(out, "{}", text::records_problem(lang, line, what))?;
    }
    writeln!(out, "{}", text::records_what_now(lang))
}
