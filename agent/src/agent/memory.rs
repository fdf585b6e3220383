//! An apply of a million entries needs tens of megabytes for a moment; the agent then runs for months.

/// From this size on a block of memory is the kernel's own affair and goes back to it when freed.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 1 << 20;
/// Piles of small blocks. One a thread would be quicker for whoever allocates all day; here each keeps what its thread once
/// needed and no other can use.
#[cfg(target_env = "gnu")]
const PILES: libc::c_int = 2;

/// To be called before the first large block. Left alone the allocator learns from the first list of a million to keep
/// such blocks, one pile a thread, and `malloc_trim` does not take from the top of a thread's pile.
pub(crate) fn start_lean() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) sets one number of the allocator; no other thread of ours runs yet, and if one did it would
    // only choose another place for a block.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_ARENA_MAX, PILES);
    }
}

/// Gives free memory back to the kernel. The allocator would keep it for the next time.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) touches only what the allocator holds free, and may be called at any time by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
