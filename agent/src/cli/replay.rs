//! Judging a capture by the real programs in a private instance.

use std::{fs::File, io, io::Write, path::Path};

use jiff::Timestamp;

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
    compile::tables::Compiled,
    dataplane::private::{self, CameFrom, Instance},
    policy::model::Policy,
    replay::{
        self as room, Entry,
        judge::{Judge, Judged, Origin},
        report,
    },
};

/// Views the private instance keeps: a capture of a busy day fits.
const VIEWS: u32 = 262_144;
/// An interface no policy names.
const NOBODY: u16 = u16::MAX;

struct Private<'p> {
    instance: Instance,
    policy: &'p Policy,
    compiled: Compiled,
}

impl Private<'_> {
    fn id(&self, name: &str) -> u16 {
        let known = self.compiled.interfaces.iter().find(|(known, _)| known == name);
        known.map_or(NOBODY, |(_, id)| *id)
    }
}

impl Judge for Private<'_> {
    fn head(&self) -> usize {
        private::LONGEST
    }

    fn set_clock(&mut self, at: Timestamp) -> anyhow::Result<()> {
        let since_1970 = u64::try_from(at.as_nanosecond()).unwrap_or(0);
        let schedules = rooms::windows(&self.compiled, self.policy, at, since_1970);
        Ok(self.instance.policy(&self.compiled, &schedules)?)
    }

    fn ingress(&mut self, frame: &[u8], interface: &str, now: u64) -> anyhow::Result<Judged> {
        Ok(judged(self.instance.ingress(frame, self.id(interface), now)?))
    }

    fn egress(&mut self, frame: &[u8], interface: &str, origin: Origin<'_>, now: u64) -> anyhow::Result<Judged> {
        let from = match origin {
            Origin::Box => CameFrom::Box,
            Origin::Interface { name, mark } => CameFrom::Guarded(self.id(name), mark),
        };
        Ok(judged(self.instance.egress(frame, self.id(interface), from, now)?))
    }
}

fn judged(judged: private::Judged) -> Judged {
    Judged { reason: judged.reason, rule: judged.rule.map(usize::from), mark: judged.mark }
}

/// Prints a verdict for every packet; the exit code, or why there are none.
pub(super) fn run(path: &Path, replay: &Replay, format: Format, lang: Lang) -> Result<u8, String> {
    let (read, findings) = rooms::load(path, lang);
    let Some(read) = read else {
        for finding in findings.iter().filter(|finding| finding.is_error()) {
            eprintln!("{}:{}:{}: {}", finding.file, finding.line, finding.column, finding.message);
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
    let instance = Instance::load(VIEWS).map_err(|error| error.to_string())?;
    let mut judge = Private { instance, policy: &read.policy, compiled };
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
