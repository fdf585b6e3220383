//! The cut-off overlay and its state on disk (law 3): the policy stays untouched.
//!
//! `object` names what can be cut, `overlay` is the set of cuts, `resolve` finds what a name covers, `store`
//! keeps the set across reboots.

pub mod object;
pub mod overlay;
pub mod resolve;
pub mod store;

pub use object::Object;
pub use overlay::{Covers, Cut, Overlay, Placed};
pub use store::Store;
