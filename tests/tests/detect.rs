//! What inside hosts attempt, and what people see of it.

#[path = "detect/incidents.rs"]
mod incidents;
