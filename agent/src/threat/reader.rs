//! Streams the files of one list. Memory is bounded by the entries, never by a line or a file.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::{
    format::{Format, Line, Lines},
    guard::{Limit, Refused},
};
use crate::policy::{
    diagnostic::shorten,
    members::touches,
    prefixes::{Builder, PrefixSet},
    problem::Problem,
};

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;
/// Lines between two looks at the clock.
const CLOCK_LINES: u64 = 4_096;
/// Bad lines that are shown; the rest is only counted.
const MAX_SHOWN: usize = 20;

/// How much one list may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of all its files.
    pub(super) bytes: u64,
    /// Bytes of a line; a longer one is a bad one.
    pub(super) line: usize,
    /// Lines of all its files.
    pub(super) lines: u64,
    /// Prefixes, before they are merged.
    pub(super) entries: usize,
    /// From the first byte to the last.
    pub(super) time: Duration,
}

/// What lists may take in practice: the largest public ones have some hundred thousand lines.
pub(super) const LIMITS: Limits =
    Limits { bytes: 256 << 20, line: 8 << 10, lines: 8 << 20, entries: 2 << 20, time: Duration::from_secs(30) };

/// What was counted in a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines with addresses.
    pub entries: u64,
    /// Lines with names only: hosts, URLs, hashes. Nothing resolves them.
    pub names: u64,
    /// Lines that were not understood.
    pub bad: u64,
}

impl Tally {
    /// Lines that say something.
    pub fn lines(&self) -> u64 {
        self.entries + self.names + self.bad
    }
}

/// A line that was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: u64,
    /// From 1, in characters.
    pub column: u32,
    /// The words that are wrong, shortened.
    pub text: String,
    /// Why.
    pub problem: Problem,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

/// Where something is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) file: PathBuf,
    pub(super) line: u64,
    pub(super) text: String,
}

/// What the files of a list say, before anything is held against it.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) prefixes: PrefixSet,
    pub(super) tally: Tally,
    pub(super) bad: Vec<BadLine>,
    /// Of each file.
    pub(super) formats: Vec<Format>,
    /// The first line that is every address.
    pub(super) everything: Option<Spot>,
    /// The first line that touches what must not be on a list.
    pub(super) touching: Option<Spot>,
    /// The first file that has less than it says itself: what it says, what it has.
    pub(super) short: Option<(PathBuf, u64, u64)>,
    /// Over the contents of the files, in order.
    pub(super) sha256: [u8; 32],
}

/// A list half read.
pub(super) struct Reader<'a> {
    limits: Limits,
    started: Instant,
    protected: &'a PrefixSet,
    found: Builder,
    lines: u64,
    bytes: u64,
    digest: Sha256,
    tally: Tally,
    bad: Vec<BadLine>,
    formats: Vec<Format>,
    everything: Option<Spot>,
    touching: Option<Spot>,
    short: Option<(PathBuf, u64, u64)>,
}

impl<'a> Reader<'a> {
    /// `protected` is only pointed to where it is touched; whether it is, the guard decides.
    pub(super) fn new(limits: Limits, protected: &'a PrefixSet) -> Self {
        Self {
            limits,
            started: Instant::now(),
            protected,
            found: Builder::default(),
            lines: 0,
            bytes: 0,
            digest: Sha256::new(),
            tally: Tally::default(),
            bad: Vec::new(),
            formats: Vec::new(),
            everything: None,
            touching: None,
            short: None,
        }
    }

    /// Reads one file.
    ///
    /// # Errors
    /// It cannot be read, is no list, or is too much.
    pub(super) fn file(&mut self, name: &Path, source: impl Read, format: Format) -> Result<(), Refused> {
        let unreadable = |error: std::io::Error| Refused::Unreadable { file: name.into(), why: error.to_string() };
        let mut source = BufReader::with_capacity(CHUNK, source);
        let (mut lines, mut line, mut number) = (Lines::new(format), Vec::new(), 0u64);
        let before = self.tally;
        loop {
            let whole = self.line(&mut source, &mut line).map_err(unreadable)?;
            let Some(whole) = whole else { break };
            number += 1;
            self.lines += 1;
            if self.bytes > self.limits.bytes {
                return Err(Refused::TooLarge { file: name.into(), limit: Limit::Bytes(self.limits.bytes) });
            }
            if self.lines > self.limits.lines {
                return Err(Refused::TooLarge { file: name.into(), limit: Limit::Lines(self.limits.lines) });
            }
            if self.lines.is_multiple_of(CLOCK_LINES) && self.started.elapsed() > self.limits.time {
                return Err(Refused::TooSlow { file: name.into(), seconds: self.limits.time.as_secs() });
            }
            let mut bytes = line.as_slice();
            if number == 1 {
                if let Some(what) = super::format::Foreign::by_magic(bytes) {
                    return Err(Refused::Foreign { file: name.into(), what });
                }
                bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            }
            self.entry(name, number, bytes, whole, &mut lines)?;
            if self.found.len() > self.limits.entries {
                return Err(Refused::TooLarge { file: name.into(), limit: Limit::Entries(self.limits.entries) });
            }
        }
        self.formats.push(lines.format());
        let here = self.tally.lines() - before.lines();
        if let Some(promised) = lines.promised.filter(|promised| *promised > here) {
            self.short.get_or_insert_with(|| (name.to_path_buf(), promised, here));
        }
        Ok(())
    }

