//! What a start can work out while the kernel verifies the programs: the revision in force, read and compiled.

use std::{path::PathBuf, sync::Arc, thread};

use super::{
    rooms::{self, Numbers},
    state::{Current, State},
};
use crate::{
    cli::text,
    compile::tables::Compiled,
    policy::{
        members::{self, Deltas},
        model::Policy,
    },
    record::room::hex,
};

/// A saved revision, ready to be put in force.
#[derive(Debug)]
pub struct Ready {
    /// As it was applied.
    pub policy: Arc<Policy>,
    /// With the members that its groups have at run time.
    pub compiled: Arc<Compiled>,
}

/// The work on a saved revision, under way.
#[derive(Debug)]
pub struct Early {
    entry: PathBuf,
    worker: thread::JoinHandle<Result<Ready, String>>,
}

/// What it takes to make a saved revision ready; a copy.
#[derive(Debug, Clone)]
pub struct Saved {
    entry: PathBuf,
    hash: String,
    numbers: Option<Numbers>,
    members: Deltas,
    members_unread: Option<String>,
}

impl Saved {
    /// Of this revision.
    pub fn new(
        state: &State,
        current: &Current,
        numbers: Option<Numbers>,
        members: Deltas,
        members_unread: Option<String>,
    ) -> Self {
        let entry = state.revision_entry(current);
        Self { entry, hash: current.revision.hash.clone(), numbers, members, members_unread }
    }

    /// Reads and compiles it.
    ///
    /// # Errors
    /// It cannot be read, is not what was applied, or does not fit the tables any more.
    pub fn ready(self) -> Result<Ready, String> {
        let Self { entry, hash, numbers, members, members_unread } = self;
        let (read, findings) = rooms::load(&entry, text::Lang::En);
        let policy = read.map(|read| read.policy).ok_or_else(|| {
            findings.iter().find(|finding| finding.is_error()).map_or_else(
                || format!("{} cannot be read", entry.display()),
                |finding| format!("{}:{}:{}: {}", finding.file, finding.line, finding.column, finding.message),
            )
        })?;
        if hex(&policy.hash) != hash {
            return Err(format!("{} is not what was applied (its hash differs)", entry.display()));
        }
        // Every name has its number already; a copy, because nothing new may be given out here.
        let mut numbers = numbers.ok_or("registry.json cannot be read")?;
        if let Some(why) = members_unread {
            return Err(text::members_unread(text::Lang::En, why));
        }
        let effective = members::effective(&policy, &members);
        let compiled = Arc::new(rooms::compile(&effective, &mut numbers)?);
        Ok(Ready { policy, compiled })
    }
}

impl Early {
    /// Begins; `None` if there is no thread to be had, and then it is done when it is needed.
    pub fn begin(saved: Saved) -> Option<Self> {
        let entry = saved.entry.clone();
        let worker = thread::Builder::new().name("early".into()).spawn(|| saved.ready()).ok()?;
        Some(Self { entry, worker })
    }

    /// What came of it, if it was this revision; else it is made ready now.
    ///
    /// # Errors
    /// As [`Saved::ready`].
    pub fn or_now(early: Option<Self>, saved: Saved) -> Result<Ready, String> {
        match early.filter(|early| early.entry == saved.entry).map(|early| early.worker.join()) {
            Some(Ok(ready)) => ready,
            Some(Err(_)) | None => saved.ready(),
        }
    }
}
