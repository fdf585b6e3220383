//! What one line of the record says.

use serde::{Deserialize, Serialize};

/// Who acted, as the kernel knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// User id of the peer (socket), the sender (signal) or the process itself.
    pub uid: u32,
    /// Name of that user when the line was written; the number as text where there is none.
    pub name: String,
    /// `operator`, `viewer` or `agent`.
    pub role: String,
    /// Process id, 0 where the kernel hides it.
    pub pid: i32,
    /// The user who logged in, where the audit system knows (it survives `sudo`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_uid: Option<u32>,
    /// Where the caller says it is logged in from (`SSH_CONNECTION`); a claim, not a fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims_from: Option<String>,
}

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
    /// A cut-off was lifted.
    Restore,
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
    /// A line that a crash cut short was found and left in place.
    TornLine,
}

/// A revision by number and content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// An entry before the room numbers and dates it.
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
    /// Revision in force before.
    pub before: Option<RevisionRef>,
    /// Revision in force after.
    pub after: Option<RevisionRef>,
    /// Whether it worked.
    pub result: Outcome,
    /// The counters of the revision that ended.
    pub snapshot: Option<SnapshotRef>,
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
    /// Revision in force before.
    pub before: Option<RevisionRef>,
    /// Revision in force after.
    pub after: Option<RevisionRef>,
    /// Whether it worked.
    pub result: Outcome,
    /// The counters of the revision that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotRef>,
}
