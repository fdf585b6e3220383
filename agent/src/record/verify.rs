//! Whether the record is whole: numbers without a gap, each line the hash of the one before, and the end where the head says.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    durable,
    entry::{Action, Entry, NOTHING_BEFORE},
    room::hex,
};

/// Most problems that are listed; what one change breaks is found in its neighbours, too.
const MAX_PROBLEMS: usize = 20;

/// What a look over the whole record found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Nothing speaks against it.
    pub whole: bool,
    /// Lines there are.
    pub lines: u64,
    /// Lines at the beginning from before lines were chained: nothing vouches for them.
    pub unchained: u64,
    /// Time of the first line.
    pub first: Option<String>,
    /// Time of the last line.
    pub last: Option<String>,
    /// Number of the last line.
    pub number: u64,
    /// SHA-256 of the last line: written down on paper, it vouches for all lines before.
    pub head: String,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Line of the file, from 1.
    pub line: u64,
    /// What is wrong there.
    pub what: Wrong,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Wrong {
    /// It is no line of a record, and no crash explains it.
    Unreadable,
    /// Lines are missing before it, or were put in.
    Number {
        /// The number it should have.
        expected: u64,
        /// The one it has.
        found: u64,
    },
    /// The line before it is not the one that was there when it was written.
    Changed {
        /// What the line says of the one before.
        said: String,
        /// What the one before is.
        is: String,
    },
    /// A line that vouches for nothing among lines that do.
    Unchained,
    /// Lines at the end are gone, or the last one was changed: the head names another.
    Head {
        /// Number of the line the head names.
        number: u64,
    },
    /// The head cannot be read.
    HeadUnreadable,
    /// There is no head, though lines are chained: whoever took it away may have taken lines from the end.
    HeadGone,
    /// The line says that lines before it were gone or changed when it was written.
    Said,
}

/// What is kept beside the record: its last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Number of the line.
    pub number: u64,
    /// SHA-256 of it, hex.
    pub sha256: String,
}

impl Head {
    /// Where it is for a record.
    pub fn path(record: &Path) -> PathBuf {
        record.with_extension("head.json")
    }

    /// Durably.
    pub fn write(&self, record: &Path) -> io::Result<()> {
        durable::write(&Self::path(record), &serde_json::to_vec(self)?)
    }

    /// `None` if there is none, from before there were heads.
    pub fn read(record: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(Self::path(record)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Looks over the whole record. A line that a crash cut short is no problem if the line after it says so.
pub fn verify(path: &Path) -> io::Result<Verified> {
    let mut found = Verified { head: NOTHING_BEFORE.to_owned(), ..Verified::default() };
    let head = Head::read(path);
    let file = match File::open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut reader = file.map(BufReader::new);
    let mut bytes = Vec::new();
    let (mut chained, mut torn) = (false, None);
    // Whether the line the head names was met, as it names it.
    let mut named = false;
    while let Some(reader) = &mut reader {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        found.lines += 1;
        let line = found.lines;
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let entry = serde_json::from_slice::<Entry>(text);
        match &entry {
            Err(_) => {
                if let Some(before) = torn.replace(line) {
                    found.problems.push(Problem { line: before, what: Wrong::Unreadable });
                }
            }
            Ok(entry) => {
                if let Some(before) = torn.take() {
                    // A crash may cut one line short, and takes its number with it.
                    let explained = entry.action == Action::TornLine && entry.n > found.number;
                    if explained {
                        found.number = entry.n - 1;
                    } else {
                        found.problems.push(Problem { line: before, what: Wrong::Unreadable });
                    }
                }
                let mut wrong = |what| found.problems.push(Problem { line, what });
                if entry.n != found.number + 1 {
                    wrong(Wrong::Number { expected: found.number + 1, found: entry.n });
                }
                match &entry.prev {
                    Some(said) if *said != found.head => {
                        wrong(Wrong::Changed { said: said.clone(), is: found.head.clone() });
                    }
                    Some(_) => chained = true,
                    None if chained => wrong(Wrong::Unchained),
                    None => found.unchained += 1,
                }
                if entry.action == Action::RecordDamaged {
                    wrong(Wrong::Said);
                }
                found.number = entry.n;
                found.first.get_or_insert_with(|| entry.time.clone());
                found.last = Some(entry.time.clone());
            }
        }
        found.head = hex(&Sha256::digest(text));
        if let (Ok(Some(head)), Ok(entry)) = (&head, &entry) {
            named |= head.number == entry.n && head.sha256 == found.head;
        }
    }
    if let Some(line) = torn {
        found.problems.push(Problem { line, what: Wrong::Unreadable });
    }
    match head {
        Ok(Some(head)) if !named => {
            found.problems.push(Problem { line: found.lines, what: Wrong::Head { number: head.number } });
        }
        Ok(None) if chained => found.problems.push(Problem { line: found.lines, what: Wrong::HeadGone }),
        Ok(_) => {}
        Err(_) => found.problems.push(Problem { line: found.lines, what: Wrong::HeadUnreadable }),
    }
    found.whole = found.problems.is_empty();
    found.problems.truncate(MAX_PROBLEMS);
    Ok(found)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use super::*;
    use crate::record::{Actor, Draft, Origin, Outcome, Room};

    fn written(path: &Path, from: u32, to: u32) {
        let (mut room, _) = Room::open(path).unwrap();
        for n in from..to {
            let result = Outcome { ok: true, message: format!("号 {n}") };
            let actor = Actor::process(0, "root", "operator", 7);
            room.append(Draft::new(actor, Origin::Socket, Action::Cutoff, result)).unwrap();
        }
    }

    #[test]
    fn what_was_only_appended_to_is_whole_over_any_number_of_openings() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl");
        assert!(verify(&path).unwrap().whole, "nothing was recorded yet");
        let mut next = 0;
        for step in [1, 3, 2, 7, 1] {
            written(&path, next, next + step);
            next += step;
            let found = verify(&path).unwrap();
            assert!(found.whole, "{found:?}");
            assert_eq!((found.lines, found.number), (u64::from(next), u64::from(next)));
        }
    }

    #[test]
    fn any_byte_that_is_changed_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl");
        written(&path, 0, 4);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert!(!verify(&path).unwrap().whole, "byte {at}: {}", String::from_utf8_lossy(&changed));
        }
    }

