//! `bpf(2)` for the commands aya does not offer.

use std::io;

/// Runs one command. `attr` must be laid out as the kernel's union for it (`include/uapi/linux/bpf.h`), and every address
/// in it must stay valid for the call.
pub(super) fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is ours alone for the call and its size is given; what it points to is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
