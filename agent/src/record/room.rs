//! Appending: one line, one write, one fsync. What is there is never changed.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    clock, durable,
    entry::{Draft, Entry, MAX_DETAILS, NOTHING_BEFORE},
    verify::Head,
};

/// The record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be opened or scanned.
    #[error("the record {path} cannot be opened: {source}; make room or repair the file system, nothing was recorded")]
    Open {
        /// The record.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line could not be written whole.
    #[error(
        "the record {path} could not be written: {source}; the action stands but is NOT recorded, write it down by hand"
    )]
    Append {
        /// The record.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A last line that ended without a line feed: a crash or a full disk cut it short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// Its line number, from 1.
    pub line: u64,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of what is there, hex.
    pub sha256: String,
}

/// The open record. One writer: the holder of the instance lock.
#[derive(Debug)]
pub struct Room {
    path: PathBuf,
    file: File,
    last: u64,
    /// SHA-256 of the last line, hex.
    head: String,
    /// The file does not end with a line feed: the next line starts with one, so that nothing is glued together.
    ragged: bool,
}

impl Room {
    /// Opens or creates the record (mode 0600) and says whether its last line is torn. A torn line stays as it
    /// is; the caller records that it was found.
    pub fn open(path: &Path) -> Result<(Self, Option<Torn>), Error> {
        let fail = |source| Error::Open { path: path.to_path_buf(), source };
        let existed = path.exists();
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(fail)?;
        if !existed {
            durable::sync_parent(path).map_err(fail)?;
        }
        let (last, head, torn) = scan(&file).map_err(fail)?;
        let ragged = torn.is_some();
        Ok((Self { path: path.to_path_buf(), file, last, head, ragged }, torn))
    }

    /// Numbers, dates, writes and syncs one line.
    pub fn append(&mut self, draft: Draft) -> Result<Entry, Error> {
        let entry = Entry {
            n: self.last + 1,
            time: format!("{:.6}", jiff::Timestamp::now()),
            clock_synchronised: clock::synchronised(),
            actor: draft.actor,
            from: draft.from,
            action: draft.action,
            reason: draft.reason,
            objects: draft.objects,
            before: draft.before,
            after: draft.after,
            result: draft.result,
            level: draft.level,
            drill: draft.drill,
            snapshot: draft.snapshot,
            details: draft.details.map(bounded),
            prev: Some(self.head.clone()),
        };
        let fail = |source| Error::Append { path: self.path.clone(), source };
        let mut line = Vec::new();
        if self.ragged {
            line.push(b'\n');
        }
        let text = serde_json::to_vec(&entry).map_err(|error| fail(error.into()))?;
        line.extend_from_slice(&text);
        line.push(b'\n');
        let before = self.file.metadata().map(|metadata| metadata.len());
        if let Err(source) = self.file.write_all(&line).and_then(|()| self.file.sync_data()) {
            // Part of the line may be in the file. It was never acknowledged: it goes again, and its number is free.
            let grown = |length: u64| self.file.metadata().is_ok_and(|metadata| metadata.len() == length);
            let clean = before.is_ok_and(|length| grown(length) || self.file.set_len(length).is_ok());
            if !clean {
                // What follows must not continue it, nor reuse its number.
                self.ragged = true;
                self.last += 1;
            }
            return Err(fail(source));
        }
        self.ragged = false;
        self.last = entry.n;
        self.head = hex(&Sha256::digest(&text));
        // The line is on disk and counts; a head that is behind only guards fewer lines.
        let head = Head { number: entry.n, sha256: self.head.clone() };
        if let Err(error) = head.write(&self.path) {
            tracing::error!(%error, "the head of the record could not be written; lines taken from its end would not be missed");
        }
        Ok(entry)
    }

    /// Number of the last line.
    pub fn last(&self) -> u64 {
        self.last
    }
}

/// What does not fit is left out, and said to be.
fn bounded(details: Value) -> Value {
    let text = details.to_string();
    if text.len() <= MAX_DETAILS {
        return details;
    }
    serde_json::json!({ "left_out_bytes": text.len(), "sha256": hex(&Sha256::digest(&text)) })
}

