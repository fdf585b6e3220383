//! The control socket: peer credentials, roles, requests and replies as JSON lines.
//!
//! `protocol` is what is said, `report` what a status says, `roles` who may say what, `server` and `client` the
//! two ends.

pub mod client;
pub mod door;
pub mod protocol;
pub mod report;
pub mod roles;
pub mod server;

pub use protocol::{Ask, Problem, Reply, Request};
pub use roles::{Peer, Role};
