//! Can the clock be trusted?

/// Whether the kernel says that a time source disciplines its clock (`adjtimex(2)`: not `TIME_ERROR`, no
/// `STA_UNSYNC`).
pub fn synchronised() -> bool {
    // SAFETY: `timex` holds only integers, for which all zeroes is a value; `modes` 0 asks without changing.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live `timex` of this frame and is not kept.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    state >= 0 && state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0
}
