//! The detectors' maps: events, kept packets, live capture. Opened by their pins, apart from the others, so that whoever reads
//! them waits for nobody and nobody for them.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use aya::maps::{MapData, MapError, RingBuf};
use sekimori_ebpf::detect::abi::{Detection, KEPT, Kept, Wanted};

use super::maps::item;
pub use super::maps::{CaptureMaps, DetectMaps};
use crate::detect::source::{self, Source, Window};

impl DetectMaps {
    /// Whether the data plane in force has detectors at all.
    pub fn exist(dir: &Path) -> bool {
        dir.join("DETECTIONS").exists()
    }

    /// A descriptor that becomes readable when events wait.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn fd(&self) -> io::Result<OwnedFd> {
        self.detections.as_fd().try_clone_to_owned()
    }
}

fn failed(what: &'static str) -> impl FnOnce(MapError) -> source::Error {
    move |error| source::Error { what, why: error.to_string() }
}

/// The next items of a ring, at most so many.
fn items<T: aya::Pod>(ring: &mut RingBuf<MapData>, most: usize) -> Vec<T> {
    std::iter::from_fn(|| item(ring)).take(most).collect()
}

impl Source for DetectMaps {
    fn detections(&mut self, most: usize) -> Vec<Detection> {
        items(&mut self.detections, most)
    }

    fn last_kept(&self) -> Result<u64, source::Error> {
        self.next.get(&0, 0).map_err(failed("read the number of the packet kept last"))
    }

    fn kept(&self, slot: u32) -> Result<Kept, source::Error> {
        self.kept.get(&(slot & (KEPT - 1)), 0).map_err(failed("read a kept packet"))
    }
}

impl Window for CaptureMaps {
    fn want(&mut self, wanted: &Wanted) -> Result<(), source::Error> {
        self.wanted.set(0, wanted, 0).map_err(failed("say which packets are wanted"))
    }

    fn captured(&mut self, most: usize) -> Vec<Kept> {
        items(&mut self.captured, most)
    }
}
