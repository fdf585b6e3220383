//! What limits remember, in plain memory: tables that hand out pointers, as BPF arrays do.

use std::{cell::UnsafeCell, ptr};

use sekimori_ebpf::abi::{HOST_PACE_SETS_PRIVATE, HostPaceSet, RULE_SLOTS, SEAT_SETS_PRIVATE, SeatSet};

/// As large as in a private instance.
#[derive(Debug)]
pub(super) struct LimitRoom {
    rules: Box<[UnsafeCell<u64>]>,
    hosts: Box<[UnsafeCell<HostPaceSet>]>,
    seats: Box<[UnsafeCell<SeatSet>]>,
}

fn empty<T: Default>(size: u32) -> Box<[UnsafeCell<T>]> {
    (0..size).map(|_| UnsafeCell::default()).collect()
}

impl Default for LimitRoom {
    fn default() -> Self {
        Self { rules: empty(RULE_SLOTS), hosts: empty(HOST_PACE_SETS_PRIVATE), seats: empty(SEAT_SETS_PRIVATE) }
    }
}

fn at<T>(cells: &[UnsafeCell<T>], index: u32) -> *mut T {
    cells.get(index as usize).map_or(ptr::null_mut(), UnsafeCell::get)
}

impl LimitRoom {
    pub(super) fn rule(&self, slot: u32) -> *mut u64 {
        at(&self.rules, slot)
    }

    pub(super) fn hosts(&self, hash: u32) -> *mut HostPaceSet {
        at(&self.hosts, hash & (HOST_PACE_SETS_PRIVATE - 1))
    }

    /// See [`sekimori_ebpf::tables::Tables::seat_set`].
    pub(super) fn seat_set(half: u32, hash: u32) -> u32 {
        let size = SEAT_SETS_PRIVATE / 2;
        half * size + (hash & (size - 1))
    }

    pub(super) fn seats(&self, number: u32) -> *mut SeatSet {
        at(&self.seats, number)
    }
}
