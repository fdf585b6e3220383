//! What was answered, counted for the metrics: who tries doors leaves a trace.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::http::StatusCode;

/// Every status there is here. Others would count as the last.
const STATUSES: [u16; 13] = [200, 400, 401, 403, 404, 405, 408, 409, 413, 415, 429, 503, 500];

/// Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    answers: [AtomicU64; STATUSES.len()],
    turned_away: AtomicU64,
}

impl Tally {
    /// An answer went out.
    pub(super) fn answered(&self, status: StatusCode) {
        let place = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        self.0.answers[place].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection found no seat.
    pub(super) fn turned_away(&self) {
        self.0.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers since the agent started, by status.
    pub fn answers(&self) -> Vec<(u16, u64)> {
        STATUSES.into_iter().zip(self.0.answers.iter().map(|count| count.load(Ordering::Relaxed))).collect()
    }

    /// Connections without a seat since the agent started.
    pub fn without_seat(&self) -> u64 {
        self.0.turned_away.load(Ordering::Relaxed)
    }
}