/// Highest number in the file, the hash of its last line, and its torn end.
fn scan(file: &File) -> io::Result<(u64, String, Option<Torn>)> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        n: u64,
    }
    let mut reader = BufReader::new(file);
    let (mut last, mut number, mut line) = (0, 0, Vec::new());
    let mut head = NOTHING_BEFORE.to_owned();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok((last, head, None));
        }
        number += 1;
        if let Ok(entry) = serde_json::from_slice::<Numbered>(&line) {
            last = last.max(entry.n);
        }
        head = hex(&Sha256::digest(line.strip_suffix(b"\n").unwrap_or(&line)));
        if line.last() != Some(&b'\n') {
            let torn = Torn { line: number, bytes: line.len() as u64, sha256: hex(&Sha256::digest(&line)) };
            return Ok((last, head, Some(torn)));
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::record::{
        Actor,
        entry::{Action, Origin, Outcome},
        reader::{self, Line},
    };

    fn draft(reason: &str) -> Draft {
        let actor = Actor::process(0, "root", "operator", 7);
        let result = Outcome { ok: true, message: "cut".into() };
        Draft {
            reason: Some(reason.into()),
            objects: vec!["network internet".into()],
            ..Draft::new(actor, Origin::Socket, Action::Cutoff, result)
        }
    }

    #[test]
    fn each_line_carries_the_hash_of_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl");
        for reason in ["一", "二", "三"] {
            Room::open(&path).unwrap().0.append(draft(reason)).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let prev = |line: &str| serde_json::from_str::<Entry>(line).unwrap().prev.unwrap();
        assert_eq!(prev(lines[0]), NOTHING_BEFORE);
        assert_eq!(prev(lines[1]), hex(&Sha256::digest(lines[0])));
        assert_eq!(prev(lines[2]), hex(&Sha256::digest(lines[1])));
    }

    #[test]
    fn details_that_do_not_fit_are_left_out_and_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let (mut room, _) = Room::open(&dir.path().join("records.jsonl")).unwrap();
        let with = |details: String| Draft { details: Some(Value::String(details)), ..draft("x") };
        let small = room.append(with("k".repeat(MAX_DETAILS - 2))).unwrap();
        assert!(small.details.unwrap().is_string());
        let large = room.append(with("k".repeat(MAX_DETAILS - 1))).unwrap();
        assert_eq!(large.details.unwrap()["left_out_bytes"], MAX_DETAILS + 1);
    }

    #[test]
    fn numbers_go_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl");
        let (mut room, torn) = Room::open(&path).unwrap();
        assert_eq!(torn, None);
        assert_eq!(room.append(draft("一")).unwrap().n, 1);
        assert_eq!(room.append(draft("二")).unwrap().n, 2);
        drop(room);
        let (mut room, torn) = Room::open(&path).unwrap();
        assert_eq!(torn, None);
        assert_eq!(room.append(draft("三")).unwrap().n, 3);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let reasons: Vec<_> = reader::last(&path, 10)
            .unwrap()
            .into_iter()
            .map(|line| match line {
                Line::Entry(entry) => entry.reason.unwrap(),
                Line::Damaged { .. } => panic!("damaged"),
            })
            .collect();
        assert_eq!(reasons, ["一", "二", "三"]);
    }

    #[test]
    fn a_torn_last_line_is_reported_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl");
        let (mut room, _) = Room::open(&path).unwrap();
        room.append(draft("whole")).unwrap();
        room.append(draft("torn")).unwrap();
        drop(room);
        let whole = fs::read(&path).unwrap();
        let cut = whole.len() - 20;
        fs::write(&path, &whole[..cut]).unwrap();

        let (mut room, torn) = Room::open(&path).unwrap();
        let torn = torn.unwrap();
        assert_eq!(torn.line, 2);
        room.append(draft("after")).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(&bytes[..cut], &whole[..cut], "what the crash left is untouched");
        let lines = reader::last(&path, 10).unwrap();
        assert_eq!(lines.len(), 3);
        assert!(matches!(&lines[1], Line::Damaged { line: 2, bytes, .. } if *bytes == torn.bytes));
        assert!(matches!(&lines[2], Line::Entry(entry) if entry.reason.as_deref() == Some("after")));
        assert_eq!(Room::open(&path).unwrap().1, None, "reported once");
    }

    #[test]
    fn a_failed_write_is_an_error_and_the_next_line_stands_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl");
        let (mut room, _) = Room::open(&path).unwrap();
        let good = std::mem::replace(&mut room.file, File::open("/dev/null").unwrap());
        assert!(matches!(room.append(draft("lost")), Err(Error::Append { .. })));
        room.file = good;
        assert_eq!(
            room.append(draft("kept")).unwrap().n,
            1,
            "nothing of the lost line is in the file: its number is free"
        );
        assert!(matches!(reader::last(&path, 1).unwrap().as_slice(), [Line::Entry(entry)] if entry.n == 1));
        assert!(crate::record::verify(&path).unwrap().whole);
    }
}
