//! Lists that others keep: what is asked, and what is shown.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use super::{
    args::ListsCommand,
    meaning::{Usage, Work, needs_reason},
    render::table,
    text::{self, Lang},
};
use crate::{
    agent::threats::ReloadDone,
    api::{
        protocol::{Ask, ReloadAsk},
        report::ThreatListRow,
    },
    threat::{CheckedFile, Format},
};

/// Files to look at without an agent.
#[derive(Debug, Clone)]
pub struct ListCheck {
    /// Files or folders.
    pub files: Vec<PathBuf>,
    /// How they are written.
    pub format: Format,
    /// Whose zones must not be on them; `None`: those of the configured policy, if it can be read.
    pub policy: Option<PathBuf>,
}

/// What is asked.
pub(super) fn mean(command: Option<ListsCommand>, lang: Lang) -> Result<Work, Usage> {
    Ok(match command {
        None | Some(ListsCommand::Show) => Work::Ask(Ask::Lists {}),
        Some(ListsCommand::Reload { lists, accept_shrunk, reason }) => {
            let reason = if accept_shrunk { Some(needs_reason(reason, lang)?) } else { reason };
            Work::Ask(Ask::ReloadLists(ReloadAsk { lists, accept_shrunk, reason }))
        }
        Some(ListsCommand::Check { files, written_as, policy }) => {
            let format = Format::named(&written_as).ok_or_else(|| Usage(text::list_no_format(lang, written_as)))?;
            Work::CheckLists(ListCheck { files, format, policy })
        }
    })
}

/// All of them.
pub(super) fn list(out: &mut impl Write, rows: &[ThreatListRow], lang: Lang) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "{}", text::lists_none(lang));
    }
    let mut cells = vec![text::lists_head(lang).split('\t').map(str::to_owned).collect::<Vec<_>>()];
    cells.extend(rows.iter().map(|row| {
        let dash = || "-".to_owned();
        let age = if row.written.is_some() { text::age(lang, row.age_seconds) } else { dash() };
        vec![
            row.list.clone(),
            state(row, lang),
            row.prefixes.to_string(),
            age,
            row.expires.clone().unwrap_or_else(dash),
            formats(&row.formats).unwrap_or_else(|| row.format.clone()),
            row.source.clone(),
        ]
    }));
    table(out, &cells)?;
    for row in rows {
        if row.names > 0 {
            writeln!(out, "{}", text::list_names(lang, &row.list, row.names))?;
        }
        if row.bad > 0 {
            writeln!(out, "{}", text::list_bad(lang, &row.list, row.bad))?;
        }
        if let Some(refused) = &row.refused {
            let why = text::list_refused(lang, &row.list, &refused.message);
            writeln!(out, "{}", text::list_why(lang, why))?;
        }
    }
    Ok(())
}

/// One list, as `status` shows it.
pub(super) fn line(row: &ThreatListRow, lang: Lang) -> String {
    text::h_list(lang, &row.list, state(row, lang), row.prefixes, text::age(lang, row.age_seconds))
}

fn state(row: &ThreatListRow, lang: Lang) -> String {
    let mut state = match row.state.as_str() {
        "used" => text::list_used(lang),
        "kept" => text::list_old(lang),
        _ => text::list_nothing(lang),
    };
    if row.expired {
        state.push_str(&text::list_is_expired(lang));
    }
    state
}

/// Each format once.
fn formats(all: &[String]) -> Option<String> {
    let mut each: Vec<&str> = all.iter().map(String::as_str).collect();
    each.sort_unstable();
    each.dedup();
    (!each.is_empty()).then(|| each.join(","))
}

/// What a reload did.
pub(super) fn reloaded(out: &mut impl Write, done: &ReloadDone, lang: Lang) -> io::Result<()> {
    if !done.taken.is_empty() {
        writeln!(out, "{}", text::list_taken(lang, done.taken.join(", ")))?;
    }
    list(out, &done.lists, lang)
}

/// What would come of files.
pub(super) fn checked(out: &mut impl Write, rows: &[CheckedFile], lang: Lang) -> io::Result<()> {
    for row in rows {
        let words: Vec<String> = row.formats.iter().map(|format| format.word().to_owned()).collect();
        let format = formats(&words).unwrap_or_else(|| "-".to_owned());
        match &row.refused {
            Some(refused) => writeln!(out, "{}", text::list_check_refused(lang, &row.file, &refused.message))?,
            None => writeln!(out, "{}", text::list_check_taken(lang, &row.file, row.prefixes, row.entries, format))?,
        }
        if row.names > 0 {
            writeln!(out, "{}", text::list_check_names(lang, row.names))?;
        }
        for bad in &row.bad_lines {
            writeln!(out, "{}:{}:{}: {}", bad.file, bad.line, bad.column, bad.message)?;
        }
        let shown = row.bad_lines.len() as u64;
        if shown < row.bad {
            writeln!(out, "{}", text::list_check_more(lang, shown, row.bad))?;
        }
    }
    Ok(())
}
