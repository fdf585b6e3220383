//! Incidents of an instance: events become incidents, incidents become lines of the record, quarantines and files of evidence.
//!
//! The incident is on disk before its line is in the record; a crash in between is found at the next start. What grows is
//! written some seconds later: the data plane's counters go on, so that a crash loses samples and no counts.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use sekimori_ebpf::{
    detect::abi::{Detection, Detector},
    reason::Reason,
};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    clock::boottime_ns,
    fault::Fault,
    keeper::{Caller, Keeper},
};
use crate::{
    cutoff::{
        Object,
        object::{mac_text, read_mac},
    },
    dataplane::{maps::unmapped, watch::Lifted},
    detect::{
        Action as Measure, Book, Decision, Evidence, Guard, Incident, Limit, Noticed, Quarantine, Sighting, State,
        Store,
        evidence::{Names, Wish, interface},
        incident::Outcome as Asked,
        sighting::{destination_of, host_address, host_mac, host_text, port_of},
        store::evidence_name,
    },
    policy::model::{Device, NetKind, Policy},
    record::{Action, Draft, Outcome, room::hex},
};

/// Numbers since the agent started.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Kept packets that were written over before they could be read.
    pub overwritten: u64,
    /// Files of evidence that could not be written.
    pub unwritten: u64,
    /// Files of evidence that made room.
    pub rotated: u64,
    /// Hosts the guard did not let detectors put in quarantine.
    pub held_back: u64,
}

/// What an instance keeps of incidents.
pub(super) struct Incidents {
    pub(super) book: Book,
    pub(super) store: Store,
    pub(super) tally: Tally,
    guard: Guard,
    /// Lengths of the files of evidence.
    files: BTreeMap<u64, u64>,
    read: bool,
}

impl Incidents {
    pub(super) fn new(store: Store) -> Self {
        Self {
            book: Book::default(),
            store,
            tally: Tally::default(),
            guard: Guard::default(),
            files: BTreeMap::new(),
            read: false,
        }
    }
}

/// What was written for an incident.
#[derive(Debug)]
pub struct Written {
    /// The incident.
    pub id: u64,
    /// Packets that were added.
    pub packets: usize,
    /// The whole file.
    pub file: Vec<u8>,
}

impl Keeper {
    /// Reads what is on disk, once; before that there are no incidents. Apart from opening the instance, which nothing may delay.
    pub fn read_incidents(&mut self) {
        if std::mem::replace(&mut self.incidents.read, true) {
            return;
        }
        let bounds = self.config.incidents.bounds;
        match self.incidents.store.load() {
            Ok(found) => {
                self.incidents.book = Book::new(bounds, found.incidents, found.next);
                self.incidents.files = found.evidence.into_iter().collect();
                let unread = if found.unread.is_empty() { Ok(()) } else { Err(found.unread.join("; ")) };
                self.faults.track(unread, Fault::Incidents);
            }
            Err(error) => {
                // What is there must not be written over: numbers go on where no incident ever was.
                let next = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
                self.incidents.book = Book::new(bounds, Vec::new(), next);
                self.faults.raise(Fault::Incidents(error.to_string()));
            }
        }
        self.remember_the_guard();
        let orphans: Vec<u64> =
            self.incidents.files.keys().copied().filter(|id| self.incidents.book.get(*id).is_none()).collect();
        for id in orphans {
            // A file of an incident that could not be read stays with it.
            if !self.incidents.store.knows(id) {
                self.incidents.files.remove(&id);
                let removed = self.incidents.store.remove_evidence(id).map_err(|error| error.to_string());
                self.faults.track(removed, Fault::IncidentsNotKept);
            }
        }
        let unrecorded: Vec<u64> = self
            .incidents
            .book
            .iter()
            .filter(|incident| incident.state == State::Open && !incident.recorded)
            .map(|incident| incident.id)
            .collect();
        unrecorded.into_iter().for_each(|id| self.record_opening(id));
        self.save_incidents(usize::MAX);
    }

    /// The guard counts hosts that detectors put in quarantine before the agent started, too.
    fn remember_the_guard(&mut self) {
        let (now, boot) = (Timestamp::now(), boottime_ns());
        for entry in self.quarantines.hosts.iter().filter(|entry| entry.automatic && entry.placed_by.role == "agent") {
            let age = entry.placed_at.parse::<Timestamp>().map_or(SignedDuration::ZERO, |at| now.duration_since(at));
            let age = u64::try_from(age.as_nanos()).unwrap_or(0);
            self.incidents.guard.placed(boot.saturating_sub(age));
        }
    }