    /// One line into `line`, without its end and cut at the limit. Whether it is whole; `None` at the end.
    fn line(&mut self, source: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<Option<bool>> {
        line.clear();
        let (mut whole, mut any) = (true, false);
        loop {
            let chunk = match source.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return Ok(any.then_some(whole));
            }
            any = true;
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(chunk.len(), |end| end + 1);
            let content = &chunk[..end.unwrap_or(taken)];
            let room = self.limits.line - line.len();
            whole &= content.len() <= room;
            line.extend_from_slice(&content[..content.len().min(room)]);
            self.digest.update(&chunk[..taken]);
            self.bytes += taken as u64;
            source.consume(taken);
            // A file without lines must not be read to its end.
            if end.is_some() || self.bytes > self.limits.bytes {
                return Ok(Some(whole));
            }
        }
    }

    fn entry(&mut self, name: &Path, number: u64, bytes: &[u8], whole: bool, lines: &mut Lines) -> Result<(), Refused> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) if whole => text,
            wrong => {
                let problem = if wrong.is_err() && whole {
                    Problem::NotUtf8
                } else {
                    Problem::TooLarge { limit: format!("{} bytes a line", self.limits.line) }
                };
                let text = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
                self.bad(name, number, 1, &text, problem, None);
                return Ok(());
            }
        };
        let read = lines.read(text).map_err(|what| Refused::Foreign { file: name.into(), what })?;
        match read {
            Line::Nothing => {}
            Line::Name => self.tally.names += 1,
            Line::Addresses(nets) => {
                self.tally.entries += 1;
                nets.iter().for_each(|net| self.take(name, number, text, net));
            }
            Line::Bad(bad) => {
                let column = text.find(&bad.text).map_or(1, |at| text[..at].chars().count() + 1);
                let column = u32::try_from(column).unwrap_or(u32::MAX);
                self.bad(name, number, column, &bad.text, bad.problem, bad.suggestion);
            }
        }
        Ok(())
    }

    fn take(&mut self, name: &Path, number: u64, text: &str, net: &IpNet) {
        let spot = || Spot { file: name.to_path_buf(), line: number, text: shorten(text.trim()) };
        if net.prefix_len() == 0 {
            self.everything.get_or_insert_with(spot);
        }
        if self.touching.is_none() && touches(self.protected, net) {
            self.touching = Some(spot());
        }
        self.found.add(net);
    }

    fn bad(&mut self, name: &Path, line: u64, column: u32, text: &str, problem: Problem, suggestion: Option<String>) {
        self.tally.bad += 1;
        if self.bad.len() < MAX_SHOWN {
            let text = shorten(text);
            self.bad.push(BadLine { file: name.to_path_buf(), line, column, text, problem, suggestion });
        }
    }

    /// What all the files say.
    pub(super) fn finish(self) -> Parsed {
        Parsed {
            prefixes: self.found.finish(),
            tally: self.tally,
            bad: self.bad,
            formats: self.formats,
            everything: self.everything,
            touching: self.touching,
            short: self.short,
            sha256: self.digest.finalize().into(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::compile::testing::Random;

    const SMALL: Limits =
        Limits { bytes: 1 << 20, line: 64, lines: 1_000, entries: 500, time: Duration::from_secs(30) };

    fn read(text: &[u8], format: Format, limits: Limits) -> Result<Parsed, Refused> {
        let none = PrefixSet::default();
        let mut reader = Reader::new(limits, &none);
        reader.file(Path::new("list"), text, format).map(|()| reader.finish())
    }

    fn shown(parsed: &Parsed) -> String {
        let Tally { entries, names, bad } = parsed.tally;
        let lines: Vec<String> = parsed.bad.iter().map(|bad| format!("{}:{}", bad.line, bad.column)).collect();
        let formats: Vec<&str> = parsed.formats.iter().map(|format| format.word()).collect();
        format!("{} {entries}+{names}+{bad} {:?} {}", formats.join(","), parsed.prefixes, lines.join(" "))
    }

    /// What must come of each file of `tests/lists` stands in `EXPECTED` beside them.
    #[test]
    fn goldens() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lists");
        let mut names: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let expected = std::fs::read_to_string(folder.join("EXPECTED")).unwrap();
        let mut count = 0;
        for path in names.iter().filter(|path| !path.ends_with("EXPECTED")) {
            count += 1;
            let name = path.file_name().unwrap().to_str().unwrap();
            let said = match read(&std::fs::read(path).unwrap(), Format::Auto, LIMITS) {
                Ok(parsed) => shown(&parsed),
                Err(refused) => format!("refused {}", refused.code()),
            };
            let line = expected.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            assert_eq!(line.unwrap_or("(no line in EXPECTED)"), said.trim_end(), "{name}");
        }
        assert_eq!(count, expected.lines().filter(|line| !line.starts_with('#')).count());
    }

    #[test]
    fn line_ends_marks_and_long_lines() {
        let parsed = read(b"\xef\xbb\xbf192.0.2.1\r\n\r\n  192.0.2.2\r\n192.0.2.3", Format::Auto, SMALL).unwrap();
        assert_eq!(shown(&parsed).trim_end(), "plain 3+0+0 [192.0.2.1/32, 192.0.2.2/31]");
        let mut text = vec![b'1'; 300_000];
        text.extend(b"\n192.0.2.1\n\xff\xfe\n\n 192.0.2.300");
        let parsed = read(&text, Format::Plain, SMALL).unwrap();
        assert_eq!(shown(&parsed), "plain 1+0+3 [192.0.2.1/32] 1:1 3:1 5:2");
        assert_eq!(parsed.sha256, <[u8; 32]>::from(Sha256::digest(&text)));
        assert!(matches!(parsed.bad[0].problem, Problem::TooLarge { .. }));
        assert_eq!(read(b"\n\n", Format::Auto, SMALL).unwrap().formats, [Format::Auto]);
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let code = |text: &[u8], limits| read(text, Format::Plain, limits).unwrap_err().code();
        let lines = |count: u32| (0..count).map(|n| format!("10.0.0.{}\n", n % 200)).collect::<String>();
        assert!(read(lines(500).as_bytes(), Format::Plain, SMALL).is_ok());
        assert_eq!(code(lines(501).as_bytes(), SMALL), "too_large");
        assert_eq!(code("#\n".repeat(1_001).as_bytes(), SMALL), "too_large");
        assert_eq!(code(&vec![b'x'; 2 << 20], SMALL), "too_large");
        let hasty = Limits { time: Duration::ZERO, lines: 10_000, ..SMALL };
        assert_eq!(code("#\n".repeat(5_000).as_bytes(), hasty), "too_slow");
    }

    #[test]
    fn the_first_line_of_trouble_is_named() {
        let protected: PrefixSet = ["192.168.10.0/24".parse::<IpNet>().unwrap()].into_iter().collect();
        let mut reader = Reader::new(SMALL, &protected);
        reader.file(Path::new("a"), &b"192.0.2.1\n192.168.0.0/16\n0.0.0.0/0\n"[..], Format::Plain).unwrap();
        reader.file(Path::new("b"), &b"# Entries : 3 subnets, 9 unique IPs\n192.0.2.9\n"[..], Format::Auto).unwrap();
        let parsed = reader.finish();
        assert_eq!(parsed.touching.map(|spot| (spot.line, spot.text)), Some((2, "192.168.0.0/16".into())));
        assert_eq!(parsed.everything.map(|spot| spot.line), Some(3));
        assert_eq!(parsed.short, Some(("b".into(), 3, 1)));
        assert_eq!(parsed.formats, [Format::Plain, Format::Netset]);
    }

    /// Bytes nobody meant as a list: never a panic, and never more than was there.
    #[test]
    fn random_bytes_are_answered() {
        let mut random = Random::new(5);
        let good = b"# a head\n192.0.2.0/24 ; SBL1\n{\"cidr\":\"198.51.100.0/24\"}\n0.0.0.0 bad.example\n\"a\",\"203.0.113.1\",\"c\"\n";
        for _ in 0..1_000 {
            let mut bytes = good.repeat(1 + random.below(3) as usize);
            for _ in 0..random.below(12) {
                let at = random.below(bytes.len() as u64) as usize;
                match random.below(3) {
                    0 => bytes[at] = random.below(256) as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, random.below(256) as u8),
                }
            }
            let noise: Vec<u8> = (0..random.below(300)).map(|_| random.below(256) as u8).collect();
            for text in [bytes, noise] {
                for format in [Format::Auto, Format::Plain, Format::DropJson, Format::AbuseCsv, Format::Hosts] {
                    let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count() as u64;
                    if let Ok(parsed) = read(&text, format, SMALL) {
                        assert!(parsed.tally.lines() <= lines, "{text:?}");
                    }
                }
            }
        }
    }

    /// What is read once and written plainly is the same when it is read again.
    #[test]
    fn a_list_comes_back_from_its_own_prefixes() {
        let mut random = Random::new(6);
        for _ in 0..200 {
            let mut text = String::new();
            for _ in 0..random.below(60) {
                let net = IpNet::new([198, 51, 100, random.below(256) as u8].into(), 24 + random.below(9) as u8);
                text += &format!("{}\r\n", net.unwrap().trunc());
                text += &format!("2001:db8::{:x}-2001:db8::{:x}\n", random.below(99), 99 + random.below(99));
            }
            let first = read(text.as_bytes(), Format::Auto, LIMITS).unwrap().prefixes;
            let again: String = first.iter().map(|net| format!("{net}\n")).collect();
            assert_eq!(read(again.as_bytes(), Format::Plain, LIMITS).unwrap().prefixes, first);
        }
    }
}
