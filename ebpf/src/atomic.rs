//! Words that several processors write. The BPF target has no compare-and-swap in `core`; the kernel has had the
//! instructions since 5.12, fully ordered.

/// Writes `new` if the word is `old`; what it was before.
///
/// # Safety
/// `word` is aligned and may be read and written, by atomic operations only.
#[inline(always)]
pub unsafe fn replace_if(word: *mut u64, old: u64, new: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut found = old;
        // SAFETY: the caller vouches for the word.
        unsafe {
            core::arch::asm!(
                "r0 = cmpxchg_64({word} + 0, r0, {new})",
                word = in(reg) word,
                new = in(reg) new,
                inout("r0") found,
                options(nostack)
            );
        }
        found
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        use core::sync::atomic::{AtomicU64, Ordering};
        // SAFETY: as above.
        let word = unsafe { AtomicU64::from_ptr(word) };
        match word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(found) | Err(found) => found,
        }
    }
}

/// Writes `new` after everything written before.
///
/// # Safety
/// As [`replace_if`].
#[inline(always)]
pub unsafe fn replace(word: *mut u64, new: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller vouches for the word.
    unsafe {
        core::arch::asm!(
            "{new} = xchg_64({word} + 0, {new})",
            word = in(reg) word,
            new = inout(reg) new => _,
            options(nostack)
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        use core::sync::atomic::{AtomicU64, Ordering};
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(word) }.swap(new, Ordering::SeqCst);
    }
}

/// Adds to the word; what it was before.
///
/// # Safety
/// As [`replace_if`].
#[inline(always)]
pub unsafe fn add(word: *mut u64, more: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = more;
        // SAFETY: the caller vouches for the word.
        unsafe {
            core::arch::asm!(
                "{value} = atomic_fetch_add((u64 *)({word} + 0), {value})",
                word = in(reg) word,
                value = inout(reg) value,
                options(nostack)
            );
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        use core::sync::atomic::{AtomicU64, Ordering};
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(word) }.fetch_add(more, Ordering::SeqCst)
    }
}

/// Takes a lock, a word that is 0 while nobody has it; tries `patience` times.
///
/// # Safety
/// As [`replace_if`].
#[inline(always)]
pub unsafe fn lock(word: *mut u64, patience: u32) -> bool {
    let mut turn = 0;
    while turn < patience {
        turn += 1;
        // SAFETY: the caller vouches for the word.
        if unsafe { replace_if(word, 0, 1) } == 0 {
            return true;
        }
    }
    false
}

/// Gives a lock back.
///
/// # Safety
/// As [`replace_if`], and the lock is the caller's.
#[inline(always)]
pub unsafe fn unlock(word: *mut u64) {
    // SAFETY: the caller vouches for the word.
    unsafe { replace(word, 0) }
}
