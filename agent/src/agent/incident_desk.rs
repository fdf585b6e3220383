//! What people ask about incidents: which there are, one in full, that it has been looked at, and what proves it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    clock::seconds,
    incidents::{Tally, objects, summary},
    keeper::{Caller, Keeper},
};
use crate::{
    api::{protocol::Reply, report::OpenIncident},
    cli::text,
    cutoff::object::{HostName, mac_text},
    detect::{Incident, State, book::Counts},
    record::{Action, Draft, Line, Outcome, reader, room::hex},
};

/// Incidents that one request may close.
pub const MAX_AT_ONCE: usize = 1_000;
/// Lines of the record that go with an exported incident.
const MAX_LINES: usize = 1_000;
/// Open incidents that `status` names.
const IN_STATUS: usize = 100;

/// Numbers of incidents for the metrics.
#[derive(Debug, Clone)]
pub struct IncidentGauges {
    /// By detector and zone: those nobody has looked at; 0 where all have been.
    pub open: BTreeMap<(String, String), u64>,
    /// Those whose quarantine a person must decide about.
    pub undecided: usize,
    /// All.
    pub kept: usize,
    /// Since the agent started.
    pub counts: Counts,
    /// Likewise.
    pub tally: Tally,
    /// The guard holds detectors back now.
    pub guard_holds: bool,
    /// Bytes of evidence on disk.
    pub evidence_bytes: u64,
}

/// Which incidents are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Only those nobody has looked at.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
    /// Only of this host: address, MAC or device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Only with an event since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl Filter {
    fn wants(&self, incident: &Incident) -> bool {
        let is_host = |name: &String| {
            let named = |host: &Option<String>| host.as_ref().is_some_and(|host| host == name);
            let many = incident.hosts.as_ref().is_some_and(|hosts| hosts.samples.contains(name));
            incident.host == *name || named(&incident.device) || named(&incident.mac) || many
        };
        (!self.open || incident.state == State::Open)
            && self.host.as_ref().is_none_or(is_host)
            && self.since.is_none_or(|since| incident.last_seen >= since)
    }

    /// With the host as incidents write it.
    fn canonical(mut self) -> Self {
        self.host = self.host.map(|host| match HostName::read(&host) {
            Some(HostName::Address(address)) => address.to_canonical().to_string(),
            Some(HostName::Mac(mac)) => mac_text(mac),
            Some(HostName::Device(_)) | None => host,
        });
        self
    }
}

/// What closing did.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ClosedIncidents {
    /// Closed now.
    pub closed: Vec<u64>,
    /// Closed before.
    pub already: Vec<u64>,
    /// Still open.
    pub open: usize,
}

/// An incident with all that proves it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Export {
    /// The incident.
    pub incident: Incident,
    /// Lines of the record that name it.
    pub records: Vec<Line>,
    /// Its packets.
    pub evidence: Option<Packets>,
}

/// A file of evidence.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Packets {
    /// Its name.
    pub file: String,
    /// SHA-256 of what is there now, hex.
    pub sha256: String,
    /// That is what the incident says it was.
    pub as_recorded: bool,
    /// The file, hex.
    pub hex: String,
}

impl Keeper {
    /// The newest `limit` that are wanted, oldest first.
    pub fn incidents(&self, filter: Filter, limit: usize) -> Vec<Incident> {
        let filter = filter.canonical();
        let wanted = self.incidents.book.iter().rev().filter(|incident| filter.wants(incident));
        let mut found: Vec<Incident> = wanted.take(limit).cloned().collect();
        found.reverse();
        found
    }

    /// One of them, in full.
    pub fn incident(&self, id: u64, caller: &Caller) -> Reply {
        match self.incidents.book.get(id) {
            Some(incident) => Reply::done(incident),
            None => Reply::refused(text::incident_unknown(caller.lang, id)),
        }
    }

