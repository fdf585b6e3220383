//! A policy's own tests: every `tests:` entry, judged.

use std::{path::PathBuf, sync::Arc};

use jiff::Timestamp;
use sekimori_ebpf::reason::Verdict;
use serde::Serialize;

use super::{ExplainError, Explanation, explain, port::Enters};
use crate::{
    compile::{
        compile,
        error::CompileError,
        host::HostTables,
        registry::Registry,
        schedule::{Clock, windows},
        tables::Compiled,
    },
    policy::model::{Place, Policy, PolicyTest},
};

/// Where on the boot clock the tests happen: long enough after boot for windows of the past to have an instant.
const BOOTTIME: u64 = 365 * 86_400 * 1_000_000_000;
/// Room for the views of one packet.
const VIEWS: usize = 16;

/// What one test came to.
#[derive(Debug, Clone, Serialize)]
pub struct TestOutcome {
    /// The test's name.
    pub name: String,
    /// File, line and column.
    pub at: (PathBuf, u32, u32),
    /// What did not hold; none: the test passed.
    pub failures: Vec<Failure>,
    /// What the decision said, unless it could not be asked.
    pub explanation: Option<Explanation>,
}

impl TestOutcome {
    /// Whether everything asserted holds.
    pub fn ok(&self) -> bool {
        self.failures.is_empty()
    }
}

/// An assertion that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Failure {
    /// Passes but should be dropped, or the reverse.
    Verdict {
        /// `pass` or `drop`.
        expected: &'static str,
        /// The other one.
        found: &'static str,
    },
    /// Another rule decides, or none.
    Rule {
        /// Rule id.
        expected: String,
        /// Rule id, if one decided.
        found: Option<String>,
    },
    /// Another reason.
    Reason {
        /// Reason code.
        expected: String,
        /// Reason code.
        found: &'static str,
    },
    /// The test cannot be run.
    NotRun {
        /// Why, in English.
        en: String,
        /// Why, in Japanese.
        ja: String,
    },
}

impl Failure {
    /// One sentence in English.
    pub fn en(&self) -> String {
        match self {
            Self::Verdict { expected, found } => {
                format!("expected {expected}, but the verdict is {found}")
            }
            Self::Rule { expected, found: Some(found) } => format!("expected rule `{expected}`, but `{found}` decides"),
            Self::Rule { expected, found: None } => format!("expected rule `{expected}`, but no rule decides"),
            Self::Reason { expected, found } => {
                format!("expected reason `{expected}`, but it is `{found}`")
            }
            Self::NotRun { en, .. } => en.clone(),
        }
    }

    /// The same in Japanese.
    pub fn ja(&self) -> String {
        match self {
            Self::Verdict { expected, found } => {
                format!("期待は {expected} ですが、判定は {found} です")
            }
            Self::Rule { expected, found: Some(found) } => {
                format!("期待は規則 `{expected}` ですが、`{found}` で判定されました")
            }
            Self::Rule { expected, found: None } => {
                format!("期待は規則 `{expected}` ですが、どの規則でも判定されませんでした")
            }
            Self::Reason { expected, found } => {
                format!("期待は理由 `{expected}` ですが、`{found}` です")
            }
            Self::NotRun { ja, .. } => ja.clone(),
        }
    }
}

/// Runs a policy's tests. Those without a time of their own are judged at `now`.
///
/// # Errors
/// The policy does not compile.
pub fn run_policy_tests(policy: &Policy, now: Timestamp) -> Result<Vec<TestOutcome>, CompileError> {
    Ok(run_tests(policy, Arc::new(compile(policy, &mut Registry::default())?), now))
}

/// The same on the policy's tables.
pub fn run_tests(policy: &Policy, tables: Arc<Compiled>, now: Timestamp) -> Vec<TestOutcome> {
    if policy.tests.is_empty() {
        return Vec::new();
    }
    let plans = tables.schedules.clone();
    let mut host = HostTables::new(VIEWS);
    host.switch(tables, Vec::new());
    let mut laid_out = None;
    let outcomes = policy.tests.iter().map(|test| {
        let wall = test.at.unwrap_or(now);
        if laid_out != Some(wall) {
            host.set_schedules(windows(&plans, policy, Clock { wall, boottime_ns: BOOTTIME }));
            laid_out = Some(wall);
        }
        let held = test.quarantined.then(|| (vec![test.packet.src], Vec::new()));
        host.set_quarantine(held.as_slice());
        run(policy, &mut host, test)
    });
    outcomes.collect()
}

fn run(policy: &Policy, host: &mut HostTables, test: &PolicyTest) -> TestOutcome {
    let at = test.at_source.clone();
    let asked = enters(policy, test.enters).and_then(|enters| explain(host, &enters, &test.packet, test.mac, BOOTTIME));
    match asked {
        Ok(explanation) => TestOutcome {
            name: test.name.clone(),
            at,
            failures: compare(test, &explanation),
            explanation: Some(explanation),
        },
        Err(error) => TestOutcome {
            name: test.name.clone(),
            at,
            failures: vec![Failure::NotRun { en: error.to_string(), ja: error.ja() }],
            explanation: None,
        },
    }
}

fn enters(policy: &Policy, place: Place) -> Result<Enters, ExplainError> {
    let Place::Net(index) = place else {
        return Ok(Enters::Box);
    };
    let net = &policy.nets[index];
    match net.ports.first() {
        Some(port) => Ok(Enters::Port(port.clone())),
        None => Err(ExplainError::Interface { name: net.name.clone(), known: String::new() }),
    }
}

fn compare(test: &PolicyTest, found: &Explanation) -> Vec<Failure> {
    let word = |pass: bool| if pass { "pass" } else { "drop" };
    let mut failures = Vec::new();
    let passes = found.verdict == Verdict::Pass;
    if passes != test.pass {
        failures.push(Failure::Verdict { expected: word(test.pass), found: word(passes) });
    }
    if let Some(expected) = test.rule.as_ref().filter(|rule| found.rule.as_ref() != Some(rule)) {
        failures.push(Failure::Rule { expected: expected.clone(), found: found.rule.clone() });
    }
    if let Some(expected) = test.reason.as_ref().filter(|reason| reason.as_str() != found.reason.code()) {
        failures.push(Failure::Reason { expected: expected.clone(), found: found.reason.code() });
    }
    failures
}
