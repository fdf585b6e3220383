//! What a status says.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    cutoff::{Level, PlanState},
    record::Actor,
};

/// How an instance is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Every guarded interface that exists judges its packets by a policy.
    pub enforcing: bool,
    /// Why not, or what weakens it.
    pub why: Vec<String>,
    /// Instance name.
    pub instance: String,
    /// Whether an agent answers.
    pub agent_running: bool,
    /// Version of the program that answers.
    pub version: String,
    /// The revision in force.
    pub revision: Option<Revision>,
    /// The policy on disk against it.
    pub policy_file: PolicyFile,
    /// Guarded interfaces.
    pub interfaces: Vec<Interface>,
    /// Where established flows are forwarded by the way in itself, by zone or network.
    #[serde(default)]
    pub fast_path: Vec<FastNet>,
    /// The nftables guard: counters by name; empty if it is not up.
    pub guard: Vec<Guard>,
    /// Cut-offs in force or kept.
    pub cutoffs: Vec<Cutoff>,
    /// Cut-offs that are planned, or were and could not be carried out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plans: Vec<PlanRow>,
    /// Hosts in quarantine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantine: Vec<QuarantineRow>,
    /// Incidents nobody has looked at: the newest of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<OpenIncident>,
    /// How many there are.
    #[serde(default)]
    pub incidents_open: usize,
    /// Set while detectors may put no further host in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard_holds: Option<GuardHolds>,
    /// Lists that others keep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub threat_lists: Vec<ThreatListRow>,
    /// Changes of groups at run time, by group.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub members: BTreeMap<String, usize>,
    /// What inside hosts are watched for; nothing if it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection: Option<Watched>,
    /// How full the tables are.
    pub tables: Vec<Table>,
    /// Idle limits of conversations in seconds, by name.
    #[serde(default)]
    pub timeouts: BTreeMap<String, u32>,
    /// Permissions and registrations that ended or end soon.
    pub permissions: Vec<Permission>,
    /// The clock.
    pub clock: Clock,
    /// The record.
    pub record: Record,
    /// What this box cannot see (law 9).
    pub unseen: Vec<String>,
    /// What went wrong and was not repaired.
    pub faults: Vec<String>,
    /// Set while the gate is open on purpose.
    pub detached: Option<Detached>,
}

/// A revision in force.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Revision {
    /// Counted from 1.
    pub number: u64,
    /// SHA-256, hex.
    pub hash: String,
    /// RFC 3339.
    pub applied_at: String,
    /// Generation in the data plane.
    pub generation: u32,
    /// The organisation of the policy.
    pub organisation: String,
    /// Rules in it.
    pub rules: usize,
}

/// The policy on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyFile {
    /// Where.
    pub path: PathBuf,
    /// Against the revision in force.
    pub state: FileState,
}

/// The policy on disk against the revision in force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// Not looked at yet.
    #[default]
    Unknown,
    /// The same.
    Same,
    /// Different, and it would apply.
    Changed,
    /// Different, and `check` finds errors.
    Invalid,
    /// Not there.
    Missing,
}

/// A guarded interface.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Interface {
    /// Kernel name.
    pub name: String,
    /// Kernel index, 0 while it does not exist.
    pub ifindex: u32,
    /// `native`, `generic` or `missing`.
    pub xdp: String,
    /// Both TCX programs attached.
    pub tcx: bool,
    /// Zones and networks on it.
    pub nets: Vec<String>,
    /// What is wrong.
    pub error: Option<String>,
    /// The fast path here.
    #[serde(default)]
    pub fast_path: FastWay,
}

/// The fast path on one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FastWay {
    /// Packets that come in may take it.
    #[serde(rename = "in")]
    pub way_in: bool,
    /// Packets may leave by it.
    #[serde(rename = "out")]
    pub way_out: bool,
    /// Why not.
    pub reasons: Vec<FastReason>,
}

/// The fast path of one zone or network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FastNet {
    /// Its name.
    pub network: String,
    /// Packets may take it in and out by every interface.
    pub on: bool,
    /// Why not.
    pub reasons: Vec<FastReason>,
}

