//! One thing that was seen of one host: from the first event to the last, and what people made of it.

use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sighting::{Action, Sighting, detector_code};
use crate::record::{Actor, RevisionRef};

/// Destinations, ports and hosts of which each incident names so many.
pub const SAMPLES: usize = 32;

/// How loud it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Counted and listed; nobody is called.
    Observe,
    /// Somebody has to look.
    Alert,
}

/// Whether somebody has looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Level `observe`: nobody has to.
    Noted,
    /// Nobody has.
    Open,
    /// Somebody has.
    Closed,
}

/// Different values, as far as they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Distinct<T> {
    /// How many different ones; at least so many if `more`.
    pub count: usize,
    /// There were others than these.
    pub more: bool,
    /// The first of them.
    pub samples: Vec<T>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self { count: 0, more: false, samples: Vec::new() }
    }
}

impl<T> Distinct<T> {
    /// None so far.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<T: PartialEq> Distinct<T> {
    fn add(&mut self, value: Option<T>) {
        let Some(value) = value.filter(|value| !self.samples.contains(value)) else { return };
        if self.samples.len() == SAMPLES {
            self.more = true;
            return;
        }
        self.samples.push(value);
        self.count = self.samples.len();
    }
}

/// Who closed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    /// Who.
    pub by: Actor,
    /// When, RFC 3339.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// What became of the quarantine that the detector asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quarantine {
    /// See there.
    pub outcome: Outcome,
    /// When, RFC 3339.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Why, English; empty if it was done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What became of a quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// In quarantine.
    Done,
    /// It was in quarantine already.
    Already,
    /// The policy does not let it: a person must decide.
    Refused,
    /// The guard does not let it: a person must decide.
    HeldBack,
    /// It did not work; it is tried again.
    Failed,
}

/// The packets that prove it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// File in the folder `incidents` of the state directory.
    pub file: String,
    /// Packets in it.
    pub packets: usize,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of it, hex.
    pub sha256: String,
    /// When it was last written, RFC 3339.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// It made room for newer ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// Counted from 1, never reused.
    pub id: u64,
    /// What saw it.
    pub detector: String,
    /// How loud it is.
    pub level: Level,
    /// Whether somebody has looked.
    pub state: State,
    /// Whose doing it is: an address, a MAC, `zone NAME`, or `many hosts of NAME`.
    pub host: String,
    /// Its zone.
    pub zone: String,
    /// More hosts than could have an incident of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Distinct<String>>,
    /// The registered device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its MAC, where it is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Interface it came by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// First event, RFC 3339.
    #[schemars(with = "String")]
    pub first_seen: Timestamp,
    /// Last event, RFC 3339.
    #[schemars(with = "String")]
    pub last_seen: Timestamp,
    /// Events; the data plane sends at most one a second.
    pub events: u64,
    /// What was beyond the threshold: packets, contacts, questions.
    pub packets: u64,
    /// Packets that blocks refused.
    pub refused: u64,
    /// The detector's own figure, at its highest.
    pub value: u32,
    /// Where it went, as far as events say.
    pub destinations: Distinct<IpAddr>,
    /// To which ports.
    pub ports: Distinct<u16>,
    /// The threat lists they are on.
    #[serde(default, skip_serializing_if = "Distinct::is_empty")]
    pub lists: Distinct<String>,
    /// Reason of the last packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Rule that decided the last packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Revision in force at the last event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionRef>,
    /// The hardest that was done.
    pub action: Action,
    /// Until when it is blocked, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub blocked_until: Option<Timestamp>,
    /// What became of the quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Quarantine>,
    /// The packets that prove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// Who closed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
    /// What the data plane's own counters said last: packets, refused.
    pub counters: (u32, u32),
    /// The line of the record that says that it opened was written.
    #[serde(default)]
    pub recorded: bool,
}

impl Incident {
    /// From its first event. `before`: what the counters said at the end of the episode before, if it is known.
    pub fn new(id: u64, sighting: &Sighting, before: Option<(u32, u32)>) -> Self {
        let mut incident = Self::empty(id, sighting);
        incident.counters = before.unwrap_or_default();
        incident.add(sighting);
        incident
    }

    /// Of many hosts, from its first event.
    pub fn of_many(id: u64, sighting: &Sighting) -> Self {
        let mut incident = Self::empty(id, sighting);
        incident.host = many_hosts(&sighting.zone);
        incident.hosts = Some(Distinct::default());
        incident.add(sighting);
        incident
    }

    fn empty(id: u64, sighting: &Sighting) -> Self {
        Self {
            id,
            detector: detector_code(sighting.detector),
            level: Level::Observe,
            state: State::Noted,
            host: sighting.host.clone(),
            zone: sighting.zone.clone(),
            hosts: None,
            device: None,
            owner: None,
            mac: None,
            interface: None,
            first_seen: sighting.at,
            last_seen: sighting.at,
            events: 0,
            packets: 0,
            refused: 0,
            value: 0,
            destinations: Distinct::default(),
            ports: Distinct::default(),
            lists: Distinct::default(),
            reason: None,
            rule: None,
            revision: None,
            action: Action::Observe,
            blocked_until: None,
            quarantine: None,
            evidence: None,
            closed: None,
            counters: (0, 0),
            recorded: false,
        }
    }

    /// One more event.
    pub fn add(&mut self, sighting: &Sighting) {
        self.first_seen = self.first_seen.min(sighting.at);
        self.last_seen = self.last_seen.max(sighting.at);
        self.events += 1;
        // Of a packet that was refused for what came before nothing is known but that.
        let seen = !sighting.still;
        if let Some(hosts) = &mut self.hosts {
            // Counters of different hosts cannot be held against one another.
            self.packets += u64::from(seen);
            hosts.add(Some(sighting.host.clone()));
        } else {
            self.packets += since(self.counters.0, sighting.hits).max(u64::from(seen));
            self.refused += since(self.counters.1, sighting.refused);
            self.counters = (sighting.hits, sighting.refused);
            self.device = sighting.device.clone().or_else(|| self.device.take());
            self.owner = sighting.owner.clone().or_else(|| self.owner.take());
            self.mac = sighting.mac.clone().or_else(|| self.mac.take());
        }
        self.interface = sighting.interface.clone().or_else(|| self.interface.take());
        if seen {
            self.value = self.value.max(sighting.value);
            self.destinations.add(sighting.destination);
            self.ports.add(sighting.port);
            self.lists.add(sighting.list.clone());
            self.reason.clone_from(&sighting.reason);
            self.rule.clone_from(&sighting.rule);
        }
        self.revision.clone_from(&sighting.revision);
        self.action = self.action.max(sighting.action);
        self.blocked_until = self.blocked_until.max(sighting.blocked_until);
        if self.action > Action::Observe && self.state == State::Noted {
            self.level = Level::Alert;
            self.state = State::Open;
        }
    }

    /// A quarantine was asked for, and a person must decide about it.
    pub fn is_undecided(&self) -> bool {
        let asked = |quarantine: &Quarantine| {
            matches!(quarantine.outcome, Outcome::Refused | Outcome::HeldBack | Outcome::Failed)
        };
        self.state == State::Open && self.quarantine.as_ref().is_some_and(asked)
    }
}

/// What an incident of many hosts is called.
pub fn many_hosts(zone: &str) -> String {
    format!("many hosts of {zone}")
}

/// How much a counter of the data plane went on. One that is smaller has begun anew: its host was forgotten in between.
fn since(before: u32, now: u32) -> u64 {
    u64::from(now.checked_sub(before).unwrap_or(now))
}
