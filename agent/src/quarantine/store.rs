//! The list on disk: whole, or the one before.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::list::List;
use crate::record::durable;

/// The list could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    list: List,
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
        Self { path: state.join("quarantine.json") }
    }

    fn fail(&self, source: impl Into<io::Error>) -> Error {
        Error { path: self.path.clone(), source: source.into() }
    }

    /// What was in force; nobody if nobody ever was.
    ///
    /// # Errors
    /// It cannot be read, or not by this version: then nobody knows who is in quarantine.
    pub fn load(&self) -> Result<List, Error> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(List::default()),
            Err(error) => return Err(self.fail(error)),
        };
        let document: Document = serde_json::from_slice(&bytes).map_err(|error| self.fail(error))?;
        if document.version != VERSION {
            return Err(self.fail(io::Error::other(format!("version {} is not {VERSION}", document.version))));
        }
        Ok(document.list)
    }

    /// On disk when it returns.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn save(&self, list: &List) -> Result<(), Error> {
        let document = Document { version: VERSION, list: list.clone() };
        let bytes = serde_json::to_vec_pretty(&document).map_err(|error| self.fail(error))?;
        durable::write(&self.path, &bytes).map_err(|error| self.fail(error))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::{
        agent::keeper::Caller,
        cutoff::{Covers, End, Now},
        quarantine::list::Wish,
    };

    #[test]
    fn round_trip_and_damage() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        assert_eq!(store.load().unwrap(), List::default());
        let mut list = List::default();
        let wish = Wish {
            host: "pc-017".into(),
            covers: Covers::new(vec!["2001:db8::17".parse().unwrap()], [[2, 0, 0, 0, 0x10, 0x17]]),
            reason: "不審な通信".into(),
            placed_by: Caller::agent().actor,
            automatic: true,
            until: Some(End::At("2026-12-01T01:00:00Z".parse().unwrap())),
        };
        list.place(wish, "2026-11-27T10:00:00Z".into(), &Now::default()).unwrap();
        store.save(&list).unwrap();
        assert_eq!(Store::new(dir.path()).load().unwrap(), list);
        for bad in ["", "{", r#"{"version":2,"list":{"hosts":[]}}"#, r#"{"version":1,"list":{"hosts":[]},"x":0}"#] {
            fs::write(dir.path().join("quarantine.json"), bad).unwrap();
            assert!(store.load().is_err(), "{bad}");
        }
    }
}
