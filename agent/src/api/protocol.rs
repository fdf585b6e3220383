//! What is said over the control socket: one JSON object a line, one reply a request.

use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::roles::Role;
use crate::{
    agent::{capture::CaptureAsk, incident_desk},
    cli::text::Lang,
    cutoff::{First, Level, Object},
    flows,
    record::reader::Filter,
    tokens::{Proof, Right},
};

/// Longest request line. An apply names a path, it does not carry the policy.
pub const MAX_REQUEST: usize = 64 * 1024;
/// Longest reply line a client accepts.
pub const MAX_REPLY: usize = 64 * 1024 * 1024;
/// Longest reason an administrator may give, in bytes.
pub const MAX_REASON: usize = 4096;
/// Most rows a listing returns.
pub const MAX_ROWS: usize = 100_000;

/// One request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Language of the texts in the reply.
    pub lang: Lang,
    /// Where the caller says it is logged in from; recorded as a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims_from: Option<String>,
    /// What is asked.
    pub ask: Ask,
}

/// What can be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// How the instance is.
    Status {},
    /// Live conversations.
    Flows {
        /// Most rows.
        limit: usize,
    },
    /// Flow records, the newest last.
    FlowRecords {
        /// Most rows.
        limit: usize,
        /// Which.
        #[serde(default)]
        filter: flows::Filter,
    },
    /// Who talked to any of these, as far as flow records tell.
    BackCheck {
        /// Addresses and prefixes.
        listed: Vec<IpNet>,
        /// Not before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<jiff::Timestamp>,
        /// Not after.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<jiff::Timestamp>,
    },
    /// The verdict on one packet.
    Explain(Question),
    /// What is wrong with the configured policy as it is on disk.
    Check {},
    /// The last lines of the record.
    Records {
        /// Most lines.
        limit: usize,
        /// Which.
        #[serde(default)]
        filter: Filter,
    },
    /// Whether the record is whole.
    VerifyRecords {},
    /// Put a policy in force.
    Apply(Apply),
    /// Cut objects off.
    Cutoff(CutoffAsk),
    /// Lift cut-offs.
    Restore(RestoreAsk),
    /// Carry out a restoration that somebody else asked for.
    Confirm(ConfirmAsk),
    /// What is cut off.
    Cuts {},
    /// Plan a cut-off.
    Plan(PlanAsk),
    /// Take a plan back.
    Unplan {
        /// Its number.
        number: u64,
        /// Why.
        reason: String,
    },
    /// What is planned.
    Plans {},
    /// Look at cut-offs again.
    VerifyCuts {
        /// Which; none: all.
        objects: Vec<Object>,
    },
    /// Put hosts in quarantine, all or none.
    Quarantine {
        /// Hosts only.
        objects: Vec<Object>,
        /// Why.
        reason: String,
        /// For so many seconds only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lasting: Option<u64>,
    },
    /// Release hosts from quarantine, all or none.
    Release {
        /// As they were named.
        objects: Vec<Object>,
        /// Why.
        reason: String,
    },
    /// Who is in quarantine.
    Quarantines {},
    /// What detectors saw.
    Incidents {
        /// Which.
        #[serde(default)]
        filter: incident_desk::Filter,
        /// Most rows.
        limit: usize,
    },
    /// One incident, in full.
    Incident {
        /// Which.
        id: u64,
    },
    /// Somebody has looked at these, all or none.
    CloseIncidents {
        /// Which.
        ids: Vec<u64>,
        /// What was found.
        reason: String,
    },
    /// One incident with what proves it.
    ExportIncident {
        /// Which.
        id: u64,
    },
    /// What the gate drops, as it drops it.
    Capture(CaptureAsk),
    /// Groups and their run-time members.
    Groups {
        /// One of them, in full.
        name: Option<String>,
    },
    /// Change a group at run time.
    Group(GroupChange),
    /// Lists that others keep.
    Lists {},
    /// Read them again.
    ReloadLists(ReloadAsk),
    /// Who may use the HTTP API.
    Tokens {},
    /// Let somebody use it; root only.
    TokenAdd(TokenAsk),
    /// Let somebody no longer use it; root only.
    TokenRevoke {
        /// Who.
        id: String,
        /// Why.
        reason: String,
    },
    /// Open the gate.
    Detach {
        /// Why.
        reason: String,
    },
}

