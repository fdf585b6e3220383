//! Incidents for people.

use std::{
    fmt::Display,
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use jiff::Timestamp;
use sekimori_ebpf::detect::abi::Detector;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    args::{Format, IncidentsCommand},
    meaning::{Usage, Work, lasts, needs_reason},
    render::{Asked, short, table},
    run, say,
    text::{self, Lang},
};
use crate::{
    agent::incident_desk::{ClosedIncidents, Export, Filter},
    api::{
        protocol::{Ask, Reply},
        report::OpenIncident,
    },
    detect::{
        Action, Incident, State,
        incident::{Distinct, Outcome},
    },
    record::room::hex,
};

/// Open incidents that `status` names.
const NAMED: usize = 10;

/// What is asked of incidents.
pub(super) fn mean(command: IncidentsCommand, lang: Lang) -> Result<Work, Usage> {
    Ok(match command {
        IncidentsCommand::List { open, host, since, limit } => {
            let since = since.map(|text| since_when(&text, lang)).transpose()?;
            Work::Ask(Ask::Incidents { filter: Filter { open, host, since }, limit })
        }
        IncidentsCommand::Show { id } => Work::Ask(Ask::Incident { id }),
        IncidentsCommand::Close { ids, reason } => {
            Work::Ask(Ask::CloseIncidents { ids, reason: needs_reason(reason, lang)? })
        }
        IncidentsCommand::Export { id, pcapng: None } => Work::Ask(Ask::ExportIncident { id }),
        IncidentsCommand::Export { id, pcapng: Some(path) } => Work::Export(id, path),
    })
}

/// A time, or so long ago.
fn since_when(text: &str, lang: Lang) -> Result<Timestamp, Usage> {
    let ago = lasts(text).and_then(|seconds| {
        let span = jiff::SignedDuration::from_secs(i64::try_from(seconds).ok()?);
        Timestamp::now().checked_sub(span).ok()
    });
    let at = ago.or_else(|| text.parse().ok());
    at.ok_or_else(|| Usage(text::incidents_since(lang, text)))
}

fn state(state: State, lang: Lang) -> String {
    match state {
        State::Noted => text::state_noted(lang),
        State::Open => text::state_open(lang),
        State::Closed => text::state_closed(lang),
    }
}

fn action(action: Action, lang: Lang) -> String {
    match action {
        Action::Observe => text::action_observe(lang),
        Action::Alert => text::action_alert(lang),
        Action::Throttle => text::action_throttle(lang),
        Action::Block => text::action_block(lang),
        Action::Quarantine => text::action_quarantine(lang),
    }
}

/// The device by its name, with what it was known by.
fn who(host: &str, device: Option<&String>) -> String {
    device.map_or_else(|| host.to_owned(), |device| format!("{device} ({host})"))
}

/// One line each.
pub(super) fn list(out: &mut impl Write, rows: &[Incident], lang: Lang) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "{}", text::incidents_none(lang));
    }
    let mut lines = vec![text::incidents_head(lang).split('\t').map(str::to_owned).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|incident| {
        let mut done = action(incident.action, lang);
        if incident.is_undecided() {
            done.push('!');
        }
        vec![
            incident.id.to_string(),
            state(incident.state, lang),
            crate::agent::clock::seconds(incident.last_seen),
            who(&incident.host, incident.device.as_ref()),
            incident.zone.clone(),
            incident.detector.clone(),
            done,
            incident.packets.to_string(),
        ]
    }));
    table(out, &lines)
}

fn samples<T: Display>(distinct: &Distinct<T>) -> String {
    let mut text = distinct.samples.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if distinct.more {
        text.push_str(", …");
    }
    text
}

fn count<T>(distinct: &Distinct<T>, lang: Lang) -> String {
    if distinct.more { text::at_least(lang, distinct.count) } else { distinct.count.to_string() }
}

