//! An apply of a million entries needs tens of megabytes for a moment; the agent then runs for months.

/// Gives free memory back to the kernel. The allocator would keep it for the next time.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) touches only what the allocator holds free, and may be called at any time by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
