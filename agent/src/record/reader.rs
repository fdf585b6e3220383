//! Listing the record.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    entry::{Action, Entry},
    room::hex,
};

/// One line as found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// A whole entry.
    Entry(Box<Entry>),
    /// Something that is none.
    Damaged {
        /// Line number, from 1.
        line: u64,
        /// Its length without the line feed.
        bytes: u64,
        /// SHA-256 of it, hex.
        damaged_sha256: String,
    },
}

/// Which lines are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Only the line with this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// Not before, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<jiff::Timestamp>,
    /// Not after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<jiff::Timestamp>,
    /// Only this action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// Only what concerned this object, as on the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

impl Filter {
    fn wants(&self, text: &[u8]) -> bool {
        if *self == Self::default() {
            return true;
        }
        let Ok(entry) = serde_json::from_slice::<Entry>(text) else { return false };
        let at = entry.time.parse::<jiff::Timestamp>().ok();
        self.number.is_none_or(|number| number == entry.n)
            && self.since.is_none_or(|since| at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| at.is_some_and(|at| at <= until))
            && self.action.is_none_or(|action| action == entry.action)
            && self.object.as_ref().is_none_or(|object| entry.objects.contains(object))
    }
}

/// The last `limit` lines, oldest first; empty lines do not count. A record that does not exist is empty.
pub fn last(path: &Path, limit: usize) -> io::Result<Vec<Line>> {
    list(path, limit, &Filter::default())
}

/// The last `limit` lines that are wanted, oldest first.
pub fn list(path: &Path, limit: usize, filter: &Filter) -> io::Result<Vec<Line>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut kept = VecDeque::new();
    let (mut number, mut line) = (0, Vec::new());
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        number += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.is_empty() || !filter.wants(&line) {
            continue;
        }
        if kept.len() == limit {
            kept.pop_front();
        }
        if limit > 0 {
            kept.push_back((number, line.clone()));
        }
    }
    Ok(kept
        .into_iter()
        .map(|(line, text)| match serde_json::from_slice::<Entry>(&text) {
            Ok(entry) => Line::Entry(Box::new(entry)),
            Err(_) => Line::Damaged { line, bytes: text.len() as u64, damaged_sha256: hex(&Sha256::digest(&text)) },
        })
        .collect())
}
