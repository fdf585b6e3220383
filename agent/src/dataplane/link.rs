//! The kernel's links and interfaces, where aya does not reach: what a pinned link is attached to, and what an interface is.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use super::syscall::bpf;

/// `BPF_OBJ_GET`, `include/uapi/linux/bpf.h`.
const BPF_OBJ_GET: libc::c_long = 7;
/// `BPF_OBJ_GET_INFO_BY_FD`.
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;

#[repr(C)]
#[derive(Default)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
    path_fd: i32,
    pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The head of `struct bpf_link_info`; for XDP and TCX links the union starts with the interface index.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct LinkInfo {
    /// Link type.
    pub kind: u32,
    /// Link id.
    pub id: u32,
    /// Id of the attached program.
    pub program: u32,
    pad: u32,
    /// Kernel interface index; 0 once the interface is gone.
    pub ifindex: u32,
    rest: [u32; 11],
}

/// What the link pinned at `path` is attached to; `None` if there is no such pin.
pub fn pinned(path: &Path) -> io::Result<Option<LinkInfo>> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut get = ObjGet { pathname: name.as_ptr() as u64, ..ObjGet::default() };
    let fd = match bpf(BPF_OBJ_GET, &mut get) {
        Ok(fd) => fd,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just returned this descriptor to us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = LinkInfo::default();
    let mut ask = InfoByFd {
        bpf_fd: u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)?,
        info_len: u32::try_from(size_of::<LinkInfo>()).map_err(io::Error::other)?,
        info: (&raw mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut ask)?;
    Ok(Some(info))
}

/// `BPF_PROG_QUERY`.
const BPF_PROG_QUERY: libc::c_long = 16;
/// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS`.
const TCX: [u32; 2] = [46, 47];
/// More programs than anybody chains on one hook.
const MOST_CLASSIFIERS: usize = 64;

#[repr(C)]
#[derive(Default)]
struct Query {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// Ids of the programs on a TCX hook, in the order in which they run.
pub fn classifiers(ifindex: u32, way_out: bool) -> io::Result<Vec<u32>> {
    let mut ids = vec![0u32; MOST_CLASSIFIERS];
    let mut query = Query {
        target_ifindex: ifindex,
        attach_type: TCX[usize::from(way_out)],
        prog_ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(MOST_CLASSIFIERS).map_err(io::Error::other)?,
        ..Query::default()
    };
    bpf(BPF_PROG_QUERY, &mut query)?;
    ids.truncate(query.count as usize);
    Ok(ids)
}

/// The link-layer address of an Ethernet interface in this namespace.
pub fn mac(ifindex: u32) -> Option<[u8; 6]> {
    // SAFETY: `ifreq` is plain data, for which zero is valid.
    let mut ask: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: the name has room for any interface name (IF_NAMESIZE bytes).
    if unsafe { libc::if_indextoname(ifindex, ask.ifr_name.as_mut_ptr()) }.is_null() {
        return None;
    }
    // SAFETY: no preconditions.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return None;
    }
    // SAFETY: the kernel just returned this descriptor to us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: SIOCGIFHWADDR reads the name and writes a socket address, both inside `ifreq`.
    if unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut ask) } != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so this is the member that was written.
    let addr = unsafe { ask.ifr_ifru.ifru_hwaddr };
    if addr.sa_family != libc::ARPHRD_ETHER {
        return None;
    }
    let mut mac = [0; 6];
    for (to, from) in mac.iter_mut().zip(addr.sa_data) {
        *to = from.cast_unsigned();
    }
    Some(mac)
}

/// The kernel index of an interface in this namespace; 0 if there is none.
pub fn index(name: &str) -> u32 {
    let Ok(name) = CString::new(name) else { return 0 };
    // SAFETY: a NUL-terminated string, alive for the call.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}

/// Names of all interfaces of this network namespace.
pub fn names() -> Vec<String> {
    let all = nix::net::if_::if_nameindex();
    all.map(|all| all.iter().map(|its| its.name().to_string_lossy().into_owned()).collect()).unwrap_or_default()
}

/// Whether the interface speaks Ethernet (`ARPHRD_ETHER`).
pub fn is_ethernet(name: &str) -> io::Result<bool> {
    let (fd, mut request) = request(name)?;
    // SAFETY: SIOCGIFHWADDR reads the name and fills the union of the `ifreq` we own.
    if unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: SIOCGIFHWADDR succeeded, so the union holds the hardware address.
    let family = unsafe { request.ifr_ifru.ifru_hwaddr.sa_family };
    Ok(family == libc::ARPHRD_ETHER)
}

/// A socket to ask about interfaces, and a request that names one.
fn request(name: &str) -> io::Result<(OwnedFd, libc::ifreq)> {
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: plain socket creation.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just returned this descriptor to us alone.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, request))
}

/// Whether the interface is administratively up (`IFF_UP`, netdevice(7)).
///
/// # Errors
/// There is no such interface.
pub fn is_up(name: &str) -> io::Result<bool> {
    let (fd, mut request) = request(name)?;
    // SAFETY: SIOCGIFFLAGS reads the name and writes the flags, both inside the `ifreq` we own.
    if unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so this is the member that was written.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(i32::from(flags) & libc::IFF_UP != 0)
}

/// Takes the interface administratively down, or brings it up. True if that changed anything.
///
/// # Errors
/// There is no such interface, or the kernel refuses.
pub fn set_up(name: &str, up: bool) -> io::Result<bool> {
    let (fd, mut request) = request(name)?;
    // SAFETY: as in `is_up`.
    if unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as in `is_up`.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let bit = libc::c_short::try_from(libc::IFF_UP).map_err(io::Error::other)?;
    let wanted = if up { flags | bit } else { flags & !bit };
    if wanted == flags {
        return Ok(false);
    }
    request.ifr_ifru.ifru_flags = wanted;
    // SAFETY: SIOCSIFFLAGS reads the name and the flags inside the `ifreq` we own.
    if unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(true)
}
