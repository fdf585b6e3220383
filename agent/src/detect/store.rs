//! Incidents on disk: a file each, whole or the one before, beside the packets that prove it.
//!
//! One file each, because a flood of events changes a few of ten thousand, and a crash must cost none of the others.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::incident::Incident;
use crate::record::durable;

const FOLDER: &str = "incidents";
const INCIDENT: &str = "json";
const EVIDENCE: &str = "pcapng";
/// Far more than an incident takes.
const MAX_FILE: u64 = 1 << 20;

/// Incidents could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct Error {
    /// The file or folder.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    incident: Incident,
}

const VERSION: u32 = 1;

/// What was found on disk.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that could be read.
    pub incidents: Vec<Incident>,
    /// Files that could not, and why; they stay as they are.
    pub unread: Vec<String>,
    /// Above every number that was ever given.
    pub next: u64,
    /// Files of evidence, the oldest incident first, with their lengths.
    pub evidence: Vec<(u64, u64)>,
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// In this state folder.
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join(FOLDER) }
    }

    fn fail(path: PathBuf) -> impl FnOnce(io::Error) -> Error {
        move |source| Error { path, source }
    }

    fn incident(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{id}.{INCIDENT}"))
    }

    fn next(&self) -> PathBuf {
        self.folder.join("next")
    }

    /// Where the packets of an incident are.
    pub fn evidence(&self, id: u64) -> PathBuf {
        self.folder.join(evidence_name(id))
    }

    /// Everything that is there.
    ///
    /// # Errors
    /// The folder cannot be listed. A file that cannot be read costs only itself.
    pub fn load(&self) -> Result<Found, Error> {
        let mut found = Found::default();
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(Self::fail(self.folder.clone())(error)),
        };
        for entry in entries {
            let path = entry.map_err(Self::fail(self.folder.clone()))?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            match (number, extension) {
                (Some(id), INCIDENT) => {
                    found.next = found.next.max(id.saturating_add(1));
                    match Self::read(&path).map_err(Self::fail(path)) {
                        Ok(incident) if incident.id == id => found.incidents.push(incident),
                        Ok(incident) => {
                            found.unread.push(format!("{INCIDENT} {id} says that it is incident {}", incident.id));
                        }
                        Err(error) => found.unread.push(error.to_string()),
                    }
                }
                (Some(id), EVIDENCE) => {
                    let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
                    found.evidence.push((id, length));
                }
                // What a crash left half written.
                (_, "new") => drop(fs::remove_file(&path)),
                _ => {}
            }
        }
        let next = fs::read_to_string(self.next()).ok().and_then(|text| text.trim().parse().ok());
        found.next = found.next.max(next.unwrap_or(0));
        found.incidents.sort_unstable_by_key(|incident| incident.id);
        found.evidence.sort_unstable();
        Ok(found)
    }

    fn read(path: &Path) -> io::Result<Incident> {
        let length = fs::metadata(path)?.len();
        if length > MAX_FILE {
            return Err(io::Error::other(format!("{length} bytes are no incident")));
        }
        let document: Document = serde_json::from_slice(&fs::read(path)?)?;
        if document.version != VERSION {
            return Err(io::Error::other(format!("version {} is not {VERSION}", document.version)));
        }
        Ok(document.incident)
    }

    fn folder(&self) -> Result<(), Error> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(Self::fail(self.folder.clone()))
    }

    /// Whether there is a file of this incident, readable or not.
    pub fn knows(&self, id: u64) -> bool {
        self.incident(id).exists()
    }

    /// On disk when it returns.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn save(&self, incident: &Incident) -> Result<(), Error> {
        self.folder()?;
        let path = self.incident(incident.id);
        let document = Document { version: VERSION, incident: incident.clone() };
        let bytes = serde_json::to_vec_pretty(&document).map_err(io::Error::from).map_err(Self::fail(path.clone()))?;
        durable::write(&path, &bytes).map_err(Self::fail(path))
    }

    /// The number the next incident gets: kept, because the latest may be the first to make room.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn save_next(&self, next: u64) -> Result<(), Error> {
        self.folder()?;
        durable::write(&self.next(), next.to_string().as_bytes()).map_err(Self::fail(self.next()))
    }

    /// Writes the packets of an incident, or adds to them: whole, or as it was. Returns all that is there now.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn add_evidence(&self, id: u64, section: &[u8]) -> Result<Vec<u8>, Error> {
        self.folder()?;
        let path = self.evidence(id);
        let mut bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Self::fail(path)(error)),
        };
        bytes.extend_from_slice(section);
        durable::write(&path, &bytes).map_err(Self::fail(path))?;
        Ok(bytes)
    }

    /// Removes the packets of an incident.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn remove_evidence(&self, id: u64) -> Result<(), Error> {
        remove(self.evidence(id))
    }

    /// Removes an incident and its packets.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn remove(&self, id: u64) -> Result<(), Error> {
        remove(self.incident(id))?;
        remove(self.evidence(id))
    }
}

/// Name of the file with an incident's packets.
pub fn evidence_name(id: u64) -> String {
    format!("{id}.{EVIDENCE}")
}

fn remove(path: PathBuf) -> Result<(), Error> {
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error { path, source: error }),
        _ => Ok(()),
    }
}