    /// How many hosts detectors may put in quarantine.
    pub(super) fn guard_limit(&self) -> Limit {
        let guard = self.live.as_ref().and_then(|live| live.policy.detection.as_ref()).map(|detection| detection.guard);
        guard.map_or_else(Limit::default, |guard| Limit {
            hosts: guard.hosts,
            within: Duration::from_secs(guard.seconds),
        })
    }

    /// For how long this detector puts a host of this zone in quarantine; `None`: until somebody releases it.
    fn quarantine_lasts(&self, sighting: &Sighting) -> Option<u64> {
        let policy = &self.live.as_ref()?.policy;
        let detection = policy.detection.as_ref()?;
        let zone = |net| policy.nets.get(net).is_some_and(|net: &crate::policy::model::Net| net.name == sighting.zone);
        let (_, settings) = detection.zones.iter().find(|(net, _)| zone(*net))?;
        settings.get(&Detector::from_number(sighting.detector)?)?.seconds
    }

    /// Names of numbers, and when the box was booted.
    pub(super) fn detect_names(&self) -> Names {
        let (nets, rules) = self.names();
        let boot = Timestamp::now().as_nanosecond() - i128::from(boottime_ns());
        Names { rules, nets, boot: i64::try_from(boot).unwrap_or(0) }
    }

    /// Takes events in. Whose packets are to be saved as evidence.
    pub fn detected(&mut self, detections: &[Detection]) -> Vec<Wish> {
        let names = self.detect_names();
        let mut wishes = Vec::new();
        for detection in detections {
            let sighting = self.sighting(detection, &names);
            let noticed = self.incidents.book.add(&sighting, boottime_ns());
            if let Noticed::Opened(id) = noticed {
                self.open_incident(id, &sighting);
                wishes.push(Wish { id, host: detection.host, net: detection.net, after: 0 });
            }
            if sighting.action == Measure::Quarantine {
                self.quarantine_by_detector(noticed.id(), detection, &sighting);
                self.end_stand_in(detection, &sighting);
            }
        }
        self.forget_incidents();
        wishes
    }

    fn sighting(&self, detection: &Detection, names: &Names) -> Sighting {
        let policy = self.live.as_ref().map(|live| live.policy.as_ref());
        let zone = names.net(detection.net);
        let seen = (detection.mac != [0; 6]).then_some(detection.mac);
        let own = seen.filter(|mac| policy.is_none_or(|policy| !is_router(policy, *mac)));
        let mac = host_mac(&detection.host).or(own);
        let device = policy.and_then(|policy| device_of(policy, detection, own));
        let wall = |time: u64| {
            let time = i128::from(names.wall(time));
            Timestamp::from_nanosecond(time).unwrap_or(Timestamp::UNIX_EPOCH)
        };
        let destination = destination_of(detection);
        let listed = detection.detector == Detector::ThreatContact as u32;
        let threats = self.threats();
        let list = destination.filter(|_| listed).and_then(|to| threats.lookup(to)).map(str::to_owned);
        Sighting {
            at: wall(detection.time),
            detector: detection.detector,
            action: Measure::from_number(detection.action),
            host: host_text(&detection.host, &zone),
            device: device.map(|device| device.name.clone()),
            owner: device.map(|device| device.owner.clone()),
            mac: mac.map(mac_text),
            interface: (detection.ifindex != 0).then(|| interface(detection.ifindex)),
            destination,
            port: port_of(detection),
            list,
            hits: detection.hits,
            value: detection.value,
            refused: detection.refused,
            still: detection.still != 0,
            reason: Reason::from_number(detection.reason).map(|reason| reason.code().to_owned()),
            rule: names.rule(detection.slot),
            revision: self.revision(),
            blocked_until: (detection.until != 0).then(|| wall(detection.until)),
            zone,
        }
    }

    /// Somebody has to look: on disk, in the record and in the log.
    fn open_incident(&mut self, id: u64, sighting: &Sighting) {
        let Sighting { host, zone, device, owner, .. } = sighting;
        let detector = crate::detect::sighting::detector_code(sighting.detector);
        tracing::warn!(
            incident = id,
            detector,
            host,
            zone,
            device,
            owner,
            action = sighting.action.code(),
            "a detector saw something: sekimori incidents show {id}"
        );
        self.save_incident(id);
        self.record_opening(id);
    }