    /// Somebody has looked at these, all or none of them.
    pub fn close_incidents(&mut self, ids: &[u64], reason: &str, caller: &Caller) -> Reply {
        let lang = caller.lang;
        if ids.is_empty() || ids.len() > MAX_AT_ONCE {
            return Reply::usage(text::incidents_how_many(lang, MAX_AT_ONCE));
        }
        if let Some(unknown) = ids.iter().find(|id| self.incidents.book.get(**id).is_none()) {
            return Reply::refused(text::incident_unknown(lang, unknown));
        }
        if let Err(why) = self.ledger.ready() {
            return Reply::failed(text::incident_not_closed(lang, why));
        }
        let (mut closed, mut already, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for id in ids {
            let (by, at) = (caller.actor.clone(), Timestamp::now());
            let Some(incident) = self.incidents.book.close(*id, by, at, reason.to_owned()) else {
                already.push(*id);
                continue;
            };
            let (objects, details) = (objects(incident), Some(summary(incident)));
            closed.push(*id);
            if !self.save_incident(*id) {
                wrong.push(text::incident_not_kept(lang, id));
            }
            let result = Outcome { ok: true, message: "closed".into() };
            let draft = self.draft(caller, Action::IncidentClose, &objects, result);
            wrong.extend(self.write_record(Draft { reason: Some(reason.to_owned()), details, ..draft }));
        }
        let open = self.incidents.book.iter().filter(|incident| incident.state == State::Open).count();
        let mut reply = Reply::done(ClosedIncidents { closed, already, open });
        if !wrong.is_empty() {
            reply.exit = 1;
            reply.error = Reply::problem(1, "unrecorded", wrong.join("; ")).error;
        }
        reply
    }

    /// One with its lines of the record and its packets.
    pub fn export_incident(&self, id: u64, caller: &Caller) -> Reply {
        let Some(incident) = self.incidents.book.get(id).cloned() else {
            return Reply::refused(text::incident_unknown(caller.lang, id));
        };
        let filter = reader::Filter { object: Some(format!("incident {id}")), ..reader::Filter::default() };
        let records = match reader::list(self.record_path(), MAX_LINES, &filter) {
            Ok(records) => records,
            Err(error) => return Reply::failed(format!("{}: {error}", self.record_path().display())),
        };
        let evidence = match incident.evidence.as_ref().filter(|evidence| !evidence.removed) {
            None => None,
            Some(evidence) => {
                let path = self.incidents.store.evidence(id);
                match std::fs::read(&path) {
                    Ok(bytes) => {
                        let sha256 = hex(&Sha256::digest(&bytes));
                        let as_recorded = sha256 == evidence.sha256;
                        Some(Packets { file: evidence.file.clone(), sha256, as_recorded, hex: hex(&bytes) })
                    }
                    Err(error) => return Reply::failed(format!("{}: {error}", path.display())),
                }
            }
        };
        let changed = evidence.as_ref().is_some_and(|evidence| !evidence.as_recorded);
        let mut reply = Reply::done(Export { incident, records, evidence });
        if changed {
            reply.exit = 1;
            reply.error = Reply::problem(1, "unrecorded", text::evidence_changed(caller.lang, id)).error;
        }
        reply
    }

    /// Of those nobody has looked at the newest, the newest last, and how many there are.
    pub(super) fn open_incidents(&self) -> (Vec<OpenIncident>, usize) {
        let now = Timestamp::now();
        let open = || self.incidents.book.iter().filter(|incident| incident.state == State::Open);
        let row = |incident: &Incident| OpenIncident {
            id: incident.id,
            detector: incident.detector.clone(),
            host: incident.host.clone(),
            device: incident.device.clone(),
            zone: incident.zone.clone(),
            last_seen: seconds(incident.last_seen),
            age_seconds: now.duration_since(incident.last_seen).as_secs().max(0),
            packets: incident.packets,
            action: incident.action.code().to_owned(),
            undecided: incident.is_undecided(),
        };
        let mut rows: Vec<OpenIncident> = open().rev().take(IN_STATUS).map(row).collect();
        rows.reverse();
        (rows, open().count())
    }

    /// For the metrics.
    pub fn incident_gauges(&self) -> IncidentGauges {
        let mut open: BTreeMap<(String, String), u64> = BTreeMap::new();
        for incident in self.incidents.book.iter().filter(|incident| incident.state != State::Noted) {
            let count = open.entry((incident.detector.clone(), incident.zone.clone())).or_default();
            *count += u64::from(incident.state == State::Open);
        }
        IncidentGauges {
            open,
            undecided: self.incidents.book.iter().filter(|incident| incident.is_undecided()).count(),
            kept: self.incidents.book.iter().count(),
            counts: self.incidents.book.counts().clone(),
            tally: self.incidents.tally.clone(),
            guard_holds: self.guard_holds(),
            evidence_bytes: self.evidence_bytes(),
        }
    }
}