/// One in full.
pub(super) fn show(out: &mut impl Write, incident: &Incident, lang: Lang) -> io::Result<()> {
    let at = crate::agent::clock::seconds;
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let known = Detector::from_code(&incident.detector);
    let what = known.map_or("-", |detector| lang.pick(detector.en(), detector.ja()));
    writeln!(out, "{}", text::incident_what(lang, &incident.detector, what))?;
    writeln!(out, "{}", text::incident_state(lang, state(incident.state, lang)))?;
    writeln!(out, "{}", text::incident_who(lang, &incident.host, &incident.zone))?;
    if let Some(device) = &incident.device {
        writeln!(out, "{}", text::incident_device(lang, device, or_dash(&incident.owner)))?;
    }
    if let Some(mac) = &incident.mac {
        writeln!(out, "{}", text::incident_mac(lang, mac))?;
    }
    if let Some(hosts) = &incident.hosts {
        writeln!(out, "{}", text::incident_hosts(lang, count(hosts, lang), samples(hosts)))?;
    }
    writeln!(out, "{}", text::incident_times(lang, at(incident.first_seen), at(incident.last_seen)))?;
    let Incident { packets, events, value, refused, .. } = incident;
    writeln!(out, "{}", text::incident_counts(lang, packets, events, value, refused))?;
    let (destinations, ports) = (&incident.destinations, &incident.ports);
    writeln!(out, "{}", text::incident_destinations(lang, count(destinations, lang), samples(destinations)))?;
    writeln!(out, "{}", text::incident_ports(lang, count(ports, lang), samples(ports)))?;
    if !incident.lists.is_empty() {
        writeln!(out, "{}", text::incident_lists(lang, samples(&incident.lists)))?;
    }
    writeln!(out, "{}", text::incident_action(lang, action(incident.action, lang)))?;
    if let Some(until) = incident.blocked_until {
        writeln!(out, "{}", text::incident_blocked(lang, at(until)))?;
    }
    if let Some(quarantine) = &incident.quarantine {
        let why = &quarantine.message;
        let what = match quarantine.outcome {
            Outcome::Done => text::quarantine_done(lang),
            Outcome::Already => text::quarantine_already(lang),
            Outcome::Refused => text::quarantine_refused(lang, why),
            Outcome::HeldBack => text::quarantine_held_back(lang, why),
            Outcome::Failed => text::quarantine_not_done(lang, why),
        };
        writeln!(out, "{}", text::incident_quarantine(lang, what))?;
    }
    writeln!(out, "{}", text::incident_rule(lang, or_dash(&incident.rule), or_dash(&incident.reason)))?;
    if let Some(revision) = &incident.revision {
        writeln!(out, "{}", text::incident_revision(lang, revision.number, short(&revision.hash)))?;
    }
    if let Some(evidence) = &incident.evidence {
        writeln!(out, "{}", text::incident_evidence(lang, &evidence.file, evidence.packets, &evidence.sha256))?;
        if evidence.removed {
            writeln!(out, "{}", text::incident_evidence_removed(lang))?;
        }
    }
    match &incident.closed {
        Some(closed) => {
            writeln!(out, "{}", text::incident_closed_by(lang, &closed.by.name, at(closed.at), &closed.reason))
        }
        None => Ok(()),
    }
}

fn numbers(ids: &[u64]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What closing did.
pub(super) fn closed(out: &mut impl Write, done: &ClosedIncidents, lang: Lang) -> io::Result<()> {
    if !done.closed.is_empty() {
        writeln!(out, "{}", text::incident_closed(lang, numbers(&done.closed)))?;
    }
    if !done.already.is_empty() {
        writeln!(out, "{}", text::incident_closed_already(lang, numbers(&done.already)))?;
    }
    writeln!(out, "{}", text::incidents_open(lang, done.open))
}

/// As `status` names those nobody has looked at: the newest, and those that need a person first.
pub(super) fn open(incidents: &[OpenIncident], all: usize, lang: Lang) -> Vec<String> {
    let mut sorted: Vec<&OpenIncident> = incidents.iter().collect();
    sorted.sort_by_key(|incident| (!incident.undecided, incident.age_seconds, incident.id));
    let mut lines: Vec<String> = sorted.iter().take(NAMED).map(|incident| line(incident, lang)).collect();
    if all > lines.len() {
        lines.push(text::incidents_more(lang, all - lines.len()));
    }
    lines
}

fn line(incident: &OpenIncident, lang: Lang) -> String {
    let extra = if incident.undecided { text::incident_undecided(lang) } else { String::new() };
    let host = who(&incident.host, incident.device.as_ref());
    let age = text::age(lang, incident.age_seconds);
    text::incident_line(lang, incident.id, host, &incident.detector, age, incident.packets, extra)
}

/// The JSON to standard output, the packets into a file; into standard output alone if the file is `-`.
pub(super) fn export(mut reply: Reply, path: &Path, lang: Lang, format: Format) -> u8 {
    let Ok(export) = serde_json::from_value::<Export>(reply.body.clone()) else {
        return run::show(&reply, Asked::Document, lang, format);
    };
    let id = export.incident.id;
    match &export.evidence {
        None => say(text::evidence_none(lang, id)),
        Some(evidence) => {
            let bytes = unhex(&evidence.hex).unwrap_or_default();
            let sha256 = hex(&Sha256::digest(&bytes));
            if sha256 != evidence.sha256 {
                reply = Reply::failed(text::evidence_changed(lang, id));
                return run::show(&reply, Asked::Document, lang, format);
            }
            let piped = path == Path::new("-");
            let written = if piped { io::stdout().lock().write_all(&bytes) } else { write(path, &bytes) };
            if let Err(error) = written {
                reply = Reply::failed(text::capture_file(lang, path.display(), error));
                return run::show(&reply, Asked::Document, lang, format);
            }
            if piped {
                return reply.exit;
            }
            say(text::evidence_written(lang, path.display(), bytes.len(), sha256));
        }
    }
    if let Some(evidence) = reply.body.get_mut("evidence").and_then(serde_json::Value::as_object_mut) {
        evidence.remove("hex");
        evidence.insert("written".into(), json!(path));
    }
    run::show(&reply, Asked::Document, lang, format)
}

/// A file for the eyes of whoever asked.
pub(super) fn create(path: &Path) -> io::Result<std::fs::File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Bytes of pairs of hexadecimal digits.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_there_and_back() {
        assert_eq!(unhex(&hex(b"\x00\xff gate")), Some(b"\x00\xff gate".to_vec()));
        assert_eq!(unhex(""), Some(Vec::new()));
        for bad in ["0", "0g", "é0"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}
