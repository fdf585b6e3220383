//! A table that hands out pointers to its entries, as a BPF map does: an entry stays where it is, and readable
//! after its removal, until the owner says that no decision runs.

use std::{
    cell::{RefCell, UnsafeCell},
    collections::HashMap,
    ptr,
    rc::Rc,
};

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Room<K, V> {
    entries: RefCell<HashMap<K, Rc<UnsafeCell<V>>>>,
    /// Removed entries that a running decision may still point to.
    removed: RefCell<Vec<Rc<UnsafeCell<V>>>>,
    capacity: usize,
}

impl<K: std::hash::Hash + Eq + Copy, V: Copy> Room<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: RefCell::default(), removed: RefCell::default(), capacity }
    }

    pub(super) fn get(&self, key: &K) -> *mut V {
        self.entries.borrow().get(key).map_or(ptr::null_mut(), |entry| entry.get())
    }

    pub(super) fn insert(&self, key: &K, value: &V) -> bool {
        let mut entries = self.entries.borrow_mut();
        if entries.len() >= self.capacity && !entries.contains_key(key) {
            return false;
        }
        if let Some(old) = entries.insert(*key, Rc::new(UnsafeCell::new(*value))) {
            self.removed.borrow_mut().push(old);
        }
        true
    }

    pub(super) fn remove(&self, key: &K) {
        if let Some(old) = self.entries.borrow_mut().remove(key) {
            self.removed.borrow_mut().push(old);
        }
    }

    pub(super) fn all(&self) -> Vec<(K, V)> {
        let entries = self.entries.borrow();
        // SAFETY: pointers handed out earlier are used only while a decision runs, on this thread (the cell is not
        // `Sync`), and no decision runs inside this call.
        entries.iter().map(|(key, entry)| (*key, unsafe { *entry.get() })).collect()
    }

    pub(super) fn clear(&mut self) {
        self.entries.get_mut().clear();
        self.settle();
    }

    pub(super) fn settle(&mut self) {
        self.removed.get_mut().clear();
    }
}
