//! Appending: one line, one write, one fsync. What is there is never changed.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
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
    /// How long the file is if nobody else touches it, in bytes.
    length: u64,
    /// Somebody else touched it.
    disturbed: bool,
}

impl Room {
    /// Opens or creates the record (mode 0600) and says whether its last line is torn. A torn line stays as it
    /// is; the caller records that it was found.
    pub fn open(path: &Path) -> Result<(Self, Option<Torn>), Error> {
        let fail = |source| Error::Open { path: path.to_path_buf(), source };
        let file = open(path).map_err(fail)?;
        // A head that cannot be read tells nothing; `verify` says so.
        let guarded = Head::read(path);
        let Scanned { mut last, mut head, torn, chained, named, length } =
            scan(&file, guarded.as_ref().ok().and_then(Option::as_ref)).map_err(fail)?;
        let disturbed = match &guarded {
            // What the head names and is not there was taken away: its number is not given again, nor does the chain close
            // over the gap.
            Ok(Some(guarded)) if !named => {
                last = last.max(guarded.number);
                head.clone_from(&guarded.sha256);
                true
            }
            Ok(Some(_)) => false,
            Ok(None) | Err(_) => chained,
        };
        let ragged = torn.is_some();
        Ok((Self { path: path.to_path_buf(), file, last, head, ragged, length, disturbed }, torn))
    }

    /// Whether the file is the one that lines go to, as long as they made it.
    pub fn in_place(&self) -> bool {
        let at = |metadata: Metadata| (metadata.dev(), metadata.ino(), metadata.len());
        let (named, ours) = (fs::metadata(&self.path).map(at), self.file.metadata().map(at));
        matches!((named, ours), (Ok(named), Ok(ours)) if named == ours && ours.2 == self.length)
    }

    /// Goes on in the file that is there now, or in a new one; numbers and chain go on where they were, so that what is missing
    /// is seen for ever.
    fn take_up(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        let Scanned { last, torn, length, .. } = scan(&self.file, None)?;
        (self.last, self.ragged, self.length) = (self.last.max(last), torn.is_some(), length);
        self.disturbed = true;
        Ok(())
    }

    /// Whether somebody else touched the record since this was last asked, or before it was opened.
    pub fn disturbed(&mut self) -> bool {
        std::mem::take(&mut self.disturbed)
    }

    /// Numbers, dates, writes and syncs one line.
    pub fn append(&mut self, draft: Draft) -> Result<Entry, Error> {
        if !self.in_place() {
            self.take_up().map_err(|source| Error::Append { path: self.path.clone(), source })?;
        }
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
            self.length = self.file.metadata().map_or(self.length, |metadata| metadata.len());
            if !clean {
                // What follows must not continue it, nor reuse its number.
                self.ragged = true;
                self.last += 1;
            }
            return Err(fail(source));
        }
        self.ragged = false;
        self.length += line.len() as u64;
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

/// Opens or creates it, durably.
fn open(path: &Path) -> io::Result<File> {
    let existed = path.exists();
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    if !existed {
        durable::sync_parent(path)?;
    }
    Ok(file)
}

/// What is in a record.
struct Scanned {
    /// Highest number.
    last: u64,
    /// SHA-256 of the last line, hex.
    head: String,
    torn: Option<Torn>,
    /// Lines vouch for those before them.
    chained: bool,
    /// The line that the head names is there, as it names it.
    named: bool,
    /// Bytes.
    length: u64,
}

fn scan(file: &File, guarded: Option<&Head>) -> io::Result<Scanned> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        n: u64,
        prev: Option<serde::de::IgnoredAny>,
    }
    let mut reader = BufReader::new(file);
    let (mut number, mut line) = (0, Vec::new());
    let head = NOTHING_BEFORE.to_owned();
    let mut found = Scanned { last: 0, head, torn: None, chained: false, named: false, length: 0 };
    while found.torn.is_none() {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        number += 1;
        found.length += line.len() as u64;
        found.head = hex(&Sha256::digest(line.strip_suffix(b"\n").unwrap_or(&line)));
        if let Ok(entry) = serde_json::from_slice::<Numbered>(&line) {
            found.last = found.last.max(entry.n);
            found.chained |= entry.prev.is_some();
            found.named |= guarded.is_some_and(|head| head.number == entry.n && head.sha256 == found.head);
        }
        if line.last() != Some(&b'\n') {
            found.torn = Some(Torn { line: number, bytes: line.len() as u64, sha256: hex(&Sha256::digest(&line)) });
        }
    }
    Ok(found)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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
    fn a_number_that_was_given_is_not_given_again_whatever_became_of_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl");
        let (mut room, _) = Room::open(&path).unwrap();
        for _ in 0..3 {
            room.append(draft("一")).unwrap();
        }
        assert!(!room.disturbed() && room.in_place());
        let (text, guarded) = (fs::read_to_string(&path).unwrap(), fs::read(Head::path(&path)).unwrap());
        let kept: String = text.split_inclusive('\n').take(1).collect();
        // While it is open: removed, shortened, replaced.
        let ways: [&dyn Fn(); 3] = [&|| fs::remove_file(&path).unwrap(), &|| fs::write(&path, "").unwrap(), &|| {
            fs::write(dir.path().join("other"), &kept).unwrap();
            fs::rename(dir.path().join("other"), &path).unwrap();
        }];
        for way in ways {
            let before = room.last();
            way();
            assert!(!room.in_place());
            assert_eq!(room.append(draft("二")).unwrap().n, before + 1);
            assert!(room.disturbed() && !room.disturbed() && room.in_place());
            assert!(fs::read_to_string(&path).unwrap().contains("二"), "it is in the file that is there");
            assert!(!crate::record::verify(&path).unwrap().whole);
        }
        drop(room);
        // While nobody has it open.
        for (lines, head) in [("", true), (kept.as_str(), true), (kept.as_str(), false)] {
            fs::write(&path, lines).unwrap();
            fs::write(Head::path(&path), &guarded).unwrap();
            if !head {
                fs::remove_file(Head::path(&path)).unwrap();
            }
            assert!(!crate::record::verify(&path).unwrap().whole, "{lines:?} {head}");
            let (mut room, _) = Room::open(&path).unwrap();
            assert!(room.disturbed(), "{lines:?} {head}");
            assert_eq!(room.append(draft("三")).unwrap().n, if head { 4 } else { 2 });
            assert_eq!(
                crate::record::verify(&path).unwrap().whole,
                !head,
                "{lines:?}: somebody has to say it in the record"
            );
        }
    }

    #[test]
    fn a_failed_write_is_an_error_and_the_next_line_stands_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl");
        let (mut room, _) = Room::open(&path).unwrap();
        let good = std::mem::replace(&mut room.file, File::open(&path).unwrap());
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
