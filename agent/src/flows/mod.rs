//! Flow records: who talked to whom, when, by which rule, and what was refused, for months on a small disk.
//!
//! `walk` turns the live views of the data plane into records and `refused` the sampled drops; `store` keeps records in
//! files of blocks, which `format` lays out; `query` reads them; `feed` hands them to whoever wants to see them as they
//! are made.

pub mod feed;
pub mod format;
pub mod query;
pub mod record;
pub mod refused;
pub mod report;
pub mod store;
pub mod walk;

#[cfg(test)]
mod measure;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use feed::{Feed, Subscription};
pub use query::{Filter, Who};
pub use record::{Kind, Record};
pub use store::Store;

/// Where records are kept, inside the state folder.
pub const FOLDER: &str = "flows";

/// How records are kept: a part of the agent's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes on disk, at most; the oldest records go first. 0: nothing is recorded.
    pub size: u64,
    /// Seconds between two walks over the live views.
    pub every: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { size: 2 << 30, every: 10 }
    }
}

/// What is known of the records, for metrics and `status`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes they may take.
    pub limit: u64,
    /// Records on disk.
    pub records: u64,
    /// When the oldest conversation on disk began, milliseconds of Unix time.
    pub oldest: Option<i64>,
    /// Days that fit at the rate of what is there; `None` while there is too little to say.
    pub fit_days: Option<f64>,
    /// Records that could not be kept since the agent started.
    pub lost: u64,
    /// Conversations the data plane opened since the agent started and no walk found.
    pub missed: u64,
    /// Records of unanswered conversations since the agent started that were more than such may be.
    pub skipped: u64,
    /// Refused packets since the agent started that no record attributes to a host.
    pub unattributed: u64,
    /// Bytes at the ends of files that a crash left half written, cut off at the start.
    pub torn: u64,
    /// Blocks found damaged at the start; they are skipped.
    pub damaged: u64,
    /// How long the last walk took, seconds.
    pub walk_seconds: f64,
    /// Conversations alive at the last walk.
    pub live: u64,
    /// Why records are not kept, if they are not.
    pub error: Option<String>,
}

/// What the thread that records shares with the rest of the agent.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    stats: Arc<Mutex<Stats>>,
    feed: Feed,
    refusals: Arc<Mutex<refused::Refusals>>,
}

impl Shared {
    /// As of the last walk.
    pub fn stats(&self) -> Stats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes them.
    pub fn update(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Where sampled drops are gathered.
    pub fn refusals(&self) -> MutexGuard<'_, refused::Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records as they are made.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }
}
