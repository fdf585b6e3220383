//! Listing the record.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{entry::Entry, room::hex};

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

/// The last `limit` lines, oldest first; empty lines do not count. A record that does not exist is empty.
pub fn last(path: &Path, limit: usize) -> io::Result<Vec<Line>> {
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
        if line.is_empty() {
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
