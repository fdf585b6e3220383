//! The data plane as seen from here: small enough to be played in tests.

use sekimori_ebpf::detect::abi::{Detection, KEPT, Kept, Wanted};

/// The data plane did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Error {
    /// What was tried.
    pub what: &'static str,
    /// Why it failed.
    pub why: String,
}

/// Events, and the ring of packets kept as evidence.
pub trait Source {
    /// At most so many events that wait.
    fn detections(&mut self, most: usize) -> Vec<Detection>;

    /// Number of the packet kept last; 0: none ever was.
    ///
    /// # Errors
    /// The data plane does not answer.
    fn last_kept(&self) -> Result<u64, Error>;

    /// What stands in a slot of the ring right now, which the data plane may be writing.
    ///
    /// # Errors
    /// The data plane does not answer.
    fn kept(&self, slot: u32) -> Result<Kept, Error>;
}

/// Live capture.
pub trait Window {
    /// From now on these are wanted; the data plane forgets it at [`Wanted::until`].
    ///
    /// # Errors
    /// The data plane does not answer.
    fn want(&mut self, wanted: &Wanted) -> Result<(), Error>;

    /// At most so many captured packets that wait.
    fn captured(&mut self, most: usize) -> Vec<Kept>;
}

/// Where the packet of this number is, if it still is.
pub fn slot(number: u64) -> u32 {
    u32::try_from(number.wrapping_sub(1) & u64::from(KEPT - 1)).unwrap_or(0)
}

// The ring is addressed by a mask.
const _: () = assert!(KEPT.is_power_of_two());
