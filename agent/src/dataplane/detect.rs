//! The detectors' maps: events, kept packets, live capture. Opened by their pins, apart from the others, so that whoever reads
//! them waits for nobody and nobody for them.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use aya::maps::{Array, Map, MapData, MapError, RingBuf};
use sekimori_ebpf::detect::abi::{Detection, KEPT, KEPT_BYTES, Kept, Wanted};

use super::error::{Error, While as _};
use crate::detect::source::{self, Source, Window};

/// A kept packet as the map holds it.
type KeptBytes = [u8; size_of::<Kept>()];
type WantedBytes = [u8; size_of::<Wanted>()];

/// Events and kept packets.
pub struct DetectMaps {
    detections: RingBuf<MapData>,
    kept: Array<MapData, KeptBytes>,
    next: Array<MapData, u64>,
}

/// Live capture.
pub struct CaptureMaps {
    wanted: Array<MapData, WantedBytes>,
    captured: RingBuf<MapData>,
}

fn pin(dir: &Path, name: &str) -> Result<Map, Error> {
    let path = dir.join(name);
    let data = MapData::from_pin(&path).doing(format!("open the pinned map {}", path.display()))?;
    Map::from_map_data(data).doing(format!("read the pinned map {}", path.display()))
}

fn open<T: TryFrom<Map, Error = MapError>>(dir: &Path, name: &str) -> Result<T, Error> {
    T::try_from(pin(dir, name)?).doing(format!("open the map {name}"))
}

impl DetectMaps {
    /// Whether the data plane in force has detectors at all.
    pub fn exist(dir: &Path) -> bool {
        dir.join("DETECTIONS").exists()
    }

    /// Opens the maps pinned in `dir`.
    ///
    /// # Errors
    /// One of them is not there, or not what it should be.
    pub fn pinned(dir: &Path) -> Result<Self, Error> {
        Ok(Self { detections: open(dir, "DETECTIONS")?, kept: open(dir, "KEPT")?, next: open(dir, "KEPT_NEXT")? })
    }

    /// A descriptor that becomes readable when events wait.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn fd(&self) -> io::Result<OwnedFd> {
        self.detections.as_fd().try_clone_to_owned()
    }
}

impl CaptureMaps {
    /// Opens the maps pinned in `dir`.
    ///
    /// # Errors
    /// One of them is not there, or not what it should be.
    pub fn pinned(dir: &Path) -> Result<Self, Error> {
        Ok(Self { wanted: open(dir, "WANTED")?, captured: open(dir, "CAPTURED")? })
    }
}

fn failed(what: &'static str) -> impl FnOnce(MapError) -> source::Error {
    move |error| source::Error { what, why: error.to_string() }
}

/// One item of a ring as what it is.
///
/// # Safety
/// `T` is integers only.
unsafe fn item<T>(bytes: &[u8]) -> Option<T> {
    // SAFETY: long enough, and by the caller's word any bytes are a valid value.
    (bytes.len() >= size_of::<T>()).then(|| unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
}

impl Source for DetectMaps {
    fn detections(&mut self, most: usize) -> Vec<Detection> {
        let mut found = Vec::new();
        while found.len() < most
            && let Some(bytes) = self.detections.next()
        {
            // SAFETY: `Detection` is `repr(C)` and integers only.
            found.extend(unsafe { item::<Detection>(&bytes) });
        }
        found
    }

    fn last_kept(&self) -> Result<u64, source::Error> {
        self.next.get(&0, 0).map_err(failed("read the number of the packet kept last"))
    }

    fn kept(&self, slot: u32) -> Result<Kept, source::Error> {
        let bytes = self.kept.get(&(slot & (KEPT - 1)), 0).map_err(failed("read a kept packet"))?;
        // SAFETY: the array is as long as a `Kept`, which is `repr(C)` and integers only.
        Ok(unsafe { std::mem::transmute::<KeptBytes, Kept>(bytes) })
    }
}

impl Window for CaptureMaps {
    fn want(&mut self, wanted: &Wanted) -> Result<(), source::Error> {
        // SAFETY: `Wanted` is `repr(C)`, integers only and without padding (asserted where it is defined).
        let bytes = unsafe { std::mem::transmute::<Wanted, WantedBytes>(*wanted) };
        self.wanted.set(0, bytes, 0).map_err(failed("say which packets are wanted"))
    }

    fn captured(&mut self, most: usize) -> Vec<Kept> {
        let mut found = Vec::new();
        while found.len() < most
            && let Some(bytes) = self.captured.next()
        {
            // SAFETY: `Kept` is `repr(C)` and integers only.
            found.extend(unsafe { item::<Kept>(&bytes) });
        }
        found
    }
}

// What the layouts promise, where it is relied on.
const _: () = assert!(size_of::<Kept>() == 56 + KEPT_BYTES && size_of::<Wanted>() == 40);
