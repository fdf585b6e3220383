//! What would come of a list, without an agent.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    files,
    format::Format,
    guard,
    guard::{Protected, Refused},
    lists,
    reader::{BadLine, LIMITS, Parsed, Reader},
};
use crate::{
    api::report::RefusedRow,
    cli::text::Lang,
    policy::{
        Spans,
        diagnostic::{Diagnostic, Sink, Span, Text},
        model::Policy,
        prefixes::PrefixSet,
        problem::Problem,
    },
};

/// A file or folder that was looked at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckedFile {
    /// As named.
    pub file: String,
    /// It would be taken.
    pub taken: bool,
    /// As what its files were read.
    pub formats: Vec<Format>,
    /// Prefixes, merged.
    pub prefixes: usize,
    /// Lines with addresses.
    pub entries: u64,
    /// Lines with names only; nothing resolves them.
    pub names: u64,
    /// Lines that were not understood.
    pub bad: u64,
    /// The first of them.
    pub bad_lines: Vec<BadRow>,
    /// Why it would not be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedRow>,
}

/// A line that was not understood.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BadRow {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// From 1, in characters.
    pub column: u32,
    /// What is wrong with it.
    pub message: String,
}

/// Looks at any file or folder; nothing is compared with a delivery before it.
pub fn check_file(path: &Path, format: Format, protected: &Protected, lang: Lang) -> CheckedFile {
    let nothing = PrefixSet::default();
    let watched = protected.without(&nothing);
    let parsed = files::anywhere(path).and_then(|files| {
        let mut reader = Reader::new(LIMITS, &watched);
        files.iter().try_for_each(|opened| reader.file(&opened.path, &opened.file, format))?;
        Ok(reader.finish())
    });
    let judged =
        parsed.as_ref().map_err(Clone::clone).and_then(|parsed| guard::judge(parsed, &nothing, protected, None));
    let refused = judged.as_ref().err().map(|refused| refused_row(refused, lang));
    let parsed = parsed.ok();
    let tally = parsed.as_ref().map(|parsed| parsed.tally).unwrap_or_default();
    CheckedFile {
        file: path.display().to_string(),
        taken: refused.is_none(),
        formats: parsed.as_ref().map(|parsed| parsed.formats.clone()).unwrap_or_default(),
        prefixes: parsed.as_ref().map_or(0, |parsed| parsed.prefixes.len()),
        entries: tally.entries,
        names: tally.names,
        bad: tally.bad,
        bad_lines: parsed.iter().flat_map(|parsed| &parsed.bad).map(|bad| bad_row(bad, lang)).collect(),
        refused,
    }
}

fn refused_row(refused: &Refused, lang: Lang) -> RefusedRow {
    RefusedRow { code: refused.code().to_owned(), message: refused.text(lang), at: None }
}

fn bad_row(bad: &BadLine, lang: Lang) -> BadRow {
    let mut message = match lang {
        Lang::En => bad.problem.en(),
        Lang::Ja => bad.problem.ja(),
    };
    if let Some(suggestion) = &bad.suggestion {
        message.push_str(&match lang {
            Lang::En => format!("; did you mean `{suggestion}`?"),
            Lang::Ja => format!("。「{suggestion}」ではありませんか"),
        });
    }
    BadRow { file: bad.file.display().to_string(), line: bad.line, column: bad.column, message }
}

/// Warnings about the lists of a policy, whose paths begin in `folder`. Warnings, not errors: a delivery changes without the
/// policy, and must not keep a policy from being applied.
pub fn check_policy(policy: &Policy, spans: &Spans, folder: &Path) -> Vec<Diagnostic> {
    let mut sink = Sink::over(spans.files.clone());
    let protected = Protected::of(policy, &[]);
    let now = jiff::Timestamp::now().as_second();
    for (list, at) in policy.threat_lists.iter().zip(&spans.threat_lists) {
        let watched = protected.without(&list.except);
        let opened = files::beneath(folder, &list.path);
        let read = opened.and_then(|files| Ok((lists::read(&files, list, &watched)?, files)));
        let refused = match read {
            Ok((parsed, files)) => {
                lines(&parsed, &mut sink);
                let written = files.iter().map(files::Opened::written).max().unwrap_or(now);
                if written.saturating_add_unsigned(list.expires) <= now {
                    sink.report(*at, &Problem::ThreatListOld { list: list.name.clone() });
                }
                if parsed.tally.names > 0 {
                    let lines = parsed.tally.names.to_string();
                    sink.report(*at, &Problem::ThreatListNames { list: list.name.clone(), lines });
                }
                guard::judge(&parsed, &list.except, &protected, None).err()
            }
            Err(refused) => Some(refused),
        };
        if let Some(refused) = refused {
            let why = Text::new(refused.text(Lang::En), refused.text(Lang::Ja));
            sink.report(*at, &Problem::ThreatListRefused { list: list.name.clone() }).because(why);
        }
    }
    sink.finish()
}

/// The lines of a list that would be left out.
fn lines(parsed: &Parsed, sink: &mut Sink) {
    for bad in &parsed.bad {
        let known = sink.files.iter().position(|file| *file == bad.file);
        let file = match known {
            Some(known) => u32::try_from(known).unwrap_or(u32::MAX),
            None => sink.add_file(bad.file.clone()),
        };
        let line = u32::try_from(bad.line).unwrap_or(u32::MAX);
        let problem = Problem::ThreatListLine { found: bad.text.clone() };
        let because = Text::new(bad.problem.en(), bad.problem.ja());
        sink.report(Span { file, line, col: bad.column }, &problem)
            .text(&bad.text)
            .suggest(bad.suggestion.clone())
            .because(because);
    }
}
