//! A table of fixed size in which whatever was quiet longest makes room.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

/// Values by key, with the time of each last touch (any unit that grows).
#[derive(Debug)]
pub struct Recent<K, V> {
    most: usize,
    entries: HashMap<K, (i64, V)>,
    /// By last touch, oldest first: who makes room.
    quiet: BTreeSet<(i64, K)>,
}

impl<K: Copy + Eq + Ord + Hash, V: Default> Recent<K, V> {
    /// Room for `most`, at least one.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), entries: HashMap::new(), quiet: BTreeSet::new() }
    }

    /// The value of a key, a new one if there is none. A clock that steps back makes nothing older than it was.
    pub fn touch(&mut self, key: K, now: i64) -> &mut V {
        if !self.entries.contains_key(&key)
            && self.entries.len() >= self.most
            && let Some((_, oldest)) = self.quiet.pop_first()
        {
            self.entries.remove(&oldest);
        }
        let (touched, value) = self.entries.entry(key).or_insert_with(|| (now, V::default()));
        self.quiet.remove(&(*touched, key));
        *touched = now.max(*touched);
        self.quiet.insert((*touched, key));
        value
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_quietest_go() {
        let mut recent: Recent<u32, u32> = Recent::new(100);
        for key in 0..100 {
            *recent.touch(key, i64::from(key)) = key;
        }
        // 0 speaks again, so 1 is the quietest.
        assert_eq!(*recent.touch(0, 1_000), 0);
        *recent.touch(100, 1_001) = 100;
        assert_eq!((recent.len(), recent.quiet.len()), (100, 100));
        assert!(!recent.entries.contains_key(&1) && recent.entries.contains_key(&0));
    }

    /// Clocks step back; that must not corrupt the order.
    #[test]
    fn a_clock_that_steps_back_is_survived() {
        let mut recent: Recent<u32, u32> = Recent::new(3);
        for (key, now) in [(1, 50), (1, 20), (2, 10), (1, 70), (3, 30), (4, 5), (2, 60)] {
            *recent.touch(key, now) += 1;
        }
        assert_eq!((recent.len(), recent.quiet.len()), (3, 3));
        assert_eq!(recent.entries.get(&1), Some(&(70, 3)));
    }
}