    #[test]
    fn lines_that_are_taken_out_put_in_or_exchanged_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl");
        written(&path, 0, 6);
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let broken = |lines: Vec<&str>| {
            fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
            !verify(&path).unwrap().whole
        };
        assert!(!broken(lines.clone()));
        for gone in 0..lines.len() {
            let mut rest = lines.clone();
            rest.remove(gone);
            assert!(broken(rest), "line {gone} taken out");
            let mut more = lines.clone();
            more.insert(gone, lines[(gone + 1) % lines.len()]);
            assert!(broken(more), "a line put in at {gone}");
            let mut swapped = lines.clone();
            swapped.swap(gone, (gone + 1) % lines.len());
            assert!(broken(swapped), "line {gone} exchanged");
        }
        for kept in 0..lines.len() {
            assert!(broken(lines[..kept].to_vec()), "cut off behind line {kept}");
        }
        fs::write(&path, &text).unwrap();
        fs::write(Head::path(&path), "{").unwrap();
        assert!(matches!(verify(&path).unwrap().problems[0].what, Wrong::HeadUnreadable));
        fs::remove_file(Head::path(&path)).unwrap();
        assert!(matches!(verify(&path).unwrap().problems[0].what, Wrong::HeadGone));
    }

    #[test]
    fn a_line_that_a_crash_cut_short_is_explained_by_the_one_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl");
        written(&path, 0, 2);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(b"{\"n\":3,\"time\":\"20");
        fs::write(&path, &bytes).unwrap();
        assert!(!verify(&path).unwrap().whole, "nobody has said it yet");
        let (mut room, torn) = Room::open(&path).unwrap();
        assert!(torn.is_some());
        let actor = Actor::process(0, "root", "agent", 7);
        let result = Outcome { ok: false, message: "line 3 is cut short".into() };
        room.append(Draft::new(actor, Origin::Agent, Action::TornLine, result)).unwrap();
        written(&path, 3, 5);
        let found = verify(&path).unwrap();
        assert!(found.whole, "{found:?}");
    }

    /// Once somebody was told that lines are gone, no later line makes the record whole.
    #[test]
    fn what_was_said_to_be_damaged_stays_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl");
        written(&path, 0, 2);
        let (mut room, _) = Room::open(&path).unwrap();
        let actor = Actor::process(0, "root", "agent", 7);
        let result = Outcome { ok: false, message: "not whole".into() };
        room.append(Draft::new(actor, Origin::Agent, Action::RecordDamaged, result)).unwrap();
        written(&path, 3, 5);
        let found = verify(&path).unwrap();
        assert_eq!(found.problems, [Problem { line: 3, what: Wrong::Said }]);
    }

    #[test]
    fn lines_from_before_the_chain_are_counted_and_not_complained_about() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records.jsonl");
        written(&path, 0, 3);
        let unchained: String = fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|line| {
                let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
                line.as_object_mut().unwrap().remove("prev");
                format!("{line}\n")
            })
            .collect();
        fs::write(&path, unchained).unwrap();
        fs::remove_file(Head::path(&path)).unwrap();
        written(&path, 3, 5);
        let found = verify(&path).unwrap();
        assert!(found.whole, "{found:?}");
        assert_eq!((found.unchained, found.lines), (3, 5));
    }
}
