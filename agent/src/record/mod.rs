//! The append-only record of administrators' actions: one fsynced JSON line each (law 10).
//!
//! `entry` says what a line holds, `room` appends, `reader` lists, `verify` looks whether it is whole, `snapshot` keeps the counters of a revision
//! beside the line that ended it, `clock` says whether the time in a line can be trusted.

pub mod actor;
pub mod clock;
pub mod durable;
pub mod entry;
pub mod reader;
pub mod room;
pub mod snapshot;
pub mod verify;

pub use actor::{Actor, Who};
pub use entry::{Action, Draft, Entry, Origin, Outcome, RevisionRef, SnapshotRef};
pub use reader::Line;
pub use room::{Error, Room, Torn};
pub use verify::{Verified, verify};
