//! Policy to tables.

pub mod schedule;
pub mod tables;
