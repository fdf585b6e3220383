//! IPv6: a slot for each /16, behind it a search tree over the next 63 bits, behind that one over the last 49.
//!
//! A value (in slots, fans and leaves) is a class, or a tree: [`TREE`], its height and the line of its root. Where many
//! intervals lie evenly, a tree begins with a fan: 64 values, of which the next six bits choose; fans lie in fans only.
//! 63 and 49 bits leave the sign bit free: whether an address lies past an interval's end is then the sign of a
//! difference, and no branch that a processor could mispredict.

use super::{LINE, NO_CLASS};
use crate::{bytes::opaque, tables::Tables};

/// A node over other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Inner {
    /// The last key of each child but the last, ascending, then [`KEY_LAST`].
    pub ends: [u64; INNER_ENDS],
    /// The line of the first child; the others follow.
    pub child: u32,
    /// Zero.
    pub pad: u32,
}
/// Ends in an [`Inner`].
pub const INNER_ENDS: usize = 7;

/// A node over intervals of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Leaf {
    /// The last key of each interval but the last, ascending, then [`KEY_LAST`].
    pub ends: [u64; LEAF_ENDS],
    /// The value of each interval; past the last one [`NO_CLASS`].
    pub values: [u32; LEAF_ENDS + 1],
}
/// Ends in a [`Leaf`].
pub const LEAF_ENDS: usize = 5;

/// The largest key.
pub const KEY_LAST: u64 = u64::MAX >> 1;
/// Bits of the first tree's keys.
pub const HIGH_BITS: u32 = 63;
/// Bits of the second tree's keys.
pub const LOW_BITS: u32 = 49;
/// A value with this bit is a tree.
pub const TREE: u32 = 1 << 31;
/// Where its height is: 0 if its root is a leaf.
pub const HEIGHT_SHIFT: u32 = 27;
/// Largest height.
pub const HEIGHT_LAST: u32 = 7;
/// Instead of a height: four lines of 16 values, see above.
pub const FAN: u32 = 15;
/// Bits that choose in a fan.
pub const FAN_BITS: u32 = 6;
/// Nodes from a slot to a class, at most: two trees, each with seven fans and a height of 3 behind them, or a height of 7.
const DEPTH: u32 = 2 * 11;

/// The key in the first tree.
#[inline(always)]
pub const fn high_key(high: u64, low: u64) -> u64 {
    ((high << 16) | (low >> 48)) >> 1
}

/// The key in the second tree.
#[inline(always)]
pub const fn low_key(low: u64) -> u64 {
    low & ((1 << LOW_BITS) - 1)
}

/// How many of the ends lie before `key`.
#[inline(always)]
fn before<const N: usize>(ends: &[u64; N], key: u64) -> usize {
    let mut count = 0;
    let mut i = 0;
    while i < N {
        count += ends[i].wrapping_sub(key) >> 63;
        i += 1;
    }
    count as usize
}

/// The class of an address, given as its two halves.
#[inline(always)]
pub fn class<T: Tables>(tables: &T, generation: u32, high: u64, low: u64) -> u32 {
    let slot = (high >> 48) as u32;
    let line = tables.line(generation, super::SLOTS + (slot >> 4));
    if line.is_null() {
        return NO_CLASS;
    }
    // SAFETY: a line in this region holds 16 slots, and the table vouches for it until the decision returns.
    let mut value = unsafe { *line.cast::<u32>().add(opaque(slot as usize) & 15) };
    let mut key = high_key(high, low);
    let mut shift = HIGH_BITS - FAN_BITS;
    let mut turn = 0;
    while turn < DEPTH {
        if value & TREE == 0 {
            return value;
        }
        let choice = (key >> (shift & 63)) as u32 & ((1 << FAN_BITS) - 1);
        let height = height(value);
        value = tables.class6_step(generation, value, key, choice);
        if height == FAN {
            shift = shift.wrapping_sub(FAN_BITS);
        } else if height == 0 {
            key = low_key(low);
            shift = LOW_BITS - FAN_BITS;
        }
        turn += 1;
    }
    if value & TREE == 0 { value } else { NO_CLASS }
}

/// One node down from `value`, a tree: the value there. `choice` is for a fan, `key` for others.
#[inline(always)]
pub fn step<T: Tables>(tables: &T, generation: u32, value: u32, key: u64, choice: u32) -> u32 {
    let height = height(value);
    let at = (value & LINE) + if height == FAN { (choice >> 4) & 3 } else { 0 };
    let line = tables.line(generation, at);
    if line.is_null() {
        return NO_CLASS;
    }
    if height == FAN {
        // SAFETY: a line of a fan holds 16 values; the table vouches for the line as above.
        unsafe { *line.cast::<u32>().add(opaque(choice as usize) & 15) }
    } else if height != 0 {
        // SAFETY: a tree with a height has such a root; as above.
        let inner = unsafe { &*line.cast::<Inner>() };
        let child = inner.child + before(&inner.ends, key) as u32;
        TREE | (height - 1) << HEIGHT_SHIFT | (child & LINE)
    } else {
        // SAFETY: a tree without has a leaf; as above.
        let leaf = unsafe { &*line.cast::<Leaf>() };
        let at = opaque(before(&leaf.ends, key));
        if at <= LEAF_ENDS { leaf.values[at] } else { NO_CLASS }
    }
}

#[inline(always)]
const fn height(value: u32) -> u32 {
    (value >> HEIGHT_SHIFT) & 15
}
