//! A wire on which everything takes its time, as on the way to a server in another city.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    link::{self, Plug, plug},
    netns::Ns,
    raw::RawPort,
};

/// How often a direction without traffic looks whether it should end.
const LOOK: Duration = Duration::from_millis(50);
/// What is under way at most in one direction; more is lost, as in any queue.
const QUEUE: usize = 10_000;

/// Two wires and, between them, whoever carries each frame over after a while, in order. Ends when dropped.
#[derive(Debug)]
pub struct LongLine {
    stop: Arc<AtomicBool>,
    carriers: Vec<JoinHandle<Result<()>>>,
    _between: Ns,
}

impl LongLine {
    /// Lays it; `delay` is that of one direction, and up to a millisecond more.
    pub fn lay(a: Plug<'_>, b: Plug<'_>, delay: Duration) -> Result<Self> {
        let between = Ns::new("line")?;
        // The line itself says nothing on the wire.
        between.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        link::veth(a, plug(&between, "a"))?;
        link::veth(b, plug(&between, "b"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut carriers = Vec::new();
        for (from, to) in [("a", "b"), ("b", "a")] {
            let (from, to) = (RawPort::open(&between, from)?, RawPort::open(&between, to)?);
            let stop = Arc::clone(&stop);
            carriers.push(thread::spawn(move || carry(&from, &to, delay, &stop)));
        }
        Ok(Self { stop, carriers, _between: between })
    }
}

impl Drop for LongLine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for carrier in self.carriers.drain(..) {
            // A line that broke shows in what did not arrive; here is why.
            if let Ok(Err(error)) = carrier.join() {
                eprintln!("the long line broke: {error:#}");
            }
        }
    }
}

fn carry(from: &RawPort, to: &RawPort, delay: Duration, stop: &AtomicBool) -> Result<()> {
    let mut under_way = VecDeque::new();
    while !stop.load(Ordering::Acquire) {
        let next = under_way.front().map_or_else(|| Instant::now() + LOOK, |(due, _)| *due);
        if let Some(frame) = from.next(next)?
            && under_way.len() < QUEUE
        {
            under_way.push_back((Instant::now() + delay, frame));
        }
        while let Some((_, frame)) = under_way.pop_front_if(|(due, _)| *due <= Instant::now()) {
            to.send(&frame)?;
        }
    }
    Ok(())
}
