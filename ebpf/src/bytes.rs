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

/// Four bytes from `AT`, as they lie. In the kernel one load, where the compiler, which may not count on alignment, would
/// make four of it and put them together.
#[inline(always)]
pub fn word<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u32 {
    const { assert!(AT + 4 <= N) };
    #[cfg(target_arch = "bpf")]
    {
        let value: u64;
        // SAFETY: four bytes from `AT` lie inside the array; the kernel allows unaligned loads from packets and maps.
        unsafe {
            core::arch::asm!("{0} = *(u32 *)({1} + 0)", out(reg) value, in(reg) bytes.as_ptr().add(AT),
                options(pure, readonly, nostack, preserves_flags));
        }
        value as u32
    }
    #[cfg(not(target_arch = "bpf"))]
    u32::from_ne_bytes([bytes[AT], bytes[AT + 1], bytes[AT + 2], bytes[AT + 3]])
}

/// Two bytes from `AT`, as they lie.
#[inline(always)]
pub fn half<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u16 {
    const { assert!(AT + 2 <= N) };
    #[cfg(target_arch = "bpf")]
    {
        let value: u64;
        // SAFETY: as in `word`.
        unsafe {
            core::arch::asm!("{0} = *(u16 *)({1} + 0)", out(reg) value, in(reg) bytes.as_ptr().add(AT),
                options(pure, readonly, nostack, preserves_flags));
        }
        value as u16
    }
    #[cfg(not(target_arch = "bpf"))]
    u16::from_ne_bytes([bytes[AT], bytes[AT + 1]])
}

/// A big-endian number from `AT`.
#[inline(always)]
pub fn be16<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u16 {
    u16::from_be(half::<AT, N>(bytes))
}

/// A big-endian number from `AT`.
#[inline(always)]
pub fn be32<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u32 {
    u32::from_be(word::<AT, N>(bytes))
}

/// A MAC as a number, for comparing: its bytes from the lowest up.
#[inline(always)]
pub fn mac_at<const AT: usize, const REST: usize, const N: usize>(bytes: &[u8; N]) -> u64 {
    word::<AT, N>(bytes).to_le() as u64 | (half::<REST, N>(bytes).to_le() as u64) << 32
}

/// A MAC that does not come from a packet, as [`mac_at`].
#[inline(always)]
pub fn mac_number(mac: &[u8; 6]) -> u64 {
    u64::from_le_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0])
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
