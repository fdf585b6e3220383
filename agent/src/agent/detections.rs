//! Waiting for detectors to speak, and saving what proves it. The instance is asked for short times only; the ring of packets
//! is read, and files are written, without it.

use std::{collections::VecDeque, path::PathBuf, time::Duration};

use jiff::Timestamp;
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, timeout},
};

use super::{clock::seconds, handler::Desk, incidents::Written};
use crate::{
    dataplane::detect::DetectMaps,
    detect::{
        Store,
        evidence::{self, Names, Wish, interface},
        source::Source,
    },
};

/// Events taken in at a time.
const AT_ONCE: usize = 4_096;
/// How often events are taken in at most.
const EVERY: Duration = Duration::from_millis(250);
/// How long the ring is waited for; it may have been replaced.
const RING_EVERY: Duration = Duration::from_secs(30);
/// How often it is looked whether there is a data plane with detectors.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often incidents that have grown are written, and how many of them at a time.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// See there.
const SAVE: usize = 32;
/// The packets that follow the first event prove the most.
const SECOND_LOOK: Duration = Duration::from_secs(5);
/// Second looks that may be waiting; a flood of incidents gets one look each.
const SECOND_LOOKS: usize = 256;

/// Runs until it is dropped.
pub(super) async fn watch(desk: Desk, maps: PathBuf) {
    let keeper = desk.keeper();
    let store = {
        let mut keeper = keeper.lock().await;
        tokio::task::block_in_place(|| keeper.read_incidents());
        keeper.incident_store()
    };
    let mut again: VecDeque<(Instant, Wish)> = VecDeque::new();
    let (mut unsaved, mut save_at, mut complained) = (false, Instant::now(), false);
    loop {
        // Opened anew each time: an apply after a detach makes new maps.
        let mut source = match DetectMaps::exist(&maps).then(|| DetectMaps::pinned(&maps)).transpose() {
            Ok(Some(source)) => source,
            Ok(None) => {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::error!(%error, "detectors cannot be heard; what they drop is dropped all the same");
                }
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
        };
        complained = false;
        let second = again.front().map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let patience = if unsaved { SAVE_EVERY } else { RING_EVERY };
        wait(&source, second.map_or(patience, |second| second.min(patience))).await;

        let events = source.detections(AT_ONCE);
        let mut wishes = Vec::new();
        let more = events.len() == AT_ONCE;
        if !events.is_empty() {
            let mut keeper = keeper.lock().await;
            wishes = tokio::task::block_in_place(|| keeper.detected(&events));
            unsaved = true;
        }
        let first = wishes.len();
        while let Some((_, wish)) = again.pop_front_if(|(at, _)| *at <= Instant::now()) {
            wishes.push(wish);
        }
        if !wishes.is_empty() {
            let names = keeper.lock().await.detect_names();
            let (looked, last) = tokio::task::block_in_place(|| save(&source, &store, &names, &wishes));
            let mut keeper = keeper.lock().await;
            tokio::task::block_in_place(|| {
                looked.into_iter().for_each(|written| keeper.evidence_written(written));
                keeper.evidence_overwritten(last.overwritten);
            });
            for wish in wishes.into_iter().take(first) {
                if again.len() < SECOND_LOOKS {
                    again.push_back((Instant::now() + SECOND_LOOK, Wish { after: last.number, ..wish }));
                }
            }
        }
        if unsaved && Instant::now() >= save_at {
            let mut keeper = keeper.lock().await;
            unsaved = tokio::task::block_in_place(|| keeper.save_incidents(SAVE));
            save_at = Instant::now() + SAVE_EVERY;
        }
        if !more {
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// Until there are events, or for so long.
async fn wait(source: &DetectMaps, patience: Duration) {
    let ring = source.fd().and_then(|ring| {
        // SAFETY: an `OwnedFd` stays open, and the same, until the registration that owns it ends.
        unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }.map_err(std::io::Error::from)
    });
    match ring {
        Ok(ring) => drop(timeout(patience, ring.readable()).await),
        Err(error) => {
            tracing::debug!(%error, "the ring of detections cannot be waited for");
            tokio::time::sleep(patience.min(LOOK_EVERY)).await;
        }
    }
}

/// What one look into the ring left to know.
#[derive(Debug, Default, Clone, Copy)]
struct Last {
    number: u64,
    overwritten: u64,
}

type Saved = Vec<Result<Written, (u64, String)>>;

/// Looks for the packets of all wishes, and adds them to their files.
fn save(source: &impl Source, store: &Store, names: &Names, wishes: &[Wish]) -> (Saved, Last) {
    let look = match evidence::look(source, wishes) {
        Ok(look) => look,
        Err(error) => {
            let failed = wishes.iter().map(|wish| Err((wish.id, error.to_string()))).collect();
            return (failed, Last::default());
        }
    };
    let last = Last { number: look.last, overwritten: look.overwritten };
    let written = wishes.iter().zip(&look.packets).filter(|(_, packets)| !packets.is_empty());
    let saved = written.map(|(wish, packets)| {
        let about = format!("incident {}: packets kept by the gate, saved {}", wish.id, seconds(Timestamp::now()));
        let section = evidence::section(packets, &about, names, interface);
        let file = store.add_evidence(wish.id, &section).map_err(|error| (wish.id, error.to_string()))?;
        Ok(Written { id: wish.id, packets: packets.len(), file })
    });
    (saved.collect(), last)
}