/// Why the fast path is not used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FastReason {
    /// Stable.
    pub code: String,
    /// What it forbids: `in`, `out` or `both`.
    pub way: String,
    /// On which interface.
    pub interface: String,
    /// About what: a chain, a device, a rule.
    pub about: String,
    /// For people.
    pub text: String,
}

/// One counter of the nftables guard.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Guard {
    /// Its name.
    pub name: String,
    /// Packets dropped.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One cut-off.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Cutoff {
    /// As on the command line: `network internet`.
    pub object: String,
    /// Why.
    pub reason: String,
    /// By whom.
    pub placed_by: Actor,
    /// When, RFC 3339.
    pub placed_at: String,
    /// Seconds since then.
    pub age_seconds: i64,
    /// The management path too.
    pub including_management: bool,
    /// Written to the data plane; false for a name that no policy has had.
    pub in_force: bool,
    /// How deep.
    #[serde(default)]
    pub level: Level,
    /// When it lifts itself, RFC 3339 with the offset of the policy's time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Packets refused since; test packets of proofs are not among them.
    #[serde(default)]
    pub refused_packets: u64,
    /// Their bytes.
    #[serde(default)]
    pub refused_bytes: u64,
    /// Restored in stages: what passes again while the rest stays cut, as on the command line; else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<String>,
    /// Restorations that wait for a second person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Waiting>,
}

/// A restoration that waits for a second person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// The number to confirm it by; also the line of the record.
    pub id: u64,
    /// By whom it was asked for.
    pub asked_by: Actor,
    /// When, RFC 3339.
    pub asked_at: String,
    /// Why.
    pub reason: String,
    /// What shall be restored first; empty: all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<String>,
    /// Until when it can be confirmed, RFC 3339.
    pub expires: String,
}

/// A planned cut-off.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PlanRow {
    /// Counted from 1, never reused.
    pub number: u64,
    /// As on the command line: `network internet`.
    pub objects: Vec<String>,
    /// How deep.
    pub level: Level,
    /// When it begins, RFC 3339, local time of the policy.
    pub at: String,
    /// When it ends; none: when somebody restores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// From when until when, in the reader's language.
    pub period: String,
    /// Why.
    pub reason: String,
    /// By whom.
    pub planned_by: Actor,
    /// When it was planned, RFC 3339.
    pub planned_at: String,
    /// Nearer than the lead time that people are promised.
    pub urgent: bool,
    /// `pending`, `failing` or `missed`.
    pub state: PlanState,
    /// Why it could not be carried out, English.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A host in quarantine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct QuarantineRow {
    /// As named: address, MAC or device.
    pub host: String,
    /// Why.
    pub reason: String,
    /// By whom.
    pub placed_by: Actor,
    /// Nobody asked: a detector, an alert.
    pub automatic: bool,
    /// When, RFC 3339.
    pub placed_at: String,
    /// Seconds since.
    pub age_seconds: i64,
    /// When it ends by itself, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Its MACs.
    pub macs: Vec<String>,
    /// Written to the data plane.
    pub in_force: bool,
    /// Packets refused since.
    pub refused_packets: u64,
    /// Their bytes.
    pub refused_bytes: u64,
}

/// What inside hosts are watched for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Watched {
    /// Every zone.
    pub zones: Vec<WatchedZone>,
    /// Trap addresses.
    pub traps: usize,
    /// Exemptions, those that are over included.
    pub exemptions: usize,
    /// How many hosts detectors may put in quarantine.
    pub guard: Guarded,
}

/// Detectors in one zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WatchedZone {
    /// Its name.
    pub zone: String,
    /// How many detectors do what: by `off`, `observe`, `alert`, `throttle`, `block`, `quarantine`.
    pub detectors: BTreeMap<String, usize>,
}

/// A bound on what detectors may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Guarded {
    /// Hosts.
    pub hosts: u32,
    /// Within so many seconds.
    pub within_seconds: u64,
}

