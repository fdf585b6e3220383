//! Judging a capture by the real programs in a private instance.

use std::{fs::File, io, io::Write, path::Path};

use super::{
    args::Format,
    meaning::Replay,
    text::{self, Lang},
};
use crate::{
    agent::{
        evaluator::instant,
        rooms::{self, Numbers},
    },
    replay::{
        self as room, Entry,
        programs::{FLOWS, Programs},
        report,
    },
};

/// Prints a verdict for every packet; the exit code, or why there are none.
pub(super) fn run(path: &Path, replay: &Replay, format: Format, lang: Lang) -> Result<u8, String> {
    let (read, findings) = rooms::load(path, lang);
    let Some(read) = read else {
        for finding in findings.iter().filter(|finding| finding.is_error()) {
            // As in `say`.
            let place = format_args!("{}:{}:{}", finding.file, finding.line, finding.column);
            let _ = writeln!(io::stderr(), "{place}: {}", finding.message);
        }
        return Err(text::policy_invalid(lang, path.display()));
    };
    let at = match &replay.at {
        Some(text) => Some(instant(text, &read.policy.timezone).ok_or_else(|| text::not_an_instant(lang, text))?),
        None => None,
    };
    let options = room::Options {
        entry: replay.interface.clone().map_or(Entry::Auto, Entry::Interface),
        at,
        format: match format {
            Format::Text => report::Format::Text,
            Format::Json => report::Format::Json,
        },
        lang: match lang {
            Lang::Ja => report::Lang::Ja,
            Lang::En => report::Lang::En,
        },
    };
    let capture = File::open(&replay.capture).map_err(|error| format!("{}: {error}", replay.capture.display()))?;
    let compiled = rooms::compile(&read.policy, &mut Numbers::none())?;
    let mut judge = Programs::load(&read.policy, compiled, FLOWS).map_err(|error| format!("{error:#}"))?;
    let mut summary = report::Summary::default();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let result = room::run(io::BufReader::new(capture), &read.policy, &mut judge, &options, &mut out, &mut summary);
    let flushed = out.flush();
    match (result, flushed) {
        (Err(room::Error::Output(error)), _) | (Ok(()), Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(0)
        }
        (Err(room::Error::Capture(fault)), _) => {
            Err(format!("{}: {}", replay.capture.display(), fault.text(options.lang)))
        }
        (Err(error), _) => Err(error.to_string()),
        (Ok(()), Err(error)) => Err(error.to_string()),
        (Ok(()), Ok(())) => Ok(0),
    }
}
