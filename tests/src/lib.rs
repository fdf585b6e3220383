//! The harness (namespaces, veths, senders, sinks) and the oracle.

pub mod harness;
pub mod oracle;
