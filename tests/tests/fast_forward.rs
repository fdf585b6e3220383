//! What the fast path does with packets: the same as the slow way, to the byte and to the count, and no longer than it may.

#[path = "fast_forward/below.rs"]
mod below;
#[path = "fast_forward/follows.rs"]
mod follows;
#[path = "fast_forward/quarantine.rs"]
mod quarantine;
#[path = "fast_forward/same.rs"]
mod same;
#[path = "fast_forward/shared.rs"]
mod shared;
#[path = "fast_forward/stops.rs"]
mod stops;
#[path = "fast_forward/unfinished.rs"]
mod unfinished;
