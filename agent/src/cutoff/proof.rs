//! What was seen of a cut, apart from that it was asked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Evidence that nothing passes what is cut.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    /// Everything below was looked at and is as it should be.
    pub proven: bool,
    /// The management path is among what was named, and stays open.
    #[serde(default)]
    pub management_open: bool,
    /// When the last word was written, RFC 3339 UTC; `None` for a later verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched_at: Option<String>,
    /// From the caller's `connect` to that moment, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch_us: Option<u64>,
    /// How long it took until no CPU was still judging a packet by what was before, milliseconds; `None`: the kernel would
    /// not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_ms: Option<u64>,
    /// How long the counters were watched after that, milliseconds.
    pub watched_ms: u64,
    /// By object.
    pub objects: Vec<ObjectProof>,
    /// What could not be verified, in the reader's language.
    pub unverified: Vec<String>,
}

/// What was seen of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectProof {
    /// As on the command line.
    pub object: String,
    /// The tables of the data plane say so.
    pub in_tables: bool,
    /// Packets counted as passing it while the counters were watched; `None` where no counter is its alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<u64>,
    /// Packets refused since the cut.
    pub refused_packets: u64,
    /// Their bytes.
    pub refused_bytes: u64,
    /// Conversations that were open and are cut now.
    pub conversations: u64,
    /// Packets made for the purpose and given to the programs in force.
    pub probes: u64,
    /// Those that were dropped.
    pub probes_dropped: u64,
    /// Interfaces it is behind.
    pub interfaces: Vec<InterfaceProof>,
}

/// What was seen of one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceProof {
    /// Kernel name.
    pub name: String,
    /// Every program is attached, or there is no such interface now.
    pub guarded: bool,
    /// Administratively up; `None`: there is no such interface now.
    pub up: Option<bool>,
}