/// The guard: detectors have put as many hosts in quarantine as they may.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct GuardHolds {
    /// So many.
    pub hosts: u32,
    /// Within so many seconds.
    pub seconds: u64,
}

/// An open incident as `status` names it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct OpenIncident {
    /// Its number.
    pub id: u64,
    /// What saw it.
    pub detector: String,
    /// Whose doing it is.
    pub host: String,
    /// The registered device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Its zone.
    pub zone: String,
    /// Last event, RFC 3339.
    pub last_seen: String,
    /// Seconds since.
    pub age_seconds: i64,
    /// What was beyond the threshold.
    pub packets: u64,
    /// The hardest that was done: `alert`, `throttle`, `block` or `quarantine`.
    pub action: String,
    /// The detector asked for a quarantine that a person must decide about.
    pub undecided: bool,
}

/// A list that others keep.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreatListRow {
    /// Its name in the policy.
    pub list: String,
    /// `used`: what is on disk is used; `kept`: that was refused, and the last good delivery is used; `none`: nothing is.
    pub state: String,
    /// What is used is older than the policy lets it be.
    pub expired: bool,
    /// Its file or folder in the policy.
    pub path: PathBuf,
    /// How it is written, as the policy says.
    pub format: String,
    /// As what each of its files was read.
    pub formats: Vec<String>,
    /// Where it comes from.
    pub source: String,
    /// Why it is used.
    pub purpose: String,
    /// Prefixes in use, merged.
    pub prefixes: usize,
    /// Lines with addresses.
    pub entries: u64,
    /// Lines with names only; nothing resolves them.
    pub names: u64,
    /// Lines that were left out, because they were not understood.
    pub bad: u64,
    /// When the newest file of what is used was written, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
    /// When it was taken, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<String>,
    /// Seconds since its newest file was written.
    pub age_seconds: i64,
    /// When it ceases to be fresh, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// SHA-256 over its files, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Why what is on disk is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedRow>,
    /// Deliveries refused since the agent started.
    pub refusals: u64,
}

/// Why a delivery is not used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedRow {
    /// Stable: `empty`, `shrunk`, `everything`, `inside`, `management`, ….
    pub code: String,
    /// For people.
    pub message: String,
    /// Since when, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// A table of the data plane.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    /// Its name.
    pub table: String,
    /// Entries in use.
    pub used: u64,
    /// Entries it holds.
    pub capacity: u64,
}

/// A permission or registration with an end.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Permission {
    /// `rule`, `device` or `exemption`.
    pub kind: String,
    /// Its id or name.
    pub name: String,
    /// RFC 3339.
    pub until: String,
    /// Already over.
    pub expired: bool,
}

/// The clock as schedules see it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Clock {
    /// Disciplined by a time source.
    pub synchronised: bool,
    /// Seconds by which it is behind the latest time ever seen; timed rules stay closed so long.
    pub behind_seconds: i64,
    /// Steps seen since the agent started.
    pub steps: u64,
}

/// The record's own health.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// Number of the last line.
    pub last: u64,
    /// Lines that could not be written since the agent started.
    pub failures: u64,
}

/// The gate was opened on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Detached {
    /// By whom.
    pub by: Actor,
    /// When, RFC 3339.
    pub at: String,
    /// Why.
    pub reason: String,
}

/// One live view.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// Interface id's name, or its number.
    pub interface: String,
    /// Outer VLAN id, 0 for none.
    pub vlan: u16,
    /// IP protocol name or number.
    pub proto: String,
    /// The end beyond the interface.
    pub peer: String,
    /// The other end.
    pub far: String,
    /// `initiator`, `responder`, `box_out` or `box_in`.
    pub role: String,
    /// `opening`, `established`, `closing` or `closed`.
    pub state: String,
    /// Rule that permitted it; `None` for a responder view.
    pub rule: Option<String>,
    /// Zone or network it was judged for.
    pub network: Option<String>,
    /// Device of the initiator.
    pub device: Option<String>,
    /// Seconds since its first packet.
    pub age_seconds: u64,
    /// Seconds since its last one (refreshed once a second).
    pub idle_seconds: u64,
}
