//! Somebody who counts what arrives at one interface, and notes when.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use super::{frame::Frame, netns::Ns, raw::RawPort};

/// How often it looks whether it should end.
const LOOK: Duration = Duration::from_millis(20);
/// What is read of each frame: the headers.
const HEAD: usize = 128;

/// Counts until it is asked.
#[derive(Debug)]
pub struct Tap {
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<Result<Taken>>>,
}

/// What arrived.
#[derive(Debug, Clone, Copy, Default)]
pub struct Taken {
    /// Frames.
    pub frames: u64,
    /// From the first to the last of them.
    pub lasted: Duration,
}

impl Tap {
    /// Counts the frames for which `wanted` holds; it sees the first 128 bytes of each.
    pub fn open(ns: &Ns, interface: &str, wanted: impl Fn(&Frame) -> bool + Send + 'static) -> Result<Self> {
        let port = RawPort::open(ns, interface)?;
        let stop = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&stop);
        let reader = thread::spawn(move || {
            let (mut frame, mut frames, mut seen) = (Frame(vec![0; HEAD]), 0, None);
            // What was there before it was asked to end is counted.
            while !ending.load(Ordering::Acquire) {
                while port.read_head(&mut frame, Instant::now() + LOOK)? {
                    if wanted(&frame) {
                        let now = Instant::now();
                        frames += 1;
                        seen = Some((seen.map_or(now, |(first, _)| first), now));
                    }
                }
            }
            Ok(Taken { frames, lasted: seen.map_or(Duration::ZERO, |(first, last)| last - first) })
        });
        Ok(Self { stop, reader: Some(reader) })
    }

    /// Ends the counting.
    pub fn stop(mut self) -> Result<Taken> {
        self.stop.store(true, Ordering::Release);
        let reader = self.reader.take().ok_or_else(|| anyhow!("the tap was stopped before"))?;
        reader.join().map_err(|_| anyhow!("the tap panicked"))?
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}
