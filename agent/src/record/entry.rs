//! What one line of the record says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::actor::Actor;

/// By which door the action came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The control socket.
    Socket,
    /// A signal.
    Signal,
    /// The command line, working on the pinned state while no agent runs.
    Cli,
    /// The agent itself (start, stop, restoring what was there).
    Agent,
    /// The HTTP API.
    Http,
    /// An alert that a receiver took.
    Webhook,
    /// A plan whose time had come.
    Plan,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The agent started.
    Start,
    /// The agent stopped; enforcement goes on.
    Stop,
    /// A policy was applied, or an attempt failed.
    Apply,
    /// The revision in force before a reboot or a change of agent was put in force again.
    Reapply,
    /// A cut-off was placed.
    Cutoff,
    /// What was seen of a cut-off, right after it or later.
    CutoffProof,
    /// A cut-off was rehearsed.
    CutoffDrill,
    /// A cut-off was lifted.
    Restore,
    /// A cut-off was planned.
    Plan,
    /// A plan was taken back, or put away after it was missed.
    Unplan,
    /// The time of a plan came: the cut-off itself is a line of its own.
    PlanDue,
    /// The time of a plan was over before it could be carried out.
    PlanMissed,
    /// Somebody asked for a restoration that a second person has to confirm, or such a request ended without one.
    RestoreRequest,
    /// Hosts were put in quarantine.
    Quarantine,
    /// Hosts were released from quarantine.
    Release,
    /// The gate was opened.
    Detach,
    /// The clock was accepted although it is behind one seen earlier.
    AcceptClock,
    /// Members were added to a group at run time.
    GroupAdd,
    /// Members were taken out of a group at run time.
    GroupRemove,
    /// Members of a group went by themselves at their time.
    GroupExpire,
    /// A detector saw something that somebody has to look at.
    IncidentOpen,
    /// Somebody has looked at it.
    IncidentClose,
    /// The packets that prove an incident were written to a file.
    IncidentEvidence,
    /// Detectors had put so many hosts in quarantine that this one was left out: a person must decide.
    QuarantineHeldBack,
    /// Lists that others keep were read again because somebody said so.
    ListReload,
    /// A delivery of a list was refused; the last good one stays in use.
    ListRefused,
    /// A delivery of a list was taken after none, or after one that was refused.
    ListTaken,
    /// A token or certificate of the HTTP API was added.
    TokenAdd,
    /// A token or certificate of the HTTP API was revoked.
    TokenRevoke,
    /// A line that a crash cut short was found and left in place.
    TornLine,
    /// Actions before this one could not be recorded.
    Unrecorded,
    /// Lines that were in the record are gone or were changed.
    RecordDamaged,
    /// The lines before, written by a version that did not chain them, are sealed from here on.
    Chain,
}

/// A revision by number and content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevisionRef {
    /// Counted from 1, never reused.
    pub number: u64,
    /// SHA-256 of the policy, hex.
    pub hash: String,
}

/// Whether it worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Done.
    pub ok: bool,
    /// What happened, English.
    pub message: String,
}

/// Counters kept beside the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRef {
    /// File name inside the snapshot folder.
    pub file: String,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
}

/// Most bytes of [`Draft::details`] as JSON; more is left out, and said to be.
pub const MAX_DETAILS: usize = 32 * 1024;

/// An entry before the room numbers, dates and chains it.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Who.
    pub actor: Actor,
    /// By which door.
    pub from: Origin,
    /// What.
    pub action: Action,
    /// Why, as the administrator said.
    pub reason: Option<String>,
    /// What it concerned.
    pub objects: Vec<String>,
    /// Of a cut-off: `drop`, `flush` or `link`.
    pub level: Option<String>,
    /// Only rehearsed.
    pub drill: bool,
    /// Revision in force before.
    pub before: Option<RevisionRef>,
    /// Revision in force after.
    pub after: Option<RevisionRef>,
    /// Whether it worked.
    pub result: Outcome,
    /// The counters of the revision that ended.
    pub snapshot: Option<SnapshotRef>,
    /// What else belongs to this action: a proof, who confirmed. At most [`MAX_DETAILS`].
    pub details: Option<Value>,
}

impl Draft {
    /// With nothing but who, by which door, what, and how it went.
    pub fn new(actor: Actor, from: Origin, action: Action, result: Outcome) -> Self {
        Self {
            actor,
            from,
            action,
            reason: None,
            objects: Vec::new(),
            level: None,
            drill: false,
            before: None,
            after: None,
            result,
            snapshot: None,
            details: None,
        }
    }
}

/// One line of the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Counted from 1 without gaps; a gap means that lines were taken out.
    pub n: u64,
    /// RFC 3339, UTC, microseconds.
    pub time: String,
    /// Whether the kernel's clock was disciplined by a time source then.
    pub clock_synchronised: bool,
    /// Who.
    pub actor: Actor,
    /// By which door.
    pub from: Origin,
    /// What.
    pub action: Action,
    /// Why.
    pub reason: Option<String>,
    /// What it concerned.
    pub objects: Vec<String>,
    /// Of a cut-off: `drop`, `flush` or `link`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Only rehearsed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub drill: bool,
    /// Revision in force before.
    pub before: Option<RevisionRef>,
    /// Revision in force after.
    pub after: Option<RevisionRef>,
    /// Whether it worked.
    pub result: Outcome,
    /// The counters of the revision that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotRef>,
    /// What else belongs to this action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// SHA-256 of the line before this one, without its line feed, hex; [`NOTHING_BEFORE`] in the first. Lines written
    /// before lines were chained have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<String>,
}

/// What the first line says of the line before it.
pub const NOTHING_BEFORE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde asks for")]
fn is_false(value: &bool) -> bool {
    !*value
}
