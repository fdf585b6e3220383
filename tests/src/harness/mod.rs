//! Namespaces, wires and the machines at their ends.

pub mod bpffs;
pub mod link;
pub mod netns;
pub mod offload;
pub mod tool;
pub mod townhall;
