//! Records as they are made, for whoever looks for patterns in them.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
    mpsc::{self, Receiver, SyncSender, TrySendError},
};

use super::record::Record;

/// Where records of each walk are published.
#[derive(Debug, Clone, Default)]
pub struct Feed {
    subscribers: Arc<Mutex<Vec<Subscriber>>>,
}

#[derive(Debug)]
struct Subscriber {
    sender: SyncSender<Arc<[Record]>>,
    missed: Arc<AtomicU64>,
}

/// One reader of the feed; it ends when dropped.
///
/// Every conversation comes at least once: first as [`super::Kind::Began`] (then once an hour as `GoesOn` and at last as `Ended`), or
/// as `Whole` if it was over when it was found. Counting `Began` and `Whole` counts conversations.
#[derive(Debug)]
pub struct Subscription {
    receiver: Receiver<Arc<[Record]>>,
    missed: Arc<AtomicU64>,
}

impl Feed {
    /// Everything published from now on. A reader that falls more than `depth` batches behind misses records, which is
    /// counted: recording never waits for it.
    pub fn subscribe(&self, depth: usize) -> Subscription {
        let (sender, receiver) = mpsc::sync_channel(depth);
        let missed = Arc::new(AtomicU64::new(0));
        let subscriber = Subscriber { sender, missed: Arc::clone(&missed) };
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(subscriber);
        Subscription { receiver, missed }
    }

    /// Hands records to every reader.
    pub fn publish(&self, records: &[Record]) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        if subscribers.is_empty() || records.is_empty() {
            return;
        }
        let records: Arc<[Record]> = records.into();
        subscribers.retain(|reader| match reader.sender.try_send(Arc::clone(&records)) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                reader.missed.fetch_add(records.len() as u64, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
    }
}

impl Subscription {
    /// The next batch; waits for it. `None` when nothing will come any more.
    pub fn next(&self) -> Option<Arc<[Record]>> {
        self.receiver.recv().ok()
    }

    /// The next batch if one is there.
    pub fn try_next(&self) -> Option<Arc<[Record]>> {
        self.receiver.try_recv().ok()
    }

    /// Records that came while this reader was behind.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::flows::testing::Day;

    #[test]
    fn a_slow_reader_misses_records_and_nobody_waits_for_it() {
        let feed = Feed::default();
        let records = Day::new(1).records(3);
        feed.publish(&records);
        let reader = feed.subscribe(1);
        feed.publish(&records);
        feed.publish(&records);
        assert_eq!(reader.next().unwrap().len(), 3);
        assert!(reader.try_next().is_none());
        assert_eq!(reader.missed(), 3);
        drop(reader);
        feed.publish(&records);
        assert!(feed.subscribers.lock().unwrap().is_empty());
    }
}
