//! The last good delivery of each list, on disk: `threat/NAME.list` in the state folder. Its first line says what it is, the
//! rest are its prefixes, one a line, so that any tool can read it.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::format::Format;
use crate::{
    policy::prefixes::{Builder, PrefixSet},
    record::{durable, room::hex},
};

const HEAD: &str = "# sekimori threat list ";
const VERSION: u32 = 1;
/// Bytes that are read of one; more was never written.
const MAX_BYTES: u64 = 256 << 20;

/// What is known of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// Of this file's form.
    pub version: u32,
    /// Name of the list.
    pub list: String,
    /// What the policy said of it: other words there, and two deliveries cannot be compared.
    pub declared: String,
    /// As what its files were read.
    pub formats: Vec<Format>,
    /// Lines with addresses.
    pub entries: u64,
    /// Lines with names only.
    pub names: u64,
    /// Lines that were left out, because they were not understood.
    pub bad: u64,
    /// When its newest file was written: seconds since 1970.
    pub written: i64,
    /// When it was taken: seconds since 1970.
    pub taken: i64,
    /// SHA-256 over its files, hex.
    pub sha256: String,
    /// SHA-256 of the prefixes as they stand below, hex.
    pub body: String,
}

/// A delivery that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Good {
    /// What is known of it.
    pub meta: Meta,
    /// Its addresses.
    pub prefixes: Arc<PrefixSet>,
}

/// It could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// In this state folder.
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join("threat") }
    }

    /// Names of lists are letters, digits, `-` and `_`: see [`crate::policy::words::Ident`].
    fn path(&self, list: &str) -> PathBuf {
        self.folder.join(format!("{list}.list"))
    }

    /// On disk when it returns.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn save(&self, good: &Good) -> Result<(), Error> {
        let path = self.path(&good.meta.list);
        let written = serde_json::to_string(&good.meta).map_err(io::Error::from).and_then(|head| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            durable::write(&path, format!("{HEAD}{head}\n{}", body(&good.prefixes)).as_bytes())
        });
        written.map_err(|source| Error { path, source })
    }

    /// The last good delivery; `None` if there never was one.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub fn load(&self, list: &str) -> Result<Option<Good>, Error> {
        let path = self.path(list);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error { path, source }),
        };
        let mut text = String::new();
        let read = file.take(MAX_BYTES).read_to_string(&mut text);
        read.and_then(|_| parse(list, &text)).map(Some).map_err(|source| Error { path, source })
    }

    /// Forgets all but these. What cannot be removed is only in the way of nobody.
    pub fn retain(&self, lists: &[&str]) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let named = path.file_stem().and_then(|name| name.to_str()).is_some_and(|name| lists.contains(&name));
            if !named && let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "a list that no policy names any more stays on disk");
            }
        }
    }
}

/// SHA-256 of the prefixes as they are written, hex.
pub(super) fn body_hash(prefixes: &PrefixSet) -> String {
    hex(&Sha256::digest(body(prefixes)))
}

/// The form of this version.
pub(super) const fn version() -> u32 {
    VERSION
}

fn body(prefixes: &PrefixSet) -> String {
    let mut text = String::new();
    for prefix in prefixes.iter() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{prefix}");
    }
    text
}

fn parse(list: &str, text: &str) -> io::Result<Good> {
    let other = |why: &str| io::Error::other(why.to_owned());
    let (head, body) = text.split_once('\n').ok_or_else(|| other("it has no first line"))?;
    let head = head.strip_prefix(HEAD).ok_or_else(|| other("its first line is not that of a kept list"))?;
    let meta: Meta = serde_json::from_str(head)?;
    if meta.version != VERSION || meta.list != list {
        return Err(other("it is another list's, or another version's"));
    }
    if hex(&Sha256::digest(body)) != meta.body {
        return Err(other("its prefixes are not those that were written"));
    }
    let mut builder = Builder::default();
    for line in body.lines() {
        builder.add(&line.parse::<IpNet>().map_err(io::Error::other)?);
    }
    Ok(Good { meta, prefixes: Arc::new(builder.finish()) })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn good(list: &str) -> Good {
        let prefixes: PrefixSet =
            ["192.0.2.0/24", "2001:db8::/32"].iter().map(|prefix| prefix.parse::<IpNet>().unwrap()).collect();
        let meta = Meta {
            version: VERSION,
            list: list.into(),
            declared: "d".into(),
            formats: vec![Format::Drop],
            entries: 2,
            names: 0,
            bad: 1,
            written: 1_790_000_000,
            taken: 1_790_000_060,
            sha256: "ab".into(),
            body: body_hash(&prefixes),
        };
        Good { meta, prefixes: Arc::new(prefixes) }
    }

    #[test]
    fn round_trip_damage_and_leaving() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        assert_eq!(store.load("drop").unwrap(), None);
        store.save(&good("drop")).unwrap();
        store.save(&good("c2")).unwrap();
        assert_eq!(Store::new(dir.path()).load("drop").unwrap(), Some(good("drop")));
        let path = dir.path().join("threat/drop.list");
        let whole = fs::read_to_string(&path).unwrap();
        assert!(whole.ends_with("}\n192.0.2.0/24\n2001:db8::/32\n"), "{whole}");
        for damaged in
            ["", "x", &whole[..whole.len() - 5], &whole.replace("/24", "/25"), &whole.replace("drop", "other")]
        {
            fs::write(&path, damaged).unwrap();
            assert!(store.load("drop").is_err(), "{damaged}");
        }
        store.retain(&["c2"]);
        assert!(!path.exists() && store.load("c2").unwrap().is_some());
    }
}
