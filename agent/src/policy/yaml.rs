//! YAML as a tree with positions. The only module that knows the YAML library.
//!
//! Stricter than YAML: no anchors, aliases or tags, one document, no duplicate keys, text keys only, bounded
//! depth and sizes. Scalars stay text; what they mean is the decoder's business (so `no` is never a boolean).

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::{
    diagnostic::{Sink, Span, Text},
    problem::Problem,
};

/// Bytes one file may have.
pub const MAX_FILE: usize = 8 << 20;
/// Deepest nesting.
pub const MAX_DEPTH: usize = 32;
/// Bytes one scalar may have.
pub const MAX_SCALAR: usize = 64 << 10;
/// Nodes one file may have; bounds memory, since a node needs more room than the two bytes that can make one.
pub const MAX_NODES: usize = 1 << 20;
/// Syntax errors reported in one file.
const MAX_SYNTAX: usize = 20;

/// A value with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub at: Span,
    /// What it is.
    pub value: Value,
}

/// The kinds of value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Something that was refused and reported already.
    Refused,
    /// Text as written, quotes and escapes resolved.
    Scalar {
        /// The text.
        text: String,
        /// Not quoted: may be read as a number or a boolean.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in document order, keys unique.
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key begins.
    pub at: Span,
    /// Its value.
    pub value: Node,
}

/// What could be read of a file.
#[derive(Debug)]
pub struct Tree {
    /// The document; of a damaged one the top-level entries that are whole.
    pub root: Node,
    /// Some of it could not be read (reported).
    pub damaged: bool,
}

/// Reads the text of file number `file`. Problems go to `sink`; after a syntax error reading goes on at the next
/// line that begins a top-level key, so that one run reports several.
pub fn read(bytes: &[u8], file: u32, sink: &mut Sink) -> Tree {
    let whole = Span { file, line: 1, col: 1 };
    let mut tree = Tree { root: Node { at: whole, value: Value::Null }, damaged: false };
    if bytes.len() > MAX_FILE {
        sink.report(whole, &Problem::TooLarge { limit: format!("{} MiB", MAX_FILE >> 20) });
        tree.damaged = true;
        return tree;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = good.matches('\n').count() + 1;
            let col = good.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
            sink.report(Span { file, line: number(line), col: number(col) }, &Problem::NotUtf8);
            tree.damaged = true;
            return tree;
        }
    };
    let mut rest = text;
    let mut line = 0;
    for _ in 0..MAX_SYNTAX {
        let mut builder = Builder::new(file, line, sink);
        let failed = builder.run(rest);
        let (root, damaged) = builder.finish();
        tree.damaged |= damaged;
        tree.join(root);
        let Some(failed_line) = failed else { break };
        tree.damaged = true;
        let Some((skipped, next)) = next_section(rest, failed_line) else {
            break;
        };
        line += skipped;
        rest = next;
    }
    tree
}

impl Tree {
    /// Adds what a later stretch of a damaged file holds.
    fn join(&mut self, part: Option<Node>) {
        let Some(part) = part else { return };
        match (&mut self.root.value, part.value) {
            (Value::Map(entries), Value::Map(more)) => entries.extend(more),
            (Value::Null, value) => self.root = Node { at: part.at, value },
            _ => {}
        }
    }
}

/// The first line after `failed` (from 1) that begins with a key in the first column: lines skipped, and the text.
fn next_section(text: &str, failed: usize) -> Option<(usize, &str)> {
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let key = line.split(':').next().unwrap_or_default();
        if index >= failed.max(1)
            && line.contains(':')
            && key.starts_with(|c: char| c.is_ascii_lowercase())
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            return Some((index, &text[offset..]));
        }
        offset += line.len();
    }
    None
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A collection being filled.
enum Open {
    List { at: Span, items: Vec<Node> },
    Map { at: Span, entries: Vec<Entry>, seen: HashMap<String, u32>, key: Option<(String, Span, bool)> },
}

struct Builder<'s> {
    file: u32,
    first_line: usize,
    sink: &'s mut Sink,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
    damaged: bool,
}

impl<'s> Builder<'s> {
    fn new(file: u32, first_line: usize, sink: &'s mut Sink) -> Self {
        Self { file, first_line, sink, open: Vec::new(), root: None, nodes: 0, documents: 0, damaged: false }
    }

