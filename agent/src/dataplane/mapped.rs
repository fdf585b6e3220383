//! Filling a big array through its memory: no system call an entry.
//!
//! `BPF_F_MMAPABLE`, kernel commit fc9702273e2e ("bpf: Add mmap() support for BPF_MAP_TYPE_ARRAY").

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
    ptr, slice,
};

/// Bytes mapped at a time: the kernel enters that many pages at once, and this keeps it short.
const PIECE: usize = 4 << 20;

/// Writes `values` to the array `map`, whose value size is that of `V`, a divisor of the page size and a multiple of 8.
pub(super) fn write<V: aya::Pod>(map: impl AsFd, values: &[V]) -> io::Result<()> {
    for (number, values) in values.chunks(PIECE / size_of::<V>()).enumerate() {
        let view = View::open(&map, number * PIECE, size_of_val(values), libc::PROT_READ | libc::PROT_WRITE)?;
        // SAFETY: the view is writable and as long as the values; nobody else knows this map yet.
        unsafe { ptr::copy_nonoverlapping(values.as_ptr(), view.start.cast(), values.len()) };
    }
    Ok(())
}

/// Whether the array `map` holds `values`, as seen through a mapping of its own.
pub(super) fn holds<V: aya::Pod + PartialEq>(map: impl AsFd, values: &[V]) -> io::Result<bool> {
    for (number, values) in values.chunks(PIECE / size_of::<V>()).enumerate() {
        let view = View::open(&map, number * PIECE, size_of_val(values), libc::PROT_READ)?;
        // SAFETY: the view is as long as the values, page-aligned, plain data, and nobody writes to this map.
        if unsafe { slice::from_raw_parts(view.start.cast::<V>(), values.len()) } != values {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A mapped piece.
struct View {
    start: *mut libc::c_void,
    bytes: usize,
}

impl View {
    fn open(map: &impl AsFd, offset: usize, bytes: usize, protection: libc::c_int) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        let fd = map.as_fd().as_raw_fd();
        // SAFETY: a new mapping where the kernel likes it; it touches no memory of ours.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd, offset) };
        if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self { start, bytes }) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and no reference into it outlives the view.
        unsafe { libc::munmap(self.start, self.bytes) };
    }
}
