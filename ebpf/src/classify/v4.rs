//! IPv4: a chunk for each /18 says which of its 64 /24s are looked into and what the others are.

use super::{LINE, Line, NO_CLASS};
use crate::{bytes::opaque, tables::Tables};

/// A /18.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Chunk {
    /// Bit i: the i-th /24 has a [`Leaf`]. 0 in a [`WIDE`] chunk.
    pub bits: u64,
    /// The line of the first leaf; those of the others follow. [`WIDE`]: the line of the [`Wide`].
    pub base: u32,
    /// The class of every /24 without a leaf.
    pub class: u16,
    /// 0, or [`WIDE`].
    pub kind: u16,
}
/// [`Chunk::kind`]: a [`Wide`] says what the /24s are.
pub const WIDE: u16 = 1;

/// A /18 in which many /24s are of one class each, but not of the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Wide {
    /// Bit i: the i-th /24 has a leaf.
    pub bits: u64,
    /// Bit i: from the i-th /24 on, those without a leaf are of the next class.
    pub starts: u64,
    /// The line of the first leaf.
    pub base: u32,
    /// If not 0: there are more runs than `classes` holds, and this is the first of two lines with a class for each /24.
    pub many: u32,
    /// The class of each run.
    pub classes: [u16; WIDE_RUNS],
}
/// Runs a [`Wide`] holds.
pub const WIDE_RUNS: usize = 20;

/// A /24 with addresses of several classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Leaf {
    /// Last octets at which the second and following runs start, ascending, then 255s. [`DENSE`]: a line number in the
    /// first four, the first of eight lines with a class for each address.
    pub starts: [u8; LEAF_RUNS - 1],
    /// 0, or [`DENSE`].
    pub kind: u16,
    /// The class of each run; past the last run the last one's, so that a start of 255 that is none does no harm.
    pub classes: [u16; LEAF_RUNS],
}
/// Runs a [`Leaf`] holds.
pub const LEAF_RUNS: usize = 21;
/// [`Leaf::kind`]: more runs than that.
pub const DENSE: u16 = 1;

/// What [`first`] answers if the answer is a leaf's: its line, with this bit.
const STEP_LEAF: u32 = 1 << 31;
/// What [`first`] answers if the answer is a [`Wide`]'s.
const STEP_WIDE: u32 = 1 << 30;

/// The first step, one line: a class (at most [`NO_CLASS`]), or what [`further`] needs.
#[inline(always)]
pub fn first<T: Tables>(tables: &T, generation: u32, addr: u32) -> u32 {
    let line = tables.line(generation, super::CHUNKS + (addr >> 16));
    if line.is_null() {
        return NO_CLASS;
    }
    // SAFETY: a line in this region holds four chunks, and the table vouches for it until the decision returns.
    let chunk = unsafe { &*line.cast::<Chunk>().add(opaque((addr >> 14) as usize) & 3) };
    let (bit, bits) = (1u64 << ((addr >> 8) & 63), chunk.bits);
    if bits & bit != 0 {
        return STEP_LEAF | (chunk.base + (bits & (bit - 1)).count_ones());
    }
    if chunk.kind == 0 { chunk.class as u32 } else { STEP_WIDE | chunk.base }
}

/// The second step, at most three lines: the class, given what [`first`] answered for the same address.
#[inline(always)]
pub fn further<T: Tables>(tables: &T, generation: u32, addr: u32, step: u32) -> u32 {
    let mut at = step & LINE;
    if step & STEP_LEAF == 0 {
        let line = tables.line(generation, at);
        if line.is_null() {
            return NO_CLASS;
        }
        // SAFETY: chunks refer to a `Wide` by this kind of step; the table vouches for the line as above.
        let wide = unsafe { &*line.cast::<Wide>() };
        let number = (addr >> 8) & 63;
        let bit = 1u64 << number;
        if wide.bits & bit == 0 {
            if wide.many != 0 {
                return listed(tables.line(generation, wide.many + (number >> 5)), number);
            }
            let run = (wide.starts & (bit | (bit - 1))).count_ones();
            let run = opaque(run as usize);
            return if run < WIDE_RUNS { wide.classes[run] as u32 } else { NO_CLASS };
        }
        at = wide.base + (wide.bits & (bit - 1)).count_ones();
    }
    let line = tables.line(generation, at);
    if line.is_null() {
        return NO_CLASS;
    }
    // SAFETY: what is referred to otherwise is a leaf; as above.
    let (words, leaf) = unsafe { (&(*line).words, &*line.cast::<Leaf>()) };
    if leaf.kind == DENSE {
        return listed(tables.line(generation, words[0] as u32 + ((addr >> 5) & 7)), addr);
    }
    let run = opaque(not_above(words, addr as u8) as usize);
    if run < LEAF_RUNS { leaf.classes[run] as u32 } else { NO_CLASS }
}

/// The class at position `index & 31` of a line of 32.
#[inline(always)]
fn listed(line: *const Line, index: u32) -> u32 {
    if line.is_null() {
        return NO_CLASS;
    }
    // SAFETY: a line holds 32 classes; as above.
    unsafe { *line.cast::<u16>().add(opaque(index as usize) & 31) as u32 }
}

/// How many of the first 20 bytes are at most `octet`: all compared at once, eight to a word.
#[inline(always)]
fn not_above(words: &[u64; 8], octet: u8) -> u32 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let wanted = octet as u64 * ONES;
    // A byte's high bit: whether it is at most `octet`. The low seven bits are compared by a subtraction that cannot
    // borrow from the next byte; they decide where the high bits are equal.
    let below = |bytes: u64| {
        let low = (wanted | HIGH) - (bytes & !HIGH);
        ((wanted & !bytes) | (!(wanted ^ bytes) & low)) & HIGH
    };
    let sum = (below(words[0]) >> 7) + (below(words[1]) >> 7) + ((below(words[2]) & 0xffff_ffff) >> 7);
    (sum.wrapping_mul(ONES) >> 56) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_compare_as_numbers() {
        let mut state = 1u64;
        for round in 0..2000 {
            let words = core::array::from_fn(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if round % 3 == 0 { state & 0x8080_8080_8080_8080 } else { state ^ (state >> 29) }
            });
            let bytes: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_le_bytes()).take(20).collect();
            for octet in 0..=255 {
                let expected = bytes.iter().filter(|byte| **byte <= octet).count();
                assert_eq!(not_above(&words, octet) as usize, expected, "{bytes:?} {octet}");
            }
        }
    }
}
