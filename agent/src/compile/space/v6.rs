//! IPv6 segments to slots and trees.

use sekimori_ebpf::classify::{
    Line, NO_CLASS, SLOTS,
    v6::{
        FAN, FAN_BITS, HEIGHT_LAST, HEIGHT_SHIFT, HIGH_BITS, INNER_ENDS, KEY_LAST, LEAF_ENDS, LOW_BITS, TREE, high_key,
        low_key,
    },
};

use super::next;
use crate::compile::error::CompileError;

/// Children of an inner node.
const FAN_OUT: usize = INNER_ENDS + 1;
/// Intervals of a leaf.
const INTERVALS: usize = LEAF_ENDS + 1;

/// Values of a fan.
const CHOICES: u64 = 1 << FAN_BITS;
/// Intervals from which on a fan may pay: twice its values.
const FAN_MIN: usize = 2 * CHOICES as usize;

/// An interval of keys: its first one, and its value.
type Interval = (u64, u32);

/// Takes segments in ascending order.
pub(super) struct Builder {
    /// The slot being collected, and the intervals of its tree.
    slot: u32,
    intervals: Vec<Interval>,
    /// The key that needs a second tree, and the intervals of that.
    inside: Option<u64>,
    inner: Vec<Interval>,
    /// The class of the last segment.
    class: u32,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self { slot: 0, intervals: Vec::new(), inside: None, inner: Vec::new(), class: NO_CLASS }
    }

    /// From `start` on, addresses are of `class`. The first segment starts at 0.
    pub(super) fn segment(&mut self, lines: &mut Vec<Line>, start: u128, class: u16) -> Result<(), CompileError> {
        let slot = (start >> 112) as u32;
        let (high, low) = (high_key((start >> 64) as u64, start as u64), low_key(start as u64));
        if slot != self.slot {
            self.close(lines)?;
            for between in self.slot + 1..slot {
                put(&mut lines[SLOTS as usize..], between, self.class);
            }
            self.slot = slot;
            if (high, low) != (0, 0) {
                self.intervals.push((0, self.class));
            }
        }
        if self.inside.is_some_and(|inside| inside != high) {
            self.leave(lines, Some((high, low)))?;
        }
        if low == 0 {
            self.intervals.push((high, u32::from(class)));
        } else {
            if self.inside.is_none() {
                self.inside = Some(high);
                self.inner.push((0, self.class));
            }
            self.inner.push((low, u32::from(class)));
        }
        self.class = u32::from(class);
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(mut self, lines: &mut Vec<Line>) -> Result<(), CompileError> {
        self.close(lines)?;
        for after in self.slot + 1..1 << 16 {
            put(&mut lines[SLOTS as usize..], after, self.class);
        }
        Ok(())
    }

    /// Writes the second tree of `inside`. The class it ends with goes on behind it, unless the next segment starts there.
    fn leave(&mut self, lines: &mut Vec<Line>, next: Option<(u64, u64)>) -> Result<(), CompileError> {
        let Some(key) = self.inside.take() else { return Ok(()) };
        let value = tree(lines, &self.inner, LOW_BITS)?;
        self.inner.clear();
        match self.intervals.last_mut() {
            Some((start, existing)) if *start == key => *existing = value,
            _ => self.intervals.push((key, value)),
        }
        if key < KEY_LAST && next != Some((key + 1, 0)) {
            self.intervals.push((key + 1, self.class));
        }
        Ok(())
    }

    /// Writes the present slot.
    fn close(&mut self, lines: &mut Vec<Line>) -> Result<(), CompileError> {
        self.leave(lines, None)?;
        let value = tree(lines, &self.intervals, HIGH_BITS)?;
        self.intervals.clear();
        put(&mut lines[SLOTS as usize..], self.slot, value);
        Ok(())
    }
}

/// Writes one of several lines' values, 16 a line.
fn put(lines: &mut [Line], slot: u32, value: u32) {
    let word = &mut lines[(slot / 16) as usize].words[(slot % 16 / 2) as usize];
    let shift = slot % 2 * 32;
    *word = *word & !(0xffff_ffff << shift) | u64::from(value) << shift;
}

