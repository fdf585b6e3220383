//! The pinned tables, by `bpf(2)` alone (`include/uapi/linux/bpf.h`).

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use sekimori_ebpf::abi::{CUT_ALL_STAGED, CUT_ANY_MAC, CUT_ANY_NET, CUT_ANY_PREFIX, CUT_ANY_STAGED, MAX_CUT_SLOTS};

use crate::object::Object;

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_OBJ_GET: libc::c_long = 7;

/// The IPv4-mapped range: a short IPv6 prefix holds it only by notation.
const IPV4_RANGE: (u32, [u8; 16]) = (96, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);

#[repr(C)]
#[derive(Default)]
struct Get {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the attributes are ours for the call and their size is given; every address in them is of something that
    // outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// One pinned map.
struct Map(OwnedFd);

impl Map {
    fn open(folder: &Path, name: &str) -> io::Result<Self> {
        let path = CString::new(folder.join(name).as_os_str().as_bytes())?;
        let mut get = Get { pathname: path.as_ptr() as u64, ..Get::default() };
        let fd = bpf(BPF_OBJ_GET, &mut get)?;
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel just returned this descriptor to us alone.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn element(&self, key: &[u8], value: *mut u8) -> Element {
        let map_fd = self.0.as_raw_fd().cast_unsigned();
        Element { map_fd, key: key.as_ptr() as u64, value: value as u64, ..Element::default() }
    }

    fn write(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let mut value = value.to_vec();
        let mut element = self.element(key, value.as_mut_ptr());
        bpf(BPF_MAP_UPDATE_ELEM, &mut element).map(drop)
    }

    fn read(&self, key: &[u8], value: &mut [u8]) -> io::Result<()> {
        let mut element = self.element(key, value.as_mut_ptr());
        bpf(BPF_MAP_LOOKUP_ELEM, &mut element).map(drop)
    }
}

/// A prefix as a key of the trie: length, network.
fn trie(key: (u32, [u8; 16])) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&key.0.to_ne_bytes());
    bytes[4..].copy_from_slice(&key.1);
    bytes
}

/// Adds the objects to what is cut; lifts nothing.
pub(crate) fn close(folder: &Path, objects: &[Object], nets: &[u32], including_management: bool) -> io::Result<()> {
    // All maps are opened before any is written.
    let word = Map::open(folder, "CUT")?;
    let (numbers, prefixes) = (Map::open(folder, "CUT_NETS")?, Map::open(folder, "CUT_PREFIXES")?);
    let macs = Map::open(folder, "CUT_MACS")?;
    // What these refuse is counted by network and reason, not one by one: slots are the agent's to give.
    let uncounted = MAX_CUT_SLOTS.to_ne_bytes();
    let (mut all, mut any) = (0, 0);
    for net in nets {
        numbers.write(&net.to_ne_bytes(), &1u32.to_ne_bytes())?;
        any |= CUT_ANY_NET;
    }
    for object in objects {
        match object {
            Object::All => all = 1 + u32::from(including_management),
            Object::Mac(mac) => {
                macs.write(mac, &uncounted)?;
                any |= CUT_ANY_MAC;
            }
            Object::Prefix { .. } => {
                if let Some(key) = object.key() {
                    if key != IPV4_RANGE && key.0 < IPV4_RANGE.0 {
                        spare_ipv4(&prefixes)?;
                    }
                    prefixes.write(&trie(key), &uncounted)?;
                    any |= CUT_ANY_PREFIX;
                }
            }
            Object::Net { .. } => {}
        }
    }
    let mut now = [0; 8];
    word.read(&0u32.to_ne_bytes(), &mut now)?;
    let [a, b, c, d, e, f, g, h] = now;
    let (old_all, old_any) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]));
    // What is restored in stages gives way to a whole cut.
    let all = if all == 0 || old_all != CUT_ALL_STAGED { all.max(old_all) } else { all };
    now[..4].copy_from_slice(&all.to_ne_bytes());
    // A prefix cut here may hold what is restored in stages: until the agent has looked, all of that is cut whole.
    now[4..].copy_from_slice(&((any | old_any) & !CUT_ANY_STAGED).to_ne_bytes());
    word.write(&0u32.to_ne_bytes(), &now)
}

/// Unless IPv4 itself is cut, it stays open.
fn spare_ipv4(prefixes: &Map) -> io::Result<()> {
    // `BPF_NOEXIST`.
    let key = trie(IPV4_RANGE);
    let mut value = 0u32.to_ne_bytes();
    let mut element = Element { flags: 1, ..prefixes.element(&key, value.as_mut_ptr()) };
    match bpf(BPF_MAP_UPDATE_ELEM, &mut element) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}
