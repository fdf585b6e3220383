//! The cut-off overlay and its state on disk (law 3): the policy stays untouched.
//!
//! `object` names what can be cut, `level` says how deep, `end` until when, `overlay` is the set of cuts, `resolve` finds what a name covers,
//! `switch` writes the tables without waiting for the instance, `proof` is what was seen afterwards, `store` keeps the set
//! across reboots. `plan` is a cut to come, `notice` what people are told of it, `dates` how people write times. `request` is a
//! restoration that waits for a second person, `first` what of a cut passes again before the rest.

pub mod dates;
pub mod end;
pub mod first;
pub mod level;
pub mod notice;
pub mod object;
pub mod overlay;
pub mod plan;
pub mod proof;
pub mod request;
pub mod resolve;
pub mod store;
pub mod switch;

pub use end::{End, Now};
pub use first::First;
pub use level::Level;
pub use notice::Notice;
pub use object::Object;
pub use overlay::{Covers, Cut, Overlay, Placed, Stage};
pub use plan::{Plan, PlanState, PlanStore, Plans};
pub use proof::{InterfaceProof, ObjectProof, Proof};
pub use request::{Request, same_person};
pub use store::Store;
pub use switch::{Names, Switch, Thrown};
