//! Who is compared with the oracle.

use jiff::Timestamp;
use sekimori::policy::model::Policy;

use super::{
    Event, Verdict,
    state::{Cut, Management, Quarantine},
};

/// A build of the decision.
pub trait Subject {
    /// Name for the report.
    fn name(&self) -> &'static str;
    /// Forgets all flows and fragments and every switch before.
    fn reset(&mut self) -> anyhow::Result<()>;
    /// Switches to this policy at this instant.
    fn load(&mut self, policy: &Policy, now: Timestamp) -> anyhow::Result<()>;
    /// Sets the cut-off and the management paths.
    fn overlay(&mut self, policy: &Policy, cut: &Cut, management: &[Management]) -> anyhow::Result<()>;
    /// Sets who is in quarantine.
    fn quarantine(&mut self, quarantine: &Quarantine) -> anyhow::Result<()>;
    /// Judges one packet. `None` if this subject cannot be asked about it.
    fn judge(&mut self, event: &Event) -> anyhow::Result<Option<Verdict>>;
}
