//! Frames that must not pass, sent without end, and a watch over the other side.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::{frame::Frame, netns::Ns, raw::RawPort, tool};

/// How long what a test waits for may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends the same frames over and over until it ends.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Flood {
    /// One frame after the other, `every` so often.
    pub fn start(ns: &Ns, interface: &str, frames: Vec<Frame>, every: Duration) -> Result<Self> {
        let port = RawPort::open(ns, interface)?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ending, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            for frame in frames.iter().cycle() {
                if ending.load(Ordering::Acquire) {
                    break;
                }
                port.send(frame)?;
                counted.fetch_add(1, Ordering::AcqRel);
                thread::sleep(every);
            }
            Ok(())
        });
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    /// Frames sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Waits until `more` further frames were sent.
    pub fn goes_on(&self, more: u64) -> Result<()> {
        let goal = self.sent() + more;
        tool::until("the flood to go on", PATIENCE, || Ok((self.sent() >= goal).then_some(())))
    }

    /// Ends it; frames sent in all.
    pub fn finish(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().context("it was finished already")?;
        thread.join().map_err(|_| anyhow!("the flood panicked"))??;
        Ok(self.sent())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Looks at every frame that arrives somewhere for as long as it lives.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    state: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<Result<()>>>,
    place: String,
}

#[derive(Debug, Default)]
struct Seen {
    frames: u64,
    unwanted: u64,
    first: Option<Frame>,
    marker: bool,
}

impl Watch {
    /// Counts the frames with these bytes in them; `marker` are bytes of a frame that is let through.
    pub fn over(ns: &Ns, interface: &str, unwanted: &'static [u8], marker: &'static [u8]) -> Result<Self> {
        let port = RawPort::open(ns, interface)?;
        let stop = Arc::new(AtomicBool::new(false));
        let state = Arc::new(Mutex::new(Seen::default()));
        let (ending, seen) = (Arc::clone(&stop), Arc::clone(&state));
        let thread = thread::spawn(move || {
            while !ending.load(Ordering::Acquire) {
                let Some(frame) = port.next(Instant::now() + Duration::from_millis(50))? else {
                    continue;
                };
                let mut seen = seen.lock().map_err(|_| anyhow!("another thread panicked"))?;
                seen.frames += 1;
                seen.marker |= frame.contains(marker);
                if frame.contains(unwanted) {
                    seen.unwanted += 1;
                    seen.first.get_or_insert(frame);
                }
            }
            Ok(())
        });
        Ok(Self { stop, state, thread: Some(thread), place: format!("{interface} of {}", ns.name()) })
    }

    /// Unwanted frames so far.
    pub fn unwanted(&self) -> u64 {
        self.state.lock().map(|seen| seen.unwanted).unwrap_or_default()
    }

    /// Ends it; an error if a single unwanted frame came. `send_marker` sends the frame that proves that frames still
    /// arrive, after everything that was to be dropped.
    pub fn saw_nothing(mut self, send_marker: impl FnOnce() -> Result<()>) -> Result<()> {
        send_marker()?;
        tool::until(&format!("the marker on {}", self.place), PATIENCE, || {
            Ok(self.state.lock().map_err(|_| anyhow!("the watch panicked"))?.marker.then_some(()))
        })?;
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow!("the watch panicked"))??;
        }
        let seen = self.state.lock().map_err(|_| anyhow!("the watch panicked"))?;
        if seen.unwanted > 0 {
            bail!("{} of {} frames leaked to {}, the first: {:?}", seen.unwanted, seen.frames, self.place, seen.first);
        }
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
