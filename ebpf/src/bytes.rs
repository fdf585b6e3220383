//! Checked reads of packet bytes, the same for the kernel and the host.

/// Longest distance into a frame the parser looks; far past any header chain it accepts.
pub const MAX_OFFSET: usize = 0x0fff;

/// A frame.
pub trait Bytes {
    /// `N` bytes at `offset`, or `None` past the readable end or past [`MAX_OFFSET`].
    fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
    /// `N` bytes at an offset the compiler knows, in place.
    fn at<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;
    /// Bytes on the wire, which may exceed the readable ones.
    fn wire_len(&self) -> usize;
}

/// Big-endian 16 bits.
#[inline(always)]
pub fn u16_at<B: Bytes>(bytes: &B, offset: usize) -> Option<u16> {
    bytes.get::<2>(offset).map(u16::from_be_bytes)
}

impl Bytes for &[u8] {
    #[inline(always)]
    fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        let slice: &[u8] = self;
        slice.get(offset..offset + N)?.try_into().ok()
    }
    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self[..].get(offset..)?.first_chunk()
    }
    #[inline(always)]
    fn wire_len(&self) -> usize {
        self.len()
    }
}

/// Hides a value's origin from the optimiser. LLVM removes bounds it can prove, and moves the rest of an address
/// computation across them; the verifier, which must see bound and use on one register, then refuses the access.
#[inline(always)]
pub fn opaque(value: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: moves a register onto itself. (An empty sequence would give the next instruction two line records,
        // which the kernel refuses.)
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack, preserves_flags)) };
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}
