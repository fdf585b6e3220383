//! Packet bytes of an XDP or classifier context.

use sekimori_ebpf::bytes::{Bytes, MAX_OFFSET, opaque};

/// Directly readable bytes.
pub(crate) struct Window {
    /// First byte.
    pub(crate) data: usize,
    /// One past the last readable byte.
    pub(crate) end: usize,
    /// Bytes on the wire.
    pub(crate) wire: usize,
}

impl Bytes for Window {
    #[inline(always)]
    fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        // The bound again, on the very register the address is made of, and the address made once.
        let at = opaque(self.data + (opaque(offset) & MAX_OFFSET));
        if at + N > self.end {
            return None;
        }
        // SAFETY: `at..at + N` was just compared with the end of the packet; BPF reads need no alignment.
        Some(unsafe { core::ptr::read_unaligned(at as *const [u8; N]) })
    }
    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        let at = self.data + offset;
        if at + N > self.end {
            return None;
        }
        // SAFETY: `at..at + N` was just compared with the end of the packet; bytes need no alignment.
        Some(unsafe { &*(at as *const [u8; N]) })
    }
    #[inline(always)]
    fn wire_len(&self) -> usize {
        self.wire
    }
}
