//! List files: one address, prefix or range a line, streamed.

use std::{
    fs::File,
    io::{ErrorKind, Read},
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
    prefixes::{Builder, PrefixSet},
    problem::Problem,
    words::addresses,
};

/// Bytes one list file may have: several million lines.
const MAX_LIST: u64 = 256 << 20;
/// Bytes one line may have.
const MAX_LINE: usize = 1024;
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

    /// Opens a regular file below the folder.
    pub(crate) fn file(&self, relative: &Path) -> Result<File, Refused> {
        let file = self.any(relative)?;
        if !file.metadata().map_err(Refused::Io)?.is_file() {
            return Err(Refused::Io(std::io::Error::other("not a regular file")));
        }
        Ok(file)
    }

    /// Opens a regular file or a folder below the folder. The kernel keeps the whole walk, symbolic links included, inside
    /// it (openat2(2), RESOLVE_BENEATH), so that no check can be raced.
    pub(crate) fn any(&self, relative: &Path) -> Result<File, Refused> {
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
        let data = file.metadata().map_err(Refused::Io)?;
        if !data.is_file() && !data.is_dir() {
            return Err(Refused::Io(std::io::Error::other("neither a regular file nor a folder")));
        }
        Ok(file)
    }
}

/// What a list file holds.
pub(crate) struct List {
    /// Merged.
    pub(crate) prefixes: PrefixSet,
    /// SHA-256 of the file.
    pub(crate) digest: [u8; 32],
}

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// Reads the list `file` (number `number` in `sink`); bad lines are reported.
pub(crate) fn read(mut file: File, number: u32, name: &str, sink: &mut Sink) -> Option<List> {
    let mut list = Reading { number, line: 0, bad: 0, found: Builder::default(), sink };
    let mut digest = Sha256::new();
    let (mut buffer, mut held, mut total) = (vec![0; CHUNK], 0, 0u64);
    loop {
        let count = match file.read(&mut buffer[held..]) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                list.sink.report(list.at(0, 0), &Problem::Unreadable { why: error.to_string() });
                return None;
            }
        };
        digest.update(&buffer[held..held + count]);
        total += count as u64;
        if total > MAX_LIST {
            return list.too_large();
        }
        held += count;
        let whole =
            if count == 0 { held } else { buffer[..held].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1) };
        list.lines(&buffer[..whole])?;
        if count == 0 {
            break;
        }
        buffer.copy_within(whole..held, 0);
        held -= whole;
        if held > MAX_LINE {
            list.line += 1;
            return list.too_long();
        }
    }
    let Reading { bad, found, sink, .. } = list;
    if found.is_empty() && bad == 0 {
        sink.report(Span { file: number, line: 0, col: 0 }, &Problem::ListEmpty { file: name.to_owned() });
    }
    Some(List { prefixes: found.finish(), digest: digest.finalize().into() })
}

/// A list half read.
struct Reading<'s> {
    number: u32,
    /// Lines seen.
    line: u32,
    /// Bad ones among them.
    bad: usize,
    found: Builder,
    sink: &'s mut Sink,
}

impl Reading<'_> {
    fn at(&self, line: u32, col: usize) -> Span {
        Span { file: self.number, line, col: u32::try_from(col).unwrap_or(u32::MAX) }
    }

    fn too_large(&mut self) -> Option<List> {
        let limit = format!("{} MiB / {MAX_ENTRIES}", MAX_LIST >> 20);
        self.sink.report(self.at(0, 0), &Problem::TooLarge { limit });
        None
    }

    fn too_long(&mut self) -> Option<List> {
        let at = self.at(self.line, 1);
        self.sink.report(at, &Problem::TooLarge { limit: format!("{MAX_LINE} bytes a line") });
        None
    }

    /// Takes whole lines; only the last of a file may lack its end. `None` if there is no point in going on.
    fn lines(&mut self, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            self.line += 1;
            if let Some((addr, len, rest)) = plain(bytes) {
                self.found.add_v4(addr, len);
                bytes = rest;
            } else {
                let end = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1);
                let (line, rest) = bytes.split_at(end);
                self.slow(line)?;
                bytes = rest;
            }
            if self.found.len() > MAX_ENTRIES {
                self.too_large()?;
                return None;
            }
        }
        Some(())
    }

    /// Everything that is not the usual: comments, IPv6, ranges, mistakes.
    fn slow(&mut self, line: &[u8]) -> Option<()> {
        if line.len() > MAX_LINE {
            self.too_long()?;
            return None;
        }
        match entry(line, self.line) {
            Ok(found) => found.iter().for_each(|prefix| self.found.add(prefix)),
            Err(wrong) => {
                let (col, text, problem, suggestion) = *wrong;
                self.bad += 1;
                let at = self.at(self.line, col);
                self.sink
                    .report(at, &problem)
                    .text(&text)
                    .expected(Text::new(
                        "an address, a prefix or a range a-b",
                        "アドレス、プレフィックス、または範囲 a-b",
                    ))
                    .suggest(suggestion);
                if self.bad >= MAX_BAD {
                    return None;
                }
            }
        }
        Some(())
    }
}

