//! What the detectors saw, for people: incidents, and the packets that prove them.
//!
//! `source` is the data plane as seen from here, `sighting` one event with its names, `incident` what becomes of events,
//! `book` all incidents and their bounds, `store` keeps them on disk, `evidence` finds the packets, `pcapng` writes them,
//! `guard` stops detectors that put too many hosts in quarantine, `window` is live capture. `beacon` finds hosts that call at
//! regular times and `slow` those that scan too slowly for the data plane, both in flow records; `question` reads what DNS is
//! asked for.

pub mod beacon;
pub mod book;
pub mod evidence;
pub mod guard;
pub mod incident;
pub mod pcapng;
pub mod question;
pub mod recent;
pub mod sighting;
pub mod slow;
pub mod source;
pub mod store;
pub mod window;

#[cfg(test)]
mod tests;

pub use book::{Book, Bounds, Noticed};
pub use guard::{Decision, Guard, Limit};
pub use incident::{Closed, Evidence, Incident, Level, Quarantine, State};
pub use sighting::{Action, Sighting};
pub use store::Store;