    fn span(&self, marker: &saphyr_parser::Marker) -> Span {
        Span { file: self.file, line: number(marker.line() + self.first_line), col: number(marker.col() + 1) }
    }

    fn report(&mut self, at: Span, problem: &Problem, text: &str) {
        self.damaged = true;
        self.sink.report(at, problem).text(text);
    }

    /// Reads all of `text`; the line (from 1, in `text`) of a syntax error that ended it.
    fn run(&mut self, text: &str) -> Option<usize> {
        let mut parser = Parser::new_from_str(text);
        loop {
            match parser.next_event() {
                None => return None,
                Some(Err(error)) => return Some(self.syntax(&error, text)),
                Some(Ok((event, span))) => {
                    let at = self.span(&span.start);
                    if !self.event(event, at) {
                        return None;
                    }
                }
            }
        }
    }

    fn syntax(&mut self, error: &ScanError, text: &str) -> usize {
        let at = self.span(error.marker());
        let line = error.marker().line();
        let offending = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        self.damaged = true;
        let problem = Problem::Syntax { why: error.info().to_owned() };
        self.sink.report(at, &problem).text(offending.trim_end());
        line
    }

    /// Takes one event; false ends the reading.
    fn event(&mut self, event: Event<'_>, at: Span) -> bool {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.report(at, &Problem::MultipleDocuments, "---");
                    return false;
                }
            }
            Event::Alias(_) => {
                self.report(at, &Problem::Anchor, "*");
                self.put(Node { at, value: Value::Refused });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse(at, anchor, tag.is_some());
                return self.scalar(&text, style, at);
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse(at, anchor, tag.is_some());
                return self.enter(at, Open::List { at, items: Vec::new() });
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse(at, anchor, tag.is_some());
                let map = Open::Map { at, entries: Vec::new(), seen: HashMap::new(), key: None };
                return self.enter(at, map);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.put(close(open));
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        true
    }

    fn refuse(&mut self, at: Span, anchor: usize, tag: bool) {
        if anchor > 0 {
            self.report(at, &Problem::Anchor, "&");
        }
        if tag {
            self.report(at, &Problem::YamlTag, "!");
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, at: Span) -> bool {
        let plain = style == ScalarStyle::Plain;
        if text.len() > MAX_SCALAR {
            let problem = Problem::TooLarge { limit: format!("{} KiB", MAX_SCALAR >> 10) };
            self.report(at, &problem, text);
            self.put(Node { at, value: Value::Refused });
            return true;
        }
        let value = if plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            Value::Null
        } else {
            Value::Scalar { text: text.to_owned(), plain }
        };
        self.put(Node { at, value });
        self.count(at)
    }

    fn enter(&mut self, at: Span, open: Open) -> bool {
        if self.open.len() >= MAX_DEPTH {
            self.report(at, &Problem::TooDeep { limit: MAX_DEPTH.to_string() }, "");
            return false;
        }
        self.open.push(open);
        self.count(at)
    }

    fn count(&mut self, at: Span) -> bool {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.report(at, &Problem::TooLarge { limit: format!("{MAX_NODES} values") }, "");
            return false;
        }
        true
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, node: Node) {
        let mut complaint = None;
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, seen, key, .. }) => match key.take() {
                Some((key, at, keep)) => {
                    if keep {
                        entries.push(Entry { key, at, value: node });
                    }
                }
                None => {
                    let at = node.at;
                    let (name, keep) = match node.value {
                        Value::Scalar { text, .. } => match seen.insert(text.clone(), at.line) {
                            None => (text, true),
                            Some(line) => {
                                let again = Problem::DuplicateKey { key: text.clone(), line: line.to_string() };
                                complaint = Some((at, again, text.clone()));
                                (text, false)
                            }
                        },
                        _ => {
                            complaint = Some((at, Problem::KeyNotText, String::new()));
                            (String::new(), false)
                        }
                    };
                    *key = Some((name, at, keep));
                }
            },
        }
        if let Some((at, problem, text)) = complaint {
            self.damaged = true;
            let report = self.sink.report(at, &problem).text(&text);
            if matches!(problem, Problem::KeyNotText) {
                report.expected(Text::new("a plain word before `:`", "「:」の前の単語"));
            }
        }
    }

    /// The document, or the whole entries of an unfinished top-level mapping; and whether anything was wrong.
    fn finish(self) -> (Option<Node>, bool) {
        let unfinished = self.open.into_iter().next().filter(|open| matches!(open, Open::Map { .. })).map(close);
        (self.root.or(unfinished), self.damaged)
    }
}

