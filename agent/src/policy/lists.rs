//! List files: one address, prefix or range a line, streamed.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    net::IpAddr,
    path::{Component, Path, PathBuf},
};

use ipnet::IpNet;
use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::Mode,
};
use sha2::{Digest, Sha256};

use super::{
    diagnostic::{Sink, Span, Text},
    problem::Problem,
    words::addresses,
};

/// Bytes one list file may have: several million lines.
const MAX_LIST: u64 = 256 << 20;
/// Bytes one line may have.
const MAX_LINE: u64 = 1024;
/// Bad lines reported in one file.
const MAX_BAD: usize = 20;
/// Prefixes one list may stand for (before merging).
const MAX_ENTRIES: usize = 8 << 20;

/// The policy folder; nothing outside it is ever opened by name.
#[derive(Debug)]
pub(crate) struct Folder {
    root: File,
    /// As given by the caller.
    pub(crate) path: PathBuf,
}

/// Why a file of the folder could not be opened.
pub(crate) enum Refused {
    /// It leads out of the folder.
    Outside,
    /// Anything else.
    Io(std::io::Error),
}

impl Folder {
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(Self { root: File::open(path)?, path: path.to_owned() })
    }

    /// Opens a regular file below the folder. The kernel keeps the whole walk, symbolic links included, inside
    /// it (openat2(2), RESOLVE_BENEATH), so that no check can be raced.
    pub(crate) fn file(&self, relative: &Path) -> Result<File, Refused> {
        if relative.components().any(|c| matches!(c, Component::RootDir | Component::Prefix(_))) {
            return Err(Refused::Outside);
        }
        // O_NONBLOCK: a FIFO must not hang us before we see what it is.
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let how = OpenHow::new()
            .flags(flags)
            .mode(Mode::empty())
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let file = match openat2(&self.root, relative, how) {
            Ok(fd) => File::from(fd),
            Err(nix::Error::EXDEV) => return Err(Refused::Outside),
            Err(error) => return Err(Refused::Io(error.into())),
        };
        if !file.metadata().map_err(Refused::Io)?.is_file() {
            return Err(Refused::Io(std::io::Error::other("not a regular file")));
        }
        Ok(file)
    }
}

/// What a list file holds.
pub(crate) struct List {
    /// Merged.
    pub(crate) prefixes: Vec<IpNet>,
    /// SHA-256 of the file.
    pub(crate) digest: [u8; 32],
}

/// Reads the list `file` (number `number` in `sink`); bad lines are reported.
pub(crate) fn read(file: File, number: u32, name: &str, sink: &mut Sink) -> Option<List> {
    let whole = Span { file: number, line: 0, col: 0 };
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut digest = Sha256::new();
    let (mut prefixes, mut buffer) = (Vec::new(), Vec::new());
    let (mut line, mut bad, mut total) = (0u32, 0usize, 0u64);
    loop {
        buffer.clear();
        match reader.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut buffer) {
            Ok(0) => break,
            Ok(count) => total += count as u64,
            Err(error) => {
                sink.report(whole, &Problem::Unreadable { why: error.to_string() });
                return None;
            }
        }
        digest.update(&buffer);
        line += 1;
        if total > MAX_LIST || prefixes.len() > MAX_ENTRIES {
            let limit = format!("{} MiB / {MAX_ENTRIES}", MAX_LIST >> 20);
            sink.report(whole, &Problem::TooLarge { limit });
            return None;
        }
        let at = |col: usize| Span { file: number, line, col: u32::try_from(col).unwrap_or(u32::MAX) };
        if buffer.len() as u64 > MAX_LINE {
            sink.report(at(1), &Problem::TooLarge { limit: format!("{MAX_LINE} bytes a line") });
            return None;
        }
        match entry(&buffer, line) {
            Ok(None) => {}
            Ok(Some((_, found))) => prefixes.extend(found),
            Err(wrong) => {
                let (col, text, problem, suggestion) = *wrong;
                bad += 1;
                sink.report(at(col), &problem)
                    .text(&text)
                    .expected(Text::new(
                        "an address, a prefix or a range a-b",
                        "アドレス、プレフィックス、または範囲 a-b",
                    ))
                    .suggest(suggestion);
                if bad >= MAX_BAD {
                    return None;
                }
            }
        }
    }
    if prefixes.is_empty() && bad == 0 {
        sink.report(whole, &Problem::ListEmpty { file: name.to_owned() });
    }
    Some(List { prefixes: IpNet::aggregate(&prefixes), digest: digest.finalize().into() })
}

/// Column, text, problem, suggestion.
type Bad = Box<(usize, String, Problem, Option<String>)>;

/// The prefixes of one line with its first column; `None` for an empty line or a comment.
fn entry(bytes: &[u8], line: u32) -> Result<Option<(usize, Vec<IpNet>)>, Bad> {
    let bytes = if line == 1 { bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes) } else { bytes };
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(Box::new((1, String::new(), Problem::NotUtf8, None)));
    };
    let content = text.split(['#', ';']).next().unwrap_or_default();
    let word = content.trim();
    if word.is_empty() {
        return Ok(None);
    }
    let col = content.len() - content.trim_start().len() + 1;
    let found = match word.parse::<IpAddr>() {
        Ok(host) => vec![IpNet::from(host)],
        Err(_) => addresses(word).map_err(|wrong| {
            let problem = match wrong.problem {
                Problem::BadWord { .. } => Problem::BadListLine { found: super::diagnostic::shorten(word) },
                other => other,
            };
            Box::new((col, word.to_owned(), problem, wrong.suggestion))
        })?,
    };
    if found.iter().any(|net| net.prefix_len() == 0) {
        let problem = Problem::ListEverything { found: word.to_owned() };
        return Err(Box::new((col, word.to_owned(), problem, None)));
    }
    Ok(Some((col, found)))
}
