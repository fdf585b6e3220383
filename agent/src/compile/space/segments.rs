//! Prefixes that hold one another as a sequence of segments: from this address on, this class.

use super::{Prefix, classes::Classes};
use crate::compile::error::CompileError;

/// Calls `sink` for each segment in ascending order; neighbours differ in class.
pub(super) fn walk(
    prefixes: &[Prefix],
    classes: &mut Classes,
    sink: impl FnMut(u128, u16) -> Result<(), CompileError>,
) -> Result<(), CompileError> {
    let mut joined = Joined { sink, waiting: None, before: None };
    // The prefixes that hold the present one: last address and class.
    let mut open: Vec<(u128, u16)> = Vec::new();
    for (len, addr, entry) in prefixes {
        let class = classes.of(*entry, addr)?;
        let start = u128::from_be_bytes(*addr);
        let last = start | u128::MAX.checked_shr(*len).unwrap_or(0);
        joined.close(&mut open, start)?;
        joined.add(start, class)?;
        open.push((last, class));
    }
    // The first prefix holds all others: where it ends nothing begins.
    while open.len() > 1 {
        joined.pop(&mut open)?;
    }
    joined.flush()
}

struct Joined<F> {
    sink: F,
    /// The segment whose start may yet be claimed by a longer prefix.
    waiting: Option<(u128, u16)>,
    /// The class of the segment before that.
    before: Option<u16>,
}

impl<F: FnMut(u128, u16) -> Result<(), CompileError>> Joined<F> {
    /// Ends the prefixes that end before `start`.
    fn close(&mut self, open: &mut Vec<(u128, u16)>, start: u128) -> Result<(), CompileError> {
        while open.last().is_some_and(|&(last, _)| last < start) {
            self.pop(open)?;
        }
        Ok(())
    }

    /// Ends the innermost prefix: the one around it goes on.
    fn pop(&mut self, open: &mut Vec<(u128, u16)>) -> Result<(), CompileError> {
        let Some((last, _)) = open.pop() else { return Ok(()) };
        match (open.last(), last.checked_add(1)) {
            // A prefix that ends where the one around it ends leaves nothing of it.
            (Some(&(around, class)), Some(next)) if around > last => self.add(next, class),
            _ => Ok(()),
        }
    }

    fn add(&mut self, start: u128, class: u16) -> Result<(), CompileError> {
        if self.waiting.is_none_or(|(waiting, _)| waiting != start) {
            self.flush()?;
        }
        self.waiting = Some((start, class));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CompileError> {
        match self.waiting.take() {
            Some((start, class)) if self.before != Some(class) => {
                self.before = Some(class);
                (self.sink)(start, class)
            }
            _ => Ok(()),
        }
    }
}
