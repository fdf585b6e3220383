//! The oracle: a second judge, slow and plain, written from the policy's meaning and from
//! `docs/ARCHITECTURE.md`, "The judgement", without a look at the decision it is compared with.
//!
//! Every lookup is a linear scan over the policy as written. Nothing here is shared with the data plane but the
//! names of the reasons.

pub mod builtins;
pub mod cut;
pub mod differ;
pub mod errors;
pub mod flows;
pub mod fragments;
pub mod frame;
pub mod generate;
pub mod host;
pub mod hours;
pub mod identity;
pub mod ip;
pub mod kernel;
pub mod limits;
pub mod listed;
pub mod million;
pub mod quarantine;
pub mod rules;
pub mod sanity;
pub mod staged;
pub mod state;
pub mod subject;
pub mod tcp;
pub mod transport;
pub mod way_in;
pub mod way_out;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use sekimori::policy::model::Policy;
use sekimori_ebpf::reason::{self, Reason};

pub use state::{Mark, OracleState};

/// One packet at one interface.
#[derive(Debug, Clone)]
pub struct Event {
    /// Position in its conversation; [`Origin::Guarded`] refers to it.
    pub number: usize,
    /// The bytes on the wire, tags included, no frame check sequence.
    pub frame: Vec<u8>,
    /// Where and in which direction.
    pub way: Way,
    /// When.
    pub now: Timestamp,
}

/// Direction and interface; the tags are in the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Enters by this interface.
    In {
        /// Kernel name.
        interface: String,
    },
    /// Leaves by this interface.
    Out {
        /// Kernel name.
        interface: String,
        /// How it came to be here.
        origin: Origin,
    },
}

/// Where a leaving packet came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Sent by the box itself.
    Box,
    /// Came in by a guarded interface as the event with this number, and carries the mark given there.
    Guarded {
        /// [`Event::number`] of its way in.
        event: usize,
    },
    /// Came in by a guarded interface, yet carries no mark.
    Unmarked,
    /// Came in by an interface nobody guards.
    Unguarded,
}

/// The judgement of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Why; decides between pass and drop.
    pub reason: Reason,
    /// Id of the permitting rule, where one is known.
    pub rule: Option<String>,
}

impl Verdict {
    /// Whether the packet goes on.
    pub fn passes(&self) -> bool {
        self.reason.verdict() == reason::Verdict::Pass
    }
}

/// A passing judgement and what it leaves behind for the way out.
#[derive(Debug, Clone)]
pub(crate) struct Passed {
    pub(crate) reason: Reason,
    pub(crate) rule: Option<String>,
    pub(crate) mark: Option<Mark>,
}

impl Passed {
    pub(crate) fn builtin() -> Self {
        Self { reason: Reason::Builtin, rule: None, mark: Some(Mark::Local) }
    }
}

/// Judges one packet and remembers what later packets need to know.
pub fn judge(policy: &Policy, state: &mut OracleState, event: &Event) -> Verdict {
    state.by_management = false;
    let signed =
        matches!(event.way, Way::Out { origin: Origin::Guarded { event }, .. } if state.signed.contains(&event));
    state.stage = state::Meets { signed, ..state::Meets::default() };
    let outcome = match &event.way {
        Way::In { interface } => way_in::judge(policy, state, event, interface),
        Way::Out { interface, origin } => way_out::judge(policy, state, event, interface, *origin),
    };
    match outcome {
        Ok(passed) => {
            if let Some(mark) = passed.mark {
                if state.stage.listed && (state.stage.forward || matches!(mark, Mark::Forward { .. })) {
                    state.signed.insert(event.number);
                }
                state.marks.insert(event.number, mark);
            }
            let reason = if state.by_management { Reason::Management } else { passed.reason };
            Verdict { reason, rule: passed.rule }
        }
        Err(reason) => Verdict { reason, rule: None },
    }
}
