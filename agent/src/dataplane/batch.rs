//! Creating and filling maps in batches: one system call for thousands of entries, which aya does not offer yet.
//!
//! `BPF_MAP_UPDATE_BATCH` and `BPF_MAP_LOOKUP_BATCH`, kernel commit aa2e93b8e58e ("bpf: Add generic support for update
//! and delete batch ops").

use std::{
    collections::HashMap,
    hash::Hash,
    io,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use aya::maps::{Map, MapData};

use super::{
    error::{Error, While},
    mapped,
    syscall::bpf,
};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;

/// Entries of one call: enough to hide its cost, few enough not to hold the CPU for long.
const CHUNK: usize = 8192;

/// Map types of `enum bpf_map_type`.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `BPF_MAP_TYPE_HASH`.
    Hash = 1,
    /// `BPF_MAP_TYPE_ARRAY`.
    Array = 2,
    /// `BPF_MAP_TYPE_LPM_TRIE`.
    LpmTrie = 11,
}

#[repr(C)]
#[derive(Default)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    rest: [u32; 11],
}

#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// `count` entries of a per-CPU array from `first` on: in order, for each one value a CPU that could exist; and how many
/// CPUs those are.
/// Values must be a multiple of 8 bytes, as the kernel pads them to that.
pub fn per_cpu<V: aya::Pod + Default>(
    map: &MapData,
    name: &str,
    first: u32,
    count: u32,
) -> Result<(Vec<V>, usize), Error> {
    const { assert!(size_of::<V>().is_multiple_of(8)) };
    let what = || format!("read {name}");
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error).doing(what())?;
    let mut keys = vec![0u32; count as usize];
    let mut values = vec![V::default(); count as usize * cpus];
    // The kernel goes on behind the key it is given.
    let before = first.checked_sub(1);
    let mut last = 0u32;
    let mut batch = Batch {
        in_batch: before.as_ref().map_or(0, |before| std::ptr::from_ref(before) as u64),
        out_batch: (&raw mut last) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count,
        map_fd: map.fd().as_fd().as_raw_fd().cast_unsigned(),
        ..Batch::default()
    };
    match bpf(BPF_MAP_LOOKUP_BATCH, &mut batch) {
        // The end of the map.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => drop(other.doing(what())?),
    }
    if batch.count != count || keys.first() != Some(&first) {
        return Err(Error::new(what(), format!("{} of {count} entries from {first} on came", batch.count)));
    }
    Ok((values, cpus))
}

/// Writes entries of a map that is in use, each by itself.
pub fn update<K: aya::Pod, V: aya::Pod>(map: &MapData, name: &str, keys: &[K], values: &[V]) -> Result<(), Error> {
    write_all(map.fd().as_fd().as_raw_fd().cast_unsigned(), name, keys, values)
}

fn write_all<K: aya::Pod, V: aya::Pod>(map_fd: u32, name: &str, keys: &[K], values: &[V]) -> Result<(), Error> {
    for (keys, values) in keys.chunks(CHUNK).zip(values.chunks(CHUNK)) {
        let count = u32::try_from(keys.len().min(values.len())).unwrap_or(0);
        let mut batch =
            Batch { keys: keys.as_ptr() as u64, values: values.as_ptr() as u64, count, map_fd, ..Batch::default() };
        bpf(BPF_MAP_UPDATE_BATCH, &mut batch).doing(format!("fill {name} ({} of {count} written)", batch.count))?;
    }
    Ok(())
}

/// Every entry of a hash, whole buckets at a time: each entry that stays is seen once, however many come and go. Unlike a
/// lookup it does not count as a use of the entry, so an LRU map goes on forgetting the right ones.
pub fn each<K: aya::Pod, V: aya::Pod>(map: &MapData, name: &str, mut see: impl FnMut(&K, &V)) -> Result<(), Error> {
    let mut room = EACH;
    let (mut keys, mut values) = (zeroed::<K>(room), zeroed::<V>(room));
    // A batch is whole buckets, so a place to go on from is a bucket and not a key.
    let (mut from, mut to) = (0u32, 0u32);
    let mut first = true;
    loop {
        let mut batch = Batch {
            in_batch: if first { 0 } else { (&raw const from) as u64 },
            out_batch: (&raw mut to) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(room).unwrap_or(0),
            map_fd: map.fd().as_fd().as_raw_fd().cast_unsigned(),
            ..Batch::default()
        };
        let end = match bpf(BPF_MAP_LOOKUP_BATCH, &mut batch) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            // A bucket is larger than the room, which only chance or malice makes it.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && batch.count == 0 && room < MOST => {
                room *= 4;
                (keys, values) = (zeroed::<K>(room), zeroed::<V>(room));
                continue;
            }
            other => other.map(|_| false).doing(format!("read {name}"))?,
        };
        keys.iter().zip(&values).take(batch.count as usize).for_each(|(key, value)| see(key, value));
        if end {
            return Ok(());
        }
        (from, first) = (to, false);
    }
}

/// Entries of one call of [`each`].
const EACH: usize = 2048;
/// More no bucket holds.
const MOST: usize = 1 << 20;

/// A map that is being built.
#[derive(Debug)]
pub struct Building {
    fd: OwnedFd,
    name: String,
}