    fn record_opening(&mut self, id: u64) {
        let Some(incident) = self.incidents.book.get(id) else { return };
        let message = Detector::from_code(&incident.detector)
            .map_or_else(|| incident.detector.clone(), |detector| detector.en().to_owned());
        let draft = Draft {
            details: Some(summary(incident)),
            after: incident.revision.clone(),
            before: incident.revision.clone(),
            ..self.draft(&Caller::agent(), Action::IncidentOpen, &objects(incident), Outcome { ok: true, message })
        };
        if self.write_record(draft).is_none() {
            self.incidents.book.change(id, |incident| incident.recorded = true);
        }
    }

    /// Puts the host in quarantine, unless it is, may not be, or the guard says that it is enough.
    fn quarantine_by_detector(&mut self, id: u64, detection: &Detection, sighting: &Sighting) {
        let now = boottime_ns();
        if self.is_in_quarantine(detection) {
            let answer = self.incidents.book.get(id).and_then(|incident| incident.quarantine.as_ref());
            if !answer.is_some_and(|answer| matches!(answer.outcome, Asked::Done | Asked::Already)) {
                self.quarantine_answered(id, sighting, Asked::Already, String::new());
            }
            return;
        }
        let (limit, episode) = (self.guard_limit(), self.config.incidents.bounds.episode);
        match self.incidents.guard.decide(&sighting.host, limit, episode, now) {
            Decision::Wait => return,
            Decision::HoldBack => return self.hold_back(id, sighting, limit),
            Decision::Ask => {}
        }
        let objects = match self.host_objects(detection, sighting) {
            Ok(objects) => objects,
            Err(why) => return self.quarantine_answered(id, sighting, Asked::Refused, why),
        };
        let reason = format!("{} (incident {id})", crate::detect::sighting::detector_code(sighting.detector));
        let reply = self.quarantine(objects, reason, self.quarantine_lasts(sighting), &Caller::agent());
        let done = reply.exit < 2 && !reply.body.is_null();
        let message = reply.error.as_ref().map(|problem| problem.message.clone()).unwrap_or_default();
        let outcome = match reply.error.as_ref().map(|problem| problem.code.as_str()) {
            _ if done => Asked::Done,
            Some("refused") => Asked::Refused,
            _ => Asked::Failed,
        };
        self.quarantine_answered(id, sighting, outcome, message);
    }

    /// Where a quarantine was placed, or will not be without a person, the block that stood in for it goes: the first permits more,
    /// and the second is not for a detector to decide.
    fn end_stand_in(&mut self, detection: &Detection, sighting: &Sighting) {
        let lifted = if self.is_in_quarantine(detection) {
            Lifted::Everything
        } else if matches!(self.incidents.guard.answer(&sighting.host), Some(Asked::Refused | Asked::HeldBack)) {
            Lifted::StandIn
        } else {
            return;
        };
        if let Err(why) = self.lift_blocks(&[detection.host], lifted) {
            tracing::error!(host = sighting.host, "it stays blocked for as long as its detector said: {why}");
        }
    }

    /// The guard: so many are in quarantine already that a person has to look first.
    fn hold_back(&mut self, id: u64, sighting: &Sighting, limit: Limit) {
        self.incidents.tally.held_back += 1;
        let message = format!(
            "NOT in quarantine: detectors put {} hosts there within {} s, which is the most; a person decides",
            limit.hosts,
            limit.within.as_secs()
        );
        let result = Outcome { ok: false, message: message.clone() };
        let names = [format!("incident {id}"), format!("host {}", sighting.host)];
        let draft = self.draft(&Caller::agent(), Action::QuarantineHeldBack, &names, result);
        self.write_record(draft);
        self.quarantine_answered(id, sighting, Asked::HeldBack, message);
    }

