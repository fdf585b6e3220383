//! Random policies and random conversations, biased towards the edges where a judge may err.

pub mod build;
pub mod ends;
pub mod neighbours;
pub mod policy;
pub mod rng;
pub mod spoil;
pub mod stale;
pub mod talk;

use jiff::Timestamp;
use sekimori::policy::model::Policy;

use super::{
    Event,
    state::{Cut, Management, Quarantine},
};

/// One thing that happens to a judge.
#[derive(Debug, Clone)]
pub enum Step {
    /// A packet.
    Packet(Event),
    /// Another revision becomes active.
    Switch(Box<Policy>, Timestamp),
    /// The cut-off or the management paths change.
    Overlay(Cut, Vec<Management>),
    /// Who is in quarantine changes.
    Quarantine(Quarantine),
}