/// A line that is nothing but an IPv4 address or prefix as everybody writes them: what it says, and what follows the
/// line. `None` sends the line the slow way, which knows all else and says what is wrong.
#[inline]
fn plain(bytes: &[u8]) -> Option<(u32, u8, &[u8])> {
    let mut at = 0;
    let mut addr = 0u32;
    for part in 0..4 {
        if part > 0 {
            if bytes.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let (number, after) = decimal(bytes, at, 255)?;
        addr = addr << 8 | number;
        at = after;
    }
    let mut len = 32;
    if bytes.get(at) == Some(&b'/') {
        (len, at) = decimal(bytes, at + 1, 32)?;
    }
    if bytes.get(at) == Some(&b'\r') {
        at += 1;
    }
    let rest = match bytes.get(at) {
        None => &[],
        Some(b'\n') => &bytes[at + 1..],
        Some(_) => return None,
    };
    // Everything, or host bits: the slow way says so.
    if len == 0 || (len < 32 && addr << len != 0) {
        return None;
    }
    Some((addr, len as u8, rest))
}

/// A number of at most three digits without a leading zero, and where it ends.
#[inline]
fn decimal(bytes: &[u8], from: usize, most: u32) -> Option<(u32, usize)> {
    let digit = |at: usize| bytes.get(at).map(|b| u32::from(b.wrapping_sub(b'0'))).filter(|digit| *digit < 10);
    let mut number = digit(from)?;
    let mut at = from + 1;
    while at < from + 3 && number != 0 {
        let Some(next) = digit(at) else { break };
        number = number * 10 + next;
        at += 1;
    }
    (number <= most).then_some((number, at))
}

/// Column, text, problem, suggestion.
type Bad = Box<(usize, String, Problem, Option<String>)>;

/// The prefixes of one line; none for an empty line or a comment.
fn entry(bytes: &[u8], line: u32) -> Result<Vec<IpNet>, Bad> {
    let bytes = if line == 1 { bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes) } else { bytes };
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(Box::new((1, String::new(), Problem::NotUtf8, None)));
    };
    let content = text.split(['#', ';']).next().unwrap_or_default();
    let word = content.trim();
    if word.is_empty() {
        return Ok(Vec::new());
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
    Ok(found)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::compile::testing::Random;

    /// Whatever the short way reads, the long way reads the same; what is wrong is never read the short way.
    #[test]
    fn the_short_way_says_what_the_long_way_says() {
        let mut random = Random::new(3);
        let mut short = 0;
        for _ in 0..200_000 {
            let mut line = String::new();
            for _ in 0..1 + random.below(6) {
                line.push_str(random.pick::<&str>(&["1", "0", "10", "255", "256", "012", "1.2.3.", "9.", "."]));
            }
            if random.chance(50) {
                line.push_str(random.pick::<&str>(&["/", "/0", "/8", "/24", "/32", "/33", "/024", "/8 ", "-", " # x"]));
            }
            line.push_str(random.pick::<&str>(&["", "\n", "\r\n", "\nrest", "\r", " \n"]));
            let Some((addr, len, rest)) = plain(line.as_bytes()) else { continue };
            short += 1;
            let whole = &line[..line.len() - rest.len()];
            let found = entry(whole.as_bytes(), 2).map_err(|wrong| wrong.0);
            let net = IpNet::new(IpAddr::from(addr.to_be_bytes()), len).unwrap();
            assert_eq!(found, Ok(vec![net]), "{line:?}");
        }
        assert!(short > 1_000, "{short}");
    }

    fn of(text: &[u8]) -> (Option<List>, Vec<(u32, u32, &'static str)>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        std::fs::write(&path, text).unwrap();
        let mut sink = Sink::default();
        let number = sink.add_file(path.clone());
        let list = read(File::open(&path).unwrap(), number, "list", &mut sink);
        (list, sink.finish().into_iter().map(|found| (found.line, found.col, found.code)).collect())
    }

    #[test]
    fn lines_are_counted_across_chunks() {
        let mut text = b"# head\n".to_vec();
        while text.len() < 3 * CHUNK {
            text.extend(b"192.0.2.1\n");
        }
        let lines = text.iter().filter(|b| **b == b'\n').count() as u32;
        text.extend(b"  10.0.0.1/8\n2001:db8::/32\n198.51.100.0-198.51.100.3");
        let (list, found) = of(&text);
        assert_eq!(found.iter().map(|(line, col, _)| (*line, *col)).collect::<Vec<_>>(), [(lines + 1, 3)]);
        let list = list.unwrap();
        assert_eq!(list.digest, <[u8; 32]>::from(Sha256::digest(&text)));
        assert_eq!(format!("{:?}", list.prefixes), "[192.0.2.1/32, 198.51.100.0/30, 2001:db8::/32]");
    }

    #[test]
    fn a_line_without_end_is_refused_early() {
        let mut text = b"10.0.0.0/8\n".to_vec();
        text.extend(vec![b'1'; 2 * CHUNK]);
        let (list, found) = of(&text);
        assert!(list.is_none());
        assert_eq!(found.iter().map(|(line, col, _)| (*line, *col)).collect::<Vec<_>>(), [(2, 1)]);
        let mut text = vec![b' '; MAX_LINE - 1];
        text.push(b'\n');
        text.extend(b"10.0.0.0/8");
        assert_eq!(of(&text).1, []);
        text.insert(0, b' ');
        assert_eq!(of(&text).1.first().map(|(line, col, _)| (*line, *col)), Some((1, 1)));
    }
}
