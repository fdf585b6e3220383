//! Rates as one instant each: until when what was sent is used up (generic cell rate algorithm, ITU-T I.371).

use super::abi::Threshold;

/// Whether `units` more go beyond the threshold; if not, they are taken.
#[inline(always)]
pub(super) fn beyond(until: &mut u64, now: u64, threshold: &Threshold, units: u64) -> bool {
    if threshold.cost == 0 {
        return false;
    }
    let start = if *until > now { *until } else { now };
    let next = start.wrapping_add(threshold.cost.wrapping_mul(units));
    if next.wrapping_sub(now) > threshold.most {
        return true;
    }
    *until = next;
    false
}

/// Whether one more would go beyond it.
#[inline(always)]
pub(super) fn would(until: u64, now: u64, threshold: &Threshold) -> bool {
    let start = if until > now { until } else { now };
    threshold.cost != 0 && start.wrapping_add(threshold.cost).wrapping_sub(now) > threshold.most
}

/// Gives one unit back.
#[inline(always)]
pub(super) fn refund(until: &mut u64, threshold: &Threshold) {
    *until = until.saturating_sub(threshold.cost);
}