fn close(open: Open) -> Node {
    match open {
        Open::List { at, items } => Node { at, value: Value::List(items) },
        Open::Map { at, entries, .. } => Node { at, value: Value::Map(entries) },
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    fn run(text: &str) -> (Tree, Vec<(u32, u32, &'static str)>) {
        let mut sink = Sink::default();
        let file = sink.add_file("t.yaml".into());
        let tree = read(text.as_bytes(), file, &mut sink);
        let all = sink.finish();
        (tree, all.iter().map(|d| (d.line, d.col, d.code)).collect())
    }

    #[test]
    fn keys_and_values_know_their_place() {
        let (tree, problems) = run("a: 1\n道:\n  - \"x\"\n  - {b: no}\n");
        assert!(problems.is_empty() && !tree.damaged);
        let Value::Map(entries) = tree.root.value else { panic!("not a map") };
        assert_eq!(entries[1].key, "道");
        assert_eq!((entries[1].at.line, entries[1].at.col), (2, 1));
        let Value::List(items) = &entries[1].value.value else { panic!("not a list") };
        assert_eq!((items[0].at.line, items[0].at.col), (3, 5));
        assert_eq!(items[0].value, Value::Scalar { text: "x".into(), plain: false });
        let Value::Map(inner) = &items[1].value else { panic!("not a map") };
        assert_eq!(inner[0].value.value, Value::Scalar { text: "no".into(), plain: true });
        assert_eq!((inner[0].value.at.line, inner[0].value.at.col), (4, 9));
    }

    #[test]
    fn what_yaml_allows_and_we_do_not() {
        assert_eq!(run("a: 1\nb: 2\na: 3\n").1, [(3, 1, "E006")]);
        assert_eq!(run("a: &x 1\nb: *x\n").1, [(1, 4, "E007"), (2, 4, "E007")]);
        assert_eq!(run("a: !!int 1\n").1.iter().map(|p| p.2).collect::<Vec<_>>(), ["E008"]);
        assert_eq!(run("a: 1\n---\nb: 2\n").1, [(2, 1, "E009")]);
        assert_eq!(run("[a]: 1\n").1, [(1, 1, "E011")]);
        assert_eq!(run(&"[".repeat(40)).1[0].2, "E005");
        assert_eq!(run(&format!("a: {}\n", "x".repeat(MAX_SCALAR + 1))).1, [(1, 4, "E002")]);
    }

    #[test]
    fn several_syntax_errors_in_one_run() {
        let (tree, problems) = run("version: 1\nzones: [a\nrules: }\nhours:\n  x: \"open\n");
        assert!(tree.damaged);
        assert!(problems.len() >= 2, "{problems:?}");
        assert!(problems.iter().all(|p| p.2 == "E004"), "{problems:?}");
        let Value::Map(entries) = tree.root.value else { panic!("not a map") };
        assert_eq!(entries[0].key, "version");
    }

    #[test]
    fn bytes_that_are_not_text_are_placed() {
        let mut sink = Sink::default();
        let file = sink.add_file("t.yaml".into());
        let _ = read(b"a: 1\nb: \xff\n", file, &mut sink);
        let all = sink.finish();
        assert_eq!((all[0].line, all[0].col, all[0].code), (2, 4, "E003"));
    }

    #[test]
    fn a_byte_order_mark_and_crlf_do_no_harm() {
        let (tree, problems) = run("\u{feff}a: 1\r\nb: x\r\n");
        assert!(problems.is_empty());
        let Value::Map(entries) = tree.root.value else { panic!("not a map") };
        assert_eq!(entries[0].at.col, 1);
        assert_eq!(entries[1].value.value, Value::Scalar { text: "x".into(), plain: true });
    }
}