    fn quarantine_answered(&mut self, id: u64, sighting: &Sighting, outcome: Asked, message: String) {
        if matches!(outcome, Asked::Refused | Asked::HeldBack | Asked::Failed) {
            tracing::error!(
                incident = id,
                host = sighting.host,
                "NOT in quarantine, a person must decide: {message}: sekimori quarantine host {} --reason …",
                sighting.device.as_ref().unwrap_or(&sighting.host)
            );
        }
        self.incidents.guard.answered(&sighting.host, outcome, boottime_ns());
        let at = Timestamp::now();
        self.incidents.book.change(id, |incident| {
            // One incident may be of many hosts: what needs a person is not hidden by what does not.
            let undecided = incident.hosts.is_some() && incident.is_undecided();
            if !undecided || matches!(outcome, Asked::Refused | Asked::HeldBack | Asked::Failed) {
                incident.quarantine = Some(Quarantine { outcome, at, message });
            }
        });
        self.save_incident(id);
    }

    /// Whether this very host is in quarantine now.
    fn is_in_quarantine(&self, detection: &Detection) -> bool {
        let (address, mac) = (host_address(&detection.host), host_mac(&detection.host).map(mac_text));
        self.quarantines.hosts.iter().any(|entry| {
            address.is_some_and(|address| entry.covers.addresses.contains(&address))
                || mac.as_ref().is_some_and(|mac| entry.covers.macs.contains(mac))
        })
    }

    /// The host by the names under which it cannot come back; or why nobody but a person can name it.
    fn host_objects(&self, detection: &Detection, sighting: &Sighting) -> Result<Vec<Object>, String> {
        let policy = self.live.as_ref().map(|live| live.policy.as_ref()).ok_or("no policy is in force")?;
        let zone = policy.nets.iter().find(|net| net.name == sighting.zone);
        if !zone.is_some_and(|net| matches!(net.kind, NetKind::Zone { .. })) {
            return Err(format!("{} is no zone: only hosts of zones go into quarantine by themselves", sighting.zone));
        }
        let host = |name: &str| Object::host(name).map_err(|error| error.text(crate::cli::text::Lang::En));
        if let Some(device) = &sighting.device {
            return Ok(vec![host(device)?]);
        }
        if detection.host == [0; 16] {
            return Err("the detector knows the zone only, not the host".to_owned());
        }
        let mut objects = vec![host(&sighting.host)?];
        // Nobody registered it: without its MAC it would come back under its next address.
        if let Some(mac) = sighting.mac.as_deref().filter(|mac| *mac != sighting.host && read_mac(mac).is_some()) {
            objects.push(host(mac)?);
        }
        Ok(objects)
    }

    /// Whether the guard holds detectors back now.
    pub fn guard_holds(&self) -> bool {
        self.incidents.guard.holds(self.guard_limit(), boottime_ns())
    }

    /// Evidence was written, or not.
    pub fn evidence_written(&mut self, written: Result<Written, (u64, String)>) {
        let written = match written {
            Ok(written) => {
                self.faults.clear(&Fault::IncidentsNotKept(String::new()));
                written
            }
            Err((id, why)) => {
                self.incidents.tally.unwritten += 1;
                tracing::error!(incident = id, "its packets could not be saved: {why}");
                return self.faults.raise(Fault::IncidentsNotKept(why));
            }
        };
        let Written { id, packets, file } = written;
        let Some(incident) = self.incidents.book.get(id) else {
            // It made room meanwhile.
            let removed = self.incidents.store.remove_evidence(id).map_err(|error| error.to_string());
            self.faults.track(removed, Fault::IncidentsNotKept);
            return;
        };
        let before = incident.evidence.as_ref().map_or(0, |evidence| evidence.packets);
        let evidence = Evidence {
            file: evidence_name(id),
            packets: before + packets,
            bytes: file.len() as u64,
            sha256: hex(&Sha256::digest(&file)),
            at: Timestamp::now(),
            removed: false,
        };
        self.incidents.files.insert(id, evidence.bytes);
        let message = format!("{} packets saved", evidence.packets);
        let draft = Draft {
            details: Some(json!({ "file": evidence.file, "bytes": evidence.bytes, "sha256": evidence.sha256 })),
            ..self.draft(&Caller::agent(), Action::IncidentEvidence, &objects(incident), Outcome { ok: true, message })
        };
        self.incidents.book.change(id, |incident| incident.evidence = Some(evidence));
        self.save_incident(id);
        self.write_record(draft);
        self.rotate_evidence(id);
    }

    /// Kept packets were gone before they could be read.
    pub fn evidence_overwritten(&mut self, packets: u64) {
        self.incidents.tally.overwritten += packets;
    }

