//! The list on disk: whole, or the one before; mode 0600.

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
        Self { path: state.join("tokens.json") }
    }

    fn fail(&self, source: impl Into<io::Error>) -> Error {
        Error { path: self.path.clone(), source: source.into() }
    }

    /// Who there is; nobody if nobody ever was added.
    ///
    /// # Errors
    /// It cannot be read, or not by this version.
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

    /// Replaces it.
    ///
    /// # Errors
    /// It cannot be written: then the one before is whole.
    pub fn save(&self, list: &List) -> Result<(), Error> {
        let document = Document { version: VERSION, list: list.clone() };
        let bytes = serde_json::to_vec_pretty(&document).map_err(|error| self.fail(error))?;
        durable::write(&self.path, &bytes).map_err(|error| self.fail(error))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{
        super::{Credential, Proof, Right, Secret},
        *,
    };
    use crate::{cutoff::Object, record::Actor};

    #[test]
    fn it_is_read_back_and_holds_no_token() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        assert_eq!(store.load().unwrap(), List::default());
        let secret = Secret::new().unwrap();
        let mut list = List::default();
        list.add(Credential {
            id: "a".into(),
            proof: Proof::Sha256(secret.fingerprint()),
            right: Right::Viewer,
            objects: vec![Object::All, Object::host("pc-017").unwrap()],
            expires: Some("2027-01-01T00:00:00Z".parse().unwrap()),
            added_at: "2026-12-01T00:00:00Z".into(),
            added_by: Actor::process(0, "root", "operator", 1),
            reason: "test".into(),
        })
        .unwrap();
        store.save(&list).unwrap();
        assert_eq!(store.load().unwrap(), list);
        let path = dir.path().join("tokens.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(secret.show()), "{text}");
        fs::write(&path, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
        assert!(store.load().is_err());
        fs::write(&path, "{").unwrap();
        assert!(store.load().is_err(), "a damaged list is not `nobody`");
    }
}
