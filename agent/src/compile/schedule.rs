//! Schedules: from hours and end dates to absolute windows in the data plane's clock.

/// What a schedule means, before it is laid out on a clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Weekly hours; `None` is always open.
    pub hours: Option<usize>,
    /// Closed from this instant on.
    pub until: Option<jiff::Timestamp>,
}
