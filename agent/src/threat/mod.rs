//! Lists of addresses that others keep (block lists, threat feeds): read in the formats people have, held against what must
//! never be on one, and kept, so that a bad delivery leaves the last good one in use.
//!
//! `files` finds and opens what a policy names, `reader` streams it, `format` understands its lines, `guard` decides whether it
//! is taken, `store` keeps what was, `lists` is all of it at run time, and `set` is what others ask.

mod check;
mod files;
mod format;
mod guard;
mod lists;
mod reader;
mod set;
mod store;

pub use self::{
    check::{BadRow, CheckedFile, check_file, check_policy},
    files::folder_of,
    format::{Foreign, Format},
    guard::{Limit, Owner, Protected, Refused},
    lists::{Answer, Event, Held, Lists, Question, State, Taken, Wish},
    reader::{BadLine, Tally},
    set::ThreatSet,
    store::{Good, Meta, Store},
};

/// Lists one policy may name.
pub const MAX_LISTS: usize = 32;
/// Of a hundred lines that say something, this many may be wrong.
pub const MAX_BAD_PERCENT: u64 = 10;
