//! Who may come by the network: bearer tokens and client certificates by id, with what each of them may.
//!
//! `secret` is a token itself, `list` who there is, `store` how that is kept. A token is 256 random bits, so that its plain
//! SHA-256 is all that has to be kept: there is nothing to guess that a slow hash would protect.

mod list;
mod secret;
mod store;

use std::sync::{Arc, PoisonError, RwLock};

pub use list::{Credential, List, Proof, Right, Taken};
pub use secret::{Fingerprint, Secret};
pub use store::{Error, Store};

/// The list as it is now, for those who must not wait for the instance.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<RwLock<Arc<List>>>);

impl Shared {
    /// As it is now.
    pub fn now(&self) -> Arc<List> {
        // A list is replaced as a whole: what a panic left behind is whole, too.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on it is this one.
    pub fn replace(&self, list: List) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(list);
    }
}