/// What to cut off, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CutoffAsk {
    /// What, all at one instant.
    pub objects: Vec<Object>,
    /// Why.
    pub reason: String,
    /// How deep.
    #[serde(default)]
    pub level: Level,
    /// The management path too; goes with `all` only.
    #[serde(default)]
    pub including_management: bool,
    /// For so many seconds only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasting: Option<u64>,
    /// Until then only: RFC 3339, local time of the policy, or a time of day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How long, as it was written, if that cannot be read: what is cut then has no end, and the answer says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
    /// Only rehearse it.
    #[serde(default)]
    pub drill: bool,
    /// Of a drill: when the people began, in the forms of `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
}

/// What to cut off later, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanAsk {
    /// What, all at one instant.
    pub objects: Vec<Object>,
    /// When: RFC 3339, or local time of the policy.
    pub at: String,
    /// Why.
    pub reason: String,
    /// How deep.
    #[serde(default)]
    pub level: Level,
    /// For so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasting: Option<u64>,
    /// Until then: in the forms of `at`, or a time of day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Even if people hear of it late.
    #[serde(default)]
    pub urgent: bool,
    /// Draft what they are told.
    #[serde(default)]
    pub notice: bool,
}

/// What to restore.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreAsk {
    /// As they were cut off.
    pub objects: Vec<Object>,
    /// Why.
    pub reason: String,
    /// These hosts and services only, while the rest stays cut; empty: all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<First>,
    /// Only show what would open.
    #[serde(default)]
    pub dry_run: bool,
}

/// A restoration to confirm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmAsk {
    /// The number under which it waits.
    pub id: u64,
    /// What the one who confirms has to say to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A packet to explain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Interface it enters by, or `box`.
    pub interface: String,
    /// As `tcp 192.168.10.17:40000 > 203.0.113.5:443`.
    pub packet: String,
    /// Source MAC.
    pub mac: Option<String>,
    /// Instant, RFC 3339 or local time of the policy.
    pub at: Option<String>,
}

/// A batch of members to add to a group, or to take out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupChange {
    /// The group.
    pub group: String,
    /// Added if true, taken out if not.
    pub add: bool,
    /// Prefixes or addresses.
    pub prefixes: Vec<String>,
    /// Why.
    pub reason: String,
    /// Added for so many seconds only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// Lists to read again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadAsk {
    /// Which; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<String>,
    /// Even if half of one or more is gone.
    #[serde(default)]
    pub accept_shrunk: bool,
    /// Why; needed to accept less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Somebody who may use the HTTP API. The token itself stays with whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenAsk {
    /// For records, and to revoke it by.
    pub id: String,
    /// By what it is known.
    pub proof: Proof,
    /// What it may.
    pub right: Right,
    /// On what; empty: on anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Object>,
    /// For so many seconds only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasting: Option<u64>,
    /// Why.
    pub reason: String,
}

/// How to apply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// Absolute path; `None` for the configured one.
    pub path: Option<PathBuf>,
    /// Why.
    pub reason: Option<String>,
    /// Even if the administrator would be shut out (law 7).
    pub allow_management_loss: bool,
    /// Take the present clock as right although a later one was seen (law 6).
    pub accept_clock: bool,
}

