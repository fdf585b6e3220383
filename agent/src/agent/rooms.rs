//! The agent's one door to the rooms that read and compile policies; `evaluator` is the door to judging.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use sekimori_ebpf::abi::Schedule;
use serde::{Deserialize, Serialize};

use crate::{
    cli::text::{self, Lang},
    compile::{
        self,
        registry::{Kind, Registry},
        schedule::{self, Clock},
        tables::Compiled,
    },
    dataplane::system,
    explain::outcome,
    policy::{
        self, Spans,
        diagnostic::{self, Diagnostic},
        model::Policy,
        problem::Severity,
    },
    threat,
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
    /// From 1; 0 for the file as a whole.
    pub line: u32,
    /// From 1, in characters; 0 for the file as a whole.
    pub column: u32,
    /// The offending text, shortened.
    pub text: String,
    /// What is wrong, what was expected, what was probably meant.
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
    /// What did not hold.
    pub message: String,
}

/// A valid policy and where its parts were written.
#[derive(Debug)]
pub struct Read {
    /// The policy.
    pub policy: Arc<Policy>,
    /// For lints.
    pub spans: Spans,
}

/// Reads and validates; the policy is there if there is no error.
pub fn load(path: &Path, lang: Lang) -> (Option<Read>, Vec<Finding>) {
    let loaded = policy::load(path);
    let findings = loaded.diagnostics.iter().map(|diagnostic| finding(diagnostic, lang)).collect();
    (loaded.policy.map(|policy| Read { policy: Arc::new(policy), spans: loaded.spans }), findings)
}

/// Warnings on a valid policy, and why it was not held against this system's routes and addresses, if it was not.
pub fn lint(read: &Read, lang: Lang) -> (Vec<Finding>, Option<String>) {
    let (system, skipped) = match system::around(&read.policy) {
        Ok(Some(system)) => (Some(system), None),
        Ok(None) => (None, Some(text::routing_not_here(lang))),
        Err(error) => (None, Some(text::routing_unread(lang, error))),
    };
    let found = policy::lint(&read.policy, &read.spans, Timestamp::now(), system.as_ref());
    (found.iter().map(|diagnostic| finding(diagnostic, lang)).collect(), skipped)
}

/// Warnings on the lists that a valid policy at this place names.
pub fn lint_lists(read: &Read, path: &Path, lang: Lang) -> Vec<Finding> {
    let found = threat::check_policy(&read.policy, &read.spans, &threat::folder_of(path));
    found.iter().map(|diagnostic| finding(diagnostic, lang)).collect()
}

fn finding(diagnostic: &Diagnostic, lang: Lang) -> Finding {
    let theirs = lang.of_policy();
    let mut message = diagnostic.message.get(theirs).to_owned();
    if let Some(expected) = &diagnostic.expected {
        message.push_str(lang.pick("; expected ", "。期待される値: "));
        message.push_str(expected.get(theirs));
    }
    if let Some(suggestion) = &diagnostic.suggestion {
        message.push_str(&match lang {
            Lang::En => format!("; did you mean `{suggestion}`?"),
            Lang::Ja => format!("。「{suggestion}」ではありませんか"),
        });
    }
    Finding {
        severity: match diagnostic.severity {
            Severity::Error => "error".into(),
            Severity::Warning => "warning".into(),
        },
        code: diagnostic.code.to_owned(),
        file: diagnostic::printable(&diagnostic.file.display().to_string()),
        line: diagnostic.line,
        column: diagnostic.col,
        text: diagnostic.text.clone(),
        message,
    }
}

impl Lang {
    /// The same language by the policy room's name.
    pub fn of_policy(self) -> diagnostic::Lang {
        match self {
            Self::Ja => diagnostic::Lang::Ja,
            Self::En => diagnostic::Lang::En,
        }
    }
}

/// The policy's own tests that fail on its tables.
pub fn failing_tests(policy: &Policy, compiled: &Arc<Compiled>, lang: Lang) -> Vec<FailedTest> {
    let outcomes = outcome::run_tests(policy, Arc::clone(compiled), Timestamp::now());
    let said = |failure: &outcome::Failure| match lang {
        Lang::En => failure.en(),
        Lang::Ja => failure.ja(),
    };
    outcomes
        .into_iter()
        .filter(|outcome| !outcome.ok())
        .map(|outcome| FailedTest {
            message: outcome.failures.iter().map(said).collect::<Vec<_>>().join("; "),
            name: outcome.name,
            file: outcome.at.0.display().to_string(),
            line: outcome.at.1,
            column: outcome.at.2,
        })
        .collect()
}

/// Names and their stable numbers.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Registry);

impl Numbers {
    /// From the state folder; empty if there is none yet.
    ///
    /// # Errors
    /// Unreadable: numbers must then not be given out anew.
    pub fn load(path: &Path) -> Result<Self, String> {
        Registry::load(path).map(Self).map_err(|error| error.to_string())
    }

    /// To the state folder, durably.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        self.0.save(path).map_err(|error| error.to_string())
    }

    /// The id of a zone or network that any policy ever named.
    pub fn net(&self, name: &str) -> Option<u16> {
        self.0.id(Kind::Net, name).and_then(|id| u16::try_from(id).ok())
    }

    /// Names of zones and networks by id.
    pub fn nets(&self) -> impl Iterator<Item = (&str, u16)> {
        self.0.all(Kind::Net).filter_map(|(name, id)| Some((name, u16::try_from(id).ok()?)))
    }

    /// Rule ids by counter slot.
    pub fn rules(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.all(Kind::Rule)
    }
}

/// Tables for the data plane; `numbers` gains the names that are new.
///
/// # Errors
/// The policy needs more than the tables hold.
pub fn compile(policy: &Policy, numbers: &mut Numbers) -> Result<Compiled, String> {
    compile::compile(policy, &mut numbers.0).map_err(|error| error.to_string())
}

/// The windows of every schedule from an instant on.
pub fn windows(compiled: &Compiled, policy: &Policy, wall: Timestamp, boottime_ns: u64) -> Vec<Schedule> {
    schedule::windows(&compiled.schedules, policy, Clock { wall, boottime_ns })
}

/// The JSON Schema of policies.
pub fn schema() -> serde_json::Value {
    serde_json::to_value(policy::schema()).unwrap_or_default()
}