impl Building {
    /// Creates an empty map for keys `K` and values `V`.
    pub fn create<K: aya::Pod, V: aya::Pod>(kind: Kind, name: &str, entries: u32, flags: u32) -> Result<Self, Error> {
        let mut create = Create {
            map_type: kind as u32,
            key_size: u32::try_from(size_of::<K>()).unwrap_or(0),
            value_size: u32::try_from(size_of::<V>()).unwrap_or(0),
            max_entries: entries,
            map_flags: flags,
            ..Create::default()
        };
        let fd = bpf(BPF_MAP_CREATE, &mut create).doing(format!("create {name}"))?;
        let fd = i32::try_from(fd).map_err(io::Error::other).doing(format!("create {name}"))?;
        // SAFETY: the kernel just returned this descriptor to us alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, name: name.to_owned() })
    }

    fn raw_fd(&self) -> u32 {
        self.fd.as_raw_fd().cast_unsigned()
    }

    /// Writes every entry.
    pub fn fill<K: aya::Pod, V: aya::Pod>(&self, keys: &[K], values: &[V]) -> Result<(), Error> {
        write_all(self.raw_fd(), &self.name, keys, values)
    }

    /// Reads an array back and compares.
    pub fn verify_array<V: aya::Pod + PartialEq>(&self, values: &[V]) -> Result<(), Error> {
        let mut position = 0u32;
        let mut first = true;
        for expected in values.chunks(CHUNK) {
            let mut keys = vec![0u32; expected.len()];
            let mut found = expected.to_vec();
            // What the kernel leaves untouched must not look right.
            // SAFETY: `V` is plain data, so any bytes are a valid value; the length is the vector's own.
            unsafe { std::ptr::write_bytes(found.as_mut_ptr(), 0xa5, found.len()) };
            let mut batch = Batch {
                in_batch: if first { 0 } else { (&raw const position) as u64 },
                out_batch: (&raw mut position) as u64,
                keys: keys.as_mut_ptr() as u64,
                values: found.as_mut_ptr() as u64,
                count: u32::try_from(expected.len()).unwrap_or(0),
                map_fd: self.raw_fd(),
                ..Batch::default()
            };
            match bpf(BPF_MAP_LOOKUP_BATCH, &mut batch) {
                // The end of the map was reached, with this batch filled.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => {
                    other.doing(format!("read back {}", self.name))?;
                }
            }
            if found != expected {
                return Err(Error::new(format!("verify {}", self.name), "an entry reads back differently"));
            }
            first = false;
        }
        Ok(())
    }

    /// Writes an array that was created with `BPF_F_MMAPABLE`, and reads it back.
    pub fn fill_mapped<V: aya::Pod + PartialEq>(&self, values: &[V]) -> Result<(), Error> {
        mapped::write(&self.fd, values).doing(format!("fill {}", self.name))?;
        if mapped::holds(&self.fd, values).doing(format!("read back {}", self.name))? {
            return Ok(());
        }
        Err(Error::new(format!("verify {}", self.name), "an entry reads back differently"))
    }

    /// Reads a hash back and compares: these entries, and no others.
    pub fn verify_hash<K: aya::Pod + Eq + Hash, V: aya::Pod + PartialEq>(
        &self,
        keys: &[K],
        values: &[V],
    ) -> Result<(), Error> {
        let differs = |why: &str| Error::new(format!("verify {}", self.name), why);
        let mut expected: HashMap<K, V> = keys.iter().copied().zip(values.iter().copied()).collect();
        // A batch is whole buckets, so a place to go on from is a bucket and not a key.
        let (mut from, mut to) = (0u32, 0u32);
        for turn in 0.. {
            let mut found = (zeroed::<K>(CHUNK), zeroed::<V>(CHUNK));
            let mut batch = Batch {
                in_batch: if turn == 0 { 0 } else { (&raw const from) as u64 },
                out_batch: (&raw mut to) as u64,
                keys: found.0.as_mut_ptr() as u64,
                values: found.1.as_mut_ptr() as u64,
                count: u32::try_from(CHUNK).unwrap_or(0),
                map_fd: self.raw_fd(),
                ..Batch::default()
            };
            let end = match bpf(BPF_MAP_LOOKUP_BATCH, &mut batch) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                other => other.map(|_| false).doing(format!("read back {}", self.name))?,
            };
            for (key, value) in found.0.iter().zip(&found.1).take(batch.count as usize) {
                if expected.remove(key) != Some(*value) {
                    return Err(differs("an entry reads back differently"));
                }
            }
            if end {
                break;
            }
            from = to;
        }
        if expected.is_empty() { Ok(()) } else { Err(differs("an entry is missing")) }
    }

    /// The finished map, for aya's typed handles.
    pub fn finish(self) -> Result<Map, Error> {
        let data = MapData::from_fd(self.fd).doing(format!("use {}", self.name))?;
        Map::from_map_data(data).doing(format!("use {}", self.name))
    }
}

fn zeroed<T: aya::Pod>(count: usize) -> Vec<T> {
    // SAFETY: `T` is plain data, for which zeroes are a value.
    vec![unsafe { std::mem::zeroed() }; count]
}
