//! The class of an address: what its longest prefix says, found in a bounded number of cache lines.
//!
//! One table of 64-byte lines a generation, every reference in it the index of a line:
//!
//! | lines | what |
//! | --- | --- |
//! | [`CHUNKS`].. | IPv4: one [`v4::Chunk`] for each /18, four a line |
//! | [`SLOTS`].. | IPv6: one word for each /16, sixteen a line |
//! | [`CLASSES`].. | the classes themselves, eight a line |
//! | [`FREE`].. | what chunks and slots refer to |
//!
//! IPv4 takes one line where a /24 is of one class, two where it is not, never more than four. IPv6 takes one line
//! where a /16 is of one class, else a line a level of a tree over the next 63 bits ([`v6`]), and of a second tree over
//! the last 49 where they matter.

pub mod v4;
pub mod v6;

use crate::{
    abi::AddrEntry,
    bytes::opaque,
    tables::{Addr, Tables},
};

/// One cache line of the table. Its words are read as one of the structs below, by where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Line {
    /// Plain bytes.
    pub words: [u64; 8],
}

/// First line of the IPv4 chunks.
pub const CHUNKS: u32 = 0;
/// First line of the IPv6 slots.
pub const SLOTS: u32 = CHUNKS + (1 << 18) / 4;
/// First line of the classes.
pub const CLASSES: u32 = SLOTS + (1 << 16) / 16;
/// First line that chunks and slots refer to.
pub const FREE: u32 = CLASSES + (1 << 16) / 8;
/// Lines a table may have (768 MiB): what [`crate::abi::MAX_PREFIXES`] prefixes need at worst.
pub const MAX_LINES: u32 = 12 << 20;

/// Not a class: a line is missing. Classes are below.
pub const NO_CLASS: u32 = 0xffff;
/// Bits of a reference that hold a line.
const LINE: u32 = (1 << 27) - 1;

/// What the longest prefix that holds an address says; null if the table is damaged.
#[inline(always)]
pub fn entry<T: Tables>(tables: &T, generation: u32, addr: &Addr) -> *const AddrEntry {
    let words = words(addr);
    let id = if words[0] == 0 && words[1] == 0 && words[2] == 0xffff {
        class4(tables, generation, words[3])
    } else {
        let wide = |high: u32, low: u32| (high as u64) << 32 | low as u64;
        class6(tables, generation, wide(words[0], words[1]), wide(words[2], words[3]))
    };
    class(tables, generation, id)
}

/// The class of an IPv4 address: the overlay's word on it, else the table's.
#[inline(always)]
pub fn class4<T: Tables>(tables: &T, generation: u32, addr: u32) -> u32 {
    if tables.in_force().base != generation {
        let class = tables.overlaid(generation, 0, 0xffff << 32 | addr as u64);
        if class < NO_CLASS {
            return class;
        }
    }
    let step = v4::first(tables, generation, addr);
    if step <= NO_CLASS { step } else { tables.class_further(generation, addr, step) }
}

/// The same of an IPv6 address.
#[inline(always)]
fn class6<T: Tables>(tables: &T, generation: u32, high: u64, low: u64) -> u32 {
    if tables.in_force().base != generation {
        let class = tables.overlaid(generation, high, low);
        if class < NO_CLASS {
            return class;
        }
    }
    tables.class6(generation, high, low)
}

/// What the overlay says of an address: its class, or [`NO_CLASS`]. Asked only if tables have changed since they were
/// switched on: a generation that is its own base has no overlay.
#[inline(always)]
pub fn overlaid<T: Tables>(tables: &T, generation: u32, high: u64, low: u64) -> u32 {
    let word = tables.overlay(generation, high, low);
    let (from, after, before) = (word as u32, (word >> 32) as u32 & 0xffff, (word >> 48) as u32);
    if from == 0 {
        NO_CLASS
    } else if generation >= from {
        after
    } else {
        before
    }
}

/// The class with this number; null for [`NO_CLASS`].
#[inline(always)]
pub fn class<T: Tables>(tables: &T, generation: u32, id: u32) -> *const AddrEntry {
    if id >= NO_CLASS {
        return core::ptr::null();
    }
    let line = tables.line(generation, CLASSES + (id >> 3));
    if line.is_null() {
        return core::ptr::null();
    }
    // SAFETY: a line holds eight entries and the table vouches for it until the decision returns.
    unsafe { line.cast::<AddrEntry>().add(opaque(id as usize) & 7) }
}

/// An address as four words, most significant first.
#[inline(always)]
fn words(addr: &Addr) -> [u32; 4] {
    let at = core::ptr::from_ref(addr).cast::<u32>();
    // SAFETY: within the 16 bytes.
    let read = |index: usize| u32::from_be(unsafe { at.add(index).read_unaligned() });
    [read(0), read(1), read(2), read(3)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_cache_line() {
        assert_eq!(size_of::<Line>(), 64);
        assert_eq!(size_of::<v4::Chunk>(), 16);
        assert_eq!(size_of::<v4::Wide>(), 64);
        assert_eq!(size_of::<v4::Leaf>(), 64);
        assert_eq!(size_of::<v6::Inner>(), 64);
        assert_eq!(size_of::<v6::Leaf>(), 64);
        assert_eq!(size_of::<AddrEntry>() * 8, 64);
        assert_eq!((SLOTS, CLASSES, FREE), (65_536, 69_632, 77_824));
        const { assert!(MAX_LINES <= LINE) };
    }

    #[test]
    fn words_are_in_network_order() {
        let bytes = core::array::from_fn(|index| index as u8);
        assert_eq!(words(&bytes), [0x0001_0203, 0x0405_0607, 0x0809_0a0b, 0x0c0d_0e0f]);
    }
}
