//! Quarantine: hosts that get nothing but what rules for quarantined hosts permit. Placed by a person or by the agent,
//! kept on disk over reboots and applies, like the cut-off an overlay that leaves the policy untouched.
//!
//! `list` is who is in quarantine, `store` keeps the list.

pub mod list;
pub mod store;

pub use list::{Entry, Full, List, Placed, Wish};
pub use store::Store;

/// Hosts that one request may name.
pub const MAX_AT_ONCE: usize = 64;
/// Longest time that may be asked for, seconds: ten years.
pub const MAX_SECONDS: u64 = 3_650 * 86_400;
