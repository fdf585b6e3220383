//! The agent's one door to the rooms that read, compile and judge policies.

use std::path::Path;

use sekimori_ebpf::abi::Schedule;
use serde::{Deserialize, Serialize};

use crate::{
    api::protocol::Question, cli::text::Lang, compile::tables::Compiled, policy::model::Policy,
};

/// One thing `check` says, in the reader's language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `error` or `warning`.
    pub severity: String,
    /// Stable code, as `E101` or `W003`.
    pub code: String,
    /// File as given.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// What is wrong, what was expected, what to do.
    pub message: String,
}

impl Finding {
    /// Whether it forbids applying.
    pub fn is_error(&self) -> bool {
        self.severity == "error"
    }
}

/// One of the policy's own tests that did not come out as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedTest {
    /// Its name.
    pub name: String,
    /// Where it is written.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// What was expected.
    pub expected: String,
    /// What came out.
    pub got: String,
}

/// A verdict and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// Passes?
    pub pass: bool,
    /// Deciding rule.
    pub rule: Option<String>,
    /// Reason code.
    pub reason: String,
    /// For people, several lines.
    pub text: String,
}

/// Names and their stable numbers.
#[derive(Debug, Clone, Default)]
pub struct Numbers {}

impl Numbers {
    /// From the state folder; empty if there is none yet.
    pub fn load(_path: &Path) -> Result<Self, String> {
        Ok(Self {})
    }
    /// To the state folder, durably.
    pub fn save(&self, _path: &Path) -> Result<(), String> {
        Ok(())
    }
    /// The id of a zone or network that any policy ever named.
    pub fn net(&self, _name: &str) -> Option<u16> {
        None
    }
    /// Names of zones and networks by id.
    pub fn nets(&self) -> Vec<(String, u16)> {
        Vec::new()
    }
    /// Rule ids by counter slot.
    pub fn rules(&self) -> Vec<(String, u32)> {
        Vec::new()
    }
}

/// Reads and validates; the policy is there if there is no error.
pub fn load(_path: &Path, _lang: Lang) -> (Option<Policy>, Vec<Finding>) {
    (None, Vec::new())
}

/// Warnings on a valid policy.
pub fn lint(_policy: &Policy, _lang: Lang) -> Vec<Finding> {
    Vec::new()
}

/// The policy's own tests that fail.
pub fn failing_tests(_policy: &Policy, _lang: Lang) -> Result<Vec<FailedTest>, String> {
    Ok(Vec::new())
}

/// Tables for the data plane; `numbers` gains the names that are new.
pub fn compile(_policy: &Policy, _numbers: &mut Numbers) -> Result<Compiled, String> {
    Err("not built".into())
}

/// The windows of every schedule from now on.
pub fn windows(
    _compiled: &Compiled,
    _policy: &Policy,
    _wall: jiff::Timestamp,
    _boottime_ns: u64,
) -> Vec<Schedule> {
    Vec::new()
}

/// The verdict on one packet.
pub fn explain(_policy: &Policy, _question: &Question, _lang: Lang) -> Result<Explained, String> {
    Err("not built".into())
}

/// Judges a capture and prints its verdicts; the exit code.
pub fn replay(
    _policy: &Path,
    _replay: &crate::cli::meaning::Replay,
    _json: bool,
    _lang: Lang,
) -> Result<u8, String> {
    Err("not built".into())
}

/// The JSON Schema of policies.
pub fn schema() -> serde_json::Value {
    serde_json::Value::Null
}