    /// The oldest files make room; never the one just written.
    fn rotate_evidence(&mut self, newest: u64) {
        let mut total: u64 = self.incidents.files.values().sum();
        while total > self.config.incidents.evidence_bytes {
            let Some(oldest) = self.incidents.files.keys().copied().find(|id| *id != newest) else { return };
            total -= self.incidents.files.remove(&oldest).unwrap_or(0);
            let removed = self.incidents.store.remove_evidence(oldest).map_err(|error| error.to_string());
            self.faults.track(removed, Fault::IncidentsNotKept);
            self.incidents.tally.rotated += 1;
            tracing::warn!(
                incident = oldest,
                "its packets made room for newer ones; its line in the record keeps their SHA-256"
            );
            self.incidents.book.change(oldest, |incident| {
                if let Some(evidence) = &mut incident.evidence {
                    evidence.removed = true;
                }
            });
            self.save_incident(oldest);
        }
    }

    /// Bytes of evidence on disk.
    pub fn evidence_bytes(&self) -> u64 {
        self.incidents.files.values().sum()
    }

    /// Removes from the disk what made room.
    fn forget_incidents(&mut self) {
        let gone = self.incidents.book.take_gone();
        if gone.is_empty() {
            return;
        }
        let mut removed = self.incidents.store.save_next(self.incidents.book.next());
        for id in gone {
            self.incidents.files.remove(&id);
            removed = removed.and(self.incidents.store.remove(id));
        }
        self.faults.track(removed.map_err(|error| error.to_string()), Fault::IncidentsNotKept);
    }

    /// Writes one incident now; a disk that refuses is a fault, and it is tried again.
    pub(super) fn save_incident(&mut self, id: u64) -> bool {
        let Some(incident) = self.incidents.book.get(id) else { return true };
        let saved = self.incidents.store.save(incident).map_err(|error| error.to_string());
        if saved.is_ok() {
            self.incidents.book.saved(id);
        }
        self.faults.track(saved, Fault::IncidentsNotKept).is_some()
    }

    /// Writes at most so many that have grown; whether there are more.
    pub fn save_incidents(&mut self, most: usize) -> bool {
        for id in self.incidents.book.unsaved(most) {
            if !self.save_incident(id) {
                break;
            }
        }
        !self.incidents.book.unsaved(1).is_empty()
    }

    /// Where incidents are kept.
    pub fn incident_store(&self) -> Store {
        self.incidents.store.clone()
    }
}

/// As the record names them.
pub(super) fn objects(incident: &Incident) -> Vec<String> {
    let mut objects = vec![format!("incident {}", incident.id)];
    if incident.hosts.is_none() && !incident.host.starts_with("zone ") {
        objects.push(format!("host {}", incident.host));
    }
    objects.extend(incident.device.as_ref().map(|device| format!("host {device}")));
    objects.push(format!("zone {}", incident.zone));
    objects
}

/// What the record keeps of an incident, for when the incident itself is gone.
pub(super) fn summary(incident: &Incident) -> serde_json::Value {
    json!({
        "detector": incident.detector,
        "action": incident.action,
        "device": incident.device,
        "owner": incident.owner,
        "mac": incident.mac,
        "first_seen": incident.first_seen,
        "last_seen": incident.last_seen,
        "packets": incident.packets,
        "destinations": incident.destinations.samples,
        "ports": incident.ports.samples,
        "evidence": incident.evidence.as_ref().map(|evidence| &evidence.sha256),
    })
}

fn is_router(policy: &Policy, mac: [u8; 6]) -> bool {
    policy.nets.iter().any(|net| net.routers.iter().any(|router| router.0 == mac))
}

/// The registered device whose doing it is: by its address, by its MAC where that is all that is known, or, where the zone's
/// addresses are not registered, by the MAC the packet came with (`own`: not a router's).
fn device_of<'p>(policy: &'p Policy, detection: &Detection, own: Option<[u8; 6]>) -> Option<&'p Device> {
    let by_mac = |mac: [u8; 6]| policy.devices.iter().find(move |device| device.mac.0 == mac);
    if let Some(mac) = host_mac(&detection.host) {
        return by_mac(mac);
    }
    let address = (detection.host != [0; 16]).then(|| unmapped(detection.host))?;
    let registered = policy.devices.iter().find(|device| device.addresses.contains(&address));
    registered.or_else(|| own.and_then(by_mac).filter(|device| device.addresses.is_empty()))
}
