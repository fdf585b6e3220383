//! Who judges: the real programs, behind the two questions a replay asks.

use jiff::Timestamp;
use sekimori_ebpf::reason::Reason;

/// One verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Passed or dropped, and why.
    pub reason: Reason,
    /// Position of the rule in the policy, where one decided.
    pub rule: Option<usize>,
    /// What the way in hands to the way out.
    pub mark: u32,
}

/// Where a packet on its way out came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// The box itself.
    Box,
    /// An interface, whose way in gave this mark.
    Interface {
        /// Kernel name in the policy.
        name: &'a str,
        /// From [`Judged::mark`].
        mark: u32,
    },
}

/// A private copy of the data plane with one policy in force and no interface attached.
pub trait Judge {
    /// How many bytes of a frame one run takes. A longer one is judged by that head and by its length.
    fn head(&self) -> usize;

    /// Lays the policy's schedules out from `at`, on a clock that counts nanoseconds since 1970.
    ///
    /// # Errors
    /// If the windows cannot be written.
    fn set_clock(&mut self, at: Timestamp) -> anyhow::Result<()>;

    /// Judges a frame that enters by this interface; one the policy does not name is unknown to the programs too.
    ///
    /// # Errors
    /// If the program cannot be run.
    fn ingress(&mut self, frame: &[u8], interface: &str, now: u64) -> anyhow::Result<Judged>;

    /// Judges a frame that leaves by this interface.
    ///
    /// # Errors
    /// If the program cannot be run.
    fn egress(&mut self, frame: &[u8], interface: &str, origin: Origin<'_>, now: u64) -> anyhow::Result<Judged>;
}
