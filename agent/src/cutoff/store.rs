//! The cut-off state on disk. It is whole or it is the one before; unreadable state counts as everything cut.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::overlay::Overlay;
use crate::record::durable;

/// The state could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not written.
    #[error(
        "the cut-off state {path} could not be written: {source}; the cut-off is in force now but would not survive a reboot"
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not read.
    #[error("the cut-off state {path} could not be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    overlay: Overlay,
}

const VERSION: u32 = 1;

/// The file.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// In this state folder.
    pub fn new(state: &Path) -> Self {
        Self { path: state.join("cutoff.json") }
    }

    /// What was in force. Without a file: nothing, which is written down, or an error if a policy was in force (`begun`): then
    /// there was one.
    pub fn load(&self, begun: bool) -> Result<Overlay, Error> {
        let fail = |source| Error::Read { path: self.path.clone(), source };
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !begun => {
                let nothing = Overlay::default();
                // Where this cannot be written no policy will be kept either.
                let _ = self.save(&nothing);
                return Ok(nothing);
            }
            Err(error) => return Err(fail(error)),
        };
        let document: Document = serde_json::from_slice(&bytes).map_err(|error| fail(error.into()))?;
        if document.version != VERSION {
            return Err(fail(io::Error::other(format!("version {} is not {VERSION}", document.version))));
        }
        Ok(document.overlay)
    }

    /// On disk when it returns.
    pub fn save(&self, overlay: &Overlay) -> Result<(), Error> {
        let fail = |source| Error::Write { path: self.path.clone(), source };
        let document = Document { version: VERSION, overlay: overlay.clone() };
        let bytes = serde_json::to_vec_pretty(&document).map_err(|error| fail(error.into()))?;
        durable::write(&self.path, &bytes).map_err(fail)
    }

    /// Puts an unreadable file aside, where it can be looked at, and says where.
    pub fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = self.path.with_extension("unreadable.json");
        fs::rename(&self.path, &aside)?;
        durable::sync_parent(&self.path)?;
        Ok(aside)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::cutoff::{object::Object, overlay::tests::cut};

    #[test]
    fn round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        assert_eq!(store.load(false).unwrap(), Overlay::default());
        assert_eq!(store.load(true).unwrap(), Overlay::default(), "it was written down");
        let mut overlay = Overlay::default();
        overlay.place(cut(Object::Network { name: "internet".into() }, "不審な通信"), &crate::cutoff::Now::default());
        overlay.place(cut(Object::prefix("2001:db8::/32").unwrap(), "scan"), &crate::cutoff::Now::default());
        store.save(&overlay).unwrap();
        assert_eq!(Store::new(dir.path()).load(true).unwrap(), overlay);
        fs::remove_file(dir.path().join("cutoff.json")).unwrap();
        assert!(store.load(true).is_err(), "what is gone is not nothing");
    }

    #[test]
    fn damaged_state_is_never_read_as_no_cut() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        for bad in ["", "{", r#"{"version":2,"overlay":{"cuts":[]}}"#, r#"{"version":1,"overlay":{"cuts":[]},"x":0}"#] {
            fs::write(dir.path().join("cutoff.json"), bad).unwrap();
            assert!(store.load(false).is_err(), "{bad}");
        }
        let aside = store.set_aside().unwrap();
        assert!(aside.exists());
        assert!(store.load(true).is_err());
        assert_eq!(store.load(false).unwrap(), Overlay::default());
    }
}
