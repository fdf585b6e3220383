//! The daemon: opens one instance, keeps it as it was left, and does what the control socket asks.

pub mod config;
pub mod document;
