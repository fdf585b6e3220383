//! The daemon: opens one instance, keeps it as it was left, and does what the control socket asks.
//!
//! `keeper` is the instance; `apply`, `cuts`, `status`, `flows`, `counters` are what it does; `daemon` runs it.

pub mod alerts;
pub mod apply;
mod beacons;
pub mod by_hand;
pub mod capture;
pub mod clock;
pub mod config;
pub mod counters;
pub mod cuts;
pub mod daemon;
mod detection;
mod detections;
pub mod document;
pub mod early;
pub mod evaluator;
mod event;
mod facts;
pub mod fastpath;
pub mod fault;
pub mod flows;
pub mod groups;
pub mod handler;
pub mod incident_desk;
pub mod incidents;
pub mod keeper;
mod layout;
pub mod ledger;
mod links;
pub mod management;
pub mod marks;
mod memory;
mod nftables;
pub mod plans;
pub mod preflight;
mod prove;
pub mod quarantines;
pub mod recorder;
pub mod rooms;
pub mod signals;
pub mod state;
pub mod status;
pub mod threats;
pub mod timeouts;
pub mod tokens;
pub mod watch;
