//! Namespaces, wires and the machines at their ends.

pub mod townhall;