/// Writes a tree over intervals that cover all keys of `bits` bits; its value. Where the first interval starts does not
/// matter: it is the first.
fn tree(lines: &mut Vec<Line>, intervals: &[Interval], bits: u32) -> Result<u32, CompileError> {
    match bits.checked_sub(FAN_BITS) {
        Some(shift) if even(intervals, 0, shift) => fan(lines, intervals, 0, shift),
        _ => search(lines, intervals),
    }
}

/// The intervals within a fan's choice: those that start in it, and the one it starts in.
fn chosen(intervals: &[Interval], base: u64, shift: u32, choice: u64) -> &[Interval] {
    let (first, next) = (base + (choice << shift), base + ((choice + 1) << shift));
    let start = intervals[1..].partition_point(|&(start, _)| start <= first);
    let end = 1 + intervals[1..].partition_point(|&(start, _)| start < next);
    &intervals[start..end]
}

/// Whether a fan pays: it must divide the intervals as well as a level of search nodes does, and its leaves, however few
/// intervals they get, must not outnumber the intervals.
fn even(intervals: &[Interval], base: u64, shift: u32) -> bool {
    let most = intervals.len() / FAN_OUT;
    intervals.len() >= FAN_MIN && (0..CHOICES).all(|choice| chosen(intervals, base, shift, choice).len() <= most)
}

fn fan(lines: &mut Vec<Line>, intervals: &[Interval], base: u64, shift: u32) -> Result<u32, CompileError> {
    let at = next(lines)?;
    lines.extend([Line::default(); CHOICES as usize / 16]);
    for choice in 0..CHOICES {
        let part = chosen(intervals, base, shift, choice);
        let (base, deeper) = (base + (choice << shift), shift.checked_sub(FAN_BITS));
        let value = match deeper {
            Some(shift) if even(part, base, shift) => fan(lines, part, base, shift)?,
            _ => search(lines, part)?,
        };
        put(&mut lines[at as usize..], choice as u32, value);
    }
    Ok(TREE | FAN << HEIGHT_SHIFT | at)
}

/// Writes a search tree. One interval is its own value.
fn search(lines: &mut Vec<Line>, intervals: &[Interval]) -> Result<u32, CompileError> {
    if let [] | [_] = intervals {
        return Ok(intervals.first().map_or(NO_CLASS, |&(_, value)| value));
    }
    // The last key before the interval with this index.
    let end = |index: usize| intervals.get(index).map_or(KEY_LAST, |&(start, _)| start - 1);
    let mut first = next(lines)?;
    for (number, group) in intervals.chunks(INTERVALS).enumerate() {
        let mut line = Line::default();
        let values: [u32; INTERVALS] = std::array::from_fn(|at| group.get(at).map_or(NO_CLASS, |&(_, value)| value));
        for (at, word) in line.words[..LEAF_ENDS].iter_mut().enumerate() {
            *word = end(number * INTERVALS + at + 1);
        }
        for (pair, word) in values.chunks(2).zip(&mut line.words[LEAF_ENDS..]) {
            *word = u64::from(pair[1]) << 32 | u64::from(pair[0]);
        }
        next(lines)?;
        lines.push(line);
    }
    let (mut count, mut height, mut span) = (intervals.len().div_ceil(INTERVALS), 0, INTERVALS);
    while count > 1 {
        height += 1;
        let level = next(lines)?;
        for child in (0..count).step_by(FAN_OUT) {
            let mut line = Line::default();
            for (at, word) in line.words[..INNER_ENDS].iter_mut().enumerate() {
                *word = end((child + at + 1) * span);
            }
            line.words[INNER_ENDS] = u64::from(first) + child as u64;
            next(lines)?;
            lines.push(line);
        }
        (first, count, span) = (level, count.div_ceil(FAN_OUT), span * FAN_OUT);
    }
    const { assert!(HIGH_BITS < 64 && LOW_BITS < 64, "keys leave the sign bit free") };
    if height > HEIGHT_LAST { Err(CompileError::Space) } else { Ok(TREE | height << HEIGHT_SHIFT | first) }
}