impl Ask {
    /// The least role that may ask this.
    pub fn needs(&self) -> Role {
        match self {
            Self::Status {}
            | Self::Flows { .. }
            | Self::FlowRecords { .. }
            | Self::BackCheck { .. }
            | Self::Explain(_)
            | Self::Check {}
            | Self::Records { .. }
            | Self::VerifyRecords {}
            | Self::Quarantines {}
            | Self::Cuts {}
            | Self::Plans {}
            | Self::VerifyCuts { .. }
            | Self::Tokens {}
            | Self::Incidents { .. }
            | Self::Incident { .. }
            | Self::ExportIncident { .. }
            | Self::Capture(_)
            | Self::Lists {}
            | Self::Groups { .. } => Role::Viewer,
            Self::Apply(_)
            | Self::Group(_)
            | Self::ReloadLists(_)
            | Self::Cutoff(_)
            | Self::Restore(_)
            | Self::Plan(_)
            | Self::Unplan { .. }
            | Self::Confirm(_)
            | Self::Quarantine { .. }
            | Self::Release { .. }
            | Self::CloseIncidents { .. }
            | Self::TokenAdd(_)
            | Self::TokenRevoke { .. }
            | Self::Detach { .. } => Role::Operator,
        }
    }
}

/// One reply.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Reply {
    /// Exit code of the command that asked: 0 done or yes, 1 a clean no, 2 failure.
    pub exit: u8,
    /// The answer.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
    /// Why there is none, or what went wrong beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `usage`, `forbidden`, `refused`, `failed`, `busy`, `unrecorded` or `incomplete`; of a cut-off that stands also `unknown`
    /// (some of what was named), `endless` (its end was not understood) or `unproven`.
    pub code: String,
    /// What happened and what to do next.
    pub message: String,
}

impl Reply {
    /// Done.
    pub fn done(body: impl Serialize) -> Self {
        Self::with(0, body)
    }

    /// An answer with an exit code.
    pub fn with(exit: u8, body: impl Serialize) -> Self {
        match serde_json::to_value(body) {
            Ok(body) => Self { exit, body, error: None },
            Err(error) => Self::failed(error.to_string()),
        }
    }

    /// A clean no.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::problem(1, "refused", message)
    }

    /// It did not work.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::problem(2, "failed", message)
    }

    /// The request cannot be understood.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::problem(2, "usage", message)
    }

    /// Any other problem.
    pub fn problem(exit: u8, code: &str, message: impl Into<String>) -> Self {
        let error = Some(Problem { code: code.to_owned(), message: message.into() });
        Self { exit, body: Value::Null, error }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_are_refused() {
        let good = r#"{"lang":"ja","ask":{"op":"cutoff","objects":[{"kind":"all"}],"reason":"x","including_management":false}}"#;
        assert!(serde_json::from_str::<Request>(good).is_ok());
        for bad in [
            r#"{"lang":"ja","ask":{"op":"reboot"}}"#,
            r#"{"lang":"ja","ask":{"op":"status","x":1}}"#,
            r#"{"lang":"ja","x":1,"ask":{"op":"status"}}"#,
            r#"{"lang":"fr","ask":{"op":"status"}}"#,
            r#"{"lang":"ja","ask":{"op":"cutoff","objects":[{"kind":"all"}],"including_management":false}}"#,
        ] {
            assert!(serde_json::from_str::<Request>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn looking_is_for_viewers_and_changing_for_operators() {
        assert_eq!(Ask::Status {}.needs(), Role::Viewer);
        assert_eq!(Ask::Records { limit: 1, filter: Filter::default() }.needs(), Role::Viewer);
        assert_eq!(Ask::Apply(Apply::default()).needs(), Role::Operator);
        assert_eq!(Ask::Detach { reason: String::new() }.needs(), Role::Operator);
        assert_eq!(Ask::Plans {}.needs(), Role::Viewer);
        assert_eq!(Ask::Plan(PlanAsk::default()).needs(), Ask::Cutoff(CutoffAsk::default()).needs());
        assert_eq!(Ask::Unplan { number: 1, reason: String::new() }.needs(), Role::Operator);
        let request = serde_json::to_string(&Ask::Apply(Apply::default())).unwrap();
        assert!(request.starts_with(r#"{"op":"apply""#), "{request}");
    }
}
